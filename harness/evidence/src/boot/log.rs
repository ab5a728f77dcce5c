//! Reads a phase in the log: probes, asynchronous attaches, loads of modules, what the kernel says.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Said, Testimony, Texts};
use crate::dmesg::{self, Line};
use crate::kmsg::{Caller, Log};
use crate::timeline::Probe;
use crate::units::{KernelTime, ThreadId};
use crate::{ftrace, initcalls, splats};

/// How a load of a module in the phase went.
pub(super) struct Load {
    pub(super) module: String,
    pub(super) begun: KernelTime,
    pub(super) returned: Option<KernelTime>,
    pub(super) initcall: Option<Duration>,
}

/// Probes that a load should have waited for: they ended after it had returned, and began before the next one did.
/// While another load is under way nobody is to wait: its probes come and go.
pub(super) fn late_probes(probes: &[Probe], loads: &[Load]) -> Option<usize> {
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
pub(super) struct ReadLog {
    pub(super) testimony: Testimony,
    pub(super) loads: Vec<Load>,
    /// From when to when the phase lasted.
    pub(super) window: (KernelTime, KernelTime),
    pub(super) said: Vec<Said>,
    pub(super) splats: Vec<(usize, String)>,
    pub(super) initcalls: Option<Vec<String>>,
    pub(super) pending_at_init: Option<usize>,
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

pub(super) fn read(
    texts: &Texts<'_>,
    is_measured: &impl Fn(&str) -> bool,
    unpaired: &mut Vec<String>,
) -> ReadLog {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
