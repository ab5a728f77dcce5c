//! How short the makespan of a case can be, and what that of a boot was spent on.

use evidence::limit::{Limit, Spent};
use evidence::units::micros;
use serde::{Deserialize, Serialize};

/// How short the makespan of a case can be. Times are in microseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitEntry {
    /// The shortest makespan that is possible.
    pub ideal_us: u64,
    /// The shortest for a kernel that probes one device at a time.
    pub serial_us: u64,
    /// Probes.
    pub probes: usize,
    /// vCPUs, or cores of the host where there are fewer.
    pub cpus: u32,
    /// Reads of a probe, one after another.
    pub reads_per_probe: u32,
    /// How long the slowest device takes for a read.
    pub latency_us: u64,
    /// CPU time of a probe.
    pub cpu_per_probe_us: u64,
}

/// What the makespan of a boot was spent on, in microseconds: four parts, which together are the makespan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SpentEntry {
    /// The ideal makespan over this one, 0 to 1; `null` for a makespan of zero.
    pub efficiency: Option<f64>,
    /// The reads of the slowest device.
    pub reads_us: u64,
    /// What the CPU time of the probes adds to that at best.
    pub cpu_us: u64,
    /// Lost before the probe that ended last began.
    pub late_start_us: u64,
    /// Lost while it ran.
    pub stretched_us: u64,
}

impl From<&Limit> for LimitEntry {
    fn from(limit: &Limit) -> Self {
        let Limit { probes, cpus, reads, latency, cpu, ideal, serial } = limit;
        Self {
            ideal_us: micros(*ideal),
            serial_us: micros(*serial),
            probes: *probes,
            cpus: *cpus,
            reads_per_probe: *reads,
            latency_us: micros(*latency),
            cpu_per_probe_us: micros(*cpu),
        }
    }
}

impl From<&Spent> for SpentEntry {
    fn from(spent: &Spent) -> Self {
        let Spent { reads, cpu, late_start, stretched: _ } = spent;
        // Each part up to its end on the whole, so that the parts add up to the makespan in microseconds as well.
        let ends = [*reads, *reads + *cpu, *reads + *cpu + *late_start, spent.makespan()].map(micros);
        Self {
            efficiency: spent.efficiency(),
            reads_us: ends[0],
            cpu_us: ends[1] - ends[0],
            late_start_us: ends[2] - ends[1],
            stretched_us: ends[3] - ends[2],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_parts_add_up_in_whole_microseconds() {
        let part = Duration::from_nanos(1_750);
        let spent = Spent { reads: part, cpu: part, late_start: part, stretched: part };
        let SpentEntry { efficiency, reads_us, cpu_us, late_start_us, stretched_us } =
            SpentEntry::from(&spent);
        assert_eq!(efficiency, Some(0.5));
        assert_eq!([reads_us, cpu_us, late_start_us, stretched_us], [1, 2, 2, 2]);
    }
}
