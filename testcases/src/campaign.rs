//! Carries a case out on several kernels, boots interleaved, and reads what each boot says.

use evidence::boot::Boot;
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::run::{self, Lineup};
use lab::watch::Watch;

use crate::cases::Case;

/// The boots of one kernel, in order.
#[derive(Clone, Debug)]
pub struct KernelResult {
    /// Its name.
    pub kernel: String,
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
        .map(|(kernel, _)| KernelResult { kernel: kernel.name.clone(), boots: Vec::new() })
        .collect();
    let total = lineup.kernels.len() * rounds;
    watch.stage(&format!("boot {total} guests, {}", lineup.choice.accelerator));
    for (number, (_, place)) in run::interleaved(lineup.kernels.len(), rounds).enumerate() {
        watch.count(number as u64, Some(total as u64));
        let (_, bootable) = &lineup.kernels[place];
        let folder = run::boot_folder(&lineup.run, number + 1, &bootable.name)?;
        let record = run::carry_out(&run::Boot {
            kernel: bootable,
            topology,
            steps: case.steps,
            accelerator: lineup.choice.accelerator,
            folder: &folder,
        })?;
        let relative = folder.strip_prefix(&lineup.run).unwrap_or(&folder);
        results[place].boots.push(BootResult {
            folder: relative.display().to_string(),
            boot: record.read(),
            blind_spots: record.left.blind_spots,
        });
    }
    watch.count(total as u64, Some(total as u64));
    Ok(results)
}
