//! Notices what make cannot, which goes by time stamps alone: that a build was killed, or the clock set back.
//!
//! A file that was half-written when the power went looks finished to it. And a source that is patched after the clock
//! was set back looks older than the object of what it was before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::failure::Failure;

/// In an object tree while make works there.
const MARK: &str = "parprobe-building";

/// Files written this shortly before the last one may be incomplete. Nothing in a kernel build takes as long
/// to write one.
const DOUBTFUL: Duration = Duration::from_secs(30);

/// To be called before make works in an object tree: cleans up after a build that did not come to an end.
pub(super) fn begin(objects: &Path) -> Result<(), Failure> {
    let mark = objects.join(MARK);
    if mark.exists() {
        discard(objects).map_err(|e| Failure::file("clean up after a killed build in", objects, &e))?;
    }
    fs::write(&mark, "").map_err(|e| Failure::file("write", &mark, &e))
}

/// To be called when make has ended by itself, whatever came of it: then it has removed what it could not finish.
pub(super) fn end(objects: &Path) -> Result<(), Failure> {
    let mark = objects.join(MARK);
    fs::remove_file(&mark).map_err(|e| Failure::file("remove", &mark, &e))
}

/// By how much files may be from the future: the clock of a file server is another one.
const SKEW: Duration = Duration::from_secs(1);

/// Whether the clock was set back since something was built in an object tree.
pub(super) fn clock_was_set_back(objects: &Path) -> io::Result<bool> {
    let mut files = Vec::new();
    if objects.exists() {
        collect(objects, &mut files)?;
    }
    let now = SystemTime::now() + SKEW;
    Ok(files.iter().any(|(written, _)| *written > now))
}

/// Removes what may be half-written.
///
/// Not what kconfig writes: it renames what is whole, the list of all values last (6.1: scripts/kconfig/confdata.c,
/// conf_write_autoconf), and without that list it takes every value for a new one, so that all objects are made anew.
/// It goes through the values again where `.config` is younger.
fn discard(objects: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    collect(objects, &mut files)?;
    let Some(last) = files.iter().map(|(written, _)| *written).max() else { return Ok(()) };
    let values = objects.join("include/config");
    for (written, path) in files.iter().filter(|(_, path)| !path.starts_with(&values)) {
        if last.duration_since(*written).is_ok_and(|before| before < DOUBTFUL) {
            fs::remove_file(path)?;
        }
    }
    match File::options().write(true).open(objects.join(".config")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        config => config?.set_modified(SystemTime::now()),
    }
}

/// Regular files with the time they were written. `.config` and what says that it is there are not make's.
fn collect(folder: &Path, files: &mut Vec<(SystemTime, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, meta) = (entry.path(), entry.metadata()?);
        let name = entry.file_name();
        let ours = name.to_string_lossy().starts_with("parprobe-") || name == ".config";
        if meta.is_dir() {
            collect(&path, files)?;
        } else if meta.is_file() && !ours {
            files.push((meta.modified()?, path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_the_future_tells_that_the_clock_was_set_back() {
        let objects = tempfile::tempdir().unwrap();
        assert!(!clock_was_set_back(&objects.path().join("none")).unwrap());
        let file = File::create(objects.path().join("one.o")).unwrap();
        assert!(!clock_was_set_back(objects.path()).unwrap());
        file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert!(clock_was_set_back(objects.path()).unwrap());
    }

    #[test]
    fn what_was_written_last_before_a_kill_is_discarded_and_the_rest_kept() {
        let objects = tempfile::tempdir().unwrap();
        let file = |name: &str, seconds_ago: u64| {
            let path = objects.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
            path
        };
        begin(objects.path()).unwrap();
        let (old, half, config) =
            (file("drivers/old.o", 300), file("drivers/half.o", 61), file(".config", 60));
        let last = file("last.o", 60);
        // Half a minute before the last one, too, and whole: kconfig's.
        let value = file("include/config/SMP", 62);
        let values = file("include/config/auto.conf", 61);
        begin(objects.path()).unwrap();
        assert_eq!([&old, &half, &last, &config].map(|path| path.exists()), [true, false, false, true]);
        assert!(value.exists() && values.exists());
        let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert!(
            written(&config) > written(&values),
            "kconfig would not look at what may be half of its list"
        );
        end(objects.path()).unwrap();
        let new = file("new.o", 0);
        begin(objects.path()).unwrap();
        assert!(new.exists(), "the build before came to its end");
    }
}
