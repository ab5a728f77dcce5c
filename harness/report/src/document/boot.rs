//! Boots, as data: the numbers of those that came to their end, and the reasons of those that did not.

use std::collections::BTreeMap;

use evidence::boot::{Boot, Facts};
use evidence::memory::Memory;
use evidence::neighbours::Neighbours;
use evidence::units::micros;
use serde::{Deserialize, Serialize};

use super::SpentEntry;

/// A boot.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BootEntry {
    /// Its folder in that of the run, with the raw logs.
    pub folder: String,
    /// The boot that this is a fork of: the guest saved there was carried on once more.
    #[serde(default)]
    pub fork_of: Option<String>,
    /// Its numbers.
    pub facts: FactsEntry,
    /// What its makespan was spent on; `null` where the case has no limit or not every device was probed once and well.
    #[serde(default)]
    pub spent: Option<SpentEntry>,
    /// Where log and trace differ.
    pub differences: Vec<String>,
    /// What did not pair, was lost or was not understood.
    pub leftovers: Vec<String>,
    /// What was still under way when the wait for the end of the probes was given up.
    #[serde(default)]
    pub unsettled: Option<String>,
    /// What a witness could not see on this kernel, and why.
    pub blind_spots: Vec<String>,
    /// The host's CPUs that it ran on, as a list: "0-1".
    #[serde(default)]
    pub cpus: Option<String>,
    /// The share of their time, from 0 to 1, that others used meanwhile, what was stolen included.
    #[serde(default)]
    pub neighbours: Option<f64>,
    /// The share that the hypervisor below the host took.
    #[serde(default)]
    pub stolen: Option<f64>,
    /// The share of the time in which somebody on the host waited for a CPU.
    #[serde(default)]
    pub pressure: Option<f64>,
    /// What the guest took of memory.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// What is remarkable about it, in words. No verdict rests on it.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// The numbers of a boot. `null` is "not known".
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FactsEntry {
    /// LUNs that were there at the end.
    pub luns: usize,
    /// Of these, how many were probed.
    pub probes: usize,
    /// Of these, how many are bound at the end.
    pub bound: usize,
    /// Probes that returned an error.
    pub failed: usize,
    /// Most probes that ran at the same time.
    pub max_in_flight: usize,
    /// Threads that ran probes.
    pub workers: Option<usize>,
    /// Probes of devices that have a node with CPUs.
    pub placeable: Option<usize>,
    /// Of these, how many began and ended on a CPU of that node.
    pub local_probes: Option<usize>,
    /// Of the placeable ones, how many began on a CPU of that node.
    #[serde(default)]
    pub begun_local: Option<usize>,
    /// The fewest and the most reads that one LUN counted.
    #[serde(default)]
    pub reads_of_one: Option<(u64, u64)>,
    /// CPU time of the threads that ran probes, in microseconds.
    #[serde(default)]
    pub cpu_us: Option<u64>,
    /// First start to last end, in microseconds.
    pub makespan_us: Option<u64>,
    /// Wall time of loading the module, in microseconds.
    pub insmod_us: Option<u64>,
    /// Probes that ended after it had returned.
    pub late_probes: Option<usize>,
    /// How long its init function took, which schedules the probes, in microseconds.
    pub initcall_us: Option<u64>,
    /// Pairs of neighbours, by address, whose disk letters are the other way round.
    pub letters_out_of_order: usize,
    /// Functions that asynchronous attaches ran, with how often.
    pub attach_calls: BTreeMap<String, u64>,
    /// Whether both witnesses saw the same.
    pub witnesses_agree: Option<bool>,
    /// How many starts, ends and lines did not pair, were lost or not understood.
    pub unpaired: usize,
}

/// A boot that did not come to its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndedEntry {
    /// Its folder in that of the run, with what it said until then.
    pub folder: String,
    /// The boot that this is a fork of.
    pub fork_of: Option<String>,
    /// How it ended, and in what.
    pub why: String,
}

impl BootEntry {
    /// A boot's entry.
    pub fn new(folder: &str, boot: &Boot, blind_spots: &[String]) -> Self {
        Self {
            folder: folder.to_owned(),
            fork_of: None,
            facts: FactsEntry::from(&boot.facts),
            spent: None,
            differences: boot.differences.clone(),
            leftovers: boot.unpaired.told(),
            unsettled: boot.unsettled.clone(),
            blind_spots: blind_spots.to_vec(),
            cpus: None,
            neighbours: None,
            stolen: None,
            pressure: None,
            memory: None,
            remarks: Vec::new(),
        }
    }

    /// Notes what others took of its CPUs.
    pub fn met(&mut self, neighbours: Option<&Neighbours>) {
        let Some(met) = neighbours else { return };
        let Neighbours { cpus, share, stolen, pressure } = met;
        self.cpus = Some(cpus.clone());
        (self.neighbours, self.stolen, self.pressure) = (Some(*share), Some(*stolen), *pressure);
        self.remarks.extend(met.remark());
    }
}

impl From<&Facts> for FactsEntry {
    fn from(facts: &Facts) -> Self {
        let Facts {
            devices,
            probes,
            bound,
            probes_of_one: _,
            failed,
            max_in_flight,
            workers,
            placeable,
            begun_local,
            local_probes,
            reads_of_one,
            cpu,
            makespan,
            insmod,
            late_probes,
            initcall,
            initcalls_out_of_order: _,
            pending_at_init: _,
            letters_out_of_order,
            attach_calls,
            witnesses_agree,
            unpaired,
        } = facts;
        Self {
            luns: *devices,
            probes: *probes,
            bound: *bound,
            failed: *failed,
            max_in_flight: *max_in_flight,
            workers: *workers,
            placeable: *placeable,
            begun_local: *begun_local,
            local_probes: *local_probes,
            reads_of_one: *reads_of_one,
            cpu_us: cpu.map(micros),
            makespan_us: makespan.map(micros),
            insmod_us: insmod.map(micros),
            late_probes: *late_probes,
            initcall_us: initcall.map(micros),
            letters_out_of_order: *letters_out_of_order,
            attach_calls: attach_calls.clone(),
            witnesses_agree: *witnesses_agree,
            unpaired: *unpaired,
        }
    }
}
