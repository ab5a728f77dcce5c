//! `test`: unit and golden tests through cargo, then guest tests through libtest-mimic.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::child;
use lab::failure::{Failure, Kind};
use lab::host;
use lab::kernel::{Catalogue, Store};
use lab::watch::Watch;

use crate::cli::TestArguments;
use crate::exit;

/// Longer than all tests take on a slow host: for a test that hangs past its own deadline.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Tests that boot no guest.
const FAST: &[&str] = &["--workspace"];
/// Tests that do.
const GUESTS: &[&str] = &["--package", "testcases", "--test", "guests"];

pub(crate) fn run(arguments: &TestArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let parts: &[&[&str]] = if arguments.fast { &[FAST] } else { &[FAST, GUESTS] };
    if arguments.list {
        for part in parts {
            cargo_test(workspace, part, arguments, &["--list"])?;
        }
        return Ok(exit::SUPPORTED);
    }
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    if !arguments.fast {
        host::prepare(&host::examine(&catalogue), arguments.setup, watch)?;
    }
    // Which parts have tests of these names: no kernel is built for a filter that asks for no guest, and a
    // filter that asks for nothing at all is a slip, and no success.
    let (mut passed, mut found) = (true, false);
    for part in parts {
        // libtest-mimic takes one filter at a time.
        let filters: Vec<Option<&str>> = match &arguments.filters[..] {
            [] => vec![None],
            some => some.iter().map(|filter| Some(filter.as_str())).collect(),
        };
        for filter in filters {
            if filter.is_some_and(|filter| !names(workspace, part, arguments).contains(filter)) {
                continue;
            }
            found = true;
            if *part == GUESTS {
                // Here, and not within a test, so that a kernel that does not build has its own exit code.
                let recipes = catalogue.names().map(|name| catalogue.recipe(name));
                Store::open()?.ensure(&recipes.collect::<Result<Vec<_>, _>>()?, watch)?;
            }
            // Every part runs, so that one failure does not hide another.
            passed &= cargo_test(workspace, part, arguments, filter.as_slice())?;
        }
    }
    if !found {
        let attempt = format!("run the tests named {}", arguments.filters.join(", "));
        let next = "`cargo xtask test --list` shows the names";
        return Err(Failure::new(Kind::Asked, attempt, "there are none", next));
    }
    Ok(if passed { exit::SUPPORTED } else { exit::REFUTED })
}

/// The names of the tests of a part, one a line; empty where they cannot be had, which the run itself will say.
fn names(workspace: &Path, part: &[&str], arguments: &TestArguments) -> String {
    child::text_of(command(workspace, part, arguments).arg("--list"), PATIENCE).unwrap_or_default()
}

/// Runs `cargo test` on our own terminal; whether it passed.
fn cargo_test(
    workspace: &Path,
    part: &[&str],
    arguments: &TestArguments,
    more: &[&str],
) -> Result<bool, Failure> {
    let mut command = command(workspace, part, arguments);
    child::run_to_end(command.args(more), PATIENCE).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => Failure::interrupted("run the tests"),
        _ => Failure::new(Kind::Host, "run cargo test", e.to_string(), "check that cargo works here"),
    })
}

fn command(workspace: &Path, part: &[&str], arguments: &TestArguments) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace).args(["test", "--quiet", "--no-fail-fast"]).args(part).arg("--");
    command.env("PARPROBE_ACCEL", arguments.accel.name());
    command
}
