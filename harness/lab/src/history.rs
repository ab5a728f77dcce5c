//! The files of a history: one for each night and runner, written once, whole or not at all, and never changed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The time now, UTC: `2026-11-25T21:40:07Z`.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether this is a time as [`now`] writes it.
pub fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok() && text.len() == "2026-11-25T21:40:07Z".len()
}

/// A file of a history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What is in it, or why that cannot be told.
    pub text: Result<String, String>,
}

/// Sees to it that a folder is there and can be written, before a night's work is done for it.
///
/// # Errors
/// `Files`.
pub fn prepare(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| unwritable("create", folder, &e))?;
    tempfile::tempfile_in(folder).map(drop).map_err(|e| unwritable("write to", folder, &e))
}

/// Adds a file to a history: `<date-time>-<runner>-<the begin of a hash of the text>.json`.
///
/// # Errors
/// `Files`, also where the file is there already.
pub fn append(folder: &Path, when: &str, runner: &str, text: &str) -> Result<PathBuf, Failure> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' };
    let when: String = when.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let runner: String = runner.chars().map(plain).collect();
    let path = folder.join(format!("{when}-{runner}-{}.json", hash(text)));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".unfinished-")
            // Others read it as well.
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path).map_err(|e| e.error).map(drop)
    };
    write().map_err(|e| unwritable("write", &path, &e))?;
    Ok(path)
}

/// Reads all files of a history, by name: nothing in the folder is passed over in silence.
///
/// # Errors
/// `Asked` where there is no such folder, `Files` where it cannot be listed.
pub fn read(folder: &Path) -> Result<Vec<Kept>, Failure> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries =
        entries.map_err(|e| Failure { next: NEXT.to_owned(), ..Failure::named_file("list", folder, &e) })?;
    let mut kept: Vec<Kept> = entries
        .iter()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = read_one(&entry.path(), &name);
            Kept { name, text }
        })
        .collect();
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kept)
}

fn read_one(path: &Path, name: &str) -> Result<String, String> {
    if name.starts_with(".unfinished-") {
        return Err("a night that was interrupted while it was written".to_owned());
    }
    let stem = name.strip_suffix(".json").ok_or("no file of a history: its name does not end in .json")?;
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let (_, told) = stem.rsplit_once('-').ok_or("no file of a history: its name has no hash")?;
    let is = hash(&text);
    if told == is { Ok(text) } else { Err(format!("damaged or changed: its hash is {is}")) }
}

/// Short enough for a name, and long enough to tell files of one second apart.
fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(8).collect()
}

const NEXT: &str = "name a folder for the history that can be read and written, with --history";

fn unwritable(attempt: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure { next: NEXT.to_owned(), ..Failure::file(attempt, path, error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn what_is_written_is_read_and_is_never_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let history = folder.path().join("a/history");
        prepare(&history).unwrap();
        let path = append(&history, "2026-11-25T21:40:07Z", "a runner/1", "{}\n").unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("20261125T214007Z-a_runner_1-"), "{name}");
        assert_eq!(read(&history).unwrap(), [Kept { name: name.to_owned(), text: Ok("{}\n".to_owned()) }]);
        let again = append(&history, "2026-11-25T21:40:07Z", "a runner/1", "{}\n").unwrap_err();
        assert_eq!((again.kind, again.seen.contains("exists")), (Kind::Files, true), "{again}");
    }

    #[test]
    fn a_file_that_was_cut_or_is_none_of_a_history_is_named_and_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = append(folder.path(), "2026-11-25T21:40:07Z", "one", "{ }").unwrap();
        fs::write(path, "{ ").unwrap();
        fs::write(folder.path().join(".unfinished-x"), "{").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        append(folder.path(), "2026-11-26T21:40:07Z", "one", "{}").unwrap();
        let told: Vec<bool> = read(folder.path()).unwrap().iter().map(|kept| kept.text.is_ok()).collect();
        assert_eq!(told, [false, false, true, false]);
    }
}
