//! `archive`: guest tests with their kernels to one file, made and run in parts by cargo-nextest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::child;
use lab::failure::{Failure, Kind};
use lab::guest::image;
use lab::host;
use lab::kernel::{Catalogue, Kit, Parts, Store};
use lab::watch::Watch;

use crate::cli::ArchiveArguments;
use crate::exit;
use crate::screen::print;
use crate::test::{self, cargo};

/// Longer than it takes to compile the tests and to compress kernels on a slow host.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(crate) fn run(arguments: &ArchiveArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let wanted = arguments.wanted();
    let store = Store::open()?;
    let pairs = wanted.recipes(&catalogue, store.root(), watch)?;
    // The tests are named after what is packed.
    let wanted = wanted.with_noted(&pairs);
    let mut needed = test::kernels_for(&pairs.clone().subjects(), &catalogue, None)?;
    // A bench holds a patched kernel against the one without.
    let benched = if arguments.no_benches { Vec::new() } else { pairs.clone().all() };
    let more = benched.into_iter().filter(|kernel| !needed.contains(kernel));
    needed.extend(more.collect::<Vec<_>>());
    let parts: &[&[&str]] =
        if arguments.no_benches { &[test::GUESTS] } else { &[test::GUESTS, test::BENCHES] };
    // Before anything is built.
    writable(&arguments.output)?;
    nextest(workspace, &["--version"])?;
    host::prepare(|| host::examine(&needed), arguments.setup, watch)?;
    let kernels = store.ensure(&needed, watch)?;
    watch.stage("build the agent");
    let agent = image::build_agent(workspace)?;
    watch.stage("compile the tests");
    let tests = test::names(workspace, &wanted, parts)?;
    watch.stage(&format!("pack {} tests and {} kernels", tests.len(), kernels.len()));
    let of_kit = Parts {
        subjects: &pairs,
        wanted: &wanted,
        kernels: &kernels,
        agent: &agent,
        catalogue: &catalogue,
        tests: &tests,
    };
    let target = target(workspace)?;
    // Whatever comes of it: tests that are run here take kernels from the store.
    let _kit = Gone(Kit::folder(&target));
    Kit::write(&target, &of_kit)?;
    let output = std::path::absolute(&arguments.output).unwrap_or_else(|_| arguments.output.clone());
    let output = output.display().to_string();
    nextest(workspace, &[&["archive"], &parts.concat()[..], &["--archive-file", &output]].concat())?;
    print(&format!(
        "{output}: {} tests, {} kernels\n\
         on each of N machines, with QEMU, cargo-nextest and a checkout, for I from 1 to N:\n  \
         PARPROBE_RUN=$PWD/part-I cargo nextest run --archive-file {} --workspace-remap . --partition slice:I/N\n\
         and then, where the folders are: cargo xtask merge part-*\n",
        tests.len(),
        kernels.len(),
        arguments.output.display()
    ));
    Ok(exit::SUPPORTED)
}

/// Sees to it that a file can be written there.
fn writable(output: &Path) -> Result<(), Failure> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let tried = if output.is_dir() {
        Err(std::io::ErrorKind::IsADirectory.into())
    } else {
        tempfile::tempfile_in(folder).map(drop)
    };
    tried.map_err(|e| {
        let mut failure = Failure::file("write", output, &e);
        failure.next = "name a file that can be written with -o".to_owned();
        failure
    })
}

/// A folder that is removed at the end.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        // The next archive removes what is left.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs cargo-nextest; what it says goes to the screen only where it fails.
fn nextest(workspace: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = cargo(workspace);
    child::text_of(command.arg("nextest").args(arguments), PATIENCE).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::Interrupted => Failure::interrupted("run cargo nextest"),
        _ => {
            let attempt = format!("run cargo nextest {}", arguments.first().unwrap_or(&""));
            let next = "install it: `cargo install --locked cargo-nextest`, or see https://nexte.st";
            Failure::new(Kind::Host, attempt, e.to_string(), next)
        }
    })
}

/// Cargo's target folder, which may be elsewhere.
fn target(workspace: &Path) -> Result<PathBuf, Failure> {
    let attempt = "find cargo's target folder";
    let failed = |seen: String| Failure::new(Kind::Host, attempt, seen, "check that cargo works here");
    let mut command: Command = cargo(workspace);
    let text = child::text_of(command.args(["metadata", "--no-deps", "--format-version", "1"]), PATIENCE);
    let metadata: serde_json::Value =
        serde_json::from_str(&text.map_err(|e| failed(e.to_string()))?).map_err(|e| failed(e.to_string()))?;
    let folder = metadata["target_directory"].as_str();
    folder.map(Into::into).ok_or_else(|| failed("cargo metadata does not name it".to_owned()))
}
