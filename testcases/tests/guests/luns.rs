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
        trial(
            "luns::are_read_while_others_of_their_device_are_pulled_out".to_owned(),
            pulled_out_of_a_shared_device,
        ),
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

/// All LUNs of an HBA have one device of QEMU behind them. Some are pulled out while that is read: the others are bound
/// as if they were alone.
fn pulled_out_of_a_shared_device() -> Result<(), Wrong> {
    const SD: Measured = Measured { bus: "scsi", driver: "sd" };
    const BEGUN: Step = Step::AwaitBound { bus: SD.bus, driver: SD.driver, count: Count::AtLeast(1) };
    const BOUND: Step = Step::AwaitBound { bus: SD.bus, driver: SD.driver, count: Count::Luns };
    const STEPS: &[Step] = &[
        Step::BeginLoad { module: "sd_mod", params: "" },
        BEGUN,
        Step::Unplug { luns: 8 },
        Step::Finish,
        Step::AwaitDevices { bus: SD.bus, count: Count::Luns },
        BOUND,
    ];
    let (kernel, accelerator) = (laboratory::kernel("mainline")?, laboratory::accelerator()?);
    let (folder, _) = laboratory::folder("luns-shared-mainline")?;
    let boot = Boot {
        kernel: &kernel,
        topology: &Topology::new(2, 2, 40, Duration::from_millis(20)),
        steps: &[Step::FindLuns, Step::Phase { name: "probes", of: SD, steps: STEPS }],
        parameters: "",
        seed: 0,
        accelerator,
        folder: &folder,
    };
    let facts = facts(run::carry_out(&boot)?)?.facts;
    let seen = (facts.devices, facts.bound, facts.reads_of_one);
    match seen {
        (32, 32, Some((least, _))) if least > 0 => Ok(()),
        _ => Err(format!("32 of 40 LUNs are left, and this was seen of them: {seen:?}").into()),
    }
}
