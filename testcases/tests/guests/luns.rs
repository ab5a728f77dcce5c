//! LUNs are found wherever they are.

use std::time::Duration;

use lab::guest::topology::Topology;
use lab::run::{self, Boot, Ending, Step};
use libtest_mimic::Trial;

use crate::laboratory;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("luns::behind_a_second_target_are_found".to_owned(), behind_a_second_target)]
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
