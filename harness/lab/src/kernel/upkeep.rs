//! What the kernel store holds, and what of it can go.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::failure::Failure;
use crate::kernel::hold::{self, PARTIAL, Scratch};
use crate::kernel::identity::{Identity, RECORD};
use crate::kernel::source::remove;
use crate::kernel::store::Store;

/// Something that the store holds.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// Its folder or file.
    pub path: PathBuf,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// What the store holds.
#[derive(Clone, Debug)]
pub enum What {
    /// A finished kernel; `None` for one that cannot be read.
    Kernel(Option<Box<Identity>>),
    /// A source with its object trees.
    Source,
    /// A package, or an archive out of one.
    Download,
    /// Patches, as they were read.
    Patches,
    /// What an interrupted run has left.
    Leftover,
}

impl Store {
    /// All that it holds, kernels first, the last used one first.
    ///
    /// # Errors
    /// `Files`.
    pub fn items(&self) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for path in entries(&self.root().join("kernels"))? {
            let record = path.join(RECORD);
            let identity = fs::read(&record).ok().and_then(|read| serde_json::from_slice(&read).ok());
            items.push(item(What::Kernel(identity), path, &record)?);
        }
        for path in entries(&self.root().join("sources"))? {
            // Written by whoever builds there.
            let lock = path.join("lock");
            items.push(item(What::Source, path, &lock)?);
        }
        for (what, folder) in [(What::Download, "downloads"), (What::Patches, "patches")] {
            for path in entries(&self.root().join(folder))? {
                items.push(item(what.clone(), path.clone(), &path)?);
            }
        }
        items.retain(|item| !is_leftover(&item.path));
        items.extend(self.leftovers()?);
        items
            .sort_by_key(|item| (std::mem::discriminant(&item.what) != KERNEL, std::cmp::Reverse(item.used)));
        Ok(items)
    }

    /// Removes what runs have left that were killed.
    ///
    /// # Errors
    /// `Files`.
    pub(crate) fn sweep(&self) -> Result<(), Failure> {
        self.leftovers()?.iter().try_for_each(|item| self.remove(item).map(drop))
    }

    fn leftovers(&self) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for folder in [self.root().to_owned(), self.root().join("downloads"), self.root().join("patches")] {
            for path in entries(&folder)?.into_iter().filter(|path| is_leftover(path)) {
                items.push(item(What::Leftover, path.clone(), &path)?);
            }
        }
        Ok(items)
    }

    /// Removes something, unless somebody uses it; whether it is gone.
    ///
    /// # Errors
    /// `Files`.
    pub fn remove(&self, item: &Item) -> Result<bool, Failure> {
        let failed = |e: io::Error| Failure::file("remove", &item.path, &e);
        if !item.path.is_dir() {
            return match fs::remove_file(&item.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
                _ => Ok(true),
            };
        }
        let Some((_alone, lock)) = nobody_uses(item)? else { return Ok(!item.path.exists()) };
        // It goes all at once: nobody begins to use a part of it.
        let scratch = Scratch::partial(self.root())?;
        let gone = scratch.path().join("gone");
        fs::rename(&item.path, &gone).map_err(failed)?;
        drop(lock);
        remove(&gone)?;
        Ok(true)
    }

    /// Whether it could be removed now.
    ///
    /// # Errors
    /// `Files`.
    pub fn could_remove(&self, item: &Item) -> Result<bool, Failure> {
        Ok(!item.path.is_dir() || nobody_uses(item)?.is_some())
    }
}

/// Sees to it that nobody uses a folder as long as this is kept; `None` where somebody does.
fn nobody_uses(item: &Item) -> Result<Option<(File, Option<File>)>, Failure> {
    let failed = |e: io::Error| Failure::file("remove", &item.path, &e);
    let Some(alone) = hold::alone(&item.path).map_err(failed)? else { return Ok(None) };
    let What::Source = item.what else { return Ok(Some((alone, None))) };
    // Of a build whose harness was killed, make may still be there, and holds this one.
    let path = item.path.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some((alone, Some(file)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

const KERNEL: std::mem::Discriminant<What> = std::mem::discriminant(&What::Kernel(None));

/// Whether it is a folder in which something is, or was, put together.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_dir() && [PARTIAL, "kvm-proof-", "perf-"].iter().any(|beginning| name.starts_with(beginning))
}

/// Notes that a kernel is used.
pub(super) fn touch(kernel: &Path) {
    // For `gc` only: without it the kernel seems older than it is.
    let _ = File::open(kernel.join(RECORD)).and_then(|file| file.set_modified(SystemTime::now()));
}

fn item(what: What, path: PathBuf, used: &Path) -> Result<Item, Failure> {
    let bytes = size(&path).map_err(|e| Failure::file("look at", &path, &e))?;
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let used = modified(used).or_else(|_| modified(&path)).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(Item { what, path, bytes, used })
}

impl Item {
    /// For how long it was not used.
    pub fn idle(&self) -> Duration {
        self.used.elapsed().unwrap_or_default()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|e| Failure::file("list", folder, &e)),
    }
}

/// What a file or a folder takes on the disk. What goes away meanwhile takes nothing.
fn size(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let meta = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        meta => meta?,
    };
    // st_blocks counts units of 512 bytes (stat(3type)).
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        let entries = match fs::read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        for entry in entries {
            bytes += size(&entry?.path())?;
        }
    }
    Ok(bytes)
}
