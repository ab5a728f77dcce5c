//! Carries out the boots of a run and writes down what they left, one folder a boot.

mod folder;
mod lineup;
mod session;
mod steps;
mod witnesses;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evidence::boot::Device;
use evidence::neighbours::Neighbours;
use evidence::units::{CpuId, NodeId, ThreadId};
use serde::{Deserialize, Serialize};

use crate::accelerator::{Accelerator, Choice};
use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::topology::Topology;
use crate::guest::{Guest, Lost, Order, Patience, Restoring, Snapshot, Trouble};
use crate::kernel::initcalls;
use session::{Progress, Session};

pub use folder::{Place, boot_name, make_boot_folder, mark_unfinished};
pub use lineup::{Bootable, Lineup, Request};
pub use steps::{Count, Measured, Step};

/// A boot to be carried out.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// The kernel.
    pub kernel: &'a Bootable,
    /// The shape of the guest.
    pub topology: &'a Topology,
    /// What it is to do.
    pub steps: &'a [Step],
    /// Kernel parameters besides those of every guest.
    pub parameters: &'a str,
    /// What the steps draw from: pauses and devices.
    pub seed: u64,
    /// TCG or KVM.
    pub accelerator: Accelerator,
    /// The folder for its files. It exists.
    pub folder: &'a Path,
}

/// What was asked of a boot: `boot.json` in its folder, there before QEMU is started.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Asked {
    /// The kernel's name.
    pub kernel: String,
    /// Its address in the store.
    pub id: String,
    /// The shape of the guest.
    pub topology: Topology,
    /// Kernel parameters besides those of every guest.
    pub parameters: String,
    /// What latencies and steps draw from.
    pub seed: u64,
    /// TCG or KVM.
    pub accelerator: Accelerator,
    /// The folder of the boot that was saved, where this one goes on from there.
    #[serde(default)]
    pub fork_of: Option<PathBuf>,
}

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
    /// What others took of the guest's CPUs while the steps were carried out, or since QEMU was started where the phase
    /// is the whole boot.
    #[serde(default)]
    pub neighbours: Option<Neighbours>,
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
}

impl Phase {
    fn to_be_read(&self) -> evidence::boot::Phase<'_> {
        let Self { name, driver, devices, cpu_times } = self;
        let (name, cpu_times) = (name.as_deref(), cpu_times.as_deref());
        evidence::boot::Phase { name, driver, devices, cpu_times }
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
        let Left { cpus, phases, initcalls, release: _, build: _, cmdline: _, neighbours: _, blind_spots: _ } =
            &self.left;
        let phases: Vec<_> = phases.iter().map(Phase::to_be_read).collect();
        evidence::boot::read(&evidence::boot::Texts {
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
fn as_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// How a boot came to its end.
#[derive(Debug)]
pub enum Ending {
    /// All steps were carried out.
    Well(Box<Record>),
    /// The kernel died, or hangs.
    Died {
        /// How.
        lost: Box<Lost>,
        /// What it said: its log where that could be saved, else its console.
        log: String,
    },
}

/// A guest that was saved where its first phase begins, to be carried on from there as often as wanted.
#[derive(Debug)]
pub struct Saved {
    snapshot: Snapshot,
    at: Progress,
    /// The folder of its boot.
    folder: PathBuf,
}

/// Carries out one boot.
///
/// # Errors
/// `Guest` where a step cannot be done or the agent fails, `Host` without QEMU, `Files`, `Interrupted`. What the
/// guest left until then is in the folder.
pub fn carry_out(boot: &Boot<'_>) -> Result<Ending, Failure> {
    let (ending, _) = ending(boot, || Ok((lead(boot, false)?.0, ())))?;
    Ok(ending)
}

/// Carries out one boot, and saves its guest on the way, where its first phase begins: `None` where it died, or where
/// the steps have no such place ([`Step::at_first_phase`]).
///
/// # Errors
/// As [`carry_out`]; `Guest` where QEMU does not save it.
pub fn carry_out_and_save(boot: &Boot<'_>) -> Result<(Ending, Option<Saved>), Failure> {
    let (ending, saved) = ending(boot, || lead(boot, true))?;
    Ok((ending, saved.flatten()))
}

/// A guest that was saved, on its way to be carried on. Dropping it ends it.
#[derive(Debug)]
pub struct Fork {
    restoring: Restoring,
    at: Progress,
}

/// Begins to restore a guest that was saved, beside whatever else goes on. The boot has to be the same, but for its folder.
///
/// # Errors
/// `Host` without QEMU, `Files`.
pub fn fork(saved: &Saved, boot: &Boot<'_>) -> Result<Fork, Failure> {
    write(&boot.folder.join("boot.json"), &Asked::of(boot, Some(&saved.folder)))?;
    let restoring = Guest::begin_restore(&boot.order(boot.parameters), &saved.snapshot)?;
    Ok(Fork { restoring, at: saved.at.clone() })
}

/// Carries on a guest that was saved, from there to its end, with the boot that it was forked for. When the measured part
/// is over, and only logs are left to fetch, `measured` is called: then the next one can be forked.
///
/// # Errors
/// As [`carry_out`]; `Guest` where QEMU does not take it.
pub fn carry_on(fork: Fork, boot: &Boot<'_>, measured: &mut dyn FnMut()) -> Result<Ending, Failure> {
    let (ending, _) = ending(boot, || {
        let (_, rest) = Step::at_first_phase(boot.steps).unwrap_or_default();
        let mut guest = fork.restoring.finish()?;
        guest.restart_lookout();
        let mut session = Session::resume(guest, boot, fork.at, measured);
        session.carry_out(rest)?;
        Ok((finish(session, boot, Vec::new())?, ()))
    })?;
    Ok(ending)
}

/// What came of a boot; and what it left besides, where it came to its end.
fn ending<T>(
    boot: &Boot<'_>,
    lead: impl FnOnce() -> Result<(Record, T), Trouble>,
) -> Result<(Ending, Option<T>), Failure> {
    cancel::check("boot the next guest")?;
    match lead() {
        Ok((record, more)) => Ok((Ending::Well(Box::new(record)), Some(more))),
        Err(Trouble::Lost(lost)) if lost.cause.is_of_the_kernel() => {
            let read = |name: &str| fs::read(boot.folder.join(name)).ok();
            let log = read("kmsg.txt").or_else(|| read("console.log")).unwrap_or_default();
            Ok((Ending::Died { lost, log: as_text(log) }, None))
        }
        Err(trouble) => Err(trouble.into()),
    }
}

fn lead(boot: &Boot<'_>, save: bool) -> Result<(Record, Option<Saved>), Trouble> {
    let from_boot = boot.steps.iter().any(|step| matches!(step, Step::FromBoot { .. }));
    write(&boot.folder.join("boot.json"), &Asked::of(boot, None))?;
    let mut parameters = boot.parameters.to_owned();
    if from_boot {
        parameters = format!("{parameters} {}", session::witnesses_from_boot(boot.topology));
    }
    let mut guest = Guest::start(&boot.order(parameters.trim()))?;
    if !guest.hello().build.contains(&boot.kernel.id) {
        let attempt = format!("boot the kernel \"{}\"", boot.kernel.name);
        let seen = format!("the guest runs {}, not {}", guest.hello().build, boot.kernel.id);
        let next = "remove the kernel from the store: it is built again";
        return Err(Failure::new(Kind::Guest, attempt, seen, next).into());
    }
    if !from_boot {
        guest.restart_lookout();
    }
    let mut session = Session::new(guest, boot, from_boot);
    witnesses::watch_for_hangs(&mut session)?;
    let mut saved = None;
    match Step::at_first_phase(boot.steps) {
        Some((before, rest)) if save => {
            session.carry_out(before)?;
            let (snapshot, at) = session.save()?;
            saved = Some(Saved { snapshot, at, folder: boot.folder.to_owned() });
            session.carry_out(rest)?;
        }
        _ => session.carry_out(boot.steps)?,
    }
    let table = if from_boot { initcalls::read(&boot.kernel.symbols)? } else { Vec::new() };
    Ok((finish(session, boot, table)?, saved))
}

/// Collects what the guest left, and ends it.
fn finish(mut session: Session<'_>, boot: &Boot<'_>, initcalls: Vec<String>) -> Result<Record, Trouble> {
    let record = session.collect(initcalls)?;
    write(&boot.folder.join("guest.json"), &record.left)?;
    session.end();
    Ok(record)
}

impl Boot<'_> {
    fn order<'a>(&'a self, parameters: &'a str) -> Order<'a> {
        Order {
            kernel: &self.kernel.image,
            initramfs: &self.kernel.initramfs,
            parameters,
            topology: self.topology,
            accelerator: self.accelerator,
            cpus: self.topology.host_cpus(),
            patience: Patience::of(self.accelerator),
            folder: self.folder,
        }
    }
}

impl Asked {
    fn of(boot: &Boot<'_>, fork_of: Option<&Path>) -> Self {
        Self {
            kernel: boot.kernel.name.clone(),
            id: boot.kernel.id.clone(),
            topology: *boot.topology,
            parameters: boot.parameters.to_owned(),
            seed: boot.seed,
            accelerator: boot.accelerator,
            fork_of: fork_of.map(Path::to_owned),
        }
    }
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
    /// The folder of each boot and its kernel, in order. Where a run ends when it is clear, the last ones may not be made.
    pub boots: Vec<(String, String)>,
    /// How often each boot is forked: the folder of a fork is that of its boot with `-fork-<number>` after it.
    #[serde(default)]
    pub forks: usize,
}

impl Plan {
    /// Writes it to the folder of the run.
    ///
    /// # Errors
    /// `Files`.
    pub fn write(&self, run: &Path) -> Result<(), Failure> {
        write(&run.join("plan.json"), self)
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    fs::write(path, json).map_err(|e| Failure::file("write", path, &e))
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
            blind_spots: Vec::new(),
        };
        write(&folder.path().join("guest.json"), &left).unwrap();
        fs::write(folder.path().join("kmsg.txt"), b"6,0,1,-;caf\xc3\xa9 \xff\n").unwrap();
        assert_eq!(Record::load(folder.path()).unwrap().kmsg, "6,0,1,-;caf\u{e9} \u{fffd}\n");
    }

    #[test]
    fn every_round_has_each_kernel_once_and_turns_around() {
        let order: Vec<_> = interleaved(3, 2).collect();
        assert_eq!(order, [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]);
    }
}
