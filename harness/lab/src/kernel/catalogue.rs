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
    /// Kernel parameters that it is to be booted with.
    pub parameters: String,
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
    kernel: BTreeMap<String, Entry>,
}

/// A configuration that any of the kernels can have instead of its usual one: `<kernel>+<flavour>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flavour {
    about: String,
    config: Vec<PathBuf>,
    #[serde(default)]
    bzimage: bool,
    #[serde(default)]
    parameters: String,
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
        let wrong = |seen: String| {
            Failure::new(Kind::Asked, format!("read {}", path.display()), seen, "mend the file at that place")
        };
        let file: File = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        for (name, entry) in &file.kernel {
            if !file.source.contains_key(&entry.source) {
                return Err(wrong(format!(
                    "kernel \"{name}\" names the source \"{}\": there is none",
                    entry.source
                )));
            }
        }
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
    /// `Asked` with the names there are; `Files` where the folder of modules cannot be read.
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
        let entry = self.file.kernel.get(kernel).ok_or_else(missing)?;
        let absolute =
            |paths: &[PathBuf]| paths.iter().map(|path| self.folder.join(path)).collect::<Vec<_>>();
        let mut config = absolute(&entry.config);
        let mut about = entry.about.clone();
        let (mut bzimage, mut parameters) = (false, String::new());
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
            parameters.clone_from(&of.parameters);
        }
        Ok(Recipe {
            name: name.to_owned(),
            about,
            behaves: entry.behaves,
            source: self.file.source[&entry.source].clone(),
            series: absolute(&entry.series),
            config,
            modules: files_in(&self.folder.join(&self.file.modules))?,
            bzimage,
            parameters,
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
