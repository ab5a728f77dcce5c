//! One flag for the whole process: somebody asked us to stop.
//!
//! The program that owns `main` sets it from its signal handler; every wait in this crate looks at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::Failure;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How long a wait may go without a look at the flag.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Asks everything to stop. Returns whether it had been asked before.
pub fn request() -> bool {
    REQUESTED.swap(true, Ordering::SeqCst)
}

/// Whether a stop was asked for.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error if a stop was asked for while this was tried.
pub(crate) fn check(attempt: &str) -> Result<(), Failure> {
    if requested() { Err(Failure::interrupted(attempt)) } else { Ok(()) }
}
