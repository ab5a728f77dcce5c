//! What a probe needs is measured in the guest, so that there is a limit to hold its kernel against.

use std::time::Duration;

use evidence::boot::Boot;
use evidence::limit::{Limit, Spent};
use lab::guest::topology::Topology;
use lab::run::Ending;
use libtest_mimic::Trial;
use testcases::{CASES, Case, Circumstances, DRIVER_AFTER_DEVICES, Seen, limit};

use crate::laboratory;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("needs::reads_and_cpu_time_of_a_probe_are_measured".to_owned(), measured),
        trial("needs::the_slow_lun_is_known_by_its_address".to_owned(), slow_one),
    ]
}

fn measured() -> Result<(), Wrong> {
    let topology = Topology::new(2, 2, 8, Duration::from_millis(20));
    // The kernel that probes one device at a time.
    let (limit, spent, seen) = boot("without", &DRIVER_AFTER_DEVICES, topology)?;
    if limit.reads == 0 || limit.cpu.is_zero() {
        return Err(format!("{limit:?}: a probe reads, and takes some CPU: {seen}").into());
    }
    // Eight probes one after another are not done in the time of two.
    match spent.efficiency() {
        Some(reached) if reached < 0.25 => Ok(()),
        reached => Err(format!("{reached:?} of {limit:?} reached: {seen}").into()),
    }
}

/// Were another LUN taken for the slow one, its probe would be shorter than its reads, and there would be no limit.
fn slow_one() -> Result<(), Wrong> {
    let case = CASES.iter().find(|case| case.name == "slow_one").ok_or("there is no such case")?;
    let (limit, ..) = boot("mainline", case, case.topology)?;
    let slow = case.topology.oddities.slow.ok_or("no LUN of the case is slow")?;
    if limit.latency == slow { Ok(()) } else { Err(format!("{limit:?}, and not {slow:?}").into()) }
}

/// A boot's limit, what it spent its makespan on, and what was seen.
fn boot(kernel: &str, case: &Case, topology: Topology) -> Result<(Limit, Spent, String), Wrong> {
    let (bootable, accelerator) = (laboratory::kernel(kernel)?, laboratory::accelerator()?);
    let (folder, name) = laboratory::folder(&format!("needs-{kernel}"))?;
    let ending = testcases::boot(case, &topology, &bootable, accelerator, 0, &folder);
    let circumstances = Circumstances { topology, host_cores: lab::host::host_cores() };
    let well = match ending? {
        Ending::Died { lost, .. } => return Err(lost.into()),
        well @ Ending::Well(_) => well,
    };
    let seen = Seen::of(case, &circumstances, &name, Ok(well))?;
    let boot: &Boot = seen.phases().and_then(<[Boot]>::first).ok_or("it went well and has no phase")?;
    let told = format!("{:?} in {}", boot.facts, folder.display());
    let (limit, spent) = limit::of_one(&circumstances, boot).ok_or_else(|| format!("no limit: {told}"))?;
    Ok((limit, spent, told))
}
