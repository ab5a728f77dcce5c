//! Each case on each kernel: what is expected of it holds, and what is expected of its opposite does not.

use std::time::Duration;

use evidence::boot::Boot;
use evidence::judge::{Expectation, Finding, Outcome, judge};
use lab::guest::topology::Topology;
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
    let folder = laboratory::folder(kernel)?;
    let record = run::carry_out(&run::Boot {
        kernel: laboratory::kernel(kernel)?,
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
    for expectation in case.expectations(kernel, &circumstances) {
        let finding = judge(expectation, &boots);
        if finding.outcome != Outcome::Supported {
            wrong.push(describe("expected of this kernel", &finding));
        }
    }
    for expectation in contraries(case, kernel, &circumstances) {
        let finding = judge(expectation, &boots);
        if finding.outcome != Outcome::Refuted {
            wrong.push(describe("expected of other kernels only, and so to be refuted here", &finding));
        }
    }
    wrong.extend(unlike(kernel, &boots[0].1));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What a kernel of the opposite kind has to show: an expectation that holds everywhere proves nothing.
fn contraries(case: &Case, kernel: &str, circumstances: &Circumstances) -> Vec<Expectation> {
    let own = case.expectations(kernel, circumstances);
    let opposite = if kernel == "without" { "mainline" } else { "without" };
    let mut others = case.expectations(opposite, circumstances);
    others.retain(|expectation| !own.contains(expectation));
    others
}

fn describe(what: &str, finding: &Finding) -> String {
    let Finding { expected, seen, outcome, evidence } = finding;
    format!("{what}: {expected}; seen: {seen}; {outcome}\n  {}", evidence.join("\n  "))
}

/// The strongest sign of all: which function the kernel scheduled, and how often.
fn unlike(kernel: &str, boot: &Boot) -> Option<String> {
    let luns = u64::from(TOPOLOGY.luns);
    let expected = match kernel {
        "without" => ("driver_attach_async", 1),
        _ => ("__driver_attach_async_helper", luns),
    };
    let calls: Vec<(&str, u64)> =
        boot.facts.attach_calls.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    (calls != [expected]).then(|| format!("expected the async calls {expected:?}, seen: {calls:?}"))
}
