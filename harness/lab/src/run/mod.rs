//! Carries out the boots of a run and writes down what they left, one folder a boot.

mod folder;
mod lineup;
mod session;

use std::fs;
use std::path::Path;

use evidence::boot::Lun;
use evidence::units::{CpuId, NodeId};
use serde::{Deserialize, Serialize};

use crate::accelerator::{Accelerator, Choice};
use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::topology::Topology;
use crate::guest::{Guest, Order, Patience};
use session::Session;

pub use folder::{Place, boot_name, make_boot_folder};
pub use lineup::{Bootable, Lineup, Request};

/// What a guest is to do, step by step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Load a module of the image. Those it depends on are loaded before it.
    Load {
        /// Its name.
        module: &'static str,
    },
    /// Wait until every LUN of the topology is there.
    AwaitLuns,
    /// Call the witnesses, load the module, and wait until every LUN is bound to its driver.
    Measure {
        /// The module.
        module: &'static str,
        /// Its driver.
        driver: &'static str,
    },
}

/// A boot to be carried out.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// The kernel.
    pub kernel: &'a Bootable,
    /// The shape of the guest.
    pub topology: &'a Topology,
    /// What it is to do.
    pub steps: &'a [Step],
    /// TCG or KVM.
    pub accelerator: Accelerator,
    /// The folder for its files. It exists.
    pub folder: &'a Path,
}

/// What a boot left, besides its logs: `guest.json` in its folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Left {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub build: String,
    /// Kernel parameters, as the guest saw them.
    pub cmdline: String,
    /// CPUs with their nodes.
    pub cpus: Vec<(CpuId, Option<NodeId>)>,
    /// The LUNs after the probes.
    pub luns: Vec<Lun>,
    /// The module that was measured.
    pub module: String,
    /// Its driver.
    pub driver: String,
    /// What a witness could not see, and why.
    pub blind_spots: Vec<String>,
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
    /// What the boot says.
    pub fn read(&self) -> evidence::boot::Boot {
        let Left { cpus, luns, module, driver, release: _, build: _, cmdline: _, blind_spots: _ } =
            &self.left;
        evidence::boot::read(&evidence::boot::Texts {
            kmsg: &self.kmsg,
            trace: self.trace.as_deref(),
            kprobe_profile: self.kprobe_profile.as_deref(),
            cpus,
            luns,
            module,
            driver,
            mark: protocol::MARK,
        })
    }

    /// Reads a record back from the folder of its boot.
    ///
    /// # Errors
    /// `Files`.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))
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

/// Carries out one boot.
///
/// # Errors
/// `Guest` where the guest dies or cannot do a step, `Host` without QEMU, `Files`, `Interrupted`. What the
/// guest left until then is in the folder.
pub fn carry_out(boot: &Boot<'_>) -> Result<Record, Failure> {
    cancel::check("boot the next guest")?;
    let guest = Guest::start(&Order {
        kernel: &boot.kernel.image,
        initramfs: &boot.kernel.initramfs,
        parameters: "",
        topology: boot.topology,
        accelerator: boot.accelerator,
        patience: Patience::of(boot.accelerator),
        folder: boot.folder,
    })?;
    if !guest.hello().build.contains(&boot.kernel.id) {
        let attempt = format!("boot the kernel \"{}\"", boot.kernel.name);
        let seen = format!("the guest runs {}, not {}", guest.hello().build, boot.kernel.id);
        let next = "remove the kernel from the store: it is built again";
        return Err(Failure::new(Kind::Guest, attempt, seen, next));
    }
    let mut session = Session::new(guest, boot);
    let mut measured = ("", "");
    for step in boot.steps {
        match *step {
            Step::Load { module } => session.load(module)?,
            Step::AwaitLuns => session.await_luns()?,
            Step::Measure { module, driver } => {
                session.measure(module, driver)?;
                measured = (module, driver);
            }
        }
    }
    let record = session.collect(measured.0, measured.1)?;
    let path = boot.folder.join("guest.json");
    let json = serde_json::to_string_pretty(&record.left).unwrap_or_default();
    fs::write(&path, json).map_err(|e| Failure::file("write", &path, &e))?;
    session.end();
    Ok(record)
}

/// What a run is to do: `plan.json` in its folder, there before the first boot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// The case, by name.
    pub case: String,
    /// The shape of the guests.
    pub topology: Topology,
    /// Cores of the host that the harness may use.
    pub host_cores: u32,
    /// TCG or KVM, and why.
    pub accelerator: Choice,
    /// The folder of each boot and its kernel, in order.
    pub boots: Vec<(String, String)>,
}

impl Plan {
    /// Writes it to the folder of the run.
    ///
    /// # Errors
    /// `Files`.
    pub fn write(&self, run: &Path) -> Result<(), Failure> {
        let path = run.join("plan.json");
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        fs::write(&path, json).map_err(|e| Failure::file("write", &path, &e))
    }
}

/// The order of boots: every round has each kernel once, and every other round goes backwards, so that no
/// kernel always follows the same one and a drift of the machine falls on all alike.
pub fn interleaved(kernels: usize, rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds).flat_map(move |round| {
        (0..kernels).map(move |place| (round, if round % 2 == 0 { place } else { kernels - 1 - place }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_each_kernel_once_and_turns_around() {
        let order: Vec<_> = interleaved(3, 2).collect();
        assert_eq!(order, [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]);
    }
}
