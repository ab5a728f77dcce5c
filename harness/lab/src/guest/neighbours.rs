//! Reads from `/proc`, before and after, who was busy on the CPUs of a guest.

use std::fs;
use std::time::{Duration, Instant};

use evidence::cpus::Cpus;
use evidence::neighbours::{Neighbours, Reading, Texts};

/// A look-out on the CPUs of a guest: one reading when it begins, one when it ends.
#[derive(Debug)]
pub(super) struct Lookout {
    cpus: Cpus,
    /// QEMU's process.
    process: u32,
    before: Option<Reading>,
    after: Option<Reading>,
    /// Two readings of late: the first is between one and two [`SPAN`]s old, or of when it began.
    lately: [(Instant, Option<Reading>); 2],
}

/// How far apart two readings of late are: a kernel says that a CPU hangs after some 20 s.
const SPAN: Duration = Duration::from_secs(15);

impl Lookout {
    /// Begins to look at these CPUs, on which this process of QEMU runs.
    pub(super) fn begin(cpus: Cpus, process: u32) -> Self {
        let before = read(process);
        let lately = std::array::from_fn(|_| (Instant::now(), before.clone()));
        Self { cpus, process, before, after: None, lately }
    }

    /// Looks up: to be called now and then.
    pub(super) fn look_up(&mut self) {
        if self.lately[1].0.elapsed() >= SPAN {
            self.lately.rotate_left(1);
            self.lately[1] = (Instant::now(), read(self.process));
        }
    }

    /// What others took of late.
    pub(super) fn lately(&self) -> Option<Neighbours> {
        Neighbours::between(self.lately[0].1.as_ref()?, &read(self.process)?, &self.cpus)
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        self.before = read(self.process);
        self.lately = std::array::from_fn(|_| (Instant::now(), self.before.clone()));
    }

    /// What the host's kernel says of QEMU's memory.
    pub(super) fn status(&self) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/status", self.process)).ok()
    }

    /// Looks no longer.
    pub(super) fn end(&mut self) {
        self.after = read(self.process);
    }

    /// What others took from when it began until it ended, or until now; `None` where the host does not say, or it is
    /// too short a time to tell.
    pub(super) fn neighbours(&self) -> Option<Neighbours> {
        let after = self.after.clone().or_else(|| read(self.process))?;
        Neighbours::between(self.before.as_ref()?, &after, &self.cpus)
    }
}

fn read(process: u32) -> Option<Reading> {
    Reading::of(&Texts {
        stat: &fs::read_to_string("/proc/stat").ok()?,
        guest: Some(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?),
        harness: &fs::read_to_string("/proc/self/stat").ok()?,
        pressure: fs::read_to_string("/proc/pressure/cpu").ok().as_deref(),
    })
}

#[cfg(test)]
mod tests;
