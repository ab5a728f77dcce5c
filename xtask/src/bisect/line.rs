//! What is searched: the history of a git tree, or the versions of a package.

use std::path::{Path, PathBuf};

use lab::debian;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::Bisection;

/// What is searched.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Commits of a tree.
    Tree { tree: PathBuf },
    /// Versions of a Debian package, the oldest first, and a commit for each.
    Package { package: String, versions: Vec<String>, commits: Vec<String> },
}

impl Line {
    /// # Errors
    /// `Asked` for a package without the ends among its versions; `Host` without apt.
    pub(super) fn of(
        tree: Option<&Path>,
        package: Option<&str>,
        good: &str,
        bad: &str,
    ) -> Result<Self, Failure> {
        let Some(package) = package else {
            return Ok(Self::Tree { tree: tree.unwrap_or(Path::new(".")).to_owned() });
        };
        let mut known = debian::versions(package)?;
        known.reverse();
        let place = |version: &str| {
            known.iter().position(|known| known == version).ok_or_else(|| {
                let attempt = format!("find version {version} of {package}");
                let next = format!("use versions that apt knows: {}", known.join(", "));
                Failure::new(Kind::Asked, attempt, "apt knows none of that number", next)
            })
        };
        let (first, last) = (place(good)?, place(bad)?);
        if first >= last {
            let attempt = format!("search from version {good} to {bad}");
            return Err(Failure::new(Kind::Asked, attempt, "the good one is not the older one", "swap them"));
        }
        let versions = known[first..=last].to_vec();
        Ok(Self::Package { package: package.to_owned(), versions, commits: Vec::new() })
    }

    /// Opens the search in the folder of the run.
    ///
    /// # Errors
    /// `Asked` where it is no git tree; `Files`.
    pub(super) fn open(&mut self, run: &Path) -> Result<Bisection, Failure> {
        match self {
            Self::Tree { tree } => Bisection::of_tree(run, tree),
            Self::Package { versions, commits, .. } => {
                let (bisection, of_versions) = Bisection::of_names(run, versions)?;
                *commits = of_versions;
                Ok(bisection)
            }
        }
    }

    /// The commit of an end.
    ///
    /// # Errors
    /// `Asked` where there is none.
    pub(super) fn resolve(&self, bisection: &Bisection, end: &str) -> Result<String, Failure> {
        match self {
            // Names of the user's branches and tags are not in the repository of the search.
            Self::Tree { tree } => lab::kernel::commit_of(tree, end),
            Self::Package { versions, commits, .. } => {
                let place = versions.iter().position(|version| version == end).unwrap_or_default();
                bisection.resolve(commits.get(place).map_or(end, String::as_str))
            }
        }
    }

    /// What a commit is called in reports.
    pub(super) fn name(&self, commit: &str) -> String {
        match self {
            Self::Tree { .. } => commit.to_owned(),
            Self::Package { versions, commits, .. } => {
                let place = commits.iter().position(|known| known == commit);
                place.and_then(|place| versions.get(place)).cloned().unwrap_or_else(|| commit.to_owned())
            }
        }
    }

    /// How its kernel is asked for.
    pub(super) fn spec(&self, commit: &str) -> String {
        self.spec_of_end(&self.name(commit))
    }

    /// How the kernel of an end is asked for, as it was named.
    pub(super) fn spec_of_end(&self, end: &str) -> String {
        match self {
            Self::Tree { tree } => format!("{}@{end}", tree.display()),
            Self::Package { package, .. } => format!("{package}={end}"),
        }
    }
}
