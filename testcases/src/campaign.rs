//! Carries a case out on several kernels, boots interleaved, and reads what each boot says.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use evidence::boot::Boot;
use evidence::memory::Memory;
use evidence::neighbours::Neighbours;
use lab::accelerator::Accelerator;
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
use lab::run::{self, Bootable, Ending, Lineup, Step};
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

impl KernelResult {
    /// What its boots and forks showed, in order.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = |sample: &Sample| Seen { folder: sample.folder.clone(), end: sample.end.clone() };
        self.boots.iter().flat_map(|boot| &boot.samples).map(seen).collect()
    }
}

/// One boot, and the forks of it: the same guest, saved when all was ready, carried on again.
#[derive(Clone, Debug)]
pub struct BootResult {
    /// The boot itself, then its forks.
    pub samples: Vec<Sample>,
}

/// What one guest showed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its folder, relative to that of the run.
    pub folder: String,
    /// What came of it.
    pub end: End,
    /// What a witness could not see, and why.
    pub blind_spots: Vec<String>,
    /// What others took of its CPUs, where that is known.
    pub neighbours: Option<Neighbours>,
    /// What the guest took, where that is known.
    pub memory: Option<Memory>,
}

impl Sample {
    /// What it says of its first phase, the only one of a bench; `None` for a kernel that died.
    pub fn boot(&self) -> Option<&Boot> {
        match &self.end {
            End::Well(phases) => phases.first(),
            End::Died { .. } | End::Refused(_) => None,
        }
    }
}

/// What the boots so far say.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Whether they are enough.
    pub clear: bool,
    /// In a few words, for whoever waits.
    pub told: String,
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
    fn enough(self, done: usize, clear: bool) -> bool {
        match self {
            Self::Just(rounds) => done >= rounds,
            Self::UntilClear { least, most } => done >= most || (done >= least && clear),
        }
    }

    /// How many there will be, for all that is known after so many: one more, where it is not clear.
    fn expected(self, done: usize) -> usize {
        match self {
            Self::Just(rounds) => rounds,
            Self::UntilClear { least, most } => (done + 1).clamp(least, most),
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
    let topology = drawn(case, topology, seed);
    run::carry_out(&ordered(case, &topology, kernel, accelerator, seed, folder))
}

/// The shape of a guest of a case that is booted with this seed.
pub fn drawn(case: &Case, topology: &Topology, seed: u64) -> Topology {
    let mut topology = *topology;
    // Latencies vary where anything is to vary.
    topology.oddities.seed = (case.seeds > 1).then_some(seed);
    topology
}

fn ordered<'a>(
    case: &Case,
    topology: &'a Topology,
    kernel: &'a Bootable,
    accelerator: Accelerator,
    seed: u64,
    folder: &'a Path,
) -> run::Boot<'a> {
    let (steps, parameters) = (case.steps, case.parameters);
    run::Boot { kernel, topology, steps, parameters, seed, accelerator, folder }
}

/// Whether guests of this case can be saved half way, and forked.
pub fn can_fork(case: &Case) -> bool {
    Step::at_first_phase(case.steps).is_some()
}

/// Carries out rounds, in each of which every kernel is booted once, and then each of these boots is forked so often.
/// `standing` says after a round what the boots so far say, and whether they are enough.
///
/// # Errors
/// The failure that ended it. What was finished before is in the folder of the run.
pub fn carry_out(
    case: &Case,
    topology: &Topology,
    lineup: &Lineup,
    rounds: Rounds,
    forks: usize,
    standing: impl Fn(&[KernelResult]) -> Standing,
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
        forks,
    }
    .write(&lineup.run)?;

    let most = if matches!(rounds, Rounds::Just(_)) { "" } else { "until it is clear, at most " };
    let s = if order.len() == 1 { "" } else { "s" };
    let forked = if forks == 0 { String::new() } else { format!(", each forked {forks} times") };
    watch.stage(&format!("boot {most}{} guest{s}{forked}, {}", order.len(), lineup.choice.accelerator));
    let accelerator = lineup.choice.accelerator;
    let circumstances = Circumstances { topology: *topology, host_cores: lab::host::host_cores() };
    let together = run::get_ready_together(kernels, case.steps, topology);
    let mut done = 0;
    let units = if forks == 0 { "guests" } else { "samples" };
    for (number, round) in order.chunks(kernels.max(1)).enumerate() {
        let of = Some((rounds.expected(number) * kernels * (1 + forks)) as u64);
        let mut saved = Vec::new();
        let folders = round
            .iter()
            .map(|(name, _)| run::make_boot_folder(&lineup.run, name))
            .collect::<Result<Vec<_>, _>>()?;
        let boots = round.iter().zip(&folders).map(|((_, place), folder)| {
            ordered(case, topology, &lineup.kernels[*place].1, accelerator, 0, folder)
        });
        watch.count(done, of, units);
        let now = |boots: &[usize]| {
            let names: Vec<String> = boots.iter().map(|boot| name_of(round[*boot].1)).collect();
            watch.now(&names.join(" and "));
        };
        run::carry_out_each(&boots.collect::<Vec<_>>(), together, forks > 0, now, |number, ended| {
            let (name, place) = &round[number];
            let ending = ended.map(|(ending, snapshot)| {
                saved.extend(snapshot.map(|snapshot| (name, *place, snapshot)));
                ending
            });
            results[*place]
                .boots
                .push(BootResult { samples: vec![sample(case, &circumstances, name, ending)?] });
            done += 1;
            watch.count(done, of, units);
            Ok(())
        })?;
        let order: Vec<(String, usize)> = run::interleaved(saved.len(), forks)
            .map(|(fork, at)| (format!("{}-fork-{}", saved[at].0, fork + 1), at))
            .collect();
        let folders: Vec<PathBuf> = order.iter().map(|(name, _)| lineup.run.join(name)).collect();
        let boots = order.iter().zip(&folders).map(|((_, at), folder)| {
            let (_, place, snapshot) = &saved[*at];
            (snapshot, ordered(case, topology, &lineup.kernels[*place].1, accelerator, 0, folder))
        });
        run::carry_on_each(&boots.collect::<Vec<_>>(), |number, ending| {
            let (name, at) = &order[number];
            watch.now(&format!("fork of {}", name_of(saved[*at].1)));
            let sample = sample(case, &circumstances, name, ending)?;
            done += 1;
            watch.count(done, of, units);
            let died = sample.boot().is_none();
            if let Some(boot) = results[saved[*at].1].boots.last_mut() {
                boot.samples.push(sample);
            }
            Ok(if died { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        // A kernel that died is a finding, and may take minutes to die again.
        let samples = results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples);
        let ill = samples.into_iter().any(|sample| sample.boot().is_none());
        let Standing { clear, told } = standing(&results);
        watch.known(&told);
        if ill || rounds.enough(number + 1, clear) {
            break;
        }
    }
    Ok(results)
}

fn sample(
    case: &Case,
    circumstances: &Circumstances,
    name: &str,
    ending: Result<Ending, Failure>,
) -> Result<Sample, Failure> {
    let (blind_spots, neighbours, memory) = match &ending {
        Ok(Ending::Well(record)) => {
            (record.left.blind_spots.clone(), record.left.neighbours.clone(), record.left.memory)
        }
        Ok(Ending::Died { .. }) | Err(_) => (Vec::new(), None, None),
    };
    let end = Seen::of(case, circumstances, name, ending)?.end;
    Ok(Sample { folder: name.to_owned(), end, blind_spots, neighbours, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_when_it_is_clear_but_not_before_the_least_nor_after_the_most() {
        let auto = Rounds::UntilClear { least: 3, most: 30 };
        let last = |rounds: Rounds, clear_after: usize| {
            (1..).find(|done| rounds.enough(*done, *done >= clear_after))
        };
        assert_eq!([1, 3, 7, 99].map(|clear_after| last(auto, clear_after)), [3, 3, 7, 30].map(Some));
        assert_eq!(last(Rounds::Just(5), 1), Some(5));
    }

    #[test]
    fn what_is_expected_of_a_search_that_is_not_clear_is_one_round_more() {
        let auto = Rounds::UntilClear { least: 3, most: 30 };
        assert_eq!([0, 2, 3, 7, 30].map(|done| auto.expected(done)), [3, 3, 4, 8, 30]);
        assert_eq!(Rounds::Just(5).expected(2), 5);
    }
}
