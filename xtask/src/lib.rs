//! The command line of parprobe: `cargo xtask …`.
//!
//! Standard output carries results and nothing else; what goes on is told on standard error.

mod archive;
mod bench;
mod bisect;
mod boot;
mod cli;
mod doctor;
mod exit;
mod history;
mod kernel;
mod merge;
mod metric;
mod mutants;
mod nightly;
#[doc(hidden)]
pub mod outside;
mod perf;
mod report;
mod results;
mod screen;
mod test;

#[doc(hidden)]
pub use bench::part;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use lab::failure::Kind;
use lab::watch::Watch;

use crate::cli::{Cli, KernelArguments, KernelVerb, Verb};
use crate::screen::{Screen, complain, lost_output};

/// Does what the arguments of this process ask for; its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let asked_for = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // clap prints help on standard output and errors on standard error.
            let _ = e.print();
            return ExitCode::from(match asked_for {
                true => exit::SUPPORTED,
                false if is_step(std::env::args_os().skip(1)) => bisect::stop_code(Kind::Asked),
                false => Kind::Asked.exit_code(),
            });
        }
    };
    if let Err(e) = ctrlc::set_handler(interrupted) {
        complain(&format!("Ctrl-C will not be handled: {e}"));
    }
    let screen = Screen::new(cli.quiet);
    let first = if sets_up(&cli.verb) { lab::debian::first_update(&screen) } else { Ok(()) };
    let done = first.and_then(|()| match cli.verb {
        Verb::Archive(arguments) => archive::run(&arguments, &workspace(), &screen),
        Verb::Bench(arguments) => bench::run(&arguments, &workspace(), &screen),
        Verb::Bisect(arguments) => bisect::run(&arguments, &workspace(), &screen),
        Verb::Boot(arguments) => boot::run(&arguments, &workspace(), &screen),
        Verb::Kernel(arguments) => kernel::run(&arguments, &workspace(), &screen),
        Verb::Doctor => doctor::run(&workspace()),
        Verb::History(arguments) => history::run(&arguments),
        Verb::Merge(arguments) => merge::run(&arguments, &workspace(), &screen),
        Verb::Mutants(arguments) => mutants::run(&arguments, &workspace(), &screen),
        Verb::Nightly(arguments) => nightly::run(&arguments, &workspace(), &screen),
        Verb::Perf(arguments) => perf::run(&arguments, &workspace(), &screen),
        Verb::Report(arguments) => report::run(&arguments, &workspace()),
        Verb::Test(arguments) => test::run(&arguments, &workspace(), &screen),
    });
    screen.hand_over();
    match done.and_then(|code| lost_output().map_or(Ok(code), Err)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&format!("error: {failure}"));
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Whether what is missing is to be installed.
fn sets_up(verb: &Verb) -> bool {
    match verb {
        Verb::Archive(arguments) => arguments.setup,
        Verb::Bench(arguments) => arguments.setup,
        Verb::Bisect(arguments) => arguments.search.setup,
        Verb::Boot(arguments) => arguments.setup,
        Verb::Kernel(KernelArguments { verb: KernelVerb::Build(arguments) }) => arguments.setup,
        Verb::Mutants(arguments) => arguments.setup,
        Verb::Nightly(arguments) => arguments.setup,
        Verb::Perf(arguments) => arguments.setup,
        Verb::Test(arguments) => arguments.setup,
        Verb::Doctor | Verb::History(_) | Verb::Kernel(_) | Verb::Merge(_) | Verb::Report(_) => false,
    }
}

/// Whether these arguments, which may be wrong otherwise, ask for `bisect step`.
fn is_step(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.next().is_some_and(|verb| verb == "bisect") && arguments.any(|argument| argument == "step")
}

/// The first time everything winds down; the second time we go at once, and the kernel kills our children.
fn interrupted() {
    if lab::cancel::request() {
        #[allow(clippy::exit)]
        std::process::exit(i32::from(Kind::Interrupted.exit_code()));
    }
}

/// The workspace: where cargo built us, unless the folder was moved since.
fn workspace() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    if built_in.join("kernel-configs").is_dir() { built_in.to_owned() } else { PathBuf::from(".") }
}
