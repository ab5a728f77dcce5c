//! Reads one phase of a boot: from log, trace and sysfs facts to the numbers a verdict rests on.

mod facts;
mod loads;
mod log;
mod pairs;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counted::Counted;
use crate::timeline::{self, Probe};
use crate::units::{CpuId, KernelTime, NodeId, ThreadId};
use crate::witnesses;

/// What a boot left behind, as text, and what sysfs said about it.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// What `uname -r` says: what lines mean has changed over time.
    pub release: &'a str,
    /// `/dev/kmsg`, whole.
    pub kmsg: &'a str,
    /// tracefs' `trace`; `None` on a kernel that has none.
    pub trace: Option<&'a str>,
    /// tracefs' `kprobe_profile`: hits and misses of each event.
    pub kprobe_profile: Option<&'a str>,
    /// CPUs with their nodes.
    pub cpus: &'a [(CpuId, Option<NodeId>)],
    /// What the text after a mark of the harness begins with: `parprobe:`.
    pub mark: &'a str,
    /// What is looked at.
    pub phases: &'a [Phase<'a>],
    /// What expectations ask the log for: lines of a phase with one of these texts are kept. See
    /// [`Expectation::asks`](crate::judge::Expectation::asks).
    pub asked: &'a [&'a str],
    /// The initcalls of the kernel image, in the order in which it runs them; empty where nobody asks.
    pub initcalls: &'a [String],
}

/// What `really_probe()` returned, as it does since v5.14: 0 for bound. Before, 1 was bound and 0 was not, whatever the
/// reason was (drivers/base/dd.c).
fn since_5_14(returned: i64, release: &str) -> i64 {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0u32));
    let version = (parts.next(), parts.next());
    match returned {
        1 if version < (Some(5), Some(14)) => 0,
        0 if version < (Some(5), Some(14)) => FAILED_SOMEHOW,
        other => other,
    }
}

/// What stands for a probe that failed on a kernel that does not say why.
pub const FAILED_SOMEHOW: i64 = i64::MAX;

/// A phase of a boot, in which the probes of one driver are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Phase<'a> {
    /// Its name, as in the marks in the log; `None` for the whole boot up to the start of `/init`.
    pub name: Option<&'a str>,
    /// The driver: `sd`.
    pub driver: &'a str,
    /// The devices that the driver is for, after the probes.
    pub devices: &'a [Device],
    /// CPU time of each thread within the phase; `None` where nobody asked.
    pub cpu_times: Option<&'a [(ThreadId, Duration)]>,
    /// What was still under way when the wait for its end was given up.
    pub unsettled: Option<&'a str>,
}

/// A device as sysfs shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// Its name on its bus; for a LUN its address.
    pub name: String,
    /// Its NUMA node.
    pub node: Option<NodeId>,
    /// Its disk.
    pub disk: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Reads that its disk counted, from its beginning; `None` where it has none or nobody asked.
    #[serde(default)]
    pub reads: Option<u64>,
}

/// What one witness says about the probes of the measured driver.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Testimony {
    /// The probes, by their end.
    pub probes: Vec<Probe>,
    /// The functions that asynchronous attaches ran, with how often: one `driver_attach_async` for a driver,
    /// or as many `__driver_attach_async_helper` as there are devices.
    pub attach_calls: BTreeMap<String, u64>,
    /// The lines of the witness's text with these calls.
    pub call_lines: Vec<usize>,
}

/// The numbers of one boot.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Devices that were there at the end.
    pub devices: usize,
    /// Of these, how many were probed.
    pub probes: usize,
    /// Of these, how many are bound at the end.
    pub bound: usize,
    /// The fewest and the most probes that one of the devices had.
    pub probes_of_one: (usize, usize),
    /// Probes that returned an error.
    pub failed: usize,
    /// Most probes that ran at the same time.
    pub max_in_flight: usize,
    /// Threads that ran probes; `None` where no witness knows.
    pub workers: Option<usize>,
    /// Probes of devices that have a node with CPUs; `None` without a trace.
    pub placeable: Option<usize>,
    /// Of these, how many began on a CPU of that node.
    pub begun_local: Option<usize>,
    /// Of these, how many began and ended on a CPU of that node.
    pub local_probes: Option<usize>,
    /// The fewest and the most reads that the disk of one of the devices counted; `None` where one did not count.
    pub reads_of_one: Option<(u64, u64)>,
    /// CPU time of the threads that ran probes, within the phase; `None` where it is not known of all of them.
    pub cpu: Option<Duration>,
    /// From the first start to the last end.
    pub makespan: Option<Duration>,
    /// Wall time of loading the last module of the phase, from the marks in the log.
    pub insmod: Option<Duration>,
    /// Probes that ended after the load had returned that should have waited for them, over all loads of the phase;
    /// `None` where nothing was loaded.
    pub late_probes: Option<usize>,
    /// How long that module's init function took. It only schedules: the probes come on top, and `insmod` waits
    /// for them.
    pub initcall: Option<Duration>,
    /// Initcalls that ran before their turn, in the order of levels; `None` where nobody asked.
    pub initcalls_out_of_order: Option<Vec<String>>,
    /// Asynchronous calls and probes that ended after `/init` was started; `None` for a phase.
    pub pending_at_init: Option<usize>,
    /// Pairs of neighbours, by address, whose disk letters are the other way round.
    pub letters_out_of_order: usize,
    /// Functions that asynchronous attaches ran, with how often.
    pub attach_calls: BTreeMap<String, u64>,
    /// Whether both witnesses saw the same devices, threads and results, and as many at once, give or take a
    /// tenth; `None` with one witness.
    pub witnesses_agree: Option<bool>,
    /// Starts without an end, ends without a start, lines that were cut, lost or not understood.
    pub unpaired: usize,
}

/// A boot, read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Boot {
    /// The numbers.
    pub facts: Facts,
    /// What the log says.
    pub log: Testimony,
    /// What the trace says.
    pub trace: Option<Testimony>,
    /// Where the witnesses differ, in words.
    pub differences: Vec<String>,
    /// What did not pair or could not be read, in words.
    pub unpaired: Counted<String>,
    /// What was still under way when the wait for the end of the phase was given up.
    pub unsettled: Option<String>,
    /// What the kernel complained about, anywhere in the log: the first line of each splat, with its number.
    pub splats: Counted<(usize, String)>,
    /// Probes of devices that are not there any more, as the trace shows them.
    pub gone: Vec<Probe>,
    /// For each text that was asked for, the lines of the phase that have it and that no witness is made of.
    pub said: BTreeMap<String, Heard>,
}

/// Lines with a text: more than any case has moments that are to meet probes.
pub type Heard = Counted<Said, 10_000>;

/// A line of the log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Said {
    /// Its number, from 1.
    pub line: usize,
    /// When it was printed.
    pub time: KernelTime,
    /// What it says.
    pub text: String,
}

impl Boot {
    /// The witness that the facts are taken from.
    pub fn best(&self) -> &Testimony {
        self.trace.as_ref().unwrap_or(&self.log)
    }

    /// Why no claim can rest on this boot; `None` where one can.
    pub fn doubt(&self) -> Option<String> {
        if let Some(what) = &self.unsettled {
            return Some(what.clone());
        }
        if let Some(what) = self.unpaired.first() {
            return Some(format!("{} of its lines do not pair or are lost: {what}", self.unpaired.len()));
        }
        // From v5.8 to v6.4 the log has probes only where somebody asked for them: no line is not no probe. And what was
        // bound before a witness was called is in neither.
        let seen =
            [Some(&self.log), self.trace.as_ref()].into_iter().flatten().any(|of| !of.probes.is_empty());
        if !seen && self.facts.bound > 0 {
            return Some("devices are bound, and no witness has a probe".to_owned());
        }
        self.differences.first().map(|difference| format!("log and trace differ: {difference}"))
    }
}

/// The devices of a phase by name.
struct Measured<'a>(HashMap<&'a str, (&'a Device, bool)>);

impl<'a> Measured<'a> {
    /// The log does not name the driver of a probe: devices of another one are not looked at.
    fn of(phase: &Phase<'a>) -> Self {
        let by_ours = |d: &Device| d.driver.as_deref().is_none_or(|driver| driver == phase.driver);
        Self(phase.devices.iter().map(|d| (d.name.as_str(), (d, by_ours(d)))).collect())
    }

    /// Whether it is looked at; `None` for a device that is not there.
    fn look(&self, device: &str) -> Option<bool> {
        self.0.get(device).map(|(_, measured)| *measured)
    }

    fn node(&self, device: &str) -> Option<NodeId> {
        self.0.get(device).filter(|(_, measured)| *measured).and_then(|(device, _)| device.node)
    }
}

/// Reads a boot: what each of its phases says. Log and trace are gone through once, and of what they say only probes
/// and findings are kept.
pub fn read(texts: &Texts<'_>) -> Vec<Boot> {
    let measured: Vec<Measured<'_>> = texts.phases.iter().map(Measured::of).collect();
    let log::ReadLog { phases: logs, splats, initcalls, unpaired } = log::read(texts, &measured);
    let trace = texts.trace.map(|text| trace::read(text, texts, &measured, &logs));
    let (traces, in_trace) = match trace {
        Some(trace::ReadTrace { phases, unpaired }) => (phases.into_iter().map(Some).collect(), unpaired),
        None => (logs.iter().map(|_| None).collect::<Vec<_>>(), Counted::default()),
    };
    let phases = texts.phases.iter().zip(&measured).zip(logs.into_iter().zip(traces));
    let since_5_14 = |probes: &mut Vec<Probe>| {
        probes.iter_mut().for_each(|probe| probe.returned = since_5_14(probe.returned, texts.release));
    };
    let boot = |((phase, measured), (mut log, mut trace)): (
        (&Phase<'_>, &Measured<'_>),
        (log::PhaseLog, Option<trace::PhaseTrace>),
    )| {
        since_5_14(&mut log.testimony.probes);
        if let Some(trace::PhaseTrace { testimony, gone, loads: _ }) = &mut trace {
            since_5_14(&mut testimony.probes);
            since_5_14(gone);
        }
        let mut unpaired = unpaired.clone();
        log.unmarked.iter().cloned().for_each(|what| unpaired.append_one(what));
        unpaired.append(in_trace.clone());
        let found = Found { splats: splats.clone(), initcalls: initcalls.clone(), unpaired };
        conclude(phase, measured, texts.cpus, log, trace, found)
    };
    phases.map(boot).collect()
}

/// What was found anywhere in a boot.
struct Found {
    splats: Counted<(usize, String)>,
    initcalls: Option<Vec<String>>,
    unpaired: Counted<String>,
}

/// The numbers of a phase, from what log and trace say of it.
fn conclude(
    phase: &Phase<'_>,
    measured: &Measured<'_>,
    cpus: &[(CpuId, Option<NodeId>)],
    log: log::PhaseLog,
    trace: Option<trace::PhaseTrace>,
    found: Found,
) -> Boot {
    let Found { splats, initcalls, unpaired } = found;
    let log::PhaseLog { testimony: log, loads, window: _, said, pending_at_init, unmarked: _ } = log;
    let (trace, gone, in_trace) = match trace {
        Some(trace::PhaseTrace { testimony, gone, loads }) => (Some(testimony), gone, loads),
        None => (None, Vec::new(), None),
    };
    let differences = trace.as_ref().map(|trace| witnesses::differences(&log, trace)).unwrap_or_default();

    let best = trace.as_ref().unwrap_or(&log);
    let attach_calls = if best.attach_calls.is_empty() { &log.attach_calls } else { &best.attach_calls };
    let placement = facts::placement(&best.probes, cpus, measured);
    let counts = facts::counts(&best.probes);
    let last = loads.last();
    let late_probes = match &trace {
        // Of an agent that wrote no marks to the trace, those of the log are the next best.
        Some(trace) => {
            let loads = in_trace.as_ref().unwrap_or(&loads);
            loads::late_probes(&trace.probes, loads, loads::Order::Stamps)
        }
        None => loads::late_probes(&log.probes, &loads, loads::Order::Lines),
    };
    let facts = Facts {
        devices: phase.devices.len(),
        probes: counts.len(),
        bound: phase.devices.iter().filter(|d| d.driver.as_deref() == Some(phase.driver)).count(),
        probes_of_one: facts::probes_of_one(&counts, phase.devices),
        failed: best.probes.iter().filter(|probe| probe.returned != 0).count(),
        max_in_flight: timeline::max_in_flight(&best.probes),
        workers: timeline::workers(&best.probes),
        placeable: placement.map(|seen| seen.placeable),
        begun_local: placement.map(|seen| seen.begun),
        local_probes: placement.map(|seen| seen.local),
        reads_of_one: facts::reads_of_one(phase.devices),
        cpu: phase.cpu_times.and_then(|times| facts::cpu(&best.probes, times)),
        makespan: timeline::makespan(&best.probes),
        insmod: last.and_then(|load| Some(load.returned?.at.since(load.begun))),
        late_probes,
        initcall: last.and_then(|load| load.initcall),
        initcalls_out_of_order: initcalls,
        pending_at_init,
        letters_out_of_order: facts::letters_out_of_order(phase.devices),
        attach_calls: attach_calls.clone(),
        witnesses_agree: trace.is_some().then_some(differences.is_empty()),
        unpaired: unpaired.len(),
    };
    let unsettled = phase.unsettled.map(str::to_owned);
    Boot { facts, log, trace, differences, unpaired, unsettled, splats, gone, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_does_not_run_two_probes_at_once_whatever_clocks_say() {
        let kmsg = "6,0,1000,-,caller=T9;parprobe: phase main begins\n\
            7,1,30000,-,caller=T9;probe of 0:0:0:0 returned 0 after 28000 usecs\n\
            7,2,58000,-,caller=T9;probe of 0:0:0:1 returned 0 after 28500 usecs\n\
            6,3,59000,-,caller=T9;parprobe: phase main ends\n";
        let lun =
            |name: &str| Device { name: name.to_owned(), node: None, disk: None, driver: None, reads: None };
        let devices = [lun("0:0:0:0"), lun("0:0:0:1")];
        let times = [(ThreadId(9), Duration::from_millis(3)), (ThreadId(7), Duration::from_millis(9))];
        let phases = [Phase {
            name: Some("main"),
            driver: "sd",
            devices: &devices,
            cpu_times: Some(&times),
            unsettled: None,
        }];
        let texts = Texts {
            release: "6.1.0",
            kmsg,
            trace: None,
            kprobe_profile: None,
            cpus: &[],
            mark: "parprobe:",
            phases: &phases,
            asked: &[],
            initcalls: &[],
        };
        let read = |texts: &Texts<'_>| read(texts).remove(0);
        let boot = read(&texts);
        assert_eq!(boot.doubt(), None);
        let what = "1 probe under way";
        let unsettled = [Phase { unsettled: Some(what), ..phases[0] }];
        let doubt = read(&Texts { phases: &unsettled, ..texts }).doubt();
        assert_eq!(doubt.as_deref(), Some(what));
        assert_eq!((boot.facts.probes, boot.facts.max_in_flight), (2, 1), "{boot:?}");
        assert_eq!(boot.facts.cpu, Some(Duration::from_millis(3)));
        // In two threads it is as it looks.
        let kmsg = kmsg.replace("T9;probe of 0:0:0:1", "T8;probe of 0:0:0:1");
        let boot = read(&Texts { kmsg: &kmsg, ..texts });
        assert_eq!(boot.facts.max_in_flight, 2);
        // Of the second thread nobody knows how long it ran.
        assert_eq!(boot.facts.cpu, None);
    }

    #[test]
    fn marks_in_a_trace_count_there_and_not_those_of_the_log_whose_clock_is_another() {
        let kmsg = "6,0,900,-,caller=T9;parprobe: phase main begins\n\
            6,1,1000,-,caller=T9;parprobe: insmod sd_mod begins\n\
            7,2,2100,-,caller=T7;probe of 0:0:0:0 returned 0 after 500 usecs\n\
            6,3,2000,-,caller=T9;parprobe: insmod sd_mod ends\n\
            6,4,2050,-,caller=T9;parprobe: phase main ends\n";
        let probe = " kworker/0:1-7 [000] ..... 0.001500: start: (really_probe+0x0/0x380) name=\"0:0:0:0\" drv=\"sd\"\n \
            kworker/0:1-7 [000] ..... 0.002100: end: (driver_probe_device+0x1e/0x110 <- really_probe) ret=0\n";
        let mark = |time: &str, text: &str| {
            format!(" init-9 [001] ..... 0.{time}: tracing_mark_write: parprobe: {text}\n")
        };
        let begins = mark("000900", "phase main begins") + &mark("001000", "insmod sd_mod begins");
        let ends = |time| mark(time, "insmod sd_mod ends") + &mark(time, "phase main ends");
        let devices = [Device {
            name: "0:0:0:0".to_owned(),
            node: None,
            disk: None,
            driver: Some("sd".to_owned()),
            reads: None,
        }];
        let phases =
            [Phase { name: Some("main"), driver: "sd", devices: &devices, cpu_times: None, unsettled: None }];
        let late_and_probes = |trace: Option<&str>| {
            let texts = Texts {
                release: "6.1.0",
                kmsg,
                trace,
                kprobe_profile: None,
                cpus: &[],
                mark: "parprobe:",
                phases: &phases,
                asked: &[],
                initcalls: &[],
            };
            let boot = read(&texts).remove(0);
            assert!(boot.unpaired.is_empty(), "{:?}", boot.unpaired);
            (boot.facts.late_probes, boot.facts.probes)
        };
        // By the log alone the probe was done, whatever its stamp says.
        assert_eq!(late_and_probes(None), (Some(0), 1));
        // By the log's stamps its end in the trace would be after the phase.
        assert_eq!(late_and_probes(Some(probe)), (Some(0), 0));
        let in_order = format!("{begins}{probe}{}", ends("002100"));
        assert_eq!(late_and_probes(Some(&in_order)), (Some(0), 1));
        let (start, end) = probe.split_at(probe.find('\n').unwrap() + 1);
        let late = format!(
            "{begins}{start}{}{end}{}",
            mark("002000", "insmod sd_mod ends"),
            mark("002200", "phase main ends")
        );
        assert_eq!(late_and_probes(Some(&late)), (Some(1), 1));
        // Marks of others are none of ours.
        let others = in_order.replace("tracing_mark_write: parprobe: insmod", "tracing_mark_write: insmod");
        assert_eq!(late_and_probes(Some(&others)), (None, 1));
    }
}
