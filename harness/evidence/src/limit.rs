//! Turns the probes of a case's boots into the shortest makespan that is possible, and a boot into what it lost.
//!
//! The bound is that of list scheduling (Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17,
//! 1969): no schedule is shorter than its longest job, nor than all work divided by the machines. A probe is a job of
//! two kinds: it waits for reads, which costs no CPU, and it computes. So with n probes, of which each needs `cpu` and
//! `reads` reads one after another, no kernel is faster than the longer one of
//!
//! - the slowest probe: `reads` times the longest latency, and `cpu`;
//! - the work: n times `cpu`, divided by the CPUs.
//!
//! One that probes one device at a time is not faster than the sum of all probes.
//!
//! **Known:** the latency of each device, which QEMU keeps to or exceeds, and the CPUs: vCPUs, or cores of the host
//! where there are fewer.
//!
//! **Measured**, over all boots of all kernels of the case, because the devices and the machine are the same:
//!
//! - `reads`: the fewest that a disk counts after its probe.
//! - `cpu`: the CPU time that the guest's scheduler gave the threads with the probes, divided by the number of
//!   probes, of the boot where that is least. It has everything else that these threads did in the phase, and the
//!   interrupts that hit them, and not what other threads do for a probe. The guest does not know when the host took
//!   a vCPU away and counts that as well; a kernel that probes one device at a time leaves the host idle and shows it
//!   best. A boot that used more CPU than there was does not count.
//!
//! A probe less its reads is no measure of it: it waits for commands that are answered at once, for timers and
//! threads of QEMU, too. Seen under TCG: 5.2 ms where probes run one at a time, and with 256 at once two CPUs were
//! done with one every 1.1 ms. `cpu` is never more than that remainder, nor than what the CPUs could give each probe
//! in the shortest boot: no boot is shorter than the bound.
//!
//! **Assumed:** that every probe needs the same, that its reads come one after another (where the probes are shorter
//! than that, there is no limit), that any CPU can run any of it, and that nothing limits how many wait at once: 6.1
//! has 512 workers for a node (`max_active` of `system_unbound_wq`, kernel/workqueue.c). QEMU's own work is not in
//! it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::boot::Boot;
use crate::timeline::{self, Probe};

/// The probes of a boot, with how long their devices take for a read.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// In the order in which they ended.
    jobs: Vec<Job>,
    makespan: Duration,
    needs: Needs,
}

/// What a boot says that its probes need.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// Reads of each.
    reads: u32,
    /// CPU time of all together.
    cpu: Duration,
}

/// A probe.
#[derive(Clone, Copy, Debug)]
struct Job {
    took: Duration,
    latency: Duration,
}

impl Schedule {
    /// The schedule of a boot whose devices take so long for a read; `None` where it cannot be held against others:
    /// lines are lost, witnesses differ, not every device was probed once and well, or it is not known what that took.
    pub fn of(boot: &Boot, latency: impl Fn(&str) -> Duration) -> Option<Self> {
        let facts = &boot.facts;
        let whole = facts.probes == facts.devices && facts.probes_of_one == (1, 1) && facts.failed == 0;
        if !whole || boot.doubt().is_some() {
            return None;
        }
        let needs = Needs { reads: u32::try_from(facts.reads_of_one?.0).ok()?, cpu: facts.cpu? };
        Self::of_probes(&boot.best().probes, latency, needs)
    }

    /// Of these probes; `None` without any.
    fn of_probes(probes: &[Probe], latency: impl Fn(&str) -> Duration, needs: Needs) -> Option<Self> {
        let makespan = timeline::makespan(probes)?;
        let mut by_end: Vec<&Probe> = probes.iter().collect();
        by_end.sort_by_key(|probe| probe.end);
        let job = |probe: &Probe| Job { took: probe.end.since(probe.start), latency: latency(&probe.device) };
        Some(Self { jobs: by_end.into_iter().map(job).collect(), makespan, needs })
    }
}

/// What the probes of a case need, and what follows.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Limit {
    /// How many probes.
    pub probes: usize,
    /// How many CPUs can run them at once.
    pub cpus: u32,
    /// Reads of a probe, one after another.
    pub reads: u32,
    /// How long the slowest device takes for a read.
    pub latency: Duration,
    /// CPU time of a probe.
    pub cpu: Duration,
    /// No schedule has a shorter makespan.
    pub ideal: Duration,
    /// None that probes one device at a time has a shorter one than this.
    pub serial: Duration,
}

impl Limit {
    /// The limit of the boots of a case on so many CPUs; `None` without boots, where the devices of one are not as
    /// slow as those of another, where reads overlap, or where no boot tells how much CPU a probe needs.
    pub fn of(boots: &[Schedule], cpus: u32) -> Option<Self> {
        let latencies = latencies(boots.first()?);
        let probes = u32::try_from(latencies.len()).ok()?;
        if boots.iter().any(|boot| self::latencies(boot) != latencies) {
            return None;
        }
        let reads = boots.iter().map(|boot| boot.needs.reads).min()?;
        let jobs = boots.iter().flat_map(|boot| &boot.jobs);
        let rests: Option<Vec<Duration>> =
            jobs.map(|job| job.took.checked_sub(job.latency * reads)).collect();
        let rest = rests?.into_iter().min()?;
        let had = |boot: &&Schedule| boot.needs.cpu <= boot.makespan * cpus;
        let cpu = boots.iter().filter(had).map(|boot| boot.needs.cpu / probes).min()?;
        let to_have = boots.iter().map(|boot| boot.makespan * cpus / probes).min()?;
        Some(Self::from_needs(&latencies, reads, cpu.min(rest).min(to_have), cpus))
    }

    /// The limit of probes that need this.
    fn from_needs(latencies: &[Duration], reads: u32, cpu: Duration, cpus: u32) -> Self {
        let probe = |latency: &Duration| *latency * reads + cpu;
        let slowest = latencies.iter().max().copied().unwrap_or_default();
        let work = cpu * u32::try_from(latencies.len()).unwrap_or(u32::MAX) / cpus.max(1);
        Self {
            probes: latencies.len(),
            cpus,
            reads,
            latency: slowest,
            cpu,
            ideal: work.max(probe(&slowest)),
            serial: latencies.iter().map(probe).sum(),
        }
    }

    /// What the makespan of one of these boots was spent on.
    pub fn spent(&self, boot: &Schedule) -> Spent {
        let waited = self.latency * self.reads;
        let lost = boot.makespan.saturating_sub(self.ideal);
        let too_long = |last: &Job| last.took.saturating_sub(last.latency * self.reads + self.cpu);
        let stretched = boot.jobs.last().map_or(Duration::ZERO, too_long).min(lost);
        Spent { reads: waited, cpu: self.ideal - waited, late_start: lost - stretched, stretched }
    }
}

/// Latencies of the devices, sorted.
fn latencies(boot: &Schedule) -> Vec<Duration> {
    let mut latencies: Vec<Duration> = boot.jobs.iter().map(|job| job.latency).collect();
    latencies.sort_unstable();
    latencies
}

/// What the makespan of a boot was spent on. The four together are the makespan, the first two the ideal one.
///
/// Whatever is lost is to be found in the probe that ended last: it began later than it had to, or took longer. A
/// late start is excused by the CPU time of other probes first: what that explains is in `cpu`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Spent {
    /// The reads of the slowest device.
    pub reads: Duration,
    /// What the CPU time of the probes adds to that at best.
    pub cpu: Duration,
    /// Lost before the probe that ended last began.
    pub late_start: Duration,
    /// Lost while it ran: it took so much longer than its reads and its CPU time. It waited for a CPU, a lock, other
    /// commands of its device, or the host.
    pub stretched: Duration,
}

impl Spent {
    /// The makespan.
    pub fn makespan(&self) -> Duration {
        self.reads + self.cpu + self.late_start + self.stretched
    }

    /// How much of what is possible was reached: the ideal makespan over this one, up to 1; `None` where it took no
    /// time.
    pub fn efficiency(&self) -> Option<f64> {
        let makespan = self.makespan();
        let ideal = self.reads + self.cpu;
        (!makespan.is_zero()).then(|| ideal.as_secs_f64() / makespan.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use proptest::prelude::*;

    use super::*;
    use crate::units::KernelTime;

    const MS: Duration = Duration::from_millis(1);

    /// A boot from probes as (start, end, latency), their reads and their CPU time together, in milliseconds.
    fn boot(probes: &[(u64, u64, u64)], reads: u32, cpu: u32) -> Schedule {
        let micros: Vec<_> = probes.iter().map(|&(s, e, l)| (s * 1000, e * 1000, l * 1000)).collect();
        in_micros(&micros, Needs { reads, cpu: MS * cpu })
    }

    /// The same, in microseconds.
    fn in_micros(probes: &[(u64, u64, u64)], needs: Needs) -> Schedule {
        let all: Vec<Probe> =
            probes.iter().enumerate().map(|(n, &(start, end, _))| probe(n, start, end)).collect();
        let latency = |device: &str| Duration::from_micros(probes[device.parse::<usize>().unwrap()].2);
        Schedule::of_probes(&all, latency, needs).unwrap()
    }

    fn probe(number: usize, start: u64, end: u64) -> Probe {
        Probe {
            device: number.to_string(),
            start: KernelTime::from_micros(start),
            end: KernelTime::from_micros(end),
            returned: 0,
            thread: None,
            lines: (1, 1),
            cpus: None,
        }
    }

    fn spent(reads: u32, cpu: u32, late_start: u32, stretched: u32) -> Spent {
        let [reads, cpu, late_start, stretched] = [reads, cpu, late_start, stretched].map(|ms| MS * ms);
        Spent { reads, cpu, late_start, stretched }
    }

    #[test]
    fn probes_one_after_another_lose_what_the_last_one_waits_for_its_turn() {
        // Two reads of 10 ms and 1 ms of CPU each.
        let serial = boot(&[(0, 21, 10), (21, 42, 10), (42, 63, 10), (63, 84, 10)], 2, 4);
        let limit = Limit::of(slice::from_ref(&serial), 2).unwrap();
        assert_eq!((limit.probes, limit.reads, limit.cpu), (4, 2, MS));
        assert_eq!((limit.ideal, limit.serial), (MS * 21, MS * 84));
        assert_eq!(limit.spent(&serial), spent(20, 1, 63, 0));
        assert_eq!(limit.spent(&serial).efficiency(), Some(0.25));
    }

    #[test]
    fn nothing_is_lost_where_all_probes_wait_at_once() {
        let parallel = boot(&[(0, 21, 10), (0, 21, 10)], 2, 2);
        let limit = Limit::of(slice::from_ref(&parallel), 2).unwrap();
        assert_eq!(limit.spent(&parallel), spent(20, 1, 0, 0));
        assert_eq!(limit.spent(&parallel).efficiency(), Some(1.0));
    }

    #[test]
    fn where_the_cpus_have_more_to_do_than_a_probe_takes_their_work_is_the_limit() {
        // 8 times 4 ms of CPU and a read of 5 ms; on two CPUs the work takes 16 ms.
        let serial: Vec<_> = (0..8).map(|number| (number * 9, number * 9 + 9, 5)).collect();
        let parallel: Vec<_> = (0..8).map(|number| (number * 2, number * 2 + 10, 5)).collect();
        let boots = [boot(&serial, 1, 32), boot(&parallel, 1, 40)];
        let limit = Limit::of(&boots, 2).unwrap();
        assert_eq!((limit.reads, limit.cpu, limit.ideal, limit.serial), (1, MS * 4, MS * 16, MS * 72));
        // 24 ms: the last probe took a millisecond too long, and the CPUs explain 7 of the 14 ms before it.
        assert_eq!(limit.spent(&boots[1]), spent(5, 11, 7, 1));
    }

    #[test]
    fn waiting_that_is_no_read_is_lost_and_no_work() {
        // Of 9 ms of a probe 5 are a read and 1 is CPU time. What is possible is the 6 ms of one of them.
        let serial: Vec<_> = (0..8).map(|number| (number * 9, number * 9 + 9, 5)).collect();
        let serial = boot(&serial, 1, 8);
        let limit = Limit::of(slice::from_ref(&serial), 2).unwrap();
        assert_eq!((limit.cpu, limit.ideal, limit.serial), (MS, MS * 6, MS * 48));
        assert_eq!(limit.spent(&serial), spent(5, 1, 63, 3));
    }

    #[test]
    fn a_boot_that_used_more_cpu_than_there_was_does_not_say_what_a_probe_needs() {
        let probes: Vec<_> = (0..8).map(|number| (number / 4 * 3, number / 4 * 3 + 9, 5)).collect();
        let [used, starved] = [24, 25].map(|cpu| boot(&probes, 1, cpu));
        // Made for 24 ms of CPU on two: 3 ms for each, if only on one of them there was no time for that.
        assert_eq!(Limit::of(slice::from_ref(&used), 2).map(|limit| limit.cpu), Some(MS * 3));
        assert_eq!(Limit::of(slice::from_ref(&starved), 2), None);
        assert_eq!(Limit::of(&[starved, used], 2).map(|limit| limit.cpu), Some(MS * 3));
    }

    #[test]
    fn a_probe_needs_no_more_cpu_than_the_shortest_boot_could_give_it() {
        let serial: Vec<_> = (0..8).map(|number| (number * 9, number * 9 + 9, 5)).collect();
        let parallel: Vec<_> = (0..8).map(|number| (number / 4 * 3, number / 4 * 3 + 9, 5)).collect();
        // One after another it took 4 ms; yet 8 of them were done in 12 ms on two CPUs.
        let boots = [boot(&serial, 1, 32), boot(&parallel, 1, 28)];
        let limit = Limit::of(&boots, 2).unwrap();
        assert_eq!((limit.cpu, limit.ideal), (MS * 3, MS * 12));
        assert_eq!(limit.spent(&boots[1]).efficiency(), Some(1.0));
    }

    #[test]
    fn one_slow_device_is_the_limit_whoever_ends_last() {
        // A read of 100 ms and two of 10 ms, with 2 ms of CPU; the slow probe comes first.
        let serial = boot(&[(0, 102, 100), (102, 114, 10), (114, 127, 10)], 1, 6);
        let parallel = boot(&[(0, 102, 100), (1, 13, 10), (2, 14, 10)], 1, 6);
        let boots = [serial, parallel];
        let limit = Limit::of(&boots, 4).unwrap();
        assert_eq!((limit.reads, limit.latency, limit.cpu), (1, MS * 100, MS * 2));
        assert_eq!((limit.ideal, limit.serial), (MS * 102, MS * 126));
        assert_eq!(limit.spent(&boots[0]), spent(100, 2, 24, 1));
        assert_eq!(limit.spent(&boots[1]), spent(100, 2, 0, 0));
    }

    #[test]
    fn boots_of_other_devices_with_overlapping_reads_and_no_boots_have_no_limit() {
        let [one, other] = [10, 11].map(|latency| boot(&[(0, 24, latency)], 2, 1));
        assert!(Limit::of(slice::from_ref(&one), 1).is_some());
        assert_eq!(Limit::of(&[one, other], 1), None);
        assert_eq!(Limit::of(&[boot(&[(0, 24, 10)], 3, 1)], 1), None);
        assert_eq!(Limit::of(&[], 1), None);
    }

    #[test]
    fn a_boot_in_doubt_or_without_some_probe_or_figure_is_left_out() {
        let mut sound = Boot::default();
        let facts = &mut sound.facts;
        (facts.devices, facts.probes, facts.probes_of_one) = (1, 1, (1, 1));
        (facts.reads_of_one, facts.cpu) = (Some((1, 1)), Some(MS));
        sound.log.probes.push(probe(0, 0, 9000));
        let there = |change: fn(&mut Boot)| {
            let mut boot = sound.clone();
            change(&mut boot);
            Schedule::of(&boot, |_| MS).is_some()
        };
        assert!(there(|_| ()));
        assert!(!there(|boot| boot.facts.devices = 2));
        assert!(!there(|boot| boot.facts.probes_of_one = (1, 2)));
        assert!(!there(|boot| boot.facts.failed = 1));
        assert!(!there(|boot| boot.facts.reads_of_one = None));
        assert!(!there(|boot| boot.facts.cpu = None));
        assert!(!there(|boot| boot.unpaired.push("a line".to_owned())));
    }

    /// How long a device takes for a read, and how long its probe is kept from beginning, in microseconds.
    type Work = (u64, u64);

    /// A schedule on so many CPUs: each probe in turn takes the CPU that is free first, dawdles, runs there for
    /// `cpu`, and waits for its reads without it. One at a time, if there is no CPU.
    fn carried_out(work: &[Work], reads: u32, cpu: u64, cpus: usize) -> Schedule {
        let mut free = vec![0; cpus.max(1)];
        let mut probes = Vec::new();
        for &(latency, dawdles) in work {
            let next = free.iter_mut().min().unwrap();
            let start = *next + dawdles;
            let end = start + cpu + u64::from(reads) * latency;
            *next = if cpus == 0 { end } else { start + cpu };
            probes.push((start, end, latency));
        }
        in_micros(&probes, Needs { reads, cpu: Duration::from_micros(cpu * work.len() as u64) })
    }

    fn work() -> impl Strategy<Value = Vec<Work>> {
        prop::collection::vec((0u64..5000, 0u64..300), 1..60)
    }

    proptest! {
        #[test]
        fn no_schedule_beats_the_limit_of_what_its_probes_need(
            work in work(), reads in 0u32..5, cpu in 0u64..3000, cpus in 1u32..5
        ) {
            let parallel = carried_out(&work, reads, cpu, cpus as usize);
            let serial = carried_out(&work, reads, cpu, 0);
            let needs = Limit::from_needs(&latencies(&parallel), reads, Duration::from_micros(cpu), cpus);
            prop_assert!(needs.ideal <= parallel.makespan);
            prop_assert!(needs.serial <= serial.makespan);
            prop_assert!(needs.ideal <= needs.serial);
            // And it is found from the boots.
            prop_assert_eq!(Limit::of(&[parallel, serial], cpus), Some(needs));
        }

        #[test]
        fn whatever_was_seen_no_boot_beats_the_limit_and_its_parts_are_its_makespan(
            work in work(),
            reads in 0u32..5,
            cpu in 0u64..3000,
            cpus in 1usize..5,
            // Fewer or more CPUs than there were, and other CPU times than the probes had.
            supposed in 1u32..5,
            counted in (0u32..5000, 0u32..5000),
        ) {
            let mut boots = [carried_out(&work, reads, cpu, cpus), carried_out(&work, reads, cpu, 0)];
            let each = u32::try_from(work.len()).unwrap();
            boots[0].needs.cpu = Duration::from_micros(1) * counted.0 * each;
            boots[1].needs.cpu = Duration::from_micros(1) * counted.1 * each;
            if let Some(limit) = Limit::of(&boots, supposed) {
                for boot in &boots {
                    let spent = limit.spent(boot);
                    prop_assert!(limit.ideal <= boot.makespan);
                    prop_assert_eq!(spent.reads + spent.cpu, limit.ideal);
                    prop_assert_eq!(spent.makespan(), boot.makespan);
                }
            }
        }
    }
}
