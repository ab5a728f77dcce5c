//! Effects: everything that touches the host to get evidence.
//!
//! Kernels are built and kept ([`kernel`]), guests are booted and asked ([`guest`]), cases are carried out and
//! their raw logs written down ([`run`]). What the logs mean is for `evidence` to say.

pub mod accelerator;
pub mod cancel;
pub mod child;
mod compression;
pub mod copy;
mod cores;
pub mod debian;
pub mod failure;
pub mod footprint;
pub mod guest;
pub mod history;
pub mod host;
pub mod kernel;
#[doc(hidden)]
pub mod outside;
pub mod private;
pub mod run;
mod scarce;
pub mod shell;
pub mod validators;
pub mod watch;
