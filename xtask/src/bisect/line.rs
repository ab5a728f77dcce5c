//! What is searched: the history of a git tree, the versions of a package, or packages in the order of their versions.

use std::path::{Path, PathBuf};

use lab::debian;
use lab::failure::{Failure, Kind};
use lab::kernel::bisection::{self, Bisection, Ends};
use serde::{Deserialize, Serialize};

/// What is searched.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Commits of a tree.
    Tree { tree: PathBuf, ends: Ends },
    /// Kernels of Debian from the good end to the bad one, and a commit for each, once the search is open.
    Packages {
        kernels: Vec<Packaged>,
        #[serde(skip)]
        commits: Vec<String>,
    },
}

/// A kernel of Debian.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Packaged {
    /// What it is called in a search: a version, or the name of a package.
    name: String,
    /// How it is asked for.
    spec: String,
}

impl Line {
    /// The commits of a tree between two, of which those count that touch these paths, if there are any.
    ///
    /// # Errors
    /// As [`bisection::ends`].
    pub(super) fn of_tree(tree: &Path, good: &str, bad: &str, paths: &[String]) -> Result<Self, Failure> {
        Ok(Self::Tree { tree: tree.to_owned(), ends: bisection::ends(tree, good, bad, paths)? })
    }

    /// The kernels of a package, or of packages, between two.
    ///
    /// # Errors
    /// `Asked` for a package without the ends among its versions; `Host` without apt.
    pub(super) fn of_package(package: &str, good: &str, bad: &str) -> Result<Self, Failure> {
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

    /// Opens the search in the folder of the run; the commits of its ends.
    ///
    /// # Errors
    /// `Asked` where it is no git tree; `Files`.
    pub(super) fn open(&mut self, run: &Path) -> Result<(Bisection, Ends), Failure> {
        match self {
            Self::Tree { tree, ends } => Ok((Bisection::of_tree(run, tree)?, ends.clone())),
            Self::Packages { kernels, commits } => {
                let names: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
                let (bisection, of_names) = Bisection::of_names(run, &names)?;
                let ends = match &of_names[..] {
                    [good, .., bad] => Ends { good: good.clone(), bad: bad.clone() },
                    _ => {
                        let attempt = format!("go on with the search in {}", run.display());
                        let seen = "search.json names fewer than two kernels";
                        return Err(Failure::new(Kind::Files, attempt, seen, "begin the search anew"));
                    }
                };
                *commits = of_names;
                Ok((bisection, ends))
            }
        }
    }

    /// How the kernels of the good end and of the bad one are asked for.
    pub(super) fn specs_of_ends(&self) -> [String; 2] {
        match self {
            Self::Tree { tree, ends: Ends { good, bad } } => {
                [good, bad].map(|end| format!("{}@{end}", tree.display()))
            }
            Self::Packages { kernels, commits: _ } => [kernels.first(), kernels.last()]
                .map(|kernel| kernel.map(|kernel| kernel.spec.clone()).unwrap_or_default()),
        }
    }

    /// What a commit is called in reports.
    pub(super) fn name(&self, commit: &str) -> String {
        self.packaged(commit).map_or_else(|| commit.to_owned(), |kernel| kernel.name.clone())
    }

    /// How its kernel is asked for.
    pub(super) fn spec(&self, commit: &str) -> String {
        match (self, self.packaged(commit)) {
            (_, Some(kernel)) => kernel.spec.clone(),
            (Self::Tree { tree, ends: _ }, None) => format!("{}@{commit}", tree.display()),
            (Self::Packages { .. }, None) => commit.to_owned(),
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
