//! CPU times of the host, before and after, to what others took of a guest's CPUs meanwhile.
//!
//! `/proc/stat` says how long each CPU was busy, `/proc/<pid>/stat` how much of it were a guest's QEMU, with all its
//! threads, and the harness. The rest is of others. How many threads QEMU has does not matter: its time is what
//! they ran, and a thread that waits for a CPU does not run. QEMU runs on its own CPUs only, so all its time was
//! spent there. The harness runs where it likes: all its time is taken off, so that it is never taken for a
//! neighbour, and on a large host that can hide as much of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;

/// Above this share of a guest's CPUs, others are remarked upon: a tenth.
///
/// A guest that needs all its CPUs takes longer by about the share that it does not get, and a tenth is by how much
/// times may differ and still be called the same (`judge::judge_as_fast`). The share itself is known better than that.
/// Of one CPU for which a guest and others contend, it was, against the guest's own count in nanoseconds, within 0.011
/// in ten times two seconds, and within 0.032 in twelve times a quarter of a second (as in lab,
/// guest/neighbours/tests.rs).
pub const BUSY: f64 = 0.1;

/// Ticks in a second, the unit of both files: `USER_HZ` is 100 wherever guests run (asm-generic/param.h).
const TICKS: u64 = 100;

/// Less time than this on each CPU, a quarter of a second, says nothing: numbers are cut to whole ticks, and who was
/// busy is found out at timer interrupts.
const LEAST_TICKS: u64 = TICKS / 4;

/// What was read from `/proc` at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// `/proc/stat`.
    pub stat: &'a str,
    /// `/proc/<pid>/stat` of QEMU; `None` before it is started.
    pub guest: Option<&'a str>,
    /// `/proc/self/stat`.
    pub harness: &'a str,
    /// `/proc/pressure/cpu`, where the host has it (`CONFIG_PSI`).
    pub pressure: Option<&'a str>,
}

/// CPU times at one moment, in ticks since the host or the process began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    cpus: BTreeMap<u32, CpuTime>,
    guest: u64,
    harness: u64,
    /// Microseconds in which somebody waited for a CPU.
    waited: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct CpuTime {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl Reading {
    /// What the texts say; `None` where one is not what it should be.
    pub fn of(texts: &Texts<'_>) -> Option<Self> {
        let cpus: BTreeMap<u32, CpuTime> = texts.stat.lines().filter_map(cpu_time).collect();
        let guest = texts.guest.map_or(Some(0), process_time)?;
        let harness = process_time(texts.harness)?;
        (!cpus.is_empty()).then_some(Self {
            cpus,
            guest,
            harness,
            waited: texts.pressure.and_then(time_waited),
        })
    }
}

/// A line "cpu0 54375 0 16426 45355 210 0 91 38 0 0": user, nice, system, idle, iowait, irq, softirq, steal; the two
/// after them are in user and nice already (proc_stat(5)).
fn cpu_time(line: &str) -> Option<(u32, CpuTime)> {
    let (cpu, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    let times: Vec<u64> = times.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = times[..] else { return None };
    let sum = |times: &[u64]| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time));
    let busy = sum(&[user, nice, system, irq, softirq, stolen])?;
    Some((cpu.parse().ok()?, CpuTime { all: sum(&[busy, idle, iowait])?, busy, stolen }))
}

/// The 14th and 15th field, utime and stime, of all threads, those that ended included. The second is the name in
/// brackets, in which anything may stand.
fn process_time(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let mut time = || fields.next()?.parse::<u64>().ok();
    time()?.checked_add(time()?)
}

/// "some avg10=13.19 avg60=9.84 avg300=6.58 total=76195757".
fn time_waited(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.trim().parse().ok()
}

/// What others took of a guest's CPUs while it ran. Shares are from 0 to 1.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Neighbours {
    /// The CPUs, as a list: "0-1".
    pub cpus: String,
    /// The share of their time that others used, what was stolen included.
    pub share: f64,
    /// The share that the hypervisor below the host took (steal).
    pub stolen: f64,
    /// The share of the time in which somebody on the host waited for a CPU: QEMU too, when it has more to do than
    /// CPUs. `None` where the host does not say.
    pub pressure: Option<f64>,
}

impl Neighbours {
    /// What happened on these CPUs between two readings; `None` where one lacks a CPU, or where too little time
    /// passed to tell.
    pub fn between(before: &Reading, after: &Reading, cpus: &Cpus) -> Option<Self> {
        let (mut all, mut busy, mut stolen) = (0u64, 0u64, 0u64);
        for cpu in &cpus.0 {
            let (from, to) = (before.cpus.get(cpu)?, after.cpus.get(cpu)?);
            // The time spent idle may go back by a little (proc_stat(5)).
            all = to.all.saturating_sub(from.all).saturating_add(all);
            busy = to.busy.saturating_sub(from.busy).saturating_add(busy);
            stolen = to.stolen.saturating_sub(from.stolen).saturating_add(stolen);
        }
        let number = cpus.0.len() as u64;
        if number == 0 || all < number * LEAST_TICKS {
            return None;
        }
        let (guest, harness) =
            (after.guest.saturating_sub(before.guest), after.harness.saturating_sub(before.harness));
        let ours = guest.saturating_add(harness);
        let share = |ticks: u64| (ticks as f64 / all as f64).min(1.0);
        let micros = all as f64 / number as f64 * (1_000_000 / TICKS) as f64;
        let pressure = after.waited.zip(before.waited);
        Some(Self {
            cpus: cpus.to_string(),
            share: share(busy.saturating_sub(ours)),
            stolen: share(stolen),
            pressure: pressure.map(|(to, from)| (to.saturating_sub(from) as f64 / micros).min(1.0)),
        })
    }

    /// Whether they were so busy that it is worth a remark.
    pub fn busy(&self) -> bool {
        self.share > BUSY
    }

    /// Whether a guest had so little of its CPUs that one may seem to hang: less than half.
    pub fn starve(&self) -> bool {
        self.share > 0.5
    }

    /// The remark, where they were busy: "busy neighbour: others used 43 % of CPUs 0-1 while it ran".
    pub fn remark(&self) -> Option<String> {
        let Self { cpus, share, stolen, pressure: _ } = self;
        let percent = |share: f64| (share * 100.0).round();
        let stolen = match percent(*stolen) {
            0.0 => String::new(),
            percent => format!(" ({percent} % were stolen by the hypervisor)"),
        };
        self.busy().then(|| {
            format!("busy neighbour: others used {} % of CPUs {cpus} while it ran{stolen}", percent(*share))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two CPUs and a third that is not the guest's; idle and all times in ticks.
    fn reading(cpus: [(u64, u64); 3], guest: u64, harness: u64) -> Reading {
        let line =
            |(cpu, (busy, idle)): (usize, (u64, u64))| format!("cpu{cpu} {busy} 0 0 {idle} 0 0 0 0 0 0\n");
        let stat: String = cpus.into_iter().enumerate().map(line).collect();
        let stat = format!("cpu  999 0 0 999 0 0 0 0 0 0\n{stat}intr 5 6\n");
        let process = |ticks: u64| format!("7 (qemu (x) 1) S 1 7 7 0 -1 0 9 9 9 9 {ticks} 0 5 5 20 0 99 0 3");
        let (guest, harness) = (process(guest), process(harness));
        Reading::of(&Texts { stat: &stat, guest: Some(&guest), harness: &harness, pressure: None }).unwrap()
    }

    fn two() -> Cpus {
        "0-1".parse().unwrap()
    }

    fn share(after: &Reading) -> f64 {
        Neighbours::between(&reading([(0, 0); 3], 0, 0), after, &two()).unwrap().share
    }

    #[test]
    fn what_is_neither_of_the_guest_nor_of_the_harness_is_of_others() {
        // 200 ticks on two CPUs, 150 of them busy: 50 of QEMU, 14 of the harness.
        assert_eq!(share(&reading([(90, 10), (60, 40), (100, 0)], 50, 14)), 86.0 / 200.0);
        // A guest that has both CPUs has no neighbour, with however many threads; nor has one that idles.
        assert_eq!(share(&reading([(100, 0), (100, 0), (0, 100)], 200, 0)), 0.0);
        assert_eq!(share(&reading([(0, 100), (0, 100), (100, 0)], 0, 0)), 0.0);
        // What is cut off at ticks does not make it less than nothing.
        assert_eq!(share(&reading([(100, 0), (100, 0), (0, 100)], 202, 3)), 0.0);
    }

    #[test]
    fn a_neighbour_on_another_cpu_is_none() {
        let after = reading([(50, 50), (50, 50), (100, 0)], 100, 0);
        assert_eq!(share(&after), 0.0);
        let before = reading([(0, 0); 3], 0, 0);
        let all = Neighbours::between(&before, &after, &"0-2".parse().unwrap()).unwrap();
        assert!((all.share - 1.0 / 3.0).abs() < 1e-9, "{all:?}");
    }

    #[test]
    fn every_column_of_stat_counts_as_what_it_is() {
        let (_, time) = cpu_time("cpu1 1 2 4 8 16 32 64 128 1 2").unwrap();
        assert_eq!(time, CpuTime { all: 255, busy: 1 + 2 + 4 + 32 + 64 + 128, stolen: 128 });
        assert_eq!(cpu_time("cpu  1 2 4 8 16 32 64 128 1 2"), None);
        assert_eq!(cpu_time("cpu0 1 2 4"), None);
    }

    #[test]
    fn too_short_a_time_and_a_cpu_that_is_not_there_say_nothing() {
        let before = reading([(0, 0); 3], 0, 0);
        let neighbours = |after: &Reading, cpus: &str| {
            Neighbours::between(&before, after, &cpus.parse().unwrap()).is_some()
        };
        assert!(!neighbours(&reading([(24, 0), (25, 0), (0, 0)], 0, 0), "0-1"));
        let enough = reading([(25, 0), (25, 0), (0, 0)], 0, 0);
        assert!(neighbours(&enough, "0-1"));
        assert!(!neighbours(&enough, "0-1,7"));
        assert!(!neighbours(&enough, ""));
    }

    #[test]
    fn a_remark_is_made_of_more_than_a_tenth() {
        let neighbours =
            |share: f64, stolen: f64| Neighbours { cpus: "0-1".to_owned(), share, stolen, pressure: None };
        assert_eq!(neighbours(0.1, 0.1).remark(), None);
        assert!(neighbours(0.6, 0.0).starve() && !neighbours(0.5, 0.5).starve());
        let remark = "busy neighbour: others used 43 % of CPUs 0-1 while it ran";
        assert_eq!(neighbours(0.43, 0.0).remark().unwrap(), remark);
        assert_eq!(
            neighbours(0.43, 0.2).remark().unwrap(),
            format!("{remark} (20 % were stolen by the hypervisor)")
        );
    }

    #[test]
    fn pressure_is_a_share_of_the_time_that_passed() {
        let pressure = |total: u64| {
            format!("some avg10=1.0 avg60=9.84 avg300=6.58 total={total}\nfull avg10=0.00 total=7\n")
        };
        let at = |ticks: u64, total: u64| {
            let stat = format!("cpu0 {ticks} 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 {ticks} 0 0 0 0 0 0\n");
            let process = "1 (x) S 1 7 7 0 -1 0 9 9 9 9 0 0 5";
            let texts =
                Texts { stat: &stat, guest: None, harness: process, pressure: Some(&pressure(total)) };
            Reading::of(&texts).unwrap()
        };
        let neighbours = Neighbours::between(&at(0, 100), &at(100, 250_100), &two()).unwrap();
        assert_eq!(neighbours.pressure, Some(0.25));
        assert_eq!(neighbours.share, 0.5);
    }

    #[test]
    fn a_text_that_is_none_of_proc_is_no_reading() {
        let good = "1 (x) S 1 7 7 0 -1 0 9 9 9 9 0 0 5";
        for (stat, harness) in
            [("", good), ("cpu0 1 1 1 1 1 1 1 1 1 1", ""), ("cpu0 1 1 1 1 1 1 1 1 1 1", "1 (x) S 1")]
        {
            assert_eq!(Reading::of(&Texts { stat, guest: None, harness, pressure: None }), None);
        }
    }
}
