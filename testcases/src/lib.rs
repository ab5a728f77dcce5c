//! The table of cases, and how a case is carried out and judged.

mod campaign;
mod case;
pub mod chosen;
pub mod limit;
pub mod noted;
mod so_far;
mod table;
mod verdict;

pub use campaign::{BootResult, KernelResult, Rounds, Sample, Standing, boot, can_fork, carry_out, drawn};
pub use case::{Case, Circumstances, Dies, Promise};

/// A kernel of each kind: those that cases are carried out on, unless others are asked for.
pub const KERNELS: [&str; 4] = ["without", "with", "with-numa", "mainline"];

/// Kernels that tests of the harness boot, by the beginning of the tests' names: deaths and endings are those of one,
/// what a probe needs is seen best where they come one by one, benches that are disturbed promise no places for probes,
/// and kernels of another release are judged as the others are. Whoever builds or packs kernels for tests goes by this.
pub const KERNELS_OF_THE_HARNESS: [(&str, &str); 6] = [
    ("", "mainline"),
    ("needs::", "without"),
    ("faults::", "without"),
    ("faults::", "with"),
    ("elsewhere::", "without-6.12"),
    ("elsewhere::", "mainline-6.12"),
];

/// The modules that any of the cases loads.
pub fn modules() -> Vec<&'static str> {
    let mut modules: Vec<&str> = CASES.iter().flat_map(|case| case.modules()).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

pub use table::{CASES, DEVICES_AFTER_DRIVER, DRIVER_AFTER_DEVICES};
pub use verdict::{End, Seen, Verdict};
