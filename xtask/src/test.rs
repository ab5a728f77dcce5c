//! `test`: unit and golden tests through cargo, then guest tests through libtest-mimic.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evidence::judge::Outcome;
use lab::child;
use lab::failure::{Failure, Kind};
use lab::host;
use lab::kernel::{Catalogue, Store};
use lab::run::Place;
use lab::watch::Watch;
use report::document::{Host, TEST_SCHEMA, TestDocument, TestEntry, TestLine, TestResult};
use testcases::{CASES, Case};

use crate::cli::TestArguments;
use crate::exit;
use crate::screen::print;

/// Longer than all tests take on a slow host: for a test that hangs past its own deadline.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Tests that boot no guest.
const FAST: &[&str] = &["--workspace"];
/// Tests that do.
const GUESTS: &[&str] = &["--package", "testcases", "--test", "guests"];
/// The kernel on which deaths and endings of guests are tested.
const PATIENT: &str = "mainline";

pub(crate) fn run(arguments: &TestArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let parts: &[&[&str]] = if arguments.fast { &[FAST] } else { &[FAST, GUESTS] };
    let tests = Tests { workspace, arguments, run: None };
    // libtest-mimic takes one filter at a time.
    let filters: Vec<Option<&str>> = match &arguments.filters[..] {
        [] => vec![None],
        some => some.iter().map(|filter| Some(filter.as_str())).collect(),
    };
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    // A name that is not there is found out now.
    for name in &arguments.kernels {
        catalogue.recipe(name)?;
    }
    if arguments.list {
        for part in parts {
            for filter in &filters {
                tests.cargo_test(part, &[filter.as_slice(), &["--list"]].concat())?;
            }
        }
        return Ok(exit::SUPPORTED);
    }
    if !arguments.fast {
        host::prepare(&host::examine(&catalogue), arguments.setup, watch)?;
    }
    // Which parts have tests of these names: no kernel is built for a filter that asks for no guest, and a
    // filter that asks for nothing at all is a slip, and no success.
    let (mut fast_passed, mut guests_passed, mut found) = (true, true, false);
    let mut processes = 0;
    let mut folder = None;
    for part in parts {
        for filter in filters.iter().copied() {
            if let Some(filter) = filter
                && !tests.names(part)?.contains(filter)
            {
                continue;
            }
            found = true;
            if *part != GUESTS {
                // Every part runs, so that one failure does not hide another.
                fast_passed &= tests.cargo_test(part, filter.as_slice())?;
                continue;
            }
            // Here, and not within a test, so that a kernel that does not build has its own exit code.
            let needed = kernels_for(arguments, &catalogue, filter)?;
            let recipes = needed.iter().map(|name| catalogue.recipe(name)).collect::<Result<Vec<_>, _>>()?;
            Store::open()?.ensure(&recipes, watch)?;
            let run = match &folder {
                Some(run) => run,
                None => folder.insert(Place::Dated { runs: workspace.join("runs"), kind: "test" }.make()?),
            };
            let tests = Tests { run: Some(run), ..tests };
            guests_passed &= tests.cargo_test(part, filter.as_slice())?;
            processes += 1;
        }
    }
    if !found {
        let attempt = format!("run the tests named {}", arguments.filters.join(", "));
        let next = "`cargo xtask test --list` shows the names";
        return Err(Failure::new(Kind::Asked, attempt, "there are none", next));
    }
    let (results, ended) = folder.as_deref().map(read_results).transpose()?.unwrap_or_default();
    let outcomes = results.iter().filter(|entry| entry.skipped.is_none()).map(|entry| entry.outcome);
    let worst = if !fast_passed {
        Some(TestResult::Failed)
    } else if guests_passed {
        results.iter().map(|entry| entry.result).max()
    } else {
        Some(worst_of_guests(&results, &ended, processes))
    };
    let document = TestDocument {
        schema: TEST_SCHEMA.to_owned(),
        outcome: Outcome::of_all(outcomes),
        passed: fast_passed && guests_passed,
        host: Host { qemu: lab::guest::qemu_version().unwrap_or_default(), cores: host::host_cores() },
        run: folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default(),
        command: repeat(arguments),
        results,
    };
    let json = document.to_json() + "\n";
    if let Some(folder) = &folder {
        let path = folder.join("test.json");
        std::fs::write(&path, &json).map_err(|e| Failure::file("write", &path, &e))?;
    }
    print(&if arguments.json { json } else { report::text::render_unknown(&document) });
    Ok(worst.map_or(exit::SUPPORTED, exit::code_of_result))
}

/// The worst result of guest tests that did not all pass. One that is no case, or of which nothing is known, has failed.
fn worst_of_guests(results: &[TestEntry], ended: &[u64], processes: usize) -> TestResult {
    let not_passed = |entry: &&TestEntry| entry.result > TestResult::Passed;
    let of_cases = results.iter().filter(not_passed).count();
    if ended.len() < processes || usize::try_from(ended.iter().sum::<u64>()) != Ok(of_cases) {
        return TestResult::Failed;
    }
    results.iter().map(|entry| entry.result).max().unwrap_or(TestResult::Failed)
}

/// The kernels that guest tests of these names boot, each with its flavour.
fn kernels_for(
    arguments: &TestArguments,
    catalogue: &Catalogue,
    filter: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let mut needed = Vec::new();
    for kernel in &arguments.kernels {
        for case in CASES {
            for flavour in case.flavours_on(catalogue.recipe(kernel)?.behaves) {
                let name = Case::on(kernel, flavour);
                if filter.is_none_or(|filter| format!("{}::{name}", case.name).contains(filter)) {
                    needed.push(name);
                }
            }
        }
    }
    // Kernels of one configuration one after the other, the usual one first: the others begin with its objects.
    needed.sort_by_key(|name| name.split_once('+').map_or("", |(_, flavour)| flavour).to_owned());
    needed.push(PATIENT.to_owned());
    let mut seen = std::collections::BTreeSet::new();
    needed.retain(|name| seen.insert(name.clone()));
    Ok(needed)
}

fn repeat(arguments: &TestArguments) -> String {
    let TestArguments { filters, fast, kernels, accel, json: _, list: _, setup: _ } = arguments;
    let mut command = "cargo xtask test".to_owned();
    for filter in filters {
        command.push_str(&format!(" {filter}"));
    }
    if *fast {
        command.push_str(" --fast");
    }
    format!("{command} --kernels {} --accel {}", kernels.join(","), accel.name())
}

/// What the guest tests noted of each case, and how many failed of each process that came to its end.
fn read_results(run: &Path) -> Result<(Vec<TestEntry>, Vec<u64>), Failure> {
    let path = results_path(run);
    let text = match std::fs::read_to_string(&path) {
        // They could not be compiled.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        read => read.map_err(|e| Failure::file("read", &path, &e))?,
    };
    let (mut results, mut ended) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(TestLine::Case(entry)) => results.push(*entry),
            Ok(TestLine::Ended { failed }) => ended.push(failed),
            Err(e) => {
                let attempt = format!("read {}", path.display());
                return Err(Failure::new(Kind::Files, attempt, e.to_string(), "run the tests again"));
            }
        }
    }
    Ok((results, ended))
}

/// In the folder of the run: what the tests write, until it is part of the document.
fn results_path(run: &Path) -> PathBuf {
    run.join("results.jsonl")
}

/// How the tests are run.
#[derive(Clone, Copy)]
struct Tests<'a> {
    workspace: &'a Path,
    arguments: &'a TestArguments,
    /// The folder for the guests of a run.
    run: Option<&'a Path>,
}

impl Tests<'_> {
    /// The names of the tests of a part, one a line.
    fn names(&self, part: &[&str]) -> Result<String, Failure> {
        child::text_of(self.command(part).arg("--list"), PATIENCE).map_err(|e| match e.kind() {
            ErrorKind::Interrupted => Failure::interrupted("list the tests"),
            _ => {
                let next = "`cargo xtask test --list` shows what cargo says";
                Failure::new(Kind::Host, "list the tests with cargo test", e.to_string(), next)
            }
        })
    }

    /// Runs `cargo test` on our own terminal; whether it passed.
    fn cargo_test(&self, part: &[&str], more: &[&str]) -> Result<bool, Failure> {
        let mut command = self.command(part);
        if self.arguments.json {
            // Standard output is for the document.
            command.stdout(std::io::stderr());
        }
        child::run_to_end(command.args(more), PATIENCE).map_err(|e| match e.kind() {
            ErrorKind::Interrupted => Failure::interrupted("run the tests"),
            _ => Failure::new(Kind::Host, "run cargo test", e.to_string(), "check that cargo works here"),
        })
    }

    fn command(&self, part: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(self.workspace).args(["test", "--quiet", "--no-fail-fast"]).args(part).arg("--");
        command.env("PARPROBE_ACCEL", self.arguments.accel.name());
        command.env("PARPROBE_KERNELS", self.arguments.kernels.join(","));
        if let Some(run) = self.run {
            command.env("PARPROBE_RUN", run).env("PARPROBE_RESULTS", results_path(run));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(result: TestResult) -> TestEntry {
        TestEntry {
            case: String::new(),
            situation: String::new(),
            claim: String::new(),
            source: String::new(),
            kernel: String::new(),
            behaves: None,
            topology: String::new(),
            outcome: Outcome::NotRun,
            result,
            skipped: None,
            lost: None,
            seeds: Vec::new(),
            boots: Vec::new(),
            findings: Vec::new(),
            others: Vec::new(),
        }
    }

    #[test]
    fn what_cannot_be_told_or_was_lost_is_no_failure_unless_something_failed() {
        use TestResult::{Failed, Inconclusive, Lost, Passed, Skipped};
        let worst = |results: &[TestResult], ended: &[u64]| {
            let entries: Vec<TestEntry> = results.iter().map(|result| entry(*result)).collect();
            worst_of_guests(&entries, ended, 1)
        };
        assert_eq!(worst(&[Passed, Inconclusive, Skipped], &[1]), Inconclusive);
        assert_eq!(worst(&[Lost, Inconclusive], &[2]), Lost);
        assert_eq!(worst(&[Lost, Failed], &[2]), Failed);
        // One more failed, which is no case; or the process did not come to its end.
        assert_eq!(worst(&[Inconclusive], &[2]), Failed);
        assert_eq!(worst(&[Inconclusive], &[]), Failed);
    }
}
