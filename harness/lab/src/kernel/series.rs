//! Puts a patch series into a source tree and takes it out again, whatever happens in between.
//!
//! Before the first patch, the files that the series touches are copied aside. Taking the series out is
//! putting the copies back: it works from any state that a kill can leave, and needs no reverse patch.

mod explain;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::recipe::Patch;
use crate::kernel::source::remove;

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

impl Tree {
    /// The tree at `root`; pristine files go to `aside`, on the same file system.
    pub(crate) fn new(root: PathBuf, aside: PathBuf, lock: Option<Arc<File>>) -> Self {
        Self { root, aside, lock }
    }

    /// Puts the series in. On failure the tree is as before.
    pub(crate) fn apply(&self, series: &[Patch]) -> Result<(), Failure> {
        self.restore()?;
        let mut touched = BTreeSet::new();
        for patch in series {
            let text = fs::read(&patch.path).map_err(|e| Failure::file("read", &patch.path, &e))?;
            touched.extend(touched_files(&String::from_utf8_lossy(&text)).map_err(|seen| {
                Failure::new(Kind::Series, format!("read the patch {patch}"), seen, "mend the patch")
            })?);
        }
        self.set_aside(&touched)
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

    fn apply_one(&self, patch: &Patch) -> Result<(), Failure> {
        let attempt = format!("apply {patch}");
        // Outside of a repository `git apply` works on plain files; within one that lies above the store it would
        // skip, without a word, what lies outside of that.
        let git = Git::outside(&self.root, self.lock.clone());
        let path = patch.path.display().to_string();
        let output = git.run(&attempt, &["apply", "--whitespace=nowarn", "--verbose", &path])?;
        if output.status.success() {
            return Ok(());
        }
        let text = fs::read(&patch.path).unwrap_or_default();
        let reverse = git.run(&attempt, &["apply", "--check", "--reverse", &path])?;
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

/// The files that a patch changes, makes, removes, renames or copies. A name that leads out of the tree is an
/// error, and so is a change whose file cannot be known: it could not be taken out again.
pub(super) fn touched_files(patch: &str) -> Result<BTreeSet<PathBuf>, String> {
    const WHOLE: [&str; 4] = ["rename from ", "rename to ", "copy from ", "copy to "];
    let mut files = BTreeSet::new();
    let mut lines = patch.lines().peekable();
    while let Some(line) = lines.next() {
        let name = if let Some(both) = line.strip_prefix("diff --git ") {
            if both.contains('"') {
                return Err(format!("it has a name in quotes: {both}"));
            }
            // A change of mode alone has no other line with the name; a rename has its names further down.
            let (old, new) = both.split_at_checked(both.len() / 2).unwrap_or((both, ""));
            match (old.strip_prefix("a/"), new.strip_prefix(" b/")) {
                (Some(old), Some(new)) if old == new => old,
                _ => continue,
            }
        } else if let Some(name) = WHOLE.iter().find_map(|key| line.strip_prefix(key)) {
            name
        } else if let Some(old) = line.strip_prefix("--- ") {
            // A line of a mail may begin so as well: only with its other half is it a name.
            let Some(new) = lines.peek().and_then(|next| next.strip_prefix("+++ ")) else { continue };
            files.extend(named(new).map(inside).transpose()?);
            match named(old) {
                Some(name) => name,
                None => continue,
            }
        } else {
            continue;
        };
        files.insert(inside(name)?);
    }
    if files.is_empty() { Err("it changes no file".to_owned()) } else { Ok(files) }
}

/// The name in a `---` or `+++` line, without its first part, as -p1 takes it; `None` for no file.
fn named(text: &str) -> Option<&str> {
    let name = text.split('\t').next().unwrap_or(text).trim_end();
    if name == "/dev/null" {
        return None;
    }
    Some(name.split_once('/').map_or(name, |(_, rest)| rest))
}

fn inside(name: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if inside { Ok(path) } else { Err(format!("it names the file {name}, outside of the tree")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
From: somebody\nSubject: [PATCH] change\n\n---\n\
diff --git a/dir/file.c b/dir/file.c\n--- a/dir/file.c\n+++ b/dir/file.c\n\
@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
@@ -5,2 +5,3 @@\n five\n six\n+seven\n\
diff --git a/new.c b/new.c\nnew file mode 100644\n--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+new\n-- \n2.0\n";

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(content: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("tree/dir")).unwrap();
            fs::write(folder.path().join("tree/dir/file.c"), content).unwrap();
            fs::write(folder.path().join("a.patch"), PATCH).unwrap();
            Self { folder }
        }

        fn tree(&self) -> Tree {
            Tree::new(self.folder.path().join("tree"), self.folder.path().join("pristine"), None)
        }

        fn series(&self) -> Vec<Patch> {
            vec![Patch::file(self.folder.path().join("a.patch"))]
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.folder.path().join("tree").join(name)).ok()
        }
    }

    const PRISTINE: &str = "one\ntwo\nthree\nfour\nfive\nsix\n";

    #[test]
    fn a_series_goes_in_and_out() {
        let fixture = Fixture::new(PRISTINE);
        fixture.tree().apply(&fixture.series()).unwrap();
        assert_eq!(fixture.read("dir/file.c").unwrap(), "one\nTWO\nthree\nfour\nfive\nsix\nseven\n");
        assert_eq!(fixture.read("new.c").unwrap(), "new\n");
        fixture.tree().restore().unwrap();
        assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
        assert_eq!(fixture.read("new.c"), None);
    }

    #[test]
    fn a_series_that_a_kill_left_in_is_taken_out_before_the_next() {
        let fixture = Fixture::new(PRISTINE);
        fixture.tree().apply(&fixture.series()).unwrap();
        fixture.tree().apply(&fixture.series()).unwrap();
        fixture.tree().restore().unwrap();
        assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
    }

    #[test]
    fn a_hunk_that_does_not_match_is_shown_with_what_stands_there() {
        let changed = "one\ntwo\nthree\nfour\nFIVE\nsix\n";
        let fixture = Fixture::new(changed);
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(failure.kind, Kind::Series);
        assert_eq!(
            failure.seen,
            "hunk 2 of 2 of dir/file.c does not match; at line 5\n  expected: five\n  found:    FIVE"
        );
        assert_eq!(fixture.read("dir/file.c").unwrap(), changed);
        assert_eq!(fixture.read("new.c"), None);
    }

    #[test]
    fn a_hunk_is_held_against_the_place_where_most_of_it_stands() {
        let moved = "zero\n".repeat(40) + "one\ntwo\nthree\nfour\nfive\nsixth\n";
        let fixture = Fixture::new(&moved);
        let patch = PATCH.replace("@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n", "");
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(
            failure.seen,
            "hunk 1 of 1 of dir/file.c does not match; at line 46\n  expected: six\n  found:    sixth"
        );
    }

    #[test]
    fn what_is_applied_already_is_told_from_what_does_not_fit() {
        let fixture = Fixture::new("one\nTWO\nthree\nfour\nfive\nsix\n");
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(failure.seen, "hunk 1 of 2 of dir/file.c is applied already, at line 1; others are not");
        let fixture = Fixture::new("one\nTWO\nthree\nfour\nfive\nsix\nseven\n");
        fs::write(fixture.folder.path().join("tree/new.c"), "new\n").unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(failure.seen, "it is applied already: all that it adds is there");
        let fixture = Fixture::new(PRISTINE);
        fs::write(fixture.folder.path().join("tree/new.c"), "other\n").unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(failure.seen, "new.c: already exists in working directory");
    }

    #[test]
    fn a_diff_that_git_did_not_make_goes_in_and_out_as_well() {
        let fixture = Fixture::new(PRISTINE);
        let patch = "Index: linux/dir/file.c\n===\n--- linux.orig/dir/file.c\t2026-01-01\n+++ linux/dir/file.c\n\
                     @@ -1,5 +1,5 @@\n one\n-two\n+--- two\n three\n four\n five\n";
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        fixture.tree().apply(&fixture.series()).unwrap();
        assert_eq!(fixture.read("dir/file.c").unwrap(), "one\n--- two\nthree\nfour\nfive\nsix\n");
        fixture.tree().restore().unwrap();
        assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
        // And where it does not match, that is shown, too.
        fs::write(fixture.folder.path().join("tree/dir/file.c"), "zero\n").unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert!(
            failure.seen.starts_with("hunk 1 of 1 of dir/file.c does not match; at line 1\n"),
            "{failure}"
        );
    }

    #[test]
    fn a_rename_a_change_of_mode_and_an_emptied_folder_are_taken_out_as_well() {
        use std::os::unix::fs::PermissionsExt;
        let patch = "\
diff --git a/dir/file.c b/other/file.c\nsimilarity index 100%\nrename from dir/file.c\nrename to other/file.c\n\
diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n";
        let fixture = Fixture::new(PRISTINE);
        let script = fixture.folder.path().join("tree/run.sh");
        fs::write(&script, "").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        fixture.tree().apply(&fixture.series()).unwrap();
        assert_eq!(fixture.read("dir/file.c"), None);
        assert_eq!(fixture.read("other/file.c").as_deref(), Some(PRISTINE));
        fixture.tree().restore().unwrap();
        assert_eq!(fixture.read("dir/file.c").as_deref(), Some(PRISTINE));
        assert_eq!(fixture.read("other/file.c"), None);
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_patch_that_leads_out_of_the_tree_is_refused() {
        for name in ["../outside.c", "/etc/passwd", "dir/../../outside.c"] {
            let patch = format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n");
            assert!(touched_files(&patch).unwrap_err().contains("outside of the tree"), "{name}");
        }
    }
}
