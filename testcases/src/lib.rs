//! The table of cases, and how a case is carried out and judged.

mod campaign;
mod cases;

pub use campaign::{BootResult, KernelResult, carry_out};
pub use cases::{CASES, Case, Circumstances, DEVICES_AFTER_DRIVER, DRIVER_AFTER_DEVICES, Promise};
