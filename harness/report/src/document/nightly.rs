//! A night, as a history keeps it and as it is told. Described in `docs/nightly.md`.

use std::fmt;

use evidence::stats::Interval;
use serde::{Deserialize, Serialize};

use super::{IntervalKind, KernelEntry, TestResult};

/// Name and version of a file of a history.
pub const HISTORY_SCHEMA: &str = "parprobe.history/1";
/// Name and version of the document of `cargo xtask nightly --json`.
pub const NIGHTLY_SCHEMA: &str = "parprobe.nightly/1";
/// Name and version of the document of `cargo xtask history --json`.
pub const TRENDS_SCHEMA: &str = "parprobe.trends/1";

/// A night of a runner.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// [`HISTORY_SCHEMA`].
    pub schema: String,
    /// When it began, UTC: `2026-11-25T21:40:07Z`.
    pub when: String,
    /// The runner.
    pub runner: String,
    /// What kind of machine that is.
    pub machine: MachineEntry,
    /// parprobe's version.
    pub parprobe: String,
    /// The folder of the run, on the runner.
    pub run: String,
    /// The command that repeats it.
    pub command: String,
    /// The guest's shape in the bench, in words.
    pub topology: String,
    /// The kernels of the bench; none where it could not be carried out.
    pub kernels: Vec<KernelEntry>,
    /// Each test and each claim of the bench.
    pub checks: Vec<CheckEntry>,
    /// Each comparison of the bench.
    pub comparisons: Vec<ComparedEntry>,
    /// How each kernel probed in the bench.
    pub structure: Vec<StructureEntry>,
    /// The changes that made it red; `null` of a night that did not keep them.
    #[serde(default)]
    pub told: Option<Vec<ToldChange>>,
}

/// A change that made a night red.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToldChange {
    /// The case.
    pub case: String,
    /// The kernel in the numerator.
    pub baseline: String,
    /// The kernel in the denominator.
    pub candidate: String,
    /// `makespan` or `insmod`.
    pub metric: String,
    /// The guest's shape, in words.
    pub topology: String,
    /// The first night that shows it.
    pub since: String,
    /// The night after which it was found.
    pub found: String,
}

impl HistoryEntry {
    /// The day on which it began, UTC: what is of one day is of one night.
    pub fn night(&self) -> &str {
        self.when.get(..10).unwrap_or(&self.when)
    }
}

/// A kind of machine. Times are compared with those of the same kind only.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MachineEntry {
    /// The model of its CPUs.
    pub cpu: String,
    /// Cores that the harness may use.
    pub cores: u32,
    /// Memory in GiB, rounded.
    pub memory_gib: u64,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// The first line of QEMU's `--version`.
    pub qemu: String,
}

impl fmt::Display for MachineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_gib, accel, qemu } = self;
        let qemu = qemu.split(" (").next().unwrap_or_default().replace("emulator version ", "");
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB, {} under {qemu}", accel.to_uppercase())
    }
}

/// A test, or a claim of the bench, and what became of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckEntry {
    /// Its name: `driver_after_devices::with`, `bench::with`.
    pub name: String,
    /// What it showed.
    pub first: TryEntry,
    /// What it showed when it was tried again, because it had failed.
    pub again: Option<TryEntry>,
}

/// One try.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TryEntry {
    /// What became of it.
    pub result: TestResult,
    /// Why, where it did not pass.
    pub why: Vec<String>,
    /// The exit code of what kept it from being carried out to its end.
    pub exit_code: Option<u8>,
    /// The folder with its logs, in that of the run.
    pub folder: String,
}

/// What became of a test after one try or two.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckFate {
    /// It makes no sense on its kernel.
    Skipped,
    /// At once.
    Passed,
    /// It failed, and passed when it was tried again.
    Flaky,
    /// It failed twice.
    Failed,
    /// The boots cannot tell; or it failed, and could not tell when it was tried again.
    Untold,
    /// It could not be carried out to its end.
    Lost,
}

impl CheckEntry {
    /// What became of it. One failure is none yet.
    pub fn fate(&self) -> CheckFate {
        match (self.first.result, self.again.as_ref().map(|again| again.result)) {
            (TestResult::Failed, Some(TestResult::Passed)) => CheckFate::Flaky,
            (TestResult::Failed, Some(TestResult::Failed)) => CheckFate::Failed,
            (TestResult::Failed, Some(TestResult::Lost)) | (TestResult::Lost, _) => CheckFate::Lost,
            (TestResult::Failed, _) | (TestResult::Inconclusive, _) => CheckFate::Untold,
            (TestResult::Passed, _) => CheckFate::Passed,
            (TestResult::Skipped, _) => CheckFate::Skipped,
        }
    }
}

/// Two kernels in a night.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ComparedEntry {
    /// The case.
    pub case: String,
    /// The kernel in the numerator.
    pub baseline: String,
    /// The kernel in the denominator.
    pub candidate: String,
    /// `makespan` or `insmod`.
    pub metric: String,
    /// The natural logarithm of the ratio of their times.
    pub log_ratio: f64,
    /// Lower end of the 95 % interval of the logarithm.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// What the interval is good for.
    pub interval: IntervalKind,
    /// The standard error of the logarithm.
    pub error: Option<f64>,
    /// How many pairs of boots.
    pub pairs: usize,
    /// How often each boot was forked.
    pub forks: usize,
}

/// How a kernel probed in a night: the middle one of its boots.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StructureEntry {
    /// The kernel.
    pub kernel: String,
    /// How many boots and forks.
    pub boots: usize,
    /// Most probes that ran at the same time.
    pub in_flight: Option<u64>,
    /// Threads that ran probes.
    pub workers: Option<u64>,
    /// Probes that began and ended on their node, in percent.
    pub on_node: Option<u64>,
    /// First start to last end, in microseconds.
    pub makespan_us: Option<u64>,
    /// How long loading the module took, in microseconds.
    pub insmod_us: Option<u64>,
}

/// A night, told: the document of `cargo xtask nightly --json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NightDocument {
    /// [`NIGHTLY_SCHEMA`].
    pub schema: String,
    /// The exit code.
    pub exit_code: u8,
    /// The file in the history.
    pub file: String,
    /// What was added to the history.
    pub entry: HistoryEntry,
    /// Nights before this one on machines of its kind: the days.
    pub before: Vec<String>,
    /// The runners of those nights.
    pub runners: Vec<String>,
    /// Files of the history that say nothing.
    pub left_out: Vec<LeftOutEntry>,
    /// Each test that did not simply pass.
    pub checks: Vec<ToldEntry>,
    /// Each series that was held against the nights before.
    pub series: Vec<SeriesEntry>,
}

/// A file that is left out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeftOutEntry {
    /// Its name.
    pub file: String,
    /// Why.
    pub why: String,
}

/// A test that did not simply pass.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ToldEntry {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub fate: CheckFate,
    /// Of one that failed: the night since which it does, where that is an earlier one.
    pub known_since: Option<String>,
    /// Whether it makes the night red.
    pub red: bool,
}

/// A comparison over the nights.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SeriesEntry {
    /// The case.
    pub case: String,
    /// The kernel in the numerator.
    pub baseline: String,
    /// The kernel in the denominator.
    pub candidate: String,
    /// `makespan` or `insmod`.
    pub metric: String,
    /// The guest's shape, in words.
    pub topology: String,
    /// The nights, oldest first.
    pub nights: Vec<String>,
    /// The ratio in each: of several runners the median.
    pub ratios: Vec<f64>,
    /// The ratio since the last change: the median.
    pub level: f64,
    /// The changes that held.
    pub changes: Vec<ChangeEntry>,
}

/// A change that held.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChangeEntry {
    /// The night after which it was found.
    pub found: String,
    /// The first night that shows it.
    pub since: String,
    /// The ratio after it over the ratio before it.
    pub factor: f64,
    /// The 95 % interval of that.
    pub interval: Interval,
    /// The chance that noise alone makes something of the kind in a night.
    pub chance: f64,
    /// Whether it makes the night red: it was found now, or in a night that did not have all files yet and told nobody.
    pub red: bool,
}

/// What a history says: the document of `cargo xtask history --json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrendsDocument {
    /// [`TRENDS_SCHEMA`].
    pub schema: String,
    /// The folder of the history.
    pub history: String,
    /// Files that say nothing.
    pub left_out: Vec<LeftOutEntry>,
    /// Each kind of machine.
    pub machines: Vec<MachineTrend>,
}

/// What the nights of a kind of machine say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MachineTrend {
    /// The kind.
    pub machine: MachineEntry,
    /// Its runners.
    pub runners: Vec<String>,
    /// The nights, oldest first.
    pub nights: Vec<String>,
    /// Each comparison.
    pub series: Vec<SeriesEntry>,
    /// How each kernel probed in the newest night that has it.
    pub structure: Vec<StructureEntry>,
    /// Tests that failed when they last told something.
    pub failing: Vec<FailingEntry>,
    /// Tests that failed, and passed when they were tried again.
    pub flaky: Vec<FlakyEntry>,
}

/// A test that fails.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FailingEntry {
    /// Its name.
    pub name: String,
    /// The night since which it does.
    pub since: String,
}

/// A test that is flaky.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlakyEntry {
    /// Its name.
    pub name: String,
    /// How often.
    pub times: usize,
    /// The last night.
    pub last: String,
}

impl NightDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        super::json(self)
    }
}

impl TrendsDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        super::json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_only_when_it_fails_again() {
        let fate = |first, again: Option<TestResult>| {
            let of = |result| TryEntry { result, why: Vec::new(), exit_code: None, folder: String::new() };
            CheckEntry { name: String::new(), first: of(first), again: again.map(of) }.fate()
        };
        use TestResult::{Failed, Inconclusive, Lost, Passed, Skipped};
        assert_eq!(fate(Failed, Some(Failed)), CheckFate::Failed);
        assert_eq!(fate(Failed, Some(Passed)), CheckFate::Flaky);
        assert_eq!(fate(Failed, Some(Inconclusive)), CheckFate::Untold);
        assert_eq!(fate(Failed, Some(Lost)), CheckFate::Lost);
        assert_eq!(fate(Failed, None), CheckFate::Untold);
        assert_eq!(
            [Passed, Skipped, Lost].map(|result| fate(result, None)),
            [CheckFate::Passed, CheckFate::Skipped, CheckFate::Lost]
        );
    }
}
