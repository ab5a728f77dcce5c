//! Bad input on the command line: one clear message, the documented exit code, nothing on standard output,
//! nothing left behind.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).env("PARPROBE_STORE", self.folder.path().join("store"));
        command
    }

    fn bench(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(&[&["bench"], arguments].concat()))
    }
}

struct Said {
    code: i32,
    error: String,
}

impl Said {
    fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&stdout), "", "an error belongs on standard error");
        Self { code: status.code().unwrap(), error: String::from_utf8(stderr).unwrap() }
    }

    #[track_caller]
    fn is(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.error);
        for part in parts {
            assert!(self.error.contains(part), "no \"{part}\" in:\n{}", self.error);
        }
        assert!(!self.error.contains("panicked"), "{}", self.error);
    }
}

#[test]
fn a_kernel_of_an_unknown_name_is_refused_with_the_names_there_are() {
    let said = Fixture::new().bench(&["--kernels", "without,wiht"]);
    // A user may have added others between these.
    said.is(64, &["find the kernel \"wiht\"", "use one of: ", "mainline", "with-numa", "without"]);
}

#[test]
fn a_kernel_named_twice_is_refused_as_no_table_could_tell_the_two_apart() {
    Fixture::new().bench(&["--kernels", "with,without,with"]).is(64, &["\"with\" is named twice", "--aa"]);
}

#[test]
fn numbers_that_make_no_guest_are_refused_with_those_that_do() {
    let fixture = Fixture::new();
    fixture.bench(&["--luns", "0"]).is(64, &["'0' for '--luns", "there can be 1 to 32768"]);
    let said = fixture.bench(&["--nodes", "3", "--vcpus", "2"]);
    said.is(64, &["3 nodes and 2 vCPUs: every node needs a vCPU of its own"]);
    fixture.bench(&["--hbas", "-1"]).is(64, &["'-1' for '--hbas", "there can be 1 to 192"]);
    fixture.bench(&["--hbas", "49"]).is(64, &["49 HBAs: there can be 1 to 48"]);
    fixture.bench(&["--boots", "0"]).is(64, &["--boots", "`auto` or a number from 1 to 1000"]);
    fixture.bench(&["--boots", "some"]).is(64, &["--boots", "`auto` or a number from 1 to 1000"]);
    fixture.bench(&["--forks", "many"]).is(64, &["--forks", "`auto`, or a number from 0 to 100"]);
    fixture.bench(&["--luns", "4294967295"]).is(64, &["there can be 1 to 32768"]);
    fixture.bench(&["--nodes", "4294967295"]).is(64, &["there can be 1 to 8"]);
}

#[test]
fn a_latency_that_does_not_parse_is_refused_with_what_was_typed() {
    Fixture::new()
        .bench(&["--latency", "20 parsecs"])
        .is(64, &["20 parsecs", "--latency", "a number with a unit is needed: 20ms, 500us, 1s"]);
    Fixture::new().bench(&["--latency", "2h"]).is(64, &["it can be up to 60s"]);
}

#[test]
fn a_folder_with_files_in_it_is_not_written_to() {
    let fixture = Fixture::new();
    let out = fixture.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "precious").unwrap();
    fixture.bench(&["--out", out.to_str().unwrap()]).is(64, &["the folder is not empty", "--out"]);
    assert_eq!(fs::read_to_string(out.join("mine")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    let file = out.join("mine").display().to_string();
    fixture.bench(&["--out", &file]).is(64, &["write a run to", "it is no folder", "--out"]);
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_before_anything_is_built() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["bench"]);
    command.env("PARPROBE_STORE", "/proc/parprobe");
    Said::of(command).is(74, &["use as the kernel store the folder /proc/parprobe", "set PARPROBE_STORE"]);
}

#[test]
fn tools_that_are_missing_are_all_named_with_the_command_that_installs_them() {
    let fixture = Fixture::new();
    let out = fixture.folder.path().join("out");
    let mut command = fixture.command(&["bench", "--out", out.to_str().unwrap()]);
    command.env("PATH", fixture.folder.path());
    let said = Said::of(command);
    said.is(
        69,
        &["QEMU: no qemu-system-x86_64", "flex: no flex", "apt-get install", "qemu-system-x86", "--setup"],
    );
    assert!(!out.exists(), "nothing was run, so there is no run to keep");
}

#[test]
fn a_system_without_apt_is_told_the_packages() {
    let fixture = Fixture::new();
    let mut command = fixture.command(&["bench", "--setup"]);
    command.env("PATH", fixture.folder.path());
    Said::of(command).is(69, &["there is no apt-get on this system", "bison", "qemu-system-x86"]);
}

#[test]
fn help_is_no_error_and_shows_the_exit_codes() {
    let output = Fixture::new().command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for code in ["0", "1", "2", "64", "65", "69", "70", "71", "74", "130"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code} is not in the help");
    }
}

#[test]
fn the_readme_and_the_help_name_the_same_exit_codes() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let output = Fixture::new().command(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let of_help = help.lines().filter_map(|line| line.trim_start().split_once("  "));
    let of_help: Vec<&str> =
        of_help.map(|(code, _)| code).filter(|code| code.parse::<u8>().is_ok()).collect();
    let of_readme = readme.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let of_readme: Vec<&str> =
        of_readme.map(|(code, _)| code).filter(|code| code.parse::<u8>().is_ok()).collect();
    assert_eq!(of_help, of_readme);
    assert!(of_help.len() >= 10);
}

#[test]
fn a_place_where_no_kernel_is_and_a_patch_that_is_none_are_refused_before_anything_is_built() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path();
    fs::write(folder.join("words.patch"), "just words\n").unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    fixture.bench(&["--kernels", &path("nowhere/linux")]).is(64, &["nothing at that path", "--help"]);
    fixture.bench(&["--kernels", &path("")]).is(64, &["without drivers/base/dd.c"]);
    fixture.bench(&["--patch", &path("nope.mbox")]).is(64, &["read patches from", "No such file"]);
    fixture.bench(&["--patch", &path("words.patch")]).is(65, &["it changes no file"]);
    let image = ["--kernels", "linux-image-6.1.0-9-cloud-amd64", "--patch", &path("words.patch")];
    fixture.bench(&image).is(65, &["it changes no file"]);
}

#[test]
fn a_search_that_cannot_be_made_leaves_no_folder_behind() {
    let fixture = Fixture::new();
    let (out, tree) = (fixture.folder.path().join("run"), fixture.folder.path().display().to_string());
    let search = |more: &[&str]| {
        let out = out.display().to_string();
        let ends = ["bisect", "--good", "v6.1", "--bad", "v6.2", "--out", &out];
        Said::of(fixture.command(&[&ends, more].concat()))
    };
    search(&["--tree", &tree, "--case", "nope"]).is(64, &["find the case \"nope\"", "driver_after_devices"]);
    search(&["--tree", &tree]).is(64, &["no git tree of its own"]);
    search(&["--tree", "/nowhere"]).is(64, &["/nowhere"]);
    assert!(!out.exists());
    let resumed = Said::of(fixture.command(&["bisect", "--resume", &tree]));
    resumed.is(64, &["go on with the search", "name the folder of a `bisect` run"]);
}

#[test]
fn git_bisect_run_is_told_to_stop_where_no_kernel_is_at_fault() {
    let fixture = Fixture::new();
    let tree = fixture.folder.path().display().to_string();
    let step =
        |more: &[&str]| Said::of(fixture.command(&[&["bisect", "step", "--tree", &tree], more].concat()));
    step(&["--behaves", "per-node"]).is(128 + 64, &["without drivers/base/dd.c"]);
    step(&["--symptom", "died"]).is(128 + 64, &["without drivers/base/dd.c"]);
    // There is no bad end to be the same as.
    step(&["--symptom", "same"]).is(128 + 64, &["--symptom", "died, failed, any"]);
    step(&["--nope"]).is(128 + 64, &["--nope"]);
    step(&["--boots", "none"]).is(128 + 64, &["--boots"]);
    // Without it a kernel that probes one device after the other would be good.
    step(&[]).is(128 + 64, &["depends on how a good kernel behaves", "--behaves per-driver"]);
}

/// What docs/bisect.md says to run, with another program in the place of ours.
fn bisect_run(program: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bisect.md")).unwrap();
    let (_, block) = text.split_once("Cargo.toml\ngit bisect run ").unwrap();
    let (command, _) = block.split_once("\n```").unwrap();
    let ours = "~/parprobe/target/debug/xtask";
    assert!(command.contains(ours), "{command}");
    format!("git bisect run {}", command.replace(ours, program))
}

#[test]
fn what_the_documentation_says_to_run_blames_no_commit_for_what_is_not_its_fault() {
    let fixture = Fixture::new();
    let tree = fixture.folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(&tree).env("LC_ALL", "C");
        for (name, value) in ["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "A")) {
            shell.env(name.replace("NAME", "EMAIL"), "a@b").env(name, value);
        }
        let Output { status, stdout, stderr } =
            shell.env("PARPROBE_STORE", fixture.folder.path().join("store")).output().unwrap();
        (status.success(), [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat())
    };
    let (made, said) = shell(
        "git init --quiet . && for n in 1 2 3 4 5 6; do echo $n > n; git add n; git commit -qm $n; done",
    );
    assert!(made, "{said}");
    let search = |program: &str| {
        shell(&format!("git bisect reset; git bisect start HEAD HEAD~5 && {}", bisect_run(program)))
    };
    // No kernel source; no such option; a program that is not there; one that cargo could not build.
    let ours = env!("CARGO_BIN_EXE_xtask");
    for program in [ours, &format!("{ours} --nope"), "/nowhere/xtask", "sh -c \"exit 101\""] {
        let (found, said) = search(program);
        assert!(!found && !said.contains("is the first bad commit"), "{program}: {said}");
        assert!(said.contains("exit code"), "{program}: {said}");
    }
    let (found, said) = search("sh -c \"test $(cat n) -lt 4\"");
    assert!(found && said.contains("is the first bad commit"), "{said}");
}

#[test]
fn a_night_that_makes_no_sense_leaves_no_history_and_a_history_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let history = fixture.folder.path().join("history").display().to_string();
    let night =
        |more: &[&str]| Said::of(fixture.command(&[&["nightly", "--history", &history], more].concat()));
    night(&["--kernels", "wiht"]).is(64, &["find the kernel \"wiht\""]);
    night(&["--nodes", "3", "--vcpus", "2"]).is(64, &["every node needs a vCPU of its own"]);
    night(&["--tests", "race_", "--no-tests"]).is(64, &["--no-tests"]);
    night(&["--runner", ""]).is(64, &["--runner"]);
    night(&["--tests", "tyop_"]).is(64, &["find tests named tyop_", "--list"]);
    assert!(!Path::new(&history).exists());
    let said = Said::of(fixture.command(&["history", "--history", &history]));
    said.is(64, &["list", &history, "with --history"]);
}

#[test]
fn results_that_a_full_disk_takes_are_no_success() {
    let fixture = Fixture::new();
    let mut list = fixture.command(&["kernel", "list"]);
    list.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    Said::of(list).is(74, &["write the results to standard output", "No space left"]);
}

#[test]
fn an_archive_that_cannot_be_written_is_refused_before_anything_is_built() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path();
    for output in [folder.to_path_buf(), folder.join("no/such/folder/guests.tar.zst")] {
        let output = output.display().to_string();
        let said = Said::of(fixture.command(&["archive", "-o", &output]));
        said.is(74, &[&format!("write {output}"), "with -o"]);
    }
}

#[test]
fn a_search_refuses_what_it_would_not_heed() {
    let fixture = Fixture::new();
    let bisect = |arguments: &[&str]| Said::of(fixture.command(&[&["bisect"], arguments].concat()));
    let package = ["--package", "linux-source-6.1", "--good", "1", "--bad", "2", "--", "drivers"];
    bisect(&package).is(64, &["touch drivers", "leave the path out"]);
    bisect(&["--resume", "runs/x", "--luns", "4"]).is(64, &["cannot be used with", "--luns"]);
    bisect(&["step", "--metric", "probe"]).is(192, &["compare a time", "--against KERNEL"]);
}

#[test]
fn what_strangers_wrote_does_nothing_to_the_terminal() {
    let said = Fixture::new().bench(&["--kernels", "wi\u{1b}[2J\u{7}\rht\u{9b}31m\u{202e}"]);
    said.is(64, &["find the kernel", "wi\\u001b[2J\\u0007\\u000dht\\u009b31m\\u202e"]);
    let does_something = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
    assert!(!said.error.contains(does_something), "{:?}", said.error);
}

#[test]
fn a_report_of_a_run_from_elsewhere_does_nothing_to_the_terminal() {
    let fixture = Fixture::new();
    let document = include_str!("../../harness/report/tests/one_boot.json");
    let hostile = document.replace("\"with\"", "\"wi\\u001b[2J\\u0007\\u009b31mth\"");
    fs::write(fixture.folder.path().join("verdict.json"), hostile).unwrap();
    let run = fixture.folder.path().display().to_string();
    for format in ["mail", "csv", "junit", "ktap", "kcidb"] {
        let output = fixture.command(&["report", &run, "--format", format]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && text.contains("wi\\u001b[2J"), "{format}: {text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{format}: {text:?}");
    }
}

#[test]
fn a_report_of_a_run_from_elsewhere_shows_what_is_in_its_folder_and_nothing_else() {
    let fixture = Fixture::new();
    let run = fixture.folder.path().join("run");
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testcases/tests/real_boots/with");
    let document = include_str!("../../harness/report/tests/one_boot.json");
    let page = |boot: &str| {
        fs::write(run.join("verdict.json"), document.replace("boots/002-with", boot)).unwrap();
        let output =
            fixture.command(&["report", &run.display().to_string(), "--format", "html"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mine = run.join("boots/002-with");
    fs::create_dir_all(&mine).unwrap();
    for file in fs::read_dir(&real).unwrap().flatten() {
        fs::copy(file.path(), mine.join(file.file_name())).unwrap();
    }
    assert!(page("boots/002-with").contains("svg class=\"lanes\""));
    fs::rename(run.join("boots"), fixture.folder.path().join("boots")).unwrap();
    let absolute = fixture.folder.path().join("boots/002-with").display().to_string();
    for outside in ["../boots/002-with", &absolute] {
        let page = page(outside);
        assert!(
            !page.contains("svg class=\"lanes\"") && page.contains("is not in the folder of the run"),
            "{outside}"
        );
    }
}
