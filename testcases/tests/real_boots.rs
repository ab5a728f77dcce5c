//! Logs and traces of real boots, one of each kind of kernel, read and judged: what comes out is on file.
//!
//! `without/` and `with/` are the files of two boots of `cargo xtask bench --luns 8 --hbas 2`, `debian-6.1/` and
//! `debian-6.12/` those of the same with `--kernels linux-image-6.1.0-56-cloud-amd64,linux-image-6.12.117+deb12-cloud-amd64`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use evidence::boot::Boot;
use evidence::judge::{Expectation, Outcome, judge};
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run::Record;
use testcases::{Circumstances, DRIVER_AFTER_DEVICES, End, Seen, Verdict};

/// Stands in every line: the golden files have all that is said.
const EVERYTHING: &str = "";
/// What sd says of a new LUN.
const SAYS_SD: &str = "Power-on or device reset occurred";

fn record(kernel: &str) -> Record {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_boots").join(kernel);
    Record::load(&folder).unwrap()
}

fn only_phase(record: &Record) -> Boot {
    record.read(&[EVERYTHING, SAYS_SD]).pop().unwrap()
}

fn boot(kernel: &str) -> Boot {
    only_phase(&record(kernel))
}

fn snapshot(kernel: &str) -> String {
    let topology = Topology::new(2, 2, 8, Duration::from_millis(20));
    let circumstances = Circumstances { topology, host_cores: 2 };
    let boot = boot(kernel);
    let folder = format!("boots/001-{kernel}");
    let seen = Seen { folder, end: End::Well(vec![boot.clone()]) };
    let behaves = if kernel == "without" { Behaviour::PerDriver } else { Behaviour::PerDevice };
    let verdict = Verdict::of(&DRIVER_AFTER_DEVICES, Some(behaves), &circumstances, &[seen]);
    format!("{boot:#?}\n{verdict:#?}")
}

#[test]
fn a_boot_without_the_change() {
    insta::assert_snapshot!(snapshot("without"));
}

#[test]
fn a_boot_with_the_change() {
    insta::assert_snapshot!(snapshot("with"));
}

/// Without CONFIG_PRINTK_CALLER the log does not know the threads; the trace does.
#[test]
fn boots_of_debians_own_kernels() {
    let told = ["debian-6.1", "debian-6.12"].map(|kernel| {
        let boot = boot(kernel);
        assert!(boot.log.probes.iter().all(|probe| probe.thread.is_none()));
        format!(
            "{kernel}: {:#?}\n{:#?}",
            boot.facts,
            (boot.unpaired.told(), boot.differences, boot.splats.len())
        )
    });
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn each_kernel_fails_what_is_expected_of_the_other() {
    let outcome = |expectation, kernel: &str| judge(&expectation, &[(String::new(), boot(kernel))]).outcome;
    assert_eq!(outcome(Expectation::InFlightAtMost(1), "with"), Outcome::Refuted);
    assert_eq!(outcome(Expectation::WorkersAtMost(1), "with"), Outcome::Refuted);
    assert_eq!(outcome(Expectation::InFlightAtLeast(2), "without"), Outcome::Refuted);
}

#[test]
fn what_is_said_is_counted_where_it_was_listened_for() {
    let outcome =
        |text| judge(&Expectation::Says { text, times: 8 }, &[(String::new(), boot("with"))]).outcome;
    assert_eq!(outcome(SAYS_SD), Outcome::Supported);
    assert_eq!(outcome("Power-on"), Outcome::Inconclusive);
}

#[test]
fn a_line_cut_out_of_the_log_is_missed() {
    let mut record = record("with");
    let at = record.kmsg.find("probe of 0:0:0:1 returned").unwrap();
    let line = record.kmsg[..at].rfind('\n').unwrap()..at + record.kmsg[at..].find('\n').unwrap();
    record.kmsg.replace_range(line, "");
    let boot = only_phase(&record);
    assert!(boot.unpaired.iter().any(|text| text.contains("1 records missing")), "{:?}", boot.unpaired);
    assert!(boot.differences.contains(&"only the trace shows a probe of 0:0:0:1".to_owned()));
    let finding = judge(&Expectation::AllBound { of: 8, rounds: 1 }, &[(String::new(), boot)]);
    assert_eq!(finding.outcome, Outcome::Inconclusive);
}

#[test]
fn a_trace_cut_in_the_middle_is_inconclusive() {
    let mut record = record("with");
    let trace = record.trace.as_mut().unwrap();
    let half = trace.len() * 3 / 4;
    trace.truncate(half);
    let finding = judge(&Expectation::InFlightAtLeast(2), &[(String::new(), only_phase(&record))]);
    assert_eq!(finding.outcome, Outcome::Inconclusive);
}
