//! A search for the commit that broke something, as data: the document that `bisect --json` prints and `bisect.json`
//! keeps after each step. Described in `docs/bisect.md`.

use evidence::certainty::Tally;
use serde::{Deserialize, Serialize};

/// Name and version of the document.
pub const BISECT_SCHEMA: &str = "parprobe.bisect/1";

/// A search.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BisectDocument {
    /// [`BISECT_SCHEMA`].
    pub schema: String,
    /// The command that repeats it.
    pub command: String,
    /// The folder of the run.
    pub run: String,
    /// The case.
    pub case: String,
    /// What is expected of a kernel without the fault: how it behaves; `null` for what is expected of every kernel.
    pub behaves: Option<String>,
    /// What the fault is: what the bad end showed. Empty where a time is compared.
    pub symptoms: Vec<String>,
    /// What the good end does not keep either: it counts for nothing.
    #[serde(default)]
    pub tolerated: Vec<String>,
    /// The time that is compared, and how much longer than at the good end it may take; `null` where none is.
    pub metric: Option<MetricEntry>,
    /// The good end, as it was named.
    pub good: String,
    /// The bad end.
    pub bad: String,
    /// What was examined, in order.
    pub steps: Vec<StepEntry>,
    /// How it ended; `null` until then.
    pub ended: Option<Ended>,
}

/// A time that is compared with that of the good end.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MetricEntry {
    /// Its name.
    pub name: String,
    /// A kernel that takes more than so many times as long is bad.
    pub threshold: f64,
}

/// Why a commit is examined.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is the good end.
    GoodEnd,
    /// It is the bad end.
    BadEnd,
    /// `git bisect` asked for it.
    Step,
    /// It was found, and is examined once more.
    Found,
    /// It comes before the one that was found, and is examined once more.
    Before,
    /// The bad end without the commit that was found.
    Reverted,
}

/// What was found of a commit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It does not have the fault.
    Good,
    /// It has it.
    Bad,
    /// Nobody can tell.
    Skip,
}

/// A commit that was examined.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepEntry {
    /// Why it was examined.
    pub role: Role,
    /// Its full name; that of the version where there are no commits.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// What was found.
    pub answer: Answer,
    /// What it showed, or why nobody can tell.
    pub why: String,
    /// Its boots. Where a time is compared they are pairs, of which none is `shown`.
    pub tally: Tally,
    /// How many times as long as at the good end it took; `null` where no time is compared.
    pub ratio: Option<RatioEntry>,
    /// The chance that the answer is right, as it was known then.
    pub sure: f64,
    /// How long its kernel took to be there, in microseconds.
    pub build_us: u64,
    /// How long its boots took, in microseconds.
    pub boots_us: u64,
}

/// A ratio with its 99 % confidence sequence.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct RatioEntry {
    /// The ratio.
    pub ratio: f64,
    /// Lower end; `null` with too few pairs.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// How a search ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "as")]
pub enum Ended {
    /// The first bad commit was found.
    Found {
        /// The commit.
        commit: CommitEntry,
        /// The chance that all answers that led to it are right.
        sure: f64,
        /// Whether it and the one before it showed the same once more.
        confirmed: bool,
        /// What became of the bad end without it.
        reverted: String,
    },
    /// It is one of these: the others could not be told.
    OneOf {
        /// The commits.
        commits: Vec<CommitEntry>,
    },
    /// There is nothing to search for.
    NoFault {
        /// Why.
        why: String,
    },
}

/// A commit, for a person.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CommitEntry {
    /// Its full name.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub date: String,
}

impl BisectDocument {
    /// As JSON.
    pub fn to_json(&self) -> String {
        super::json(self)
    }
}
