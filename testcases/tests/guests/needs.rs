//! What a probe needs is measured in the guest, so that there is a limit to hold its kernel against.

use std::time::Duration;

use evidence::limit::{Limit, Schedule};
use lab::guest::topology::Topology;
use lab::run::Ending;
use libtest_mimic::Trial;
use testcases::{Circumstances, DRIVER_AFTER_DEVICES, End, Seen};

use crate::laboratory;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("needs::reads_and_cpu_time_of_a_probe_are_measured".to_owned(), measured)]
}

fn measured() -> Result<(), Wrong> {
    let (case, topology) = (&DRIVER_AFTER_DEVICES, Topology::new(2, 2, 8, Duration::from_millis(20)));
    let (kernel, accelerator) = (laboratory::kernel("without")?, laboratory::accelerator()?);
    let (folder, name) = laboratory::folder("needs-without")?;
    let ending = testcases::boot(case, &topology, &kernel, accelerator, 0, &folder);
    let circumstances = Circumstances { topology, host_cores: lab::host::host_cores() };
    let record = match ending? {
        Ending::Died { lost, .. } => return Err(lost.into()),
        well @ Ending::Well(_) => well,
    };
    let End::Well(phases) = Seen::of(case, &circumstances, &name, Ok(record))?.end else {
        return Err("it went well and did not".into());
    };
    let boot = phases.first().ok_or("no phase")?;
    let schedules: Vec<Schedule> = Schedule::of(boot, |_| topology.latency).into_iter().collect();
    let seen = format!("{:?} in {}", boot.facts, folder.display());
    let limit = Limit::of(&schedules, topology.vcpus).ok_or_else(|| format!("no limit: {seen}"))?;
    if limit.reads == 0 || limit.cpu.is_zero() {
        return Err(format!("{limit:?}: a probe reads, and takes some CPU: {seen}").into());
    }
    // Eight probes one after another are not done in the time of two.
    match limit.spent(&schedules[0]).efficiency() {
        Some(reached) if reached < 0.25 => Ok(()),
        reached => Err(format!("{reached:?} of {limit:?} reached: {seen}").into()),
    }
}
