//! What the kernel store holds, and what of it can go while others use it.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lab::kernel::upkeep::{Item, What};
use lab::kernel::{Build, Origin, Recipe, Scratch, Source, State, Store};
use lab::watch::{Nobody, Watch};

/// Builds in milliseconds what looks like a kernel.
const MAKEFILE: &str = r#"
allnoconfig:
	@echo 'CONFIG_TINY=y' > $(O)/.config
vmlinux:
	@cp code.c $(O)/vmlinux; touch $(O)/modules.builtin
modules: vmlinux
	@mkdir -p $(O)/include/config; touch $(O)/modules.order; echo 6.1.0 > $(O)/include/config/kernel.release
"#;

/// Does something at each stage.
struct Meanwhile<F>(F);

impl<F: Fn(&str) + Sync> Watch for Meanwhile<F> {
    fn stage(&self, what: &str) {
        (self.0)(what);
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("linux");
        fs::create_dir(&tree).unwrap();
        for (name, content) in [("Makefile", MAKEFILE), ("code.c", "code\n"), ("Kconfig", "")] {
            fs::write(tree.join(name), content).unwrap();
        }
        let store = Store::at(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            name: "mine".to_owned(),
            about: String::new(),
            behaves: None,
            origin: Origin::Build(Build {
                source: Source::Tree { folder: self.folder.path().join("linux"), state: State::AsItStands },
                series: vec![],
                config: vec![],
                modules: vec![],
                bzimage: false,
            }),
        }
    }

    fn ensure(&self, watch: &dyn Watch) -> PathBuf {
        self.store.ensure(&[self.recipe()], watch).unwrap().remove(0).folder
    }

    /// The items of these kinds.
    fn items(&self, wanted: fn(&What) -> bool) -> Vec<Item> {
        self.store.items().unwrap().into_iter().filter(|item| wanted(&item.what)).collect()
    }

    /// Whether it can be removed once nobody uses it. A process that another test is just starting has our locks as
    /// well, until it becomes another program.
    fn goes(&self, item: &Item) -> bool {
        let soon = |done: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline {
                if done() {
                    return true;
                }
                std::thread::yield_now();
            }
            false
        };
        soon(&|| self.store.could_remove(item).unwrap()) && soon(&|| self.store.remove(item).unwrap())
    }

    /// Tries to remove them; whether each is gone, or was said to be free to go.
    fn remove(&self, wanted: fn(&What) -> bool) -> Vec<bool> {
        let goes = |item: &Item| self.store.could_remove(item).unwrap() | self.store.remove(item).unwrap();
        self.items(wanted).iter().map(goes).collect()
    }
}

fn source(what: &What) -> bool {
    matches!(what, What::Source)
}

fn leftover(what: &What) -> bool {
    matches!(what, What::Leftover)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn what_the_store_holds_is_told_and_goes_and_comes_again() {
    let fixture = Fixture::new();
    let kernel = fixture.ensure(&Nobody);
    let root = fixture.store.root().to_owned();
    fs::create_dir_all(root.join("downloads")).unwrap();
    fs::write(root.join("downloads/a.deb"), "x").unwrap();
    fs::create_dir_all(root.join("patches/0123")).unwrap();
    fs::create_dir_all(root.join("kernels/broken")).unwrap();
    for name in ["partial-1", "kvm-proof-1", "perf-1", "kept"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let items = fixture.items(|_| true);
    let of = |wanted: fn(&What) -> bool| items.iter().filter(|item| wanted(&item.what)).count();
    let counts = [
        of(|what| matches!(what, What::Kernel(Some(identity)) if identity.source.name == "linux")),
        of(|what| matches!(what, What::Kernel(None))),
        of(source),
        of(|what| matches!(what, What::Download)),
        of(|what| matches!(what, What::Patches)),
        of(leftover),
    ];
    assert_eq!(counts, [1, 1, 1, 1, 1, 3]);
    assert!(items.iter().all(|item| fixture.goes(item)));
    // What went meanwhile is gone as well.
    assert!(items.iter().all(|item| fixture.store.remove(item).unwrap()));
    for folder in ["kernels", "sources", "downloads", "patches"] {
        assert!(is_empty(&root.join(folder)), "{folder}");
    }
    assert!(root.join("kept").exists());
    assert_eq!(fixture.ensure(&Nobody), kernel);
    assert!(kernel.join("vmlinux").exists());
}

#[test]
fn nothing_goes_that_a_run_uses() {
    let fixture = Fixture::new();
    let seen = Mutex::new(Vec::new());
    let try_all = Meanwhile(|stage: &str| {
        let tried = fixture.remove(|what| source(what) || leftover(what));
        seen.lock().unwrap().push((stage.to_owned(), tried));
    });
    fixture.ensure(&try_all);
    let seen = seen.into_inner().unwrap();
    // Its files are noted, it is checked out, configured and built.
    assert!(seen.len() >= 4, "{seen:?}");
    assert!(seen.iter().all(|(_, tried)| tried == &[false]), "{seen:?}");
    assert!(fixture.goes(&fixture.items(source)[0]));

    let scratch = Scratch::new_in(fixture.store.root(), "kvm-proof-").unwrap();
    assert_eq!(fixture.remove(leftover), [false]);
    assert!(scratch.path().exists());
    drop(scratch);
    assert_eq!(fixture.remove(leftover), Vec::<bool>::new());
}

#[test]
fn a_source_that_somebody_waits_for_stays() {
    let fixture = Fixture::new();
    fixture.ensure(&Nobody);
    fs::remove_dir_all(fixture.items(|what| matches!(what, What::Kernel(_)))[0].path.clone()).unwrap();
    let lock = File::options().write(true).open(fixture.items(source)[0].path.join("lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(fixture.remove(source), [false], "somebody builds there");
    let holder = Mutex::new(Some(lock));
    let gone = Mutex::new(Vec::new());
    let wait = Meanwhile(|stage: &str| {
        if stage.starts_with("wait for process") {
            // Whoever had it is ready, and before the one that waits looks again, somebody clears up.
            drop(holder.lock().unwrap().take());
            gone.lock().unwrap().extend(fixture.remove(source));
        }
    });
    let kernel = fixture.ensure(&wait);
    assert_eq!(*gone.lock().unwrap(), [false]);
    assert!(kernel.join("vmlinux").exists());
}

#[test]
fn a_kernel_that_a_run_boots_stays_and_so_does_its_source_for_the_next_commit() {
    let fixture = Fixture::new();
    let kernels = fixture.store.ensure(&[fixture.recipe()], &Nobody).unwrap();
    let items = fixture.items(|what| matches!(what, What::Kernel(_)) || source(what));
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| !fixture.store.remove(item).unwrap()));
    assert!(kernels[0].folder.join("vmlinux").is_file());
    drop(kernels);
    assert!(items.iter().all(|item| fixture.goes(item)));
}
