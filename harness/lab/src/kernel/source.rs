//! Kernel source archives: found, identified by content, unpacked.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::kernel::catalogue::Source;
use crate::watch::Watch;

/// The archive of a source, or how to get it.
///
/// # Errors
/// `Host` with the package to install.
pub(crate) fn archive(source: &Source) -> Result<&Path, Failure> {
    if source.archive.is_file() {
        return Ok(&source.archive);
    }
    Err(Failure::new(
        Kind::Host,
        format!("find the kernel source {}", source.archive.display()),
        "there is no such file",
        format!("apt-get install {}, or run the same command with --setup", source.package),
    ))
}

/// BLAKE3 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<String, Failure> {
    let read = |path: &Path| -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut BufReader::with_capacity(1 << 18, File::open(path)?), &mut hasher)?;
        Ok(hasher.finalize())
    };
    read(path).map(|hash| hash.to_string()).map_err(|e| Failure::file("read", path, &e))
}

/// Unpacks a `.tar.xz` whose entries all lie in one folder; the content of that folder becomes `into`.
///
/// `into` appears whole or not at all. An entry that points outside of it is refused.
///
/// # Errors
/// `Files` for a broken archive or a full disk; `Interrupted`.
pub(crate) fn unpack(archive: &Path, into: &Path, watch: &dyn Watch) -> Result<(), Failure> {
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
    let file = File::open(archive).map_err(|e| Failure::file("read", archive, &e))?;
    let mut tar = tar::Archive::new(liblzma::read::XzDecoder::new(BufReader::new(file)));
    let failed = |e: &io::Error| Failure::file(&format!("{attempt} to"), partial, e);
    std::fs::create_dir_all(partial).map_err(|e| failed(&e))?;
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
    let top = only_entry(partial).map_err(|e| failed(&e))?;
    std::fs::rename(top, into).map_err(|e| failed(&e))?;
    remove(partial)
}

/// Removes a folder, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", folder, &e)),
        _ => Ok(()),
    }
}

fn only_entry(folder: &Path) -> io::Result<PathBuf> {
    let entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    match &entries[..] {
        [only] => Ok(only.clone()),
        other => Err(io::Error::other(format!(
            "the archive has {} entries at its top, not one folder",
            other.len()
        ))),
    }
}
