//! A boot of a shape to what it spent its makespan on, held against what is possible for that shape.

use evidence::boot::Boot;
use evidence::limit::{Limit, Schedule, Spent};
use lab::guest::topology::Topology;

use crate::case::Circumstances;

/// The probes of a boot with the latencies of their LUNs; `None` for devices that are none, and where the boot cannot be
/// held against others.
pub fn schedule(topology: &Topology, boot: &Boot) -> Option<Schedule> {
    let known = |device: &str| topology.latency_at(device.parse().ok()?);
    if !boot.best().probes.iter().all(|probe| known(&probe.device).is_some()) {
        return None;
    }
    Schedule::of(boot, |device| known(device).unwrap_or_default())
}

/// The limit of a boot by what it shows itself, and what it spent its makespan on.
pub fn of_one(circumstances: &Circumstances, boot: &Boot) -> Option<(Limit, Spent)> {
    let Circumstances { topology, host_cores } = circumstances;
    let schedule = schedule(topology, boot)?;
    let limit = Limit::of(std::slice::from_ref(&schedule), topology.vcpus.min(*host_cores))?;
    let spent = limit.spent(&schedule);
    Some((limit, spent))
}
