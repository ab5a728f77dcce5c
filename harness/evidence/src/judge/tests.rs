//! Which boots support, refute or leave open what is expected of them.

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
    let range = |values: &[&str]| range(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
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
    assert_eq!(outcome(expectation(Which::UnderWay), &[after.clone(), during.clone()]), Outcome::Supported);
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
    assert_eq!(outcome(Expectation::InFlightAtLeast(4), std::slice::from_ref(&few)), Outcome::Inconclusive);
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
    let placed =
        |local| boot(move |boot| (boot.facts.local_probes, boot.facts.placeable) = (Some(local), Some(4)));
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
