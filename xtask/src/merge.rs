//! `merge`: results of machines that each ran a part of the tests to one, with what is missing.

mod moved;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use evidence::judge::Outcome;
use lab::copy;
use lab::failure::{Failure, Kind};
use lab::run::Place;
use lab::watch::Watch;
use report::document::{
    BenchEntry, HarnessEntry, Host, TEST_LINES, TEST_SCHEMA, TestDocument, TestEntry, TestResult,
};
use report::findings::Found;

use crate::cli::MergeArguments;
use crate::exit;
use crate::results::{Noted, Part};
use crate::screen::print;
use moved::{moved, placed};

pub(crate) fn run(arguments: &MergeArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let attempt = "join the results of several machines";
    for part in &arguments.parts {
        if !part.is_dir() {
            let seen = format!("there is no folder {}", part.display());
            return Err(Failure::new(Kind::Asked, attempt, seen, "name what PARPROBE_RUN named there"));
        }
    }
    let place = match &arguments.out {
        Some(folder) => Place::Named(folder.clone()),
        None => Place::Dated { runs: workspace.join("runs"), kind: "merge" },
    };
    if let Some(out) = arguments.out.as_ref().and_then(|out| std::path::absolute(out).ok())
        && let Some(part) =
            arguments.parts.iter().find(|part| part.canonicalize().is_ok_and(|part| out.starts_with(part)))
    {
        let seen = format!("{} is within {}", out.display(), part.display());
        return Err(Failure::new(Kind::Asked, attempt, seen, "name another folder with --out"));
    }
    place.check()?;
    let noted = arguments.parts.iter().map(|part| Noted::read(part)).collect::<Result<Vec<_>, _>>()?;
    of_one_archive(&arguments.parts, &noted)
        .map_err(|(seen, next)| Failure::new(Kind::Asked, attempt, seen, next))?;
    let names: BTreeSet<&String> =
        noted.iter().flat_map(|of| &of.parts).flat_map(|part| &part.tests).collect();
    let unknown = |filter: &&String| !names.iter().any(|name| name.contains(filter.as_str()));
    if let Some(filter) = arguments.tests.iter().find(unknown) {
        let next = "leave out --tests, or name what was asked of each machine";
        return Err(Failure::new(Kind::Asked, format!("find tests named {filter}"), "there are none", next));
    }
    let run = place.make()?;
    let mut whole = Whole { only: arguments.tests.clone(), ..Whole::default() };
    for (number, (part, noted)) in arguments.parts.iter().zip(noted).enumerate() {
        watch.stage(&format!("copy {}", part.display()));
        let name = format!("part-{}", number + 1);
        copy::folder(part, &run.join(&name))?;
        if !part.join(TEST_LINES).exists() {
            watch.note(&format!("{} has no {TEST_LINES}: no test came to its end there", part.display()));
        }
        whole.add(noted, &run, &name);
    }
    for twice in whole.twice.keys() {
        watch.note(&format!("{twice} was run more than once: the worst result counts"));
    }
    let document = whole.document(&run, &arguments.parts);
    let json = document.to_json() + "\n";
    let path = run.join("test.json");
    fs::write(&path, &json).map_err(|e| Failure::file("write", &path, &e))?;
    let code = document.exit_code;
    if arguments.json {
        print(&json);
    } else {
        print(&report::mail::render(&Found::Tests(Box::new(document))));
        print(&format!("\npicture: cargo xtask report {} -o report.html\n", run.display()));
    }
    Ok(code)
}

/// Sees to it that all parts are of one archive; else what was seen, and what to do.
fn of_one_archive(parts: &[PathBuf], noted: &[Noted]) -> Result<(), (String, &'static str)> {
    let of =
        |noted: &Noted| -> BTreeSet<String> { noted.parts.iter().map(|part| part.archive.clone()).collect() };
    let all: BTreeSet<String> = noted.iter().flat_map(of).collect();
    let each = parts.iter().zip(noted).map(|(part, noted)| {
        let archives: Vec<String> = of(noted).into_iter().collect();
        let archives = if archives.is_empty() { "no archive".to_owned() } else { archives.join(" and ") };
        format!("{} of {archives}", part.display())
    });
    let each = each.collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => Err((
            format!("none of them says what tests there are: {each}"),
            "run the tests from an archive: `cargo xtask archive` says how",
        )),
        1 => Ok(()),
        several => Err((
            format!("they come from {several} archives: {each}"),
            "join what one archive gave, and have each machine write to a new folder for each",
        )),
    }
}

/// What all parts say.
#[derive(Default)]
pub(crate) struct Whole {
    /// Parts of names of tests: of others it is no loss that nobody ran them. Empty for all.
    only: Vec<String>,
    all: Vec<String>,
    hosts: Vec<Host>,
    cases: Vec<TestEntry>,
    harness: Vec<HarnessEntry>,
    benches: Vec<BenchEntry>,
    /// Tests that did not pass, as processes counted them that came to their end, less those that are noted.
    unknown: u64,
    /// Tests that were run more than once, and how often.
    twice: BTreeMap<String, usize>,
}

impl Whole {
    /// Adds a part, whose folder is in that of the whole now.
    pub(crate) fn add(&mut self, noted: Noted, run: &Path, name: &str) {
        let not_passed = noted.results().filter(|(result, _)| *result > TestResult::Passed).count();
        let ended = noted.ended.iter().fold(0, |sum: u64, failed| sum.saturating_add(*failed));
        let unknown = ended.saturating_sub(not_passed as u64).saturating_add(noted.unreadable);
        self.unknown = self.unknown.saturating_add(unknown);
        let Noted { cases, harness, benches, ended: _, unreadable: _, parts } = noted;
        for Part { archive: _, host, tests } in parts {
            self.all.extend(tests.into_iter().filter(|test| !self.all.contains(test)).collect::<Vec<_>>());
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        for mut entry in cases {
            for boot in &mut entry.boots {
                let was = std::mem::take(boot);
                *boot = moved(&was, run, name);
                // Evidence is where the boot is.
                let findings = entry.findings.iter_mut().chain(&mut entry.others);
                findings
                    .flat_map(|finding| &mut finding.evidence)
                    .for_each(|line| *line = line.replace(&was, boot));
            }
            keep_the_worse(&mut self.cases, entry, (name_of, |entry| entry.result), &mut self.twice);
        }
        for entry in harness {
            let told = (|entry: &HarnessEntry| entry.test.clone(), |entry: &HarnessEntry| entry.result);
            keep_the_worse(&mut self.harness, entry, told, &mut self.twice);
        }
        for mut entry in benches {
            if let Some(document) = &mut entry.document {
                document.run = moved(&document.run, run, name);
                let results = document.results.iter_mut();
                results
                    .flat_map(|of| of.findings.iter_mut().chain(&mut of.others))
                    .flat_map(|finding| &mut finding.evidence)
                    .for_each(|line| *line = placed(line, &document.run));
            }
            let told = (|entry: &BenchEntry| entry.test.clone(), |entry: &BenchEntry| entry.result);
            keep_the_worse(&mut self.benches, entry, told, &mut self.twice);
        }
    }

    /// What they say together.
    pub(crate) fn document(self, run: &Path, parts: &[PathBuf]) -> TestDocument {
        let Self { only, all, hosts, cases, harness, benches, unknown, twice: _ } = self;
        let others = harness.iter().map(|entry| &entry.test).chain(benches.iter().map(|entry| &entry.test));
        let seen: Vec<String> = cases.iter().map(name_of).chain(others.cloned()).collect();
        let asked = |test: &String| only.is_empty() || only.iter().any(|part| test.contains(part.as_str()));
        let missing: Vec<String> =
            all.into_iter().filter(|test| asked(test) && !seen.contains(test)).collect();
        let options = only.iter().map(|part| format!("--tests {} ", lab::shell::quoted(part)));
        let options = options.collect::<String>();
        let carried_out = cases.iter().filter(|entry| entry.skipped.is_none());
        let of_benches =
            benches.iter().map(|entry| entry.document.as_ref().map_or(Outcome::NotRun, |of| of.outcome));
        let outcomes = carried_out
            .map(|entry| entry.outcome)
            .chain(of_benches)
            .chain((!missing.is_empty()).then_some(Outcome::NotRun));
        let outcome = Outcome::of_all(outcomes);
        let noted = Noted { cases, harness, benches, ..Noted::default() };
        let code = noted.exit_code(exit::INCONCLUSIVE);
        // What nobody ran is no success.
        let exit_code = match code {
            // As with `test`: a test of which nothing is known but that it did not pass has failed.
            _ if unknown > 0 => exit::REFUTED,
            exit::SUPPORTED if !missing.is_empty() => exit::INCONCLUSIVE,
            _ => code,
        };
        let qemus: Vec<&str> = hosts.iter().map(|host| host.qemu.as_str()).collect();
        let parts: Vec<String> =
            parts.iter().map(|part| lab::shell::quoted(&part.display().to_string())).collect();
        TestDocument {
            schema: TEST_SCHEMA.to_owned(),
            outcome,
            passed: exit_code == exit::SUPPORTED,
            exit_code,
            host: Host {
                qemu: qemus.join("; "),
                cores: hosts.iter().map(|host| host.cores).min().unwrap_or(0),
                open: hosts
                    .iter()
                    .flat_map(|host| host.open.clone())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            },
            run: run.display().to_string(),
            command: format!("cargo xtask merge {options}{}", parts.join(" ")),
            results: noted.cases,
            harness: noted.harness,
            benches: noted.benches,
            missing,
        }
    }
}

/// The name of the test of a case.
fn name_of(entry: &TestEntry) -> String {
    format!("{}::{}", entry.case, entry.kernel)
}

/// Adds a result. Of a test that was run twice, by its name, the worse one stays.
fn keep_the_worse<T>(
    all: &mut Vec<T>,
    entry: T,
    (name, result): (impl Fn(&T) -> String, impl Fn(&T) -> TestResult),
    twice: &mut BTreeMap<String, usize>,
) {
    let key = name(&entry);
    match all.iter_mut().find(|known| name(known) == key) {
        None => all.push(entry),
        Some(known) => {
            *twice.entry(key).or_insert(1) += 1;
            if result(&entry) > result(known) {
                *known = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TestResult::{Failed, Inconclusive, Passed, Skipped};
    use report::document::{Document, LostEntry};

    fn host() -> Host {
        Host { qemu: "QEMU 7".to_owned(), cores: 2, open: vec!["no Landlock: old".to_owned()] }
    }

    fn part(results: &[(&str, TestResult)]) -> Noted {
        let entry = |(name, result): &(&str, TestResult)| HarnessEntry {
            test: (*name).to_owned(),
            result: *result,
            why: None,
            lost: None,
            took_ms: None,
        };
        let all = ["a", "b", "c"].map(str::to_owned).to_vec();
        let parts = vec![Part { archive: "1".to_owned(), host: host(), tests: all }];
        Noted { harness: results.iter().map(entry).collect(), parts, ..Noted::default() }
    }

    fn joined(parts: Vec<Noted>) -> (TestDocument, Vec<String>) {
        let mut whole = Whole::default();
        for part in parts {
            whole.add(part, Path::new("/nowhere"), "part-1");
        }
        let twice = whole.twice.keys().cloned().collect();
        (whole.document(Path::new("/nowhere"), &[]), twice)
    }

    #[test]
    fn parts_that_have_all_tests_are_as_good_as_the_whole() {
        let (whole, twice) = joined(vec![part(&[("a", Passed), ("c", Skipped)]), part(&[("b", Passed)])]);
        assert_eq!((whole.exit_code, whole.passed, whole.missing.len(), twice.len()), (0, true, 0, 0));
        assert_eq!(whole.host, host());
    }

    #[test]
    fn of_tests_that_nobody_asked_for_it_is_no_loss_that_nobody_ran_them() {
        let mut whole = Whole { only: vec!["a".to_owned()], ..Whole::default() };
        whole.add(part(&[("a", Passed)]), Path::new("/nowhere"), "part-1");
        let whole = whole.document(Path::new("/nowhere"), &[]);
        assert_eq!((whole.exit_code, whole.passed, whole.missing.len()), (0, true, 0));
        assert!(whole.command.contains("--tests a"), "{}", whole.command);
    }

    #[test]
    fn parts_of_several_archives_or_of_none_are_refused_by_name() {
        let (one, mut other) = (part(&[("a", Passed)]), part(&[("b", Passed)]));
        other.parts[0].archive = "2".to_owned();
        let parts = ["x", "y"].map(PathBuf::from);
        let (seen, _) = of_one_archive(&parts, &[one, other]).unwrap_err();
        assert_eq!(seen, "they come from 2 archives: x of 1, y of 2");
        let (seen, _) = of_one_archive(&parts, &[Noted::default(), Noted::default()]).unwrap_err();
        assert!(seen.contains("x of no archive, y of no archive"), "{seen}");
    }

    #[test]
    fn what_nobody_ran_is_missing_and_no_success() {
        let (whole, _) = joined(vec![part(&[("a", Passed)]), part(&[("c", Passed)])]);
        assert_eq!((whole.exit_code, whole.passed, whole.missing), (2, false, vec!["b".to_owned()]));
        assert_eq!(whole.outcome, Outcome::NotRun);
        let (whole, _) = joined(vec![part(&[("a", Failed)])]);
        assert_eq!(whole.exit_code, 1);
    }

    #[test]
    fn of_a_test_that_was_run_twice_the_worse_result_counts_whichever_came_first() {
        let all = |a| part(&[("a", a), ("b", Passed), ("c", Passed)]);
        for parts in [vec![all(Passed), all(Inconclusive)], vec![all(Inconclusive), all(Passed)]] {
            let (whole, twice) = joined(parts);
            assert_eq!((whole.exit_code, twice), (2, vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        }
    }

    #[test]
    fn a_test_that_failed_and_was_not_noted_is_not_lost() {
        let died = Noted { ended: vec![1], ..part(&[("a", Passed), ("b", Passed), ("c", Passed)]) };
        let (whole, _) = joined(vec![died]);
        assert_eq!((whole.exit_code, whole.passed), (1, false));
        let cut = Noted { unreadable: 1, ..part(&[("a", Passed), ("b", Passed), ("c", Passed)]) };
        assert_eq!(joined(vec![cut]).0.exit_code, 1);
        // One that is noted is known.
        let known = Noted { ended: vec![1], ..part(&[("a", Passed), ("b", Inconclusive), ("c", Passed)]) };
        assert_eq!(joined(vec![known]).0.exit_code, 2);
    }

    #[test]
    fn evidence_goes_with_its_boot() {
        let run = tempfile::tempdir().unwrap();
        let there = run.path().join("part-1/guests/boots/001-a");
        fs::create_dir_all(&there).unwrap();
        let document: TestDocument =
            serde_json::from_str(include_str!("../../harness/report/tests/tests.json")).unwrap();
        let mut entry = document.results[1].clone();
        entry.boots = vec!["/home/runner/guests/boots/001-a".to_owned()];
        entry.findings[0].evidence = vec!["1 in /home/runner/guests/boots/001-a/trace.txt:3".to_owned()];
        let mut whole = Whole::default();
        whole.add(Noted { cases: vec![entry], ..Noted::default() }, run.path(), "part-1");
        let line = format!("1 in {}/trace.txt:3", there.display());
        assert_eq!(whole.cases[0].findings[0].evidence, [line]);
    }

    #[test]
    fn a_bench_that_was_lost_is_no_support() {
        let lost = Some(LostEntry { exit_code: 70, why: "QEMU ended".to_owned() });
        let bench = BenchEntry {
            test: "b".to_owned(),
            result: TestResult::Lost,
            lost,
            took_ms: None,
            document: None,
        };
        let mut whole = Whole::default();
        let all = part(&[("a", Passed), ("c", Passed)]);
        whole.add(Noted { benches: vec![bench], ..all }, Path::new("/nowhere"), "part-1");
        let whole = whole.document(Path::new("/nowhere"), &[]);
        assert_eq!((whole.outcome, whole.exit_code, whole.passed), (Outcome::NotRun, 70, false));
    }

    #[test]
    fn a_bench_of_a_part_is_found_where_it_was_copied_to_and_its_result_counts() {
        let run = tempfile::tempdir().unwrap();
        let there = run.path().join("part-1/20261125-105923-bench");
        fs::create_dir_all(&there).unwrap();
        let document: Document =
            serde_json::from_str(include_str!("../../harness/report/tests/one_boot.json")).unwrap();
        let bench = BenchEntry {
            test: "bench::with".to_owned(),
            result: Inconclusive,
            lost: None,
            took_ms: Some(1),
            document: Some(Box::new(document)),
        };
        let all = vec!["bench::with".to_owned(), "bench::with-numa".to_owned()];
        let parts = vec![Part { archive: "1".to_owned(), host: host(), tests: all }];
        let mut whole = Whole::default();
        whole.add(Noted { benches: vec![bench], parts, ..Noted::default() }, run.path(), "part-1");
        let whole = whole.document(run.path(), &[]);
        assert_eq!((whole.exit_code, whole.missing), (2, vec!["bench::with-numa".to_owned()]));
        let document = whole.benches[0].document.as_ref().unwrap();
        assert_eq!(Path::new(&document.run), there);
        let evidence =
            document.results.iter().flat_map(|of| &of.findings).flat_map(|finding| &finding.evidence);
        let place = format!("{}/boots/", there.display());
        let counts = |text: &str| evidence.clone().map(|line| line.matches(text).count()).sum::<usize>();
        assert!(counts("boots/") > 10);
        assert_eq!(counts("boots/"), counts(&place));
    }
}
