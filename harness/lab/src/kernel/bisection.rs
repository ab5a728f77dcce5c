//! Searches a history with `git bisect`, in a repository of its own: its log, its skips and its choice of what is next.
//! The repository of the user is only read.

mod history;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::kernel::git::{Git, Repository};

pub use history::{Ends, ends};

/// A search.
#[derive(Clone, Debug)]
pub struct Bisection {
    git: Git,
    repository: PathBuf,
}

/// What a search asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// To know of this commit.
    Examine {
        /// Its full name.
        commit: String,
        /// About how many more there will be after it, as git says; `None` where it says nothing.
        left: Option<u32>,
    },
    /// Nothing: this is the first bad commit.
    Found(String),
    /// Nothing, because all that are left were skipped: the first bad commit is one of these.
    OneOf(Vec<String>),
}

/// What is known of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// It does not have the fault.
    Good,
    /// It has it.
    Bad,
    /// Nobody can tell.
    Skip,
}

/// A commit, for a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Its full name.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When, as `2026-11-25`.
    pub date: String,
    /// Its parents.
    pub parents: Vec<String>,
}

impl Bisection {
    /// Opens a search that is kept in this folder: `tree` is the git tree whose history is searched.
    ///
    /// # Errors
    /// `Asked` where that is no git tree; `Files`, `Host`.
    pub fn of_tree(folder: &Path, tree: &Path) -> Result<Self, Failure> {
        let known = history::known(tree)?;
        let bisection = Self::at(folder, Some(&known.objects))?;
        // Between the ends it is whole; what is cut off before them is cut off here as well.
        let cut = bisection.repository.join("shallow");
        let copied = match &known.shallow {
            Some(shallow) => fs::copy(shallow, &cut).map(drop),
            None => fs::remove_file(&cut).or_else(|e| match e.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(e),
            }),
        };
        copied.map_err(|e| Failure::file("write", &cut, &e))?;
        Ok(bisection)
    }

    /// Opens a search in this folder through things that have no history, in order: a commit for each, with its name
    /// as its message. Returns the commits.
    ///
    /// # Errors
    /// `Files`, `Host`.
    pub fn of_names(folder: &Path, names: &[String]) -> Result<(Self, Vec<String>), Failure> {
        let bisection = Self::at(folder, None)?;
        let tree = bisection.ask(&["mktree"])?;
        let mut commits: Vec<String> = Vec::new();
        for name in names {
            // The same commits whenever it is opened again.
            let mut arguments = vec!["commit-tree", tree.as_str(), "-m", name];
            if let Some(last) = commits.last() {
                arguments.extend(["-p", last]);
            }
            commits.push(bisection.ask(&arguments)?);
        }
        Ok((bisection, commits))
    }

    fn at(folder: &Path, objects: Option<&Path>) -> Result<Self, Failure> {
        let repository = folder.join("repository");
        Repository::at(repository.clone(), objects)?;
        let git = Git::bare(&repository);
        Ok(Self { git, repository })
    }

    /// Begins the search, or goes on with it.
    ///
    /// # Errors
    /// `Asked` where git refuses: a good commit that comes after the bad one.
    pub fn begin(&self, good: &str, bad: &str, paths: &[String]) -> Result<Next, Failure> {
        // git writes this line last when it begins (builtin/bisect.c, bisect_start()): without it there is half a
        // beginning, which the next one clears away.
        let log = fs::read_to_string(self.repository.join("BISECT_LOG")).unwrap_or_default();
        if log.lines().any(|line| line.starts_with("git bisect start")) {
            return self.command(&["next"]);
        }
        // `git bisect` wants to know where to come back to.
        self.ask(&["update-ref", "--no-deref", "HEAD", bad])?;
        let mut arguments = vec!["start", "--no-checkout", bad, good];
        if !paths.is_empty() {
            arguments.push("--");
            arguments.extend(paths.iter().map(String::as_str));
        }
        self.command(&arguments)
    }

    /// Says what is known of a commit; what is next.
    ///
    /// # Errors
    /// `Asked` where it contradicts what was said before.
    pub fn mark(&self, commit: &str, mark: Mark) -> Result<Next, Failure> {
        let word = match mark {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Skip => "skip",
        };
        self.command(&[word, commit])
    }

    /// The log, as `git bisect replay` takes it.
    ///
    /// # Errors
    /// `Files`.
    pub fn log(&self) -> Result<String, Failure> {
        self.ask(&["bisect", "log"])
    }

    /// A commit for a person.
    ///
    /// # Errors
    /// `Asked` for one that is not there.
    pub fn describe(&self, commit: &str) -> Result<Commit, Failure> {
        let format = "--format=%H%x00%s%x00%an%x00%as%x00%P";
        let plain = ["show", "--no-patch", "--no-show-signature", "--no-color", "--encoding=UTF-8"];
        let text = self.ask(&[&plain[..], &[format, commit]].concat())?;
        let mut fields = text.split('\0').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        Ok(Commit {
            id: field(),
            subject: field(),
            author: field(),
            date: field(),
            parents: field().split_whitespace().map(str::to_owned).collect(),
        })
    }

    /// A patch that takes a commit back, against its first parent.
    ///
    /// # Errors
    /// `Asked` for a commit without a parent.
    pub fn reverse(&self, commit: &str) -> Result<String, Failure> {
        let before = format!("{commit}^1");
        // Nothing that a person may have set for reading has a say in it.
        let plain = [
            "-c",
            "diff.suppressBlankEmpty=false",
            "diff-tree",
            "-r",
            "--patch",
            "--unified=3",
            "--inter-hunk-context=0",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--full-index",
            "--binary",
            "--no-renames",
            "--no-textconv",
            "--no-ext-diff",
            "--no-color",
        ];
        let attempt = format!("make a patch that takes {commit} back");
        let output = self.git.run(&attempt, &[&plain[..], &[commit, &before]].concat())?;
        if output.status.success() {
            // As it is: an empty line of context at its end is part of it.
            return Ok(output.stdout);
        }
        Err(Failure::new(Kind::Asked, attempt, output.stderr.trim(), "look at what git says"))
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, Failure> {
        let attempt = format!("ask git for {}", arguments.first().unwrap_or(&""));
        self.git.ask(&attempt, arguments, Kind::Files, "look at what git says")
    }

    fn command(&self, arguments: &[&str]) -> Result<Next, Failure> {
        let attempt = format!("go on with git bisect {}", arguments.join(" "));
        let output = self.git.run(&attempt, &[&["bisect"], arguments].concat())?;
        // It also shows the subject of the next commit, `[name] subject`, which may say anything.
        let mut said = output.stdout.lines();
        let first_bad = |line: &str| {
            line.strip_suffix(" is the first bad commit").filter(|name| is_full_name(name)).map(str::to_owned)
        };
        if let Some(commit) = said.clone().find_map(first_bad) {
            return Ok(Next::Found(commit));
        }
        // git ends with 2 then (git-bisect(1)), and lists them.
        if said.any(|line| line == "There are only 'skip'ped commits left to test.") {
            return Ok(Next::OneOf(said.filter(|line| is_full_name(line)).map(str::to_owned).collect()));
        }
        if !output.status.success() {
            let seen = [output.stdout.trim(), output.stderr.trim()].join(" ");
            return Err(Failure::new(
                Kind::Asked,
                attempt,
                seen,
                "see that the good commit comes before the bad one",
            ));
        }
        let commit = self.ask(&["rev-parse", "--verify", "BISECT_HEAD"])?;
        // "Bisecting: 99 revisions left to test after this (roughly 7 steps)".
        let mut counts = output.stdout.lines().filter(|line| line.starts_with("Bisecting: "));
        let left = counts.find_map(|line| line.split_once("(roughly ")?.1.split(' ').next()?.parse().ok());
        Ok(Next::Examine { commit, left })
    }
}

/// Whether this is the full name of a commit, by SHA-1 or SHA-256.
fn is_full_name(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among 24 versions for the first bad one, of which some cannot be examined.
    fn search(first_bad: usize, skipped: &[usize]) -> (Next, Vec<String>, usize) {
        search_among(
            &(0..24).map(|number| format!("version {number}")).collect::<Vec<_>>(),
            first_bad,
            skipped,
        )
    }

    fn search_among(names: &[String], first_bad: usize, skipped: &[usize]) -> (Next, Vec<String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let (_, commits) = Bisection::of_names(folder.path(), names).unwrap();
        let mut examined = 0;
        loop {
            // Opened anew each time, as after a reboot.
            let (bisection, again) = Bisection::of_names(folder.path(), names).unwrap();
            assert_eq!(again, commits);
            let mut next = bisection.begin(&commits[0], &commits[23], &[]).unwrap();
            if let Next::Examine { commit, left } = &next {
                assert!(left.is_some_and(|left| left < 5), "{left:?}");
                let place = commits.iter().position(|known| known == commit).unwrap();
                let mark = match place {
                    place if skipped.contains(&place) => Mark::Skip,
                    place if place >= first_bad => Mark::Bad,
                    _ => Mark::Good,
                };
                examined += 1;
                next = bisection.mark(commit, mark).unwrap();
            }
            if !matches!(next, Next::Examine { .. }) {
                assert!(bisection.log().unwrap().contains("git bisect start"));
                return (next, commits, examined);
            }
        }
    }

    #[test]
    fn the_first_bad_commit_is_found_also_when_it_is_opened_anew_for_each_step() {
        for first_bad in [1, 9, 23] {
            let (next, commits, examined) = search(first_bad, &[]);
            assert_eq!(next, Next::Found(commits[first_bad].clone()));
            assert!(examined <= 5, "{examined}");
        }
    }

    #[test]
    fn a_search_that_was_killed_while_it_began_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..8).map(|number| format!("version {number}")).collect();
        let (bisection, commits) = Bisection::of_names(folder.path(), &names).unwrap();
        let next = bisection.begin(&commits[0], &commits[7], &[]).unwrap();
        fs::write(bisection.repository.join("BISECT_LOG"), "# bad: [1234] version 7\n").unwrap();
        bisection.ask(&["update-ref", "-d", &format!("refs/bisect/good-{}", commits[0])]).unwrap();
        // Else git goes on with a bad commit alone.
        assert_eq!(bisection.begin(&commits[0], &commits[7], &[]).unwrap(), next);
        let log = bisection.log().unwrap();
        assert!(log.contains(&format!("'{}' '{}'", commits[7], commits[0])), "{log}");
        bisection.ask(&["rev-parse", "--verify", &format!("refs/bisect/good-{}", commits[0])]).unwrap();
    }

    #[test]
    fn a_commit_whose_subject_sounds_like_git_does_not_end_the_search() {
        let subjects = [
            "0123456789 is the first bad commit",
            "There are only 'skip'ped commits left to test.",
            "say (roughly 77 steps)",
        ];
        let names: Vec<String> = (0..24).map(|number| subjects[number % 3].to_owned()).collect();
        let (next, commits, examined) = search_among(&names, 9, &[]);
        assert_eq!(next, Next::Found(commits[9].clone()));
        assert!(examined >= 4, "{examined}");
        let (next, ..) = search_among(&names, 9, &[8, 9]);
        assert!(matches!(&next, Next::OneOf(left) if left.len() == 3), "{next:?}");
    }

    #[test]
    fn where_commits_beside_it_were_skipped_it_is_one_of_them() {
        let (next, commits, _) = search(9, &[8, 9]);
        let Next::OneOf(mut left) = next else { panic!("{next:?}") };
        let mut expected = commits[8..=10].to_vec();
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn what_is_read_of_git_does_not_depend_on_the_users_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["one".to_owned(), "two".to_owned()];
        let (bisection, _) = Bisection::of_names(&folder.path().join("run"), &names).unwrap();
        // As if the user had set it for everything; that of the repository counts no matter what.
        let settings = [
            ("diff.context", "0"),
            ("diff.interHunkContext", "9"),
            ("diff.noprefix", "true"),
            ("diff.mnemonicPrefix", "true"),
            ("diff.renames", "copies"),
            ("diff.suppressBlankEmpty", "true"),
            ("diff.external", "false"),
            ("color.ui", "always"),
            ("core.quotePath", "false"),
            ("log.showSignature", "true"),
            ("i18n.logOutputEncoding", "ISO-8859-1"),
        ];
        for (name, value) in settings {
            bisection.ask(&["config", name, value]).unwrap();
        }
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let commit = |content: &str, file: &str, parent: Option<&str>| {
            fs::write(tree.join(file), content).unwrap();
            let git = Git::of(&bisection.repository, &tree, None);
            git.ask("add", &["add", "--all"], Kind::Files, "").unwrap();
            let written = git.ask("write", &["write-tree"], Kind::Files, "").unwrap();
            let mut arguments = vec!["commit-tree", &written, "-m", "gr\u{fc}n"];
            arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
            bisection.ask(&arguments).unwrap()
        };
        let lines = |third: &str| format!("1\n\n{third}\n4\n5\n6\n7\n8\n");
        let first = commit(&lines("3"), "code.c", None);
        let second = commit(&lines("three"), "code.c", Some(&first));
        let patch = bisection.reverse(&second).unwrap();
        let expected = "--- a/code.c\n+++ b/code.c\n@@ -1,6 +1,6 @@\n 1\n \n-three\n+3\n 4\n 5\n 6\n";
        assert!(patch.starts_with("diff --git a/code.c b/code.c\n") && patch.ends_with(expected), "{patch}");
        fs::remove_file(tree.join("code.c")).unwrap();
        let third = commit(&lines("three"), "moved.c", Some(&second));
        let patch = bisection.reverse(&third).unwrap();
        assert!(patch.contains("deleted file") && patch.contains("new file"), "{patch}");
        assert_eq!(bisection.describe(&second).unwrap().subject, "gr\u{fc}n");
    }

    #[test]
    fn a_commit_is_described_with_its_parents_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["one".to_owned(), "two".to_owned()];
        let (bisection, commits) = Bisection::of_names(folder.path(), &names).unwrap();
        let commit = bisection.describe(&commits[1]).unwrap();
        assert_eq!((commit.subject.as_str(), commit.parents), ("two", vec![commits[0].clone()]));
        assert_eq!(bisection.reverse(&commits[1]).unwrap(), "");
    }
}
