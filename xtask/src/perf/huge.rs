//! A guest with very many LUNs: its time and its memory.

use std::time::{Duration, Instant};

use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::run::{self, Ending, Lineup};

use super::{Row, bootable, folder, measured_part, ordered, seconds};

/// More than a target of a controller has, and more than fit on a command line.
const LUNS: u32 = 20_000;
const HBAS: u32 = 16;
/// What they may take, to the verdict.
const MOST: Duration = Duration::from_secs(360);

pub(super) fn measure(lineup: &mut Lineup) -> Result<Vec<Row>, Failure> {
    let topology = Topology::new(2, HBAS, LUNS, Duration::from_millis(5));
    let kernel = bootable(lineup)?;
    let at = folder(lineup, "huge")?;
    let begun = Instant::now();
    let ending = run::carry_out(&ordered(lineup, &kernel, &topology, &at))?;
    let memory = match &ending {
        Ending::Well(record) => record.left.memory,
        Ending::Died { .. } => None,
    };
    let probes = measured_part(lineup, &topology, ending)?;
    let took = begun.elapsed();
    let memory = memory.ok_or_else(|| {
        let next = "read guest.json in its folder";
        Failure::new(Kind::Guest, "ask for the guest's memory", "host or guest did not say", next)
    })?;
    let mib = |kib: u64| format!("{} MiB", kib / 1024);
    Ok(vec![
        Row::seconds_below(format!("{LUNS} LUNs of 5 ms behind {HBAS} HBAs, to the verdict"), took, MOST),
        Row::plain("  of it, loading sd_mod", seconds(probes)),
        Row::plain("  memory of QEMU, at most", mib(memory.qemu_peak_kib)),
        Row::plain("  memory of the guest", mib(memory.guest_kib)),
        Row::plain("  memory that the guest used", mib(memory.guest_used_kib)),
    ])
}
