//! The table of cases, and how a case is carried out and judged.

mod campaign;
mod case;
pub mod limit;
mod table;
mod verdict;

pub use campaign::{BootResult, KernelResult, Rounds, Sample, Standing, boot, can_fork, carry_out, drawn};
pub use case::{Case, Circumstances, Dies, Promise};
/// The modules that any of the cases loads.
pub fn modules() -> Vec<&'static str> {
    let mut modules: Vec<&str> = CASES.iter().flat_map(|case| case.modules()).collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

pub use table::{CASES, DEVICES_AFTER_DRIVER, DRIVER_AFTER_DEVICES};
pub use verdict::{End, Seen, Verdict};
