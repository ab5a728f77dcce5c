//! QEMU and the wires to it: listened to, asked, and found out how it ended.

mod launch;
mod walls;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use evidence::console::Death;
use nix::sys::signal::Signal;
use protocol::{Answer, Call, Hello, Reply, Request, Word};

use crate::accelerator::Accelerator;
use crate::cancel;
use crate::child::Offspring;
use crate::cores::Lease;
use crate::guest::lost::{Cause, Lost};
use crate::guest::neighbours::Lookout;
use crate::guest::qmp::Monitor;
use crate::guest::running::{CallError, Patience};
use crate::guest::stale;
use crate::guest::wire::{Calls, Event, LastLine, Talk};

pub(super) use launch::Restoring;
pub(crate) use launch::try_kvm;
pub use launch::{boot_on_terminal, qemu_version, time_to_line};
pub use walls::Walls;

/// How long a call may go unanswered before the agent is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(5);

/// Signals by which the kernel ends a process for what it did, and abort().
const CRASHES: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];

/// How long the rest of a death notice may take to arrive: registers, stack, the line "end Kernel panic".
const LAST_WORDS: Duration = Duration::from_millis(700);

/// QEMU and the wires to it.
pub(super) struct Qemu {
    // Dropping it kills the process, whatever the wires are doing.
    pub(super) process: Offspring,
    pub(super) lookout: Lookout,
    pub(super) qmp: Option<Monitor>,
    calls: Calls,
    talk: Talk,
    events: Receiver<Event>,
    last_line: LastLine,
    /// Replies that came while another was waited for.
    early: HashMap<u64, (Result<Answer, String>, Vec<u8>)>,
    next_id: u64,
    pub(super) patience: Patience,
    accelerator: Accelerator,
    folder: PathBuf,
    /// Its CPUs, unless it has given them back. Else that is when the process has ended: fields are dropped in this
    /// order.
    pub(super) cpus: Option<Arc<Lease>>,
}

impl std::fmt::Debug for Qemu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qemu").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Qemu {
    pub(super) fn await_hello(&mut self, doing: &str, patience: Duration) -> Result<Hello, Lost> {
        match self.next_event(doing, Instant::now() + patience)? {
            Some((Word::Hello(hello), _)) => Ok(hello),
            Some((word @ Word::Reply(_), _)) => {
                Err(self.lost(doing, Cause::AgentRubbish(format!("{word:?} before its hello"))))
            }
            None => Err(self.silent(doing, patience)),
        }
    }

    pub(super) fn call(
        &mut self,
        doing: &str,
        request: Request,
        patience: Duration,
    ) -> Result<(Answer, Vec<u8>), CallError> {
        let lost = |lost: Lost| CallError::Lost(Box::new(lost));
        let id = self.send(doing, request).map_err(lost)?;
        let (result, body) = self.await_reply(doing, id, patience).map_err(lost)?;
        result.map(|answer| (answer, body)).map_err(CallError::Refused)
    }

    pub(super) fn send(&mut self, doing: &str, request: Request) -> Result<u64, Lost> {
        let id = self.next_call(&request);
        match protocol::write_line(&mut self.calls, &Call { id, request }, &[]) {
            Ok(()) => Ok(id),
            // The port is full of calls that nobody takes.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if cancel::requested() {
                    return Err(self.lost(doing, Cause::Interrupted));
                }
                Err(self.silent(doing, self.patience.silence))
            }
            // Only QEMU can close the other end: what happened to it is in the queue.
            Err(e) => {
                let deadline = Instant::now() + LAST_WORDS;
                while let Some((word, body)) = self.next_event(doing, deadline)? {
                    self.keep(doing, word, body)?;
                }
                Err(self.lost(doing, Cause::QemuEnded(format!("its port is closed: {e}"))))
            }
        }
    }

    /// Waits for the reply of this number. While it does not come, the agent is asked now and then whether it
    /// is there: so a guest that is slow is told from one that is dead.
    pub(super) fn await_reply(
        &mut self,
        doing: &str,
        id: u64,
        patience: Duration,
    ) -> Result<(Result<Answer, String>, Vec<u8>), Lost> {
        let asked = Instant::now();
        let deadline = asked + patience;
        let mut heard = asked;
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return Ok(reply);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(self.lost(doing, Cause::Overdue(patience)));
            }
            if now - heard >= self.patience.silence {
                return Err(self.silent(doing, self.patience.silence));
            }
            match self.next_event(doing, deadline.min(now + PING_AFTER))? {
                Some((word, body)) => {
                    heard = Instant::now();
                    self.keep(doing, word, body)?;
                }
                None if Instant::now() < deadline => {
                    self.lookout.look_up();
                    // The reply, when it comes, stays in `early` under a number that nobody waits for.
                    self.send(doing, Request::Ping)?;
                }
                None => {}
            }
        }
    }

    /// The next word of the agent; `None` when the deadline passes.
    fn next_event(&mut self, doing: &str, deadline: Instant) -> Result<Option<(Word, Vec<u8>)>, Lost> {
        loop {
            if cancel::requested() {
                return Err(self.lost(doing, Cause::Interrupted));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let cause = match self.events.recv_timeout(left.min(cancel::LOOK_EVERY)) {
                Ok(Event::Word(word, body)) => return Ok(Some((word, body))),
                Ok(Event::Death(death, line)) => {
                    self.hear_last_words();
                    self.cause_of(death, line)
                }
                Ok(Event::Rubbish(what)) => Cause::AgentRubbish(what),
                Ok(Event::ConsoleClosed) | Err(RecvTimeoutError::Disconnected) => self.why_qemu_ended(""),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => continue,
            };
            return Err(self.lost(doing, cause));
        }
    }

    /// The number of the next call, of which the agent is listened to from now on.
    fn next_call(&mut self, request: &Request) -> u64 {
        let bytes = matches!(request, Request::ReadKmsg | Request::ReadKmsgOn | Request::ReadFile { .. });
        let id = self.next_id;
        self.next_id += 1;
        self.talk.asks(id, bytes);
        id
    }

    /// Nothing came for so long. In the middle of a word that is no silence of a kernel: it had something to say, and
    /// what is wrong with the way to us cannot be told from here.
    fn silent(&mut self, doing: &str, long: Duration) -> Lost {
        let cause = match self.talk.is_half_said() {
            true => Cause::AgentRubbish(format!("half a message, and nothing more for {long:?}")),
            false => Cause::Silence(long),
        };
        self.lost(doing, cause)
    }

    /// Takes what has come by now, of which nobody waits for anything.
    pub(super) fn listen(&mut self, doing: &str) -> Result<(), Lost> {
        while let Some((word, body)) = self.next_event(doing, Instant::now())? {
            self.keep(doing, word, body)?;
        }
        Ok(())
    }

    /// Keeps a reply until somebody waits for it.
    fn keep(&mut self, doing: &str, word: Word, body: Vec<u8>) -> Result<(), Lost> {
        match word {
            Word::Reply(Reply { id, result }) => {
                self.early.insert(id, (result, body));
                Ok(())
            }
            Word::Hello(_) => {
                let line = "the agent said hello again".to_owned();
                Err(self.lost(doing, Cause::Kernel { death: Death::SecondBoot, line }))
            }
        }
    }

    /// Whether the guest has told of its death by now, or does soon.
    pub(super) fn look_for_death(&mut self, doing: &str) -> Result<(), Lost> {
        while self.next_event(doing, Instant::now() + LAST_WORDS)?.is_some() {}
        Ok(())
    }

    /// Lets the rest of a death notice reach the console's file.
    fn hear_last_words(&mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.events.recv_timeout(left) {
                Ok(Event::ConsoleClosed) | Err(_) => return,
                Ok(Event::Word(..) | Event::Death(..) | Event::Rubbish(_)) => {}
            }
        }
    }

    /// A panic because PID 1 ended is the agent's death, and its reason stands in the line above. An oops may be QEMU's.
    fn cause_of(&self, death: Death, line: String) -> Cause {
        let console = || {
            let console = std::fs::read(self.folder.join("console.log")).unwrap_or_default();
            String::from_utf8_lossy(&console).into_owned()
        };
        if death == Death::Panic && line.contains("Attempted to kill init") {
            let console = console();
            let reason = console.lines().rev().find_map(|line| line.split_once(protocol::MARK));
            return Cause::AgentDied(reason.map_or(line, |(_, reason)| reason.trim().to_owned()));
        }
        if stale::is_unexpected_int3(&line)
            && stale::may_run_stale_code(self.accelerator)
            && stale::is_gone(&console(), &line)
        {
            return Cause::QemuStale(line);
        }
        // Not a hung task: it sleeps, and whoever wants the CPUs meanwhile may have them.
        let hangs = matches!(death, Death::SoftLockup | Death::RcuStall);
        let starved = self.lookout.lately().filter(|neighbours| hangs && neighbours.starve());
        match starved.and_then(|neighbours| neighbours.remark()) {
            Some(others) => Cause::Starved { death, line, others: others.into() },
            None => Cause::Kernel { death, line },
        }
    }

    /// `seen` is told where QEMU itself has not said why.
    fn why_qemu_ended(&mut self, seen: &str) -> Cause {
        match self.qmp.as_mut().and_then(Monitor::last_word).as_deref() {
            Some("guest-reset") => Cause::Reset,
            Some(reason) => Cause::QemuEnded(self.how_qemu_ended(reason)),
            None => {
                let how = self.how_qemu_ended(seen);
                if self.crashed() { Cause::QemuCrashed(how) } else { Cause::QemuEnded(how) }
            }
        }
    }

    fn crashed(&mut self) -> bool {
        let signal = self.process.ended_within(Duration::ZERO).and_then(|status| status.signal());
        signal.is_some_and(|signal| CRASHES.iter().any(|crash| *crash as i32 == signal))
    }

    fn how_qemu_ended(&mut self, reason: &str) -> String {
        let status = match self.process.ended_within(Duration::from_secs(2)) {
            Some(status) => status.to_string(),
            None => "still running".to_owned(),
        };
        /// It says first why.
        const SHOWN: u64 = 4096;
        let mut log = Vec::new();
        if let Ok(file) = std::fs::File::open(self.folder.join("qemu.log")) {
            let _ = std::io::Read::read_to_end(&mut std::io::Read::take(file, SHOWN), &mut log);
        }
        let log = String::from_utf8_lossy(&log);
        let parts = [reason, &status, log.trim()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn lost(&mut self, doing: &str, cause: Cause) -> Lost {
        if matches!(
            cause,
            Cause::Kernel { death: Death::Oops | Death::HungTask | Death::SoftLockup | Death::RcuStall, .. }
                | Cause::Starved { .. }
                | Cause::Overdue(_)
        ) {
            self.save_log();
        }
        Lost { cause, doing: doing.to_owned(), last_line: self.last_line.get(), folder: self.folder.clone() }
    }

    /// A kernel that oopsed or hangs may still answer: its log says more than its console.
    fn save_log(&mut self) {
        let request = Request::ReadKmsg;
        let id = self.next_call(&request);
        if protocol::write_line(&mut self.calls, &Call { id, request }, &[]).is_err() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.events.recv_timeout(left) {
                Ok(Event::Word(Word::Reply(reply), body)) if reply.id == id => {
                    // Best effort: the cause is known, and is what gets reported.
                    let _ = std::fs::write(self.folder.join("kmsg.txt"), body);
                    return;
                }
                Ok(Event::ConsoleClosed) | Err(_) => return,
                Ok(Event::Word(..) | Event::Death(..) | Event::Rubbish(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
