//! What a bench found, as data: the document that `bench --json` prints and `verdict.json` keeps.
//!
//! Described for its readers in `docs/bench-schema.md`. Fields may be added under the same `schema`; one that
//! changes its meaning or goes away needs a new number.

mod bisect;
mod boot;
mod limit;
mod mutants;
mod nightly;
mod test;

use evidence::judge::{Finding, Outcome};
use evidence::plain::plain;
use evidence::stats::Ratio;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bisect::{
    Answer, BISECT_SCHEMA, BisectDocument, CommitEntry, Ended, MetricEntry, RatioEntry, Role, StepEntry,
};
pub use boot::{BootEntry, EndedEntry, FactsEntry};
pub use limit::{LimitEntry, SpentEntry};
pub use mutants::{Fate, MUTANTS_SCHEMA, MutantEntry, MutantsDocument, SelfEntry, Untold};
pub use nightly::{
    ChangeEntry, CheckEntry, CheckFate, ComparedEntry, FailingEntry, FlakyEntry, HISTORY_SCHEMA,
    HistoryEntry, LeftOutEntry, MachineEntry, MachineTrend, NIGHTLY_SCHEMA, NightDocument, SeriesEntry,
    StructureEntry, TRENDS_SCHEMA, ToldChange, ToldEntry, TrendsDocument, TryEntry,
};
pub use test::{
    BenchEntry, HarnessEntry, LostEntry, TEST_LINES, TEST_SCHEMA, TestDocument, TestEntry, TestLine,
    TestResult,
};

/// Name and version of the document.
pub const SCHEMA: &str = "parprobe.bench/1";

/// In the folder of a bench until it has a verdict: the document as it was after the last round, inconclusive at best.
pub const SO_FAR: &str = "so-far.json";

/// A bench.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// All claims together.
    pub outcome: Outcome,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// Why this one.
    pub accel_reason: String,
    /// The guest's shape, in words.
    pub topology: String,
    /// The host: QEMU's version and the number of cores.
    pub host: Host,
    /// The folder of the run.
    pub run: String,
    /// The command that repeats it.
    pub command: String,
    /// The kernels.
    pub kernels: Vec<KernelEntry>,
    /// The cases.
    pub cases: Vec<CaseEntry>,
    /// What each kernel showed in each case.
    pub results: Vec<ResultEntry>,
    /// Kernels against each other.
    pub comparisons: Vec<Comparison>,
    /// Where the time went.
    #[serde(default)]
    pub time: Option<TimeEntry>,
}

/// Where the time of a bench went, in microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TimeEntry {
    /// From its start to its verdict, by the host's clock.
    pub wall_us: u64,
    /// Of that, until the first boot: what the host lacked, kernels, agent and images.
    pub until_boot_us: u64,
    /// Of that, the measured part of all its guests, loading the module, by their clocks.
    pub measured_us: u64,
    /// How many guests that were: boots and forks.
    pub guests: u32,
}

impl TimeEntry {
    /// What a guest took besides the measured parts, from the first boot to the verdict: the rest of the time, divided by
    /// their number, in microseconds; `None` without guests.
    pub fn overhead_us(&self) -> Option<u64> {
        let rest = self.wall_us.saturating_sub(self.until_boot_us.saturating_add(self.measured_us));
        rest.checked_div(u64::from(self.guests))
    }
}

/// The host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Host {
    /// The first line of QEMU's `--version`.
    pub qemu: String,
    /// Cores that the harness may use.
    pub cores: u32,
    /// What its guests were not shut off by, and why: a filter or a rule that this host or its QEMU lacks.
    #[serde(default)]
    pub open: Vec<String>,
}

/// A kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct KernelEntry {
    /// Its name.
    pub name: String,
    /// `uname -r`.
    pub release: String,
    /// Its address in the kernel store: a hash of source, patches, configuration and compiler.
    pub id: String,
    /// What is special about it.
    pub about: String,
    /// How it is said to attach asynchronous drivers; `null` where nobody knows.
    pub behaves: Option<String>,
}

/// A case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CaseEntry {
    /// Its name.
    pub name: String,
    /// What happens in it.
    pub situation: String,
    /// What was claimed.
    pub claim: String,
    /// Where.
    pub source: String,
    /// Whether a kernel was booted that the claim is about, or one of which nobody knows; and none of these was held
    /// against one that the claim is not about: whether it is about it was what was asked.
    pub tested: bool,
    /// Whether the claim was judged: it is of a kernel of which nobody knows that it is about it only where that is said.
    #[serde(default = "yes")]
    pub judged: bool,
    /// How short the makespan can be; `null` where no boot says what a probe needs.
    #[serde(default)]
    pub limit: Option<LimitEntry>,
}

/// Of documents that are older than a field.
fn yes() -> bool {
    true
}

/// What a kernel showed in a case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ResultEntry {
    /// The case.
    pub case: String,
    /// The kernel.
    pub kernel: String,
    /// All its findings together.
    pub outcome: Outcome,
    /// What was expected, and what was seen.
    pub findings: Vec<Finding>,
    /// What is expected of kernels that behave otherwise, and what was seen.
    #[serde(default)]
    pub others: Vec<Finding>,
    /// Its boots.
    pub boots: Vec<BootEntry>,
    /// Boots and forks of which nothing else is known: its kernel died, or refused what it was told.
    #[serde(default)]
    pub ended: Vec<EndedEntry>,
}

/// Two kernels.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// The case.
    pub case: String,
    /// The kernel in the numerator.
    pub baseline: String,
    /// The kernel in the denominator.
    pub candidate: String,
    /// What is compared: `makespan` or `insmod`.
    pub metric: String,
    /// Baseline over candidate: the geometric mean over the pairs of boots. `null` without a pair.
    pub ratio: Option<f64>,
    /// Lower end of the 95 % interval; `null` with too few pairs.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// What the interval is good for.
    #[serde(default)]
    pub interval: IntervalKind,
    /// How many pairs of boots.
    pub pairs: usize,
    /// How often each boot was forked; its time is the geometric mean of its own and those of its forks.
    #[serde(default)]
    pub forks: usize,
    /// How many more there were, in which a kernel died, lines were lost or witnesses differ.
    pub left_out: usize,
    /// Which of the two is claimed to be faster, in words; `null` where nobody claims it.
    pub claim: Option<String>,
    /// What follows for the claim.
    pub outcome: Option<Outcome>,
}

/// What an interval is good for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalKind {
    /// For a number of pairs that was fixed beforehand: Student's t.
    #[default]
    Fixed,
    /// For any number of pairs, though somebody looked after each: a confidence sequence.
    Sequence,
}

impl Comparison {
    /// A comparison with this ratio, from a number of pairs that was fixed beforehand.
    pub fn new(
        case: &str,
        baseline: &str,
        candidate: &str,
        pairs: usize,
        left_out: usize,
        ratio: Option<Ratio>,
    ) -> Self {
        let interval = ratio.and_then(|ratio| ratio.interval);
        Self {
            case: case.to_owned(),
            baseline: baseline.to_owned(),
            candidate: candidate.to_owned(),
            metric: "makespan".to_owned(),
            ratio: ratio.map(|ratio| ratio.ratio),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            interval: IntervalKind::Fixed,
            pairs,
            forks: 0,
            left_out,
            claim: None,
            outcome: None,
        }
    }
}

impl Document {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        json(self)
    }

    /// What the verdict leaves open: where only kernels were booted of which nobody knows whether the claim of the case
    /// is about them, it is of what every kernel promises.
    pub fn leaves_open(&self) -> Option<&'static str> {
        let open = self.cases.iter().any(|case| case.tested && !case.judged);
        open.then_some("but for the claim: that is judged where --behaves says what is expected")
    }

    /// Why the claim of a case was not tested, where it was not.
    pub fn untested(&self, case: &CaseEntry) -> Option<String> {
        let unknown: Vec<&str> = self
            .kernels
            .iter()
            .filter(|kernel| kernel.behaves.is_none())
            .map(|kernel| kernel.name.as_str())
            .collect();
        let why = match &unknown[..] {
            [] => "no kernel that it is about was booted".to_owned(),
            some => format!("nothing says whether it is about {}: --behaves does", some.join(", ")),
        };
        (!case.tested).then_some(why)
    }
}

/// The document, with the further lines of its texts moved in: what a guest said shall not look like a line of ours.
pub(crate) fn hung<T: Serialize + DeserializeOwned + Clone>(document: &T) -> T {
    fn move_in(value: &mut Value) {
        match value {
            Value::String(text) if text.contains('\n') => *text = text.trim_end().replace('\n', "\n      "),
            Value::Array(all) => all.iter_mut().for_each(move_in),
            Value::Object(all) => all.values_mut().for_each(move_in),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let Ok(mut value) = serde_json::to_value(document) else { return document.clone() };
    move_in(&mut value);
    // What was written is read: it has the same shape.
    serde_json::from_value(value).unwrap_or_else(|_| document.clone())
}

/// As JSON, indented, that may be looked at on a terminal: what JSON lets stand that is not plain text is escaped, which
/// changes nothing of what it says.
pub(crate) fn json(document: &impl Serialize) -> String {
    plain(&serde_json::to_string_pretty(document).unwrap_or_default()).into_owned()
}
