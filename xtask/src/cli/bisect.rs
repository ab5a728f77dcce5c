//! What can be said about a search for a commit.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use lab::kernel::Behaviour;
use serde::{Deserialize, Serialize};

use super::kernels::behaviour;
use super::{Accel, ShapeArguments};
use crate::bisect::MOST_BOOTS;
use crate::metric::Metric;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BisectArguments {
    #[command(subcommand)]
    pub(crate) step: Option<BisectVerb>,
    #[command(flatten)]
    pub(crate) search: SearchArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BisectVerb {
    /// Examine one kernel, as a command for `git bisect run`: exit code 0 for good, 1 for bad, 125 where nobody can tell,
    /// above 127 where it makes no sense to go on
    Step(StepArguments),
}

#[derive(Args, Debug)]
pub(crate) struct SearchArguments {
    /// The git tree whose history is searched; it is only read
    #[arg(long, value_name = "DIR", required_unless_present_any = ["package", "resume"], conflicts_with = "package")]
    pub(crate) tree: Option<PathBuf>,
    /// Instead: a Debian package, linux-source-X, whose versions are searched; or, with a * in its name, packages in the
    /// order of their versions: linux-image-6.1.0-*-cloud-amd64
    #[arg(long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// A commit, a version or a package, without the fault
    #[arg(long, value_name = "REV", required_unless_present = "resume")]
    pub(crate) good: Option<String>,
    /// A later one with it
    #[arg(long, value_name = "REV", required_unless_present = "resume")]
    pub(crate) bad: Option<String>,
    /// Only commits that touch these paths of the tree
    #[arg(last = true, value_name = "PATH", requires = "tree")]
    pub(crate) paths: Vec<String>,
    #[command(flatten)]
    pub(crate) question: QuestionArguments,
    /// What is a fault: what the bad end shows, and no other failure; a kernel that dies or hangs; an expectation that
    /// fails; or any of them. Other failures are skipped
    #[arg(long, value_enum, default_value_t = Symptom::Same, conflicts_with = "metric")]
    pub(crate) symptom: Symptom,
    /// Boots of either end, before the search: more of them find a fault that shows in some boots only
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=100))]
    pub(crate) boots: u32,
    /// Go on with a search that was interrupted: its folder. All else is as it was asked for then
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "tree", "package", "good", "bad", "paths", "case", "metric", "behaves", "symptom", "boots", "accel", "nodes",
        "vcpus", "hbas", "luns", "latency",
    ])]
    pub(crate) resume: Option<PathBuf>,
    /// Folder for the run; it has to be new or empty [default: runs/<date>-<time>-bisect]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print what was found as one JSON document on standard output (docs/bisect.md)
    #[arg(long)]
    pub(crate) json: bool,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StepArguments {
    /// The source tree, as it stands
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) tree: PathBuf,
    #[command(flatten)]
    pub(crate) question: QuestionArguments,
    /// What is a fault: a kernel that dies or hangs, an expectation that fails, or any of them
    #[arg(long, value_parser = symptom_of_one(), default_value = "any", conflicts_with = "metric")]
    pub(crate) symptom: Symptom,
    /// With --metric: the kernel to compare with, a name or a place as for `bench --kernels`
    #[arg(long, value_name = "KERNEL", requires = "metric")]
    pub(crate) against: Option<String>,
    /// With --metric: how many percent longer than that a good kernel may take
    #[arg(long, value_name = "PERCENT", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) slower_by: u32,
    /// Boots without a fault that make a kernel good, 1 to 40
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_BOOTS)))]
    pub(crate) boots: u32,
}

/// What can be a fault where there is no bad end to be the same as.
fn symptom_of_one() -> impl TypedValueParser<Value = Symptom> {
    let names = Symptom::value_variants().iter().filter(|symptom| **symptom != Symptom::Same);
    let names: Vec<PossibleValue> = names.filter_map(Symptom::to_possible_value).collect();
    PossibleValuesParser::new(names).map(|name| Symptom::from_str(&name, false).unwrap_or(Symptom::Any))
}

/// What is asked of each kernel.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
pub(crate) struct QuestionArguments {
    /// The case that is carried out: `cargo xtask test --list` shows their names
    #[arg(long, value_name = "NAME", default_value = "driver_after_devices")]
    pub(crate) case: String,
    /// Compare this time: a search with that of the good end, where half of what the bad end takes longer is too much; a
    /// step with --against
    #[arg(long, value_enum)]
    pub(crate) metric: Option<Metric>,
    /// How a good kernel behaves: per-driver, per-device, per-node or near-node [default of a search: what the good end
    /// shows]
    #[arg(long, value_name = "HOW", value_parser = behaviour)]
    pub(crate) behaves: Option<Behaviour>,
    #[command(flatten)]
    pub(crate) shape: ShapeArguments,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
}

/// What counts as a fault.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub(crate) enum Symptom {
    /// What the bad end shows
    Same,
    /// A kernel that dies or hangs
    Died,
    /// An expectation that fails
    Failed,
    /// Any of them
    Any,
}
