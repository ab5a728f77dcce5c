//! `bisect step`: one kernel to an exit code, for people who run `git bisect run` themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use evidence::certainty::Tally;
use lab::failure::{Failure, Kind};
use lab::kernel::{Catalogue, Store, Wanted};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;

use super::examine::{Bench, Boots, Found};
use super::guests::Guests;
use super::question::{Expected, Fault, Question};
use crate::cli::{StepArguments, Symptom};
use crate::exit;
use crate::screen::{complain, print};

/// Where nobody can tell (git-bisect(1), "Bisect run").
const SKIP: u8 = 125;
/// From here on `git bisect run` gives up (git-bisect(1)): what is added to the code of a failure that is not the
/// kernel's.
const STOP: u8 = 128;
/// How a Rust program ends that panicked.
const PANICKED: u8 = 101;

pub(super) fn run(arguments: &StepArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    Ok(guarded(|| match examine(arguments, workspace, watch) {
        Ok(found) => {
            let (word, code) = match found.bad {
                Some(false) => ("good", exit::SUPPORTED),
                Some(true) => ("bad", exit::REFUTED),
                None => ("skip", SKIP),
            };
            print(&format!("{word}: {}\n", found.why));
            code
        }
        Err(failure) => {
            complain(&format!("error: {failure}"));
            code_of(failure.kind)
        }
    }))
}

/// A panic would end us with 101, which blames the commit.
fn guarded(step: impl FnOnce() -> u8) -> u8 {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or(STOP + PANICKED)
}

/// What `git bisect run` is to do after a failure.
fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Build | Kind::Series | Kind::Guest | Kind::Refused => SKIP,
        Kind::Asked | Kind::Host | Kind::Files | Kind::Interrupted => stop_code(kind),
    }
}

/// The code that stops `git bisect run` after a failure of this kind.
pub(crate) fn stop_code(kind: Kind) -> u8 {
    // That of Ctrl-C does so already.
    STOP | kind.exit_code()
}

/// What is expected of every kernel alone is less than the case claims: without the rest a kernel that breaks the claim
/// would be good.
fn refuse_unknown_behaviour(arguments: &StepArguments, question: Question) -> Result<(), Failure> {
    let judged_alone = arguments.question.metric.is_some() || arguments.symptom == Symptom::Died;
    if judged_alone || arguments.question.behaves.is_some() || !question.case.depends_on_behaviour() {
        return Ok(());
    }
    let attempt = format!("judge a kernel by the case \"{}\"", question.case.name);
    let seen = "what it expects depends on how a good kernel behaves, and nothing says so";
    let next =
        "say it: --behaves per-driver, per-device, per-node or near-node; or ask for deaths: --symptom died";
    Err(Failure::new(Kind::Asked, attempt, seen, next))
}

fn examine(arguments: &StepArguments, workspace: &Path, watch: &dyn Watch) -> Result<Found, Failure> {
    let question = Question::of(&arguments.question)?;
    refuse_unknown_behaviour(arguments, question)?;
    let no_other = || {
        let next = "name it: --against KERNEL, a name or a place as for `bench --kernels`";
        Failure::new(Kind::Asked, "compare a time", "there is no kernel to compare with", next)
    };
    if arguments.question.metric.is_some() && arguments.against.is_none() {
        return Err(no_other());
    }
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let tree = arguments.tree.canonicalize().map_err(|e| Failure::named_file("find", &arguments.tree, &e))?;
    let folder = std::env::current_dir().unwrap_or_default();
    let mut kernels = vec![tree.display().to_string()];
    kernels.extend(arguments.against.clone());
    let wanted = Wanted { folder, kernels, ..Wanted::default() };
    let recipes = wanted.recipes(&catalogue, Store::open()?.root(), watch)?.plain;
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: &recipes,
            modules: Carried::Any(&question.case.modules()),
            wish: arguments.question.accel.into(),
            setup: false,
            place: Place::Dated { runs: workspace.join("runs"), kind: "step" },
        },
        watch,
    )?;
    let kernels: Vec<_> = lineup.kernels.iter().map(|(_, bootable)| bootable.clone()).collect();
    let times = lineup.run.join("times");
    let mut guests = Guests { question, lineup, watch };
    match (question.metric, &kernels[..]) {
        (Some(metric), [kernel, against]) => {
            let threshold = 1.0 + f64::from(arguments.slower_by) / 100.0;
            guests.compare(metric, (against, kernel), threshold, &times)
        }
        (Some(_), _) => Err(no_other()),
        (None, kernels) => {
            let symptom = arguments.symptom;
            let is_fault = |fault: &Fault| symptom.is(fault, &[]);
            // Nobody has seen another kernel: one boot with a fault is enough to be bad.
            let chance = |tally: Tally| match tally {
                Tally { shown: 1.., .. } => 1.0,
                Tally { clean, .. } if clean >= arguments.boots => 0.0,
                _ => 0.5,
            };
            let kernel = kernels.first().ok_or_else(|| {
                Failure::new(Kind::Asked, "examine a kernel", "there is none", "name a tree")
            })?;
            let behaves = arguments.question.behaves;
            let mut bench = Bench { question, lab: Box::new(guests), watch };
            // No other kernel is known to come to its end: a host that is too slow would make each of them bad.
            let expected = Expected { behaves, tolerated: &[], is_fault: &is_fault, silence: false };
            bench.tell(kernel, &expected, &chance)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_our_own_stops_git_bisect_run() {
        assert_eq!(guarded(|| 7), 7);
        assert!(guarded(|| panic!("on purpose")) > 127);
    }

    #[test]
    fn git_bisect_run_skips_what_is_the_kernels_and_stops_at_what_is_not() {
        assert_eq!([Kind::Build, Kind::Series, Kind::Guest].map(code_of), [SKIP; 3]);
        for kind in [Kind::Asked, Kind::Host, Kind::Files, Kind::Interrupted] {
            assert!(code_of(kind) > 127, "{kind:?}");
        }
    }
}
