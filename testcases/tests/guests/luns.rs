//! LUNs are found wherever they are.

use std::time::Duration;

use lab::guest::topology::Topology;
use lab::run::{self, Boot, Count, Ending, Measured, Step};
use libtest_mimic::Trial;

use crate::forks::facts;
use crate::laboratory;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("luns::behind_a_second_target_are_found".to_owned(), behind_a_second_target),
        trial("luns::go_without_those_that_share_what_is_behind_them".to_owned(), one_of_those_that_share),
    ]
}

/// One HBA has a LUN more than a target can have, the other has not.
fn behind_a_second_target() -> Result<(), Wrong> {
    let (kernel, accelerator) = (laboratory::kernel("mainline")?, laboratory::accelerator()?);
    let (folder, _) = laboratory::folder("luns-mainline")?;
    let boot = Boot {
        kernel: &kernel,
        topology: &Topology::new(2, 2, 2049, Duration::ZERO),
        steps: &[Step::FindLuns],
        parameters: "",
        seed: 0,
        accelerator,
        folder: &folder,
    };
    // That all are found, and no more than there are, is what the step waits for.
    match run::carry_out(&boot)? {
        Ending::Well(_) => Ok(()),
        Ending::Died { lost, .. } => Err(lost.into()),
    }
}

/// All LUNs of an HBA have one device of QEMU behind them. Some are pulled out: the others are read as before.
fn one_of_those_that_share() -> Result<(), Wrong> {
    const SD: Measured = Measured { bus: "scsi", driver: "sd" };
    const LOAD: Step = Step::Load { module: "sd_mod", params: "" };
    const BOUND: Step = Step::AwaitBound { bus: SD.bus, driver: SD.driver, count: Count::Luns };
    let (kernel, accelerator) = (laboratory::kernel("mainline")?, laboratory::accelerator()?);
    let (folder, _) = laboratory::folder("luns-shared-mainline")?;
    let boot = Boot {
        kernel: &kernel,
        topology: &Topology::new(2, 2, 24, Duration::from_millis(5)),
        steps: &[
            Step::FindLuns,
            Step::Unplug { luns: 8 },
            Step::AwaitDevices { bus: SD.bus, count: Count::Luns },
            Step::Phase { name: "probes", of: SD, steps: &[LOAD, BOUND] },
        ],
        parameters: "",
        seed: 0,
        accelerator,
        folder: &folder,
    };
    let facts = facts(run::carry_out(&boot)?)?.facts;
    let seen = (facts.devices, facts.probes, facts.bound, facts.reads_of_one);
    match seen {
        (16, 16, 16, Some((least, _))) if least > 0 => Ok(()),
        _ => Err(format!("16 of 24 LUNs are left, and this was seen of them: {seen:?}").into()),
    }
}
