//! Puts a patch series into a source tree and takes it out again, whatever happens in between.
//!
//! Before the first patch, the files that the series touches are copied aside. Taking the series out is
//! putting the copies back: it works from any state that a kill can leave, and needs no reverse patch.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::child;
use crate::failure::{Failure, Kind};
use crate::kernel::source::remove;

/// A source tree and the place beside it where pristine files are kept while patches are in.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    aside: PathBuf,
    /// The lock on the tree: git holds it as well, so that nobody mends the tree while it still writes.
    lock: Option<Arc<File>>,
}

/// How long git may take for one patch.
const PATIENCE: Duration = Duration::from_secs(300);

/// Marks, in the folder of pristine files, a file that did not exist before the series.
const ABSENT: &str = "\u{7f}absent";

impl Tree {
    /// The tree at `root`; pristine files go to `aside`, on the same file system.
    pub(crate) fn new(root: PathBuf, aside: PathBuf, lock: Option<Arc<File>>) -> Self {
        Self { root, aside, lock }
    }

    /// Puts the series in. On failure the tree is as before.
    pub(crate) fn apply(&self, series: &[PathBuf]) -> Result<(), Failure> {
        self.restore()?;
        let mut touched = BTreeSet::new();
        for patch in series {
            let text = fs::read(patch).map_err(|e| Failure::file("read", patch, &e))?;
            touched.extend(touched_files(&String::from_utf8_lossy(&text)).map_err(|seen| {
                Failure::new(
                    Kind::Series,
                    format!("read the patch {}", patch.display()),
                    seen,
                    "mend the patch",
                )
            })?);
        }
        self.set_aside(&touched)
            .map_err(|e| Failure::file("copy files of the series to", &self.aside, &e))?;
        for patch in series {
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

    fn apply_one(&self, patch: &Path) -> Result<(), Failure> {
        let attempt = format!("apply {}", patch.display());
        // Outside of a repository `git apply` works on plain files; without the ceiling it would find a
        // repository above the store and skip, without a word, what lies outside of that.
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn", "--verbose"])
            .arg(patch)
            .current_dir(&self.root)
            .env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(&self.root))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .env("LC_ALL", "C");
        let shared = self.lock.iter().map(|lock| lock.try_clone().map(Into::into));
        let inherited = shared
            .collect::<io::Result<Vec<_>>>()
            .map_err(|e| Failure::file("share the lock of", &self.root, &e))?;
        let output = child::output(&mut git, PATIENCE, inherited).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => Failure::interrupted(&attempt),
            _ => Failure::new(Kind::Host, &attempt, format!("git: {e}"), "apt-get install git"),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(patch).unwrap_or_default();
        let seen = explain(&output.stderr, &text, &self.root);
        let next = "rebase the patch on this source: it has to apply without fuzz";
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
fn touched_files(patch: &str) -> Result<BTreeSet<PathBuf>, String> {
    const NAMED_IN: [&str; 6] = ["--- ", "+++ ", "rename from ", "rename to ", "copy from ", "copy to "];
    let mut files = BTreeSet::new();
    for line in patch.lines() {
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
        } else if let Some(rest) = NAMED_IN.iter().find_map(|key| line.strip_prefix(key)) {
            let name = rest.split('\t').next().unwrap_or(rest);
            let stripped = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"));
            match stripped {
                Some(name) => name,
                None if line.starts_with("rename ") || line.starts_with("copy ") => name,
                None => continue,
            }
        } else {
            continue;
        };
        let path = PathBuf::from(name);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("it names the file {name}, outside of the tree"));
        }
        files.insert(path);
    }
    if files.is_empty() { Err("it changes no file".to_owned()) } else { Ok(files) }
}

/// A hunk of a patch, as far as an error message needs it.
struct Hunk<'a> {
    /// First line in the file before the patch.
    at: usize,
    /// The lines it expects to find: context and removed ones.
    expected: Vec<&'a str>,
}

/// Makes of git's "patch failed: FILE:LINE" what a person wants to know: which hunk, what it expects, what
/// stands there.
fn explain(said: &str, patch: &str, root: &Path) -> String {
    let Some((file, line)) = said.lines().find_map(failed_at) else {
        return said.trim().to_owned();
    };
    let hunks = hunks_of(patch, file);
    let Some(number) = hunks.iter().position(|hunk: &Hunk<'_>| hunk.at == line) else {
        return said.trim().to_owned();
    };
    let line = line.max(1);
    let stands = fs::read_to_string(root.join(file)).unwrap_or_default();
    let stands: Vec<&str> = stands.lines().collect();
    let expected = &hunks[number].expected;
    // Where it differs from what stands at that very place: mostly the line that was changed.
    let first = (0..expected.len()).find(|i| stands.get(line - 1 + i) != Some(&expected[*i])).unwrap_or(0);
    format!(
        "hunk {} of {} of {file} does not match; at line {}\n  expected: {}\n  found:    {}",
        number + 1,
        hunks.len(),
        line + first,
        expected.get(first).unwrap_or(&""),
        stands.get(line - 1 + first).unwrap_or(&"(end of file)"),
    )
}

fn failed_at(line: &str) -> Option<(&str, usize)> {
    let (file, line) = line.strip_prefix("error: patch failed: ")?.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

fn hunks_of<'a>(patch: &'a str, file: &str) -> Vec<Hunk<'a>> {
    let mut hunks: Vec<Hunk<'a>> = Vec::new();
    let mut in_file = false;
    for line in patch.lines() {
        if line.starts_with("diff --git ") {
            in_file = line.ends_with(&format!(" b/{file}"));
        } else if let Some(header) = line.strip_prefix("@@ -").filter(|_| in_file) {
            let at = header.split([',', ' ']).next().and_then(|at| at.parse().ok()).unwrap_or(1);
            hunks.push(Hunk { at, expected: Vec::new() });
        } else if let Some(hunk) = hunks.last_mut().filter(|_| in_file) {
            match line.as_bytes().first() {
                Some(b' ' | b'-') if !line.starts_with("-- ") => hunk.expected.push(&line[1..]),
                _ => {}
            }
        }
    }
    hunks
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

        fn series(&self) -> Vec<PathBuf> {
            vec![self.folder.path().join("a.patch")]
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
