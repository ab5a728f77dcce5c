//! Kernels to benches that are tests, for machines that share the tests of an archive.
//!
//! Each is whole: a kernel and the one that it is held against, on one machine. Times of two machines are never
//! compared.

use std::time::Instant;

use clap::ValueEnum;
use lab::failure::{Failure, Kind};
use lab::kernel::{Catalogue, Pairs, Recipe, Store, Wanted};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::Document;
use testcases::{DRIVER_AFTER_DEVICES, Rounds, noted};

use super::Plan;
use super::compared::Role;
use crate::cli::{Accel, Forks, as_options, usual};
use crate::workspace;

/// As at night: each says as much as the others.
const ROUNDS: Rounds = Rounds::Just(10);

/// A bench of a kernel and the one that it is held against; of one alone, where there is no other.
#[derive(Clone, Debug)]
pub struct Part {
    kernels: Vec<Recipe>,
    /// How these were asked for.
    wanted: Wanted,
}

/// The benches there are: of the kernels in the archive, or of those that `cargo xtask` names, or of the usual ones.
///
/// # Errors
/// `Asked` for a kernel that cannot be found; `Files`.
pub fn all(watch: &dyn Watch) -> Result<Vec<Part>, Failure> {
    let store = Store::open()?;
    if let Some(kit) = store.kit() {
        return Ok(parts(kit.subjects(), kit.wanted()));
    }
    let wanted = noted::wanted()?;
    let catalogue = Catalogue::read(&workspace().join("kernel-configs"))?;
    Ok(parts(&wanted.recipes(&catalogue, store.root(), watch)?, &wanted))
}

/// Each kernel with patches against itself without; where there are no patches, each against the first. Kernels of which
/// none is what the claim is about are not compared.
fn parts(pairs: &Pairs, wanted: &Wanted) -> Vec<Part> {
    let Pairs { plain, patched } = pairs;
    let of = |numbers: &[usize], kernels: Vec<Recipe>| {
        let names = numbers.iter().filter_map(|number| wanted.kernels.get(*number)).cloned().collect();
        let behaves = match &wanted.behaves[..] {
            // It may have been said of others: of these it would be refused.
            [one] => {
                kernels.iter().find_map(|kernel| kernel.behaves.filter(|of| of == one)).into_iter().collect()
            }
            of_each if patched.is_empty() => {
                numbers.iter().filter_map(|number| of_each.get(*number).copied()).collect()
            }
            of_a_patch => of_a_patch.to_vec(),
        };
        Part { kernels, wanted: Wanted { kernels: names, behaves, ..wanted.clone() } }
    };
    let all: Vec<Part> = match (&plain[..], &patched[..]) {
        ([alone], []) => vec![of(&[0], vec![alone.clone()])],
        ([first, others @ ..], []) => {
            let others = others.iter().enumerate();
            others.map(|(at, other)| of(&[0, at + 1], vec![first.clone(), other.clone()])).collect()
        }
        (plain, patched) => {
            let pairs = plain.iter().zip(patched).enumerate();
            pairs.map(|(at, (plain, patched))| of(&[at], vec![plain.clone(), patched.clone()])).collect()
        }
    };
    all.into_iter().filter(Part::is_tested).collect()
}

impl Part {
    /// Its name among the tests.
    pub fn name(&self) -> String {
        format!("bench::{}", self.kernels.last().map_or("", |kernel| kernel.name.as_str()))
    }

    /// Whether one of its kernels is what the claim is about.
    fn is_tested(&self) -> bool {
        let case = &DRIVER_AFTER_DEVICES;
        let about = |kernel: &Recipe| {
            kernel.behaves.is_none_or(|behaves| Role::of(case, behaves) == Some(Role::Candidate))
        };
        self.kernels.iter().any(about)
    }

    /// Which are held against each other.
    fn compared(&self) -> Vec<(String, String)> {
        match &self.kernels[..] {
            [first, other] => vec![(first.name.clone(), other.name.clone())],
            _ => Vec::new(),
        }
    }

    /// How often each of its boots is forked.
    fn forks(&self) -> usize {
        Forks::Auto.number(&DRIVER_AFTER_DEVICES, &self.compared(), &self.kernels)
    }

    /// The command that repeats it, with every default spelt out.
    fn command(&self, accel: Accel) -> String {
        let guests = super::guests_as_options(&usual(2), ROUNDS, Forks::Just(self.forks()), accel);
        format!("cargo xtask bench {} {guests}", as_options(&self.wanted))
    }

    /// Carries it out, in the folder of the run.
    ///
    /// # Errors
    /// As `cargo xtask bench`.
    pub fn carry_out(&self, watch: &dyn Watch) -> Result<Document, Failure> {
        let begun = Instant::now();
        let accel = std::env::var("PARPROBE_ACCEL").map_or(Ok(Accel::Auto), |accel| {
            let next = "set PARPROBE_ACCEL to auto, kvm or tcg";
            Accel::from_str(&accel, false)
                .map_err(|e| Failure::new(Kind::Asked, "choose an accelerator", e, next))
        })?;
        let runs = noted::run().map_err(|e| {
            Failure::new(Kind::Asked, "find the folder of a run", e.to_string(), "name another")
        })?;
        let case = &DRIVER_AFTER_DEVICES;
        let lineup = Lineup::of(
            &Request {
                workspace: &workspace(),
                recipes: &self.kernels,
                modules: Carried::These(&case.modules()),
                wish: accel.into(),
                setup: false,
                place: Place::Dated { runs: runs.unwrap_or_else(|| workspace().join("runs")), kind: "bench" },
            },
            watch,
        )?;
        let plan = Plan {
            case,
            topology: &usual(2),
            rounds: ROUNDS,
            forks: self.forks(),
            compared: self.compared(),
            command: &self.command(accel),
            begun,
        };
        super::carry_out(&plan, &lineup, watch)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lab::kernel::{Behaviour, Patch};

    use super::*;

    fn pairs(names: &[&str], patched: bool) -> (Pairs, Wanted) {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        let plain: Vec<Recipe> = names.iter().map(|name| catalogue.recipe(name).unwrap()).collect();
        let patch = Patch::file("a.patch".into());
        let with = |kernel: &Recipe| kernel.patched(std::slice::from_ref(&patch)).unwrap();
        let patched: Vec<Recipe> = plain.iter().filter(|_| patched).map(with).collect();
        let wanted = Wanted {
            kernels: names.iter().map(|name| (*name).to_owned()).collect(),
            patches: patched.first().map(|_| "a.patch".into()).into_iter().collect(),
            ..Wanted::default()
        };
        (Pairs { plain, patched }, wanted)
    }

    /// The parts, each with the kernels and forks of the command that repeats it.
    fn told(names: &[&str], patched: bool) -> Vec<(String, Vec<String>, String)> {
        let (pairs, wanted) = pairs(names, patched);
        let told = |part: &Part| {
            let kernels = part.kernels.iter().map(|kernel| kernel.name.clone()).collect();
            let command = part.command(Accel::Tcg);
            let (kernels_and_patches, guests) = command.split_once(" --nodes").unwrap();
            let forks = guests.split_once("--forks").unwrap().1.split_whitespace().next().unwrap();
            (part.name(), kernels, format!("{kernels_and_patches} … {forks}"))
        };
        parts(&pairs, &wanted).iter().map(told).collect()
    }

    #[test]
    fn each_kernel_is_held_against_the_first_and_the_command_repeats_just_that() {
        let part = |name: &str, kernels: [&str; 2], command: &str| {
            (
                format!("bench::{name}"),
                kernels.map(str::to_owned).to_vec(),
                format!("cargo xtask bench {command}"),
            )
        };
        assert_eq!(
            told(&["without", "with", "mainline"], false),
            [
                part("with", ["without", "with"], "--kernels without,with … 0"),
                part("mainline", ["without", "mainline"], "--kernels without,mainline … 0"),
            ]
        );
        // As fast as the first: forks narrow the interval.
        assert_eq!(
            told(&["with", "mainline"], false),
            [part("mainline", ["with", "mainline"], "--kernels with,mainline … 3")]
        );
    }

    #[test]
    fn a_patched_kernel_is_held_against_itself() {
        let told = told(&["mainline", "with"], true);
        let commands: Vec<&str> = told.iter().map(|(_, _, command)| command.as_str()).collect();
        assert_eq!(
            commands,
            [
                "cargo xtask bench --kernels mainline --patch a.patch … 3",
                "cargo xtask bench --kernels with --patch a.patch … 3",
            ]
        );
        assert!(
            told.iter().all(|(name, kernels, _)| kernels.len() == 2 && name.contains(kernels[1].as_str()))
        );
    }

    #[test]
    fn what_is_said_of_one_kernel_is_in_the_command_for_no_others() {
        let (mut pairs, wanted) = pairs(&["without", "with", "mainline"], false);
        let near = Behaviour::NearNode;
        pairs.plain[2].behaves = Some(near);
        let said = |behaves: &[Behaviour]| -> Vec<Vec<Behaviour>> {
            let wanted = Wanted { behaves: behaves.to_vec(), ..wanted.clone() };
            parts(&pairs, &wanted).into_iter().map(|part| part.wanted.behaves).collect()
        };
        assert_eq!(said(&[near]), [vec![], vec![near]]);
        let of_each = [Behaviour::PerDriver, Behaviour::PerDevice, near];
        assert_eq!(said(&of_each), [of_each[..2].to_vec(), vec![of_each[0], near]]);
    }

    #[test]
    fn kernels_that_the_claim_is_not_about_are_not_compared() {
        assert!(told(&["without", "without-6.12"], false).is_empty());
        assert!(told(&["without"], false).is_empty());
        assert_eq!(told(&["with"], false).len(), 1);
    }
}
