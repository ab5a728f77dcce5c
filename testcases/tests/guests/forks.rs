//! A guest that was saved is carried on as often as asked for, and shows each time what its boot shows.

use evidence::boot::{Boot, Facts};
use lab::run::{self, Ending};
use libtest_mimic::{Failed, Trial};
use testcases::{Case, DRIVER_AFTER_DEVICES};

use crate::laboratory;

/// What is carried on. LUNs so few that the guest is quick, and so many that they spread.
const LUNS: u32 = 16;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("forks::show_what_their_boot_shows", show_what_their_boot_shows)]
}

fn show_what_their_boot_shows() -> Result<(), Failed> {
    let case: &Case = &DRIVER_AFTER_DEVICES;
    let kernel = laboratory::kernel("mainline")?;
    let accelerator = laboratory::accelerator()?;
    let topology = lab::guest::topology::Topology { luns: LUNS, ..case.topology };
    let (folder, _) = laboratory::folder("forks")?;
    let (kernel, topology) = (&kernel, &topology);
    let boot = run::Boot {
        kernel,
        topology,
        steps: case.steps,
        parameters: case.parameters,
        seed: 0,
        accelerator,
        folder: &folder,
    };
    let (ending, saved) = run::carry_out_and_save(&boot)?;
    let saved = saved.ok_or("it was not saved")?;
    let mut boots = vec![facts(ending)?];
    let mut measured = 0;
    for _ in 0..2 {
        let (folder, _) = laboratory::folder("forks-fork")?;
        let boot = run::Boot { folder: &folder, ..boot.clone() };
        boots.push(facts(run::carry_on(run::fork(&saved, &boot)?, &boot, &mut || measured += 1)?)?);
    }
    if measured != 2 {
        return Err(format!("of 2 forks {measured} said that they were measured").into());
    }
    let same = |facts: &Facts| (facts.devices, facts.probes, facts.bound, facts.probes_of_one);
    for boot in &boots {
        if let Some(doubt) = boot.doubt() {
            return Err(format!("one cannot tell: {doubt}").into());
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

fn facts(ending: Ending) -> Result<Boot, Failed> {
    match ending {
        Ending::Well(record) => record.read(&[]).pop().ok_or_else(|| "no phase".into()),
        Ending::Died { lost, .. } => Err(format!("it died: {}", lost.cause).into()),
    }
}
