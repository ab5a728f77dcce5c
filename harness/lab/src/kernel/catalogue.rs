//! Reads `kernel-configs/kernels.toml`: names to recipes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// The named kernels.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    file: File,
}

/// How to make a kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// What is special about it, in a few words.
    pub about: String,
    /// How it attaches asynchronous drivers: what is expected of it follows from that.
    /// `None` where that is not known.
    pub behaves: Option<Behaviour>,
    /// Where the source comes from.
    pub source: Source,
    /// Patches, in order.
    pub series: Vec<PathBuf>,
    /// Configuration fragments on top of tinyconfig, in order.
    pub config: Vec<PathBuf>,
    /// The source files of modules that are built with it, outside of its tree; one of them is a `Kbuild`.
    pub modules: Vec<PathBuf>,
    /// Boot a `bzImage`: `vmlinux` starts sooner, but not with KASAN, because the PVH entry runs C code before
    /// there is a shadow for it (arch/x86/platform/pvh; seen as a triple fault in 6.1).
    pub bzimage: bool,
}

/// How a kernel attaches a driver that prefers asynchronous probes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// One asynchronous call for the driver, which probes its devices one by one.
    PerDriver,
    /// One asynchronous call for each device, on any node.
    PerDevice,
    /// One asynchronous call for each device, on the device's node.
    PerNode,
}

/// As in `kernels.toml`.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerDriver => "per-driver",
            Self::PerDevice => "per-device",
            Self::PerNode => "per-node",
        })
    }
}

/// A kernel source.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The Debian package that brings it.
    pub package: String,
    /// The archive that the package installs.
    pub archive: PathBuf,
    /// About how many files a full build makes: for the progress display.
    pub files: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source: BTreeMap<String, Source>,
    flavour: BTreeMap<String, Flavour>,
    modules: PathBuf,
    /// Read one by one, when it is asked for: a slip in one of them is no reason to refuse the others.
    kernel: BTreeMap<String, toml::Value>,
}

/// A configuration that any of the kernels can have instead of its usual one: `<kernel>+<flavour>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flavour {
    about: String,
    config: Vec<PathBuf>,
    #[serde(default)]
    bzimage: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    about: String,
    behaves: Option<Behaviour>,
    source: String,
    series: Vec<PathBuf>,
    config: Vec<PathBuf>,
}

impl Catalogue {
    /// Reads `kernels.toml` in this folder.
    ///
    /// # Errors
    /// `Files` where it cannot be read, `Asked` where it is not what it should be.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("kernels.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
        let file: File = toml::from_str(&text).map_err(|e| {
            let attempt = format!("read {}", path.display());
            Failure::new(Kind::Asked, attempt, e.to_string(), "mend the file at that place")
        })?;
        Ok(Self { folder: folder.to_owned(), file })
    }

    /// The folder it was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of the kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.kernel.keys().map(String::as_str)
    }

    /// The sources that kernels are made from.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.file.source.values()
    }

    /// The recipe of a kernel: `<kernel>`, or `<kernel>+<flavour>` with another configuration.
    ///
    /// # Errors
    /// `Asked` with the names there are, or with what is wrong with this one; `Files` where the folder of modules
    /// cannot be read.
    pub fn recipe(&self, name: &str) -> Result<Recipe, Failure> {
        let (kernel, flavour) = match name.split_once('+') {
            Some((kernel, flavour)) => (kernel, Some(flavour)),
            None => (name, None),
        };
        let known = || self.names().collect::<Vec<_>>().join(", ");
        let missing = || {
            Failure::new(
                Kind::Asked,
                format!("find the kernel \"{name}\""),
                format!("there is none of that name in {}", self.folder.join("kernels.toml").display()),
                format!("use one of: {}", known()),
            )
        };
        let wrong = |seen: String| {
            let path = self.folder.join("kernels.toml");
            let attempt = format!("read [kernel.{kernel}] in {}", path.display());
            Failure::new(Kind::Asked, attempt, seen, "mend the entry; `mainline` is an example")
        };
        let entry = self.file.kernel.get(kernel).ok_or_else(missing)?;
        let entry: Entry = entry.clone().try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let source = self.file.source.get(&entry.source).ok_or_else(|| {
            let known = self.file.source.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            wrong(format!("there is no source \"{}\", only {known}", entry.source))
        })?;
        let absolute =
            |paths: &[PathBuf]| paths.iter().map(|path| self.folder.join(path)).collect::<Vec<_>>();
        let mut config = absolute(&entry.config);
        let series = absolute(&entry.series);
        if let Some(patch) = series.iter().chain(&config).find(|path| !path.is_file()) {
            return Err(wrong(format!("there is no file {}", patch.display())));
        }
        let mut about = entry.about.clone();
        let mut bzimage = false;
        if let Some(flavour) = flavour {
            let of = self.file.flavour.get(flavour).ok_or_else(|| {
                let known = self.file.flavour.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Failure::new(
                    Kind::Asked,
                    format!("find the flavour \"{flavour}\" of the kernel \"{kernel}\""),
                    format!("there is none of that name in {}", self.folder.join("kernels.toml").display()),
                    format!("use one of: {known}"),
                )
            })?;
            config.extend(absolute(&of.config));
            about = format!("{about}; {}", of.about);
            bzimage = of.bzimage;
        }
        Ok(Recipe {
            name: name.to_owned(),
            about,
            behaves: entry.behaves,
            source: source.clone(),
            series,
            config,
            modules: files_in(&self.folder.join(&self.file.modules))?,
            bzimage,
        })
    }
}

/// The files of a folder, in order.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    read().map_err(|e| Failure::file("list", folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalogue with one sound kernel and one of this entry.
    fn with(entry: &str) -> (tempfile::TempDir, Catalogue) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("modules")).unwrap();
        let text = format!(
            "modules = \"modules\"\nflavour = {{}}\n[source.s]\npackage = \"s\"\narchive = \"/s\"\nfiles = 1\n\
             [kernel.sound]\nabout = \"\"\nsource = \"s\"\nconfig = []\nseries = []\n[kernel.mine]\n{entry}"
        );
        std::fs::write(folder.path().join("kernels.toml"), text).unwrap();
        let catalogue = Catalogue::read(folder.path()).unwrap();
        (folder, catalogue)
    }

    #[test]
    fn a_slip_in_one_entry_is_told_when_it_is_asked_for_and_keeps_no_other_kernel_out() {
        let slips = [
            ("about = 1", "invalid type"),
            (
                "about = \"\"\nsource = \"linux\"\nconfig = []\nseries = []",
                "there is no source \"linux\", only s",
            ),
            (
                "about = \"\"\nsource = \"s\"\nconfig = []\nseries = [\"/nope.patch\"]",
                "there is no file /nope.patch",
            ),
        ];
        for (entry, seen) in slips {
            let (_folder, catalogue) = with(entry);
            assert!(catalogue.recipe("sound").is_ok());
            let failure = catalogue.recipe("mine").unwrap_err();
            assert_eq!(failure.kind, Kind::Asked);
            assert!(failure.seen.contains(seen), "{failure}");
        }
    }
}
