//! Makes folders that their user alone can read, whatever the umask.
//!
//! What lies in them needs no care of its own: nobody else gets there. A run has logs of kernels that may be nobody's
//! business yet, and the sockets of a guest that was booted by hand.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Read, entered and written by its user.
const ALONE: u32 = 0o700;

/// Makes a folder, and those above it that are missing. One that is there stays as it is.
///
/// # Errors
/// Of the system.
pub fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(ALONE).create(path)
}

/// Makes a folder that is not there.
pub(crate) fn new_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(ALONE).create(path)
}

/// Makes a folder, or closes one that is there.
///
/// # Errors
/// Of one that belongs to another user.
pub(crate) fn closed_folder(path: &Path) -> io::Result<()> {
    folder(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o777 == ALONE {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(ALONE))
}
