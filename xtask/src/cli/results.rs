//! What can be made of results: reports, and one whole of what several machines ran.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lab::kernel::Wanted;

use super::kernels::{KERNELS, PatchArguments};

#[derive(Args, Debug)]
#[command(after_help = KERNELS)]
pub(crate) struct ArchiveArguments {
    /// Kernels that the cases are carried out on, as for `test`; each bench holds one of them against the first, or a
    /// patched one against itself [default: without,with,with-numa,mainline]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    kernels: Vec<String>,
    #[command(flatten)]
    patches: PatchArguments,
    /// Only guest tests, and no bench
    #[arg(long)]
    pub(crate) no_benches: bool,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "guests.tar.zst")]
    pub(crate) output: PathBuf,
    /// Install what this host lacks, then go on
    #[arg(long)]
    pub(crate) setup: bool,
}

impl ArchiveArguments {
    /// The kernels.
    pub(crate) fn wanted(&self) -> Wanted {
        self.patches.wanted(&self.kernels, &testcases::KERNELS.join(","))
    }
}

#[derive(Args, Debug)]
pub(crate) struct MergeArguments {
    /// The folders that PARPROBE_RUN named on each machine
    #[arg(required = true)]
    pub(crate) parts: Vec<PathBuf>,
    /// Only tests whose name contains this were to be run, as with a filter of cargo-nextest; it can be given again
    #[arg(long, value_name = "FILTER")]
    pub(crate) tests: Vec<String>,
    /// Folder for the whole; it has to be new or empty [default: runs/<date>-<time>-merge]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print the results as one JSON document on standard output (docs/test-schema.md)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArguments {
    /// The folder of a bench or of tests [default: the newest in runs/]
    pub(crate) run: Option<PathBuf>,
    /// What to make of it
    #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
    pub(crate) format: ReportFormat,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What a report can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One page with pictures, which needs nothing else
    Html,
    /// JUnit XML, for CI servers
    Junit,
    /// KTAP, as kselftest and KUnit write it
    Ktap,
    /// A trace of the probes, for ui.perfetto.dev and chrome://tracing
    Perfetto,
    /// What KernelCI's common database takes
    Kcidb,
    /// A table: a row for each boot of a bench, or for each test
    Csv,
    /// Plain text of 72 columns, to go below the --- of a patch
    Mail,
}
