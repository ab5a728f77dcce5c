//! What a process holds of its host, and what is left there of runs: read from `/proc` and from listed folders.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What a process holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// Memory that is its own, pages of files not counted, in KiB (`RssAnon` of proc(5)).
    pub memory_kib: u64,
    /// Files, sockets and pipes that are open.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processes that it has started and that are there, zombies as well.
    pub children: usize,
}

impl Held {
    /// What this process itself holds.
    ///
    /// # Errors
    /// `Files` where `/proc` does not say.
    pub fn by_us() -> Result<Self, Failure> {
        let process = Path::new("/proc/self");
        let failed = |e: io::Error| Failure::file("read", process, &e);
        let status = fs::read_to_string(process.join("status")).map_err(failed)?;
        let count = |folder: &str| fs::read_dir(process.join(folder)).map(Iterator::count).map_err(failed);
        let own = std::process::id().to_string();
        let is_child =
            |process: &Process| value(&process.status, "PPid:").is_some_and(|parent| parent == own);
        let memory = value(&status, "RssAnon:").and_then(|text| text.strip_suffix(" kB")?.parse().ok());
        Ok(Self {
            memory_kib: memory.ok_or_else(|| failed(io::Error::other("status has no RssAnon")))?,
            // Less the one that counts them.
            descriptors: count("fd")?.saturating_sub(1),
            threads: count("task")?,
            children: processes().iter().filter(|process| is_child(process)).count(),
        })
    }
}

/// Other processes that work with something in a folder: they have a file of it open, a lock on it, stand in it, or
/// name it on their command line or in their environment. What they are called, with their numbers.
pub fn at_work_in(folder: &Path) -> Vec<String> {
    let named = folder.display().to_string();
    let leads_here = |link: &Path| fs::read_link(link).is_ok_and(|to| to.starts_with(folder));
    let at_work = |process: &&Process| {
        let open = fs::read_dir(process.place.join("fd")).into_iter().flatten().flatten();
        process.command.contains(&named)
            || process.environment.contains(&named)
            || leads_here(&process.place.join("cwd"))
            || open.into_iter().any(|entry| leads_here(&entry.path()))
    };
    let own = PathBuf::from(format!("/proc/{}", std::process::id()));
    let told = |process: &Process| {
        let number = process.place.file_name().unwrap_or_default().to_string_lossy();
        format!("{number} {}", process.command.chars().take(200).collect::<String>())
    };
    processes().iter().filter(|process| process.place != own).filter(at_work).map(told).collect()
}

/// A process as `/proc` has it.
struct Process {
    place: PathBuf,
    status: String,
    command: String,
    environment: String,
}

/// All that there are. One that ends meanwhile is left out.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let read = |place: PathBuf| {
        let text = |name: &str| {
            fs::read(place.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        };
        let (status, command) = (text("status").ok()?, text("cmdline").ok()?);
        // That of another user's process is not for us.
        let environment = text("environ").unwrap_or_default();
        Some(Process { place, status, command, environment })
    };
    numbered.filter_map(|entry| read(entry.path())).collect()
}

/// A line of a process's status.
fn value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(key)?.trim()))
}

/// Where shared memory has its names, on each Linux (shm_overview(7)).
const SHARED_MEMORY: &str = "/dev/shm";

/// What stands in shared memory and in some other folders at one time: to be held against what stands there later.
#[derive(Clone, Debug)]
pub struct Standing {
    shared: PathBuf,
    /// Whether others worked there already.
    with_others: bool,
    folders: Vec<PathBuf>,
    there: BTreeSet<PathBuf>,
}

impl Standing {
    /// Looks now.
    pub fn now(others: &[&Path]) -> Self {
        Self::of(Path::new(SHARED_MEMORY), others)
    }

    fn of(shared: &Path, others: &[&Path]) -> Self {
        let mut folders = vec![shared.to_path_buf()];
        folders.extend(others.iter().map(|folder| folder.to_path_buf()));
        let there = list(&folders);
        Self { shared: shared.to_path_buf(), with_others: !at_work_in(shared).is_empty(), folders, there }
    }

    /// What is there now and was not then. To be asked when all that could have made it has ended: in shared memory
    /// nothing tells who did, so that nothing there counts as long as others are at work in it, as browsers are.
    pub fn new_since(&self) -> Vec<PathBuf> {
        let mut new: Vec<PathBuf> = list(&self.folders).difference(&self.there).cloned().collect();
        let is_shared = |path: &PathBuf| path.parent() == Some(&self.shared);
        if new.iter().any(is_shared) && (self.with_others || !at_work_in(&self.shared).is_empty()) {
            new.retain(|path| !is_shared(path));
        }
        new
    }
}

/// What is in these folders. In one that is not there is nothing.
fn list(folders: &[PathBuf]) -> BTreeSet<PathBuf> {
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// Starts a program. The kernel lets us go on a little before `/proc` shows its words (fs/exec.c, begin_new_exec
    /// closes our pipe, create_elf_tables comes later).
    fn start(command: &mut Command) -> Child {
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        while fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn what_a_process_holds_is_counted() {
        let before = Held::by_us().unwrap();
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::piped()).spawn().unwrap();
        let with = Held::by_us().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Other tests of this process start children as well: of this one it is known that it was there.
        assert!(with.children >= 1 && with.threads >= 1 && with.descriptors >= 4, "{with:?}");
        assert!(before.memory_kib > 100, "{before:?}");
    }

    #[test]
    fn whoever_works_in_a_folder_is_seen_by_its_files_its_place_and_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let file = fs::File::create(at.join("file")).unwrap();
        let mut all = [
            start(Command::new("sleep").arg("1000").current_dir(at)),
            start(Command::new("sleep").arg("1000").stdin(file)),
            start(Command::new("sleep").arg("1000").env("SOMETHING", at.join("none"))),
            start(Command::new("tail").arg("-F").arg(at.join("none")).stderr(Stdio::null())),
        ];
        let seen = at_work_in(at);
        for child in &mut all {
            child.kill().unwrap();
            child.wait().unwrap();
            let number = format!("{} ", child.id());
            assert!(seen.iter().any(|process| process.starts_with(&number)), "{number} is not in {seen:?}");
        }
        assert_eq!(at_work_in(at), Vec::<String>::new());
    }

    #[test]
    fn what_is_new_in_shared_memory_counts_where_nobody_else_is_at_work_there() {
        let (shared, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let alone = Standing::of(shared.path(), &[own.path()]);
        let files = [own.path().join("a"), shared.path().join("b")];
        files.iter().for_each(|file| fs::write(file, "").unwrap());
        let new = |standing: &Standing| BTreeSet::from_iter(standing.new_since());
        assert_eq!(new(&alone), BTreeSet::from_iter(files.clone()));
        let mut other = start(Command::new("sleep").arg("1000").env("TMPDIR", shared.path()));
        let beside = Standing::of(shared.path(), &[]);
        fs::write(shared.path().join("c"), "").unwrap();
        let both = (new(&alone), new(&beside));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(both, (BTreeSet::from([files[0].clone()]), BTreeSet::new()));
        // It may have left that.
        assert_eq!(new(&beside), BTreeSet::new());
        assert_eq!(new(&alone).len(), 3);
    }

    #[test]
    fn what_is_new_in_a_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), "").unwrap();
        let standing = Standing::now(&[folder.path()]);
        fs::write(folder.path().join("new"), "").unwrap();
        let new = standing.new_since();
        assert!(new.contains(&folder.path().join("new")), "{new:?}");
        assert!(!new.contains(&folder.path().join("old")), "{new:?}");
    }
}
