//! Benches as tests, for machines that share the tests of an archive: one for each kernel that is held against the
//! first. Each is whole, with the first kernel in it: times of two machines are never compared.

use std::time::Instant;

use clap::{Parser, ValueEnum};
use evidence::judge::Outcome;
use lab::failure::{Failure, Kind};
use lab::kernel::{Catalogue, Recipe, Store, Wanted};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{Document, TestResult};
use testcases::{DRIVER_AFTER_DEVICES, noted};

use crate::cli::{Accel, BenchArguments, Cli, Verb, as_options};
use crate::{bench, workspace};

/// A bench of two kernels; of one, where there is no other.
pub struct Bench {
    kernels: Vec<Recipe>,
    wanted: Wanted,
    arguments: BenchArguments,
}

/// The benches there are: of the kernels in the archive, or of those that `cargo xtask` names, or of the usual ones.
///
/// # Errors
/// `Asked` for a kernel that cannot be found; `Files`.
pub fn all(watch: &dyn Watch) -> Result<Vec<Bench>, Failure> {
    let store = Store::open()?;
    let (wanted, kernels) = match store.kit() {
        Some(kit) => (kit.wanted().clone(), kit.benched().to_vec()),
        None => {
            let wanted = asked_for()?;
            let catalogue = Catalogue::read(&workspace().join("kernel-configs"))?;
            let kernels = wanted.recipes(&catalogue, store.root(), watch)?.all();
            (wanted, kernels)
        }
    };
    let Some((first, others)) = kernels.split_first() else { return Ok(Vec::new()) };
    let alone = others.is_empty().then(|| vec![first.clone()]);
    let pairs = others.iter().map(|other| vec![first.clone(), other.clone()]);
    let bench = |kernels| Ok(Bench { kernels, wanted: wanted.clone(), arguments: arguments()? });
    alone.into_iter().chain(pairs).map(bench).collect()
}

fn asked_for() -> Result<Wanted, Failure> {
    match std::env::var("PARPROBE_KERNELS") {
        Ok(text) => serde_json::from_str(&text).map_err(|e| {
            let next = "start the tests with `cargo xtask`";
            Failure::new(Kind::Asked, "read PARPROBE_KERNELS", e.to_string(), next)
        }),
        Err(_) => Ok(Wanted {
            kernels: crate::cli::EVERY_KIND.split(',').map(str::to_owned).collect(),
            ..Wanted::default()
        }),
    }
}

/// Guests as those of `cargo xtask bench`. Ten rounds, as at night: each run says as much as the others.
fn arguments() -> Result<BenchArguments, Failure> {
    let attempt = "choose the guests of a bench";
    let cli = Cli::try_parse_from(["xtask", "bench", "--boots", "10"])
        .map_err(|e| Failure::new(Kind::Asked, attempt, e.to_string(), "this is a fault of parprobe"))?;
    let Verb::Bench(mut arguments) = cli.verb else {
        return Err(Failure::new(Kind::Asked, attempt, "it is no bench", "this is a fault of parprobe"));
    };
    if let Ok(accel) = std::env::var("PARPROBE_ACCEL") {
        arguments.accel = Accel::from_str(&accel, false).map_err(|e| {
            let next = "set PARPROBE_ACCEL to auto, kvm or tcg";
            Failure::new(Kind::Asked, "choose an accelerator", e, next)
        })?;
    }
    Ok(arguments)
}

impl Bench {
    /// Its name among the tests.
    pub fn name(&self) -> String {
        format!("bench::{}", self.kernels.last().map_or("", |kernel| kernel.name.as_str()))
    }

    /// Carries it out, in the folder of the run.
    ///
    /// # Errors
    /// As `cargo xtask bench`.
    pub fn carry_out(&self, watch: &dyn Watch) -> Result<Document, Failure> {
        let Self { kernels, wanted, arguments } = self;
        let begun = Instant::now();
        let unusable = |e: std::io::Error| {
            Failure::new(Kind::Asked, "make the folder of a run", e.to_string(), "name another one")
        };
        let case = &DRIVER_AFTER_DEVICES;
        let topology = arguments.topology();
        let lineup = Lineup::of(
            &Request {
                workspace: &workspace(),
                recipes: kernels,
                modules: Carried::These(&case.modules()),
                wish: arguments.accel.into(),
                setup: false,
                place: Place::Dated {
                    runs: noted::run().map_err(unusable)?.unwrap_or_else(|| workspace().join("runs")),
                    kind: "bench",
                },
            },
            watch,
        )?;
        let BenchArguments { boots, forks, accel, .. } = *arguments;
        let guests = bench::guests_as_options(&topology, boots, forks, accel);
        let plan = bench::Plan {
            case,
            topology: &topology,
            rounds: boots,
            forks: forks.number(case, kernels),
            command: &format!("cargo xtask bench {} {guests}", as_options(wanted)),
            begun,
        };
        bench::carry_out(&plan, &lineup, watch)
    }
}

/// What a test has shown whose claims came to this.
pub fn result_of(outcome: Outcome) -> TestResult {
    match outcome {
        Outcome::Supported => TestResult::Passed,
        Outcome::Refuted => TestResult::Failed,
        Outcome::Inconclusive | Outcome::NotRun => TestResult::Inconclusive,
    }
}
