//! Puts a patch series into a source tree and takes it out again, whatever happens in between.
//!
//! Before the first patch, the files that the series touches are copied aside. Taking the series out is
//! putting the copies back: it works from any state that a kill can leave, and needs no reverse patch.

mod explain;
mod touched;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::recipe::Patch;
use crate::kernel::source::remove;

pub(super) use touched::{Touched, touched};

/// A source tree and the place beside it where pristine files are kept while patches are in.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    aside: PathBuf,
    /// The lock on the tree: git holds it as well, so that nobody mends the tree while it still writes.
    lock: Option<Arc<File>>,
}

/// Marks, in the folder of pristine files, a file that did not exist before the series.
const ABSENT: &str = "\u{7f}absent";

/// How patches are applied. With -p1 it does not guess how much of a name is the tree's, and nothing that a person has
/// set for git makes of a patch, or of the tree, what it is not.
const APPLY: [&str; 8] = [
    "-c",
    "core.autocrlf=false",
    "-c",
    "apply.ignoreWhitespace=no",
    "apply",
    "-p1",
    "--whitespace=nowarn",
    "--no-ignore-whitespace",
];

/// What to do about a patch that git cannot read.
pub(super) const AS_GIT_DOES: &str = "name a diff as git makes it, with a/ and b/";

impl Tree {
    /// The tree at `root`; pristine files go to `aside`, on the same file system.
    pub(crate) fn new(root: PathBuf, aside: PathBuf, lock: Option<Arc<File>>) -> Self {
        Self { root, aside, lock }
    }

    /// Puts the series in. On failure the tree is as before.
    pub(crate) fn apply(&self, series: &[Patch]) -> Result<(), Failure> {
        self.restore()?;
        let mut files_touched = BTreeSet::new();
        for patch in series {
            let files = touched(&self.git(), &patch.path)?.files();
            let attempt = format!("read the patch {patch}");
            files_touched
                .extend(files.map_err(|seen| Failure::new(Kind::Series, attempt, seen, AS_GIT_DOES))?);
        }
        self.set_aside(&files_touched)
            .map_err(|e| Failure::file("copy files of the series to", &self.aside, &e))?;
        for patch in series {
            // Before what was applied until then is taken out: what stands there is to be shown.
            if let Err(failure) = self.apply_one(patch) {
                self.restore()?;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Puts back what a series changed, also after a kill. Without a series in the tree it does nothing.
    pub(crate) fn restore(&self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::file("put back files from", &self.aside, &e);
        if self.aside.exists() {
            self.put_back(&self.aside).map_err(failed)?;
            remove(&self.aside)?;
        }
        remove(&self.partial())
    }

    fn partial(&self) -> PathBuf {
        self.aside.with_extension("partial")
    }

    /// The copies appear under their final name all at once: before that, no patch has touched the tree.
    fn set_aside(&self, files: &BTreeSet<PathBuf>) -> io::Result<()> {
        let partial = self.partial();
        fs::create_dir_all(&partial)?;
        for file in files {
            let (from, to) = (self.root.join(file), partial.join(file));
            fs::create_dir_all(to.parent().unwrap_or(&partial))?;
            if from.exists() {
                fs::copy(from, to)?;
            } else {
                fs::write(absent_mark(&to), "")?;
            }
        }
        fs::rename(partial, &self.aside)
    }

    fn put_back(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.put_back(&path)?;
                continue;
            }
            let relative = path.strip_prefix(&self.aside).map_err(io::Error::other)?.to_owned();
            let name = relative.to_string_lossy();
            if let Some(name) = name.strip_suffix(ABSENT) {
                match fs::remove_file(self.root.join(name)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => continue,
                }
            }
            // A copy, so that it can be done again after a kill; with a new time stamp, which make needs. A
            // folder that a patch emptied is gone, too.
            let target = self.root.join(&relative);
            let mode = |path: &Path| fs::metadata(path).map(|meta| meta.permissions()).ok();
            if fs::read(&path)? != fs::read(&target).unwrap_or_default() || mode(&path) != mode(&target) {
                fs::create_dir_all(target.parent().unwrap_or(&self.root))?;
                fs::copy(&path, target)?;
            }
        }
        Ok(())
    }

    /// Outside of a repository `git apply` works on plain files; within one that lies above the store it would skip,
    /// without a word, what lies outside of that.
    fn git(&self) -> Git {
        Git::outside(&self.root, self.lock.clone())
    }

    fn apply_one(&self, patch: &Patch) -> Result<(), Failure> {
        let attempt = format!("apply {patch}");
        let git = self.git();
        let path = patch.path.display().to_string();
        let output = git.run(&attempt, &[&APPLY[..], &["--verbose", &path]].concat())?;
        if output.status.success() {
            return Ok(());
        }
        let text = fs::read(&patch.path).unwrap_or_default();
        let reverse = git.run(&attempt, &[&APPLY[..], &["--check", "--reverse", &path]].concat())?;
        let seen = if reverse.status.success() {
            "it is applied already: all that it adds is there".to_owned()
        } else {
            explain::explain(&output.stderr, &String::from_utf8_lossy(&text), &self.root)
        };
        let next = "rebase it on this source, where it has to apply without fuzz, or name the source it was made for";
        Err(Failure::new(Kind::Series, attempt, seen, next))
    }
}

fn absent_mark(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ABSENT);
    name.into()
}

#[cfg(test)]
mod tests;
