//! What is made of results on the command line: which run is meant, what is drawn otherwise than it was judged, what is
//! refused before anything is written.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Said {
    code: i32,
    told: String,
    error: String,
}

fn xtask(arguments: &[&str]) -> Said {
    let store = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let Output { status, stdout, stderr } =
        command.args(arguments).env("PARPROBE_STORE", store.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), told: text(stdout), error: text(stderr) }
}

impl Said {
    #[track_caller]
    fn is(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.error);
        for part in parts {
            assert!(self.error.contains(part), "no \"{part}\" in:\n{}", self.error);
        }
        assert!(self.error.matches("next: ").count() <= 1, "{}", self.error);
    }
}

/// A real bench, with the logs of two of its boots.
fn a_bench(run: &Path) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testcases/tests/real_boots");
    fs::create_dir_all(run).unwrap();
    fs::copy(real.join("verdict.json"), run.join("verdict.json")).unwrap();
    for (number, kernel) in ["without", "with"].into_iter().enumerate() {
        let folder = run.join(format!("boots/{:03}-{kernel}", number + 1));
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(real.join(kernel)).unwrap().flatten() {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_boot_that_was_damaged_since_it_was_judged_is_not_drawn_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    a_bench(run);
    let said = xtask(&["report", path(run), "--format", "perfetto"]);
    said.is(0, &[]);
    assert!(said.error.is_empty() && said.told.contains("traceEvents"), "{}", said.error);

    let trace = run.join("boots/002-with/trace.txt");
    let whole = fs::read_to_string(&trace).unwrap();
    let probe = |line: &str| line.contains("0:0:0:1");
    assert!(whole.lines().any(probe));
    let cut: String = whole.lines().filter(|line| !probe(line)).map(|line| format!("{line}\n")).collect();
    fs::write(&trace, cut).unwrap();
    let warning = ["boots/002-with is drawn as its files are now", "8 probes", "damaged since"];
    xtask(&["report", path(run), "--format", "perfetto"]).is(0, &warning);
    let page = xtask(&["report", path(run)]);
    page.is(0, &[]);
    assert!(page.told.contains(warning[0]), "no warning on the page");

    fs::remove_dir_all(run.join("boots")).unwrap();
    xtask(&["report", path(run), "--format", "perfetto"]).is(74, &["is not drawn: could not"]);
}

#[test]
fn a_night_of_several_runs_is_not_reported_on_by_one_of_them() {
    let night = tempfile::tempdir().unwrap();
    a_bench(&night.path().join("bench"));
    xtask(&["report", path(night.path()), "--format", "csv"]).is(0, &[]);
    a_bench(&night.path().join("tests"));
    let said = xtask(&["report", path(night.path()), "--format", "csv"]);
    said.is(64, &["it is a night of 2 runs", "/bench", "/tests", "nightly.txt"]);
    assert_eq!(said.told, "");
}

#[test]
fn what_is_no_run_is_told_from_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    xtask(&["report", path(&file)]).is(64, &["it is a file"]);
    xtask(&["report", path(&folder.path().join("nothing"))]).is(64, &["there is no such folder"]);
}

#[test]
fn a_file_that_cannot_be_written_is_named_as_it_was_asked_for() {
    let run = tempfile::tempdir().unwrap();
    a_bench(run.path());
    let file = run.path().join("nowhere/report.html");
    let said = xtask(&["report", path(run.path()), "-o", path(&file)]);
    said.is(74, &[path(&file), "there is no folder", "-o"]);
    assert!(!said.error.contains("nowhere/.tmp"), "{}", said.error);
}

#[test]
fn parts_that_are_refused_leave_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, archive: &str| -> PathBuf {
        let part = folder.path().join(name);
        fs::create_dir(&part).unwrap();
        let host = r#"{"qemu": "QEMU 7", "cores": 2}"#;
        let line = format!(r#"{{"part": {{"archive": "{archive}", "host": {host}, "tests": ["a", "b"]}}}}"#);
        let passed = r#"{"harness": {"test": "a", "result": "passed", "why": null, "lost": null}}"#;
        fs::write(
            part.join("results.jsonl"),
            format!("{line}\n{passed}\n{{\"ended\": {{\"failed\": 0}}}}\n"),
        )
        .unwrap();
        part
    };
    let (one, other) = (part("one", "1"), part("other", "2"));
    let out = folder.path().join("whole");
    let merge = |more: &[&str]| xtask(&[&["merge", "--out", path(&out)], more].concat());
    merge(&[path(&one), path(&other)]).is(64, &["2 archives", "one of 1", "other of 2"]);
    assert!(!out.exists());
    merge(&["--tests", "a", path(&one)]).is(0, &[]);
    fs::remove_dir_all(&out).unwrap();
    merge(&[path(&one)]).is(2, &[]);
}

#[test]
fn a_history_without_a_night_is_no_success() {
    let history = tempfile::tempdir().unwrap();
    fs::write(history.path().join("notes.txt"), "").unwrap();
    let said = xtask(&["history", "--history", path(history.path())]);
    said.is(2, &[]);
    assert!(said.told.contains("notes.txt"), "{}", said.told);
}
