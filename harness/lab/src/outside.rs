//! What lab makes of input from outside, for programs that feed it with whatever comes to mind: `harness/fuzz`.
//!
//! Each is what the rest of lab calls, with bytes in the place of a file or a guest.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;

use crate::compression;
use crate::debian;
use crate::failure::Failure;
use crate::guest::{LastLine, watch_console};
use crate::kernel::outside;
use crate::kernel::{Catalogue, Patch, Recipe};
use crate::watch::Nobody;

pub use crate::kernel::outside::{
    change, explained, initcalls, load_order, lost_config, mails, quilt_series, release,
};

/// What is in a file of these bytes, whichever way it is compressed.
///
/// # Errors
/// Where it is broken, or too large.
pub fn decompressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    compression::read_all(io::Cursor::new(bytes.to_vec()))
}

/// What a console says of its guest: the deaths with their lines, what is kept of it, and its last line.
pub fn console(stream: impl Read) -> (Vec<String>, Vec<u8>, String) {
    let (events, heard) = mpsc::sync_channel(1);
    let (mut copy, last_line) = (Vec::new(), LastLine::default());
    let deaths = std::thread::scope(|scope| {
        let listener = scope.spawn(|| heard.into_iter().map(|event| format!("{event:?}")).collect());
        watch_console(stream, &mut copy, &events, &last_line);
        drop(events);
        listener.join().unwrap_or_default()
    });
    (deaths, copy, last_line.get())
}

/// The kernels of a `kernels.toml` with this text, in a folder.
///
/// # Errors
/// As [`Catalogue::read`].
pub fn catalogue(text: &str, folder: &Path) -> Result<Catalogue, Failure> {
    Catalogue::parse(text, folder)
}

/// The recipe of a kernel that a person asks for so.
///
/// # Errors
/// Where there is no such thing.
pub fn named(text: &str, folder: &Path, catalogue: &Catalogue) -> Result<Recipe, Failure> {
    outside::named(text, folder, catalogue)
}

/// The patches in a file, kept below a folder: as git reads them.
///
/// # Errors
/// Where there is none.
pub fn patches(file: &Path, keep: &Path) -> Result<Vec<Patch>, Failure> {
    outside::patches(file, keep)
}

/// Unpacks an archive of kernel source.
///
/// # Errors
/// Where it is none.
pub fn unpacked(archive: &[u8], folder: &Path) -> Result<(), Failure> {
    let path = folder.join("archive");
    fs::write(&path, archive).map_err(|e| Failure::file("write", &path, &e))?;
    outside::unpacked(&path, &folder.join("tree"), &Nobody)
}

/// The version that apt would install, by what it says.
pub fn candidate(policy: &str) -> Option<&str> {
    debian::candidate_in(policy)
}
