//! What boots show of a fault.

use super::*;
use crate::bisect::played::{boot, died, question, troubled};
use evidence::console::Death;

#[test]
fn what_the_bad_end_shows_is_told_from_another_failure() {
    let faults = |seen: &Seen| question().judged(Some(Behaviour::PerNode), seen).faults;
    assert_eq!(faults(&boot(4)), []);
    let serial = faults(&boot(1));
    // None is in flight with another, and so no reads overlap.
    assert_eq!(serial.len(), 2);
    let of_bad_end: Vec<String> = serial.iter().map(|fault| fault.what.clone()).collect();
    let [hang, oops] = [Death::HungTask, Death::Oops].map(|death| faults(&died(death)).remove(0));
    assert!(hang.died && hang.what != oops.what, "{hang:?} {oops:?}");
    // The line of a death differs from boot to boot, and is no part of what is searched for.
    assert!(!hang.what.contains("12.3") && hang.seen.contains("12.3"));
    let is = |symptom: Symptom| [&serial[0], &hang].map(|fault| symptom.is(fault, &of_bad_end));
    assert_eq!(
        [Symptom::Same, Symptom::Died, Symptom::Failed, Symptom::Any].map(is),
        [[true, false], [false, true], [true, false], [true, true]]
    );
}

#[test]
fn what_the_good_end_shows_as_well_is_of_no_account() {
    let mut warned = boot(1);
    if let End::Well(phases) = &mut warned.end {
        phases[0].splats.push((7, "WARNING: at mm/slab.c".to_owned()));
    }
    let faults = question().judged(Some(Behaviour::PerNode), &warned).faults;
    let [serial, apart, complaint] = &faults[..] else { panic!("{faults:?}") };
    let shows = |tolerated: &[String], searched: &Fault| {
        let is_fault = |fault: &Fault| fault.what == searched.what;
        let expected =
            Expected { behaves: Some(Behaviour::PerNode), tolerated, is_fault: &is_fault, silence: false };
        question().shows(&expected, &warned)
    };
    let tolerated = [complaint.what.clone()];
    assert!(shows(&tolerated, serial).is_ok_and(|shown| shown.is_some()));
    let all = [serial, apart, complaint].map(|fault| fault.what.clone());
    assert_eq!(shows(&all, serial), Ok(None));
    let other = Fault { what: "something else".to_owned(), ..serial.clone() };
    assert!(shows(&tolerated, &other).is_err_and(|why| why.starts_with("fails otherwise")));
}

#[test]
fn how_a_good_kernel_behaves_is_the_most_that_it_keeps() {
    let of = |boot: Seen| question().behaviour(&[boot]);
    assert_eq!(of(boot(4)), Some(Behaviour::PerNode));
    let placed = |local: usize| {
        let mut seen = boot(4);
        if let End::Well(phases) = &mut seen.end {
            (phases[0].facts.local_probes, phases[0].facts.begun_local) = (Some(0), Some(local));
        }
        seen
    };
    assert_eq!(of(placed(4)), Some(Behaviour::NearNode));
    assert_eq!(of(placed(2)), Some(Behaviour::PerDevice));
    assert_eq!(of(died(Death::Panic)), None);
    // A complaint says nothing of parallelism.
    assert_eq!(of(troubled(true, false)), Some(Behaviour::PerNode));
}

#[test]
fn a_boot_that_cannot_tell_is_not_clean_though_all_it_shows_is_of_no_account() {
    let seen = troubled(true, true);
    let complaint = "no complaint of the kernel".to_owned();
    let serial = "at least 2 probes in flight".to_owned();
    let searched = serial.clone();
    let is_fault = |fault: &Fault| fault.what == searched;
    let shows = |tolerated: &[String]| {
        let expected =
            Expected { behaves: Some(Behaviour::PerNode), tolerated, is_fault: &is_fault, silence: false };
        question().shows(&expected, &seen)
    };
    assert!(shows(&[]).is_err_and(|why| why.starts_with("fails otherwise")));
    let why = shows(std::slice::from_ref(&complaint)).unwrap_err();
    assert!(why.starts_with("cannot tell"), "{why}");
    // What is of no account does not have to be told.
    let (case, circumstances) = (question().case, question().circumstances());
    let boots = std::slice::from_ref(&seen);
    let Verdict { findings, .. } = Verdict::of(case, Some(Behaviour::PerNode), &circumstances, boots);
    let all: Vec<String> = findings.into_iter().map(|finding| finding.expected).collect();
    assert_eq!(shows(&all), Ok(None));
}
