//! QEMU and the wires to it: started, listened to, asked, and found out how it ended. Nothing else starts QEMU.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use evidence::console::Death;
use nix::sys::signal::Signal;
use protocol::{Answer, Call, Hello, Reply, Request, Word};

use crate::cancel;
use crate::child::{self, Offspring};
use crate::cores::{self, Lease};
use crate::failure::{Failure, Kind};
use crate::guest::arguments::{self, Incoming, Machine, QEMU, Wires};
use crate::guest::lost::{Cause, Lost, Trouble};
use crate::guest::neighbours::Lookout;
use crate::guest::qmp::Monitor;
use crate::guest::running::{CallError, Order, Patience};
use crate::guest::snapshot::Snapshot;
use crate::guest::topology::Topology;
use crate::guest::wire::{self, Event, LastLine};
use crate::guest::{luns, snapshot};

/// How long a call may go unanswered before the agent is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(5);

/// How often the last line of a console is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long the rest of a death notice may take to arrive: registers, stack, the line "end Kernel panic".
const LAST_WORDS: Duration = Duration::from_millis(700);

/// The first line of QEMU's `--version`; `None` where there is no QEMU.
pub fn qemu_version() -> Option<String> {
    let output = child::output(Command::new(QEMU).arg("--version"), Duration::from_secs(30), vec![]).ok()?;
    output.stdout.lines().next().map(str::to_owned)
}

/// Sets up a vCPU under KVM and ends it again. It proves nothing about Linux, but where not even that works
/// nobody needs to build a kernel to find out.
///
/// # Errors
/// What QEMU said.
pub(crate) fn try_kvm() -> Result<(), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|e| e.to_string())?;
    let mut command = Command::new(QEMU);
    command.args(arguments::idle_under_kvm(theirs.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut qemu =
        child::spawn(&mut command, Signal::SIGKILL, vec![theirs.into()]).map_err(|e| e.to_string())?;
    let stderr = qemu.child().stderr.take();
    let asked = Monitor::greet(ours).and_then(|mut monitor| monitor.quit());
    let ended = qemu.ended_within(Duration::from_secs(5));
    if asked.is_ok() && ended.is_some_and(|status| status.success()) {
        return Ok(());
    }
    // Without a supervisor that could hold the pipe open, it ends with QEMU.
    drop(qemu);
    let mut said = String::new();
    if let Some(mut stderr) = stderr {
        let _ = io::Read::read_to_string(&mut stderr, &mut said);
    }
    Err(match (said.lines().next(), ended) {
        (Some(line), _) => line.to_owned(),
        (None, Some(status)) => format!("{QEMU} ended with {status}"),
        (None, None) => format!("{QEMU} did not end when it was told to"),
    })
}

/// Boots a guest and ends it when this text is on its console: how long that took, from the start of QEMU.
///
/// # Errors
/// As [`Guest::start`](crate::guest::Guest::start).
pub fn time_to_line(order: &Order<'_>, text: &str) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    let doing = format!("wait for \"{text}\"");
    let mut qemu = Qemu::start(order)?;
    while !qemu.last_line.get().contains(text) {
        if begun.elapsed() > order.patience.boot {
            return Err(qemu.lost(&doing, Cause::Silence(order.patience.boot)).into());
        }
        // A death ends the wait; of an agent that is not there nothing comes.
        qemu.next_event(&doing, Instant::now() + LOOK_EVERY)?;
    }
    let time = begun.elapsed();
    if let Some(qmp) = &mut qemu.qmp {
        let _ = qmp.quit();
    }
    qemu.process.ended_within(Duration::from_secs(5));
    Ok(time)
}

/// QEMU and the wires to it.
pub(super) struct Qemu {
    // Dropping it kills the process, whatever the wires are doing.
    pub(super) process: Offspring,
    pub(super) lookout: Lookout,
    pub(super) qmp: Option<Monitor>,
    calls: UnixStream,
    events: Receiver<Event>,
    last_line: LastLine,
    /// Replies that came while another was waited for.
    early: HashMap<u64, (Result<Answer, String>, Vec<u8>)>,
    next_id: u64,
    pub(super) patience: Patience,
    folder: PathBuf,
    /// Its CPUs, unless it has given them back. Else that is when the process has ended: fields are dropped in this order.
    pub(super) cpus: Option<Lease>,
}

/// QEMU, started, and not spoken to yet.
#[derive(Debug)]
struct Launched {
    qemu: Qemu,
    qmp: UnixStream,
}

impl Launched {
    fn greet(self) -> Result<Qemu, Trouble> {
        let Self { mut qemu, qmp } = self;
        match Monitor::greet(qmp) {
            Ok(monitor) => qemu.qmp = Some(monitor),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                return Err(qemu.lost("start QEMU", Cause::Interrupted).into());
            }
            Err(e) => {
                let cause = Cause::QemuEnded(qemu.how_qemu_ended(&format!("no answer over QMP: {e}")));
                return Err(qemu.lost("start QEMU", cause).into());
            }
        }
        Ok(qemu)
    }
}

/// QEMU with a guest that was saved, and does not run yet.
#[derive(Debug)]
pub(super) struct Restoring {
    launched: Launched,
    from: RawFd,
    topology: Topology,
}

impl Restoring {
    /// Waits for the state, and lets the guest run.
    pub(super) fn finish(self) -> Result<Qemu, Trouble> {
        let Self { launched, from, topology } = self;
        let mut qemu = launched.greet()?;
        qemu.fill(&topology)?;
        qemu.tell("take up a saved guest", |monitor| {
            if !luns::fit_on_a_command_line(&topology) {
                monitor.restore_from(from)?;
            }
            monitor.await_restored()?;
            monitor.cont()
        })?;
        Ok(qemu)
    }
}

impl std::fmt::Debug for Qemu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qemu").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Qemu {
    /// Starts it with a guest that boots.
    pub(super) fn start(order: &Order<'_>) -> Result<Self, Trouble> {
        let mut qemu = Self::launch(order, Incoming::Nothing, vec![])?.greet()?;
        qemu.fill(order.topology)?;
        if !luns::fit_on_a_command_line(order.topology) {
            qemu.tell("boot", Monitor::cont)?;
        }
        Ok(qemu)
    }

    /// Starts it with a guest that was saved. It reads the state by itself, as far as it can.
    pub(super) fn begin_restore(order: &Order<'_>, snapshot: &Snapshot) -> Result<Restoring, Trouble> {
        let state = snapshot.feed().map_err(|e| snapshot::failure("read", order.folder, &e))?;
        let from = state.as_raw_fd();
        // Devices have to be there before their state comes.
        let whole = luns::fit_on_a_command_line(order.topology);
        let incoming = if whole { Incoming::From(from) } else { Incoming::Later };
        let launched = Self::launch(order, incoming, vec![state])?;
        Ok(Restoring { launched, from, topology: *order.topology })
    }

    /// Makes the LUNs that were not on its command line.
    fn fill(&mut self, topology: &Topology) -> Result<(), Trouble> {
        if luns::fit_on_a_command_line(topology) {
            return Ok(());
        }
        let (blocks, disks) = luns::commands(topology);
        self.tell("make the LUNs", |monitor| monitor.fill(&blocks, &disks))
    }

    fn tell(
        &mut self,
        doing: &str,
        what: impl FnOnce(&mut Monitor) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let done = match &mut self.qmp {
            Some(monitor) => what(monitor),
            None => Err(io::Error::other("QEMU does not listen")),
        };
        done.map_err(|e| {
            let cause = match e.kind() {
                io::ErrorKind::Interrupted => Cause::Interrupted,
                _ => Cause::QemuEnded(self.how_qemu_ended(&e.to_string())),
            };
            self.lost(doing, cause).into()
        })
    }

    fn launch(order: &Order<'_>, incoming: Incoming, files: Vec<OwnedFd>) -> Result<Launched, Trouble> {
        let machine = Machine {
            kernel: order.kernel,
            initramfs: order.initramfs,
            parameters: order.parameters,
            topology: order.topology,
            accelerator: order.accelerator,
        };
        let in_folder = |name: &str| order.folder.join(name);
        let file = |name: &str| {
            File::create(in_folder(name)).map_err(|e| Failure::file("create", &in_folder(name), &e))
        };
        std::fs::write(in_folder("qemu.sh"), arguments::shell_command(&machine))
            .map_err(|e| Failure::file("write", &in_folder("qemu.sh"), &e))?;
        if !luns::fit_on_a_command_line(order.topology) {
            std::fs::write(in_folder("luns.qmp"), luns::script(order.topology))
                .map_err(|e| Failure::file("write", &in_folder("luns.qmp"), &e))?;
        }

        let not_started = |e: io::Error| {
            Failure::new(
                Kind::Host,
                format!("start {QEMU}"),
                e.to_string(),
                "`cargo xtask doctor` says what is missing",
            )
        };
        let (qmp, qmp_there) = UnixStream::pair().map_err(not_started)?;
        let (calls, calls_there) = UnixStream::pair().map_err(not_started)?;
        let wires = Wires::Inherited { qmp: qmp_there.as_raw_fd(), agent: calls_there.as_raw_fd(), incoming };
        let mut command = Command::new(QEMU);
        command
            .args(arguments::qemu_arguments(&machine, wires))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file("qemu.log")?);
        let cpus = cores::lease(order.cpus)?;
        cpus.confine(&mut command).map_err(not_started)?;
        let mut inherited = vec![OwnedFd::from(qmp_there), OwnedFd::from(calls_there)];
        inherited.extend(files);
        let mut qemu = child::spawn(&mut command, Signal::SIGKILL, inherited).map_err(not_started)?;
        let lookout = Lookout::begin(cpus.cpus().clone(), qemu.child().id());

        let (sender, events) = channel();
        let last_line = LastLine::default();
        if let Some(console) = qemu.child().stdout.take() {
            wire::listen_to_console(console, file("console.log")?, sender.clone(), last_line.clone());
        }
        wire::listen_to_agent(calls.try_clone().map_err(not_started)?, sender);
        let qemu = Self {
            process: qemu,
            lookout,
            qmp: None,
            calls,
            events,
            last_line,
            early: HashMap::new(),
            next_id: 1,
            patience: order.patience,
            folder: order.folder.to_owned(),
            cpus: Some(cpus),
        };
        Ok(Launched { qemu, qmp })
    }

    pub(super) fn await_hello(&mut self, doing: &str, patience: Duration) -> Result<Hello, Lost> {
        match self.next_event(doing, Instant::now() + patience)? {
            Some((Word::Hello(hello), _)) => Ok(hello),
            Some((word @ Word::Reply(_), _)) => {
                Err(self.lost(doing, Cause::AgentRubbish(format!("{word:?} before its hello"))))
            }
            None => Err(self.lost(doing, Cause::Silence(patience))),
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
        let id = self.next_id;
        self.next_id += 1;
        match protocol::write_line(&mut self.calls, &Call { id, request }, &[]) {
            Ok(()) => Ok(id),
            // Only QEMU can close the other end: what happened to it is in the queue.
            Err(e) => match self.next_event(doing, Instant::now() + LAST_WORDS) {
                Err(lost) => Err(lost),
                Ok(_) => Err(self.lost(doing, Cause::QemuEnded(format!("its port is closed: {e}")))),
            },
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
                return Err(self.lost(doing, Cause::Silence(self.patience.silence)));
            }
            match self.next_event(doing, deadline.min(now + PING_AFTER))? {
                Some((Word::Reply(Reply { id, result }), body)) => {
                    heard = Instant::now();
                    self.early.insert(id, (result, body));
                }
                Some((Word::Hello(_), _)) => {
                    let line = "the agent said hello again".to_owned();
                    return Err(self.lost(doing, Cause::Kernel { death: Death::SecondBoot, line }));
                }
                None if Instant::now() < deadline => {
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
                Ok(Event::ConsoleClosed) | Err(RecvTimeoutError::Disconnected) => self.why_qemu_ended(),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => continue,
            };
            return Err(self.lost(doing, cause));
        }
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

    /// A panic because PID 1 ended is the agent's death, and its reason stands in the line above.
    fn cause_of(&self, death: Death, line: String) -> Cause {
        if death == Death::Panic && line.contains("Attempted to kill init") {
            let console = std::fs::read(self.folder.join("console.log")).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            let reason = console.lines().rev().find_map(|line| line.split_once(protocol::MARK));
            return Cause::AgentDied(reason.map_or(line, |(_, reason)| reason.trim().to_owned()));
        }
        Cause::Kernel { death, line }
    }

    fn why_qemu_ended(&mut self) -> Cause {
        match self.qmp.as_mut().and_then(Monitor::last_word).as_deref() {
            Some("guest-reset") => Cause::Reset,
            Some(reason) => Cause::QemuEnded(self.how_qemu_ended(reason)),
            None => Cause::QemuEnded(self.how_qemu_ended("")),
        }
    }

    fn how_qemu_ended(&mut self, reason: &str) -> String {
        let status = match self.process.ended_within(Duration::from_secs(2)) {
            Some(status) => status.to_string(),
            None => "still running".to_owned(),
        };
        let log = std::fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
        let parts = [reason, &status, log.trim()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn lost(&mut self, doing: &str, cause: Cause) -> Lost {
        if matches!(
            cause,
            Cause::Kernel { death: Death::Oops | Death::HungTask | Death::SoftLockup | Death::RcuStall, .. }
                | Cause::Overdue(_)
        ) {
            self.save_log();
        }
        Lost { cause, doing: doing.to_owned(), last_line: self.last_line.get(), folder: self.folder.clone() }
    }

    /// A kernel that oopsed or hangs may still answer: its log says more than its console.
    fn save_log(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        if protocol::write_line(&mut self.calls, &Call { id, request: Request::ReadKmsg }, &[]).is_err() {
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
