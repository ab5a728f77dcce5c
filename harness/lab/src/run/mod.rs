//! Carries out the boots of a run and writes down what they left, one folder a boot.

mod folder;
mod forks;
mod kept;
mod lineup;
mod plan;
mod record;
mod round;
mod session;
mod steps;
mod witnesses;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;
use crate::cancel;
use crate::cores::{self, Lease};
use crate::failure::{Failure, Kind};
use crate::guest::topology::Topology;
use crate::guest::{self, Guest, Lost, Order, Patience, Trouble, Walls};
use crate::kernel::initcalls;
use record::as_text;
use round::Turn;
use session::Session;

pub use folder::{Place, boot_name, make_boot_folder, unfinished};
pub use forks::{Saved, carry_on_each};
pub use kept::Kept;
pub use lineup::{Bootable, Carried, Lineup, Request};
pub use plan::{Plan, interleaved};
pub use record::{Left, Phase, Record};
pub use round::{carry_out_each, get_ready_together};
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
    /// The folder for its files; it exists, unless the boot is a fork.
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
    /// What the guest was not shut off from the host by, and why.
    #[serde(default)]
    pub open: Vec<String>,
    /// How many guests got ready beside it, on the same CPUs.
    #[serde(default)]
    pub beside: usize,
    /// The folder of the boot that was saved, where this one goes on from there.
    #[serde(default)]
    pub fork_of: Option<PathBuf>,
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

/// Carries out one boot.
///
/// # Errors
/// `Guest` where a step cannot be done or the agent fails, `Host` without QEMU, `Files`, `Interrupted`. What the
/// guest left until then is in the folder.
pub fn carry_out(boot: &Boot<'_>) -> Result<Ending, Failure> {
    let (ending, _) = carry_out_on(boot, own_cpus(boot)?, false, None)?;
    Ok(ending)
}

/// Carries out one boot, and saves its guest on the way, where its first phase begins: `None` where it died, or where
/// the steps have no such place ([`Step::at_first_phase`]).
///
/// # Errors
/// As [`carry_out`]; `Guest` where QEMU does not save it.
pub fn carry_out_and_save(boot: &Boot<'_>) -> Result<(Ending, Option<Saved>), Failure> {
    carry_out_on(boot, own_cpus(boot)?, true, None)
}

/// Carries out one boot on these CPUs, where its guest may be saved on the way. Before its first phase it waits for its
/// turn, where it has one to wait for.
fn carry_out_on(
    boot: &Boot<'_>,
    cpus: Arc<Lease>,
    save: bool,
    turn: Option<&Turn<'_>>,
) -> Result<(Ending, Option<Saved>), Failure> {
    let (ending, saved) = ending(boot, || lead(boot, cpus, save, turn))?;
    Ok((ending, saved.flatten()))
}

fn own_cpus(boot: &Boot<'_>) -> Result<Arc<Lease>, Failure> {
    Ok(Arc::new(cores::lease(boot.topology.host_cpus())?))
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

fn lead(
    boot: &Boot<'_>,
    cpus: Arc<Lease>,
    save: bool,
    turn: Option<&Turn<'_>>,
) -> Result<(Record, Option<Saved>), Trouble> {
    write(
        &boot.folder.join("boot.json"),
        &Asked { beside: turn.map_or(0, Turn::others), ..Asked::of(boot, None) },
    )?;
    let start = || {
        // Where another guest of its round has failed, nobody wants it.
        turn.map_or(Ok(()), Turn::check)?;
        begin(boot, Arc::clone(&cpus))
    };
    let (ready, crashes) = guest::start_again(boot.folder, start)?;
    go_on(boot, ready, &crashes, save, turn).map_err(guest::in_start(&crashes))
}

/// Leads a guest on from where what is measured begins, and with what is still under way there. `crashes` is how QEMU
/// failed before.
fn go_on(
    boot: &Boot<'_>,
    (mut session, under_way): (Session<'_>, Option<String>),
    crashes: &[String],
    save: bool,
    turn: Option<&Turn<'_>>,
) -> Result<(Record, Option<Saved>), Trouble> {
    let tell = |session: &mut Session<'_>| {
        for how in crashes {
            session.blind_to(format!("an earlier start of this boot: {how}"));
        }
    };
    let mut saved = None;
    match Step::at_first_phase(boot.steps) {
        Some((_, rest)) => {
            turn.map_or(Ok(()), Turn::check)?;
            if save {
                let (snapshot, at) = session.save()?;
                saved = Some(Saved { snapshot, at, folder: boot.folder.to_owned() });
            }
            if let Some(turn) = turn {
                session.await_turn(turn, under_way)?;
            }
            // Not before: its forks were not started again.
            tell(&mut session);
            session.carry_out(rest)?;
        }
        None => {
            tell(&mut session);
            session.carry_out(boot.steps)?;
        }
    }
    let table = match &boot.kernel.symbols {
        Some(symbols) if Step::look_from_boot(boot.steps) => initcalls::read(symbols)?,
        _ => Vec::new(),
    };
    Ok((finish(session, boot, table)?, saved))
}

/// Boots a guest and leads it to where what is measured begins, with what is still under way there. Where the steps have
/// no such place, to where they begin.
fn begin<'a>(boot: &'a Boot<'_>, cpus: Arc<Lease>) -> Result<(Session<'a>, Option<String>), Trouble> {
    let from_boot = Step::look_from_boot(boot.steps);
    let mut parameters = boot.parameters.to_owned();
    if from_boot {
        parameters = format!("{parameters} {}", session::witnesses_from_boot(boot.topology));
    }
    let mut guest = Guest::start_once(&boot.order(parameters.trim()), cpus)?;
    let hello = guest.hello();
    let (runs, wanted) = match boot.kernel.image.own {
        true => (&hello.build, &boot.kernel.id),
        false => (&hello.release, &boot.kernel.release),
    };
    if !runs.contains(wanted) {
        let attempt = format!("boot the kernel \"{}\"", boot.kernel.name);
        let seen = format!("the guest runs {runs}, not {wanted}");
        let next = "remove the kernel from the store: it is built again";
        return Err(Failure::new(Kind::Guest, attempt, seen, next).into());
    }
    if !from_boot {
        guest.restart_lookout();
    }
    let mut session = Session::new(guest, boot, from_boot);
    witnesses::watch_for_hangs(&mut session)?;
    let under_way = match Step::at_first_phase(boot.steps) {
        Some((before, _)) => {
            session.carry_out(before)?;
            session.get_ready()?
        }
        None => None,
    };
    Ok((session, under_way))
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
            open: Walls::of_host().open(),
            beside: 0,
            fork_of: fork_of.map(Path::to_owned),
        }
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).unwrap_or_default();
    fs::write(path, json).map_err(|e| Failure::file("write", path, &e))
}
