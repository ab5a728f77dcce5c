//! What verdicts are made of: deaths, silences, and what kernels of other kinds need not show.

use super::*;
use crate::case::{Dies, PER_NODE};
use evidence::console::Death;
use lab::run::Step;

fn died(log: &str) -> Seen {
    let line = "INFO: task kworker/u4:1:22 blocked for more than 10 seconds.".to_owned();
    let cause = Cause::Kernel { death: Death::HungTask, line };
    let end = End::Died { cause, doing: "load sd_mod".to_owned(), log: log.to_owned() };
    Seen { folder: "boots/001".to_owned(), end }
}

const LOG: &str = "4,0,1,-,caller=T9;WARNING: before\n6,1,2,-,caller=T9;Call Trace:\n\
    6,2,3,-,caller=T9; mutex_lock+0x1/0x2\n\
    3,3,4,-,caller=T9;INFO: task kworker/u4:1:22 blocked for more than 10 seconds.\n\
    6,4,5,-,caller=T9;Call Trace:\n6,5,6,-,caller=T9; <TASK>\n\
    6,6,7,-,caller=T9; async_synchronize_cookie_domain+0x80/0x130\n6,7,8,-,caller=T9;sd 0:0:0:0: done\n";

#[test]
fn a_kernel_that_dies_is_refuted_with_its_stack_and_nothing_else_is_said_of_it() {
    let case = &crate::DRIVER_AFTER_DEVICES;
    let circumstances = Circumstances { topology: case.topology, host_cores: 2 };
    let verdict = Verdict::of(case, Some(PER_NODE[0]), &circumstances, &[died(LOG)]);
    assert_eq!(verdict.outcome(), Outcome::Refuted);
    assert_eq!(verdict.findings.len(), 1);
    assert_eq!(verdict.findings[0].evidence[2], "  async_synchronize_cookie_domain+0x80/0x130");
}

#[test]
fn what_one_boot_has_refuted_is_so_though_another_fell_silent() {
    let case = &crate::DRIVER_AFTER_DEVICES;
    let circumstances = Circumstances { topology: case.topology, host_cores: 2 };
    let end = End::Died { cause: Cause::Silence(Duration::ZERO), doing: String::new(), log: String::new() };
    let silent = Seen { folder: "boots/002".to_owned(), end };
    let phases = Step::phases(case.steps).len();
    let of = |boot: Boot| Seen { folder: "boots/001".to_owned(), end: End::Well(vec![boot; phases]) };
    let judged = |boots: &[Seen]| Verdict::of(case, None, &circumstances, boots);
    // No device is bound.
    let verdict = judged(&[of(Boot::default()), silent.clone()]);
    assert_eq!(verdict.outcome(), Outcome::Refuted);
    assert!(verdict.findings.iter().all(|finding| finding.outcome != Outcome::Supported));
    assert_eq!(judged(&[silent]).outcome(), Outcome::Inconclusive);
}

#[test]
fn an_expected_death_has_to_be_of_the_right_kind_and_in_the_right_place() {
    let dies = |through| Dies { of: Death::HungTask, through };
    assert_eq!(death(&dies("async_synchronize"), &[died(LOG)]).outcome, Outcome::Supported);
    assert_eq!(death(&dies("mutex_lock"), &[died(LOG)]).outcome, Outcome::Refuted);
    let other = Dies { of: Death::Oops, through: "async_synchronize" };
    assert_eq!(death(&other, &[died(LOG)]).outcome, Outcome::Refuted);
    // A host that stalls looks the same as a guest that does.
    let end = End::Died { cause: Cause::Silence(Duration::ZERO), doing: String::new(), log: String::new() };
    let silent = [Seen { folder: String::new(), end }];
    assert_eq!(survival(&silent).outcome, Outcome::Inconclusive);
    assert_eq!(death(&dies(""), &silent).outcome, Outcome::Inconclusive);
    let alive = Seen { folder: String::new(), end: End::Well(vec![]) };
    assert_eq!(death(&dies(""), &[alive]).outcome, Outcome::Refuted);
    assert_eq!(death(&dies(""), &[]).outcome, Outcome::NotRun);
}

#[test]
fn a_kernel_whose_probes_may_leave_their_node_may_fail_the_kernels_own_test() {
    let case = crate::CASES.iter().find(|case| case.name == "kernels_own_test").unwrap();
    let circumstances = Circumstances { topology: case.topology, host_cores: 2 };
    let seen = [Seen { folder: String::new(), end: End::Well(vec![Boot::default(); 2]) }];
    let asked = |kernel| {
        let findings = Verdict::contraries(case, kernel, &circumstances, &seen);
        findings.iter().any(|finding| finding.expected.contains("Test failed with"))
    };
    assert!(asked(Behaviour::PerNode));
    assert!(!asked(Behaviour::NearNode));
    // Nor has it to find what we find.
    let agrees = |kernel| {
        let verdict = Verdict::of(case, kernel, &circumstances, &seen);
        verdict.findings.iter().any(|finding| finding.expected.contains("the other judge"))
    };
    assert!(agrees(Some(Behaviour::PerNode)) && agrees(Some(Behaviour::PerDriver)));
    assert!(!agrees(Some(Behaviour::NearNode)) && !agrees(None));
}
