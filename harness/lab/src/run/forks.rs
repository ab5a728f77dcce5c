//! Guests that were saved on the way, carried on from there.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::session::{Progress, Session};
use super::{Asked, Boot, Ending, Step, ending, finish, write};
use crate::failure::Failure;
use crate::guest::{Guest, Restoring, Snapshot};
use crate::private;

/// A guest that was saved where its first phase begins, to be carried on from there as often as wanted.
#[derive(Debug)]
pub struct Saved {
    pub(super) snapshot: Snapshot,
    pub(super) at: Progress,
    /// The folder of its boot.
    pub(super) folder: PathBuf,
}

/// Carries on guests that were saved, one after the other, each from there to the end of its boot, which has to be
/// the one that was saved but for its folder. `each` is told what came of it, with its place in the list, and whether
/// to go on.
///
/// While the logs of one are fetched, QEMU starts with the next.
///
/// # Errors
/// Of starting QEMU; those of `each`, which is given what [`carry_out`](super::carry_out) would return, and `Guest`
/// where QEMU does not take a state.
pub fn carry_on_each(
    forks: &[(&Saved, Boot<'_>)],
    mut each: impl FnMut(usize, Result<Ending, Failure>) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut next = None;
    for (number, (saved, boot)) in forks.iter().enumerate() {
        // Where the last one did not come so far, this one begins now.
        let fork = next.take().unwrap_or_else(|| begin(saved, boot))?;
        let mut measured = || next = forks.get(number + 1).map(|(saved, boot)| begin(saved, boot));
        let ending = carry_on(fork, boot, &mut measured);
        if each(number, ending)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// A guest that was saved, on its way to be carried on. Dropping it ends it.
struct Fork {
    restoring: Restoring,
    at: Progress,
}

fn begin(saved: &Saved, boot: &Boot<'_>) -> Result<Fork, Failure> {
    private::folder(boot.folder).map_err(|e| Failure::file("create", boot.folder, &e))?;
    write(&boot.folder.join("boot.json"), &Asked::of(boot, Some(&saved.folder)))?;
    let restoring = Guest::begin_restore(&boot.order(boot.parameters), &saved.snapshot)?;
    Ok(Fork { restoring, at: saved.at.clone() })
}

/// When the measured part is over, and only logs are left to fetch, `measured` is called.
fn carry_on(fork: Fork, boot: &Boot<'_>, measured: &mut dyn FnMut()) -> Result<Ending, Failure> {
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
