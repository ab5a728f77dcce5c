//! The ends of a search and the history between them, looked at before anything is made.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::kernel::tree::Known;
use crate::shell::quoted;

/// The ends of a search, by their full names: what a person called them by may be another commit tomorrow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ends {
    /// Without the fault.
    pub good: String,
    /// With it.
    pub bad: String,
}

/// Finds the ends of a search in a tree, of commits that touch these paths, if there are any.
///
/// # Errors
/// `Asked` where there are no such commits, they are of no kernel, the bad one comes first, or something between them is
/// not there.
pub fn ends(tree: &Path, good: &str, bad: &str, paths: &[String]) -> Result<Ends, Failure> {
    let known = known(tree)?;
    let ends = Ends { good: known.commit(good)?, bad: known.commit(bad)? };
    let history = History {
        attempt: format!("search {} from {good} to {bad}", tree.display()),
        known,
        tree,
        ends: &ends,
    };
    history.refuse_swapped()?;
    history.refuse_cut_off()?;
    let Ends { good, bad } = &ends;
    history.known.refuse_missing(&history.attempt, &["--no-walk", &format!("{good}^{{tree}}")])?;
    history.known.refuse_missing(&history.attempt, &[bad, &format!("^{good}")])?;
    history.refuse_other_projects()?;
    history.refuse_untouched(paths)?;
    Ok(ends)
}

/// What git knows of a tree whose history is to be searched.
pub(super) fn known(tree: &Path) -> Result<Known, Failure> {
    Known::of(tree)?.ok_or_else(|| {
        let attempt = format!("search the history of {}", tree.display());
        Failure::new(Kind::Asked, attempt, "it is no git tree of its own", "name the top of a git tree")
    })
}

struct History<'a> {
    attempt: String,
    known: Known,
    tree: &'a Path,
    ends: &'a Ends,
}

impl History<'_> {
    /// Of another project's history every commit would fail to be built. Between the ends there may be such commits:
    /// those of trees that were merged later.
    fn refuse_other_projects(&self) -> Result<(), Failure> {
        for end in [&self.ends.good, &self.ends.bad] {
            if !self.known.has_source(end)? {
                let seen = format!("{end} is no commit of a kernel source: it has no drivers/base/dd.c");
                return self.refuse(&seen, "name a git tree of the kernel");
            }
        }
        Ok(())
    }

    /// Neither may come before the other: then git asks for where they part.
    fn refuse_swapped(&self) -> Result<(), Failure> {
        let question = ["merge-base", "--is-ancestor", &self.ends.bad, &self.ends.good];
        if !self.known.git.run(&self.attempt, &question)?.status.success() {
            return Ok(());
        }
        let next = "swap them; to find what mended a fault is not possible yet";
        self.refuse("the bad one is not the later one", next)
    }

    /// In a shallow clone a commit may be without its parents: before it nothing would be looked at.
    fn refuse_cut_off(&self) -> Result<(), Failure> {
        let Some(shallow) = &self.known.shallow else { return Ok(()) };
        let cut = fs::read_to_string(shallow).map_err(|e| Failure::file("read", shallow, &e))?;
        let Ends { good, bad } = self.ends;
        let between = self.list(&["--left-right", &format!("{good}...{bad}")])?;
        if between.iter().any(|commit| cut.lines().any(|cut| cut == commit.trim_start_matches(['<', '>']))) {
            let next =
                format!("fetch it: git -C {} fetch --unshallow", quoted(&self.tree.display().to_string()));
            return self.refuse("it is a shallow clone, whose history is cut off between them", &next);
        }
        Ok(())
    }

    /// A path that is mistyped, or that nothing between the ends touches.
    fn refuse_untouched(&self, paths: &[String]) -> Result<(), Failure> {
        if paths.is_empty() {
            return Ok(());
        }
        let Ends { good, bad } = self.ends;
        let between = format!("{good}..{bad}");
        let touching = |paths: &[&str]| {
            let list = self.list(&[&["--max-count=1", &between, "--"], paths].concat())?;
            Ok::<_, Failure>(!list.is_empty())
        };
        let nothing = ["hash-object", "-t", "tree", "--stdin"];
        let nothing = self.known.git.ask(&self.attempt, &nothing, Kind::Files, "look at what git says")?;
        for path in paths {
            // Files of an end that it stands for; git's own way to say it, with its wildcards.
            let is_in = |end: &str| {
                let compare = ["diff-tree", "-r", "--quiet", &nothing, end, "--", path];
                let output = self.known.git.run(&self.attempt, &compare)?;
                Ok::<_, Failure>(output.status.code() == Some(1))
            };
            if !is_in(bad)? && !is_in(good)? && !touching(&[path])? {
                let seen = format!("there is no {path}, neither in one of them nor between");
                return self.refuse(&seen, "name paths as from the top of the tree");
            }
        }
        let all: Vec<&str> = paths.iter().map(String::as_str).collect();
        if !touching(&all)? {
            let seen = format!("no commit between them touches {}", paths.join(", "));
            return self.refuse(&seen, "name other paths, or none");
        }
        Ok(())
    }

    fn list(&self, arguments: &[&str]) -> Result<Vec<String>, Failure> {
        let question = [&["rev-list"], arguments].concat();
        let text = self.known.git.ask(&self.attempt, &question, Kind::Asked, "look at what git says")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn refuse(&self, seen: &str, next: &str) -> Result<(), Failure> {
        Err(Failure::new(Kind::Asked, self.attempt.as_str(), seen, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bisection::{Bisection, Mark, Next};
    use crate::kernel::git::Git;
    use crate::kernel::tree::OF_A_SOURCE;
    use std::path::PathBuf;

    /// Eight commits, of which every other one touches the same file.
    struct Fixture {
        folder: tempfile::TempDir,
        commits: Vec<String>,
    }

    impl Fixture {
        fn new() -> Self {
            let mut fixture = Self { folder: tempfile::tempdir().unwrap(), commits: Vec::new() };
            fs::create_dir_all(fixture.tree("linux").join("drivers/base")).unwrap();
            fixture.git("linux", &["init", "--quiet", "--initial-branch=main"]);
            fixture.git("linux", &["config", "uploadpack.allowFilter", "true"]);
            for name in OF_A_SOURCE {
                fs::write(fixture.tree("linux").join(name), "").unwrap();
            }
            for number in 0..8 {
                let name = ["drivers/even.c", "drivers/odd.c"][number % 2];
                fs::write(fixture.tree("linux").join(name), number.to_string()).unwrap();
                fixture.git("linux", &["add", "--all"]);
                fixture.git("linux", &["commit", "--quiet", "--message=change"]);
                fixture.commits.push(fixture.git("linux", &["rev-parse", "HEAD"]));
            }
            fixture
        }

        fn tree(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn git(&self, tree: &str, arguments: &[&str]) -> String {
            let name = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"];
            let arguments = [&name[..], arguments].concat();
            Git::within(&self.tree(tree)).ask("prepare", &arguments, Kind::Files, "").unwrap()
        }

        fn clone(&self, name: &str, option: &str) {
            let from = format!("file://{}", self.tree("linux").display());
            self.git("", &["clone", "--quiet", option, &from, name]);
        }

        fn ends(&self, tree: &str, good: usize, bad: &str, paths: &[&str]) -> Result<Ends, Failure> {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            ends(&self.tree(tree), &self.commits[good], bad, &paths)
        }

        #[track_caller]
        fn refused(&self, tree: &str, good: usize, paths: &[&str], parts: &[&str]) {
            let failure = self.ends(tree, good, "HEAD", paths).unwrap_err();
            assert_eq!(failure.kind, Kind::Asked);
            for part in parts {
                assert!(failure.to_string().contains(part), "no \"{part}\" in: {failure}");
            }
        }
    }

    #[test]
    fn ends_have_full_names_and_paths_are_known_before_anything_is_made() {
        let fixture = Fixture::new();
        let expected = Ends { good: fixture.commits[1].clone(), bad: fixture.commits[7].clone() };
        for paths in
            [&[][..], &["drivers"], &["drivers/odd.c"], &["*.c"], &["drivers/odd.c", "drivers/even.c"]]
        {
            assert_eq!(fixture.ends("linux", 1, "main", paths).unwrap(), expected, "{paths:?}");
        }
        fixture.refused(
            "linux",
            1,
            &["drivers", "driver/odd.c"],
            &["there is no driver/odd.c", "from the top"],
        );
        fixture.refused("linux", 6, &["drivers/even.c"], &["no commit between them touches drivers/even.c"]);
        let swapped = ends(&fixture.tree("linux"), "main", &fixture.commits[1], &[]).unwrap_err();
        assert!(swapped.next.contains("swap them"), "{swapped}");
    }

    #[test]
    fn the_history_of_another_project_is_refused_at_either_end() {
        let mut fixture = Fixture::new();
        fixture.git("linux", &["rm", "--quiet", "drivers/base/dd.c"]);
        fixture.git("linux", &["commit", "--quiet", "--message=no kernel"]);
        fixture.commits.push(fixture.git("linux", &["rev-parse", "HEAD"]));
        let parts = ["it has no drivers/base/dd.c", "name a git tree of the kernel"];
        fixture.refused("linux", 1, &[], &[&parts[..], &[fixture.commits[8].as_str()]].concat());
        fixture.git("linux", &["checkout", "--quiet", "HEAD~1", "--", "drivers/base/dd.c"]);
        fixture.git("linux", &["commit", "--quiet", "--message=a kernel"]);
        fixture.refused("linux", 8, &[], &[&parts[..], &[fixture.commits[8].as_str()]].concat());
        // Whatever lies between: it is skipped.
        fixture.ends("linux", 7, "HEAD", &[]).unwrap();
    }

    #[test]
    fn a_shallow_clone_is_searched_where_its_history_is_whole_and_else_refused() {
        let fixture = Fixture::new();
        fixture.clone("shallow", "--depth=5");
        fixture.git("shallow", &["fetch", "--quiet", "--depth=1", "origin", &fixture.commits[1]]);
        fixture.refused("shallow", 1, &[], &["shallow clone", "fetch --unshallow"]);

        fixture.git("shallow", &["fetch", "--quiet", "--depth=5", "origin", "main"]);
        let Ends { good, bad } = fixture.ends("shallow", 3, "HEAD", &[]).unwrap();
        let run = fixture.tree("run");
        let bisection = Bisection::of_tree(&run, &fixture.tree("shallow")).unwrap();
        let mut next = bisection.begin(&good, &bad, &[]).unwrap();
        while let Next::Examine { commit, .. } = &next {
            let place = fixture.commits.iter().position(|known| known == commit).unwrap();
            next = bisection.mark(commit, if place >= 5 { Mark::Bad } else { Mark::Good }).unwrap();
        }
        assert_eq!(next, Next::Found(fixture.commits[5].clone()));
    }

    #[test]
    fn a_partial_clone_is_refused_until_all_was_fetched() {
        let fixture = Fixture::new();
        fixture.clone("partial", "--filter=blob:none");
        fixture.refused("partial", 1, &[], &["partial clone", "fetch --refetch --no-filter"]);
        let known = Known::of(&fixture.tree("partial")).unwrap().unwrap();
        assert!(known.tree_of(&fixture.commits[2]).unwrap_err().seen.contains("partial clone"));
        known.tree_of("HEAD").unwrap();
        fixture.git("partial", &["fetch", "--quiet", "--refetch", "--no-filter"]);
        fixture.ends("partial", 1, "HEAD", &[]).unwrap();
        known.tree_of(&fixture.commits[2]).unwrap();
    }
}
