//! Reads the log in one pass, for all phases at once: probes, asynchronous attaches, loads of modules, what the kernel
//! says.

use std::collections::{BTreeMap, HashMap};

use super::loads::{self, Load};
use super::pairs::{Pairs, What};
use super::{Heard, Measured, Said, Testimony, Texts};
use crate::counted::{Counted, beginning};
use crate::dmesg::{self, Line};
use crate::kmsg::{self, Caller, Piece, Record};
use crate::needle::Needle;
use crate::timeline::Probe;
use crate::units::{KernelTime, ThreadId};
use crate::{ftrace, initcalls, splats};

/// What the log says.
pub(super) struct ReadLog {
    pub(super) phases: Vec<PhaseLog>,
    pub(super) splats: Counted<(usize, String)>,
    pub(super) initcalls: Option<Vec<String>>,
    pub(super) unpaired: Counted<String>,
}

/// What the log says of a phase.
#[derive(Default)]
pub(super) struct PhaseLog {
    pub(super) testimony: Testimony,
    pub(super) loads: Vec<Load>,
    /// From when to when the phase lasted.
    pub(super) window: (KernelTime, KernelTime),
    pub(super) said: BTreeMap<String, Heard>,
    pub(super) pending_at_init: Option<usize>,
    /// The mark that is not there.
    pub(super) unmarked: Option<String>,
}

/// Where in the log a phase is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Where {
    Before,
    Within,
    After,
}

/// What `run_init_process()` says (init/main.c): the end of the kernel's own start.
const INIT_STARTS: &str = "Run /init as init process";

pub(super) fn read(texts: &Texts<'_>, measured: &[Measured<'_>]) -> ReadLog {
    let (mut broken, mut gaps) = (Counted::default(), Counted::default());
    let mut pass = Pass::new(texts, measured);
    for piece in kmsg::read(texts.kmsg) {
        match piece {
            Piece::Record(record) => {
                if record.missing > 0 {
                    let (missing, before) = (record.missing, record.sequence);
                    gaps.push_with(|| format!("log: {missing} records missing before {before}"));
                }
                if record.again {
                    gaps.push_with(|| format!("log: record {} comes again", record.sequence));
                }
                pass.see(&record);
            }
            Piece::Attached(_) => {}
            Piece::Broken(line) => broken.push_with(|| format!("log: no record: {}", beginning(line))),
        }
    }
    let mut unpaired: Counted<String> = broken;
    unpaired.append(gaps);
    pass.end(unpaired)
}

/// What is known so far.
struct Pass<'a> {
    mark: &'a str,
    /// What is asked for, with where it stands in the log.
    asked: Vec<(&'a str, Needle<'a, 'a>)>,
    phases: Vec<Phase<'a>>,
    pairs: Pairs<'a>,
    complaints: splats::Complaints<'a>,
    splats: Counted<(usize, String)>,
    order: initcalls::Order<'a>,
    not_understood: Counted<String>,
}

impl<'a> Pass<'a> {
    fn new(texts: &Texts<'a>, measured: &'a [Measured<'a>]) -> Self {
        let phase = |(phase, measured): (&super::Phase<'a>, _)| {
            Phase::new(phase.name, texts.mark, measured, texts.asked)
        };
        Self {
            mark: texts.mark,
            asked: texts.asked.iter().map(|text| (*text, Needle::new(text, texts.kmsg))).collect(),
            phases: texts.phases.iter().zip(measured).map(phase).collect(),
            pairs: Pairs::default(),
            complaints: splats::Complaints::of(texts.kmsg),
            splats: Counted::default(),
            order: initcalls::Order::of(texts.initcalls),
            not_understood: Counted::default(),
        }
    }

    #[inline]
    fn see(&mut self, record: &Record<'a>) {
        if self.complaints.is(record) {
            self.splats.push_with(|| (record.line, beginning(record.text).to_owned()));
        }
        if record.text.starts_with(self.mark) || record.text == INIT_STARTS {
            for phase in &mut self.phases {
                phase.see_mark(record, self.mark);
            }
        }
        match dmesg::recognise(record.text) {
            Line::Other => self.hear(record),
            Line::Probed { device, returned, took } => {
                for phase in &mut self.phases {
                    phase.probed(record, device, returned, took);
                }
            }
            Line::InitcallBegins { symbol, .. } => {
                self.pairs.begins(What::Initcall(symbol), record.line);
                self.order.ran(symbol);
            }
            Line::InitcallEnds { symbol, returned, took } => {
                self.pairs.ends(What::Initcall(symbol), record.line);
                let took = (returned == 0).then_some(took);
                for phase in self.phases.iter_mut().filter(|phase| phase.is_within()) {
                    loads::note_initcall(&mut phase.log.loads, symbol, took);
                }
            }
            Line::AsyncBegins { cookie, function, .. } => {
                self.pairs.begins(What::Call(cookie, function), record.line);
                if ftrace::ATTACH_FUNCTIONS.contains(&function) {
                    for phase in self.phases.iter_mut().filter(|phase| phase.is_within()) {
                        let testimony = &mut phase.log.testimony;
                        *testimony.attach_calls.entry(function.to_owned()).or_default() += 1;
                        testimony.call_lines.push(record.line);
                    }
                }
            }
            Line::AsyncEnds { cookie, function } => {
                self.pairs.ends(What::Call(cookie, function), record.line);
                self.phases.iter_mut().for_each(Phase::call_ended);
            }
            Line::AsyncWaiting { thread } => self.pairs.begins(What::Wait(thread), record.line),
            Line::AsyncContinuing { thread } => self.pairs.ends(What::Wait(thread), record.line),
            Line::NotUnderstood => {
                self.not_understood.push_with(|| format!("log: not understood: {}", beginning(record.text)));
            }
        }
    }

    /// Keeps of what is said what is asked for: the rest is most of a log.
    #[inline]
    fn hear(&mut self, record: &Record<'_>) {
        let (from, to) = (record.at, record.at + record.text.len());
        for (text, needle) in &mut self.asked {
            if needle.is_in(from, to) {
                for phase in self.phases.iter_mut().filter(|phase| phase.is_within()) {
                    let heard = phase.log.said.entry((*text).to_owned()).or_default();
                    heard.push_with(|| Said {
                        line: record.line,
                        time: record.time,
                        text: beginning(record.text).to_owned(),
                    });
                }
            }
        }
    }

    fn end(self, mut unpaired: Counted<String>) -> ReadLog {
        let Self { mark: _, asked: _, phases, pairs, complaints: _, splats, order, not_understood } = self;
        unpaired.append(not_understood);
        unpaired.append(pairs.open());
        let phases = phases.into_iter().map(Phase::end).collect();
        ReadLog { phases, splats, initcalls: order.out_of_order(), unpaired }
    }
}

/// What is known so far of a phase.
struct Phase<'a> {
    measured: &'a Measured<'a>,
    /// The marks of its begin and its end; without a begin it is the whole boot.
    begins: Option<String>,
    ends: String,
    place: Where,
    last_end: HashMap<ThreadId, KernelTime>,
    /// How many calls and probes ended after its end.
    late: usize,
    log: PhaseLog,
}

impl<'a> Phase<'a> {
    fn new(name: Option<&str>, mark: &str, measured: &'a Measured<'a>, asked: &[&str]) -> Self {
        let begins = name.map(|name| format!("{mark} phase {name} begins"));
        let ends = name.map_or(INIT_STARTS.to_owned(), |name| format!("{mark} phase {name} ends"));
        let place = if begins.is_some() { Where::Before } else { Where::Within };
        let log = PhaseLog {
            window: (KernelTime::default(), KernelTime::from_micros(u64::MAX)),
            said: asked.iter().map(|text| ((*text).to_owned(), Heard::default())).collect(),
            ..PhaseLog::default()
        };
        Self { measured, begins, ends, place, last_end: HashMap::new(), late: 0, log }
    }

    fn is_within(&self) -> bool {
        self.place == Where::Within
    }

    fn see_mark(&mut self, record: &Record<'_>, mark: &str) {
        if self.begins.as_deref() == Some(record.text) {
            (self.place, self.log.window.0) = (Where::Within, record.time);
        } else if record.text == self.ends {
            (self.place, self.log.window.1) = (Where::After, record.time);
        }
        if self.is_within()
            && let Some(text) = record.text.strip_prefix(mark)
        {
            loads::note(&mut self.log.loads, text.trim_start(), record.time, record.line);
        }
    }

    fn probed(&mut self, record: &Record<'_>, device: &str, returned: i64, took: std::time::Duration) {
        // Without a phase there is no end to it but that of the log: what comes late is to be seen.
        let looks = self.is_within() || self.begins.is_none();
        if !looks || self.measured.look(device) != Some(true) {
            return;
        }
        self.late += usize::from(!self.is_within());
        let thread = match record.caller {
            Some(Caller::Thread(thread)) => Some(thread),
            Some(Caller::Cpu(_)) | None => None,
        };
        // The duration is ktime's, the stamp local_clock()'s, and the two drift: seen 0.7 ms over a
        // probe of 28 ms. But a thread does not begin a probe before it has ended the last one.
        let free = thread.and_then(|thread| self.last_end.insert(thread, record.time));
        self.log.testimony.probes.push(Probe {
            device: device.to_owned(),
            start: (record.time - took).max(free.unwrap_or_default()),
            end: record.time,
            returned,
            thread,
            lines: (record.line, record.line),
            cpus: None,
        });
    }

    fn call_ended(&mut self) {
        // The agent's own loads come later, and have marks.
        self.late += usize::from(self.begins.is_none() && !self.is_within());
    }

    fn end(self) -> PhaseLog {
        let Self { measured: _, begins, ends, place, last_end: _, late, log } = self;
        let pending_at_init = begins.is_none().then_some(late);
        let missing = match (place, begins) {
            (Where::After, _) => None,
            (Where::Before, Some(begins)) => Some(begins),
            (Where::Before, None) | (Where::Within, _) => Some(ends),
        };
        let unmarked = missing.map(|mark| format!("log: no mark \"{mark}\""));
        PhaseLog { pending_at_init, unmarked, ..log }
    }
}
