//! What a search keeps in the folder of its run.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use lab::failure::{Failure, Kind};
use lab::shell::quoted;
use serde::Deserialize;

/// The folder of a run; nobody else goes on with its search until this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Enters the folder at this path.
    ///
    /// # Errors
    /// `Asked` where another process is at it; `Files`.
    pub(super) fn enter(path: PathBuf) -> Result<Self, Failure> {
        let lock = path.join("lock");
        let failed = |e: &std::io::Error| Failure::file("lock", &lock, e);
        let file = File::create(&lock).map_err(|e| failed(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(TryLockError::Error(e)) => Err(failed(&e)),
            Err(TryLockError::WouldBlock) => {
                let attempt = format!("go on with the search in {}", path.display());
                let next = "wait for it, or end it first";
                Err(Failure::new(Kind::Asked, attempt, "another process is at it", next))
            }
        }
    }

    /// Writes a file of the run, whole or not at all: the search may be interrupted at any time.
    pub(super) fn keep(&self, name: &str, content: &str) -> Result<(), Failure> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = fs::write(&new, content).and_then(|()| fs::rename(&new, &path));
        written.map_err(|e| Failure::file("write", &path, &e))
    }

    /// A failure in the middle of the search, with how it goes on.
    pub(super) fn goes_on(&self, mut failure: Failure) -> Failure {
        let command = format!("cargo xtask bisect --resume {}", quoted(&self.path.display().to_string()));
        failure.next = match failure.kind {
            Kind::Interrupted => format!("go on with: {command}"),
            _ => format!("{}; what is known is kept, and this goes on: {command}", failure.next),
        };
        failure
    }
}

/// Reads a file of a run that goes on.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|e| {
        let attempt = format!("go on with the search in {}", path.parent().unwrap_or(path).display());
        Failure::new(
            Kind::Asked,
            attempt,
            format!("{}: {e}", path.display()),
            "name the folder of a `bisect` run",
        )
    })?;
    parse(&text, path)
}

/// The same for its text.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|e| {
        let attempt = format!("read {}", path.display());
        Failure::new(Kind::Files, attempt, e.to_string(), "begin the search anew")
    })
}
