//! The text of real benches. `verdict.json` is of one without a limit; `one_boot.json`, with a boot of
//! each kernel, was made while the host had other things to do.

#![allow(clippy::unwrap_used)]

use evidence::memory::Memory;
use evidence::neighbours::Neighbours;
use report::document::{Document, TestDocument, TimeEntry};
use report::findings::Found;
use report::html::Page;

fn document() -> Document {
    serde_json::from_str(include_str!("verdict.json")).unwrap()
}

#[test]
fn the_verdict_of_a_real_bench_as_text() {
    insta::assert_snapshot!(report::text::render(&document()));
}

fn of_one_boot() -> Document {
    serde_json::from_str(include_str!("one_boot.json")).unwrap()
}

#[test]
fn a_bench_of_one_boot_says_what_is_possible_and_where_the_rest_is_lost() {
    insta::assert_snapshot!(report::text::render(&of_one_boot()));
}

#[test]
fn a_wall_that_did_not_stand_is_said_and_none_is_said_where_all_did() {
    let mut document = of_one_boot();
    assert!(!report::text::render(&document).contains("shut off"));
    document.host.open = vec!["no seccomp filter: -sandbox support is not enabled".to_owned()];
    let text = report::text::render(&document);
    assert!(text.contains("guests were not quite shut off from it: no seccomp filter: -sandbox"), "{text}");
}

#[test]
fn where_time_and_memory_went_stands_below_the_verdict() {
    let mut document = of_one_boot();
    let time = TimeEntry { wall_us: 21_900_000, until_boot_us: 100_000, measured_us: 13_000_000, guests: 8 };
    document.time = Some(time);
    let memory =
        |mib: u64| Memory { qemu_peak_kib: mib << 10, guest_kib: 300 << 10, guest_used_kib: 90 << 10 };
    document.results[0].boots[0].memory = Some(memory(400));
    document.results[1].boots[0].memory = Some(memory(200));
    let text = report::text::render(&document);
    assert!(
        text.contains(
            "time:     21.9 s: 0.1 s until the first boot, 13.0 s measured in 8 guests, 1.10 s a guest for all else\n\
             memory:   QEMU 400 MiB at most; its guest used 90 of 300 MiB\n"
        ),
        "{text}"
    );
    document.time = Some(TimeEntry { guests: 0, ..time });
    assert!(!report::text::render(&document).contains("for all else"));
}

#[test]
fn a_boot_that_cannot_be_held_against_the_limit_has_dashes() {
    let mut document = of_one_boot();
    document.results[1].boots[0].spent = None;
    let text = report::text::render(&document);
    let row = text.lines().filter(|line| line.starts_with("with ")).nth(1).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["with", "-", "-", "-", "-", "-"]);
}

#[test]
fn the_parts_are_those_of_the_boot_in_the_middle() {
    let mut document = of_one_boot();
    let boots = &mut document.results[1].boots;
    // The row of the middle one adds up; a median of each part would not.
    for (number, makespan) in [(1, 3), (2, 1)] {
        let mut boot = boots[0].clone();
        boot.facts.makespan_us = Some(makespan);
        boot.spent.as_mut().unwrap().stretched_us = number * 1_000_000;
        boots.push(boot);
    }
    boots[0].facts.makespan_us = Some(2);
    boots[0].spent.as_mut().unwrap().stretched_us = 7_000_000;
    let text = report::text::render(&document);
    assert!(
        text.contains("7.000 s\n") && !text.contains("1.000 s\n") && !text.contains("2.000 s\n"),
        "{text}"
    );
}

#[test]
fn the_parts_of_every_boot_are_its_makespan() {
    for boot in of_one_boot().results.iter().flat_map(|result| &result.boots) {
        let spent = boot.spent.as_ref().unwrap();
        let parts = [spent.reads_us, spent.cpu_us, spent.late_start_us, spent.stretched_us];
        assert_eq!(Some(parts.iter().sum()), boot.facts.makespan_us, "{}", boot.folder);
    }
}

#[test]
fn the_document_reads_back_as_it_was_written() {
    for document in [document(), of_one_boot()] {
        assert_eq!(serde_json::from_str::<Document>(&document.to_json()).unwrap(), document);
    }
}

#[test]
fn of_a_kernel_that_nobody_knows_the_text_says_which_promises_hold() {
    let mut document = document();
    let known = report::text::render(&document);
    assert!(!known.contains("does not hold"), "{known}");
    document.kernels[1].behaves = None;
    let text = report::text::render(&document);
    for line in ["  does not hold at most 1 probe in flight: 8", "nothing says how this one behaves"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("but for the claim"), "{text}");
    // Beside one that the claim is not about it was to be judged.
    document.cases[0].tested = false;
    let text = report::text::render(&document);
    let not_run = format!("nothing says whether it is about {}: --behaves does", document.kernels[1].name);
    assert!(text.contains(&format!("  not run       the claim: {not_run}")), "{text}");
    let found = Found::Bench(Box::new(document.clone()));
    assert!(found.checks().iter().any(|check| check.seen == not_run));
    // Of none is it known.
    document.kernels[0].behaves = None;
    (document.cases[0].tested, document.cases[0].judged) = (true, false);
    let found = Found::Bench(Box::new(document.clone()));
    let page = report::html::render(&Page { found: &found, kernels: &[], timelines: &[], remarks: &[] });
    for text in [report::text::render(&document), report::mail::render(&found), page] {
        assert!(text.contains("supported, but for the claim"), "{text}");
    }
    // Of one that died nothing is said besides.
    document.results.iter_mut().for_each(|result| result.others.clear());
    assert!(!report::text::render(&document).contains("nothing says how this one behaves"));
}

#[test]
fn a_claim_that_no_kernel_was_booted_for_is_not_run() {
    let mut document = document();
    document.cases[0].tested = false;
    assert!(
        report::text::render(&document).contains("  not run       the claim: no kernel that it is about")
    );
}

#[test]
fn a_kernel_without_a_boot_has_no_witnesses_that_agree() {
    let mut document = document();
    document.results[1].boots.clear();
    let text = report::text::render(&document);
    let row = text.lines().find(|line| line.starts_with("with  ")).unwrap();
    assert!(!row.contains("agree"), "{row}");
}

#[test]
fn what_a_boot_could_not_show_is_in_the_text() {
    let mut document = document();
    let boot = &mut document.results[0].boots[0];
    boot.facts.workers = None;
    boot.facts.local_probes = None;
    boot.leftovers.push("trace: 3 entries overwritten".to_owned());
    boot.differences.push("only the log shows a probe of 0:0:0:3".to_owned());
    boot.blind_spots.push("the log shows no async calls: no such file".to_owned());
    let text = report::text::render(&document);
    for line in [
        "witnesses differ: only the log shows a probe of 0:0:0:3",
        "left over: trace: 3 entries overwritten",
        "not seen: the log shows no async calls: no such file",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn every_test_that_did_not_pass_is_named_with_why() {
    let mut tests: TestDocument = serde_json::from_str(include_str!("tests.json")).unwrap();
    insta::assert_snapshot!(report::text::render_not_passed(&tests));
    tests.results.clear();
    tests.harness.clear();
    tests.benches.clear();
    (tests.exit_code, tests.missing) = (0, Vec::new());
    assert_eq!(report::text::render_not_passed(&tests), "");
    // Of a test that notes nothing none is invented here, though other reports have a check of the run for it.
    tests.exit_code = 1;
    let checks = Found::Tests(Box::new(tests.clone())).checks();
    assert!(checks.iter().any(|check| check.group == "run"), "{checks:?}");
    assert_eq!(report::text::render_not_passed(&tests), "");
}

#[test]
fn busy_neighbours_are_warned_of_and_quiet_ones_are_not() {
    let met = |share: f64| {
        let mut document = document();
        for (number, boot) in document.results.iter_mut().flat_map(|result| &mut result.boots).enumerate() {
            let share = if number == 0 { 0.43 } else { share };
            let met = Neighbours { cpus: "0-1".to_owned(), share, stolen: 0.0, pressure: Some(0.9) };
            boot.met(Some(&met));
        }
        document
    };
    let disturbed = met(0.02);
    let boots: usize = disturbed.results.iter().map(|result| result.boots.len()).sum();
    let text = report::text::render(&disturbed);
    let warning = |range: &str, number: usize| {
        format!(
            "warning: busy neighbours: others used {range} % of CPUs 0-1 while {number} of {boots} guests ran;"
        )
    };
    assert!(text.contains(&warning("43", 1)), "{text}");
    assert!(report::text::render(&met(0.126)).contains(&warning("13 to 43", boots)));
    let first = &disturbed.results[0].boots[0];
    assert_eq!(first.remarks, ["busy neighbour: others used 43 % of CPUs 0-1 while it ran"]);
    assert_eq!((first.neighbours, first.cpus.as_deref()), (Some(0.43), Some("0-1")));
    assert!(disturbed.results[0].boots[1].remarks.is_empty());
    // A remark is no verdict.
    assert_eq!(disturbed.outcome, document().outcome);
    assert!(!report::text::render(&document()).contains("warning"));
}
