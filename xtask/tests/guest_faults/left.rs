//! What a command may leave behind, and must not: processes, sockets, temporary files, shared memory.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::footprint::{Standing, at_work_in};

/// How long a process that was killed may take to be gone.
const REAPED: Duration = Duration::from_secs(5);

/// What there was before.
pub(crate) struct Before<'a> {
    folder: &'a Path,
    standing: Standing,
}

impl<'a> Before<'a> {
    /// Before a command is started that has its temporary files in `tmp` of this folder, its run in `run`, and programs
    /// on its PATH in `bin`: by that each process that it starts is known.
    pub(crate) fn look(folder: &'a Path) -> Self {
        Self { folder, standing: Standing::now(&[&folder.join("tmp")]) }
    }

    /// What there is now that was not. A lock is held by a process, and gone with it.
    pub(crate) fn left(&self) -> Vec<String> {
        let deadline = Instant::now() + REAPED;
        let mut left = at_work_in(self.folder);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            left = at_work_in(self.folder);
        }
        left.extend(self.standing.new_since().iter().map(|path| path.display().to_string()));
        left.extend(files(&self.folder.join("run")).iter().filter_map(|path| {
            let kind = fs::symlink_metadata(path).ok()?.file_type();
            let name = path.file_name()?.to_string_lossy();
            let temporary = name.starts_with(".tmp") || name.ends_with(".tmp") || name.ends_with(".lock");
            let odd = kind.is_socket() || kind.is_fifo() || temporary;
            odd.then(|| format!("in the run: {}", path.display()))
        }));
        left
    }
}

/// All that is below a folder, folders left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.is_dir() && !path.is_symlink() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}
