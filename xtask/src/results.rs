//! What processes of tests noted in the folder of their run, as they went.

use std::io::ErrorKind;
use std::path::Path;

use lab::failure::{Failure, Kind};
use report::document::{
    BenchEntry, HarnessEntry, Host, LostEntry, TEST_LINES, TestEntry, TestLine, TestResult,
};

use crate::exit;

/// What processes noted.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) cases: Vec<TestEntry>,
    pub(crate) harness: Vec<HarnessEntry>,
    pub(crate) benches: Vec<BenchEntry>,
    /// Of each process that came to its end, how many of its tests did not pass.
    pub(crate) ended: Vec<u64>,
    /// Lines that cannot be read: each may have been a test.
    pub(crate) unreadable: u64,
    /// Where each machine runs a part of the tests, what it said of them: once, unless several archives were mixed.
    pub(crate) parts: Vec<Part>,
}

/// A machine that runs a part of the tests.
pub(crate) struct Part {
    /// What tells the archive that they come from apart from others.
    pub(crate) archive: String,
    pub(crate) host: Host,
    /// The names of all tests.
    pub(crate) tests: Vec<String>,
}

impl Noted {
    /// Reads them; nothing where the tests could not be compiled.
    ///
    /// # Errors
    /// `Files`.
    pub(crate) fn read(run: &Path) -> Result<Self, Failure> {
        let path = run.join(TEST_LINES);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.map_err(|e| Failure::file("read", &path, &e))?,
        };
        Ok(Self::parse(&text))
    }

    /// The same for the text of that file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut noted = Self::default();
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(TestLine::Case(entry)) => noted.cases.push(*entry),
                Ok(TestLine::Harness(entry)) => noted.harness.push(entry),
                Ok(TestLine::Bench(entry)) => noted.benches.push(*entry),
                Ok(TestLine::Ended { failed }) => noted.ended.push(failed),
                Ok(TestLine::Part { archive, host, tests }) => {
                    noted.parts.push(Part { archive, host, tests })
                }
                // A line that was cut is a test of which nothing is known.
                Err(_) => noted.unreadable += 1,
            }
        }
        noted
    }

    /// What became of each test, and what it lacked.
    pub(crate) fn results(&self) -> impl Iterator<Item = (TestResult, Option<&LostEntry>)> {
        let harness = self.harness.iter().map(|entry| (entry.result, entry.lost.as_ref()));
        let benches = self.benches.iter().map(|entry| (entry.result, entry.lost.as_ref()));
        self.cases.iter().map(|entry| (entry.result, entry.lost.as_ref())).chain(harness).chain(benches)
    }

    /// The exit code for the worst of them; `skipped` where nothing was carried out.
    pub(crate) fn exit_code(&self, skipped: u8) -> u8 {
        match self.results().map(|(result, _)| result).max() {
            None | Some(TestResult::Passed) => exit::SUPPORTED,
            Some(TestResult::Skipped) => skipped,
            Some(TestResult::Inconclusive) => exit::INCONCLUSIVE,
            Some(TestResult::Lost) => {
                let first = self.results().find_map(|(_, lost)| lost);
                first.map_or(Kind::Guest.exit_code(), |lost| lost.exit_code)
            }
            Some(TestResult::Failed) => exit::REFUTED,
        }
    }
}
