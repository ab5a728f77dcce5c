//! Holds what was expected of a kernel against what its boots show.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot::{Boot, Testimony};
use crate::stats::Ratio;
use crate::timeline;

/// What is said about a claim.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every boot shows it.
    Supported,
    /// The boots cannot tell.
    Inconclusive,
    /// No boot was made that could tell.
    NotRun,
    /// A boot shows the contrary.
    Refuted,
}

impl Outcome {
    /// The outcome of several claims together: the one that is furthest from "supported".
    pub fn of_all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        outcomes.into_iter().max().unwrap_or(Self::NotRun)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::Inconclusive => "inconclusive",
            Self::NotRun => "not run",
            Self::Refuted => "refuted",
        })
    }
}

/// Something expected of every boot of a kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// Every LUN is probed once and bound.
    AllBound,
    /// The driver was attached by so many calls of this asynchronous function, and by no other.
    AttachedBy {
        /// Its name.
        function: &'static str,
        /// How many calls.
        calls: u64,
    },
    /// At some moment at least so many probes ran. Only one at a time refutes it: more than one, but fewer than
    /// so many, may be for want of CPUs, and cannot tell.
    InFlightAtLeast(usize),
    /// At no moment did more than so many probes run.
    InFlightAtMost(usize),
    /// No more than so many threads ran probes.
    WorkersAtMost(usize),
    /// At least so many percent of the probes ran on a CPU of their device's node.
    LocalAtLeast {
        /// The share.
        percent: usize,
    },
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllBound => f.write_str("every LUN probed once and bound"),
            Self::AttachedBy { function, calls } => {
                write!(f, "attached by {calls} call{} of {function}", if *calls == 1 { "" } else { "s" })
            }
            Self::InFlightAtLeast(n) => write!(f, "at least {n} probes in flight"),
            Self::InFlightAtMost(n) => write!(f, "at most {n} probe{} in flight", plural(*n)),
            Self::WorkersAtMost(n) => write!(f, "at most {n} worker{}", plural(*n)),
            Self::LocalAtLeast { percent } => write!(f, "at least {percent} % of probes on their node"),
        }
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// An expectation, judged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What was expected.
    pub expected: String,
    /// What was seen: the range over the boots.
    pub seen: String,
    /// What follows.
    pub outcome: Outcome,
    /// Where it can be read, a line for each boot: those that fail it, those that cannot tell, the others.
    pub evidence: Vec<String>,
}

/// What one boot says about an expectation.
enum Ruling {
    Holds,
    Fails,
    /// It cannot tell, for this reason.
    CannotTell(String),
}

/// Judges an expectation by the boots of one kernel: a pair each of the boot's folder and what it says.
pub fn judge(expectation: Expectation, boots: &[(String, Boot)]) -> Finding {
    let (mut against, mut doubtful, mut in_favour) = (Vec::new(), Vec::new(), Vec::new());
    for (place, boot) in boots {
        match rule(expectation, boot) {
            Ruling::Holds => in_favour.push(show(expectation, place, boot)),
            Ruling::Fails => against.push(format!("{}: not as expected", show(expectation, place, boot))),
            Ruling::CannotTell(why) => doubtful.push(format!("{place} cannot tell: {why}")),
        }
    }
    let (failed, told) = (!against.is_empty(), doubtful.is_empty());
    let evidence = [against, doubtful, in_favour].concat();
    let outcome = match (boots.is_empty(), failed, told) {
        (true, ..) => Outcome::NotRun,
        (_, true, _) => Outcome::Refuted,
        (_, false, true) => Outcome::Supported,
        (_, false, false) => Outcome::Inconclusive,
    };
    Finding { expected: expectation.to_string(), seen: seen(expectation, boots), outcome, evidence }
}

fn rule(expectation: Expectation, boot: &Boot) -> Ruling {
    if let Some(doubt) = boot.doubt() {
        return Ruling::CannotTell(doubt);
    }
    let facts = &boot.facts;
    let holds = match expectation {
        Expectation::AllBound => {
            let once = best(boot).probes.len() == facts.probes;
            Some(once && facts.luns > 0 && facts.probes == facts.luns && facts.bound == facts.luns)
        }
        Expectation::InFlightAtLeast(_) | Expectation::InFlightAtMost(_) if facts.probes < 2 => {
            return Ruling::CannotTell("it takes two probes to run side by side".to_owned());
        }
        Expectation::InFlightAtLeast(n) if (2..n).contains(&facts.max_in_flight) => {
            let seen = facts.max_in_flight;
            return Ruling::CannotTell(format!("{seen} is more than one at a time, and fewer than {n}"));
        }
        Expectation::InFlightAtLeast(n) => Some(facts.max_in_flight >= n),
        Expectation::AttachedBy { function, calls } => {
            let seen: Vec<_> =
                facts.attach_calls.iter().map(|(name, count)| (name.as_str(), *count)).collect();
            (!seen.is_empty()).then(|| seen == [(function, calls)])
        }
        Expectation::InFlightAtMost(n) => Some(facts.max_in_flight <= n),
        Expectation::WorkersAtMost(n) => facts.workers.map(|workers| workers <= n),
        Expectation::LocalAtLeast { percent } => {
            facts.local_probes.map(|local| local * 100 >= best(boot).probes.len() * percent)
        }
    };
    match holds {
        Some(true) => Ruling::Holds,
        Some(false) => Ruling::Fails,
        None => Ruling::CannotTell("neither log nor trace shows it on this kernel".to_owned()),
    }
}

/// The witness the facts are taken from, and its file.
fn best(boot: &Boot) -> &Testimony {
    boot.trace.as_ref().unwrap_or(&boot.log)
}

/// Where in a boot's files it can be read.
fn show(expectation: Expectation, place: &str, boot: &Boot) -> String {
    let file = if boot.trace.is_some() { "trace.txt" } else { "kmsg.txt" };
    let testimony = best(boot);
    let within = |lines: Vec<usize>| match (lines.iter().min(), lines.iter().max()) {
        (Some(first), Some(last)) if first == last => format!("{place}/{file}:{first}"),
        (Some(first), Some(last)) => format!("{place}/{file}:{first}-{last}"),
        _ => format!("{place}/{file}"),
    };
    let lines_of = |probes: &mut dyn Iterator<Item = &timeline::Probe>| {
        within(probes.flat_map(|probe| [probe.lines.0, probe.lines.1]).collect())
    };
    let value = value(expectation, boot);
    match expectation {
        Expectation::AllBound => format!("{value} in {place}/guest.json"),
        Expectation::AttachedBy { .. } => format!("{value} in {}", within(testimony.call_lines.clone())),
        Expectation::InFlightAtLeast(_) | Expectation::InFlightAtMost(_) => {
            match timeline::peak(&testimony.probes) {
                Some((most, at)) => {
                    let mut then = testimony.probes.iter().filter(|p| p.start <= at && at < p.end);
                    format!("{most} at {at}, from start to end within {}", lines_of(&mut then))
                }
                None => format!("no probe in {place}/{file}"),
            }
        }
        Expectation::WorkersAtMost(_) | Expectation::LocalAtLeast { .. } => {
            format!("{value} in {}", lines_of(&mut testimony.probes.iter()))
        }
    }
}

/// What one boot has of the quantity that is expected.
fn value(expectation: Expectation, boot: &Boot) -> String {
    let facts = &boot.facts;
    let or_unknown = |count: Option<usize>| count.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    match expectation {
        Expectation::AllBound => format!("{} of {}", facts.bound, facts.luns),
        Expectation::AttachedBy { .. } => {
            let calls = facts.attach_calls.iter().map(|(name, count)| format!("{count} of {name}"));
            let calls = calls.collect::<Vec<_>>().join(" and ");
            if calls.is_empty() { "unknown".to_owned() } else { calls }
        }
        Expectation::InFlightAtLeast(_) | Expectation::InFlightAtMost(_) => facts.max_in_flight.to_string(),
        Expectation::WorkersAtMost(_) => or_unknown(facts.workers),
        Expectation::LocalAtLeast { .. } => format!("{} of {}", or_unknown(facts.local_probes), facts.probes),
    }
}

/// The values of the boots: the range of a number, else each value once.
fn seen(expectation: Expectation, boots: &[(String, Boot)]) -> String {
    let mut values: Vec<String> = boots.iter().map(|(_, boot)| value(expectation, boot)).collect();
    if let Ok(mut numbers) = values.iter().map(|value| value.parse()).collect::<Result<Vec<usize>, _>>() {
        numbers.sort_unstable();
        if let (Some(least), Some(most)) = (numbers.first(), numbers.last())
            && least != most
        {
            return format!("{least} to {most}");
        }
    }
    values.sort_unstable();
    values.dedup();
    if values.is_empty() { "nothing".to_owned() } else { values.join(", ") }
}

/// Judges the claim that the candidate takes less time than the baseline: the whole interval has to say so.
pub fn judge_faster(ratio: Option<Ratio>) -> Outcome {
    match ratio.map(|ratio| ratio.interval) {
        None => Outcome::NotRun,
        Some(Some(interval)) if interval.low > 1.0 => Outcome::Supported,
        Some(Some(interval)) if interval.high <= 1.0 => Outcome::Refuted,
        Some(_) => Outcome::Inconclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Facts;
    use crate::stats::Interval;
    use crate::units::KernelTime;

    fn boot(change: impl FnOnce(&mut Boot)) -> (String, Boot) {
        let probe = timeline::Probe {
            device: "0:0:0:0".to_owned(),
            start: KernelTime::from_micros(1),
            end: KernelTime::from_micros(2),
            returned: 0,
            thread: None,
            lines: (1, 1),
            cpus: None,
        };
        let log = Testimony { probes: vec![probe; 4], ..Testimony::default() };
        let facts =
            Facts { probes: 4, bound: 4, luns: 4, max_in_flight: 4, workers: Some(4), ..Facts::default() };
        let mut boot = Boot { facts, log, ..Boot::default() };
        change(&mut boot);
        ("boots/001-with".to_owned(), boot)
    }

    fn outcome(expectation: Expectation, boots: &[(String, Boot)]) -> Outcome {
        judge(expectation, boots).outcome
    }

    #[test]
    fn one_boot_that_fails_refutes_whatever_the_others_say() {
        let expectation = Expectation::InFlightAtLeast(3);
        let good = boot(|_| {});
        let bad = boot(|boot| boot.facts.max_in_flight = 1);
        assert_eq!(outcome(expectation, &[good.clone(), good.clone()]), Outcome::Supported);
        assert_eq!(outcome(expectation, &[good, bad]), Outcome::Refuted);
    }

    #[test]
    fn the_evidence_begins_with_the_boot_that_decides() {
        let bad = boot(|boot| boot.facts.bound = 3);
        let finding = judge(Expectation::AllBound, &[boot(|_| {}), bad]);
        assert!(finding.evidence[0].starts_with("3 of 4 in boots/001-with/guest.json"), "{finding:?}");
    }

    #[test]
    fn a_few_at_once_are_not_one_at_a_time_and_not_enough() {
        let few = boot(|boot| boot.facts.max_in_flight = 3);
        assert_eq!(
            outcome(Expectation::InFlightAtLeast(4), std::slice::from_ref(&few)),
            Outcome::Inconclusive
        );
        assert_eq!(outcome(Expectation::InFlightAtLeast(3), std::slice::from_ref(&few)), Outcome::Supported);
        assert_eq!(outcome(Expectation::InFlightAtMost(1), &[few]), Outcome::Refuted);
    }

    #[test]
    fn the_functions_that_attached_are_compared_with_their_number() {
        let expectation = Expectation::AttachedBy { function: "per_device", calls: 4 };
        let of = |calls: &[(&str, u64)]| {
            let calls = calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            outcome(expectation, &[boot(|boot| boot.facts.attach_calls = calls)])
        };
        assert_eq!(of(&[("per_device", 4)]), Outcome::Supported);
        assert_eq!(of(&[("per_device", 3)]), Outcome::Refuted);
        assert_eq!(of(&[("per_device", 4), ("per_driver", 1)]), Outcome::Refuted);
        assert_eq!(of(&[]), Outcome::Inconclusive);
    }

    #[test]
    fn a_boot_whose_witnesses_differ_can_neither_support_nor_refute() {
        let differing = boot(|boot| {
            boot.facts.max_in_flight = 1;
            boot.differences.push("only the log shows 0:0:0:1".to_owned());
        });
        assert_eq!(
            outcome(Expectation::InFlightAtLeast(3), std::slice::from_ref(&differing)),
            Outcome::Inconclusive
        );
        assert_eq!(outcome(Expectation::InFlightAtMost(1), &[differing]), Outcome::Inconclusive);
    }

    #[test]
    fn a_boot_with_lost_lines_cannot_tell() {
        let lossy = boot(|boot| boot.unpaired.push("trace: 3 entries overwritten".to_owned()));
        let finding = judge(Expectation::AllBound, &[lossy]);
        assert_eq!(finding.outcome, Outcome::Inconclusive);
        assert!(finding.evidence[0].contains("3 entries overwritten"), "{finding:?}");
    }

    #[test]
    fn no_boot_is_not_run_and_what_no_witness_shows_is_inconclusive() {
        assert_eq!(outcome(Expectation::AllBound, &[]), Outcome::NotRun);
        let blind = boot(|boot| boot.facts.local_probes = None);
        assert_eq!(outcome(Expectation::LocalAtLeast { percent: 95 }, &[blind]), Outcome::Inconclusive);
    }

    #[test]
    fn a_single_probe_shows_nothing_about_parallelism() {
        let single = boot(|boot| {
            boot.facts.probes = 1;
            boot.facts.max_in_flight = 1;
        });
        assert_eq!(outcome(Expectation::InFlightAtMost(1), &[single]), Outcome::Inconclusive);
    }

    #[test]
    fn faster_needs_the_whole_interval() {
        let ratio = |low, high| Some(Ratio { ratio: 2.0, interval: Some(Interval { low, high }) });
        assert_eq!(judge_faster(ratio(1.1, 3.0)), Outcome::Supported);
        assert_eq!(judge_faster(ratio(0.9, 3.0)), Outcome::Inconclusive);
        assert_eq!(judge_faster(ratio(0.2, 0.9)), Outcome::Refuted);
        assert_eq!(judge_faster(Some(Ratio { ratio: 9.0, interval: None })), Outcome::Inconclusive);
        assert_eq!(judge_faster(None), Outcome::NotRun);
    }

    #[test]
    fn several_claims_are_as_good_as_the_worst() {
        use Outcome::{Inconclusive, NotRun, Refuted, Supported};
        assert_eq!(Outcome::of_all([Supported, Inconclusive, Supported]), Inconclusive);
        assert_eq!(Outcome::of_all([NotRun, Refuted, Supported]), Refuted);
        assert_eq!(Outcome::of_all([]), NotRun);
    }
}
