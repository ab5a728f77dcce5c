//! What became of known faults, as data: the document that `mutants --json` prints. Described in `docs/cases.md`.

use evidence::judge::{Finding, Outcome};
use serde::{Deserialize, Serialize};

use super::Comparison;

/// Name and version of the document of `cargo xtask mutants --json`.
pub const MUTANTS_SCHEMA: &str = "parprobe.mutants/1";

/// What became of known faults, and whether there were false alarms.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MutantsDocument {
    /// [`MUTANTS_SCHEMA`].
    pub schema: String,
    /// The folder of the run.
    pub run: String,
    /// The command that repeats it.
    pub command: String,
    /// The faults.
    pub mutants: Vec<MutantEntry>,
    /// Kernels held against themselves.
    pub aa: Vec<SelfEntry>,
}

/// A fault.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MutantEntry {
    /// Its name.
    pub name: String,
    /// What goes wrong.
    pub breaks: String,
    /// Where it did, or that it could.
    pub happened: String,
    /// What became of it.
    pub outcome: Fate,
    /// The case that caught it.
    pub caught_by: Option<String>,
    /// What that case found.
    pub finding: Option<Finding>,
    /// The seed of the boot that showed it.
    pub seed: Option<u64>,
    /// Other cases that caught it: they are carried out with `--each`.
    pub also_caught_by: Vec<String>,
    /// Cases that were carried out and did not catch it.
    pub missed_by: Vec<String>,
    /// Cases that could not tell, and why: a guest that was lost, boots that do not say.
    pub untold_by: Vec<Untold>,
    /// The cases that were carried out, in order.
    pub cases: Vec<String>,
    /// Why it survives, where that is known.
    pub survives: Option<String>,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A case refuted what was expected.
    Caught,
    /// None did.
    Survived,
    /// None did, and at least one could not tell.
    Untold,
}

/// A case that could not tell whether a fault is there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Untold {
    /// The case.
    pub case: String,
    /// Why.
    pub why: String,
}

/// A kernel held against itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SelfEntry {
    /// The kernel.
    pub kernel: String,
    /// Which time this was, from 1.
    pub run: usize,
    /// Expectations that were refuted: there should be none.
    pub refuted: Vec<Finding>,
    /// The makespans against each other; `refuted` is a significant difference, and there should be none.
    pub comparison: Comparison,
}

impl MutantEntry {
    /// Of a fault that no case has seen yet.
    pub fn new(name: String, breaks: String, happened: String, survives: Option<String>) -> Self {
        Self {
            name,
            breaks,
            happened,
            outcome: Fate::Survived,
            caught_by: None,
            finding: None,
            seed: None,
            also_caught_by: Vec::new(),
            missed_by: Vec::new(),
            untold_by: Vec::new(),
            cases: Vec::new(),
            survives,
        }
    }
}

impl MutantsDocument {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        super::json(self)
    }

    /// Runs of a kernel against itself that cannot tell whether it is as fast: an interval that wide hardly alarms.
    pub fn too_wide(&self) -> usize {
        let told = |outcome| matches!(outcome, Some(Outcome::Supported | Outcome::Refuted));
        self.aa.iter().filter(|entry| !told(entry.comparison.outcome)).count()
    }

    /// All together; with `each`, every case of a mutant's list has to catch it.
    pub fn outcome(&self, each: bool) -> Outcome {
        let escaped = |entry: &MutantEntry| {
            let missed = if each { !entry.missed_by.is_empty() } else { entry.outcome == Fate::Survived };
            missed && entry.survives.is_none()
        };
        let untold = |entry: &MutantEntry| {
            let untold = if each { !entry.untold_by.is_empty() } else { entry.outcome == Fate::Untold };
            untold && entry.survives.is_none()
        };
        if self.mutants.iter().any(escaped) || self.false_alarms() > 0 {
            Outcome::Refuted
        } else if self.mutants.iter().any(untold) || self.too_wide() > 0 {
            Outcome::Inconclusive
        } else {
            Outcome::Supported
        }
    }

    /// False alarms: runs of a kernel against itself in which something was refuted, or one of the two found faster.
    pub fn false_alarms(&self) -> usize {
        let alarm = |entry: &&SelfEntry| {
            let SelfEntry { comparison, refuted, .. } = entry;
            let faster = comparison.low.is_some_and(|low| low > 1.0);
            let slower = comparison.high.is_some_and(|high| high < 1.0);
            !refuted.is_empty() || faster || slower || comparison.outcome == Some(Outcome::Refuted)
        };
        self.aa.iter().filter(alarm).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(entry: MutantEntry) -> MutantsDocument {
        let (schema, run, command) = (MUTANTS_SCHEMA.to_owned(), String::new(), String::new());
        MutantsDocument { schema, run, command, mutants: vec![entry], aa: Vec::new() }
    }

    fn entry(outcome: Fate) -> MutantEntry {
        let new = MutantEntry::new("lost-probes".to_owned(), String::new(), String::new(), None);
        MutantEntry { outcome, ..new }
    }

    #[test]
    fn a_fault_that_no_boot_could_judge_is_no_survivor_and_not_caught_either() {
        let outcome = |fate| document(entry(fate)).outcome(false);
        assert_eq!(outcome(Fate::Caught), Outcome::Supported);
        assert_eq!(outcome(Fate::Survived), Outcome::Refuted);
        assert_eq!(outcome(Fate::Untold), Outcome::Inconclusive);
        let known = MutantEntry { survives: Some("why".to_owned()), ..entry(Fate::Survived) };
        assert_eq!(document(known).outcome(false), Outcome::Supported);
    }

    #[test]
    fn with_each_a_case_that_misses_what_another_catches_counts() {
        let missed = MutantEntry { missed_by: vec!["slow_one".to_owned()], ..entry(Fate::Caught) };
        assert_eq!(document(missed.clone()).outcome(false), Outcome::Supported);
        assert_eq!(document(missed).outcome(true), Outcome::Refuted);
        let untold = Untold { case: "slow_one".to_owned(), why: "lost".to_owned() };
        let untold = MutantEntry { untold_by: vec![untold], ..entry(Fate::Caught) };
        assert_eq!(document(untold).outcome(true), Outcome::Inconclusive);
    }
}
