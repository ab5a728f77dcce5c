//! Reads the trace in one pass, for all phases at once: probes with their CPUs, and asynchronous attaches.

use std::collections::BTreeMap;

use super::loads::{self, Load};
use super::log::PhaseLog;
use super::{Measured, Testimony, Texts};
use crate::counted::{Counted, beginning};
use crate::ftrace::{self, Entry, Event, Piece};
use crate::timeline::Probe;
use crate::units::{KernelTime, ThreadId};

/// What the trace says.
pub(super) struct ReadTrace {
    pub(super) phases: Vec<PhaseTrace>,
    pub(super) unpaired: Counted<String>,
}

/// What the trace says of a phase.
#[derive(Default)]
pub(super) struct PhaseTrace {
    pub(super) testimony: Testimony,
    /// Probes of devices that are not there any more.
    pub(super) gone: Vec<Probe>,
    /// Loads of modules, where marks in the trace tell of them.
    pub(super) loads: Option<Vec<Load>>,
}

/// Reads it, for phases of which the log is read.
pub(super) fn read(text: &str, texts: &Texts<'_>, measured: &[Measured<'_>], logs: &[PhaseLog]) -> ReadTrace {
    // A trace of an agent that wrote none has the phases of the log.
    let has_marks = memchr::memmem::find(text.as_bytes(), texts.mark.as_bytes()).is_some();
    let mut phases: Vec<Phase<'_>> = texts
        .phases
        .iter()
        .zip(measured)
        .zip(logs)
        .map(|((phase, m), log)| Phase::new(phase, m, (!has_marks).then_some(log.window)))
        .collect();
    let (mut broken, mut endings) = (Counted::default(), Counted::default());
    let mut lost = 0u64;
    // Probes nest within a thread: the probe of an HBA adds its LUNs, whose probes may run inside it.
    let mut open: BTreeMap<ThreadId, Vec<(Entry<'_>, &str, &str)>> = BTreeMap::new();
    for piece in ftrace::read(text) {
        let entry = match piece {
            Piece::Entry(entry) => entry,
            Piece::Comment { lost: more } => {
                lost = lost.saturating_add(more);
                continue;
            }
            Piece::Broken(line) => {
                broken.push_with(|| format!("trace: not understood: {}", beginning(line)));
                continue;
            }
        };
        match entry.event {
            Event::Start { device, driver } => {
                open.entry(entry.thread).or_default().push((entry, device, driver));
            }
            Event::End { returned } => match open.get_mut(&entry.thread).and_then(Vec::pop) {
                Some((start, device, driver)) => {
                    for phase in phases.iter_mut().filter(|phase| phase.driver == driver) {
                        phase.probed(&start, &entry, device, returned);
                    }
                }
                None => endings
                    .push_with(|| format!("trace: thread {} ends at {} no probe", entry.thread, entry.time)),
            },
            Event::Mark { text } => {
                if let Some(mark) = text.strip_prefix(texts.mark) {
                    phases.iter_mut().for_each(|phase| phase.marked(mark.trim(), &entry));
                }
            }
            Event::Call { function } => {
                for phase in phases.iter_mut().filter(|phase| phase.is_within(entry.time)) {
                    let testimony = &mut phase.trace.testimony;
                    *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                    testimony.call_lines.push(entry.line);
                }
            }
        }
    }
    let mut unpaired: Counted<String> = broken;
    if lost > 0 {
        unpaired.push(format!("trace: {lost} entries overwritten"));
    }
    texts.kprobe_profile.into_iter().flat_map(misses).for_each(|missed| unpaired.push(missed));
    for (start, device, driver) in open.into_values().flatten() {
        endings.push_with(|| {
            let (device, driver) = (beginning(device), beginning(driver));
            format!("trace: the probe of {device} by {driver} that began at {} has no end", start.time)
        });
    }
    unpaired.append(endings);
    ReadTrace { phases: phases.into_iter().map(|phase| phase.trace).collect(), unpaired }
}

/// What is known so far of a phase.
struct Phase<'a> {
    name: Option<&'a str>,
    driver: &'a str,
    measured: &'a Measured<'a>,
    /// Both ends are of it. None before its begin.
    window: Option<(KernelTime, KernelTime)>,
    trace: PhaseTrace,
}

impl<'a> Phase<'a> {
    /// Without a window its marks are in the trace.
    fn new(
        phase: &super::Phase<'a>,
        measured: &'a Measured<'a>,
        window: Option<(KernelTime, KernelTime)>,
    ) -> Self {
        let always = (KernelTime::default(), KernelTime::from_micros(u64::MAX));
        let loads = window.is_none().then(Vec::new);
        let window = if phase.name.is_some() { window } else { Some(always) };
        let trace = PhaseTrace { loads, ..PhaseTrace::default() };
        Self { name: phase.name, driver: phase.driver, measured, window, trace }
    }

    fn is_within(&self, time: KernelTime) -> bool {
        self.window.is_some_and(|(begin, end)| begin <= time && time <= end)
    }

    fn marked(&mut self, mark: &str, entry: &Entry<'_>) {
        let of_phase = |name| mark.strip_prefix("phase ")?.strip_prefix(name)?.strip_prefix(' ');
        match self.name.and_then(of_phase) {
            Some("begins") => self.window = Some((entry.time, KernelTime::from_micros(u64::MAX))),
            Some("ends") => self.window = self.window.map(|(begin, _)| (begin, entry.time)),
            _ if self.is_within(entry.time) => {
                let loads = self.trace.loads.get_or_insert_default();
                loads::note(loads, mark, entry.time, entry.line);
            }
            _ => {}
        }
    }

    fn probed(&mut self, start: &Entry<'_>, end: &Entry<'_>, device: &str, returned: i64) {
        if !self.is_within(end.time) {
            return;
        }
        let probes = match self.measured.look(device) {
            Some(true) => &mut self.trace.testimony.probes,
            None => &mut self.trace.gone,
            Some(false) => return,
        };
        probes.push(Probe {
            device: device.to_owned(),
            start: start.time,
            end: end.time,
            returned,
            thread: Some(end.thread),
            lines: (start.line, end.line),
            cpus: Some((start.cpu, end.cpu)),
        });
    }
}

/// What `kprobe_profile` says of events that were missed: `  end    64    3`.
fn misses(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [] | [_, _, "0"] => None,
        [event, _hits, missed] => Some(format!("trace: event {event} was missed {missed} times")),
        _ => Some(format!("trace: not understood in kprobe_profile: {line}")),
    })
}
