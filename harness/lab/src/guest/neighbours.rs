//! Reads from `/proc`, before and after, who was busy on the CPUs of a guest.

use std::fs;

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
}

impl Lookout {
    /// Begins to look at these CPUs, on which this process of QEMU runs.
    pub(super) fn begin(cpus: Cpus, process: u32) -> Self {
        Self { cpus, process, before: read(process), after: None }
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        self.before = read(self.process);
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
