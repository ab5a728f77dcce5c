//! Source trees that people name: what git says of them, without touching them.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::kernel::git::{Chosen, Git, Repository};

/// What git says of a folder.
pub(crate) struct Known {
    pub(crate) git: Git,
    folder: PathBuf,
    /// Where the objects of its repository are.
    pub(crate) objects: PathBuf,
    /// Where it keeps which commits its history was cut off at; `None` where it was not.
    pub(crate) shallow: Option<PathBuf>,
}

/// What a kernel source has.
pub(crate) const OF_A_SOURCE: [&str; 3] = ["Makefile", "Kconfig", "drivers/base/dd.c"];

/// Whether a folder is the top of a kernel source.
pub(crate) fn is_source(folder: &Path) -> bool {
    OF_A_SOURCE.iter().all(|name| folder.join(name).is_file())
}

impl Known {
    /// What git knows of this folder; `None` for one that is not the top of a tree, nor a bare repository.
    ///
    /// # Errors
    /// `Host` without git; `Asked` where git refuses to look.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>, Failure> {
        let git = Git::within(folder);
        let attempt = format!("look at the repository of {}", folder.display());
        let question = [
            "rev-parse",
            "--path-format=absolute",
            "--git-path",
            "objects",
            "--git-path",
            "shallow",
            "--is-shallow-repository",
            "--is-bare-repository",
            "--show-prefix",
        ];
        let output = git.run(&attempt, &question)?;
        // Somebody else's, for which git wants to be told first (safe.directory).
        if output.stderr.contains("dubious ownership") {
            return Err(Failure::new(
                Kind::Asked,
                attempt,
                output.stderr.trim(),
                "do as git says, or copy the tree",
            ));
        }
        let mut lines = output.stdout.lines();
        let (objects, cut, shallow) = (lines.next(), lines.next(), lines.next());
        let (bare, prefix) = (lines.next(), lines.next());
        let top = bare == Some("true") || prefix.unwrap_or_default().is_empty();
        Ok(objects.filter(|_| output.status.success() && top).map(|objects| Self {
            git,
            folder: folder.to_owned(),
            objects: objects.into(),
            shallow: cut.filter(|_| shallow == Some("true")).map(PathBuf::from),
        }))
    }

    /// The full name of a commit.
    ///
    /// # Errors
    /// `Asked` with what git says, or with names that are alike.
    pub(crate) fn commit(&self, revision: &str) -> Result<String, Failure> {
        let attempt = format!("find the commit {revision} in {}", self.folder.display());
        let wanted = format!("{revision}^{{commit}}");
        let question =
            ["-c", "core.warnAmbiguousRefs=true", "rev-parse", "--verify", "--end-of-options", &wanted];
        let output = self.git.run(&attempt, &question)?;
        // git takes the tag then, and says so where nobody looks.
        if output.status.success() && output.stderr.contains("is ambiguous") {
            let full = ["refs/tags", "refs/heads", "refs/remotes"].map(|kind| format!("{kind}/{revision}"));
            let known = self
                .git
                .run(&attempt, &["for-each-ref", "--format=%(refname)", &full[0], &full[1], &full[2]])?;
            let known: Vec<&str> = known.stdout.lines().collect();
            let next = match &known[..] {
                [] => "name it in full: as refs/tags/…, refs/heads/… or by its full commit name".to_owned(),
                known => format!("name one of: {}", known.join(", ")),
            };
            return Err(Failure::new(Kind::Asked, attempt, "several things have that name", next));
        }
        if output.status.success() {
            return Ok(output.stdout.trim().to_owned());
        }
        let names = self.git.run(
            &attempt,
            &["for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"],
        )?;
        let alike = super::spec::nearest(revision, names.stdout.lines());
        let seen = output.stderr.lines().map(|line| line.trim_start_matches("fatal: ")).collect::<Vec<_>>();
        let next = match &alike[..] {
            [] => "name a tag, a branch or a commit; perhaps it has to be fetched first".to_owned(),
            alike => format!("did you mean one of: {}?", alike.join(", ")),
        };
        Err(Failure::new(Kind::Asked, attempt, seen.join("; "), next))
    }

    /// Whether a commit is one of a kernel source.
    ///
    /// # Errors
    /// As [`Git::run`]; `Asked` with what git says.
    pub(crate) fn has_source(&self, commit: &str) -> Result<bool, Failure> {
        let attempt = format!("look at the commit {commit} in {}", self.folder.display());
        let question = [&["ls-tree", "--full-tree", "--name-only", commit, "--"], &OF_A_SOURCE[..]].concat();
        let there = self.git.ask(&attempt, &question, Kind::Asked, "look at what git says")?;
        Ok(there.lines().count() == OF_A_SOURCE.len())
    }

    /// Whether a revision is a branch, by its name.
    pub(crate) fn is_branch(&self, revision: &str) -> Result<bool, Failure> {
        let attempt = format!("look for the branch {revision} in {}", self.folder.display());
        let full = self
            .git
            .run(&attempt, &["rev-parse", "--verify", "--quiet", "--symbolic-full-name", revision])?;
        let full = full.stdout.trim();
        Ok(["refs/heads/", "refs/remotes/"].iter().any(|of| full.strip_prefix(of) == Some(revision)))
    }

    /// A short name for a commit: its tag, else the beginning of its name.
    pub(crate) fn short(&self, commit: &str) -> Result<String, Failure> {
        let attempt = format!("name the commit {commit}");
        let tag = self.git.run(&attempt, &["describe", "--tags", "--exact-match", commit])?;
        if tag.status.success() {
            return Ok(tag.stdout.trim().to_owned());
        }
        self.git.ask(&attempt, &["rev-parse", "--short=12", commit], Kind::Asked, "look at what git says")
    }

    /// The name of the tree object of a commit of which all files are there.
    ///
    /// # Errors
    /// `Asked` where they were not fetched.
    pub(crate) fn tree_of(&self, commit: &str) -> Result<String, Failure> {
        let tree = self.name_of_tree(commit)?;
        let attempt = format!("find the files of the commit {commit} in {}", self.folder.display());
        self.refuse_missing(&attempt, &["--no-walk", &tree])?;
        Ok(tree)
    }

    /// Looks for what was never fetched, in what `git rev-list --objects` lists: in a partial clone git fetches a file
    /// when it wants it, and the store's repositories, which only share what is there, cannot.
    ///
    /// # Errors
    /// `Asked` where there is such a thing.
    pub(crate) fn refuse_missing(&self, attempt: &str, listed: &[&str]) -> Result<(), Failure> {
        let partial = ["config", "--get-regexp", r"^(remote\..*\.promisor|extensions\.partialclone)$"];
        if self.git.run(attempt, &partial)?.stdout.is_empty() {
            return Ok(());
        }
        let list = [&["rev-list", "--objects", "--missing=print"], listed].concat();
        let listed = self.git.ask(attempt, &list, Kind::Asked, "look at what git says")?;
        let missing = listed.lines().filter(|line| line.starts_with('?')).count();
        if missing == 0 {
            return Ok(());
        }
        let seen = format!("it is a partial clone, and {missing} of the files were never fetched");
        let folder = crate::shell::quoted(&self.folder.display().to_string());
        let next = format!("fetch all: git -C {folder} fetch --refetch --no-filter");
        Err(Failure::new(Kind::Asked, attempt, seen, next))
    }

    fn name_of_tree(&self, commit: &str) -> Result<String, Failure> {
        let attempt = format!("find the files of the commit {commit} in {}", self.folder.display());
        let tree = format!("{commit}^{{tree}}");
        self.git.ask(&attempt, &["rev-parse", "--verify", &tree], Kind::Asked, "look at what git says")
    }

    /// Whether tracked files differ from the last commit.
    pub(crate) fn has_uncommitted_changes(&self) -> Result<bool, Failure> {
        let attempt = format!("look for uncommitted changes in {}", self.folder.display());
        let output = self.git.run(&attempt, &["status", "--porcelain", "--untracked-files=no"])?;
        // A bare repository has none.
        Ok(output.status.success() && !output.stdout.is_empty())
    }

    /// Notes in a repository of the store what stands in the folder now.
    pub(crate) fn snapshot(&self, repository: &Repository) -> Result<String, Failure> {
        let attempt = format!("look at the files of {}", self.folder.display());
        let ask = |question: &[&str]| self.git.ask(&attempt, question, Kind::Files, "look at what git says");
        // A repository without a commit has no HEAD.
        let chosen = match self.name_of_tree("HEAD") {
            Ok(like) => Some(Chosen {
                like,
                index: ask(&["ls-files", "-z", "-t", "--stage"])?,
                exclude: ask(&["rev-parse", "--path-format=absolute", "--git-path", "info/exclude"])?.into(),
            }),
            Err(_) => None,
        };
        repository.snapshot(&self.folder, chosen.as_ref()).or_else(|failure| {
            // Of a sparse check-out of a partial clone, what is left out may not be there.
            if failure.seen.contains("invalid object") {
                self.refuse_missing(&attempt, &["--no-walk", "HEAD^{tree}"])?;
            }
            Err(failure)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A tree with a file; what makes commits of it.
    fn tree() -> (tempfile::TempDir, impl Fn(&[&str]) -> String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let git = move |arguments: &[&str]| {
            let name = ["-c", "user.name=A", "-c", "user.email=a@b"];
            Git::within(&path).ask("prepare", &[&name[..], arguments].concat(), Kind::Files, "").unwrap()
        };
        git(&["init", "--quiet", "--initial-branch=main"]);
        fs::write(folder.path().join("code.c"), "one\n").unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message=one"]);
        (folder, git)
    }

    #[test]
    fn a_name_that_a_tag_and_a_branch_have_is_ambiguous() {
        let (folder, git) = tree();
        git(&["tag", "fix"]);
        git(&["commit", "--quiet", "--allow-empty", "--message=two"]);
        git(&["branch", "fix"]);
        git(&["config", "core.warnAmbiguousRefs", "false"]);
        let known = Known::of(folder.path()).unwrap().unwrap();
        let refused = known.commit("fix").unwrap_err();
        assert_eq!(
            (refused.kind, refused.next.as_str()),
            (Kind::Asked, "name one of: refs/heads/fix, refs/tags/fix")
        );
        let commits =
            ["refs/tags/fix", "refs/heads/fix", "HEAD", "main"].map(|name| known.commit(name).unwrap());
        assert!(commits[0] != commits[1] && commits[1..].iter().all(|commit| *commit == commits[1]));
    }

    #[test]
    fn what_a_sparse_check_out_of_a_partial_clone_leaves_out_is_missed_by_name() {
        let (folder, git) = tree();
        fs::create_dir(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join("docs/file"), "of no use\n").unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message=two"]);
        git(&["config", "uploadpack.allowFilter", "true"]);
        let (clones, from) = (tempfile::tempdir().unwrap(), format!("file://{}", folder.path().display()));
        let clone = clones.path().join("clone");
        let to = clone.display().to_string();
        git(&["clone", "--quiet", "--filter=blob:none", "--sparse", &from, &to]);
        let known = Known::of(&clone).unwrap().unwrap();
        let repository = Repository::at(clones.path().join("store"), Some(&known.objects)).unwrap();
        let refused = known.snapshot(&repository).unwrap_err();
        assert!(refused.seen.contains("partial clone, and 1 of the files"), "{refused}");
        // Else git tidies up behind our back, in a folder that is being removed.
        let fetch = ["-c", "maintenance.auto=false", "fetch", "--refetch", "--no-filter"];
        Git::within(&clone).ask("fetch", &fetch, Kind::Files, "").unwrap();
        known.snapshot(&repository).unwrap();
    }
}
