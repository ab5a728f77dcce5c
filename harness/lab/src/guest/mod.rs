//! Guests: shape, command line, image, and the running machine.

mod arguments;
pub mod image;
mod lost;
mod luns;
mod neighbours;
mod qemu;
mod qmp;
mod running;
mod snapshot;
mod stale;
mod starts;
pub mod topology;
mod wire;

pub use arguments::QEMU;
pub use lost::{Cause, Lost, Trouble};
pub(crate) use qemu::try_kvm;
pub use qemu::{Walls, boot_on_terminal, qemu_version, time_to_line};
pub use running::{CallError, Guest, Image, Order, Patience};
pub(crate) use running::{Pending, Restoring};
pub use snapshot::Snapshot;
pub use stale::may_run_stale_code;
pub(crate) use starts::{in_start, start_again};
pub(crate) use wire::{LastLine, watch_console};
