//! Keeps built kernels, by content, where any number of runs and processes can use them.
//!
//! ```text
//! <store>/kernels/<id>/                 a finished kernel; appears whole, by a rename
//! <store>/sources/<digest>/tree/        its source, pristine unless a build is under way
//! <store>/sources/<digest>/pristine/    while patches are in: the files they touch, as they came
//! <store>/sources/<digest>/objects-<…>/ one object tree per configuration and compiler
//! <store>/sources/<digest>/lock         held by whoever uses the source
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::kernel::build::{self, Place};
use crate::kernel::catalogue::{Behaviour, Recipe};
use crate::kernel::series::Tree;
use crate::kernel::source;
use crate::watch::Watch;

/// Part of every id: to be raised when the way kernels are made changes.
const RECIPE_VERSION: &str = "5";

/// The file of a finished kernel that is booted instead of `vmlinux`, where there is one.
const BZIMAGE: &str = "bzImage";

/// How long to wait for another process that builds from the same source.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

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

/// A source in use: nobody else touches it until this is dropped.
struct Workshop {
    folder: PathBuf,
    lock: Arc<File>,
}

impl Workshop {
    fn enter(root: &Path, identity: &Identity, watch: &dyn Watch) -> Result<Self, Failure> {
        let folder = root.join("sources").join(&identity.source.blake3[..16]);
        fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
        let path = folder.join("lock");
        let failed = |e: std::io::Error| Failure::file("lock", &path, &e);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let asked = Instant::now();
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(e)) => return Err(failed(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            cancel::check("wait for the kernel source")?;
            let mut holder = String::new();
            // The holder writes its number after it has the lock: for a moment there may be none.
            let _ = lock.seek(SeekFrom::Start(0)).and_then(|_| lock.read_to_string(&mut holder));
            if !told {
                watch
                    .stage(&format!("wait for process {}, which builds from the same source", holder.trim()));
                told = true;
            }
            if asked.elapsed() > PATIENCE {
                let seen = format!("process {} has held it for {PATIENCE:?}", holder.trim());
                let next = "look at that process; if it hangs, end it";
                return Err(Failure::new(Kind::Files, format!("lock {}", path.display()), seen, next));
            }
            std::thread::sleep(cancel::LOOK_EVERY);
        }
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| write!(lock, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { folder, lock: Arc::new(lock) })
    }

    fn make(
        &self,
        recipe: &Recipe,
        identity: Identity,
        into: &Path,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let source = self.folder.join("tree");
        if !source.exists() {
            watch.stage(&format!("unpack {}", recipe.source.package));
            source::unpack(&recipe.source.archive, &source, watch)?;
        }
        let lock = Some(Arc::clone(&self.lock));
        let tree = Tree::new(source.clone(), self.folder.join("pristine"), lock);
        tree.apply(&recipe.series).map_err(|mut failure| {
            failure.attempt = format!("{} for the kernel \"{}\"", failure.attempt, recipe.name);
            failure
        })?;
        let made = self.make_patched(recipe, identity, &source, into, watch);
        // Also after a failure: the next build begins from the pristine source.
        let restored = tree.restore();
        made.and(restored)
    }

    fn make_patched(
        &self,
        recipe: &Recipe,
        identity: Identity,
        source: &Path,
        into: &Path,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let fragments = recipe
            .config
            .iter()
            .map(|path| fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e)))
            .collect::<Result<String, _>>()?;
        let of = blake3::hash(format!("{}\0{fragments}", identity.compiler).as_bytes()).to_hex();
        let objects = self.folder.join(format!("objects-{}", &of[..16]));
        let log = self.folder.join(format!("build-{}.log", identity.id));
        let _ = fs::remove_file(&log);
        let place = Place { source, objects: &objects, id: &identity.id, log: &log, lock: &self.lock };
        let of_kernel = |mut failure: Failure| {
            if failure.kind == Kind::Build {
                failure.attempt = format!("{} \"{}\"", failure.attempt, recipe.name);
            }
            failure
        };

        // These files are written last, so their presence says that the step was finished once.
        let (configured, built) = (objects.join("parprobe-configured"), objects.join("parprobe-built"));
        if !objects.exists()
            && let Some(kin) = self.nearest_objects(&identity.compiler, &fragments)
        {
            watch.stage(&format!("begin {} with the objects of another configuration", recipe.name));
            let partial = self.folder.join("objects.partial");
            source::remove(&partial)?;
            build::copy_objects(&kin, &partial, &objects, &self.lock)?;
            for mark in ["parprobe-configured", "parprobe-built", "parprobe-modules"] {
                let path = partial.join(mark);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.or_else(absent).map_err(|e| Failure::file("remove", &path, &e))?;
            }
            fs::rename(&partial, &objects).map_err(|e| Failure::file("create", &objects, &e))?;
        }
        if !configured.exists() {
            watch.stage(&format!("configure {}", recipe.name));
            build::configure(place, &fragments).map_err(of_kernel)?;
            fs::write(&configured, "").map_err(|e| Failure::file("write", &configured, &e))?;
        }
        build::check_config(place, &fragments).map_err(of_kernel)?;
        let expected = (!built.exists()).then_some(recipe.source.files);
        watch.stage(&format!("build {}", recipe.name));
        build::build(place, recipe.bzimage, expected, watch).map_err(of_kernel)?;
        fs::write(&built, format!("{}\n{fragments}", identity.compiler))
            .map_err(|e| Failure::file("write", &built, &e))?;
        let mut orders = vec![(objects.clone(), objects.join("modules.order"))];
        if !recipe.modules.is_empty() {
            let folder = build::build_modules(place, &recipe.modules).map_err(of_kernel)?;
            orders.push((folder.clone(), folder.join("modules.order")));
        }
        self.keep(identity, &objects, recipe.bzimage, &orders, &log, into)
    }

    /// Of the object trees of this source in which a kernel was built with this compiler, the one whose fragments
    /// are most like these.
    fn nearest_objects(&self, compiler: &str, fragments: &str) -> Option<PathBuf> {
        let wanted: BTreeSet<&str> = fragments.lines().collect();
        let entries = fs::read_dir(&self.folder).ok()?;
        let distance = |tree: PathBuf| {
            let built = fs::read_to_string(tree.join("parprobe-built")).ok()?;
            let (by, with) = built.split_once('\n')?;
            let there: BTreeSet<&str> = with.lines().collect();
            (by == compiler).then(|| (wanted.symmetric_difference(&there).count(), tree))
        };
        let trees = entries.filter_map(|entry| distance(entry.ok()?.path()));
        trees.min().map(|(_, tree)| tree)
    }

    /// Copies what a guest needs into the store. It gets its final name when all of it is written; a checksum
    /// for each file tells when the disk lost some of it.
    fn keep(
        &self,
        mut identity: Identity,
        objects: &Path,
        bzimage: bool,
        orders: &[(PathBuf, PathBuf)],
        log: &Path,
        into: &Path,
    ) -> Result<(), Failure> {
        let partial = self.folder.join("partial");
        source::remove(&partial)?;
        let modules = partial.join("modules");
        fs::create_dir_all(&modules).map_err(|e| Failure::file("create", &modules, &e))?;

        let mut copies = vec![
            (objects.join("vmlinux"), "vmlinux".to_owned()),
            (objects.join(".config"), "config".to_owned()),
            (objects.join("modules.builtin"), "modules.builtin".to_owned()),
            (log.to_owned(), "build.log".to_owned()),
        ];
        if bzimage {
            copies.push((objects.join("arch/x86/boot/bzImage"), BZIMAGE.to_owned()));
        }
        for (base, order) in orders {
            let order_text = fs::read_to_string(order).map_err(|e| Failure::file("read", order, &e))?;
            for line in order_text.lines() {
                // Lines name .ko files up to 6.1, .o files later. Those of a folder of its own are absolute.
                let built =
                    base.join(line.trim_end_matches(".ko").trim_end_matches(".o")).with_extension("ko");
                let name = built.file_name().unwrap_or_default().to_string_lossy().into_owned();
                copies.push((built, format!("modules/{name}")));
            }
        }
        for (from, name) in &copies {
            let to = partial.join(name);
            fs::copy(from, &to)
                .map_err(|e| Failure::file(&format!("copy {} to", from.display()), &to, &e))?;
            identity.files.insert(name.clone(), source::digest(&to)?);
        }
        let release = objects.join("include/config/kernel.release");
        let text = fs::read_to_string(&release).map_err(|e| Failure::file("read", &release, &e))?;
        text.trim().clone_into(&mut identity.release);

        let record = partial.join("kernel.json");
        let json = serde_json::to_string_pretty(&identity).unwrap_or_default();
        fs::write(&record, json).map_err(|e| Failure::file("write", &record, &e))?;
        source::remove(into)?;
        fs::rename(&partial, into).map_err(|e| Failure::file("create", into, &e))
    }
}

/// What was to be removed may not be there.
fn absent(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}
