//! Unpacks archives of kernel source, never outside of the folder that is meant for it.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::kernel::recipe::file_name;
use crate::kernel::source::remove;
use crate::watch::Watch;
use crate::{cancel, compression};

/// Unpacks a tar archive whose entries all lie in one folder; the content of that folder becomes `into`.
///
/// `into` appears whole or not at all. An entry that points outside of it is refused.
///
/// # Errors
/// `Asked` for what is no whole archive of one folder; `Files` for a full disk; `Interrupted`.
pub(super) fn unpack(archive: &Path, into: &Path, watch: &dyn Watch) -> Result<(), Failure> {
    let partial = into.with_extension("partial");
    remove(&partial)?;
    let unpacked = unpack_to(archive, &partial, into, watch);
    if unpacked.as_ref().is_err_and(|failure| failure.kind != Kind::Interrupted) {
        // A full disk should not stay full; after Ctrl-C the next run cleans up.
        let _ = remove(&partial);
    }
    unpacked
}

fn unpack_to(archive: &Path, partial: &Path, into: &Path, watch: &dyn Watch) -> Result<(), Failure> {
    let attempt = format!("unpack {}", archive.display());
    let reader = compression::reader(archive).map_err(|e| Failure::file("read", archive, &e))?;
    let mut tar = tar::Archive::new(BufReader::new(reader));
    let failed = |e: &io::Error| match e.raw_os_error() {
        Some(_) => Failure::file(&format!("{attempt} to"), partial, e),
        // No system call failed: it is what was read.
        None => {
            let seen = format!("it is no whole archive of a source: {e}");
            Failure::new(Kind::Asked, &attempt, seen, "get it again, or name another")
        }
    };
    fs::create_dir_all(partial).map_err(|e| failed(&e))?;
    for (number, entry) in tar.entries().map_err(|e| failed(&e))?.enumerate() {
        cancel::check(&attempt)?;
        let mut entry = entry.map_err(|e| failed(&e))?;
        if !entry.unpack_in(partial).map_err(|e| failed(&e))? {
            let path = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
            let seen = format!("its entry {path} would be written outside of the folder");
            return Err(Failure::new(Kind::Files, attempt, seen, "do not trust this archive"));
        }
        if number % 1000 == 0 {
            watch.count(number as u64, None, "files");
        }
    }
    let top = only_folder(partial).map_err(|e| failed(&e))?;
    fs::rename(top, into).map_err(|e| failed(&e))?;
    remove(partial)
}

fn only_folder(folder: &Path) -> io::Result<PathBuf> {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let seen = match &entries[..] {
        // A link would make of any folder a source, in which patches are applied.
        [only] if fs::symlink_metadata(only)?.is_dir() => return Ok(only.clone()),
        [only] => format!("all that the archive has at its top is {}, which is no folder", file_name(only)),
        other => format!("the archive has {} entries at its top, not one folder", other.len()),
    };
    Err(io::Error::other(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Nobody;
    use std::os::unix::fs::PermissionsExt;
    use tar::EntryType::{self, Directory, Link, Regular, Symlink};

    /// An archive of these entries: kind, name, and what is in a file or where a link leads.
    fn archive(path: &Path, entries: &[(EntryType, &str, &str)]) {
        let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
        for (kind, name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o700);
            // Not as the library would have it: it refuses names such as these.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            let data = if *kind == Regular { content.as_bytes() } else { b"" };
            if [Link, Symlink].contains(kind) {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            tar.append(&header, data).unwrap();
        }
        tar.finish().unwrap();
    }

    #[test]
    fn what_is_at_the_top_has_to_be_one_folder_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (tar, into) = (folder.path().join("a.tar"), folder.path().join("tree"));
        let unpacked = |entries: &[(EntryType, &str, &str)]| {
            archive(&tar, entries);
            unpack(&tar, &into, &Nobody).map_err(|failure| failure.seen)
        };
        let elsewhere = folder.path().display().to_string();
        let seen = unpacked(&[(Symlink, "linux", &elsewhere)]).unwrap_err();
        assert!(seen.ends_with("all that the archive has at its top is linux, which is no folder"), "{seen}");
        assert!(unpacked(&[(Regular, "linux", "")]).unwrap_err().ends_with("which is no folder"));
        let two = [(Regular, "linux/Makefile", ""), (Regular, "README", "")];
        assert!(unpacked(&two).unwrap_err().contains("2 entries"));
        assert!(!into.is_symlink() && !into.exists());
        unpacked(&two[..1]).unwrap();
        assert!(into.join("Makefile").is_file());
    }

    #[test]
    fn no_entry_is_written_outside_not_even_through_a_link() {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        let (to_folder, to_file) = (outside.path().display().to_string(), victim.display().to_string());
        let archives: [&[(EntryType, &str, &str)]; 6] = [
            &[(Regular, "../outside", "evil")],
            &[(Symlink, "linux/out", &to_folder), (Regular, "linux/out/victim", "evil")],
            &[(Symlink, "linux/out", &to_folder), (Directory, "linux/out", "")],
            &[(Symlink, "linux/out", &to_file), (Regular, "linux/out", "evil")],
            &[(Link, "linux/out", &to_file), (Regular, "linux/out", "evil")],
            &[(Symlink, "linux/out", &to_folder), (Link, "linux/in", "linux/out/victim")],
        ];
        for entries in archives {
            fs::write(&victim, "not ours").unwrap();
            fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let tar = folder.path().join("a.tar");
            archive(&tar, entries);
            // Some are refused; what matters is what is outside.
            let _ = unpack(&tar, &folder.path().join("tree"), &Nobody);
            assert_eq!(fs::read_to_string(&victim).unwrap(), "not ours", "{entries:?}");
            let beside = |folder: &Path| fs::read_dir(folder).unwrap().count();
            assert_eq!(beside(outside.path()), 1, "{entries:?}");
            assert!(!folder.path().join("outside").exists(), "{entries:?}");
            assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o755);
            // Nothing inside is the file outside.
            let inside = folder.path().join("tree/in");
            assert!(!inside.exists(), "{entries:?}");
        }
    }
}
