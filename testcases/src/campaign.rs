//! Carries a case out on several kernels, boots interleaved, and reads what each boot says.

use std::path::Path;

use evidence::boot::Boot;
use lab::accelerator::Accelerator;
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run::{self, Bootable, Ending, Lineup};
use lab::watch::Watch;

use crate::case::{Case, Circumstances};
use crate::verdict::{End, Seen};

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
    /// What came of it.
    pub end: End,
    /// What a witness could not see, and why.
    pub blind_spots: Vec<String>,
}

impl BootResult {
    /// What it says of its first phase, the only one of a bench; `None` for a kernel that died.
    pub fn boot(&self) -> Option<&Boot> {
        match &self.end {
            End::Well(phases) => phases.first(),
            End::Died { .. } | End::Refused(_) => None,
        }
    }
}

/// How often each kernel is booted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rounds {
    /// So often.
    Just(usize),
    /// Until it is clear what the boots say.
    UntilClear {
        /// At least so often.
        least: usize,
        /// At most so often, clear or not.
        most: usize,
    },
}

impl Rounds {
    fn most(self) -> usize {
        match self {
            Self::Just(most) | Self::UntilClear { most, .. } => most,
        }
    }

    /// Whether it is enough, after so many rounds.
    fn enough(self, done: usize, clear: impl Fn() -> bool) -> bool {
        match self {
            Self::Just(rounds) => done >= rounds,
            Self::UntilClear { least, most } => done >= most || (done >= least && clear()),
        }
    }
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

/// Carries out rounds, in each of which every kernel is booted once. `clear` says after a round whether the boots so
/// far are enough.
///
/// # Errors
/// The failure that ended it. What was finished before is in the folder of the run.
pub fn carry_out(
    case: &Case,
    topology: &Topology,
    lineup: &Lineup,
    rounds: Rounds,
    clear: impl Fn(&[KernelResult]) -> bool,
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
    let kernels = lineup.kernels.len();
    let order: Vec<(String, usize)> = run::interleaved(kernels, rounds.most())
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
    let (most, of) = match rounds {
        Rounds::Just(_) => ("", Some(total as u64)),
        Rounds::UntilClear { .. } => ("at most ", None),
    };
    let circumstances = Circumstances { topology: *topology, host_cores: lab::host::host_cores() };
    let s = if total == 1 { "" } else { "s" };
    watch.stage(&format!("boot {most}{total} guest{s}, {}", lineup.choice.accelerator));
    for (number, (name, place)) in order.into_iter().enumerate() {
        watch.count(number as u64, of);
        let folder = run::make_boot_folder(&lineup.run, &name)?;
        let choice = &lineup.choice;
        let ending = boot(case, topology, &lineup.kernels[place].1, choice.accelerator, 0, &folder);
        let blind_spots = match &ending {
            Ok(Ending::Well(record)) => record.left.blind_spots.clone(),
            Ok(Ending::Died { .. }) | Err(_) => Vec::new(),
        };
        let end = Seen::of(case, &circumstances, &name, ending)?.end;
        results[place].boots.push(BootResult { folder: name, end, blind_spots });
        let done = number + 1;
        let ill = || results.iter().flat_map(|result| &result.boots).any(|boot| boot.boot().is_none());
        // A kernel that died is a finding, and may take minutes to die again.
        if done % kernels == 0 && (ill() || rounds.enough(done / kernels, || clear(&results))) {
            watch.count(done as u64, of);
            break;
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_when_it_is_clear_but_not_before_the_least_nor_after_the_most() {
        let auto = Rounds::UntilClear { least: 3, most: 30 };
        let last = |rounds: Rounds, clear_after: usize| {
            (1..).find(|done| rounds.enough(*done, || *done >= clear_after))
        };
        assert_eq!([1, 3, 7, 99].map(|clear_after| last(auto, clear_after)), [3, 3, 7, 30].map(Some));
        assert_eq!(last(Rounds::Just(5), 1), Some(5));
    }
}
