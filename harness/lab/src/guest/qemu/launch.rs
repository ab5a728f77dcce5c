//! Starts QEMU, with a guest that boots or with one that was saved. Nothing else does.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Qemu;
use super::walls::{Needs, Walls};
use crate::accelerator::Accelerator;
use crate::cancel;
use crate::child;
use crate::cores::{self, Lease};
use crate::failure::{Failure, Kind};
use crate::guest::arguments::{self, Incoming, Machine, QEMU, Wires};
use crate::guest::lost::{Cause, Trouble};
use crate::guest::luns;
use crate::guest::neighbours::Lookout;
use crate::guest::qmp::Monitor;
use crate::guest::running::Order;
use crate::guest::snapshot::Snapshot;
use crate::guest::topology::Topology;
use crate::guest::wire::{self, Calls, LastLine, Talk};

/// What to do where a QEMU cannot be shut off from the host although another one of this process was.
const WALLS_FAIL: &str = "see whether the kernel image and the initramfs can be read, and try again";

/// How often a console is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long QEMU may take to end, where that is why it does not answer.
const ENDING: Duration = Duration::from_secs(2);

/// The first line of QEMU's `--version`; `None` where there is no QEMU.
pub fn qemu_version() -> Option<String> {
    let output = child::output(Command::new(QEMU).arg("--version"), Duration::from_secs(30), vec![]).ok()?;
    output.stdout.lines().next().map(str::to_owned)
}

/// Boots a guest on our own terminal, for a person who works in it and ends it. With a port it waits there for a debugger
/// first.
///
/// # Errors
/// `Asked` for more LUNs than fit on a command line, `Host` without QEMU, `Guest` where it fails, `Interrupted`.
pub fn boot_on_terminal(order: &Order<'_>, gdb: Option<u16>) -> Result<(), Failure> {
    let attempt = format!("boot {} on this terminal", order.kernel.path.display());
    if !luns::fit_on_a_command_line(order.topology) {
        let seen = format!("{} LUNs do not fit on a command line", order.topology.luns);
        return Err(Failure::new(Kind::Asked, attempt, seen, "ask for fewer --luns"));
    }
    let machine = Machine {
        kernel: order.kernel,
        initramfs: order.initramfs,
        parameters: order.parameters,
        topology: order.topology,
        accelerator: order.accelerator,
        filtered: Walls::of_host().seccomp.is_ok(),
    };
    let mut command = Command::new(QEMU);
    command.args(arguments::qemu_arguments(&machine, Wires::Terminal { gdb }));
    let boots = [order.kernel.path.as_path(), order.initramfs];
    let needs = Needs { listens: gdb, ..Needs::of(&boots, order.topology) };
    Walls::of_host()
        .put_around(&mut command, &needs)
        .map_err(|e| Failure::new(Kind::Host, &attempt, e.to_string(), WALLS_FAIL))?;
    match child::run_on_terminal(&mut command) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new(Kind::Guest, attempt, "QEMU failed", "what it said stands above")),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(Failure::interrupted(attempt)),
        Err(e) => {
            let next = "`cargo xtask doctor` says what is missing";
            Err(Failure::new(Kind::Host, attempt, e.to_string(), next))
        }
    }
}

/// Sets up a vCPU under KVM and ends it again. It proves nothing about Linux, but where not even that works
/// nobody needs to build a kernel to find out.
///
/// # Errors
/// What QEMU said.
pub(crate) fn try_kvm() -> Result<(), String> {
    idle(Accelerator::Kvm, Walls::of_host())
}

/// Starts a QEMU with a vCPU and nothing to boot, behind these walls, and ends it again.
///
/// # Errors
/// What QEMU said.
pub(super) fn idle(accelerator: Accelerator, walls: &Walls) -> Result<(), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|e| e.to_string())?;
    let mut command = Command::new(QEMU);
    command.args(arguments::idle(accelerator, walls.seccomp.is_ok(), theirs.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    walls.put_around(&mut command, &Needs::default()).map_err(|e| e.to_string())?;
    let mut qemu =
        child::spawn(&mut command, Signal::SIGKILL, vec![theirs.into()]).map_err(|e| e.to_string())?;
    let stderr = qemu.child().stderr.take();
    let asked = Monitor::greet(ours).and_then(|mut monitor| monitor.quit());
    // One that was not told to end does not: it is dropped.
    let ended = asked.is_ok().then(|| qemu.ended_within(Duration::from_secs(30))).flatten();
    if ended.is_some_and(|status| status.success()) {
        return Ok(());
    }
    // Without a supervisor that could hold the pipe open, it ends with QEMU.
    drop(qemu);
    let mut said = String::new();
    if let Some(mut stderr) = stderr {
        let _ = io::Read::read_to_string(&mut stderr, &mut said);
    }
    Err(match (said.lines().next(), asked, ended) {
        (Some(line), _, _) => line.to_owned(),
        (None, Err(e), _) => e.to_string(),
        (None, _, Some(status)) => format!("{QEMU} ended with {status}"),
        (None, _, None) => format!("{QEMU} did not end when it was told to"),
    })
}

/// Boots a guest and ends it when this text is on its console: how long that took, from the start of QEMU.
///
/// # Errors
/// As [`Guest::start`](crate::guest::Guest::start).
pub fn time_to_line(order: &Order<'_>, text: &str) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    let doing = format!("wait for \"{text}\"");
    let mut qemu = Qemu::start(order, Arc::new(cores::lease(order.cpus)?))?;
    // The whole console: the line may not be the last one any more.
    let said = || std::fs::read(order.folder.join("console.log")).unwrap_or_default();
    while !String::from_utf8_lossy(&said()).contains(text) {
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

impl Qemu {
    /// Starts it on these CPUs, with a guest that boots.
    pub(in crate::guest) fn start(order: &Order<'_>, cpus: Arc<Lease>) -> Result<Self, Trouble> {
        let mut qemu = Self::launch(order, cpus, Incoming::Nothing, vec![])?.greet()?;
        qemu.fill(order.topology)?;
        if !luns::fit_on_a_command_line(order.topology) {
            qemu.tell("boot", Monitor::cont)?;
        }
        Ok(qemu)
    }

    /// Starts it with a guest that was saved. It reads the state by itself, as far as it can.
    pub(in crate::guest) fn begin_restore(
        order: &Order<'_>,
        snapshot: &Snapshot,
    ) -> Result<Restoring, Trouble> {
        let state = snapshot.feed().map_err(|e| Failure::file("read a saved guest for", order.folder, &e))?;
        let from = state.as_raw_fd();
        // Devices have to be there before their state comes.
        let whole = luns::fit_on_a_command_line(order.topology);
        let incoming = if whole { Incoming::From(from) } else { Incoming::Later };
        let cpus = Arc::new(cores::lease(order.cpus)?);
        let launched = Self::launch(order, cpus, incoming, vec![state])?;
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

    /// Tells QEMU something; the error says what became of it, or of its guest.
    pub(crate) fn tell(
        &mut self,
        doing: &str,
        what: impl FnOnce(&mut Monitor) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let done = match &mut self.qmp {
            Some(monitor) => what(monitor),
            None => Err(io::Error::other("QEMU does not listen")),
        };
        done.map_err(|e| self.untold(doing, &e))
    }

    /// What came of it that QEMU could not be told something.
    fn untold(&mut self, doing: &str, e: &io::Error) -> Trouble {
        let cause = match e.kind() {
            io::ErrorKind::Interrupted => Cause::Interrupted,
            _ if self.process.ended_within(ENDING).is_some() => self.why_qemu_ended(&e.to_string()),
            // It is well, and says no.
            io::ErrorKind::Other => {
                let next = format!("read qemu.log in {}", self.folder.display());
                return Failure::new(Kind::Guest, doing, format!("QEMU: {e}"), next).into();
            }
            _ => Cause::QemuUnanswered(e.to_string()),
        };
        self.lost(doing, cause).into()
    }

    fn launch(
        order: &Order<'_>,
        cpus: Arc<Lease>,
        incoming: Incoming,
        files: Vec<OwnedFd>,
    ) -> Result<Launched, Trouble> {
        let machine = Machine {
            kernel: order.kernel,
            initramfs: order.initramfs,
            parameters: order.parameters,
            topology: order.topology,
            accelerator: order.accelerator,
            filtered: Walls::of_host().seccomp.is_ok(),
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
        cpus.confine(&mut command).map_err(not_started)?;
        Walls::of_host()
            .put_around(&mut command, &Needs::of(&[&order.kernel.path, order.initramfs], order.topology))
            .map_err(|e| Failure::new(Kind::Host, format!("start {QEMU}"), e.to_string(), WALLS_FAIL))?;
        let mut inherited = vec![OwnedFd::from(qmp_there), OwnedFd::from(calls_there)];
        inherited.extend(files);
        let mut qemu = child::spawn(&mut command, Signal::SIGKILL, inherited).map_err(not_started)?;
        let lookout = Lookout::begin(cpus.cpus().clone(), qemu.child().id());

        let (sender, events) = sync_channel(wire::WORDS_AT_ONCE);
        let last_line = LastLine::default();
        if let Some(console) = qemu.child().stdout.take() {
            wire::listen_to_console(console, file("console.log")?, sender.clone(), last_line.clone());
        }
        let talk = Talk::with(incoming != Incoming::Nothing);
        wire::listen_to_agent(calls.try_clone().map_err(not_started)?, talk.clone(), sender);
        let calls = Calls::over(calls, order.patience.silence, cancel::requested).map_err(not_started)?;
        let qemu = Self {
            process: qemu,
            lookout,
            qmp: None,
            calls,
            talk,
            events,
            last_line,
            early: HashMap::new(),
            next_id: 1,
            patience: order.patience,
            accelerator: order.accelerator,
            folder: order.folder.to_owned(),
            cpus: Some(cpus),
        };
        Ok(Launched { qemu, qmp })
    }
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
            Ok(monitor) => {
                qemu.qmp = Some(monitor);
                Ok(qemu)
            }
            Err(e) => Err(qemu.untold("start QEMU", &e)),
        }
    }
}

/// QEMU with a guest that was saved, and does not run yet.
#[derive(Debug)]
pub(in crate::guest) struct Restoring {
    launched: Launched,
    from: RawFd,
    topology: Topology,
}

impl Restoring {
    /// Waits for the state, and lets the guest run.
    pub(in crate::guest) fn finish(self) -> Result<Qemu, Trouble> {
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
