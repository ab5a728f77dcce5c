//! What can be said of nights and their history.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::kernel::Wanted;
use testcases::Rounds;

use super::kernels::{KERNELS, PatchArguments};
use super::{Accel, Forks, ShapeArguments, forks, several_rounds, usual};

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct NightlyArguments {
    /// Folder of the history: a file is added to it, and what is there is compared with; it may be new
    #[arg(long, value_name = "DIR")]
    pub(crate) history: PathBuf,
    /// The runner's name in the history: one name for runners that come and go and are all alike [default: the host's]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) runner: Option<String>,
    /// Kernels, each a name from kernel-configs/kernels.toml or a place (below); the others are held against
    /// the first, and with --patch each against itself with the patch [default: without,with,with-numa,mainline; with --patch:
    /// mainline]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    kernels: Vec<String>,
    #[command(flatten)]
    patches: PatchArguments,
    /// Only tests whose name contains this; it can be given again
    #[arg(long, value_name = "FILTER", conflicts_with = "no_tests")]
    pub(crate) tests: Vec<String>,
    /// Only the bench
    #[arg(long)]
    pub(crate) no_tests: bool,
    /// The guest of the bench: 2 nodes, 4 controllers, 64 LUNs of 10ms and as many vCPUs as host cores, at most two for
    /// each node, where nothing else is said
    #[command(flatten)]
    pub(crate) shape: ShapeArguments,
    /// Boots of each kernel in the bench, interleaved: 2 to 1000, or `auto`, which goes on until every comparison is
    /// clear, at least 3 and at most 30 times. As many each night: so nights scatter alike
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value = "10", value_parser = several_rounds)]
    pub(crate) boots: Rounds,
    /// Forks of each boot; `auto`: 3 where a kernel is to be no slower, none where one is claimed to be faster
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = Forks::Auto, value_parser = forks)]
    pub(crate) forks: Forks,
    /// KVM where it is proven by a boot, or one of the two
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Print the night as one JSON document on standard output (docs/nightly.md)
    #[arg(long)]
    pub(crate) json: bool,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

impl NightlyArguments {
    /// The kernels.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(&self.kernels, "without,with,with-numa,mainline")
    }

    /// The shape of the guests of the bench.
    ///
    /// # Errors
    /// `Asked` for a guest that cannot be.
    pub(crate) fn topology(&self) -> Result<Topology, Failure> {
        let nodes = self.shape.nodes.unwrap_or(2);
        self.shape.on(usual(nodes))
    }
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArguments {
    /// Folder of the history
    #[arg(long, value_name = "DIR")]
    pub(crate) history: PathBuf,
    /// Print it as one JSON document on standard output (docs/nightly.md)
    #[arg(long)]
    pub(crate) json: bool,
}
