//! Reads a phase in the trace: probes with their CPUs, and asynchronous attaches.

use std::collections::BTreeMap;

use super::log::ReadLog;
use super::{Testimony, Texts};
use crate::ftrace::{self, Entry, Trace};
use crate::timeline::Probe;
use crate::units::{KernelTime, ThreadId};

/// Reads it. Probes of devices that are not there any more go into `gone`.
pub(super) fn read(
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
