//! Makes the folders of a run.

use std::fs;
use std::path::{Path, PathBuf};

use evidence::plain::plain;

use crate::failure::{Failure, Kind};
use crate::private;

/// Where a run is to be written.
#[derive(Clone, Debug)]
pub enum Place {
    /// To this folder, which has to be empty or new. It is closed to other users.
    Named(PathBuf),
    /// To a new folder of this kind of run, named after the time, in this one.
    Dated {
        /// The folder of all runs.
        runs: PathBuf,
        /// The kind: "bench".
        kind: &'static str,
    },
}

impl Place {
    /// Whether it can be made, found out without leaving anything behind.
    ///
    /// # Errors
    /// `Asked` where the named folder has files in it; `Files` where nothing can be written there.
    pub fn check(&self) -> Result<(), Failure> {
        let path = match self {
            Self::Named(path) => path,
            Self::Dated { runs, kind: _ } => return writable(runs),
        };
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                let attempt = format!("write a run to {}", path.display());
                Err(Failure::new(Kind::Asked, attempt, "the folder is not empty", "name another with --out"))
            }
            Ok(false) => writable(path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => writable(path),
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                let attempt = format!("write a run to {}", path.display());
                Err(Failure::new(Kind::Asked, attempt, "it is no folder", "name another with --out"))
            }
            Err(e) => Err(Failure::file("list", path, &e)),
        }
    }

    /// Makes it.
    ///
    /// # Errors
    /// As [`Place::check`]; `Files` where it cannot be made.
    pub fn make(&self) -> Result<PathBuf, Failure> {
        self.check()?;
        match self {
            Self::Named(path) => {
                private::closed_folder(path).map_err(|e| Failure::file("create", path, &e))?;
                path.canonicalize().map_err(|e| Failure::file("find", path, &e))
            }
            Self::Dated { runs, kind } => dated_folder(runs, kind),
        }
    }
}

/// Whether a file can be written in this folder, or in the nearest one above it that is there.
fn writable(folder: &Path) -> Result<(), Failure> {
    // A relative path with one part has the empty path above it: that is the current folder.
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(there).map(drop).map_err(|e| {
        let mut failure = Failure::file("write a run to", folder, &e);
        failure.next = "name a folder that can be written with --out".to_owned();
        failure
    })
}

/// `<runs>/<date>-<time>-<kind>`, with a number where two
/// begin in the same second.
fn dated_folder(runs: &Path, kind: &str) -> Result<PathBuf, Failure> {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    private::folder(runs).map_err(|e| Failure::file("create", runs, &e))?;
    for number in 1.. {
        let name = if number == 1 { format!("{now}-{kind}") } else { format!("{now}-{kind}-{number}") };
        let path = runs.join(name);
        match private::new_folder(&path) {
            Ok(()) => return path.canonicalize().map_err(|e| Failure::file("find", &path, &e)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Failure::file("create", &path, &e)),
        }
    }
    unreachable!("one of all numbers is free")
}

/// The folder of a boot, relative to that of its run.
pub fn boot_name(number: usize, kernel: &str) -> String {
    format!("boots/{number:03}-{kernel}")
}

/// Makes the folder of a boot.
///
/// # Errors
/// `Files`.
pub fn make_boot_folder(run: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = run.join(name);
    private::folder(&path).map_err(|e| Failure::file("create", &path, &e))?;
    Ok(path)
}

/// Says in the folder of a run, in `unfinished.txt`, that it ended before its verdict, and why. What the boots left
/// until then stays, which the failure then says.
pub fn unfinished(run: &Path, mut failure: Failure) -> Failure {
    failure.next = format!("{}; what was booted until now is in {}", failure.next, run.display());
    if failure.kind == Kind::Interrupted {
        failure.next.push_str(", to be read, not to go on from");
    }
    // As far as it goes: the failure is told on the screen as well, and may be that nothing can be written here.
    let _ = fs::write(run.join("unfinished.txt"), plain(&format!("{failure}\n")).as_bytes());
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_does_not_go_into_a_folder_with_files() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Named(folder.path().to_owned());
        assert!(place.make().is_ok());
        fs::write(folder.path().join("mine"), "").unwrap();
        assert_eq!(place.make().unwrap_err().kind, Kind::Asked);
    }

    #[test]
    fn a_run_that_could_not_be_written_is_refused_before_it_begins() {
        let nowhere = Place::Named("/proc/nope/run".into());
        assert_eq!(nowhere.check().unwrap_err().kind, Kind::Files);
        let folder = tempfile::tempdir().unwrap();
        assert!(Place::Named(folder.path().join("a/b")).check().is_ok());
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn two_runs_of_the_same_second_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Dated { runs: folder.path().to_owned(), kind: "bench" };
        assert_ne!(place.make().unwrap(), place.make().unwrap());
    }
}
