//! A guest that was saved is carried on as often as asked for, and shows each time what its boot shows.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use evidence::boot::{Boot, Facts};
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::run::{self, Bootable, Ending, Saved};
use libtest_mimic::Trial;
use testcases::DRIVER_AFTER_DEVICES;

use crate::laboratory;
use crate::neighbours::qemu_of;
use crate::outcome::{Wrong, trial};

/// What is carried on. LUNs so few that the guest is quick, and so many that they spread.
const LUNS: u32 = 16;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("forks::show_what_their_boot_shows".to_owned(), show_what_their_boot_shows),
        trial("forks::stop_when_told_to".to_owned(), stop_when_told_to),
        trial("forks::a_state_cut_short_is_no_fault_of_the_kernel".to_owned(), a_state_cut_short),
    ]
}

/// What every boot here has.
pub(crate) struct Ordered {
    pub(crate) kernel: Bootable,
    pub(crate) topology: Topology,
}

impl Ordered {
    pub(crate) fn new() -> Result<Self, Wrong> {
        let topology = Topology { luns: LUNS, ..DRIVER_AFTER_DEVICES.topology };
        Ok(Self { kernel: laboratory::kernel("mainline")?, topology })
    }

    pub(crate) fn boot<'a>(&'a self, folder: &'a Path) -> Result<run::Boot<'a>, Wrong> {
        let (steps, parameters) = (DRIVER_AFTER_DEVICES.steps, DRIVER_AFTER_DEVICES.parameters);
        let (kernel, topology) = (&self.kernel, &self.topology);
        let accelerator = laboratory::accelerator()?;
        Ok(run::Boot { kernel, topology, steps, parameters, seed: 0, accelerator, folder })
    }

    /// A guest that was saved, what its boot showed, and folders for forks of it.
    fn saved(&self, name: &str, forks: usize) -> Result<(Saved, Boot, Vec<PathBuf>), Wrong> {
        let (folder, _) = laboratory::folder(name)?;
        let (ending, saved) = run::carry_out_and_save(&self.boot(&folder)?)?;
        let folders = (0..forks).map(|_| Ok(laboratory::folder(&format!("{name}-fork"))?.0));
        Ok((saved.ok_or("it was not saved")?, facts(ending)?, folders.collect::<Result<_, Failure>>()?))
    }
}

fn show_what_their_boot_shows() -> Result<(), Wrong> {
    let ordered = Ordered::new()?;
    let (saved, boot, folders) = ordered.saved("forks", 2)?;
    let forks: Vec<_> =
        folders.iter().map(|folder| Ok((&saved, ordered.boot(folder)?))).collect::<Result<_, Wrong>>()?;
    let (mut boots, mut numbers) = (vec![boot], Vec::new());
    let mut wrong = None;
    run::carry_on_each(&forks, |number, ending| {
        numbers.push(number);
        match facts(ending?) {
            Ok(boot) => boots.push(boot),
            Err(e) => wrong = Some(e),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    if numbers != [0, 1] {
        return Err(format!("of 2 forks these were carried on: {numbers:?}").into());
    }
    let same = |facts: &Facts| (facts.devices, facts.probes, facts.bound, facts.probes_of_one);
    for boot in &boots {
        if let Some(doubt) = boot.doubt() {
            return Err(Wrong::Inconclusive(doubt));
        }
        if same(&boot.facts) != (LUNS as usize, LUNS as usize, LUNS as usize, (1, 1)) {
            return Err(format!("not each of {LUNS} LUNs was probed once: {:?}", boot.facts).into());
        }
    }
    // They begin at the same instant of the guest's clock, and each goes its own way from there.
    let makespans: Vec<_> = boots.iter().map(|boot| boot.facts.makespan).collect();
    if makespans[0] == makespans[1] && makespans[1] == makespans[2] {
        return Err(format!("they are one guest, and not three: {makespans:?}").into());
    }
    Ok(())
}

/// Whoever is told of a fork says whether to go on, and the one that was begun meanwhile is gone.
fn stop_when_told_to() -> Result<(), Wrong> {
    let ordered = Ordered::new()?;
    let (saved, _, folders) = ordered.saved("forks-ended", 2)?;
    let forks: Vec<_> =
        folders.iter().map(|folder| Ok((&saved, ordered.boot(folder)?))).collect::<Result<_, Wrong>>()?;
    let mut told = 0;
    run::carry_on_each(&forks, |_, ending| {
        told += 1;
        ending.map(|_| ControlFlow::Break(()))
    })?;
    let (begun, left) = (folders[1].join("boot.json").exists(), qemu_of(&folders[1]));
    match (told, begun, left) {
        (1, true, None) => Ok(()),
        (told, begun, left) => {
            Err(format!("told of {told} forks; the next one begun: {begun}, and still there: {left:?}")
                .into())
        }
    }
}

fn a_state_cut_short() -> Result<(), Wrong> {
    let ordered = Ordered::new()?;
    let (saved, _, folders) = ordered.saved("forks-cut", 1)?;
    let parent = fs::canonicalize(folders[0].with_file_name(""))?;
    let state = state_in(&parent, "forks-cut")?.ok_or("no open file without a name is in the folder")?;
    state.set_len(state.metadata()?.len() / 2)?;
    let mut seen = None;
    run::carry_on_each(&[(&saved, ordered.boot(&folders[0])?)], |_, ending| {
        seen = Some(ending);
        Ok(ControlFlow::Break(()))
    })?;
    match seen {
        Some(Err(failure)) if failure.kind == Kind::Guest && failure.attempt.contains("restore") => Ok(()),
        other => Err(format!("half a state was restored, and this came of it: {other:?}").into()),
    }
}

/// The file without a name that is open in the folder of this boot: the saved state.
fn state_in(run: &Path, name: &str) -> Result<Option<File>, Wrong> {
    for open in fs::read_dir("/proc/self/fd")? {
        let open = open?.path();
        let Ok(target) = fs::read_link(&open) else { continue };
        let target = target.display().to_string();
        if target.starts_with(&run.display().to_string())
            && target.contains(&format!("-{name}/"))
            && target.ends_with(" (deleted)")
        {
            return Ok(Some(File::options().write(true).open(open)?));
        }
    }
    Ok(None)
}

pub(crate) fn facts(ending: Ending) -> Result<Boot, Wrong> {
    match ending {
        Ending::Well(record) => record.read(&[]).pop().ok_or_else(|| "no phase".into()),
        Ending::Died { lost, .. } => Err(lost.into()),
    }
}
