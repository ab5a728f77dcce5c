//! Reads one phase of a boot: from log, trace and sysfs facts to the numbers a verdict rests on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dmesg::{self, Line};
use crate::ftrace::{self, Entry, Trace};
use crate::kmsg::{Caller, Log};
use crate::timeline::{self, Probe};
use crate::units::{CpuId, KernelTime, LunAddress, NodeId, ThreadId};
use crate::{initcalls, splats, witnesses};

/// What a boot left behind, as text, and what sysfs said about it.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// `/dev/kmsg`, whole.
    pub kmsg: &'a str,
    /// tracefs' `trace`; `None` on a kernel that has none.
    pub trace: Option<&'a str>,
    /// tracefs' `kprobe_profile`: hits and misses of each event.
    pub kprobe_profile: Option<&'a str>,
    /// CPUs with their nodes.
    pub cpus: &'a [(CpuId, Option<NodeId>)],
    /// The devices that the driver is for, after the probes.
    pub devices: &'a [Device],
    /// The driver: `sd`.
    pub driver: &'a str,
    /// What the text after a mark of the harness begins with: `parprobe:`.
    pub mark: &'a str,
    /// The phase, between marks with this name; `None` for the whole boot up to the start of `/init`.
    pub phase: Option<&'a str>,
    /// The initcalls of the kernel image, in the order in which it runs them; empty where nobody asks.
    pub initcalls: &'a [String],
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
    /// Of these, how many began and ended on a CPU of that node.
    pub local_probes: Option<usize>,
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
    pub unpaired: Vec<String>,
    /// What the kernel complained about, anywhere in the log: the first line of each splat, with its number.
    pub splats: Vec<(usize, String)>,
    /// Probes of devices that are not there any more, as the trace shows them.
    pub gone: Vec<Probe>,
    /// What drivers said about their devices in this phase, and other lines that no witness is made of.
    pub said: Vec<Said>,
}

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
    /// Why no claim can rest on this boot; `None` where one can.
    pub fn doubt(&self) -> Option<String> {
        if let Some(what) = self.unpaired.first() {
            return Some(format!("{} of its lines do not pair or are lost: {what}", self.unpaired.len()));
        }
        self.differences.first().map(|difference| format!("log and trace differ: {difference}"))
    }
}

/// Reads a boot.
pub fn read(texts: &Texts<'_>) -> Boot {
    let mut unpaired = Vec::new();
    // The log does not name the driver of a probe: devices of another one are not looked at.
    let others = |d: &&Device| d.driver.as_deref().is_none_or(|driver| driver == texts.driver);
    let measured: HashMap<&str, &Device> =
        texts.devices.iter().filter(others).map(|d| (d.name.as_str(), d)).collect();
    let is_measured = |device: &str| measured.contains_key(device);

    let log = read_log(texts, &is_measured, &mut unpaired);
    let mut gone = Vec::new();
    let trace = texts.trace.map(|text| read_trace(text, texts, &log, &is_measured, &mut gone, &mut unpaired));
    let ReadLog { testimony: log, loads, window: _, said, splats, initcalls, pending_at_init } = log;
    let differences = trace.as_ref().map(|trace| witnesses::differences(&log, trace)).unwrap_or_default();

    let best = trace.as_ref().unwrap_or(&log);
    let attach_calls = if best.attach_calls.is_empty() { &log.attach_calls } else { &best.attach_calls };
    let (placeable, local_probes) = placement(&best.probes, texts.cpus, &measured);
    let last = loads.last();
    let facts = Facts {
        devices: texts.devices.len(),
        probes: best.probes.iter().map(|probe| &probe.device).collect::<BTreeSet<_>>().len(),
        bound: texts.devices.iter().filter(|d| d.driver.as_deref() == Some(texts.driver)).count(),
        probes_of_one: probes_of_one(&best.probes, texts.devices),
        failed: best.probes.iter().filter(|probe| probe.returned != 0).count(),
        max_in_flight: timeline::max_in_flight(&best.probes),
        workers: timeline::workers(&best.probes),
        placeable,
        local_probes,
        makespan: timeline::makespan(&best.probes),
        insmod: last.and_then(|load| Some(load.returned?.since(load.begun))),
        late_probes: late_probes(&best.probes, &loads),
        initcall: last.and_then(|load| load.initcall),
        initcalls_out_of_order: initcalls,
        pending_at_init,
        letters_out_of_order: letters_out_of_order(texts.devices),
        attach_calls: attach_calls.clone(),
        witnesses_agree: trace.is_some().then_some(differences.is_empty()),
        unpaired: unpaired.len(),
    };
    Boot { facts, log, trace, differences, unpaired, splats, gone, said }
}

/// How many asynchronous calls and probes have begun and not ended, as far as log and trace show it.
pub fn under_way(kmsg: &str, trace: Option<&str>) -> usize {
    let count = |(begun, ended): (usize, usize), line: Line<'_>| match line {
        Line::AsyncBegins { .. } => (begun + 1, ended),
        Line::AsyncEnds { .. } => (begun, ended + 1),
        _ => (begun, ended),
    };
    let log = Log::read(kmsg);
    let (begun, ended) = log.records.iter().map(|record| dmesg::recognise(record.text)).fold((0, 0), count);
    let entries = trace.map(Trace::read).map(|trace| trace.entries).unwrap_or_default();
    let of = |wanted: fn(&ftrace::Event<'_>) -> bool| entries.iter().filter(|e| wanted(&e.event)).count();
    let started = of(|event| matches!(event, ftrace::Event::Start { .. }));
    let returned = of(|event| matches!(event, ftrace::Event::End { .. }));
    begun.abs_diff(ended) + started.abs_diff(returned)
}

/// The fewest and the most probes that one of these devices had.
fn probes_of_one(probes: &[Probe], devices: &[Device]) -> (usize, usize) {
    let mut counts: HashMap<&str, usize> = devices.iter().map(|d| (d.name.as_str(), 0)).collect();
    for probe in probes {
        *counts.entry(&probe.device).or_default() += 1;
    }
    (counts.values().min().copied().unwrap_or(0), counts.values().max().copied().unwrap_or(0))
}

/// How a load of a module in the phase went.
struct Load {
    module: String,
    begun: KernelTime,
    returned: Option<KernelTime>,
    initcall: Option<Duration>,
}

/// Probes that a load should have waited for: they ended after it had returned, and began before the next one did.
/// While another load is under way nobody is to wait: its probes come and go.
fn late_probes(probes: &[Probe], loads: &[Load]) -> Option<usize> {
    let mut late = None;
    for (number, load) in loads.iter().enumerate() {
        let Some(returned) = load.returned else { continue };
        let under_way = |other: &Load| {
            other.begun < returned && other.returned.is_none_or(|its_return| its_return > returned)
        };
        if loads.iter().enumerate().any(|(other, its)| other != number && under_way(its)) {
            continue;
        }
        let next = loads.iter().map(|other| other.begun).filter(|begun| *begun > returned).min();
        let missed = |probe: &&Probe| probe.end > returned && next.is_none_or(|next| probe.start < next);
        *late.get_or_insert(0) += probes.iter().filter(missed).count();
    }
    late
}

/// What the log says of a phase.
struct ReadLog {
    testimony: Testimony,
    loads: Vec<Load>,
    /// From when to when the phase lasted.
    window: (KernelTime, KernelTime),
    said: Vec<Said>,
    splats: Vec<(usize, String)>,
    initcalls: Option<Vec<String>>,
    pending_at_init: Option<usize>,
}

/// Where in the log the phase is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Where {
    Before,
    Within,
    After,
}

/// What `run_init_process()` says (init/main.c): the end of the kernel's own start.
const INIT_STARTS: &str = "Run /init as init process";

fn read_log(texts: &Texts<'_>, is_measured: &impl Fn(&str) -> bool, unpaired: &mut Vec<String>) -> ReadLog {
    let log = Log::read(texts.kmsg);
    unpaired.extend(log.broken.iter().map(|line| format!("log: no record: {line}")));
    unpaired.extend(
        log.gaps.iter().map(|gap| format!("log: {} records missing before {}", gap.missing, gap.before)),
    );

    let begins = texts.phase.map(|phase| format!("{} phase {phase} begins", texts.mark));
    let ends = match texts.phase {
        Some(phase) => format!("{} phase {phase} ends", texts.mark),
        None => INIT_STARTS.to_owned(),
    };
    let mut place = if begins.is_some() { Where::Before } else { Where::Within };
    let mut window = (KernelTime::default(), KernelTime::from_micros(u64::MAX));
    let mut loads: Vec<Load> = Vec::new();
    let mut testimony = Testimony::default();
    let mut said = Vec::new();
    let mut late = 0;
    let mut ran: Vec<&str> = Vec::new();
    let mut last_end: HashMap<ThreadId, KernelTime> = HashMap::new();
    // Open initcalls and async calls, with the number of times each is open.
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for record in &log.records {
        if begins.as_deref() == Some(record.text) {
            (place, window.0) = (Where::Within, record.time);
        } else if record.text == ends {
            (place, window.1) = (Where::After, record.time);
        }
        let within = place == Where::Within;
        if within && let Some(mark) = record.text.strip_prefix(texts.mark) {
            note_load(&mut loads, mark.trim_start(), record.time);
        }
        match dmesg::recognise(record.text) {
            // Without a phase there is no end to it but that of the log: what comes late is to be seen.
            Line::Probed { device, returned, took }
                if (within || texts.phase.is_none()) && is_measured(device) =>
            {
                late += usize::from(!within);
                let thread = match record.caller {
                    Some(Caller::Thread(thread)) => Some(thread),
                    Some(Caller::Cpu(_)) | None => None,
                };
                // The duration is ktime's, the stamp local_clock()'s, and the two drift: seen 0.7 ms over a
                // probe of 28 ms. But a thread does not begin a probe before it has ended the last one.
                let free = thread.and_then(|thread| last_end.insert(thread, record.time));
                testimony.probes.push(Probe {
                    device: device.to_owned(),
                    start: (record.time - took).max(free.unwrap_or_default()),
                    end: record.time,
                    returned,
                    thread,
                    lines: (record.line, record.line),
                    cpus: None,
                });
            }
            Line::InitcallBegins { symbol, .. } => {
                *open.entry(format!("initcall {symbol}")).or_default() += 1;
                ran.push(symbol);
            }
            Line::InitcallEnds { symbol, returned, took } => {
                *open.entry(format!("initcall {symbol}")).or_default() -= 1;
                if within
                    && let Some(load) = loads.last_mut()
                    && symbol.ends_with(&format!("[{}]", load.module))
                {
                    load.initcall = (returned == 0).then_some(took);
                }
            }
            Line::AsyncBegins { cookie, function, .. } => {
                *open.entry(format!("async call {cookie}_{function}")).or_default() += 1;
                if within && ftrace::ATTACH_FUNCTIONS.contains(&function) {
                    *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                    testimony.call_lines.push(record.line);
                }
            }
            Line::AsyncEnds { cookie, function } => {
                *open.entry(format!("async call {cookie}_{function}")).or_default() -= 1;
                // The agent's own loads come later, and have marks.
                late += usize::from(texts.phase.is_none() && !within);
            }
            Line::AsyncWaiting { thread } => *open.entry(format!("async wait of {thread}")).or_default() += 1,
            Line::AsyncContinuing { thread } => {
                *open.entry(format!("async wait of {thread}")).or_default() -= 1
            }
            Line::NotUnderstood => unpaired.push(format!("log: not understood: {}", record.text)),
            Line::Other if within => {
                let (line, time, text) = (record.line, record.time, record.text.to_owned());
                said.push(Said { line, time, text });
            }
            Line::Probed { .. } | Line::Other => {}
        }
    }
    for (what, count) in open {
        match count {
            0 => {}
            1.. => unpaired.push(format!("log: {what} has {count} begins without an end")),
            _ => unpaired.push(format!("log: {what} has {} ends without a begin", -count)),
        }
    }
    if let (Some(begins), Where::Before) = (&begins, place) {
        unpaired.push(format!("log: no mark \"{begins}\""));
    } else if place != Where::After {
        unpaired.push(format!("log: no mark \"{ends}\""));
    }
    let initcalls = initcalls::out_of_order(texts.initcalls, &ran);
    let pending_at_init = texts.phase.is_none().then_some(late);
    let splats = splats::find(&log.records);
    ReadLog { testimony, loads, window, said, splats, initcalls, pending_at_init }
}

/// `insmod sd_mod begins`, `insmod sd_mod ends`.
fn note_load(loads: &mut Vec<Load>, mark: &str, time: KernelTime) {
    let Some(rest) = mark.strip_prefix("insmod ") else { return };
    if let Some(module) = rest.strip_suffix(" begins") {
        loads.push(Load { module: module.to_owned(), begun: time, returned: None, initcall: None });
    } else if let Some(module) = rest.strip_suffix(" ends") {
        let open = loads.iter_mut().rev().find(|load| load.module == module && load.returned.is_none());
        if let Some(load) = open {
            load.returned = Some(time);
        }
    }
}

fn read_trace(
    text: &str,
    texts: &Texts<'_>,
    log: &ReadLog,
    is_measured: &impl Fn(&str) -> bool,
    gone: &mut Vec<Probe>,
    unpaired: &mut Vec<String>,
) -> Testimony {
    let (from, to) = match texts.phase {
        Some(_) => log.window,
        None => (KernelTime::default(), KernelTime::from_micros(u64::MAX)),
    };
    let within = |time: KernelTime| from <= time && time <= to;
    let trace = Trace::read(text);
    unpaired.extend(trace.broken.iter().map(|line| format!("trace: not understood: {line}")));
    if trace.lost > 0 {
        unpaired.push(format!("trace: {} entries overwritten", trace.lost));
    }
    unpaired.extend(texts.kprobe_profile.into_iter().flat_map(misses));

    let mut testimony = Testimony::default();
    // Probes nest within a thread: the probe of an HBA adds its LUNs, whose probes may run inside it.
    let mut open: BTreeMap<ThreadId, Vec<(Entry<'_>, &str, &str)>> = BTreeMap::new();
    for entry in &trace.entries {
        match entry.event {
            ftrace::Event::Start { device, driver } => {
                open.entry(entry.thread).or_default().push((*entry, device, driver));
            }
            ftrace::Event::End { returned } => match open.entry(entry.thread).or_default().pop() {
                Some((start, device, driver)) => {
                    if driver == texts.driver && within(entry.time) {
                        let there = texts.devices.iter().any(|known| known.name == device);
                        let probes = match (is_measured(device), there) {
                            (true, _) => &mut testimony.probes,
                            (false, false) => &mut *gone,
                            (false, true) => continue,
                        };
                        probes.push(Probe {
                            device: device.to_owned(),
                            start: start.time,
                            end: entry.time,
                            returned,
                            thread: Some(entry.thread),
                            lines: (start.line, entry.line),
                            cpus: Some((start.cpu, entry.cpu)),
                        });
                    }
                }
                None => {
                    unpaired.push(format!("trace: thread {} ends at {} no probe", entry.thread, entry.time));
                }
            },
            ftrace::Event::Call { function } if within(entry.time) => {
                *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                testimony.call_lines.push(entry.line);
            }
            ftrace::Event::Call { .. } => {}
        }
    }
    for (start, device, driver) in open.into_values().flatten() {
        unpaired.push(format!(
            "trace: the probe of {device} by {driver} that began at {} has no end",
            start.time
        ));
    }
    testimony
}

/// What `kprobe_profile` says of events that were missed: `  end    64    3`.
fn misses(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [] | [_, _, "0"] => None,
        [event, _hits, missed] => Some(format!("trace: event {event} was missed {missed} times")),
        _ => Some(format!("trace: not understood in kprobe_profile: {line}")),
    })
}

/// Probes of devices that have a node with CPUs, and of these those that ran there.
fn placement(
    probes: &[Probe],
    cpus: &[(CpuId, Option<NodeId>)],
    devices: &HashMap<&str, &Device>,
) -> (Option<usize>, Option<usize>) {
    let nodes: HashMap<CpuId, NodeId> = cpus.iter().filter_map(|&(cpu, node)| Some((cpu, node?))).collect();
    let (mut placeable, mut local) = (0, 0);
    for probe in probes {
        let Some((at_start, at_end)) = probe.cpus else { return (None, None) };
        let wanted = devices.get(probe.device.as_str()).and_then(|device| device.node);
        if let Some(wanted) = wanted.filter(|wanted| nodes.values().any(|node| node == wanted)) {
            placeable += 1;
            let there = |cpu: CpuId| nodes.get(&cpu) == Some(&wanted);
            local += usize::from(there(at_start) && there(at_end));
        }
    }
    (Some(placeable), Some(local))
}

/// sd gives out letters as probes get that far, so they follow completion and not the order of addresses.
fn letters_out_of_order(devices: &[Device]) -> usize {
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
    fn one_thread_does_not_run_two_probes_at_once_whatever_clocks_say() {
        let kmsg = "6,0,1000,-,caller=T9;parprobe: phase main begins\n\
            7,1,30000,-,caller=T9;probe of 0:0:0:0 returned 0 after 28000 usecs\n\
            7,2,58000,-,caller=T9;probe of 0:0:0:1 returned 0 after 28500 usecs\n\
            6,3,59000,-,caller=T9;parprobe: phase main ends\n";
        let lun = |name: &str| Device { name: name.to_owned(), node: None, disk: None, driver: None };
        let texts = Texts {
            kmsg,
            trace: None,
            kprobe_profile: None,
            cpus: &[],
            devices: &[lun("0:0:0:0"), lun("0:0:0:1")],
            driver: "sd",
            mark: "parprobe:",
            phase: Some("main"),
            initcalls: &[],
        };
        let boot = read(&texts);
        assert_eq!((boot.facts.probes, boot.facts.max_in_flight), (2, 1), "{boot:?}");
        // In two threads it is as it looks.
        let kmsg = kmsg.replace("T9;probe of 0:0:0:1", "T8;probe of 0:0:0:1");
        assert_eq!(read(&Texts { kmsg: &kmsg, ..texts }).facts.max_in_flight, 2);
    }

    #[test]
    fn a_load_has_to_wait_for_the_probes_of_its_round_unless_another_is_under_way() {
        let at = KernelTime::from_micros;
        let probe = |start, end| Probe {
            device: String::new(),
            start: at(start),
            end: at(end),
            returned: 0,
            thread: None,
            lines: (1, 1),
            cpus: None,
        };
        let load = |begun, returned| Load {
            module: String::new(),
            begun: at(begun),
            returned: Some(at(returned)),
            initcall: None,
        };
        let probes = [probe(1, 9), probe(21, 35)];
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 40)]), Some(0));
        assert_eq!(late_probes(&probes, &[load(0, 10), load(20, 30)]), Some(1));
        // The first round is judged as well as the last.
        assert_eq!(late_probes(&probes, &[load(0, 5), load(20, 40)]), Some(1));
        // The second load returns while the first, whose scan goes on, is under way.
        assert_eq!(late_probes(&probes, &[load(0, 40), load(20, 30)]), Some(0));
        assert_eq!(late_probes(&probes, &[]), None);
    }

    #[test]
    fn letters_are_compared_by_address_and_sdz_comes_before_sdaa() {
        let lun = |name: &str, disk: &str| Device {
            name: name.to_owned(),
            node: None,
            disk: Some(disk.to_owned()),
            driver: None,
        };
        let ordered = [lun("0:0:0:10", "sdaa"), lun("0:0:0:9", "sdz"), lun("0:0:0:2", "sda")];
        assert_eq!(letters_out_of_order(&ordered), 0);
        let swapped = [lun("0:0:0:0", "sdb"), lun("0:0:0:1", "sda"), lun("1:0:0:0", "sdc")];
        assert_eq!(letters_out_of_order(&swapped), 1);
    }
}
