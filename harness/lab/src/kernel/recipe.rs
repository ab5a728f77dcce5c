//! How to come by a kernel, as a value.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// A kernel that can be asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Recipe {
    /// Its name: letters, digits and `-_.+@=`, so that it can name a file.
    pub name: String,
    /// What is special about it, in a few words.
    pub about: String,
    /// How it attaches asynchronous drivers: what is expected of it follows from that.
    /// `None` where that is not known.
    pub behaves: Option<Behaviour>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a kernel comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Origin {
    /// It is built here.
    Build(Build),
    /// Somebody else has built it.
    Ready(Ready),
}

/// How to build a kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Build {
    /// Where the source comes from.
    pub source: Source,
    /// Patches, in order.
    pub series: Vec<Patch>,
    /// Configuration fragments on top of allnoconfig, in order.
    pub config: Vec<PathBuf>,
    /// The source files of modules that are built with it, outside of its tree; one of them is a `Kbuild`.
    pub modules: Vec<PathBuf>,
    /// Boot a `bzImage`: `vmlinux` starts sooner, but not with KASAN, because the PVH entry runs C code before
    /// there is a shadow for it (arch/x86/platform/pvh; seen as a triple fault in 6.1).
    pub bzimage: bool,
}

/// A kernel source.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Source {
    /// A tar archive.
    Archive {
        /// The file.
        path: PathBuf,
        /// What brings it, if it is not there.
        brought: Brought,
    },
    /// What git knows of a tree, or a folder that git has never seen.
    Tree {
        /// The folder of the tree, or of a bare repository.
        folder: PathBuf,
        /// Which state of it.
        state: State,
    },
}

/// What brings a file that is not there.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Brought {
    /// Nobody: a person has named it.
    ByHand,
    /// A Debian package that is to be installed.
    Package(String),
    /// A Debian package of just this version, which is downloaded and not installed.
    Version {
        /// The package.
        package: String,
        /// Its version.
        version: String,
    },
}

/// A state of a source tree.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum State {
    /// As it stands in the folder now, with what is not committed.
    AsItStands,
    /// As it stood when that was noted: a tree object in the store.
    Noted(String),
    /// A commit, by its full name.
    Commit(String),
}

/// A kernel that somebody else has built.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ready {
    /// A file of a Debian package.
    Deb(PathBuf),
    /// A Debian package, of the version that apt would install, or of this one.
    Package {
        /// Its name.
        package: String,
        /// Its version.
        version: Option<String>,
    },
    /// An image and the folder of its modules.
    Files {
        /// A bzImage, as distributions call `vmlinuz`.
        image: PathBuf,
        /// The folder, as below `/lib/modules`.
        modules: PathBuf,
    },
}

/// A patch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Patch {
    /// The file, a diff with or without words before it.
    pub path: PathBuf,
    /// Where it was found, for whoever has to mend it: its folder, or the file of a mailbox and which mail of it.
    pub found_in: Option<String>,
}

impl Patch {
    /// A file that is a patch as it stands.
    pub fn file(path: PathBuf) -> Self {
        Self { path, found_in: None }
    }

    /// Its name, without folder.
    pub fn name(&self) -> String {
        file_name(&self.path)
    }
}

/// With where it was found.
impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found_in {
            Some(found_in) => write!(f, "{}, {found_in}", self.name()),
            None => self.path.display().fmt(f),
        }
    }
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
    /// The same, but the node is only where it begins: since 8639ecebc9b1 (v6.6) the scheduler may move a worker of an
    /// unbound workqueue away (`affinity_strict`, Documentation/core-api/workqueue.rst).
    NearNode,
}

/// As in `kernels.toml`.
impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerDriver => "per-driver",
            Self::PerDevice => "per-device",
            Self::PerNode => "per-node",
            Self::NearNode => "near-node",
        })
    }
}

impl Recipe {
    /// The same kernel with patches on top.
    ///
    /// What it promised of parallelism and placement it has to keep. That probes come one after the other is no
    /// promise: of a patch on top of such a kernel nothing is known.
    ///
    /// # Errors
    /// `Asked` for a kernel that is not built here.
    pub fn patched(&self, patches: &[Patch]) -> Result<Self, Failure> {
        let mut build = self.build("put patches on top of")?.clone();
        build.series.extend_from_slice(patches);
        let names: Vec<String> = patches.iter().map(Patch::name).collect();
        let what = match &names[..] {
            [only] => only.clone(),
            all => {
                format!("{} patches, the last of them {}", all.len(), all.last().map_or("", String::as_str))
            }
        };
        Ok(Self {
            name: format!("{}-patched", self.name),
            about: format!("{} with {what}", self.name),
            behaves: self.behaves.filter(|behaves| *behaves != Behaviour::PerDriver),
            origin: Origin::Build(build),
        })
    }

    /// How it is built.
    ///
    /// # Errors
    /// `Asked` for one that is not.
    pub fn build(&self, attempt: &str) -> Result<&Build, Failure> {
        match &self.origin {
            Origin::Build(build) => Ok(build),
            Origin::Ready(_) => {
                let attempt = format!("{attempt} the kernel \"{}\"", self.name);
                let next = "name a source: `cargo xtask bench --help` shows which there are";
                Err(Failure::new(Kind::Asked, attempt, "it is built already", next))
            }
        }
    }

    /// The Debian package that has to be installed for it, if one has.
    pub fn package(&self) -> Option<(&str, &Path)> {
        match &self.origin {
            Origin::Build(Build {
                source: Source::Archive { path, brought: Brought::Package(package) },
                ..
            }) => Some((package, path)),
            Origin::Build(_) | Origin::Ready(_) => None,
        }
    }
}

/// The last part of a path, as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
