//! What is asked of a kernel, and what of a boot is a fault.

use std::fmt;

use evidence::judge::{Finding, Outcome};
use lab::failure::{Failure, Kind};
use lab::guest::Cause;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use testcases::{CASES, Case, Circumstances, End, Seen, Verdict};

use crate::cli::{QuestionArguments, Symptom};
use crate::metric::Metric;

/// What is asked of each kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) case: &'static Case,
    pub(super) topology: Topology,
    pub(super) metric: Option<Metric>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fault {
    /// What was expected, or how the kernel died: the same in each boot.
    pub(super) what: String,
    /// What was seen.
    pub(super) seen: String,
    /// Whether the kernel died or hung.
    pub(super) died: bool,
}

impl Fault {
    /// What was expected of a guest of which the host heard nothing more, or that did not come to its end in time.
    pub(super) const SILENT: &str = "the kernel lives: silent";

    /// That of a guest that fell silent.
    pub(super) fn silent(seen: &str) -> Self {
        Self { what: Self::SILENT.to_owned(), seen: seen.to_owned(), died: true }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.seen)
    }
}

/// A boot, judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Judged {
    /// What is not as expected.
    pub(super) faults: Vec<Fault>,
    /// What was expected and cannot be told, each with why not.
    untold: Vec<(String, String)>,
}

impl Judged {
    /// Without what is of no account.
    fn but(mut self, tolerated: &[String]) -> Self {
        self.faults.retain(|fault| !tolerated.contains(&fault.what));
        self.untold.retain(|(what, _)| !tolerated.contains(what));
        self
    }

    /// An error where something cannot be told: then a boot without a fault is not clean.
    pub(super) fn told(&self) -> Result<(), String> {
        match self.untold.first() {
            Some((what, why)) => Err(format!("cannot tell: {what}: {why}")),
            None => Ok(()),
        }
    }
}

impl Question {
    /// # Errors
    /// `Asked` for a case that there is not, or cannot be asked so.
    pub(super) fn of(arguments: &QuestionArguments) -> Result<Self, Failure> {
        let name = &arguments.case;
        let case = CASES.iter().copied().find(|case| case.name == *name).ok_or_else(|| {
            let known = CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
            let attempt = format!("find the case \"{name}\"");
            Failure::new(Kind::Asked, attempt, "there is none of that name", format!("use one of: {known}"))
        })?;
        Ok(Self { case, topology: arguments.shape.on(case.topology)?, metric: arguments.metric })
    }

    pub(super) fn circumstances(&self) -> Circumstances {
        Circumstances { topology: self.topology, host_cores: lab::host::host_cores() }
    }

    /// What a boot shows that is not as expected of a kernel that behaves so, and what it cannot tell.
    pub(super) fn judged(&self, behaves: Option<Behaviour>, seen: &Seen) -> Judged {
        let boots = std::slice::from_ref(seen);
        let Verdict { findings, others: _ } = Verdict::of(self.case, behaves, &self.circumstances(), boots);
        let mut judged = Judged::default();
        for Finding { expected, seen: shown, outcome, evidence } in findings {
            match (outcome, &seen.end) {
                (Outcome::Supported, _) => {}
                (Outcome::Inconclusive | Outcome::NotRun, _) => {
                    let doubt = evidence.iter().find_map(|line| line.split_once("cannot tell: "));
                    let why = doubt.map_or(shown, |(_, why)| why.to_owned());
                    judged.untold.push((expected, why));
                }
                (Outcome::Refuted, End::Died { cause, .. }) => {
                    let what = match cause {
                        Cause::Kernel { death, line: _ } => format!("the kernel lives: {death}"),
                        other => format!("the kernel lives: {other}"),
                    };
                    judged.faults.push(Fault { what, seen: shown, died: true });
                }
                (Outcome::Refuted, End::Well(_) | End::Refused(_)) => {
                    judged.faults.push(Fault { what: expected, seen: shown, died: false });
                }
            }
        }
        judged
    }

    /// The fault that a boot shows, in words, if it shows one that is searched for; an error where it cannot tell, or
    /// fails otherwise.
    pub(super) fn shows(&self, expected: &Expected<'_>, seen: &Seen) -> Result<Option<String>, String> {
        let judged = self.judged(expected.behaves, seen).but(expected.tolerated);
        if let Some(fault) = judged.faults.iter().find(|fault| (expected.is_fault)(fault)) {
            return Ok(Some(fault.to_string()));
        }
        if let Some(other) = judged.faults.first() {
            return Err(format!("fails otherwise: {other}"));
        }
        judged.told().map(|()| None)
    }

    /// How a kernel behaves, by its boots: the most that all of them keep, whatever else they do not keep.
    pub(super) fn behaviour(&self, seen: &[Seen]) -> Option<Behaviour> {
        use Behaviour::{NearNode, PerDevice, PerDriver, PerNode};
        let findings = |behaves| Verdict::of(self.case, behaves, &self.circumstances(), seen).findings;
        // What is expected of every kernel tells none of them from the others.
        let of_every = findings(None);
        if of_every.first().is_none_or(|survival| survival.outcome != Outcome::Supported) {
            return None;
        }
        let keeps = |behaves: &Behaviour| {
            let own = |finding: &&Finding| !of_every.iter().any(|other| other.expected == finding.expected);
            findings(Some(*behaves)).iter().filter(own).all(|finding| finding.outcome == Outcome::Supported)
        };
        [PerNode, NearNode, PerDevice, PerDriver].into_iter().find(keeps)
    }
}

impl Symptom {
    /// Whether a fault is what is searched for, where the bad end shows these.
    pub(super) fn is(self, fault: &Fault, of_bad_end: &[String]) -> bool {
        match self {
            Self::Same => of_bad_end.contains(&fault.what),
            Self::Died => fault.died,
            Self::Failed => !fault.died,
            Self::Any => true,
        }
    }
}

/// What is expected of a kernel, and what of the rest is searched for.
pub(super) struct Expected<'a> {
    pub(super) behaves: Option<Behaviour>,
    /// Faults that are of no account.
    pub(super) tolerated: &'a [String],
    /// Which of the others are searched for.
    pub(super) is_fault: &'a dyn Fn(&Fault) -> bool,
    /// Whether silence is a fault: where another kernel is known to come to its end in the same time.
    pub(super) silence: bool,
}

impl Expected<'_> {
    /// Whether a guest that fell silent shows what is searched for.
    pub(super) fn seeks(&self, silent: &Fault) -> bool {
        self.silence && !self.tolerated.contains(&silent.what) && (self.is_fault)(silent)
    }
}

#[cfg(test)]
mod tests;
