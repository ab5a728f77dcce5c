//! Asks git which files a patch touches. It is git that applies it, so that its reading of the names is the one that
//! counts.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::APPLY;
use crate::failure::Failure;
use crate::kernel::git::Git;

/// What a patch touches.
#[derive(Debug)]
pub(in crate::kernel) enum Touched {
    /// The files that it changes, makes, removes, renames or copies.
    Files(BTreeSet<PathBuf>),
    /// Nothing: there is no patch in it.
    Nothing,
    /// It cannot be known, or lies outside of the tree: what it does could not be undone.
    Unclear(String),
}

impl Touched {
    /// The files; else what is wrong.
    pub(in crate::kernel) fn files(self) -> Result<BTreeSet<PathBuf>, String> {
        match self {
            Self::Files(files) => Ok(files),
            Self::Nothing => Err("it changes no file".to_owned()),
            Self::Unclear(seen) => Err(seen),
        }
    }
}

/// What a patch in a file touches.
///
/// # Errors
/// As [`Git::run`].
pub(in crate::kernel) fn touched(git: &Git, patch: &Path) -> Result<Touched, Failure> {
    let attempt = format!("read the patch {}", patch.display());
    let path = patch.display().to_string();
    let mut files = BTreeSet::new();
    // Forwards it names what is there afterwards, backwards what was there before.
    for direction in [&[][..], &["--reverse"]] {
        let arguments = [&APPLY[..], direction, &["--numstat", "-z", &path]].concat();
        let output = git.run(&attempt, &arguments)?;
        if !output.status.success() {
            let errors = output.stderr.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line));
            let errors: Vec<&str> = errors.collect();
            let nothing = errors.iter().any(|error| error.starts_with("No valid patches"));
            return Ok(if nothing { Touched::Nothing } else { Touched::Unclear(errors.join("; ")) });
        }
        // Lines added and removed, and the name (git-apply(1), --numstat).
        for name in output.stdout.split_terminator('\0').filter_map(|line| line.splitn(3, '\t').nth(2)) {
            match inside(name) {
                Ok(path) => files.insert(path),
                Err(why) => return Ok(Touched::Unclear(why)),
            };
        }
    }
    Ok(Touched::Files(files))
}

fn inside(name: &str) -> Result<PathBuf, String> {
    let path = Path::new(name);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("it names the file {name}, outside of the tree"));
    }
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err(format!("it names the file {name}, which is no UTF-8"));
    }
    Ok(path.to_owned())
}
