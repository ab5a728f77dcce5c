//! What the cases showed, as data: the document that `test --json` prints. Described in `docs/test-schema.md`.

use evidence::judge::{Finding, Outcome};
use serde::{Deserialize, Serialize};

use super::{Document, Host, LimitEntry, SpentEntry};

/// Name and version of the document of `cargo xtask test --json`.
pub const TEST_SCHEMA: &str = "parprobe.test/1";

/// In the folder of a run: a [`TestLine`] for each test, written as it ends.
pub const TEST_LINES: &str = "results.jsonl";

/// What the cases showed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TestDocument {
    /// [`TEST_SCHEMA`].
    pub schema: String,
    /// All results together. One that was skipped does not count: its kernel is not one that the case is about.
    pub outcome: Outcome,
    /// Whether no test failed, was lost or could not tell: unit and golden tests, deaths and endings of guests
    /// included.
    pub passed: bool,
    /// The exit code of the tests, as the README describes it. Where all that was asked for was skipped it is 2, though
    /// nothing failed.
    pub exit_code: u8,
    /// The host.
    pub host: Host,
    /// The folder of the run.
    pub run: String,
    /// The command that repeats it.
    pub command: String,
    /// Each case on each kernel.
    pub results: Vec<TestEntry>,
    /// Each test that boots guests and is no case: deaths and endings of guests, forks, faults.
    pub harness: Vec<HarnessEntry>,
    /// Each bench, of results that several machines made.
    #[serde(default)]
    pub benches: Vec<BenchEntry>,
    /// Tests that are known of and that nobody ran: of results that several machines made.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// A test of the harness with guests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HarnessEntry {
    /// Its name.
    pub test: String,
    /// Whether it passed, and if not, why.
    pub result: TestResult,
    /// What it says, where it did not pass.
    pub why: Option<String>,
    /// What the world lacked for it.
    pub lost: Option<LostEntry>,
    /// How long it took by the host's clock, in milliseconds. No verdict rests on it.
    #[serde(default)]
    pub took_ms: Option<u64>,
}

/// A bench that a machine carried out as its part.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BenchEntry {
    /// Its name among the tests: `bench::` and the kernel that is held against the first.
    pub test: String,
    /// Whether its claims hold.
    pub result: TestResult,
    /// What the world lacked for it.
    pub lost: Option<LostEntry>,
    /// How long it took by the host's clock, in milliseconds.
    pub took_ms: Option<u64>,
    /// What it found, of this machine alone; null where it was lost.
    pub document: Option<Box<Document>>,
}

/// Why a test could not be carried out to its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LostEntry {
    /// The exit code of this kind of failure: 70 for a guest, 69 for the host, 71 for a kernel that does not build,
    /// 74 for files.
    pub exit_code: u8,
    /// What was tried, what was seen and what to do next.
    pub why: String,
}

/// A case on a kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TestEntry {
    /// The case.
    pub case: String,
    /// What happens in it.
    pub situation: String,
    /// What is claimed.
    pub claim: String,
    /// Where that comes from.
    pub source: String,
    /// The kernel, with its flavour.
    pub kernel: String,
    /// How it attaches asynchronous drivers: `per-driver`, `per-device`, `per-node` or `near-node`; `null` where nobody
    /// knows.
    pub behaves: Option<String>,
    /// What it is, as a commit; empty in documents that are older than this field.
    #[serde(default)]
    pub about: String,
    /// The guest's shape, in words.
    pub topology: String,
    /// What its guests ran under: `kvm` or `tcg`; `null` where none was booted.
    #[serde(default)]
    pub accel: Option<String>,
    /// How long it took by the host's clock, in milliseconds, the building of its kernel included where it was not
    /// there. No verdict rests on it.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// All findings together.
    pub outcome: Outcome,
    /// Whether the test passed, and if not, why.
    pub result: TestResult,
    /// Why it was not carried out, where it makes no sense on this kernel.
    pub skipped: Option<String>,
    /// Why it could not be carried out to its end, where nothing says that its kernel is at fault.
    pub lost: Option<LostEntry>,
    /// The seeds of its boots.
    pub seeds: Vec<u64>,
    /// The folders of its boots.
    pub boots: Vec<String>,
    /// How short the makespan of its first boot could have been; `null` where devices are no LUNs, or where that cannot
    /// be told.
    #[serde(default)]
    pub limit: Option<LimitEntry>,
    /// What that makespan was spent on.
    #[serde(default)]
    pub spent: Option<SpentEntry>,
    /// What is expected of this kernel, and what was seen.
    pub findings: Vec<Finding>,
    /// What is expected of kernels that behave otherwise, and what was seen.
    pub others: Vec<Finding>,
}

/// What became of a case on a kernel.
///
/// From the least to the worst: of several, the worst is what became of all.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// It makes no sense on this kernel.
    Skipped,
    /// What is expected of this kernel holds, and what is expected of its opposite does not.
    Passed,
    /// The boots cannot tell.
    Inconclusive,
    /// It could not be carried out to its end, and nothing says that its kernel is at fault.
    Lost,
    /// What is expected of this kernel does not hold, or what is expected of its opposite does.
    Failed,
}

impl From<Outcome> for TestResult {
    /// A claim for which no boot was made is no more green than one that its boots cannot tell.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Supported => Self::Passed,
            Outcome::Refuted => Self::Failed,
            Outcome::Inconclusive | Outcome::NotRun => Self::Inconclusive,
        }
    }
}

impl TestResult {
    /// All of them, what is well first.
    pub const ALL: [Self; 5] = [Self::Passed, Self::Failed, Self::Inconclusive, Self::Lost, Self::Skipped];
}

/// What a process that carries out cases tells whoever started it: a line of JSON each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestLine {
    /// What became of a case on a kernel.
    Case(Box<TestEntry>),
    /// What became of a test of the harness.
    Harness(HarnessEntry),
    /// What a bench found.
    Bench(Box<BenchEntry>),
    /// Where it runs a part of the tests, as one of several machines: before the first of its results.
    Part {
        /// What tells the archive that they come from apart from others.
        archive: String,
        /// The machine.
        host: Host,
        /// The names of all tests.
        tests: Vec<String>,
    },
    /// It came to its end: how many of its tests did not pass.
    Ended {
        /// How many.
        failed: u64,
    },
}

impl TestDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        super::json(self)
    }
}
