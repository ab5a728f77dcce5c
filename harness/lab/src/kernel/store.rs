//! Keeps built kernels, by content, where any number of runs and processes can use them.
//!
//! ```text
//! <store>/kernels/<id>/                 a finished kernel; appears whole, by a rename
//! <store>/sources/<digest>/tree/        its source, pristine unless a build is under way
//! <store>/sources/<digest>/pristine/    while patches are in: the files they touch, as they came
//! <store>/sources/<digest>/objects-<…>/ one object tree per configuration and compiler
//! <store>/sources/<digest>/lock         held by whoever uses the source
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::kernel::build;
use crate::kernel::catalogue::{Behaviour, Recipe};
use crate::kernel::source;
use crate::kernel::workshop::Workshop;
use crate::watch::Watch;

/// Part of every id: to be raised when the way kernels are made changes.
const RECIPE_VERSION: &str = "5";

/// The file of a finished kernel that is booted instead of `vmlinux`, where there is one.
pub(super) const BZIMAGE: &str = "bzImage";

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A finished kernel in the store.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name it was asked for by.
    pub name: String,
    /// What is special about it, in a few words.
    pub about: String,
    /// How it attaches asynchronous drivers.
    pub behaves: Option<Behaviour>,
    /// What it is made of.
    pub identity: Identity,
    /// Its folder.
    pub folder: PathBuf,
}

impl Kernel {
    /// The image to boot: an ELF file with a PVH entry, or a bzImage.
    pub fn image(&self) -> PathBuf {
        let bzimage = self.folder.join(BZIMAGE);
        if self.identity.files.contains_key(BZIMAGE) { bzimage } else { self.symbols() }
    }

    /// The ELF file, with symbols.
    pub fn symbols(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The list of modules that are built in.
    pub fn built_in(&self) -> PathBuf {
        self.folder.join("modules.builtin")
    }

    /// The folder of its modules.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }
}

/// What a kernel is made of, and what came of it: `kernel.json` in its folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Hash of all that follows up to `compiler`.
    pub id: String,
    /// The source's archive, and its BLAKE3.
    pub source: Piece,
    /// The patches, in order.
    pub patches: Vec<Piece>,
    /// The configuration fragments, in order.
    pub config: Vec<Piece>,
    /// The sources of the modules that were built with it.
    pub modules: Vec<Piece>,
    /// The first line of the compiler's `--version`.
    pub compiler: String,
    /// `make kernelrelease`.
    pub release: String,
    /// BLAKE3 of each file of the finished kernel, by its path in the folder.
    pub files: BTreeMap<String, String>,
}

/// A file that went into a kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Piece {
    /// Its name, without folder.
    pub name: String,
    /// Its BLAKE3, in hexadecimal.
    pub blake3: String,
}

impl Piece {
    fn of(path: &Path) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, blake3: source::digest(path)? })
    }
}

impl Store {
    /// The store at `PARPROBE_STORE`, else at `parprobe` in the XDG cache folder. It is made if need be.
    ///
    /// # Errors
    /// `Files` where it cannot be made or written.
    pub fn open() -> Result<Self, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("PARPROBE_STORE")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("parprobe")))
            .or_else(|| set("HOME").map(|home| home.join(".cache").join("parprobe")));
        let root = root.ok_or_else(|| {
            let seen = "none of PARPROBE_STORE, XDG_CACHE_HOME and HOME is set";
            Failure::new(Kind::Files, "find the kernel store", seen, "set PARPROBE_STORE to a folder")
        })?;
        Self::at(&root)
    }

    /// The store in this folder.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn at(root: &Path) -> Result<Self, Failure> {
        // kbuild refuses them for the source as for the objects (6.1: Makefile, "cannot contain spaces").
        if root.to_string_lossy().contains([' ', ':']) {
            return Err(Failure::new(
                Kind::Files,
                format!("use {} as the kernel store", root.display()),
                "its path has a space or a colon in it: kernels cannot be built there",
                "set PARPROBE_STORE to another folder",
            ));
        }
        let unusable = |e: std::io::Error| {
            let mut failure = Failure::file("use as the kernel store the folder", root, &e);
            failure.next = "set PARPROBE_STORE to a folder that can be written, with 2 GiB free".to_owned();
            failure
        };
        fs::create_dir_all(root.join("kernels")).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        // Found out now, and not after a build: the folder may be there and belong to somebody else.
        tempfile::tempfile_in(&root).map_err(unusable)?;
        Ok(Self { root })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes sure that each kernel is there, building what is missing, and returns them in order.
    ///
    /// # Errors
    /// `Host` without source or compiler, `Series`, `Build`, `Files`, `Interrupted`.
    pub fn ensure(&self, recipes: &[Recipe], watch: &dyn Watch) -> Result<Vec<Kernel>, Failure> {
        let compiler = build::compiler()?;
        let mut archives = BTreeMap::new();
        let mut kernels = Vec::new();
        for recipe in recipes {
            let archive = source::archive(&recipe.source)?;
            if !archives.contains_key(archive) {
                archives.insert(archive, Piece::of(archive)?);
            }
            let identity = identify(recipe, archives[archive].clone(), compiler.clone())?;
            kernels.push(self.ensure_one(recipe, identity, watch)?);
        }
        Ok(kernels)
    }

    /// Removes a kernel that nobody will ask for again.
    ///
    /// # Errors
    /// `Files`.
    pub fn discard(&self, kernel: &Kernel) -> Result<(), Failure> {
        fs::remove_dir_all(&kernel.folder).map_err(|e| Failure::file("remove", &kernel.folder, &e))
    }

    fn ensure_one(&self, recipe: &Recipe, identity: Identity, watch: &dyn Watch) -> Result<Kernel, Failure> {
        let folder = self.root.join("kernels").join(&identity.id);
        let finished = || {
            intact(&folder).map(|identity| Kernel {
                name: recipe.name.clone(),
                about: recipe.about.clone(),
                behaves: recipe.behaves,
                identity,
                folder: folder.clone(),
            })
        };
        if let Some(kernel) = finished() {
            return Ok(kernel);
        }
        let workshop = Workshop::enter(&self.root, &identity, watch)?;
        // Another process may have built it while this one waited for the lock.
        if let Some(kernel) = finished() {
            return Ok(kernel);
        }
        if folder.exists() {
            watch.note(&format!("{} is damaged: it is built again", folder.display()));
        }
        workshop.make(recipe, identity, &folder, watch)?;
        finished().ok_or_else(|| {
            let attempt = format!("find the kernel \"{}\" that was just built", recipe.name);
            Failure::new(Kind::Files, attempt, "it is not as it was written", "check the disk of the store")
        })
    }
}

/// The identity in `kernel.json`, if every file it names is as it says.
fn intact(folder: &Path) -> Option<Identity> {
    let identity: Identity = serde_json::from_slice(&fs::read(folder.join("kernel.json")).ok()?).ok()?;
    let whole = identity
        .files
        .iter()
        .all(|(name, digest)| source::digest(&folder.join(name)).is_ok_and(|now| now == *digest));
    whole.then_some(identity)
}

/// What the kernel would be; `release` and `files` are not known yet and not part of the id.
fn identify(recipe: &Recipe, source: Piece, compiler: String) -> Result<Identity, Failure> {
    let patches = recipe.series.iter().map(|path| Piece::of(path)).collect::<Result<Vec<_>, _>>()?;
    let config = recipe.config.iter().map(|path| Piece::of(path)).collect::<Result<Vec<_>, _>>()?;
    let modules = recipe.modules.iter().map(|path| Piece::of(path)).collect::<Result<Vec<_>, _>>()?;
    // By content alone: the same patch under another name makes the same kernel.
    let digests = |pieces: &[Piece]| pieces.iter().map(|piece| piece.blake3.clone()).collect::<Vec<_>>();
    // The file names of modules are their names.
    let parts = (
        RECIPE_VERSION,
        &source.blake3,
        digests(&patches),
        digests(&config),
        &modules,
        recipe.bzimage,
        &compiler,
    );
    let text = serde_json::to_string(&parts).unwrap_or_default();
    let id = blake3::hash(text.as_bytes()).to_hex()[..16].to_owned();
    let (release, files) = (String::new(), BTreeMap::new());
    Ok(Identity { id, source, patches, config, modules, compiler, release, files })
}
