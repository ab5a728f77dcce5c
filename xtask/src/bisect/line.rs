//! What is searched: the history of a git tree, the versions of a package, or packages in the order of their versions.

use std::path::{Path, PathBuf};

use lab::debian;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::Bisection;

/// What is searched.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// Commits of a tree.
    Tree { tree: PathBuf },
    /// Kernels of Debian, the oldest first, and a commit for each.
    Packages { kernels: Vec<Packaged>, commits: Vec<String> },
}

/// A kernel of Debian.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Packaged {
    /// What it is called in a search: a version, or the name of a package.
    name: String,
    /// How it is asked for.
    spec: String,
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
            let tree = tree.unwrap_or(Path::new("."));
            let ends = [good, bad].map(|end| lab::kernel::commit_of(tree, end));
            let [of_good, of_bad] = ends;
            // Neither may come before the other: then git asks for where they part.
            if lab::kernel::comes_before(tree, &of_bad?, &of_good?)? {
                let attempt = format!("search from {good} to {bad}");
                let next = "swap them; to find what mended a fault is not possible yet";
                return Err(Failure::new(Kind::Asked, attempt, "the bad one is not the later one", next));
            }
            return Ok(Self::Tree { tree: tree.to_owned() });
        };
        let known = match package.split_once('*') {
            Some((beginning, end)) => by_name(beginning, end)?,
            None => by_version(package)?,
        };
        let place = |name: &str| {
            known.iter().position(|known| known.name == name).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
                let attempt = format!("find {name} among those of {package}");
                let next = if names.is_empty() {
                    "run `apt-get update`, and see `apt-cache pkgnames linux-`".to_owned()
                } else {
                    format!("apt knows these: {}", names.join(", "))
                };
                Failure::new(Kind::Asked, attempt, "there is none of that name", next)
            })
        };
        let (first, last) = (place(good)?, place(bad)?);
        if first >= last {
            let attempt = format!("search from {good} to {bad}");
            return Err(Failure::new(Kind::Asked, attempt, "the good one is not the older one", "swap them"));
        }
        Ok(Self::Packages { kernels: known[first..=last].to_vec(), commits: Vec::new() })
    }

    /// Opens the search in the folder of the run.
    ///
    /// # Errors
    /// `Asked` where it is no git tree; `Files`.
    pub(super) fn open(&mut self, run: &Path) -> Result<Bisection, Failure> {
        match self {
            Self::Tree { tree } => Bisection::of_tree(run, tree),
            Self::Packages { kernels, commits } => {
                let names: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
                let (bisection, of_names) = Bisection::of_names(run, &names)?;
                *commits = of_names;
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
            Self::Packages { kernels, commits } => {
                let place = kernels.iter().position(|kernel| kernel.name == end);
                bisection.resolve(place.and_then(|place| commits.get(place)).map_or(end, String::as_str))
            }
        }
    }

    /// What a commit is called in reports.
    pub(super) fn name(&self, commit: &str) -> String {
        self.packaged(commit).map_or_else(|| commit.to_owned(), |kernel| kernel.name.clone())
    }

    /// How its kernel is asked for.
    pub(super) fn spec(&self, commit: &str) -> String {
        self.packaged(commit).map_or_else(|| self.spec_of_end(commit), |kernel| kernel.spec.clone())
    }

    /// How the kernel of an end is asked for, as it was named.
    pub(super) fn spec_of_end(&self, end: &str) -> String {
        match self {
            Self::Tree { tree } => format!("{}@{end}", tree.display()),
            Self::Packages { kernels, .. } => {
                let known = kernels.iter().find(|kernel| kernel.name == end);
                known.map_or_else(|| end.to_owned(), |kernel| kernel.spec.clone())
            }
        }
    }

    fn packaged(&self, commit: &str) -> Option<&Packaged> {
        let Self::Packages { kernels, commits } = self else { return None };
        kernels.get(commits.iter().position(|known| known == commit)?)
    }
}

/// The versions of one package.
fn by_version(package: &str) -> Result<Vec<Packaged>, Failure> {
    let mut versions = debian::versions(package)?;
    versions.reverse();
    let packaged = |version: String| Packaged { spec: format!("{package}={version}"), name: version };
    Ok(versions.into_iter().map(packaged).collect())
}

/// The packages whose names begin and end so, in the order of their versions: with each change of its ABI Debian's kernel
/// has another name.
fn by_name(beginning: &str, end: &str) -> Result<Vec<Packaged>, Failure> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in debian::packages(beginning)? {
        if name.ends_with(end)
            && name.len() >= beginning.len() + end.len()
            && let Some(version) = debian::versions(&name)?.into_iter().next()
        {
            found.push((version, name));
        }
    }
    debian::sort_by_version(&mut found)?;
    Ok(found.into_iter().map(|(_, name)| Packaged { spec: name.clone(), name }).collect())
}
