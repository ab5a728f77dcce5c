//! What the cases showed, as data: the document that `test --json` prints. Described in `docs/test-schema.md`.

use evidence::judge::{Finding, Outcome};
use serde::{Deserialize, Serialize};

use super::Host;

/// Name and version of the document of `cargo xtask test --json`.
pub const TEST_SCHEMA: &str = "parprobe.test/1";

/// What the cases showed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TestDocument {
    /// [`TEST_SCHEMA`].
    pub schema: String,
    /// All results together. One that was skipped does not count: its kernel is not one that the case is about.
    pub outcome: Outcome,
    /// Whether every test passed: unit and golden tests, deaths and endings of guests included.
    pub passed: bool,
    /// The host.
    pub host: Host,
    /// The folder of the run.
    pub run: String,
    /// The command that repeats it.
    pub command: String,
    /// Each case on each kernel.
    pub results: Vec<TestEntry>,
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
    /// How it attaches asynchronous drivers: `per-driver`, `per-device` or `per-node`; `null` where nobody knows.
    pub behaves: Option<String>,
    /// The guest's shape, in words.
    pub topology: String,
    /// All findings together.
    pub outcome: Outcome,
    /// Whether the test passed, and if not, why.
    pub result: TestResult,
    /// Why it was not carried out, where it makes no sense on this kernel.
    pub skipped: Option<String>,
    /// How a guest was lost, where nothing says that its kernel is at fault.
    pub lost: Option<String>,
    /// The seeds of its boots.
    pub seeds: Vec<u64>,
    /// The folders of its boots.
    pub boots: Vec<String>,
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
    /// A guest could not be led to its end, and nothing says that its kernel is at fault.
    Lost,
    /// What is expected of this kernel does not hold, or what is expected of its opposite does.
    Failed,
}

/// What a process that carries out cases tells whoever started it: a line of JSON each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestLine {
    /// What became of a case on a kernel.
    Case(Box<TestEntry>),
    /// It came to its end: how many of its tests failed, those that are no case included.
    Ended {
        /// How many.
        failed: u64,
    },
}

impl TestDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
