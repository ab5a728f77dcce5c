//! Reads `kernel-configs/mutants/mutants.toml`: known faults, each as a patch on top of a named kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{Failure, Kind};

/// The faults.
#[derive(Clone, Debug)]
pub struct Mutants {
    /// The kernel that they are patches for, by name.
    pub on: String,
    /// The faults, by name.
    pub all: Vec<Mutant>,
}

/// A fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// The patch.
    pub patch: PathBuf,
    /// What goes wrong.
    pub breaks: String,
    /// Where it did, or that it could.
    pub happened: String,
    /// The cases that could see it.
    pub cases: Vec<String>,
    /// Why no case sees it, where that is known.
    pub survives: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    on: String,
    mutant: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    breaks: String,
    happened: String,
    cases: Vec<String>,
    survives: Option<String>,
}

impl Mutants {
    /// Reads `mutants.toml` in this folder.
    ///
    /// # Errors
    /// `Files` where it cannot be read, `Asked` where it is not what it should be.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("mutants.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
        let file: File = toml::from_str(&text).map_err(|e| {
            let attempt = format!("read {}", path.display());
            Failure::new(Kind::Asked, attempt, e.to_string(), "mend the file at that place")
        })?;
        let mutant = |(name, entry): (String, Entry)| {
            let Entry { breaks, happened, cases, survives } = entry;
            Mutant { patch: folder.join(format!("{name}.patch")), name, breaks, happened, cases, survives }
        };
        Ok(Self { on: file.on, all: file.mutant.into_iter().map(mutant).collect() })
    }

    /// Those of these names; all for no name.
    ///
    /// # Errors
    /// `Asked` with the names there are.
    pub fn chosen(self, names: &[String]) -> Result<Vec<Mutant>, Failure> {
        for name in names {
            if !self.all.iter().any(|mutant| mutant.name == *name) {
                let known = self.all.iter().map(|mutant| mutant.name.as_str()).collect::<Vec<_>>().join(", ");
                let attempt = format!("find the mutant \"{name}\"");
                let next = format!("use one of: {known}");
                return Err(Failure::new(Kind::Asked, attempt, "there is none of that name", next));
            }
        }
        let wanted = |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name);
        Ok(self.all.into_iter().filter(wanted).collect())
    }
}
