//! A store and a source that builds in milliseconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use lab::kernel::{Behaviour, Brought, Build, Kernel, Origin, Patch, Recipe, Source, State, Store};
use lab::watch::{Nobody, Watch};

/// Grants what is in `known`, adds what is in `defaults`, and builds from `code.c`; `fail` in either fails, when it has
/// done its work or before, `sleep` in the code slows it down. A script `fault` in the folder of the store is run once,
/// with the object tree and the number of make's process, and what it ends with is how compiling ends.
const MAKEFILE: &str = r#"
allnoconfig:
	@cp $(KCONFIG_ALLCONFIG) $(O)/asked; echo 'CONFIG_TINY=y' >> $(O)/asked
	@grep -E "CONFIG_($$(cat known))=" $(O)/asked > $(O)/.config
	@for line in $$(cat defaults 2>/dev/null); do \
		grep -q "^$${line%=*}=" $(O)/.config || echo $$line >> $(O)/.config; \
	done
	@echo configured >> $(O)/configurations
	@! grep -sq fail defaults
vmlinux: $(O)/vmlinux
$(O)/vmlinux: code.c
	@echo "  CC      code.o"
	@if grep -q sleep code.c; then sleep 1000; fi
	@if grep -q fail code.c; then echo "code.c:1:1: error: no" >&2; exit 1; fi
	@fault=$(O)/../../../fault; test ! -f $$fault || { mv $$fault $$fault.done; sh $$fault.done $(O) $$PPID; }
	@echo built >> $(O)/builds
	@cp code.c $(O)/vmlinux
	@touch $(O)/modules.builtin
modules: vmlinux
	@mkdir -p $(O)/drivers $(O)/include/config
	@echo "  LD [M]  drivers/one.ko"
	@cp code.c $(O)/drivers/one.ko
	@echo drivers/one.ko > $(O)/modules.order
	@echo 6.1.0-fake > $(O)/include/config/kernel.release
"#;

/// Keeps what is said.
#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<String>>);
impl Watch for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// The files of a source.
pub(crate) fn write_source(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("Makefile"), MAKEFILE).unwrap();
    // By which a kernel source is known.
    fs::create_dir_all(folder.join("drivers/base")).unwrap();
    fs::write(folder.join("drivers/base/dd.c"), "").unwrap();
    fs::write(folder.join("known"), "TINY|SMP|NEW").unwrap();
    fs::write(folder.join("code.c"), "pristine\n").unwrap();
    fs::write(folder.join("Kconfig"), "config TINY\nconfig SMP\nconfig NUMA\nconfig WARP_DRIVE\n").unwrap();
}

pub(crate) fn archive(path: &Path) -> Source {
    Source::Archive { path: path.to_owned(), brought: Brought::Package("linux-fake".to_owned()) }
}

pub(crate) fn recipe(folder: &Path, name: &str, source: Source, series: &[PathBuf]) -> Recipe {
    Recipe {
        name: name.to_owned(),
        about: String::new(),
        behaves: Some(Behaviour::PerNode),
        origin: Origin::Build(Build {
            source,
            series: series.iter().cloned().map(Patch::file).collect(),
            config: vec![folder.join("guest.config")],
            modules: vec![],
            bzimage: false,
        }),
    }
}

pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("linux-fake");
        write_source(&source);
        let archive = fs::File::create(folder.path().join("linux-fake.tar.xz")).unwrap();
        let mut tar = tar::Builder::new(liblzma::write::XzEncoder::new(archive, 0));
        // The same content is the same source, whenever it was written.
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all("linux-fake", &source).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let fixture = Self { folder };
        fixture.write("guest.config", "CONFIG_SMP=y\n");
        fixture
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("störe")
    }

    pub(crate) fn store(&self) -> Store {
        Store::at(&self.root()).unwrap()
    }

    pub(crate) fn recipe(&self, name: &str, series: &[PathBuf]) -> Recipe {
        recipe(self.folder.path(), name, archive(&self.folder.path().join("linux-fake.tar.xz")), series)
    }

    /// What happens once, when next something is compiled.
    pub(crate) fn fault(&self, script: &str) {
        fs::create_dir_all(self.root()).unwrap();
        fs::write(self.root().join("fault"), script).unwrap();
    }

    /// A kernel from a tree in the folder of the fixture.
    pub(crate) fn of_tree(&self, tree: &str, state: State) -> Recipe {
        let source = Source::Tree { folder: self.folder.path().join(tree), state };
        recipe(self.folder.path(), "tree", source, &[])
    }

    /// Runs git in a tree; what it says.
    pub(crate) fn git(&self, tree: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(self.folder.path().join(tree))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A git tree; the name of its first commit.
    pub(crate) fn git_tree(&self, tree: &str) -> String {
        write_source(&self.folder.path().join(tree));
        self.git(tree, &["init", "--quiet"]);
        self.commit(tree)
    }

    pub(crate) fn commit(&self, tree: &str) -> String {
        self.git(tree, &["add", "--all"]);
        self.git(tree, &["commit", "--quiet", "--message=change"]);
        self.git(tree, &["rev-parse", "HEAD"])
    }

    /// A patch that makes `code.c` say this.
    pub(crate) fn patch(&self, says: &str) -> PathBuf {
        let diff = format!(
            "diff --git a/code.c b/code.c\n--- a/code.c\n+++ b/code.c\n@@ -1 +1 @@\n-pristine\n+{says}\n"
        );
        self.write(&format!("{says}.patch"), &diff)
    }

    pub(crate) fn ensure(&self, recipes: &[Recipe]) -> Vec<Kernel> {
        self.store().ensure(recipes, &Nobody).unwrap()
    }

    /// A patch that adds a line to the defaults.
    pub(crate) fn default(&self, line: &str) -> PathBuf {
        let diff = format!("--- /dev/null\n+++ b/defaults\n@@ -0,0 +1 @@\n+{line}\n");
        self.write(&format!("{line}.patch"), &diff)
    }

    /// How often make has built something, in all object trees.
    pub(crate) fn builds(&self) -> usize {
        self.lines_of("builds")
    }

    /// How often make has configured, in all object trees.
    pub(crate) fn configurations(&self) -> usize {
        self.lines_of("configurations")
    }

    fn lines_of(&self, file: &str) -> usize {
        let sources = fs::read_dir(self.root().join("sources")).unwrap();
        sources
            .flat_map(|source| fs::read_dir(source.unwrap().path()).unwrap())
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join(file)).ok())
            .map(|text| text.lines().count())
            .sum()
    }

    /// Whether a file is in the source that was built last.
    pub(crate) fn tree_has(&self, name: &str) -> bool {
        let source = fs::read_dir(self.root().join("sources")).unwrap().next().unwrap().unwrap().path();
        source.join("tree").join(name).exists()
    }

    pub(crate) fn source_says(&self) -> String {
        let source = fs::read_dir(self.root().join("sources")).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(source.join("tree/code.c")).unwrap()
    }
}

pub(crate) fn config(kernel: &Kernel) -> String {
    fs::read_to_string(kernel.folder.join("config")).unwrap()
}

pub(crate) fn image(kernel: &Kernel) -> String {
    fs::read_to_string(kernel.image().path).unwrap()
}
