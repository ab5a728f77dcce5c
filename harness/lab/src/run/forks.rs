//! Guests that were saved on the way, carried on from there.

use std::path::PathBuf;

use super::session::{Progress, Session};
use super::{Asked, Boot, Ending, Step, ending, finish, write};
use crate::failure::Failure;
use crate::guest::{Guest, Restoring, Snapshot};

/// A guest that was saved where its first phase begins, to be carried on from there as often as wanted.
#[derive(Debug)]
pub struct Saved {
    pub(super) snapshot: Snapshot,
    pub(super) at: Progress,
    /// The folder of its boot.
    pub(super) folder: PathBuf,
}

/// A guest that was saved, on its way to be carried on. Dropping it ends it.
#[derive(Debug)]
pub struct Fork {
    restoring: Restoring,
    at: Progress,
}

/// Begins to restore a guest that was saved, beside whatever else goes on. The boot has to be the same, but for its folder.
///
/// # Errors
/// `Host` without QEMU, `Files`.
pub fn fork(saved: &Saved, boot: &Boot<'_>) -> Result<Fork, Failure> {
    write(&boot.folder.join("boot.json"), &Asked::of(boot, Some(&saved.folder)))?;
    let restoring = Guest::begin_restore(&boot.order(boot.parameters), &saved.snapshot)?;
    Ok(Fork { restoring, at: saved.at.clone() })
}

/// Carries on a guest that was saved, from there to its end, with the boot that it was forked for. When the measured part
/// is over, and only logs are left to fetch, `measured` is called: then the next one can be forked.
///
/// # Errors
/// As [`carry_out`]; `Guest` where QEMU does not take it.
pub fn carry_on(fork: Fork, boot: &Boot<'_>, measured: &mut dyn FnMut()) -> Result<Ending, Failure> {
    let (ending, _) = ending(boot, || {
        let (_, rest) = Step::at_first_phase(boot.steps).unwrap_or_default();
        let mut guest = fork.restoring.finish()?;
        guest.restart_lookout();
        let mut session = Session::resume(guest, boot, fork.at, measured);
        session.carry_out(rest)?;
        Ok((finish(session, boot, Vec::new())?, ()))
    })?;
    Ok(ending)
}
