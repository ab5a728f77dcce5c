//! Each case on each kernel: what is expected of it holds, and what is expected of its opposite does not.

use std::time::Duration;

use evidence::judge::{Expectation, Finding, Outcome, judge};
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run;
use libtest_mimic::{Failed, Trial};
use testcases::{CASES, Case, Circumstances};

use crate::laboratory::{self, KERNELS};

/// Small, with a latency that is long against the time a slow host takes to begin a probe.
const TOPOLOGY: Topology =
    Topology { nodes: 2, vcpus: 2, hbas: 4, luns: 24, latency: Duration::from_millis(60) };

pub(crate) fn trials() -> Vec<Trial> {
    let of = |case: &'static Case, kernel: &'static str| {
        Trial::test(format!("{}::{kernel}", case.name), move || check(case, kernel))
    };
    CASES.iter().flat_map(|case| KERNELS.iter().map(move |kernel| of(case, kernel))).collect()
}

fn check(case: &Case, kernel: &str) -> Result<(), Failed> {
    let lineup = laboratory::lineup()?;
    let bootable = laboratory::kernel(kernel)?;
    let folder = laboratory::folder(kernel)?;
    let record = run::carry_out(&run::Boot {
        kernel: bootable,
        topology: &TOPOLOGY,
        steps: case.steps,
        accelerator: lineup.choice.accelerator,
        folder: &folder,
    })?;
    if !record.left.blind_spots.is_empty() {
        return Err(format!("our own kernels show everything, but: {:?}", record.left.blind_spots).into());
    }
    let boots = [(folder.display().to_string(), record.read())];
    let circumstances = Circumstances { topology: TOPOLOGY, host_cores: lab::host::host_cores() };

    let mut wrong = Vec::new();
    for expectation in case.expectations(bootable.behaves, &circumstances) {
        let finding = judge(expectation, &boots);
        if finding.outcome != Outcome::Supported {
            wrong.push(describe("expected of this kernel", &finding));
        }
    }
    for expectation in contraries(case, bootable.behaves, &circumstances) {
        let finding = judge(expectation, &boots);
        if finding.outcome != Outcome::Refuted {
            wrong.push(describe("expected of other kernels only, and so to be refuted here", &finding));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What a kernel of the opposite kind has to show: an expectation that holds everywhere proves nothing.
fn contraries(case: &Case, kernel: Behaviour, circumstances: &Circumstances) -> Vec<Expectation> {
    let own = case.expectations(kernel, circumstances);
    let opposite = match kernel {
        Behaviour::PerDriver => Behaviour::PerNode,
        Behaviour::PerDevice | Behaviour::PerNode => Behaviour::PerDriver,
    };
    let mut others = case.expectations(opposite, circumstances);
    others.retain(|expectation| !own.contains(expectation));
    others
}

fn describe(what: &str, finding: &Finding) -> String {
    let Finding { expected, seen, outcome, evidence } = finding;
    format!("{what}: {expected}; seen: {seen}; {outcome}\n  {}", evidence.join("\n  "))
}
