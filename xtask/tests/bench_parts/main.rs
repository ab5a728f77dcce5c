//! Benches that machines share: each is a test of the archive that `cargo xtask archive` makes. Elsewhere
//! `cargo xtask bench` is what carries them out.

use std::process::ExitCode;
use std::time::Instant;

use evidence::plain::plain;
use lab::failure::Failure;
use lab::watch::Watch;
use libtest_mimic::{Arguments, Failed, Trial};
use report::document::{BenchEntry, LostEntry, TestLine, TestResult};
use testcases::noted;
use xtask::part::{self, Part};

fn main() -> ExitCode {
    if let Err(why) = noted::begin() {
        return noted::complain(&why);
    }
    let mut arguments = Arguments::from_args();
    // One that boots beside another one measures that.
    arguments.test_threads = Some(1);
    let parts = match part::all(&Log) {
        Ok(parts) => parts,
        Err(failure) => return noted::complain(&failure.to_string()),
    };
    let trials = parts.into_iter().map(|part| Trial::test(part.name(), move || carry_out(&part))).collect();
    noted::carry_out(&arguments, trials)
}

/// Carries out a bench, and notes what it found.
fn carry_out(part: &Part) -> Result<(), Failed> {
    let begun = Instant::now();
    let done = part.carry_out(&Log);
    let took_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    let lost =
        |failure: &Failure| LostEntry { exit_code: failure.kind.exit_code(), why: failure.to_string() };
    let (result, lost, document) = match &done {
        Ok(document) => (document.outcome.into(), None, Some(Box::new(document.clone()))),
        Err(failure) => (TestResult::Lost, Some(lost(failure)), None),
    };
    noted::note(&TestLine::Bench(Box::new(BenchEntry {
        test: part.name(),
        result,
        lost,
        took_ms,
        document,
    })))?;
    match done {
        // What the test harness prints as it is.
        Err(failure) => Err(plain(&failure.to_string()).into()),
        Ok(document) if result == TestResult::Passed => {
            tell(&report::text::render(&document));
            Ok(())
        }
        Ok(document) => Err(plain(&report::text::render(&document)).into()),
    }
}

/// Tells what goes on.
struct Log;

impl Watch for Log {
    fn stage(&self, what: &str) {
        tell(what);
    }

    fn note(&self, text: &str) {
        tell(text);
    }
}

#[allow(clippy::print_stderr)]
fn tell(text: &str) {
    if !noted::quiet() {
        eprintln!("{}", plain(text));
    }
}
