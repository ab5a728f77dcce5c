//! Keeps folders of the store that somebody uses from being removed.
//!
//! A hold is a lock on the folder itself: whoever uses it shares the lock, whoever removes it wants it alone. It goes
//! with the process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cancel;
use crate::failure::{Failure, Kind};

/// How the names of folders begin in which something is put together.
pub(super) const PARTIAL: &str = "partial-";

/// Whoever removes a folder has it alone for the time of a rename.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder in use.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    _lock: Arc<File>,
}

impl Hold {
    /// On this folder, which is made if need be.
    pub(super) fn on(folder: &Path) -> Result<Self, Failure> {
        Self::within(folder, PATIENCE)
    }

    fn within(folder: &Path, patience: Duration) -> Result<Self, Failure> {
        let attempt = format!("use {}", folder.display());
        let failed = |e: io::Error| Failure::file("use", folder, &e);
        let asked = Instant::now();
        loop {
            match fs::create_dir_all(folder) {
                // It was there, and has gone before that was looked at. A link to nothing is still there.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && fs::symlink_metadata(folder).is_err() => {}
                made => made.map_err(failed)?,
            }
            match locked(folder, File::try_lock_shared).map_err(failed)? {
                Some(lock) => return Ok(Self { _lock: Arc::new(lock) }),
                None if asked.elapsed() > patience => {
                    let seen = format!("somebody has been removing it for {patience:?}");
                    let next = "look for another process of the harness; if it hangs, end it";
                    return Err(Failure::new(Kind::Files, attempt, seen, next));
                }
                None => {}
            }
            cancel::check(&attempt)?;
            std::thread::sleep(cancel::LOOK_EVERY);
        }
    }
}

/// A hold on a folder that is there; `None` where it is not, or is just being removed.
pub(super) fn shared(folder: &Path) -> io::Result<Option<Hold>> {
    Ok(locked(folder, File::try_lock_shared)?.map(|lock| Hold { _lock: Arc::new(lock) }))
}

/// A lock on a folder that nobody uses; `None` where somebody does, or where it has gone.
pub(super) fn alone(folder: &Path) -> io::Result<Option<File>> {
    locked(folder, File::try_lock)
}

fn locked(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match lock(&file) {
        Ok(()) => Ok(is_at(&file, path)?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Whether an open file is still the one at its path: it may have been removed while its lock was waited for.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        there => there.map(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())),
    }
}

/// A folder of the store in which something is put together. It goes away when this is dropped, and nobody else removes
/// it before.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _hold: Hold,
}

impl Scratch {
    /// A new one in this folder.
    ///
    /// # Errors
    /// `Files`.
    pub(crate) fn partial(parent: &Path) -> Result<Self, Failure> {
        Self::new_in(parent, PARTIAL)
    }

    /// A new one in this folder, with a name that begins so.
    ///
    /// # Errors
    /// `Files`.
    pub fn new_in(parent: &Path, beginning: &str) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::file("create a folder in", parent, &e);
        let folder = tempfile::Builder::new().prefix(beginning).tempdir_in(parent).map_err(failed)?;
        // Where somebody was so fast as to remove it, this makes it again.
        let hold = Hold::on(folder.path())?;
        Ok(Self { folder, _hold: hold })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that another test is just starting has our locks as well, until it becomes another program.
    fn is_free(folder: &Path) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if alone(folder).unwrap().is_some() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    #[test]
    fn a_folder_is_had_alone_only_while_nobody_uses_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        assert!(alone(&folder).unwrap().is_none(), "it is not there");
        let (one, other) = (Hold::on(&folder).unwrap(), Hold::on(&folder).unwrap());
        drop(one);
        assert!(alone(&folder).unwrap().is_none());
        drop(other);
        assert!(is_free(&folder));
    }

    #[test]
    fn who_waits_for_a_folder_does_so_for_so_long_and_says_for_whom() {
        let parent = tempfile::tempdir().unwrap();
        let _alone = alone(parent.path()).unwrap().unwrap();
        let failure = Hold::within(parent.path(), Duration::from_millis(100)).unwrap_err();
        assert_eq!(failure.kind, Kind::Files);
        assert_eq!(failure.seen, "somebody has been removing it for 100ms");
    }

    #[test]
    fn a_link_to_nothing_is_an_error_and_not_waited_for() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("a");
        std::os::unix::fs::symlink(parent.path().join("unmounted"), &link).unwrap();
        let failure = Hold::on(&link).unwrap_err();
        assert!(failure.attempt.ends_with(&*link.to_string_lossy()), "{failure}");
        assert!(failure.seen.contains("exists"), "{failure}");
    }

    #[test]
    fn a_folder_that_is_removed_while_it_is_waited_for_is_made_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a");
        fs::create_dir(&folder).unwrap();
        let removing = alone(&folder).unwrap().unwrap();
        let _hold = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Hold::on(&folder).unwrap());
            std::thread::sleep(cancel::LOOK_EVERY * 2);
            fs::rename(&folder, parent.path().join("gone")).unwrap();
            drop(removing);
            waiting.join().unwrap()
        });
        assert!(alone(&folder).unwrap().is_none());
        assert!(is_free(&parent.path().join("gone")));
    }
}
