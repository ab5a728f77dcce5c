//! `test`: unit and golden tests through cargo, then guest tests through libtest-mimic.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::child;
use lab::failure::{Failure, Kind};
use lab::host;
use lab::kernel::Catalogue;
use lab::watch::Watch;

use crate::cli::TestArguments;
use crate::exit;

/// Longer than all tests take, kernels built first, on a slow host: for a test that hangs past its own deadline.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

pub(crate) fn run(arguments: &TestArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    if !arguments.fast && !arguments.list {
        let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
        let findings = host::examine(&catalogue);
        if arguments.setup {
            host::install(&host::missing_packages(&findings), watch)?;
        } else {
            host::require(&findings)?;
        }
    }
    // Both parts run, so that one failure does not hide another.
    let fast = cargo_test(workspace, &["--workspace"], arguments)?;
    if arguments.fast {
        return Ok(if fast { exit::SUPPORTED } else { exit::REFUTED });
    }
    let guests = cargo_test(workspace, &["--package", "testcases", "--test", "guests"], arguments)?;
    Ok(if fast && guests { exit::SUPPORTED } else { exit::REFUTED })
}

/// Runs `cargo test` on our own terminal; whether it passed.
fn cargo_test(workspace: &Path, what: &[&str], arguments: &TestArguments) -> Result<bool, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace).args(["test", "--quiet", "--no-fail-fast"]).args(what).arg("--");
    command.args(&arguments.filters).args(arguments.list.then_some("--list"));
    command.env("PARPROBE_ACCEL", arguments.accel.name());
    child::run_to_end(&mut command, PATIENCE).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => Failure::interrupted("run the tests"),
        _ => Failure::new(Kind::Host, "run cargo test", e.to_string(), "check that cargo works here"),
    })
}
