//! How a guest is lost, each way with its name.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use evidence::console::Death;

use crate::failure::{Failure, Kind};

/// Why a guest is of no more use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Its kernel said so on the console.
    Kernel {
        /// The kind.
        death: Death,
        /// The line.
        line: String,
    },
    /// Its kernel said that a CPU hangs, and others had most of the time of its CPUs of late: the guest's clock
    /// goes on where it gets none.
    Starved {
        /// What hangs.
        death: Death,
        /// What the kernel said.
        line: String,
        /// Who had the CPUs.
        others: Box<str>,
    },
    /// Its CPU was reset: a triple fault, or a reboot that nobody asked for.
    Reset,
    /// PID 1 is gone, for this reason.
    AgentDied(String),
    /// The agent said something that is not in the protocol.
    AgentRubbish(String),
    /// Nothing came from it for this long.
    Silence(Duration),
    /// It is alive, but what it was asked to do took longer than this.
    Overdue(Duration),
    /// QEMU ended.
    QemuEnded(String),
    /// QEMU ended by a fault of its own: an access to no memory, an assertion.
    QemuCrashed(String),
    /// QEMU ran an int3 that was gone from memory, and the kernel took that for an oops: this line.
    QemuStale(String),
    /// QEMU runs, and does not answer, or not as QEMU does.
    QemuUnanswered(String),
    /// Somebody asked us to stop.
    Interrupted,
}

impl Cause {
    /// Whether it is the kernel's own doing, and so says something about the kernel.
    pub fn is_of_the_kernel(&self) -> bool {
        match self {
            Self::Kernel { .. }
            | Self::Starved { .. }
            | Self::Reset
            | Self::Silence(_)
            | Self::Overdue(_) => true,
            Self::AgentDied(_)
            | Self::AgentRubbish(_)
            | Self::QemuEnded(_)
            | Self::QemuCrashed(_)
            | Self::QemuStale(_)
            | Self::QemuUnanswered(_)
            | Self::Interrupted => false,
        }
    }

    /// Whether the host may be why: it may have been busy with something else. Only its clock says that a guest is silent
    /// or late, and only the guest's that a CPU hangs.
    pub fn may_be_the_hosts(&self) -> bool {
        matches!(self, Self::Starved { .. } | Self::Silence(_) | Self::Overdue(_))
    }

    /// Whether it is a fault of QEMU that comes with chance: another guest may be well.
    pub(crate) fn is_chance(&self) -> bool {
        matches!(self, Self::QemuCrashed(_) | Self::QemuStale(_))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { death, line } => write!(f, "{death}: {line}"),
            Self::Starved { death, line, others } => write!(f, "{death}, or no time: {line}; {others}"),
            Self::Reset => f.write_str("reset: the guest's CPU was reset, as after a triple fault"),
            Self::AgentDied(why) => write!(f, "agent died: {why}"),
            Self::AgentRubbish(what) => write!(f, "agent not understood: {what}"),
            Self::Silence(long) => write!(f, "silence: not a word for {long:?}"),
            Self::Overdue(long) => write!(f, "overdue: the guest is alive, but not done after {long:?}"),
            Self::QemuEnded(how) => write!(f, "QEMU ended: {how}"),
            Self::QemuCrashed(how) => write!(f, "QEMU crashed: {how}"),
            Self::QemuStale(line) => {
                write!(f, "QEMU ran an int3 that is not in memory any more, as TCG before 8.1 may: {line}")
            }
            Self::QemuUnanswered(why) => f.write_str(why),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// A guest that was lost, and what it was doing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Why.
    pub cause: Cause,
    /// What it was to do.
    pub doing: String,
    /// The last line of its console.
    pub last_line: String,
    /// The folder with its console and whatever else could be saved.
    pub folder: PathBuf,
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        let Lost { cause, doing, last_line, folder } = lost;
        if cause == Cause::Interrupted {
            return Self::interrupted(doing);
        }
        let mut seen = cause.to_string();
        if !matches!(cause, Cause::Kernel { .. } | Cause::Starved { .. }) && !last_line.is_empty() {
            seen.push_str(&format!("\nlast line of its console: {last_line}"));
        }
        let other = match cause {
            Cause::QemuStale(_) => "use QEMU 8.1 or later, or KVM; ",
            _ => "",
        };
        let next = format!(
            "{other}read console.log, qemu.log and, if it could be saved, kmsg.txt in {0}; `sh qemu.sh` there boots the same guest by hand",
            folder.display()
        );
        Self::new(Kind::Guest, doing, seen, next)
    }
}

/// Why a guest could not be led to its end.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It was lost.
    Lost(Box<Lost>),
    /// Something else went wrong; the guest is not to blame, or not alone.
    Failure(Failure),
}

impl From<Box<Lost>> for Trouble {
    fn from(lost: Box<Lost>) -> Self {
        Self::Lost(lost)
    }
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        Self::Lost(Box::new(lost))
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(lost) => Self::from(*lost),
            Trouble::Failure(failure) => failure,
        }
    }
}
