//! Keeps built kernels, by content, where any number of runs and processes can use them.
//!
//! ```text
//! <store>/kernels/<id>/                 a finished kernel; appears whole, by a rename
//! <store>/sources/<name>/tree/          its source, pristine unless a build is under way
//! <store>/sources/<name>/repository/    of a git tree: shares the objects of the user's, and writes nothing there
//! <store>/sources/<name>/pristine/      while patches are in: the files they touch, as they came
//! <store>/sources/<name>/objects-<…>/   one object tree per configuration and compiler
//! <store>/sources/<name>/lock           held by whoever uses the source
//! <store>/downloads/                    packages that were downloaded, and archives out of them
//! <store>/patches/<digest>/             patches that went into a kernel, as they were read
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::guest::Image;
use crate::kernel::build;
use crate::kernel::hold::{self, Hold, Scratch};
use crate::kernel::identity::{Identity, identify, identify_ready, intact};
use crate::kernel::kit::Kit;
use crate::kernel::patches;
use crate::kernel::ready;
use crate::kernel::recipe::{Behaviour, Build, Origin, Patch, Ready, Recipe, Source};
use crate::kernel::source::{self, Found};
use crate::kernel::upkeep;
use crate::kernel::workshop::Workshop;
use crate::private;
use crate::watch::Watch;

/// The ELF file of a kernel that was built here.
pub(super) const VMLINUX: &str = "vmlinux";
/// The file of a finished kernel that is booted instead of it, where there is one.
pub(super) const BZIMAGE: &str = "bzImage";

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Where kernels are taken from, and not built.
    kit: Option<Kit>,
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
    /// Its patches, in order: the files.
    pub patches: Vec<PathBuf>,
    /// Its folder.
    pub folder: PathBuf,
    /// It stays in the store as long as this does, and so does the source that it was built from: the next commit costs
    /// an incremental build. Empty where it is not in the store.
    pub(crate) holds: Vec<Hold>,
}

/// Kernels that are there, and others that cannot be built.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Those that are there, in the order they were asked for.
    pub kernels: Vec<Kernel>,
    /// Those that cannot be built.
    pub broken: Vec<Broken>,
}

/// A kernel that cannot be built.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Broken {
    /// What it was to be made of. Another one may have the same name.
    pub recipe: Recipe,
    /// Why.
    pub failure: Failure,
}

/// What was found out for kernels before.
#[derive(Default)]
struct Known<'a> {
    compiler: Option<String>,
    sources: HashMap<&'a Source, Found>,
}

impl Kernel {
    /// The image to boot: an ELF file with a PVH entry, or a bzImage.
    pub fn image(&self) -> Image {
        let name = if self.identity.files.contains_key(BZIMAGE) { BZIMAGE } else { VMLINUX };
        Image { path: self.folder.join(name), own: !self.is_ready() }
    }

    /// The ELF file, with symbols; `None` for a kernel that somebody else has built.
    pub fn symbols(&self) -> Option<PathBuf> {
        self.identity.files.contains_key(VMLINUX).then(|| self.folder.join(VMLINUX))
    }

    /// Whether somebody else has built it.
    pub fn is_ready(&self) -> bool {
        self.identity.compiler.is_none()
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
        Ok(Self { kit: Kit::find()?, ..Self::at(&root)? })
    }

    /// The kit that its kernels come from, in a test that cargo-nextest has unpacked.
    pub fn kit(&self) -> Option<&Kit> {
        self.kit.as_ref()
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
        private::folder(&root.join("kernels")).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        // Found out now, and not after a build: the folder may be there and belong to somebody else.
        tempfile::tempfile_in(&root).map_err(unusable)?;
        Ok(Self { root, kit: None })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes sure that each kernel is there, building what is missing, and returns them in order.
    ///
    /// # Errors
    /// `Asked` for a source or a kernel that there is not, `Host` without source or compiler, `Series`, `Build`,
    /// `Files`, `Interrupted`.
    pub fn ensure(&self, recipes: &[Recipe], watch: &dyn Watch) -> Result<Vec<Kernel>, Failure> {
        let mut known = Known::default();
        let mut kernels: Vec<(usize, Kernel)> = patched_first(recipes)
            .map(|(place, recipe)| Ok((place, self.ensure_one(recipe, &mut known, watch)?)))
            .collect::<Result<_, Failure>>()?;
        kernels.sort_by_key(|(place, _)| *place);
        Ok(kernels.into_iter().map(|(_, kernel)| kernel).collect())
    }

    /// The same, but for kernels that cannot be built: the others are there all the same.
    ///
    /// # Errors
    /// As [`Store::ensure`]; what keeps the first kernel from being built, where that is so of all.
    pub fn ensure_others(&self, recipes: &[Recipe], watch: &dyn Watch) -> Result<Others, Failure> {
        let mut known = Known::default();
        let mut others = Others::default();
        for recipe in recipes {
            match self.ensure_one(recipe, &mut known, watch) {
                Ok(kernel) => others.kernels.push(kernel),
                Err(failure) if failure.kind == Kind::Build => {
                    watch.note(&format!("{} is left out: {failure}", recipe.name));
                    others.broken.push(Broken { recipe: recipe.clone(), failure });
                }
                Err(failure) => return Err(failure),
            }
        }
        match others.broken.first() {
            Some(first) if others.kernels.is_empty() => Err(first.failure.clone()),
            _ => Ok(others),
        }
    }

    fn ensure_one<'a>(
        &self,
        recipe: &'a Recipe,
        known: &mut Known<'a>,
        watch: &dyn Watch,
    ) -> Result<Kernel, Failure> {
        if let Some(kit) = &self.kit {
            return kit.kernel(recipe);
        }
        let build = match &recipe.origin {
            Origin::Build(build) => build,
            Origin::Ready(ready) => return self.ensure_ready(recipe, ready, watch),
        };
        let compiler = match &known.compiler {
            Some(compiler) => compiler,
            None => known.compiler.insert(build::compiler()?),
        };
        let found = match known.sources.entry(&build.source) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Found::of(&build.source, &self.root, watch)?),
        };
        // What is applied after the wait for a source is what went into the id. Nobody removes it before.
        let kept = patches::keep_all(&build.series, &self.root.join("patches"))?;
        let (series, _held): (Vec<Patch>, Vec<Hold>) = kept.into_iter().unzip();
        let build = &Build { series, ..build.clone() };
        let identity = identify(build, found.piece.clone(), compiler.clone())?;
        let mut kernel = self.ensure_built(recipe, build, found, identity, watch)?;
        kernel.holds.push(found.hold.clone());
        Ok(kernel)
    }

    /// Removes a kernel that nobody will ask for again.
    ///
    /// # Errors
    /// `Files`.
    pub fn discard(&self, kernel: &Kernel) -> Result<(), Failure> {
        fs::remove_dir_all(&kernel.folder).map_err(|e| Failure::file("remove", &kernel.folder, &e))
    }

    fn ensure_built(
        &self,
        recipe: &Recipe,
        build: &Build,
        found: &Found,
        identity: Identity,
        watch: &dyn Watch,
    ) -> Result<Kernel, Failure> {
        let folder = self.folder_of(&identity.id);
        if let Some(kernel) = finished(recipe, &folder) {
            return Ok(kernel);
        }
        let workshop = Workshop::enter(&self.root, &found.folder, watch)?;
        // Another process may have built it while this one waited for the lock.
        if let Some(kernel) = finished(recipe, &folder) {
            return Ok(kernel);
        }
        if folder.exists() {
            watch.note(&format!("{} is damaged: it is built again", folder.display()));
        }
        workshop.make(&recipe.name, build, found, identity, &folder, watch)?;
        finished(recipe, &folder).ok_or_else(|| not_as_written(recipe))
    }

    fn ensure_ready(&self, recipe: &Recipe, ready: &Ready, watch: &dyn Watch) -> Result<Kernel, Failure> {
        let found = ready::Found::of(ready, &self.root, watch)?;
        let mut identity = identify_ready(found.piece().clone());
        let folder = self.folder_of(&identity.id);
        if let Some(kernel) = finished(recipe, &folder) {
            return Ok(kernel);
        }
        watch.stage(&format!("unpack {}", recipe.name));
        let partial = Scratch::partial(&self.root)?;
        identity.release = found.bring_to(partial.path())?;
        identity.write(partial.path())?;
        publish(partial.path(), &folder)?;
        finished(recipe, &folder).ok_or_else(|| not_as_written(recipe))
    }

    fn folder_of(&self, id: &str) -> PathBuf {
        self.root.join("kernels").join(id)
    }
}

/// Recipes with their places, those with the most patches first: a patch that does not apply is found out before a kernel
/// is built.
fn patched_first(recipes: &[Recipe]) -> impl Iterator<Item = (usize, &Recipe)> {
    let patches = |recipe: &Recipe| match &recipe.origin {
        Origin::Build(build) => build.series.len(),
        Origin::Ready(_) => 0,
    };
    let mut all: Vec<(usize, &Recipe)> = recipes.iter().enumerate().collect();
    all.sort_by_key(|(_, recipe)| std::cmp::Reverse(patches(recipe)));
    all.into_iter()
}

/// Gives a finished kernel its place. Where another process was faster, its kernel stays: somebody may be reading it.
pub(super) fn publish(made: &Path, folder: &Path) -> Result<(), Failure> {
    let failed = |e: &std::io::Error| Failure::file("create", folder, e);
    match fs::rename(made, folder) {
        Ok(()) => return Ok(()),
        Err(e) if !folder.exists() => return Err(failed(&e)),
        Err(_) if intact(folder).is_some() => return source::remove(made),
        Err(_) => {}
    }
    // A damaged one gives way.
    let damaged = made.with_extension("damaged");
    source::remove(&damaged)?;
    fs::rename(folder, &damaged).and_then(|()| fs::rename(made, folder)).map_err(|e| failed(&e))?;
    source::remove(&damaged)
}

/// The kernel in this folder, if it is there and whole.
fn finished(recipe: &Recipe, folder: &Path) -> Option<Kernel> {
    // First: what is whole now might be gone before it is held.
    let hold = hold::shared(folder).ok()??;
    let identity = intact(folder)?;
    upkeep::touch(folder);
    Some(Kernel {
        name: recipe.name.clone(),
        about: recipe.about.clone(),
        behaves: recipe.behaves,
        identity,
        patches: match &recipe.origin {
            Origin::Build(build) => build.series.iter().map(|patch| patch.path.clone()).collect(),
            Origin::Ready(_) => Vec::new(),
        },
        folder: folder.to_owned(),
        holds: vec![hold],
    })
}

fn not_as_written(recipe: &Recipe) -> Failure {
    let attempt = format!("find the kernel \"{}\" that was just made", recipe.name);
    Failure::new(Kind::Files, attempt, "it is not as it was written", "check the disk of the store")
}
