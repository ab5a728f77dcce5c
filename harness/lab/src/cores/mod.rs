//! Hands out CPUs of the host, so that guests side by side run on cores of their own.
//!
//! A [`Lease`] is as many CPUs as were asked for, of one node where one has room, siblings together. Its guest runs
//! on them and on no others, and has its memory near. Dropping it gives them back. Nobody waits for a lease with
//! another in hand, or guests could wait for each other: one whose logs are left to fetch has given its own back. Guests
//! of one round share a lease, as only one of them at a time is more than ready (`run::round`).
//!
//! Who asks for more CPUs than this process may use gets all of them. Where other guests of this process have them,
//! it waits its turn: on shared CPUs, both would measure the other. Another harness on the same host is avoided while
//! there are CPUs without it, and else shared with: to wait for it would be to wait for somebody who may never make
//! room. Then each is a neighbour of the other, which is measured and said (`evidence::neighbours`). A CPU that is
//! shared has the sign of who came first: when that one goes, a third harness takes it for free.

mod layout;

use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use evidence::cpus::Cpus;
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cancel;
use crate::failure::{Failure, Kind};
use layout::Layout;

/// How long to wait for other guests of this process: longer than any of them lives.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// Takes so many CPUs of this host, or all there are.
///
/// # Errors
/// `Host` where other guests of this process hold them for an hour; `Interrupted`.
pub(crate) fn lease(wanted: u32) -> Result<Lease, Failure> {
    static OF_HOST: OnceLock<Arc<Pool>> = OnceLock::new();
    let pool = OF_HOST.get_or_init(|| Arc::new(Pool::new(Layout::of_host(), "parprobe-cpu")));
    pool.lease(usize::try_from(wanted).unwrap_or(usize::MAX), PATIENCE)
}

/// The CPUs of a host and who has them.
#[derive(Debug)]
struct Pool {
    layout: Layout,
    /// What the signs begin with by which harnesses tell each other that a CPU is taken.
    sign: &'static str,
    taken: Mutex<Taken>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    cpus: Cpus,
    /// Who waits, in the order in which they came: else one that wants many could wait for ever.
    queue: VecDeque<u64>,
    next: u64,
}

impl Pool {
    fn new(layout: Layout, sign: &'static str) -> Self {
        Self { layout, sign, taken: Mutex::default(), changed: Condvar::new() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(self: &Arc<Self>, wanted: usize, patience: Duration) -> Result<Lease, Failure> {
        let all = self.layout.cpus();
        let wanted = wanted.min(all.0.len());
        let attempt = format!("get {wanted} of CPUs {all} for a guest");
        let deadline = Instant::now() + patience;
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.queue.push_back(number);
        let outcome = loop {
            if cancel::requested() {
                break Err(Failure::interrupted(&attempt));
            }
            let free: Cpus = all.0.difference(&taken.cpus.0).copied().collect();
            if taken.queue.front() == Some(&number)
                && let Some((cpus, signs)) = self.avoiding_others(&free, wanted)
            {
                taken.cpus.0.extend(&cpus.0);
                let memory = self.layout.node_of(&cpus);
                break Ok(Lease { pool: Arc::clone(self), cpus, memory, signs });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen = format!("other guests have had CPUs {} for {patience:?}", taken.cpus);
                let next = "see whether a guest hangs; run fewer tests at once with --test-threads";
                break Err(Failure::new(Kind::Host, &attempt, seen, next));
            }
            let look = left.min(cancel::LOOK_EVERY);
            taken = self.changed.wait_timeout(taken, look).unwrap_or_else(PoisonError::into_inner).0;
        };
        taken.queue.retain(|waiting| *waiting != number);
        drop(taken);
        self.changed.notify_all();
        outcome
    }

    /// Chooses CPUs that no other harness has, and, where these are too few, shared ones besides; with our signs on
    /// them.
    fn avoiding_others(&self, free: &Cpus, wanted: usize) -> Option<(Cpus, Vec<UnixDatagram>)> {
        let mut alone = free.clone();
        while let Some(cpus) = self.layout.choose(&alone, wanted) {
            let signs: Vec<(u32, Option<UnixDatagram>)> =
                cpus.0.iter().map(|cpu| (*cpu, self.put_sign(*cpu))).collect();
            let of_others: Vec<u32> =
                signs.iter().filter(|(_, sign)| sign.is_none()).map(|(cpu, _)| *cpu).collect();
            if of_others.is_empty() {
                return Some((cpus, signs.into_iter().filter_map(|(_, sign)| sign).collect()));
            }
            alone.0.retain(|cpu| !of_others.contains(cpu));
        }
        let shared: Cpus = free.0.difference(&alone.0).copied().collect();
        let mut cpus = self.layout.choose(&shared, wanted - alone.0.len())?;
        cpus.0.extend(&alone.0);
        let signs = cpus.0.iter().filter_map(|cpu| self.put_sign(*cpu)).collect();
        Some((cpus, signs))
    }

    /// A socket with the CPU's number for a name, which only one process can have. It is in no file system, and goes
    /// with the process, however that ends (unix(7): abstract). `None` where another process has it.
    fn put_sign(&self, cpu: u32) -> Option<UnixDatagram> {
        let address = SocketAddr::from_abstract_name(format!("{}-{cpu}", self.sign)).ok()?;
        UnixDatagram::bind_addr(&address).ok()
    }
}

/// CPUs that a guest, or those of a round, have for themselves, as far as this process goes.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    cpus: Cpus,
    /// The node to have memory from.
    memory: Option<u32>,
    signs: Vec<UnixDatagram>,
}

impl Lease {
    /// The CPUs; none where it is not known which there are.
    pub(crate) fn cpus(&self) -> &Cpus {
        &self.cpus
    }

    /// Sees to it that the command, once started, runs on these CPUs only, with every thread and child it makes, and
    /// prefers memory of their node.
    ///
    /// # Errors
    /// A CPU with a number that the system call has no place for.
    pub(crate) fn confine(&self, command: &mut Command) -> io::Result<()> {
        let mut set = CpuSet::new();
        for cpu in &self.cpus.0 {
            set.set(usize::try_from(*cpu).map_err(io::Error::other)?)?;
        }
        let confined = !self.cpus.0.is_empty();
        let memory = self.memory;
        let in_child = move || {
            if confined {
                sched_setaffinity(Pid::from_raw(0), &set)?;
            }
            if let Some(node) = memory {
                // It is a wish: containers may forbid the call. Memory then comes from the node of whoever touches it
                // first, which is the same one, unless somebody started us under another policy.
                let _ = prefer_memory_of(node);
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes system calls; it neither allocates on its way to
        // success nor takes a lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(in_child)
        };
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut taken = self.pool.taken();
        // First of all: whoever takes the CPUs next could not put signs of its own on them.
        self.signs.clear();
        taken.cpus.0.retain(|cpu| !self.cpus.0.contains(cpu));
        drop(taken);
        self.pool.changed.notify_all();
    }
}

/// Has the memory of this thread, and of what it starts, come from this node as long as the node has some.
///
/// # Errors
/// Of the system call, and of a node with a number that it has no place for.
fn prefer_memory_of(node: u32) -> nix::Result<()> {
    const WORDS: usize = 16;
    const BITS: usize = WORDS * libc::c_ulong::BITS as usize;
    let mut mask = [0 as libc::c_ulong; WORDS];
    let word = mask.get_mut(node as usize / libc::c_ulong::BITS as usize).ok_or(Errno::EINVAL)?;
    *word = 1 << (node % libc::c_ulong::BITS);
    // SAFETY: the kernel reads one bit fewer than it is told (mm/mempolicy.c, get_nodes), which is the whole mask, and
    // writes nothing.
    #[allow(unsafe_code)]
    let result =
        unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_PREFERRED, mask.as_ptr(), BITS + 1) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests;
