//! Notes a folder as it stands as a tree object, without touching it: all of it, or an error.

use std::collections::HashSet;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Git, Repository};
use crate::failure::{Failure, Kind};

/// What a build in a source tree leaves there: with it no other build is possible (6.1: Makefile, "outputmakefile").
const BUILT: [&str; 12] = [
    ":(exclude,top).config",
    ":(exclude,top)include/config",
    ":(exclude,top)include/generated",
    ":(exclude,top,glob)arch/*/include/generated/**",
    ":(exclude,top)vmlinux",
    ":(exclude,glob)**/*.o",
    ":(exclude,glob)**/*.a",
    ":(exclude,glob)**/*.ko",
    ":(exclude,glob)**/*.mod",
    ":(exclude,glob)**/*.mod.c",
    ":(exclude,glob)**/*.order",
    ":(exclude,glob)**/.*.cmd",
];

/// What belongs to a folder by its own repository.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// A tree object that is much like it: that of its last commit.
    pub(crate) like: String,
    /// Its index: `git ls-files -z -t --stage`.
    pub(crate) index: String,
    /// The file of what it ignores beside its `.gitignore`.
    pub(crate) exclude: PathBuf,
}

/// A file in an index.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    /// What a check-out leaves out on purpose.
    sparse: bool,
    /// Mode, object and stage, as `git update-index --index-info` takes them.
    what: &'a str,
    path: &'a str,
}

impl Entry<'_> {
    /// Whether it is a repository within another one, of which that keeps the commit alone.
    fn is_repository(&self) -> bool {
        self.what.starts_with("160000 ")
    }
}

/// The files of `git ls-files -z --stage`, with or without `-t`.
fn entries(listing: &str) -> impl Iterator<Item = Entry<'_>> {
    listing.split('\0').filter_map(|line| {
        let (what, path) = line.split_once('\t')?;
        let tagged = what.starts_with(|first: char| first.is_ascii_uppercase());
        let (tag, what) = if tagged { what.split_once(' ')? } else { ("", what) };
        Some(Entry { sparse: tag == "S", what, path })
    })
}

impl Repository {
    /// Notes the files of a folder as they stand now; the name of the tree object. The folder is not touched.
    ///
    /// # Errors
    /// `Asked` for a folder with a repository in it that is no part of it; `Files`.
    pub(crate) fn snapshot(&self, folder: &Path, chosen: Option<&Chosen>) -> Result<String, Failure> {
        let index = self.path.join("snapshot-index");
        let snapshot = Snapshot {
            attempt: format!("note the files of {}", folder.display()),
            git: Git::of(&self.path, folder, None).with_index(index.clone()),
            repository: &self.path,
            folder,
        };
        // Until this is dropped: then whoever has left a lock of git's is gone.
        let _lock = self.lock(&snapshot.attempt)?;
        self.unlock("snapshot-index.lock")?;
        self.forget_another_folder(&index, folder)?;
        let begun = index.exists();
        match chosen {
            // Nobody has chosen what belongs to it, and its ignore file need not say: that of Debian's kernel source
            // ignores all.
            None => snapshot.ask(&[&["add", "--all", "--force", "--", "."], &BUILT[..]].concat())?,
            Some(Chosen { like, index: _, exclude }) => {
                if !begun {
                    snapshot.ask(&["read-tree", like])?;
                }
                let ignored = self.path.join("info/exclude");
                let text = fs::read(exclude).unwrap_or_default();
                let info = self.path.join("info");
                fs::create_dir_all(&info).map_err(|e| Failure::file("create", &info, &e))?;
                fs::write(&ignored, text).map_err(|e| Failure::file("write", &ignored, &e))?;
                snapshot.ask(&["add", "--all", "."])?
            }
        };
        snapshot.complete(chosen.map_or("", |chosen| &chosen.index))?;
        snapshot.ask(&["write-tree"])
    }

    /// Removes an index that was made of another folder: git compares size, times and inode of a file, and all of them
    /// can be those of a file that was unpacked there in the same second, with the time that the archive gives both.
    fn forget_another_folder(&self, index: &Path, folder: &Path) -> Result<(), Failure> {
        let note = self.path.join("snapshot-of");
        let now = folder.as_os_str().as_bytes();
        if fs::read(&note).is_ok_and(|noted| noted == now) {
            return Ok(());
        }
        match fs::remove_file(index) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::file("remove", index, &e));
            }
            _ => {}
        }
        fs::write(&note, now).map_err(|e| Failure::file("write", &note, &e))
    }
}

/// A snapshot that is being made.
struct Snapshot<'a> {
    attempt: String,
    git: Git,
    repository: &'a Path,
    folder: &'a Path,
}

impl Snapshot<'_> {
    /// Adds what belongs to the folder, by its own index, and `git add` does not see; refuses what it cannot add.
    fn complete(&self, index: &str) -> Result<(), Failure> {
        let listing = self.ask(&["ls-files", "-z", "--stage"])?;
        let noted: HashSet<&str> = entries(&listing).map(|entry| entry.path).collect();
        let (mut sparse, mut ignored) = (String::new(), String::new());
        for entry in entries(index).filter(|entry| !noted.contains(entry.path)) {
            if entry.sparse {
                sparse.push_str(&format!("{}\t{}\0", entry.what, entry.path));
            } else if self.folder.join(entry.path).symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
                // Somebody has added it although it is ignored.
                ignored.push_str(&format!("{}\0", entry.path));
            }
        }
        let from_file = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        self.tell(&[&["--literal-pathspecs", "add", "--force"], &from_file[..]].concat(), &ignored)?;
        self.tell(&["update-index", "-z", "--index-info"], &sparse)?;

        let known: HashSet<&str> =
            entries(index).filter(Entry::is_repository).map(|entry| entry.path).collect();
        let within: Vec<&str> = entries(&listing)
            .filter(|entry| entry.is_repository() && !known.contains(entry.path))
            .map(|entry| entry.path)
            .collect();
        let Some(first) = within.first() else { return Ok(()) };
        // The next snapshot begins without it.
        self.tell(&["update-index", "-z", "--force-remove", "--stdin"], &(within.join("\0") + "\0"))?;
        let seen =
            format!("{first} is a git repository of its own, of which git would note none of the files");
        let next = "move it elsewhere, or have it ignored (.git/info/exclude) if no build needs it";
        Err(Failure::new(Kind::Asked, self.attempt.as_str(), seen, next))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.git.ask(&self.attempt, arguments, Kind::Files, "see that all files of the folder can be read")
    }

    /// Runs git with a list as its input, if there is anything in it.
    fn tell(&self, arguments: &[&str], list: &str) -> Result<(), Failure> {
        if list.is_empty() {
            return Ok(());
        }
        let failed = |e: std::io::Error| Failure::file("write to", self.repository, &e);
        let mut input = tempfile::tempfile_in(self.repository).map_err(failed)?;
        input.write_all(list.as_bytes()).and_then(|()| input.rewind()).map_err(failed)?;
        let output = self.git.run_on(&self.attempt, arguments, Some(input))?;
        if output.status.success() {
            return Ok(());
        }
        let next = "see that all files of the folder can be read";
        Err(Failure::new(Kind::Files, self.attempt.as_str(), output.stderr.trim(), next))
    }
}
