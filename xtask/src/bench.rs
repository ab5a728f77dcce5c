//! `bench`: kernels to boots to a verdict.

mod compared;
mod document;
#[doc(hidden)]
pub mod part;

use std::fs;
use std::path::Path;
use std::time::Instant;

use evidence::judge::{Finding, Outcome};
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::{Catalogue, Recipe, Store};
use lab::run::{self, Carried, Lineup, Place, Request};
use lab::watch::Watch;
use report::document::{Comparison, Document, SO_FAR};
use testcases::{Case, DRIVER_AFTER_DEVICES, KernelResult, Rounds, Standing};

use self::compared::{Role, compared};
use self::document::{document, time};
use crate::cli::{Accel, BenchArguments, Forks, as_options};
use crate::exit;
use crate::screen::print;

pub(crate) fn run(arguments: &BenchArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let (begun, case) = (Instant::now(), &DRIVER_AFTER_DEVICES);
    let topology = arguments.topology();
    topology.check().map_err(|unsound| {
        let next = "see `cargo xtask bench --help` for the numbers and their defaults";
        Failure::new(Kind::Asked, "make such a guest", unsound.to_string(), next)
    })?;
    let place = match &arguments.out {
        Some(folder) => Place::Named(folder.clone()),
        None => Place::Dated { runs: workspace.join("runs"), kind: "bench" },
    };
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let pairs = arguments.wanted().recipes(&catalogue, Store::open()?.root(), watch)?;
    let compared = pairs.compared();
    let recipes = pairs.all();
    let lineup = Lineup::of(
        &Request {
            workspace,
            recipes: &recipes,
            modules: Carried::These(&case.modules()),
            wish: arguments.accel.into(),
            setup: arguments.setup,
            place,
        },
        watch,
    )?;
    let plan = Plan {
        case,
        topology: &topology,
        rounds: arguments.boots,
        forks: arguments.forks.number(case, &compared, &recipes),
        compared,
        command: &repeat(arguments, &topology),
        begun,
    };
    let document = carry_out(&plan, &lineup, watch)?;
    print(&if arguments.json { document.to_json() + "\n" } else { report::text::render(&document) });
    Ok(exit::code_of_outcome(document.outcome))
}

/// What to boot, and how often.
pub(crate) struct Plan<'a> {
    pub(crate) case: &'a Case,
    pub(crate) topology: &'a Topology,
    pub(crate) rounds: Rounds,
    pub(crate) forks: usize,
    /// Which kernels are held against each other, by name.
    pub(crate) compared: Vec<(String, String)>,
    /// The command that repeats it.
    pub(crate) command: &'a str,
    /// When it began: whatever it takes until the first boot was done since.
    pub(crate) begun: Instant,
}

/// Boots, judges, and writes the verdict to the folder of the run.
pub(crate) fn carry_out(plan: &Plan<'_>, lineup: &Lineup, watch: &dyn Watch) -> Result<Document, Failure> {
    let Plan { case, topology, rounds, forks, compared: ref pairs, command, begun } = *plan;
    for (_, kernel) in &lineup.kernels {
        if let Some(module) = case.comes_too_early(&kernel.built_in) {
            let attempt = format!("measure how \"{}\" probes what {module} drives", kernel.name);
            let seen = "it is built in: that is probed before anybody looks";
            let next = "name a kernel that has it as a module; `cargo xtask test built_in` is for those that have not";
            return Err(run::unfinished(&lineup.run, Failure::new(Kind::Asked, attempt, seen, next)));
        }
    }
    let so_far = lineup.run.join(SO_FAR);
    let standing = |results: &[KernelResult]| {
        let comparisons = compared(case, rounds, pairs, results);
        let standing = standing(&comparisons);
        let mut document = document(case, topology, lineup, results, pairs, comparisons, command);
        not_finished(&mut document);
        // Where it cannot be written, the next boot cannot be either, and that says why.
        let partial = so_far.with_extension("partial");
        let _ = fs::write(&partial, document.to_json()).and_then(|()| fs::rename(&partial, &so_far));
        standing
    };
    let until_boot = begun.elapsed();
    let results = testcases::carry_out(case, topology, lineup, rounds, forks, standing, watch)
        .map_err(|failure| run::unfinished(&lineup.run, failure))?;
    let comparisons = compared(case, rounds, pairs, &results);
    let mut document = document(case, topology, lineup, &results, pairs, comparisons, command);
    document.time = Some(time(begun.elapsed(), until_boot, &results));
    let (text, json) = (report::text::render(&document), document.to_json());
    for (name, content) in [("verdict.txt", text), ("verdict.json", json)] {
        let path = lineup.run.join(name);
        fs::write(&path, content).map_err(|e| Failure::file("write", &path, &e))?;
    }
    // Nobody looks at it where there is a verdict.
    let _ = fs::remove_file(&so_far);
    Ok(document)
}

/// Says of a document that the bench goes on after it: of whoever ends it then, this is what is known. It is no verdict,
/// and nothing in it is one.
fn not_finished(document: &mut Document) {
    for result in &mut document.results {
        result.findings.push(Finding {
            expected: "the bench comes to its end".to_owned(),
            seen: format!("it did not, after {} boots and forks of {}", result.boots.len(), result.kernel),
            outcome: Outcome::Inconclusive,
            evidence: Vec::new(),
        });
        result.outcome = result.outcome.max(Outcome::Inconclusive);
    }
    document.outcome = document.outcome.max(Outcome::Inconclusive);
}

/// What comparisons say so far: all are clear, or how far the widest of the others has come.
fn standing(comparisons: &[Comparison]) -> Standing {
    let clear =
        |comparison: &&Comparison| matches!(comparison.outcome, Some(Outcome::Supported | Outcome::Refuted));
    let width = |comparison: &Comparison| Some(comparison.high? / comparison.low?);
    let unclear = comparisons.iter().filter(|comparison| !clear(comparison));
    let widest = unclear.max_by(|a, b| width(a).unwrap_or(f64::MAX).total_cmp(&width(b).unwrap_or(f64::MAX)));
    let told = |comparison: &Comparison| {
        let Comparison { metric, baseline, candidate, ratio, low, high, .. } = comparison;
        let ratio = ratio.map_or_else(|| "not known".to_owned(), |ratio| format!("{ratio:.2}"));
        let interval = low.zip(*high).map(|(low, high)| format!(" ({low:.2} to {high:.2})"));
        format!("{metric} {baseline} / {candidate} = {ratio}{}", interval.unwrap_or_default())
    };
    let all = comparisons.len();
    let told = match (widest, comparisons.first()) {
        (Some(widest), _) => {
            format!("{} of {all} clear; {}", comparisons.iter().filter(clear).count(), told(widest))
        }
        (None, Some(first)) => format!("all clear; {}", told(first)),
        (None, None) => String::new(),
    };
    Standing { clear: widest.is_none(), told }
}

impl Forks {
    /// How many, of each boot. Where one of two that are compared is claimed to be faster, three boots show it; where one
    /// is to be no slower, a tenth counts, and forks narrow the interval.
    pub(crate) fn number(self, case: &Case, compared: &[(String, String)], recipes: &[Recipe]) -> usize {
        let role = |name: &str| {
            let recipe = recipes.iter().find(|recipe| recipe.name == name);
            recipe.and_then(|recipe| Role::of(case, recipe.behaves?))
        };
        let as_fast = |(first, other): &(String, String)| {
            !matches!(
                (role(first), role(other)),
                (Some(Role::Baseline), Some(Role::Candidate)) | (Some(Role::Candidate), Some(Role::Baseline))
            )
        };
        match self {
            Self::Just(forks) => forks,
            Self::Auto if compared.iter().any(as_fast) && testcases::can_fork(case) => 3,
            Self::Auto => 0,
        }
    }
}

/// The command that repeats the bench here, with every default spelt out: defaults may change, and depend on
/// the host.
fn repeat(arguments: &BenchArguments, topology: &Topology) -> String {
    let BenchArguments { boots, forks, accel, .. } = arguments;
    let kernels = as_options(&arguments.wanted());
    format!("cargo xtask bench {kernels} {}", guests_as_options(topology, *boots, *forks, *accel))
}

/// The guests of a bench, as they are asked for on the command line.
pub(crate) fn guests_as_options(topology: &Topology, boots: Rounds, forks: Forks, accel: Accel) -> String {
    let Topology { nodes, vcpus, hbas, luns, latency, oddities: _ } = topology;
    let boots = match boots {
        Rounds::Just(number) => number.to_string(),
        Rounds::UntilClear { .. } => "auto".to_owned(),
    };
    format!(
        "--nodes {nodes} --vcpus {vcpus} --hbas {hbas} --luns {luns} --latency {} --boots {boots} --forks {forks} \
         --accel {}",
        humantime::format_duration(*latency).to_string().replace(' ', ""),
        accel.name(),
    )
}

#[cfg(test)]
mod tests {
    use evidence::stats::{Interval, Ratio};
    use lab::kernel::Pairs;

    use super::*;

    #[test]
    fn boots_are_forked_where_a_kernel_is_to_be_as_fast_as_the_first() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let catalogue = Catalogue::read(&configs).unwrap();
        let forks = |forks: Forks, names: &[&str]| {
            let plain = names.iter().map(|name| catalogue.recipe(name).unwrap()).collect();
            let pairs = Pairs { plain, patched: Vec::new() };
            forks.number(&DRIVER_AFTER_DEVICES, &pairs.compared(), &pairs.plain)
        };
        assert_eq!(forks(Forks::Auto, &["without", "with", "mainline"]), 0);
        assert_eq!(forks(Forks::Auto, &["with", "mainline"]), 3);
        // The second is claimed to be slower than the first, and the third to be no slower.
        assert_eq!(forks(Forks::Auto, &["with", "without", "mainline"]), 3);
        assert_eq!(forks(Forks::Auto, &["with"]), 0);
        assert_eq!(forks(Forks::Just(7), &["with"]), 7);
    }

    #[test]
    fn whoever_waits_is_told_of_the_comparison_that_is_furthest_from_clear() {
        let comparison = |metric: &str, outcome, low: f64, high: f64| {
            let interval = Interval { low, high };
            let ratio = Ratio { ratio: 2.0, interval: Some(interval) };
            let mut comparison = Comparison::new("case", "without", "with", 3, 0, Some(ratio));
            (comparison.metric, comparison.outcome) = (metric.to_owned(), Some(outcome));
            comparison
        };
        let clear = comparison("makespan", Outcome::Supported, 1.5, 3.0);
        let wide = comparison("insmod", Outcome::Inconclusive, 0.5, 8.0);
        let wider = comparison("probe", Outcome::Inconclusive, 0.1, 40.0);
        let Standing { clear: enough, told } = standing(&[clear.clone(), wide, wider]);
        assert!(!enough);
        assert_eq!(told, "1 of 3 clear; probe without / with = 2.00 (0.10 to 40.00)");
        let Standing { clear: enough, told } = standing(std::slice::from_ref(&clear));
        assert!(enough);
        assert_eq!(told, "all clear; makespan without / with = 2.00 (1.50 to 3.00)");
        assert!(standing(&[]).clear);
    }
}
