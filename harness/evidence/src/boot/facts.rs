//! Counts probes and devices: the numbers of a phase.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::{Device, Measured};
use crate::timeline::Probe;
use crate::units::{CpuId, LunAddress, NodeId, ThreadId};

/// How many probes each device had.
pub(super) fn counts(probes: &[Probe]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for probe in probes {
        *counts.entry(probe.device.as_str()).or_default() += 1;
    }
    counts
}

/// The fewest and the most probes that one of these devices had.
pub(super) fn probes_of_one(counts: &HashMap<&str, usize>, devices: &[Device]) -> (usize, usize) {
    let of_each = || devices.iter().map(|d| counts.get(d.name.as_str()).copied().unwrap_or(0));
    let all = || of_each().chain(counts.values().copied());
    (all().min().unwrap_or(0), all().max().unwrap_or(0))
}

/// The fewest and the most reads that one of these devices counted.
pub(super) fn reads_of_one(devices: &[Device]) -> Option<(u64, u64)> {
    let reads: Vec<u64> = devices.iter().map(|device| device.reads).collect::<Option<_>>()?;
    Some((*reads.iter().min()?, *reads.iter().max()?))
}

/// CPU time of the threads that ran these probes.
pub(super) fn cpu(probes: &[Probe], times: &[(ThreadId, Duration)]) -> Option<Duration> {
    let threads: BTreeSet<ThreadId> = probes.iter().map(|probe| probe.thread).collect::<Option<_>>()?;
    let time = |thread: &ThreadId| times.iter().find(|(of, _)| of == thread).map(|(_, time)| *time);
    threads.iter().map(time).try_fold(Duration::ZERO, |sum, time| sum.checked_add(time?))
}

/// Where probes ran.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Placement {
    /// Probes of devices that have a node with CPUs.
    pub(super) placeable: usize,
    /// Of these, those that began there.
    pub(super) begun: usize,
    /// Of these, those that ended there, too.
    pub(super) local: usize,
}

/// Where probes ran; `None` where nobody saw the CPU of one.
pub(super) fn placement(
    probes: &[Probe],
    cpus: &[(CpuId, Option<NodeId>)],
    devices: &Measured<'_>,
) -> Option<Placement> {
    let nodes: BTreeMap<CpuId, NodeId> = cpus.iter().filter_map(|&(cpu, node)| Some((cpu, node?))).collect();
    let mut seen = Placement::default();
    for probe in probes {
        let (at_start, at_end) = probe.cpus?;
        let wanted = devices.node(&probe.device);
        if let Some(wanted) = wanted.filter(|wanted| nodes.values().any(|node| node == wanted)) {
            seen.placeable += 1;
            let there = |cpu: CpuId| nodes.get(&cpu) == Some(&wanted);
            seen.begun += usize::from(there(at_start));
            seen.local += usize::from(there(at_start) && there(at_end));
        }
    }
    Some(seen)
}

/// sd gives out letters as probes get that far, so they follow completion and not the order of addresses.
pub(super) fn letters_out_of_order(devices: &[Device]) -> usize {
    let mut letters: Vec<(LunAddress, (usize, &str))> = devices
        .iter()
        .filter_map(|lun| {
            let disk = lun.disk.as_deref()?;
            // sdz comes before sdaa.
            Some((lun.name.parse().ok()?, (disk.len(), disk)))
        })
        .collect();
    letters.sort_unstable();
    letters.windows(2).filter(|pair| pair[0].1 > pair[1].1).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_known_where_every_disk_counts_them() {
        let lun =
            |reads: Option<u64>| Device { name: String::new(), node: None, disk: None, driver: None, reads };
        assert_eq!(reads_of_one(&[lun(Some(3)), lun(Some(5)), lun(Some(4))]), Some((3, 5)));
        assert_eq!(reads_of_one(&[lun(Some(3)), lun(None)]), None);
    }

    #[test]
    fn letters_are_compared_by_address_and_sdz_comes_before_sdaa() {
        let lun = |name: &str, disk: &str| Device {
            name: name.to_owned(),
            node: None,
            disk: Some(disk.to_owned()),
            driver: None,
            reads: None,
        };
        let ordered = [lun("0:0:0:10", "sdaa"), lun("0:0:0:9", "sdz"), lun("0:0:0:2", "sda")];
        assert_eq!(letters_out_of_order(&ordered), 0);
        let swapped = [lun("0:0:0:0", "sdb"), lun("0:0:0:1", "sda"), lun("1:0:0:0", "sdc")];
        assert_eq!(letters_out_of_order(&swapped), 1);
    }
}
