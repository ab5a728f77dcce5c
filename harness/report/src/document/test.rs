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
    /// Whether all other tests passed: unit and golden tests, deaths and endings of guests.
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
    /// Why it was not carried out, where it makes no sense on this kernel.
    pub skipped: Option<String>,
    /// The seeds of its boots.
    pub seeds: Vec<u64>,
    /// The folders of its boots.
    pub boots: Vec<String>,
    /// What is expected of this kernel, and what was seen.
    pub findings: Vec<Finding>,
    /// What is expected of kernels that behave otherwise, and what was seen.
    pub others: Vec<Finding>,
}

impl TestDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
