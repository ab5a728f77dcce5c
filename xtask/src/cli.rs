//! What can be said on the command line.

mod bisect;
mod guests;
mod kernels;
mod nightly;
mod results;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lab::accelerator::Wish;
use lab::guest::topology::{MOST_HBAS_PER_NODE, MOST_LUNS, MOST_NODES, MOST_VCPUS, Topology};
use serde::{Deserialize, Serialize};
use testcases::Rounds;

pub(crate) use bisect::{
    BisectArguments, BisectVerb, QuestionArguments, SearchArguments, StepArguments, Symptom,
};
pub(crate) use guests::{Forks, ShapeArguments, usual};
use guests::{forks, latency, rounds, several_rounds, up_to, usual_vcpus};
use kernels::KERNELS;
pub(crate) use kernels::{KernelArguments, KernelVerb, PatchArguments, as_options, behaviour};
use lab::kernel::Wanted;
pub(crate) use nightly::{HistoryArguments, NightlyArguments};
pub(crate) use results::{ArchiveArguments, MergeArguments, ReportArguments, ReportFormat};

/// Proves, or refutes, that a kernel change makes device probes run in parallel and on the right NUMA node.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Say nothing of what goes on: results, warnings and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  every claim is supported, every test passed
    1  a claim is refuted, a test failed
    2  inconclusive, or not run
   64  what was asked for makes no sense or does not exist
   65  a patch does not apply, or a file has none in it
   69  the host lacks something: a tool, the kernel source, KVM
   70  a guest could not be led to its end, and its kernel is not known to be at fault
   71  a kernel could not be configured or built
   74  files of the kernel store or of a run cannot be read or written
  130  interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pack the guest tests and benches, with kernels and agent, for machines that each run a part of them
    Archive(ArchiveArguments),
    /// Build kernels, measure them in turn, and judge the main experiment: LUNs exist, then sd_mod is loaded
    Bench(BenchArguments),
    /// Find the commit that broke a case
    Bisect(Box<BisectArguments>),
    /// Boot a kernel with a shell on this terminal, in the guest of a bench
    Boot(BootArguments),
    /// Show what this host has and lacks, with the command that mends it
    Doctor,
    /// Show what changed over the nights of a history
    History(HistoryArguments),
    /// Show, fill and clean the kernel store
    Kernel(KernelArguments),
    /// Join the results of machines that each ran a part of the tests, and say what is missing
    Merge(MergeArguments),
    /// Build kernels with known faults and see which case catches each
    Mutants(MutantsArguments),
    /// Test and bench a set of kernels, add the result to a history, and be red only for what changed
    Nightly(Box<NightlyArguments>),
    /// Measure parprobe itself, each figure beside its limit
    Perf(PerfArguments),
    /// Make a page, or a file for another tool, of the folder of a run
    Report(ReportArguments),
    /// Run all tests: unit and golden tests, then tests that boot guests
    Test(TestArguments),
}

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct BenchArguments {
    /// Kernels, each a name from kernel-configs/kernels.toml or a place (below); the others are held against the
    /// first, and with --patch each against itself with the patch [default: without,with; with --patch: mainline]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    kernels: Vec<String>,
    #[command(flatten)]
    patches: PatchArguments,
    /// NUMA nodes, 1 to 8
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_NODES), default_value_t = 2)]
    pub(crate) nodes: u32,
    /// vCPUs, at least one for each node, up to 64 [default: as many as host cores, at most two for each
    /// node]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_VCPUS))]
    pub(crate) vcpus: Option<u32>,
    /// virtio-scsi controllers, spread over the nodes, 1 to 24 for each
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_NODES * MOST_HBAS_PER_NODE), default_value_t = 4)]
    pub(crate) hbas: u32,
    /// LUNs, spread over the controllers, 1 to 32768
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to(MOST_LUNS), default_value_t = 64)]
    pub(crate) luns: u32,
    /// How long a LUN takes for a read, up to 60s: 20ms, 500us, 1s
    #[arg(long, value_name = "DUR", allow_negative_numbers = true, default_value = "10ms", value_parser = latency)]
    pub(crate) latency: Duration,
    /// Boots of each kernel, interleaved: 1 to 1000, or `auto`, which goes on until every comparison is clear, at
    /// least 3 and at most 30 times
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "auto", value_parser = rounds)]
    pub(crate) boots: Rounds,
    /// Forks of each boot: a guest is saved when its LUNs are there, and carried on from there so often again.
    /// `auto`: 3 where a kernel is to be no slower, none where one is claimed to be faster
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = Forks::Auto, value_parser = forks)]
    pub(crate) forks: Forks,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Folder for the run; it has to be new or empty [default: runs/<date>-<time>-bench]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the verdict as one JSON document on standard output (docs/bench-schema.md)
    #[arg(long)]
    pub(crate) json: bool,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

/// The kernels of a bench that nobody asked otherwise.
pub(crate) const OF_A_BENCH: &str = "without,with";

impl BenchArguments {
    /// The kernels.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(&self.kernels, OF_A_BENCH)
    }

    /// The shape of the guests.
    pub(crate) fn topology(&self) -> Topology {
        let Self { nodes, hbas, luns, latency, .. } = *self;
        let vcpus = self.vcpus.unwrap_or_else(|| usual_vcpus(nodes));
        Topology { vcpus, ..Topology::new(nodes, hbas, luns, latency) }
    }
}

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct BootArguments {
    /// The kernel: a name from kernel-configs/kernels.toml or a place (below); with --patch it has the patches on top
    kernel: String,
    #[command(flatten)]
    patches: PatchArguments,
    /// Wait for a debugger before the kernel begins, and show how to attach one
    #[arg(long)]
    pub(crate) gdb: bool,
    /// More kernel parameters
    #[arg(
        long,
        value_name = "PARAMETERS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) append: String,
    #[command(flatten)]
    pub(crate) shape: ShapeArguments,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

impl BootArguments {
    /// The kernel.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(std::slice::from_ref(&self.kernel), "")
    }
}

impl TestArguments {
    /// The kernels.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(&self.kernels, &testcases::KERNELS.join(","))
    }
}

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct TestArguments {
    /// Only tests whose name contains one of these
    pub(crate) filters: Vec<String>,
    /// Only tests that boot no guest: no kernel is built
    #[arg(long, conflicts_with = "setup")]
    pub(crate) fast: bool,
    /// Kernels that the cases are carried out on, each a name from kernel-configs/kernels.toml or a place (below); with
    /// --patch these with the patches on top [default: without,with,with-numa,mainline; with --patch: mainline]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    kernels: Vec<String>,
    #[command(flatten)]
    patches: PatchArguments,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Print the results of the cases as one JSON document on standard output (docs/test-schema.md)
    #[arg(long, conflicts_with = "list")]
    pub(crate) json: bool,
    /// List the tests and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MutantsArguments {
    /// Faults by name, as in kernel-configs/mutants/mutants.toml [default: all]
    #[arg(conflicts_with = "aa")]
    pub(crate) names: Vec<String>,
    /// Carry out every case that could see a fault, and not only those up to the first that does
    #[arg(long, conflicts_with = "aa")]
    pub(crate) each: bool,
    /// Instead of faults: hold `without` and `mainline` against themselves, and count false alarms
    #[arg(long)]
    pub(crate) aa: bool,
    /// How often each is held against itself
    #[arg(long, value_name = "N", default_value_t = 20, requires = "aa",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Print what became of them as one JSON document on standard output (docs/cases.md)
    #[arg(long)]
    pub(crate) json: bool,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PerfArguments {
    /// What to measure [default: all but `huge`, `long` and `pair`]
    #[arg(value_enum)]
    pub(crate) subjects: Vec<Subject>,
    /// How many samples a long run is made of
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(40..=100_000))]
    pub(crate) samples: u32,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

/// Something to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Subject {
    /// From QEMU's start to the agent's first word, against a bare init
    Boot,
    /// From the edit of a patch to the verdict
    Edit,
    /// A sample from a fork, against one from a fresh boot
    Forks,
    /// A guest of 20,000 LUNs, with its memory: takes minutes
    Huge,
    /// Many samples one after the other, with forks: what grows, and whether the verdict stays
    Long,
    /// Two and four kernels from nothing, against one: takes as long as a full build
    Pair,
    /// What a LUN costs among 4096, against one among 256
    Scale,
}

impl Subject {
    /// What is measured where nothing is named: what takes a minute or less.
    pub(crate) const USUAL: &[Self] = &[Self::Boot, Self::Forks, Self::Scale, Self::Edit];

    /// In words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Boot => "time boots against a bare init",
            Self::Edit => "time an edit of a patch",
            Self::Forks => "time forks against fresh boots",
            Self::Huge => "time a guest with very many LUNs",
            Self::Long => "take many samples one after the other",
            Self::Pair => "time kernels from nothing",
            Self::Scale => "time guests with few and with many LUNs",
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub(crate) enum Accel {
    /// KVM where it is proven by a boot, else TCG
    Auto,
    /// KVM, or an error
    Kvm,
    /// TCG
    Tcg,
}

impl Accel {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl From<Accel> for Wish {
    fn from(accel: Accel) -> Self {
        match accel {
            Accel::Auto => Self::Auto,
            Accel::Kvm => Self::Kvm,
            Accel::Tcg => Self::Tcg,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use lab::guest::topology::LONGEST_LATENCY;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_says_what_there_can_be() {
        let help = Cli::command().find_subcommand_mut("bench").unwrap().render_help().to_string();
        for range in [
            format!("nodes, 1 to {MOST_NODES}"),
            format!("node, up to {MOST_VCPUS}"),
            format!("1 to {MOST_HBAS_PER_NODE} for each"),
            format!("1 to {MOST_LUNS}"),
            format!("up to {LONGEST_LATENCY:?}"),
        ] {
            assert!(help.contains(&range), "{range}: {help}");
        }
    }

    #[test]
    fn a_number_below_nothing_is_refused_with_what_there_can_be() {
        let refused = Cli::try_parse_from(["x", "bench", "--forks", "-1"]).unwrap_err().to_string();
        assert!(refused.contains("a number from 0 to 100"), "{refused}");
    }

    #[test]
    fn a_node_has_a_vcpu_of_its_own_by_default() {
        let Verb::Bench(arguments) = Cli::parse_from(["x", "bench", "--nodes", "8"]).verb else { panic!() };
        assert!(arguments.topology().vcpus >= 8);
        assert_eq!(arguments.topology().check(), Ok(()));
    }
}
