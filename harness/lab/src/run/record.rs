//! What a boot left: written to its folder, read back from there, and read for what it says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evidence::boot::Device;
use evidence::memory::Memory;
use evidence::neighbours::Neighbours;
use evidence::units::{CpuId, NodeId, ThreadId};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// What a boot left, besides its logs: `guest.json` in its folder.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Left {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub build: String,
    /// Kernel parameters, as the guest saw them.
    pub cmdline: String,
    /// CPUs with their nodes.
    pub cpus: Vec<(CpuId, Option<NodeId>)>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// The initcalls of the kernel image in their order, where the phase is the whole boot.
    pub initcalls: Vec<String>,
    /// What others took of the guest's CPUs while the steps were carried out: from its turn on, where it got ready beside
    /// other guests; since QEMU was started, where the phase is the whole boot.
    #[serde(default)]
    pub neighbours: Option<Neighbours>,
    /// What the guest took when its steps had been carried out.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// What a witness could not see, and why.
    pub blind_spots: Vec<String>,
}

/// A phase of a boot, in which the probes of one driver were looked at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Phase {
    /// Its name, as in the marks in the log; `None` for all from the start of the kernel to that of `/init`.
    pub name: Option<String>,
    /// The driver.
    pub driver: String,
    /// Its devices, at the end of the phase.
    pub devices: Vec<Device>,
    /// How long each thread ran within the phase, those that did not left out; `None` where nobody asked.
    #[serde(default)]
    pub cpu_times: Option<Vec<(ThreadId, Duration)>>,
    /// What was still under way when the wait for its end was given up: then no claim can rest on it.
    #[serde(default)]
    pub unsettled: Option<String>,
}

impl Phase {
    fn to_be_read(&self) -> evidence::boot::Phase<'_> {
        let Self { name, driver, devices, cpu_times, unsettled } = self;
        let (name, cpu_times, unsettled) = (name.as_deref(), cpu_times.as_deref(), unsettled.as_deref());
        evidence::boot::Phase { name, driver, devices, cpu_times, unsettled }
    }
}

/// A boot that was carried out, with its logs.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it left besides the logs.
    pub left: Left,
    /// `kmsg.txt`.
    pub kmsg: String,
    /// `trace.txt`, where the kernel has kprobe events.
    pub trace: Option<String>,
    /// `kprobe_profile.txt`.
    pub kprobe_profile: Option<String>,
}

impl Record {
    /// What each of its phases says, and of what is `asked` the lines of the log.
    pub fn read(&self, asked: &[&str]) -> Vec<evidence::boot::Boot> {
        let Left { cpus, phases, initcalls, .. } = &self.left;
        let phases: Vec<_> = phases.iter().map(Phase::to_be_read).collect();
        evidence::boot::read(&evidence::boot::Texts {
            release: &self.left.release,
            kmsg: &self.kmsg,
            trace: self.trace.as_deref(),
            kprobe_profile: self.kprobe_profile.as_deref(),
            cpus,
            mark: protocol::MARK,
            phases: &phases,
            asked,
            initcalls,
        })
    }

    /// Reads a record back from the folder of its boot.
    ///
    /// # Errors
    /// `Files`.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map(as_text).map_err(|e| Failure::file("read", &path, &e))
        };
        let left = serde_json::from_str(&read("guest.json")?).map_err(|e| {
            let attempt = format!("read {}", folder.join("guest.json").display());
            Failure::new(Kind::Files, attempt, e.to_string(), "the file is damaged: boot again")
        })?;
        let optional = |name: &str| folder.join(name).exists().then(|| read(name)).transpose();
        Ok(Self {
            left,
            kmsg: read("kmsg.txt")?,
            trace: optional("trace.txt")?,
            kprobe_profile: optional("kprobe_profile.txt")?,
        })
    }
}

/// Bytes of a guest as text: they themselves, or a copy where some are none.
pub(super) fn as_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_bytes_that_are_no_text_is_loaded_as_it_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let left = Left {
            release: String::new(),
            build: String::new(),
            cmdline: String::new(),
            cpus: Vec::new(),
            phases: Vec::new(),
            initcalls: Vec::new(),
            neighbours: None,
            memory: None,
            blind_spots: Vec::new(),
        };
        crate::run::write(&folder.path().join("guest.json"), &left).unwrap();
        fs::write(folder.path().join("kmsg.txt"), b"6,0,1,-;caf\xc3\xa9 \xff\n").unwrap();
        assert_eq!(Record::load(folder.path()).unwrap().kmsg, "6,0,1,-;caf\u{e9} \u{fffd}\n");
    }
}
