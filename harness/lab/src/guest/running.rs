//! A guest whose agent has said hello: ask it, change it, end it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evidence::memory::Memory;
use evidence::neighbours::Neighbours;
use protocol::{Answer, Hello, Request};

use crate::accelerator::Accelerator;
use crate::cores::{self, Lease};
use crate::failure::{Failure, Kind};
use crate::guest::lost::{Cause, Lost, Trouble};
use crate::guest::qemu::{self, Qemu};
use crate::guest::qmp::Monitor;
use crate::guest::snapshot::Snapshot;
use crate::guest::starts::start_again;
use crate::guest::topology::Topology;
use crate::guest::{luns, snapshot};

/// A guest to be started.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The kernel.
    pub kernel: &'a Image,
    /// The initramfs, with the agent as `/init`.
    pub initramfs: &'a Path,
    /// Kernel parameters besides those of every guest.
    pub parameters: &'a str,
    /// Its shape.
    pub topology: &'a Topology,
    /// TCG or KVM.
    pub accelerator: Accelerator,
    /// How many CPUs of the host it is to have for itself; all there are, where there are fewer.
    pub cpus: u32,
    /// How long to wait for what.
    pub patience: Patience,
    /// Where its console, command line and logs go. It exists.
    pub folder: &'a Path,
}

/// A kernel that can be booted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// An ELF `vmlinux` with a PVH entry, or a bzImage.
    pub path: PathBuf,
    /// Whether it has our configuration: another may be unable to do without what ours does without.
    pub own: bool,
}

/// How long to wait for a guest.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the start of QEMU to the agent's first word.
    pub boot: Duration,
    /// For a guest that says nothing at all, not even to a ping.
    pub silence: Duration,
    /// For a call that has nothing slow to wait for.
    pub call: Duration,
}

impl Patience {
    /// Enough for this accelerator on a machine that has other things to do as well.
    pub const fn of(accelerator: Accelerator) -> Self {
        let (boot, silence, call) = match accelerator {
            Accelerator::Kvm => (60, 20, 30),
            Accelerator::Tcg => (180, 60, 90),
        };
        Self {
            boot: Duration::from_secs(boot),
            silence: Duration::from_secs(silence),
            call: Duration::from_secs(call),
        }
    }
}

/// Why a call brought nothing.
#[derive(Clone, Debug)]
pub enum CallError {
    /// The agent is well and says why not.
    Refused(String),
    /// The guest is gone.
    Lost(Box<Lost>),
}

impl CallError {
    /// As trouble with whatever was attempted with the call; a refusal is of this kind.
    pub(crate) fn into_trouble(self, refusal: Kind, attempt: &str, folder: &Path) -> Trouble {
        match self {
            Self::Lost(lost) => Trouble::Lost(lost),
            Self::Refused(why) => Trouble::Failure(Failure::new(
                refusal,
                attempt,
                why,
                format!("read kmsg.txt and console.log in {}", folder.display()),
            )),
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Pending {
    id: u64,
    doing: String,
}

/// A guest that was saved, and does not run yet. Dropping it kills QEMU.
#[derive(Debug)]
pub(crate) struct Restoring {
    qemu: qemu::Restoring,
    hello: Hello,
    folder: PathBuf,
}

impl Restoring {
    /// Lets it run from where it was saved.
    ///
    /// # Errors
    /// `Guest` where QEMU does not take the state or the guest does not live on; `Interrupted`. It is never called the
    /// kernel's death: nothing was asked of the kernel yet, and its boot went well.
    pub(crate) fn finish(self) -> Result<Guest, Failure> {
        let Self { qemu, hello, folder } = self;
        let qemu = qemu.finish().map_err(|trouble| not_restored(trouble, &folder))?;
        let mut guest = Guest { qemu, hello, crashes: Vec::new() };
        match guest.quick_call("live on where it was saved", Request::Ping) {
            Ok(_) => Ok(guest),
            Err(e) => Err(not_restored(e.into_trouble(Kind::Guest, "restore a guest", &folder), &folder)),
        }
    }
}

fn not_restored(trouble: Trouble, folder: &Path) -> Failure {
    match trouble {
        Trouble::Lost(lost) if lost.cause != Cause::Interrupted => {
            let next = format!(
                "read console.log and qemu.log in {}; --forks 0 does without saved guests",
                folder.display()
            );
            let Lost { cause, doing, last_line, .. } = *lost;
            let seen = format!("{cause}, while it was to {doing}\nlast line of its console: {last_line}");
            Failure::new(Kind::Guest, "restore a guest that was saved", seen, next)
        }
        other => other.into(),
    }
}

/// A guest whose agent has said hello. Dropping it kills QEMU.
#[derive(Debug)]
pub struct Guest {
    qemu: Qemu,
    hello: Hello,
    crashes: Vec<String>,
}

impl Guest {
    /// Starts QEMU and waits for the agent's first word.
    ///
    /// To be called from a thread that lives at least as long as the guest: QEMU is killed with it.
    ///
    /// # Errors
    /// A failure where QEMU cannot be started; [`Lost`] where the guest does not come up.
    pub fn start(order: &Order<'_>) -> Result<Self, Trouble> {
        let cpus = Arc::new(cores::lease(order.cpus)?);
        let start = || Self::start_once(order, Arc::clone(&cpus));
        start_again(order.folder, start).map(|(guest, crashes)| Self { crashes, ..guest })
    }

    /// The same, on CPUs that it shares with whoever else has them, and not again where QEMU fails.
    ///
    /// # Errors
    /// As [`Guest::start`].
    pub(crate) fn start_once(order: &Order<'_>, cpus: Arc<Lease>) -> Result<Self, Trouble> {
        let mut qemu = Qemu::start(order, cpus)?;
        let doing = format!("boot {}", order.kernel.path.display());
        let hello = qemu.await_hello(&doing, order.patience.boot)?;
        if hello.version != protocol::VERSION {
            let seen =
                format!("the agent speaks version {}, the harness {}", hello.version, protocol::VERSION);
            return Err(Failure::new(Kind::Guest, doing, seen, "build the guest image again").into());
        }
        Ok(Self { qemu, hello, crashes: Vec::new() })
    }

    /// Starts QEMU with the state of a guest that was saved. The order has to be that of the guest that was saved,
    /// but for its folder.
    ///
    /// To be called from a thread as [`Guest::start`] is.
    ///
    /// # Errors
    /// A failure where QEMU cannot be started.
    pub(crate) fn begin_restore(order: &Order<'_>, snapshot: &Snapshot) -> Result<Restoring, Trouble> {
        let (qemu, hello) = (Qemu::begin_restore(order, snapshot)?, snapshot.hello().clone());
        Ok(Restoring { qemu, hello, folder: order.folder.to_owned() })
    }

    /// Saves the guest, and lets it go on. Calls that are under way are not part of the state.
    ///
    /// # Errors
    /// `Files`; `Guest` with what QEMU said.
    pub(crate) fn save(&mut self, folder: &Path) -> Result<Snapshot, Trouble> {
        let hello = self.hello.clone();
        let monitor = self.monitor().map_err(|e| snapshot::failure("save", folder, &e))?;
        let saved = Snapshot::take(monitor, hello, folder).and_then(|snapshot| {
            monitor.cont().map_err(|e| snapshot::failure("go on after saving", folder, &e))?;
            Ok(snapshot)
        });
        if saved.is_err() {
            // A guest that has died is why.
            self.qemu.look_for_death("save a guest")?;
        }
        Ok(saved?)
    }

    /// Whether it has told of its death by now, while nothing is asked of it.
    ///
    /// # Errors
    /// It has, or a stop was asked for.
    pub(crate) fn listen(&mut self, doing: &str) -> Result<(), Box<Lost>> {
        Ok(self.qemu.listen(doing)?)
    }

    /// How QEMU failed before it was started once more, each time.
    pub fn crashes(&self) -> &[String] {
        &self.crashes
    }

    /// Begins anew to look at who else is busy on its CPUs, as it does from the start of QEMU on.
    pub(crate) fn restart_lookout(&mut self) {
        self.qemu.lookout.restart();
    }

    /// Gives its CPUs back, for the next guest: nothing is measured any more. It stays on them until it ends.
    pub(crate) fn give_cpus_back(&mut self) {
        self.qemu.lookout.end();
        self.qemu.cpus = None;
    }

    /// Who was, until now or until the CPUs were given back; `None` where the host does not say, or where it is too
    /// short a time to tell.
    pub fn neighbours(&self) -> Option<Neighbours> {
        self.qemu.lookout.neighbours()
    }

    /// What it takes of the host's memory and of its own.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub(crate) fn memory(&mut self) -> Result<Option<Memory>, CallError> {
        let (_, meminfo) =
            self.quick_call("read /proc/meminfo", Request::ReadFile { path: "/proc/meminfo".to_owned() })?;
        let status = self.qemu.lookout.status();
        Ok(status.and_then(|status| Memory::of(&status, &String::from_utf8_lossy(&meminfo))))
    }

    /// What the agent said first.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Asks the agent and waits for its answer, at most `patience`; `doing` goes into the error.
    ///
    /// # Errors
    /// [`CallError::Refused`] is the agent's own no; [`CallError::Lost`] means that there is no guest any more.
    pub fn call(
        &mut self,
        doing: &str,
        request: Request,
        patience: Duration,
    ) -> Result<(Answer, Vec<u8>), CallError> {
        self.qemu.call(doing, request, patience)
    }

    /// [`Guest::call`] with the patience of a call that has nothing slow to wait for.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub fn quick_call(&mut self, doing: &str, request: Request) -> Result<(Answer, Vec<u8>), CallError> {
        let patience = self.qemu.patience.call;
        self.call(doing, request, patience)
    }

    /// Asks the agent and does not wait for its answer.
    ///
    /// # Errors
    /// The guest is gone.
    pub(crate) fn begin(&mut self, doing: &str, request: Request) -> Result<Pending, Box<Lost>> {
        let id = self.qemu.send(doing, request)?;
        Ok(Pending { id, doing: doing.to_owned() })
    }

    /// Waits for the answer to what was begun.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub(crate) fn finish(&mut self, pending: &Pending, patience: Duration) -> Result<Answer, CallError> {
        let lost = |lost: Lost| CallError::Lost(Box::new(lost));
        let (result, _) = self.qemu.await_reply(&pending.doing, pending.id, patience).map_err(lost)?;
        result.map_err(CallError::Refused)
    }

    /// Plugs in a LUN of the topology that is not there.
    ///
    /// # Errors
    /// `Guest` with what QEMU said, or the guest is gone.
    pub(crate) fn plug(&mut self, topology: &Topology, lun: u32) -> Result<(), Trouble> {
        self.qemu.tell("plug in a LUN", |monitor| monitor.plug(&luns::disk(topology, lun)))
    }

    /// Pulls out a LUN.
    ///
    /// # Errors
    /// As [`Guest::plug`].
    pub(crate) fn unplug(&mut self, lun: u32) -> Result<(), Trouble> {
        self.qemu.tell("pull out a LUN", |monitor| monitor.unplug(&luns::disk_id(lun)))
    }

    /// Says a line to QEMU's monitor for people, as somebody who has taken QEMU over could; what it says to that.
    ///
    /// # Errors
    /// QEMU does not answer: it may have ended for it.
    pub fn ask_qemu(&mut self, line: &str) -> io::Result<String> {
        self.monitor()?.human(line)
    }

    fn monitor(&mut self) -> io::Result<&mut Monitor> {
        self.qemu.qmp.as_mut().ok_or_else(|| io::Error::other("QEMU does not listen"))
    }

    /// Ends the guest: the data is out, and nothing in it is worth a clean shutdown.
    pub fn end(mut self) {
        if let Some(qmp) = &mut self.qemu.qmp {
            // If QEMU does not listen, the drop kills it.
            let _ = qmp.quit();
        }
        self.qemu.process.ended_within(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::console::Death;

    fn lost(cause: Cause) -> Trouble {
        let lost = Lost { cause, doing: "live on".into(), last_line: String::new(), folder: PathBuf::new() };
        Trouble::Lost(Box::new(lost))
    }

    #[test]
    fn a_guest_that_does_not_live_on_is_no_kernel_that_died() {
        let death = Cause::Kernel { death: Death::Oops, line: "Oops".to_owned() };
        for cause in [Cause::Silence(Duration::from_secs(60)), Cause::Overdue(Duration::ZERO), death] {
            let failure = not_restored(lost(cause), Path::new("boots/001"));
            assert_eq!(failure.kind, Kind::Guest);
            assert!(failure.next.contains("--forks 0"), "{failure}");
        }
        assert_eq!(not_restored(lost(Cause::Interrupted), Path::new("")).kind, Kind::Interrupted);
    }
}
