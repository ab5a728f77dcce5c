//! Puts a patch series into a source tree and takes it out again, whatever happens in between.
//!
//! Before the first patch, the files that the series touches are copied aside. Taking the series out is
//! putting the copies back: it works from any state that a kill can leave, and needs no reverse patch.

mod aside;
mod essence;
mod explain;
mod touched;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::recipe::Patch;
use crate::kernel::source::remove;

pub(super) use essence::essence;
pub(super) use explain::explain as explained;
pub(super) use touched::{Touched, touched};

/// A source tree and the place beside it where pristine files are kept while patches are in.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    aside: PathBuf,
    /// The lock on the tree: git holds it as well, so that nobody mends the tree while it still writes.
    lock: Option<Arc<File>>,
}

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

    /// Puts the series in, and returns the files that each patch touches, in their order. On failure the tree is as
    /// before.
    pub(crate) fn apply(&self, series: &[Patch]) -> Result<Vec<BTreeSet<PathBuf>>, Failure> {
        self.restore()?;
        let mut touched_by_each = Vec::new();
        for patch in series {
            let files = touched(&self.git(), &patch.path)?.files();
            let attempt = format!("read the patch {patch}");
            touched_by_each
                .push(files.map_err(|seen| Failure::new(Kind::Series, attempt, seen, AS_GIT_DOES))?);
        }
        let touched_by_all = touched_by_each.iter().flatten().cloned().collect();
        self.set_aside(&touched_by_all)
            .map_err(|e| Failure::file("copy files of the series to", &self.aside, &e))?;
        let applied = series.iter().try_for_each(|patch| self.apply_one(patch));
        // What stands in the tree was looked at by now.
        applied.and_then(|()| self.refuse_links_out(&touched_by_all)).or_else(|failure| {
            self.restore()?;
            Err(failure)
        })?;
        Ok(touched_by_each)
    }

    /// A kernel that is made of what such a link leads to would not be known by its source and patches.
    fn refuse_links_out(&self, files: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let out = aside::link_out_of(&self.root, files);
        match out.map_err(|e| Failure::file("look at links in", &self.root, &e))? {
            None => Ok(()),
            Some((link, to)) => {
                let seen = format!("it makes {} a link to {}, out of the tree", link.display(), to.display());
                Err(Failure::new(
                    Kind::Series,
                    "apply the patches",
                    seen,
                    "let it lead to a file of the tree",
                ))
            }
        }
    }

    /// Puts back what a series changed, also after a kill. Without a series in the tree it does nothing.
    pub(crate) fn restore(&self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::file("put back files from", &self.aside, &e);
        if self.aside.exists() {
            aside::put_back(&self.root, &self.aside).map_err(failed)?;
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
        aside::copy(&self.root, files, &partial)?;
        fs::rename(partial, &self.aside)
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
        if reverse.status.success() {
            let seen = "it is applied already: all that it adds is there";
            return Err(Failure::new(
                Kind::Series,
                attempt,
                seen,
                "leave it out, or name a source without it",
            ));
        }
        let seen = explain::explain(&output.stderr, &String::from_utf8_lossy(&text), &self.root);
        let next = "rebase it on this source, where it has to apply without fuzz, or name the source it was made for";
        Err(Failure::new(Kind::Series, attempt, seen, next))
    }
}

#[cfg(test)]
mod tests;
