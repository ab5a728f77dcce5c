//! What all guest tests share: kernels that are built, an accelerator, a folder for the run.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::accelerator::Wish;
use lab::failure::Failure;
use lab::run::{self, Bootable, Lineup, Place, Request};
use lab::watch::Watch;
use libtest_mimic::Failed;

/// The kernels that the tests boot.
pub(crate) const KERNELS: [&str; 4] = ["without", "with", "with-numa", "mainline"];

/// The modules in the guests' images.
const MODULES: [&str; 3] = ["virtio_scsi", "sd_mod", "test_lockup"];

/// Everything, made when the first test asks for it.
pub(crate) fn lineup() -> Result<&'static Lineup, Failed> {
    static LINEUP: OnceLock<Result<Lineup, Failure>> = OnceLock::new();
    LINEUP.get_or_init(make).as_ref().map_err(|failure| Failed::from(failure.to_string()))
}

fn make() -> Result<Lineup, Failure> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let kernels = KERNELS.map(str::to_owned);
    Lineup::of(
        &Request {
            workspace,
            kernels: &kernels,
            modules: &MODULES,
            // Set by `cargo xtask test --accel`, which checks the value.
            wish: match std::env::var("PARPROBE_ACCEL").as_deref() {
                Ok("kvm") => Wish::Kvm,
                Ok("tcg") => Wish::Tcg,
                _ => Wish::Auto,
            },
            setup: false,
            place: Place::Dated { runs: workspace.join("target").join("guest-tests"), kind: "test" },
        },
        &Log,
    )
}

/// The kernel of this name.
pub(crate) fn kernel(name: &str) -> Result<&'static Bootable, Failed> {
    let found = lineup()?.kernels.iter().find(|(kernel, _)| kernel.name == name);
    found.map(|(_, bootable)| bootable).ok_or_else(|| Failed::from(format!("no kernel {name} in the lineup")))
}

/// A new folder for a boot.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Failed> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Ok(run::make_boot_folder(&lineup()?.run, &run::boot_name(number, name))?)
}

/// Tells what goes on where kernels take minutes to build.
struct Log;

impl Watch for Log {
    #[allow(clippy::print_stderr)]
    fn stage(&self, what: &str) {
        eprintln!("{what}");
    }

    #[allow(clippy::print_stderr)]
    fn note(&self, text: &str) {
        eprintln!("{text}");
    }
}
