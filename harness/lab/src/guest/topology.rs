//! The shape of a guest: nodes, CPUs, HBAs and LUNs, as a value that has been checked.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use evidence::units::{LunAddress, NodeId};
use serde::{Deserialize, Serialize};

/// Most NUMA nodes: each has a part of the 256 PCI buses.
pub const MOST_NODES: u32 = 8;
/// Most vCPUs: `CONFIG_NR_CPUS` of our kernels.
pub const MOST_VCPUS: u32 = 64;
/// Most HBAs on one node: each takes a bus behind its root port.
pub const MOST_HBAS_PER_NODE: u32 = 24;
/// Most LUNs: a guest of so many takes 8 GiB.
pub const MOST_LUNS: u32 = 32_768;
/// Most LUNs behind one target: the next ones are behind the next.
const LUNS_PER_TARGET: u32 = 1024;
/// Longest latency: a probe reads a few times, and has to end before anybody calls it hung.
pub const LONGEST_LATENCY: Duration = Duration::from_secs(60);

/// A guest's shape.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Topology {
    /// NUMA nodes.
    pub nodes: u32,
    /// vCPUs, spread over the nodes in blocks.
    pub vcpus: u32,
    /// virtio-scsi controllers, spread over the nodes in turn.
    pub hbas: u32,
    /// LUNs, spread over the controllers in turn.
    pub luns: u32,
    /// How long each read or write of a LUN takes.
    pub latency: Duration,
    /// What is not as usual.
    #[serde(default)]
    pub oddities: Oddities,
}

/// What is not as usual about a guest.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Oddities {
    /// The first LUN takes this long for a read.
    pub slow: Option<Duration>,
    /// On so many LUNs, the last ones, every read fails.
    pub faulty: u32,
    /// So many LUNs more are there to be plugged in later.
    pub spare: u32,
    /// One more node, with memory and HBAs and without CPUs.
    pub node_without_cpus: bool,
    /// HBAs belong to no node.
    pub hbas_without_node: bool,
    /// Latencies are from half to one and a half of what they would be, drawn with this seed.
    pub seed: Option<u64>,
}

/// What is wrong with a topology.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsound(String);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Topology {
    /// One vCPU for each node, and nothing unusual.
    pub const fn new(nodes: u32, hbas: u32, luns: u32, latency: Duration) -> Self {
        const USUAL: Oddities = Oddities {
            slow: None,
            faulty: 0,
            spare: 0,
            node_without_cpus: false,
            hbas_without_node: false,
            seed: None,
        };
        Self { nodes, vcpus: nodes, hbas, luns, latency, oddities: USUAL }
    }

    /// Whether QEMU and the guest can be this.
    ///
    /// # Errors
    /// The first number that cannot be, with what it may be.
    pub fn check(&self) -> Result<(), Unsound> {
        let Self { nodes, vcpus, hbas, luns, latency, oddities: _ } = *self;
        let within = |name: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let s = if value == 1 { "" } else { "s" };
            Err(Unsound(format!("{value} {name}{s}: there can be {least} to {most}")))
        };
        within("node", nodes, 1, MOST_NODES)?;
        within("vCPU", vcpus, 1, MOST_VCPUS)?;
        if nodes > vcpus {
            let text = format!("{nodes} nodes and {vcpus} vCPUs: every node needs a vCPU of its own");
            return Err(Unsound(text));
        }
        within("HBA", hbas, 1, nodes * MOST_HBAS_PER_NODE)?;
        within("LUN", luns, 1, MOST_LUNS)?;
        if hbas > luns {
            let s = if luns == 1 { "" } else { "s" };
            return Err(Unsound(format!("{hbas} HBAs and {luns} LUN{s}: every HBA needs a LUN of its own")));
        }
        if latency > LONGEST_LATENCY {
            return Err(Unsound(format!("a latency of {latency:?}: it can be up to {LONGEST_LATENCY:?}")));
        }
        Ok(())
    }

    /// The first and last vCPU of a node.
    pub(crate) fn vcpus_of(&self, node: NodeId) -> (u32, u32) {
        let first = |node: u32| node * self.vcpus / self.nodes;
        (first(node.0), first(node.0 + 1) - 1)
    }

    /// The node of an HBA; `None` where it is to have none.
    pub(crate) fn node_of_hba(&self, hba: u32) -> Option<NodeId> {
        (!self.oddities.hbas_without_node).then(|| NodeId(hba % self.all_nodes()))
    }

    /// Nodes, those without CPUs included.
    pub(crate) fn all_nodes(&self) -> u32 {
        self.nodes + u32::from(self.oddities.node_without_cpus)
    }

    /// How long a LUN takes for a read.
    pub(crate) fn latency_of(&self, lun: u32) -> Duration {
        let base = match self.oddities.slow {
            Some(slow) if lun == 0 => slow,
            _ => self.latency,
        };
        match self.oddities.seed {
            Some(seed) => {
                let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(lun) << 32));
                base.mul_f64(0.5 + rng.f64())
            }
            None => base,
        }
    }

    /// How long the LUN at an address takes for a read; `None` for one that there is not.
    pub fn latency_at(&self, address: LunAddress) -> Option<Duration> {
        let LunAddress { host, channel, target, lun } = address;
        let hba = *self.hbas_by_host().get(usize::try_from(host).ok()?)?;
        let on_hba = target.checked_mul(LUNS_PER_TARGET)?.checked_add(u32::try_from(lun).ok()?)?;
        let number = on_hba.checked_mul(self.hbas)?.checked_add(hba)?;
        (channel == 0 && number < self.luns).then(|| self.latency_of(number))
    }

    /// HBAs in the order in which the kernel numbers them as SCSI hosts: that of the PCI buses they are on. QEMU's ACPI
    /// tables name the host bridges of nodes the last one first. Seen with 7.2.
    fn hbas_by_host(&self) -> Vec<u32> {
        let mut hbas: Vec<u32> = (0..self.hbas).collect();
        hbas.sort_by_key(|hba| Reverse(self.node_of_hba(*hba).map(|node| node.0)));
        hbas
    }

    /// How many targets the HBAs with most of them have.
    pub(crate) fn targets(&self) -> u32 {
        self.luns.div_ceil(self.hbas).div_ceil(LUNS_PER_TARGET)
    }

    /// The HBA of a LUN, its target there, and its number behind that.
    pub(crate) fn place_of_lun(&self, lun: u32) -> (u32, u32, u32) {
        let on_hba = lun / self.hbas;
        (lun % self.hbas, on_hba / LUNS_PER_TARGET, on_hba % LUNS_PER_TARGET)
    }

    /// How many CPUs of the host such a guest is to have: one for each vCPU, and where it has only one vCPU, another
    /// for QEMU's own threads, which answer its reads.
    pub fn host_cpus(&self) -> u32 {
        self.vcpus.max(2)
    }

    /// Memory of the guest per node, in MiB.
    pub(crate) fn node_mib(&self) -> u32 {
        // Seen: 64 LUNs boot in 128 MiB; a LUN takes some 100 KiB (request queue, tags, sysfs).
        let all = 256 + self.luns / 4 + self.vcpus * 8;
        (all / self.nodes).max(128).next_multiple_of(2)
    }

    /// Memory of the host that such a guest may well take, in MiB: QEMU's own, with what it translates and the LUNs,
    /// besides the guest's. Seen with 64 LUNs: 180, as most of the guest's stays unused.
    pub(crate) fn host_mib(&self) -> u64 {
        u64::from(self.node_mib()) * u64::from(self.all_nodes()) + 256 + u64::from(self.luns) / 4
    }

    /// The time all reads of the probes take if nothing overlaps, with room to spare: the base of deadlines.
    pub fn serial_time(&self) -> Duration {
        /// sd_probe reads the partition table: one read, or a few where partitions are looked for harder.
        const READS_PER_PROBE: u32 = 4;
        let slow = self.oddities.slow.unwrap_or_default();
        self.latency
            .saturating_mul(self.luns + self.oddities.spare)
            .saturating_add(slow)
            .saturating_mul(READS_PER_PROBE)
    }
}

/// In the words of a report: "2 nodes, 4 vCPUs, 4 HBAs, 64 LUNs, 20ms a read".
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, vcpus, hbas, luns, latency, oddities } = self;
        let Oddities { slow, faulty, spare, node_without_cpus, hbas_without_node, seed } = oddities;
        let s = |n: &u32| if *n == 1 { "" } else { "s" };
        write!(
            f,
            "{nodes} node{}, {vcpus} vCPU{}, {hbas} HBA{}, {luns} LUN{}, {latency:?} a read",
            s(nodes),
            s(vcpus),
            s(hbas),
            s(luns)
        )?;
        slow.map_or(Ok(()), |slow| write!(f, ", the first {slow:?}"))?;
        if *faulty > 0 {
            write!(f, ", {faulty} LUN{} that cannot be read", s(faulty))?;
        }
        if *spare > 0 {
            write!(f, ", {spare} more to plug in")?;
        }
        if *node_without_cpus {
            f.write_str(", one more node without CPUs")?;
        }
        if *hbas_without_node {
            f.write_str(", HBAs on no node")?;
        }
        seed.map_or(Ok(()), |seed| write!(f, ", seed {seed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Topology = Topology::new(2, 4, 64, Duration::from_millis(20));

    #[test]
    fn every_vcpu_belongs_to_one_node() {
        for (nodes, vcpus) in [(1, 1), (2, 2), (2, 5), (3, 8), (8, 64)] {
            let topology = Topology { nodes, vcpus, ..DEFAULT };
            let mut next = 0;
            for node in 0..nodes {
                let (first, last) = topology.vcpus_of(NodeId(node));
                assert_eq!(first, next);
                assert!(last >= first);
                next = last + 1;
            }
            assert_eq!(next, vcpus);
        }
    }

    #[test]
    fn the_latency_at_an_address_is_that_of_the_lun_that_was_put_there() {
        let oddities = Oddities { seed: Some(7), slow: Some(Duration::from_secs(1)), ..DEFAULT.oddities };
        let topology = Topology { luns: 9000, oddities, ..DEFAULT };
        for number in [0, 1, 5, 4095, 4096, 8999] {
            let (hba, target, lun) = topology.place_of_lun(number);
            // HBAs 1 and 3 are on node 1, which comes first.
            let host = [2, 0, 3, 1][hba as usize];
            let address = LunAddress { host, channel: 0, target, lun: u64::from(lun) };
            assert_eq!(topology.latency_at(address), Some(topology.latency_of(number)));
        }
        for nowhere in ["4:0:0:0", "0:1:0:0", "0:0:9:0", "0:0:4294967295:9"] {
            assert_eq!(topology.latency_at(nowhere.parse().unwrap()), None, "{nowhere}");
        }
    }

    #[test]
    fn every_lun_is_behind_one_of_the_targets_and_the_last_one_has_some() {
        for (hbas, luns) in [(1, 1), (4, 64), (4, 4096), (4, 4097), (3, 9001), (24, 32_768)] {
            let topology = Topology { hbas, luns, ..DEFAULT };
            let last = (0..luns).map(|lun| topology.place_of_lun(lun).1).max();
            assert_eq!(last, Some(topology.targets() - 1), "{topology}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let refused = [
            (Topology { luns: 0, ..DEFAULT }, "0 LUNs: there can be 1 to 32768"),
            (Topology { nodes: 3, ..DEFAULT }, "3 nodes and 2 vCPUs: every node needs a vCPU of its own"),
            (
                Topology { hbas: 65, vcpus: 8, nodes: 8, ..DEFAULT },
                "65 HBAs and 64 LUNs: every HBA needs a LUN of its own",
            ),
            (
                Topology { latency: Duration::from_secs(61), ..DEFAULT },
                "a latency of 61s: it can be up to 60s",
            ),
        ];
        assert_eq!(DEFAULT.check(), Ok(()));
        for (topology, why) in refused {
            assert_eq!(topology.check().unwrap_err().to_string(), why);
        }
    }
}
