//! `cargo test` of a part of the workspace: its names, and how it ended.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::child;
use lab::failure::{Failure, Kind};
use lab::kernel::Broken;
use testcases::chosen;

use super::Order;

/// Longer than all tests take on a slow host: for a test that hangs past its own deadline.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Cargo, in the workspace.
pub(crate) fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace);
    command
}

/// How the tests are run.
#[derive(Clone, Copy)]
pub(super) struct Tests<'a> {
    pub(super) order: &'a Order<'a>,
    /// The folder for the guests of a run.
    pub(super) run: Option<&'a Path>,
    /// Kernels that cannot be built: tests of them are lost, and nobody tries once more to build them.
    pub(super) broken: &'a [Broken],
}

impl Tests<'_> {
    /// The names of all tests of a part.
    pub(super) fn names(&self, part: &[&str]) -> Result<Vec<String>, Failure> {
        let text =
            child::text_of(self.command(part).arg("--list"), PATIENCE).map_err(|e| match e.kind() {
                ErrorKind::Interrupted => Failure::interrupted("list the tests"),
                _ => {
                    let next = "`cargo xtask test --list` shows what cargo says";
                    Failure::new(Kind::Host, "list the tests with cargo test", e.to_string(), next)
                }
            })?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// Compiles a part. What cannot be compiled is told by cargo as the part is run.
    pub(super) fn compile(&self, part: &[&str]) -> Result<(), Failure> {
        let mut command = cargo(self.order.workspace);
        command.args(["test", "--quiet", "--no-run"]).args(part);
        match child::text_of(&mut command, PATIENCE) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Err(Failure::interrupted("compile the tests")),
            _ => Ok(()),
        }
    }

    /// Runs `cargo test` on our own terminal, for the tests that are chosen; whether it passed.
    pub(super) fn cargo_test(&self, part: &[&str], more: &[&str]) -> Result<bool, Failure> {
        let mut command = self.command(part);
        let chosen = self.order.chosen;
        if part == super::FAST {
            // Rust's own harness takes several.
            command.args(&chosen.filters).args(chosen.exact.then_some("--exact"));
        } else {
            command.env(chosen::VARIABLE, serde_json::to_string(chosen).unwrap_or_default());
        }
        if self.order.to_standard_error {
            // Standard output is for the document.
            command.stdout(std::io::stderr());
        }
        child::run_to_end(command.args(more), PATIENCE).map_err(|e| match e.kind() {
            ErrorKind::Interrupted => Failure::interrupted("run the tests"),
            _ => Failure::new(Kind::Host, "run cargo test", e.to_string(), "check that cargo works here"),
        })
    }

    fn command(&self, part: &[&str]) -> Command {
        let mut command = cargo(self.order.workspace);
        command.args(["test", "--quiet", "--no-fail-fast"]).args(part).arg("--");
        command.env("PARPROBE_ACCEL", self.order.accel.name());
        command.env("PARPROBE_KERNELS", serde_json::to_string(self.order.wanted).unwrap_or_default());
        if !self.broken.is_empty() {
            command.env("PARPROBE_BROKEN", serde_json::to_string(self.broken).unwrap_or_default());
        }
        if self.order.quiet {
            command.env("PARPROBE_QUIET", "1");
        }
        if let Some(run) = self.run {
            command.env("PARPROBE_RUN", run);
        }
        command
    }
}
