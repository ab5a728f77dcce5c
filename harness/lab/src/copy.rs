//! Copies folders and files, making what is above them.

use std::fs;
use std::path::Path;

use crate::cancel;
use crate::failure::Failure;

/// Copies all that is in a folder to another one. Links are left out: they may lead anywhere.
///
/// # Errors
/// `Files`; `Interrupted`.
pub fn folder(from: &Path, to: &Path) -> Result<(), Failure> {
    cancel::check(&format!("copy {}", from.display()))?;
    let failed = |e| Failure::file("list", from, &e);
    fs::create_dir_all(to).map_err(|e| Failure::file("create", to, &e))?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            folder(&path, &to)?;
        } else if kind.is_file() {
            file(&path, &to)?;
        }
    }
    Ok(())
}

/// Copies a file.
///
/// # Errors
/// `Files`.
pub fn file(from: &Path, to: &Path) -> Result<(), Failure> {
    let written = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(from, to));
    written.map(drop).map_err(|e| Failure::file("write", to, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_with_all_but_links() {
        let made = tempfile::tempdir().unwrap();
        let (from, to) = (made.path().join("from"), made.path().join("to/there"));
        file(Path::new("/proc/self/status"), &from.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", from.join("a/link")).unwrap();
        folder(&from, &to).unwrap();
        assert!(to.join("a/b").is_file() && !to.join("a/link").is_symlink());
    }
}
