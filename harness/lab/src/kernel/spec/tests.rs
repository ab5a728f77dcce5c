//! Kernels found by what people call them.

use super::*;
use std::fs;

struct Fixture {
    folder: tempfile::TempDir,
    catalogue: Catalogue,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-configs");
        Self { folder, catalogue: Catalogue::read(&configs).unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn tree(&self, name: &str) {
        for file in ["Makefile", "Kconfig", "drivers/base/dd.c"] {
            self.write(&format!("{name}/{file}"));
        }
    }

    fn git(&self, tree: &str, arguments: &[&str]) {
        let name = ["-c", "user.name=A", "-c", "user.email=a@b"];
        let arguments = [&name[..], arguments].concat();
        let path = self.folder.path().join(tree);
        Git::within(&path).ask("prepare", &arguments, Kind::Files, "").unwrap();
    }

    fn find(&self, text: &str) -> Result<Recipe, Failure> {
        find(text, Path::new(""), &self.catalogue, &Nobody)
    }
}

use crate::kernel::git::Git;

#[test]
fn places_are_told_apart_by_what_is_there() {
    let fixture = Fixture::new();
    fixture.tree("linux");
    for file in [
        "linux-6.9.tar.xz",
        "linux-6.8.tgz",
        "linux-6.7.txz",
        "linux-image-6.1.0-9-amd64_6.1.1-1_amd64.deb",
        "vmlinuz-6.1.0",
        "mods/a.ko",
    ] {
        fixture.write(file);
    }
    let named = |text: &str| fixture.find(text).unwrap().name;
    assert_eq!(named("mainline"), "mainline");
    assert_eq!(named("mainline+debug"), "mainline+debug");
    assert_eq!(named(&fixture.path("linux")), "linux");
    assert_eq!(named(&format!("{}+debug", fixture.path("linux"))), "linux+debug");
    assert_eq!(named(&fixture.path("linux-6.9.tar.xz")), "linux-6.9");
    assert_eq!(named(&fixture.path("linux-6.8.tgz")), "linux-6.8");
    assert_eq!(named(&fixture.path("linux-6.7.txz")), "linux-6.7");
    assert_eq!(
        named(&fixture.path("linux-image-6.1.0-9-amd64_6.1.1-1_amd64.deb")),
        "linux-image-6.1.0-9-amd64"
    );
    let pair = format!("{}:{}", fixture.path("vmlinuz-6.1.0"), fixture.path("mods"));
    assert_eq!(named(&pair), "6.1.0");
    assert_eq!(named("linux-source-6.1=6.1.187-1"), "linux-source-6.1=6.1.187-1");
    assert_eq!(named("linux-image-6.12.1+deb12-cloud-amd64"), "linux-image-6.12.1-deb12-cloud-amd64");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let fixture = Fixture::new();
    fixture.tree("linux");
    fixture.write("empty/file");
    fixture.write("vmlinuz-6.1.0");
    let refused = |text: &str| {
        let failure = fixture.find(text).unwrap_err();
        assert_eq!(failure.kind, Kind::Asked, "{failure}");
        failure.to_string()
    };
    assert!(refused("mainlin").contains("did you mean mainline"), "{}", refused("mainlin"));
    assert!(refused(&fixture.path("nope")).contains("nothing at that path"));
    assert!(refused(&fixture.path("empty")).contains("without drivers/base/dd.c"));
    assert!(refused(&fixture.path("empty/file")).contains("no tar archive"));
    assert!(refused(&fixture.path("vmlinuz-6.1.0")).contains("an image without its modules"));
    let pair = format!("{}:{}", fixture.path("vmlinuz-6.1.0"), fixture.path("empty"));
    assert!(refused(&pair).contains("neither a module nor modules.builtin"));
    assert!(refused(&format!("{}@v6.1", fixture.path("linux"))).contains("no git tree of its own"));
    for kernel in ["mainline".to_owned(), fixture.path("linux")] {
        let refused = refused(&format!("{kernel}+nope"));
        assert!(
            refused.contains("find the flavour \"nope\"") && refused.contains("use one of: builtin"),
            "{refused}"
        );
    }
    assert!(refused("nope+debug").contains("find the kernel \"nope\""));
    // The image is there.
    let wrong = format!("{}:{}", fixture.path("vmlinuz-6.1.0"), fixture.path("wrong"));
    assert!(
        refused(&wrong).contains(&format!("there is no folder {}", fixture.path("wrong"))),
        "{}",
        refused(&wrong)
    );
    for mistyped in ["linx", "linx@v6.1", "linx:mods"] {
        let meant = format!("did you mean {}?", fixture.path("linux"));
        assert!(refused(&fixture.path(mistyped)).contains(&meant), "{}", refused(&fixture.path(mistyped)));
    }
    // Where there is no apt, or it knows no packages, none can be named.
    if packages_of_kernels().iter().any(|name| name == "linux-source-6.12") {
        assert!(refused("linux-sorce-6.12").contains("did you mean linux-source-6.12"));
    }
}

#[test]
fn a_commit_of_a_tree_is_found_by_any_of_its_names_and_changes_beside_it_are_left_out() {
    let fixture = Fixture::new();
    fixture.tree("linux");
    fixture.git("linux", &["init", "--quiet", "--initial-branch=main"]);
    fixture.git("linux", &["add", "--all"]);
    fixture.git("linux", &["commit", "--quiet", "--message=one"]);
    fixture.git("linux", &["tag", "v6.1"]);
    let at = |revision: &str| fixture.find(&format!("{}@{revision}", fixture.path("linux")));
    let recipe = at("v6.1").unwrap();
    assert_eq!(recipe.name, "linux@v6.1");
    assert_eq!(at("HEAD@{0}").unwrap(), recipe);
    assert!(at("v6.2").unwrap_err().next.contains("v6.1"));
    let as_it_stands = fixture.find(&fixture.path("linux")).unwrap();
    assert_eq!(as_it_stands.name, "linux");
    assert_ne!(as_it_stands.origin, recipe.origin);
    // A branch keeps its name when it moves, for whoever looks at it every night.
    let before = at("main").unwrap();
    assert_eq!((before.name.as_str(), &before.origin), ("linux@main", &recipe.origin));
    fixture.git("linux", &["commit", "--quiet", "--allow-empty", "--message=two"]);
    let after = at("main").unwrap();
    assert_eq!(after.name, "linux@main");
    assert_ne!((&after.origin, &after.about), (&before.origin, &before.about));
    assert!(after.about.starts_with("commit "), "{}", after.about);
    assert!(at("HEAD").unwrap().name.starts_with("linux@") && at("HEAD").unwrap().name != "linux@main");
}

#[test]
fn an_at_may_be_part_of_a_path_even_beside_a_folder_of_the_first_half() {
    let fixture = Fixture::new();
    fixture.tree("linux");
    fixture.tree("linux@stable");
    for tree in ["linux", "linux@stable"] {
        fixture.git(tree, &["init", "--quiet", "--initial-branch=main"]);
        fixture.git(tree, &["add", "--all"]);
        fixture.git(tree, &["commit", "--quiet", "--message=one"]);
        fixture.git(tree, &["tag", if tree == "linux" { "v6.0" } else { "v6.1" }]);
    }
    let found = |text: &str| fixture.find(&fixture.path(text)).map(|recipe| recipe.name);
    assert_eq!(found("linux@stable@v6.1").unwrap(), "linux@stable@v6.1");
    assert_eq!(found("linux@v6.0").unwrap(), "linux@v6.0");
    // Of what is nowhere, the first reading is told.
    assert!(found("linux@stable@v9").unwrap_err().attempt.contains("find the commit stable@v9 in"));
}

#[test]
fn a_folder_named_like_a_kernel_of_the_catalogue_does_not_lose_silently() {
    struct Notes(std::sync::Mutex<Vec<String>>);
    impl Watch for Notes {
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let fixture = Fixture::new();
    fixture.tree("mainline");
    let found = |text: &str| {
        let notes = Notes(std::sync::Mutex::default());
        let recipe = find(text, fixture.folder.path(), &fixture.catalogue, &notes).unwrap();
        (recipe.about, notes.0.into_inner().unwrap())
    };
    let (about, notes) = found("mainline");
    assert_ne!(about, "the source as it is");
    assert!(notes.len() == 1 && notes[0].ends_with("; ./mainline is the folder"), "{notes:?}");
    assert_eq!(found("./mainline"), ("the source as it is".to_owned(), vec![]));
}
