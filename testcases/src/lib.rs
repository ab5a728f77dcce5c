//! The table of cases, and how a case is carried out and judged.

mod campaign;
mod case;
mod table;
mod verdict;

pub use campaign::{BootResult, KernelResult, Rounds, Sample, boot, can_fork, carry_out};
pub use case::{Case, Circumstances, Dies, Promise};
pub use table::{CASES, DEVICES_AFTER_DRIVER, DRIVER_AFTER_DEVICES};
pub use verdict::{End, Seen, Verdict};
