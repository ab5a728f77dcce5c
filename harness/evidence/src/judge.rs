//! Holds what was expected of a kernel against what its boots show.

mod ratio;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot::Boot;
use crate::expectation::{Ruling, rule, show, value};

pub use crate::expectation::{Expectation, Which};
pub use ratio::{MARGIN, judge_as_fast, judge_faster, judge_not_slower};

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

/// Judges an expectation by the boots of one kernel: a pair each of the boot's folder and what it says.
pub fn judge(expectation: &Expectation, boots: &[(String, Boot)]) -> Finding {
    let (mut against, mut doubtful, mut in_favour) = (Vec::new(), Vec::new(), Vec::new());
    for (place, boot) in boots {
        match rule(expectation, boot) {
            Ruling::Holds => in_favour.push(show(expectation, place, boot)),
            Ruling::Fails => against.push(format!("{}: not as expected", show(expectation, place, boot))),
            Ruling::CannotTell(why) => doubtful.push(format!("{place} cannot tell: {why}")),
        }
    }
    // A race that was run in one boot was run, though it may not have come about in another.
    let one_is_enough = matches!(expectation, Expectation::MeetsProbes { .. }) && !in_favour.is_empty();
    let (failed, told) = (!against.is_empty(), doubtful.is_empty() || one_is_enough);
    let evidence = [against, doubtful, in_favour].concat();
    let outcome = match (boots.is_empty(), failed, told) {
        (true, ..) => Outcome::NotRun,
        (_, true, _) => Outcome::Refuted,
        (_, false, true) => Outcome::Supported,
        (_, false, false) => Outcome::Inconclusive,
    };
    Finding { expected: expectation.to_string(), seen: seen(expectation, boots), outcome, evidence }
}

/// The values of the boots: the range of a number, or of how many of the same, else each value once.
fn seen(expectation: &Expectation, boots: &[(String, Boot)]) -> String {
    let mut values: Vec<String> = boots.iter().map(|(_, boot)| value(expectation, boot)).collect();
    values.sort_unstable();
    values.dedup();
    if let Some(range) = range(&values) {
        return range;
    }
    if values.is_empty() { "nothing".to_owned() } else { values.join(", ") }
}

/// From the least to the most of several numbers: `2 to 7`, or `2 to 7 of 9`.
fn range(values: &[String]) -> Option<String> {
    let first = values.first()?;
    let of = &first[first.find(' ').unwrap_or(first.len())..];
    let number = |value: &String| value.strip_suffix(of)?.parse().ok();
    let numbers: Vec<usize> = values.iter().map(number).collect::<Option<_>>()?;
    let (least, most) = (numbers.iter().min()?, numbers.iter().max()?);
    (least != most && (of.is_empty() || of.starts_with(" of "))).then(|| format!("{least} to {most}{of}"))
}

/// Judges whether two phases of the same boots are alike: the same devices bound, both one at a time or both not,
/// and, where that is asked for, both placed on their node (95 in a hundred) or both not.
///
/// "Not one at a time" is all that can be compared: how many overlap depends on how fast devices come.
pub fn judge_alike(first: &[(String, Boot)], second: &[(String, Boot)], placed: bool) -> Finding {
    let (mut against, mut doubtful, mut in_favour) = (Vec::new(), Vec::new(), Vec::new());
    for ((place, a), (_, b)) in first.iter().zip(second) {
        if let Some(doubt) = a.doubt().or_else(|| b.doubt()) {
            doubtful.push(format!("{place} cannot tell: {doubt}"));
            continue;
        }
        if placed && [a, b].iter().any(|boot| boot.facts.placeable.is_none_or(|placeable| placeable == 0)) {
            doubtful.push(format!("{place} cannot tell: the nodes of its probes are not known"));
            continue;
        }
        let differences = unlike(a, b, placed);
        match &differences[..] {
            [] => in_favour.push(format!("alike in {place}")),
            _ => against.push(format!("{}: {place}", differences.join("; "))),
        }
    }
    let seen = against.first().or(doubtful.first()).map_or("alike", String::as_str).to_owned();
    let outcome = match (first.is_empty() || second.is_empty(), against.is_empty(), doubtful.is_empty()) {
        (true, ..) => Outcome::NotRun,
        (_, false, _) => Outcome::Refuted,
        (_, _, false) => Outcome::Inconclusive,
        _ => Outcome::Supported,
    };
    let evidence = [against, doubtful, in_favour].concat();
    Finding { expected: "both orders alike".to_owned(), seen, outcome, evidence }
}

fn unlike(a: &Boot, b: &Boot, placed: bool) -> Vec<String> {
    let mut found = Vec::new();
    let (before, after) = (&a.facts, &b.facts);
    if (before.devices, before.bound) != (after.devices, after.bound) {
        let (of_a, of_b) = (before.devices, after.devices);
        found.push(format!("{} of {of_a} devices bound, then {} of {of_b}", before.bound, after.bound));
    }
    if (before.max_in_flight > 1) != (after.max_in_flight > 1) {
        let (one, other) = (before.max_in_flight, after.max_in_flight);
        found.push(format!("{one} in flight, then {other}"));
    }
    let share =
        |boot: &Boot| Some((boot.facts.local_probes? * 100).checked_div(boot.facts.placeable?).unwrap_or(0));
    // A kernel that places probes has all of them on their node; one that does not, some or other share.
    if placed
        && let (Some(one), Some(other)) = (share(a), share(b))
        && (one >= 95) != (other >= 95)
    {
        found.push(format!("{one} % on their node, then {other} %"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Facts, Testimony};
    use crate::timeline;
    use crate::units::KernelTime;
    use std::time::Duration;

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
        let facts = Facts {
            probes: 4,
            bound: 4,
            devices: 4,
            probes_of_one: (1, 1),
            max_in_flight: 4,
            workers: Some(4),
            ..Facts::default()
        };
        let mut boot = Boot { facts, log, ..Boot::default() };
        change(&mut boot);
        ("boots/001-with".to_owned(), boot)
    }

    fn outcome(expectation: Expectation, boots: &[(String, Boot)]) -> Outcome {
        judge(&expectation, boots).outcome
    }

    #[test]
    fn one_boot_that_fails_refutes_whatever_the_others_say() {
        let expectation = || Expectation::InFlightAtLeast(3);
        let good = boot(|_| {});
        let bad = boot(|boot| boot.facts.max_in_flight = 1);
        assert_eq!(outcome(expectation(), &[good.clone(), good.clone()]), Outcome::Supported);
        assert_eq!(outcome(expectation(), &[good, bad]), Outcome::Refuted);
    }

    #[test]
    fn what_boots_showed_is_a_range_where_it_is_a_number() {
        let range =
            |values: &[&str]| range(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        assert_eq!(range(&["7", "12"]).as_deref(), Some("7 to 12"));
        assert_eq!(range(&["9 of 64", "64 of 64", "32 of 64"]).as_deref(), Some("9 to 64 of 64"));
        for other in [
            &[][..],
            &["7"],
            &["7 of 9"],
            &["7 of 9", "7 of 8"],
            &["7", "none"],
            &["1 call", "2 call"],
            &["no", "no"],
        ] {
            assert_eq!(range(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_race_that_met_no_probe_cannot_tell_and_one_that_did_is_enough() {
        let expectation = |which| Expectation::MeetsProbes { which, when: "pulls out LUN" };
        let pulled_out_at = |micros| {
            boot(|boot| {
                let time = KernelTime::from_micros(micros);
                let said = crate::boot::Said { line: 7, time, text: "pulls out LUN 3".to_owned() };
                boot.said.entry("pulls out LUN".to_owned()).or_default().push(said);
            })
        };
        // The probes of these boots last from 1 to 2.
        let (before, during, after) = (pulled_out_at(0), pulled_out_at(1), pulled_out_at(2));
        let late = [before.clone(), after.clone()];
        assert_eq!(outcome(expectation(Which::UnderWay), &late), Outcome::Inconclusive);
        assert_eq!(
            outcome(expectation(Which::UnderWay), &[after.clone(), during.clone()]),
            Outcome::Supported
        );
        assert_eq!(outcome(expectation(Which::ToBegin), &[during, after]), Outcome::Inconclusive);
        assert_eq!(outcome(expectation(Which::ToBegin), &[before]), Outcome::Supported);
        assert_eq!(outcome(expectation(Which::UnderWay), &[boot(|_| {})]), Outcome::Inconclusive);
    }

    #[test]
    fn the_evidence_begins_with_the_boot_that_decides() {
        let bad = boot(|boot| boot.facts.bound = 3);
        let finding = judge(&Expectation::AllBound { of: 4, rounds: 1 }, &[boot(|_| {}), bad]);
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
    fn two_at_a_time_may_be_one_after_the_other_where_nobody_names_threads() {
        let two = |workers| {
            boot(|boot| {
                boot.facts.max_in_flight = 2;
                boot.facts.workers = workers;
            })
        };
        for expectation in [|| Expectation::InFlightAtLeast(2), || Expectation::InFlightAtMost(1)] {
            assert_eq!(outcome(expectation(), &[two(None)]), Outcome::Inconclusive);
            assert_ne!(outcome(expectation(), &[two(Some(2))]), Outcome::Inconclusive);
        }
        let three = boot(|boot| (boot.facts.max_in_flight, boot.facts.workers) = (3, None));
        assert_eq!(outcome(Expectation::InFlightAtMost(1), &[three]), Outcome::Refuted);
    }

    #[test]
    fn probes_that_end_one_read_after_the_other_are_no_more_parallel_for_being_in_flight() {
        // Four probes begin at once; each has three reads of 20 ms.
        let ending = |apart: u64, cpu_of_one: u64| {
            boot(|boot| {
                for (probe, number) in boot.log.probes.iter_mut().zip(1..) {
                    probe.end = KernelTime::from_micros(60_000 + number * apart * 1000);
                }
                boot.facts.reads_of_one = Some((3, 3));
                boot.facts.cpu = Some(Duration::from_millis(4 * cpu_of_one));
            })
        };
        let overlap = || Expectation::ReadsOverlap { latency: Duration::from_millis(20) };
        assert_eq!(outcome(overlap(), &[ending(1, 1)]), Outcome::Supported);
        // Faster than any that read one after another, on a slow host.
        assert_eq!(outcome(overlap(), &[ending(50, 45)]), Outcome::Supported);
        assert_eq!(outcome(overlap(), &[ending(61, 1)]), Outcome::Refuted);
        assert_eq!(outcome(overlap(), &[ending(61, 45)]), Outcome::Inconclusive);
        assert_eq!(outcome(overlap(), &[boot(|_| {})]), Outcome::Inconclusive);
        assert_eq!(judge(&overlap(), &[ending(61, 1), ending(1, 1)]).seen, "1 to 61");
    }

    #[test]
    fn the_functions_that_attached_are_compared_with_their_number() {
        let expectation = || Expectation::AttachedBy { function: "per_device", calls: 4 };
        let of = |calls: &[(&str, u64)]| {
            let calls = calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            outcome(expectation(), &[boot(|boot| boot.facts.attach_calls = calls)])
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
        let finding = judge(&Expectation::AllBound { of: 4, rounds: 1 }, &[lossy]);
        assert_eq!(finding.outcome, Outcome::Inconclusive);
        assert!(finding.evidence[0].contains("3 entries overwritten"), "{finding:?}");
    }

    #[test]
    fn no_boot_is_not_run_and_what_no_witness_shows_is_inconclusive() {
        assert_eq!(outcome(Expectation::AllBound { of: 4, rounds: 1 }, &[]), Outcome::NotRun);
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
    fn phases_are_alike_when_devices_parallelism_and_placement_are() {
        let placed = |local| {
            boot(move |boot| (boot.facts.local_probes, boot.facts.placeable) = (Some(local), Some(4)))
        };
        let alike = |a: &(String, Boot), b: &(String, Boot)| {
            judge_alike(std::slice::from_ref(a), std::slice::from_ref(b), true).outcome
        };
        let but_for_placement = judge_alike(&[placed(4)], &[placed(2)], false).outcome;
        assert_eq!(but_for_placement, Outcome::Supported);
        assert_eq!(alike(&placed(4), &placed(4)), Outcome::Supported);
        assert_eq!(alike(&placed(1), &placed(2)), Outcome::Supported);
        assert_eq!(alike(&placed(4), &placed(2)), Outcome::Refuted);
        let mut serial = placed(4);
        serial.1.facts.max_in_flight = 1;
        assert_eq!(alike(&placed(4), &serial), Outcome::Refuted);
        let mut fewer = placed(4);
        fewer.1.facts.bound = 3;
        assert_eq!(alike(&placed(4), &fewer), Outcome::Refuted);
        assert_eq!(alike(&boot(|_| {}), &placed(4)), Outcome::Inconclusive);
        let lossy = boot(|boot| boot.unpaired.push("lost".to_owned()));
        assert_eq!(alike(&boot(|_| {}), &lossy), Outcome::Inconclusive);
        assert_eq!(judge_alike(&[], &[], true).outcome, Outcome::NotRun);
    }

    #[test]
    fn waiting_within_a_probe_is_waiting() {
        let of = |spans: &[(u64, u64)]| {
            let spans = spans.to_vec();
            outcome(
                Expectation::SlowestHoldsUpNobody,
                &[boot(move |boot| {
                    for (number, (probe, span)) in boot.log.probes.iter_mut().zip(&spans).enumerate() {
                        probe.device = number.to_string();
                        (probe.start, probe.end) =
                            (KernelTime::from_micros(span.0), KernelTime::from_micros(span.1));
                    }
                })],
            )
        };
        assert_eq!(of(&[(0, 100), (0, 10), (1, 11), (2, 12)]), Outcome::Supported);
        // One after the other.
        assert_eq!(of(&[(0, 100), (100, 110), (110, 120), (120, 130)]), Outcome::Refuted);
        // All at once, and all but one of them wait for a lock.
        assert_eq!(of(&[(0, 100), (0, 110), (1, 120), (2, 130)]), Outcome::Refuted);
    }

    #[test]
    fn to_begin_on_the_node_is_more_than_chance_and_wandering_off_does_not_count() {
        let judged = |begun| {
            let boot = boot(|boot| {
                let facts = &mut boot.facts;
                (facts.placeable, facts.begun_local, facts.local_probes) = (Some(12), begun, Some(0));
            });
            judge(&Expectation::BegunLocalAtLeast { percent: 67 }, &[boot]).outcome
        };
        assert_eq!(judged(Some(9)), Outcome::Supported);
        assert_eq!(judged(Some(7)), Outcome::Inconclusive);
        assert_eq!(judged(Some(6)), Outcome::Refuted);
        assert_eq!(judged(None), Outcome::Inconclusive);
    }

    #[test]
    fn several_claims_are_as_good_as_the_worst() {
        use Outcome::{Inconclusive, NotRun, Refuted, Supported};
        assert_eq!(Outcome::of_all([Supported, Inconclusive, Supported]), Inconclusive);
        assert_eq!(Outcome::of_all([NotRun, Refuted, Supported]), Refuted);
        assert_eq!(Outcome::of_all([]), NotRun);
    }
}
