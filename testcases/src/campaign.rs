//! Carries a case out on several kernels, boots interleaved, and reads what each boot says.

use std::path::Path;

use evidence::boot::Boot;
use lab::accelerator::Accelerator;
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run::{self, Bootable, Ending, Lineup};
use lab::watch::Watch;

use crate::case::Case;

/// The boots of one kernel, in order.
#[derive(Clone, Debug)]
pub struct KernelResult {
    /// Its name.
    pub kernel: String,
    /// How it attaches asynchronous drivers, where that is known.
    pub behaves: Option<Behaviour>,
    /// Its boots.
    pub boots: Vec<BootResult>,
}

/// One boot.
#[derive(Clone, Debug)]
pub struct BootResult {
    /// Its folder, relative to that of the run.
    pub folder: String,
    /// What it says.
    pub boot: Boot,
    /// What a witness could not see, and why.
    pub blind_spots: Vec<String>,
}

/// Carries out one boot of a case, in this shape and with this seed.
///
/// # Errors
/// As [`run::carry_out`].
pub fn boot(
    case: &Case,
    topology: &Topology,
    kernel: &Bootable,
    accelerator: Accelerator,
    seed: u64,
    folder: &Path,
) -> Result<Ending, Failure> {
    let mut topology = *topology;
    // Latencies vary where anything is to vary.
    topology.oddities.seed = (case.seeds > 1).then_some(seed);
    run::carry_out(&run::Boot {
        kernel,
        topology: &topology,
        steps: case.steps,
        parameters: case.parameters,
        seed,
        accelerator,
        folder,
    })
}

/// Carries out `rounds` boots of each kernel.
///
/// # Errors
/// The failure that ended it. What was finished before is in the folder of the run.
pub fn carry_out(
    case: &Case,
    topology: &Topology,
    lineup: &Lineup,
    rounds: usize,
    watch: &dyn Watch,
) -> Result<Vec<KernelResult>, Failure> {
    let mut results: Vec<KernelResult> = lineup
        .kernels
        .iter()
        .map(|(kernel, _)| KernelResult {
            kernel: kernel.name.clone(),
            behaves: kernel.behaves,
            boots: Vec::new(),
        })
        .collect();
    let order: Vec<(String, usize)> = run::interleaved(lineup.kernels.len(), rounds)
        .enumerate()
        .map(|(number, (_, place))| (run::boot_name(number + 1, &lineup.kernels[place].1.name), place))
        .collect();
    let name_of = |place: usize| lineup.kernels[place].1.name.clone();
    run::Plan {
        case: case.name.to_owned(),
        topology: *topology,
        host_cores: lab::host::host_cores(),
        accelerator: lineup.choice.clone(),
        boots: order.iter().map(|(folder, place)| (folder.clone(), name_of(*place))).collect(),
    }
    .write(&lineup.run)?;

    let total = order.len();
    let s = if total == 1 { "" } else { "s" };
    watch.stage(&format!("boot {total} guest{s}, {}", lineup.choice.accelerator));
    for (number, (name, place)) in order.into_iter().enumerate() {
        watch.count(number as u64, Some(total as u64));
        let folder = run::make_boot_folder(&lineup.run, &name)?;
        let choice = &lineup.choice;
        let record =
            boot(case, topology, &lineup.kernels[place].1, choice.accelerator, 0, &folder)?.well()?;
        // A bench is about the first phase: it has one.
        for boot in record.read().into_iter().take(1) {
            let blind_spots = record.left.blind_spots.clone();
            results[place].boots.push(BootResult { folder: name.clone(), boot, blind_spots });
        }
    }
    watch.count(total as u64, Some(total as u64));
    Ok(results)
}
