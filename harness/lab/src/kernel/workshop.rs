//! Builds one kernel at a time in a source that nobody else touches.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::kernel::build::{self, Place};
use crate::kernel::config;
use crate::kernel::hold;
use crate::kernel::identity::Identity;
use crate::kernel::recipe::Build;
use crate::kernel::series::Tree;
use crate::kernel::source::{self, Found};
use crate::kernel::store::{self, BZIMAGE, VMLINUX};
use crate::kernel::unfinished;
use crate::watch::Watch;

/// How long to wait for another process that builds from the same source.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// About how many files a full build of our configuration compiles or links (1370 in 6.1): for the progress display.
const USUAL_OBJECTS: u64 = 1370;

/// A source in use: nobody else touches it until this is dropped.
pub(super) struct Workshop {
    folder: PathBuf,
    lock: Arc<File>,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What a compiler has left behind has the lock as well, and would keep it (flock(2)).
        let _ = self.lock.unlock();
    }
}

impl Workshop {
    /// Enters that of the source in this folder.
    pub(super) fn enter(root: &Path, folder: &str, watch: &dyn Watch) -> Result<Self, Failure> {
        Self::within(root, folder, PATIENCE, watch)
    }

    fn within(root: &Path, folder: &str, patience: Duration, watch: &dyn Watch) -> Result<Self, Failure> {
        let folder = root.join("sources").join(folder);
        let path = folder.join("lock");
        let failed = |e: std::io::Error| Failure::file("lock", &path, &e);
        let open = || {
            fs::create_dir_all(&folder)?;
            File::options().create(true).truncate(false).read(true).write(true).open(&path)
        };
        let mut lock = open().map_err(failed)?;
        let asked = Instant::now();
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) if hold::is_at(&lock, &path).map_err(failed)? => break,
                // It was removed meanwhile: whoever comes next locks another one.
                Ok(()) => {
                    lock = open().map_err(failed)?;
                    continue;
                }
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
            if asked.elapsed() > patience {
                let seen = format!("process {} has held it for {patience:?}", holder.trim());
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

    /// Builds a kernel of this name into a folder of the store.
    pub(super) fn make(
        &self,
        name: &str,
        build: &Build,
        found: &Found,
        identity: Identity,
        into: &Path,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let source = self.folder.join("tree");
        let lock = Some(Arc::clone(&self.lock));
        let tree = Tree::new(source.clone(), self.folder.join("pristine"), lock);
        // What a kill has left in.
        tree.restore()?;
        found.write(&source, &self.lock, watch)?;
        let touched = tree.apply(&build.series).map_err(|mut failure| {
            failure.attempt = format!("{} for the kernel \"{name}\"", failure.attempt);
            failure
        })?;
        // Another commit may know other symbols, and has other defaults for those that nobody asks for; so may a patch.
        // And kconfig asks the programs of the host.
        let mut decided_by = format!("{}\n{}", identity.source.blake3, build::binutils()?);
        for (patch, files) in identity.patches.iter().zip(&touched) {
            if files.iter().any(|file| config::may_depend_on(file)) {
                decided_by.push_str(&format!("{}\n", patch.blake3));
            }
        }
        let made = self.make_patched(name, build, identity, (&source, &decided_by), into, watch);
        // Also after a failure: the next build begins from the pristine source.
        let restored = tree.restore();
        made.and(restored)
    }

    /// The same, of the source with its patches in, whose configuration is decided by what this text names.
    fn make_patched(
        &self,
        name: &str,
        build: &Build,
        identity: Identity,
        (source, decided_by): (&Path, &str),
        into: &Path,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let compiler = identity.compiler.clone().unwrap_or_default();
        let fragments = build
            .config
            .iter()
            .map(|path| fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e)))
            .collect::<Result<String, _>>()?;
        let of = blake3::hash(format!("{compiler}\0{fragments}").as_bytes()).to_hex();
        let objects = self.folder.join(format!("objects-{}", &of[..16]));
        let log = self.folder.join(format!("build-{}.log", identity.id));
        let _ = fs::remove_file(&log);
        let place = Place { source, objects: &objects, id: &identity.id, log: &log, lock: &self.lock };
        let of_kernel = |mut failure: Failure| {
            if failure.kind == Kind::Build {
                failure.attempt = format!("{} \"{name}\"", failure.attempt);
            }
            failure
        };

        // These files are written last, so their presence says that the step was finished once.
        let (configured, built) = (objects.join("parprobe-configured"), objects.join("parprobe-built"));
        let mut of_kin = false;
        if !objects.exists()
            && let Some(kin) = self.nearest_objects(&compiler, &fragments)
        {
            watch.stage(&format!("begin {name} with the objects of another configuration"));
            let partial = self.folder.join("objects.partial");
            source::remove(&partial)?;
            build::copy_objects(&kin, &partial, &objects, &self.lock)?;
            for mark in ["parprobe-configured", "parprobe-built", "parprobe-modules"] {
                let path = partial.join(mark);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.or_else(absent).map_err(|e| Failure::file("remove", &path, &e))?;
            }
            fs::rename(&partial, &objects).map_err(|e| Failure::file("create", &objects, &e))?;
            of_kin = true;
        }
        let look = |e: std::io::Error| Failure::file("look at", &objects, &e);
        if unfinished::clock_was_set_back(&objects).map_err(look)? {
            watch.note(&format!(
                "the clock was set back since {name} was compiled: all of it is compiled anew"
            ));
            source::remove(&objects)?;
        }
        // What was configured before must not show.
        if !fs::read_to_string(&configured).is_ok_and(|known| known == decided_by) {
            watch.stage(&format!("configure {name}"));
            // What is there may be half written from here on, and is no longer what the mark names.
            fs::remove_file(&configured)
                .or_else(absent)
                .map_err(|e| Failure::file("remove", &configured, &e))?;
            build::configure(place, &fragments).map_err(of_kernel)?;
            fs::write(&configured, decided_by).map_err(|e| Failure::file("write", &configured, &e))?;
        }
        for unknown in build::check_config(place, &fragments).map_err(of_kernel)? {
            watch.note(&format!("{name}: this source has no {unknown}"));
        }
        watch.stage(&format!("build {name}"));
        // How many will be compiled is known where all are.
        let expected = (!built.exists() && !of_kin).then_some(USUAL_OBJECTS);
        build::build(place, build.bzimage, expected, watch).map_err(of_kernel)?;
        fs::write(&built, format!("{compiler}\n{fragments}"))
            .map_err(|e| Failure::file("write", &built, &e))?;
        let mut orders = vec![(objects.clone(), objects.join("modules.order"))];
        if !build.modules.is_empty() {
            let folder = build::build_modules(place, &build.modules).map_err(of_kernel)?;
            orders.push((folder.clone(), folder.join("modules.order")));
        }
        self.keep(identity, &objects, build.bzimage, &orders, &log, into)
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

    /// Copies what a guest needs into the store. It gets its final name when all of it is written.
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
            (objects.join(VMLINUX), VMLINUX.to_owned()),
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
        }
        let release = objects.join("include/config/kernel.release");
        let text = fs::read_to_string(&release).map_err(|e| Failure::file("read", &release, &e))?;
        text.trim().clone_into(&mut identity.release);

        identity.write(&partial)?;
        store::publish(&partial, into)
    }
}

/// What was to be removed may not be there.
fn absent(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Nobody;

    #[test]
    fn who_waits_for_a_source_does_so_for_so_long_and_says_for_whom() {
        let root = tempfile::tempdir().unwrap();
        let enter = |patience| Workshop::within(root.path(), "linux", patience, &Nobody);
        let _first = enter(PATIENCE).unwrap();
        let failure = enter(Duration::from_millis(100)).err().unwrap();
        assert_eq!(failure.kind, Kind::Files);
        assert_eq!(failure.seen, format!("process {} has held it for 100ms", std::process::id()));
    }
}
