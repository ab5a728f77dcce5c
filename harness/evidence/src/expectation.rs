//! What can be expected of a boot.

mod ruling;

use std::fmt;
use std::time::Duration;

pub(crate) use ruling::{Ruling, rule, show, value};

/// Something expected of every boot of a kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// So many devices are there, all of them bound, and each was probed so many times.
    AllBound {
        /// How many devices.
        of: usize,
        /// How often the driver came.
        rounds: usize,
    },
    /// So many devices are there at the end, all of them bound, however often they were probed.
    AllBoundInTheEnd {
        /// How many devices.
        of: usize,
    },
    /// So many devices are there, and so many of them are bound.
    Bound {
        /// Bound.
        bound: usize,
        /// There.
        of: usize,
    },
    /// The driver was attached by so many calls of this asynchronous function, and by no other.
    AttachedBy {
        /// Its name.
        function: &'static str,
        /// How many calls.
        calls: u64,
    },
    /// At some moment at least so many probes ran. Only one at a time refutes it: more than one, but fewer than
    /// so many, may be for want of CPUs, and cannot tell.
    InFlightAtLeast(usize),
    /// At no moment did more than so many probes run.
    InFlightAtMost(usize),
    /// Probes end faster one after the other than reads of that latency would let them, were those of one probe done
    /// after those of another: half of the probes end less than nine tenths of the reads of one after the one before. That
    /// probes are in flight together does not show it: they may wait for one lock. Slower ends refute it only where the
    /// CPU time of a probe, which the host may stretch, is no more than half of its reads.
    ReadsOverlap {
        /// How long a device takes for a read.
        latency: Duration,
    },
    /// No more than so many threads ran probes.
    WorkersAtMost(usize),
    /// At least so many percent of the probes of devices that have a node with CPUs ran on one of these.
    LocalAtLeast {
        /// The share.
        percent: usize,
    },
    /// At least so many percent of the probes of devices that have a node with CPUs began on one of these, wherever they
    /// went from there. Only half of them or fewer, as two nodes give by chance, refute it.
    BegunLocalAtLeast {
        /// The share.
        percent: usize,
    },
    /// The load of the module returned after all its probes had ended.
    LoadWaits,
    /// The load of the module returned while probes were still to end.
    LoadReturnsEarly,
    /// A device that went away before its probe could begin was never probed.
    NeverProbed {
        /// Its name.
        device: &'static str,
        /// What the log says when it has gone.
        gone: &'static str,
    },
    /// When something was done of which the log says this, a probe was under way, or one was still to begin. It takes
    /// one boot to show that: where none does, the race was not run.
    MeetsProbes {
        /// Which probes count.
        which: Which,
        /// What the log says.
        when: &'static str,
    },
    /// The longest probe was the last to end, and each of the others took less than half as long: none had to wait
    /// for it, not even within its own probe.
    SlowestHoldsUpNobody,
    /// The log has so many lines of the phase with this text in them.
    Says {
        /// The text.
        text: &'static str,
        /// How many lines.
        times: usize,
    },
    /// The kernel complains about nothing: no warning, no lockdep, refcount, list or KASAN report.
    NoComplaint,
    /// The initcalls of the kernel image ran in the order of their levels.
    InitcallsInOrder,
    /// No asynchronous call and no probe ended after `/init` was started.
    NothingPendingAtInit,
}

/// Probes at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// Begun, and not ended.
    UnderWay,
    /// Not begun.
    ToBegin,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllBound { of, rounds: 1 } => write!(f, "all {of} devices probed once and bound"),
            Self::AllBound { of, rounds } => {
                write!(f, "all {of} devices probed once in each of {rounds} rounds, and bound")
            }
            Self::AllBoundInTheEnd { of } => write!(f, "all {of} devices bound in the end"),
            Self::Bound { bound, of } => write!(f, "{bound} of {of} devices bound"),
            Self::AttachedBy { function, calls } => {
                write!(
                    f,
                    "attached by {calls} call{} of {function}",
                    plural(usize::try_from(*calls).unwrap_or(2))
                )
            }
            Self::InFlightAtLeast(n) => write!(f, "at least {n} probes in flight"),
            Self::InFlightAtMost(n) => write!(f, "at most {n} probe{} in flight", plural(*n)),
            Self::ReadsOverlap { latency: _ } => {
                f.write_str("reads of different probes overlap (ms from one end to the next)")
            }
            Self::WorkersAtMost(n) => write!(f, "at most {n} worker{}", plural(*n)),
            Self::LocalAtLeast { percent } => write!(f, "at least {percent} % of probes on their node"),
            Self::BegunLocalAtLeast { percent } => {
                write!(f, "at least {percent} % of probes begun on their node")
            }
            Self::LoadWaits => f.write_str("insmod returns when its probes are done"),
            Self::LoadReturnsEarly => f.write_str("insmod returns before its probes are done"),
            Self::NeverProbed { device, gone: _ } => write!(f, "{device}, which is gone, never probed"),
            Self::MeetsProbes { which: Which::UnderWay, when } => {
                write!(f, "probes under way when it {when}")
            }
            Self::MeetsProbes { which: Which::ToBegin, when } => {
                write!(f, "probes still to begin when it {when}")
            }
            Self::SlowestHoldsUpNobody => f.write_str("no probe waits for the slowest"),
            Self::Says { text, times } => write!(f, "{times} line{} \"{text}\" in the log", plural(*times)),
            Self::NoComplaint => f.write_str("no complaint of the kernel"),
            Self::InitcallsInOrder => f.write_str("initcalls in the order of their levels"),
            Self::NothingPendingAtInit => f.write_str("nothing asynchronous pending when /init starts"),
        }
    }
}

impl Expectation {
    /// What a boot has to listen for in the log, so that this can be judged.
    pub fn asks(&self) -> Option<&'static str> {
        match *self {
            Self::NeverProbed { device: _, gone: text }
            | Self::MeetsProbes { which: _, when: text }
            | Self::Says { text, times: _ } => Some(text),
            Self::AllBound { .. }
            | Self::AllBoundInTheEnd { .. }
            | Self::Bound { .. }
            | Self::AttachedBy { .. }
            | Self::InFlightAtLeast(_)
            | Self::InFlightAtMost(_)
            | Self::ReadsOverlap { .. }
            | Self::WorkersAtMost(_)
            | Self::LocalAtLeast { .. }
            | Self::BegunLocalAtLeast { .. }
            | Self::LoadWaits
            | Self::LoadReturnsEarly
            | Self::SlowestHoldsUpNobody
            | Self::NoComplaint
            | Self::InitcallsInOrder
            | Self::NothingPendingAtInit => None,
        }
    }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
