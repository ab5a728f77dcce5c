//! What a command may leave behind, and must not: processes, sockets, temporary files, shared memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names the folder of a test to all processes that are started for it, so that each can be found.
pub(crate) const OF: &str = "PARPROBE_TEST_FOLDER";

/// How long a process that was killed may take to be gone.
const REAPED: Duration = Duration::from_secs(5);

/// What there was before.
pub(crate) struct Before {
    shared: BTreeSet<PathBuf>,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self { shared: shared_memory() }
    }

    /// What there is now that was not, of a command that was started with this folder, has its temporary files there in
    /// `tmp` and its run in `run`. A lock is held by a process, and gone with it.
    pub(crate) fn left(&self, folder: &Path) -> Vec<String> {
        let deadline = Instant::now() + REAPED;
        let mut left = processes(folder);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            left = processes(folder);
        }
        left.extend(files(&folder.join("tmp")).iter().map(|path| format!("temporary: {}", path.display())));
        left.extend(files(&folder.join("run")).iter().filter_map(|path| {
            let kind = fs::symlink_metadata(path).ok()?.file_type();
            let name = path.file_name()?.to_string_lossy();
            let temporary = name.starts_with(".tmp") || name.ends_with(".tmp") || name.ends_with(".lock");
            let odd = kind.is_socket() || kind.is_fifo() || temporary;
            odd.then(|| format!("in the run: {}", path.display()))
        }));
        left.extend(
            shared_memory().difference(&self.shared).map(|path| format!("shared: {}", path.display())),
        );
        left
    }
}

/// Those that were started for a test.
fn processes(folder: &Path) -> Vec<String> {
    let mark = format!("{OF}={}\0", folder.display());
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = all.filter(|process| {
        let environ = fs::read(process.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(&mark)
    });
    ours.map(|process| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        format!("{}: {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
    })
    .collect()
}

/// Shared memory of QEMU or of ours; others of the host have theirs there as well.
fn shared_memory() -> BTreeSet<PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.contains("qemu") || name.contains("parprobe")
    };
    files(Path::new("/dev/shm")).into_iter().filter(ours).collect()
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
