//! Reads one boot: from log, trace and sysfs facts to the numbers a verdict rests on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dmesg::{self, Line};
use crate::ftrace::{self, Entry, Trace};
use crate::kmsg::{Caller, Log};
use crate::timeline::{self, Probe};
use crate::units::{CpuId, KernelTime, LunAddress, NodeId, ThreadId};
use crate::witnesses;

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
    /// The LUNs, after the probes.
    pub luns: &'a [Lun],
    /// The module whose load was measured: `sd_mod`.
    pub module: &'a str,
    /// Its driver: `sd`.
    pub driver: &'a str,
    /// What the text after a mark of the agent begins with: `parprobe:`.
    pub mark: &'a str,
}

/// A LUN as sysfs shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lun {
    /// Its address, as text.
    pub address: String,
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
    /// LUNs that the guest had at the end.
    pub luns: usize,
    /// Devices that were probed.
    pub probes: usize,
    /// Of these, how many are bound at the end.
    pub bound: usize,
    /// Most probes that ran at the same time.
    pub max_in_flight: usize,
    /// Threads that ran probes; `None` where no witness knows.
    pub workers: Option<usize>,
    /// Probes that began and ended on a CPU of their device's node; `None` without a trace, or where a device
    /// has no node.
    pub local_probes: Option<usize>,
    /// From the first start to the last end.
    pub makespan: Option<Duration>,
    /// Wall time of loading the module, from the marks in the log.
    pub insmod: Option<Duration>,
    /// How long the module's init function took. It only schedules: the probes come on top, and `insmod` waits
    /// for them.
    pub initcall: Option<Duration>,
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
    let measured: HashMap<&str, &Lun> = texts.luns.iter().map(|lun| (lun.address.as_str(), lun)).collect();
    let is_measured = |device: &str| measured.contains_key(device);

    let (log, load) = read_log(texts, &is_measured, &mut unpaired);
    let trace = texts.trace.map(|text| read_trace(text, texts, &is_measured, &mut unpaired));
    let differences = trace.as_ref().map(|trace| witnesses::differences(&log, trace)).unwrap_or_default();

    let best = trace.as_ref().unwrap_or(&log);
    let attach_calls = if best.attach_calls.is_empty() { &log.attach_calls } else { &best.attach_calls };
    let facts = Facts {
        luns: texts.luns.len(),
        probes: best.probes.iter().map(|probe| &probe.device).collect::<BTreeSet<_>>().len(),
        bound: texts.luns.iter().filter(|lun| lun.driver.as_deref() == Some(texts.driver)).count(),
        max_in_flight: timeline::max_in_flight(&best.probes),
        workers: timeline::workers(&best.probes),
        local_probes: local_probes(&best.probes, texts.cpus, &measured),
        makespan: timeline::makespan(&best.probes),
        insmod: load.insmod,
        initcall: load.initcall,
        letters_out_of_order: letters_out_of_order(texts.luns),
        attach_calls: attach_calls.clone(),
        witnesses_agree: trace.is_some().then_some(differences.is_empty()),
        unpaired: unpaired.len(),
    };
    Boot { facts, log, trace, differences, unpaired }
}

/// How loading the module went.
#[derive(Default)]
struct Load {
    insmod: Option<Duration>,
    initcall: Option<Duration>,
}

fn read_log(
    texts: &Texts<'_>,
    is_measured: &impl Fn(&str) -> bool,
    unpaired: &mut Vec<String>,
) -> (Testimony, Load) {
    let log = Log::read(texts.kmsg);
    unpaired.extend(log.broken.iter().map(|line| format!("log: no record: {line}")));
    unpaired.extend(
        log.gaps.iter().map(|gap| format!("log: {} records missing before {}", gap.missing, gap.before)),
    );

    let begins = format!("{} insmod {} begins", texts.mark, texts.module);
    let ends = format!("{} insmod {} ends", texts.mark, texts.module);
    let mut begun: Option<KernelTime> = None;
    let mut load = Load::default();
    let init_of_module = format!("[{}]", texts.module);
    let mut testimony = Testimony::default();
    let mut last_end: HashMap<ThreadId, KernelTime> = HashMap::new();
    // Open initcalls and async calls, with the number of times each is open.
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for record in &log.records {
        if record.text == begins {
            begun = Some(record.time);
        } else if record.text == ends {
            load.insmod = begun.map(|begun| record.time.since(begun));
        }
        match dmesg::recognise(record.text) {
            Line::Probed { device, returned, took } if begun.is_some() && is_measured(device) => {
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
                *open.entry(format!("initcall {symbol}")).or_default() += 1
            }
            Line::InitcallEnds { symbol, returned, took } => {
                *open.entry(format!("initcall {symbol}")).or_default() -= 1;
                if symbol.ends_with(&init_of_module) {
                    load.initcall = (returned == 0).then_some(took);
                }
            }
            Line::AsyncBegins { cookie, function, .. } => {
                *open.entry(format!("async call {cookie}_{function}")).or_default() += 1;
                if begun.is_some() && ftrace::ATTACH_FUNCTIONS.contains(&function) {
                    *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                    testimony.call_lines.push(record.line);
                }
            }
            Line::AsyncEnds { cookie, function } => {
                *open.entry(format!("async call {cookie}_{function}")).or_default() -= 1;
            }
            Line::AsyncWaiting { thread } => *open.entry(format!("async wait of {thread}")).or_default() += 1,
            Line::AsyncContinuing { thread } => {
                *open.entry(format!("async wait of {thread}")).or_default() -= 1
            }
            Line::NotUnderstood => unpaired.push(format!("log: not understood: {}", record.text)),
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
    if begun.is_none() {
        unpaired.push(format!("log: no mark \"{begins}\""));
    } else if load.insmod.is_none() {
        unpaired.push(format!("log: no mark \"{ends}\""));
    }
    (testimony, load)
}

fn read_trace(
    text: &str,
    texts: &Texts<'_>,
    is_measured: &impl Fn(&str) -> bool,
    unpaired: &mut Vec<String>,
) -> Testimony {
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
                    if driver == texts.driver && is_measured(device) {
                        testimony.probes.push(Probe {
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
            ftrace::Event::Call { function } => {
                *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                testimony.call_lines.push(entry.line);
            }
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

fn local_probes(
    probes: &[Probe],
    cpus: &[(CpuId, Option<NodeId>)],
    luns: &HashMap<&str, &Lun>,
) -> Option<usize> {
    let nodes: HashMap<CpuId, NodeId> = cpus.iter().filter_map(|&(cpu, node)| Some((cpu, node?))).collect();
    let mut local = 0;
    for probe in probes {
        let (at_start, at_end) = probe.cpus?;
        let wanted = luns.get(probe.device.as_str())?.node?;
        local += usize::from(nodes.get(&at_start)? == &wanted && nodes.get(&at_end)? == &wanted);
    }
    Some(local)
}

/// sd gives out letters as probes get that far, so they follow completion and not the order of addresses.
fn letters_out_of_order(luns: &[Lun]) -> usize {
    let mut letters: Vec<(LunAddress, (usize, &str))> = luns
        .iter()
        .filter_map(|lun| {
            let disk = lun.disk.as_deref()?;
            // sdz comes before sdaa.
            Some((lun.address.parse().ok()?, (disk.len(), disk)))
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
        let kmsg = "6,0,1000,-,caller=T9;parprobe: insmod sd_mod begins\n\
            7,1,30000,-,caller=T9;probe of 0:0:0:0 returned 0 after 28000 usecs\n\
            7,2,58000,-,caller=T9;probe of 0:0:0:1 returned 0 after 28500 usecs\n\
            6,3,59000,-,caller=T9;parprobe: insmod sd_mod ends\n";
        let lun = |address: &str| Lun { address: address.to_owned(), node: None, disk: None, driver: None };
        let texts = Texts {
            kmsg,
            trace: None,
            kprobe_profile: None,
            cpus: &[],
            luns: &[lun("0:0:0:0"), lun("0:0:0:1")],
            module: "sd_mod",
            driver: "sd",
            mark: "parprobe:",
        };
        let boot = read(&texts);
        assert_eq!((boot.facts.probes, boot.facts.max_in_flight), (2, 1), "{boot:?}");
        // In two threads it is as it looks.
        let kmsg = kmsg.replace("T9;probe of 0:0:0:1", "T8;probe of 0:0:0:1");
        assert_eq!(read(&Texts { kmsg: &kmsg, ..texts }).facts.max_in_flight, 2);
    }

    #[test]
    fn letters_are_compared_by_address_and_sdz_comes_before_sdaa() {
        let lun = |address: &str, disk: &str| Lun {
            address: address.to_owned(),
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
