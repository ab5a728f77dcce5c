//! The kernel store, with a source that builds in milliseconds: a Makefile with the targets of kbuild.

#![allow(clippy::unwrap_used)]

mod configuration;
mod faults;
mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::failure::Kind;
use lab::kernel::{Catalogue, Origin, Others, Recipe, Source, State, Store, Wanted};
use lab::watch::{Nobody, Watch};

use fixture::{Fixture, Notes, archive, image, recipe, write_source};

#[test]
fn kernels_of_one_source_are_each_built_once_and_leave_the_source_pristine() {
    let fixture = Fixture::new();
    let recipes = [fixture.recipe("without", &[fixture.patch("without")]), fixture.recipe("mainline", &[])];
    let first = fixture.ensure(&recipes);
    assert_eq!(first.iter().map(image).collect::<Vec<_>>(), ["without\n", "pristine\n"]);
    assert_eq!(fixture.builds(), 2);
    assert_eq!(fixture.source_says(), "pristine\n");
    assert_eq!(first[0].identity.release, "6.1.0-fake");

    let again = fixture.ensure(&recipes);
    assert_eq!(again[0].identity, first[0].identity);
    assert_eq!(fixture.builds(), 2);
}

#[test]
fn the_id_is_what_goes_in_and_not_its_name() {
    let fixture = Fixture::new();
    let one = fixture.ensure(&[fixture.recipe("one", &[])]).remove(0).identity.id;
    let same = fixture.ensure(&[fixture.recipe("another name", &[])]).remove(0).identity.id;
    assert_eq!(one, same);
    fixture.write("guest.config", "CONFIG_SMP=y\n# a comment counts, too\n");
    let other = fixture.ensure(&[fixture.recipe("one", &[])]).remove(0).identity.id;
    assert_ne!(one, other);
}

#[test]
fn a_change_that_is_there_is_not_built_again_because_it_comes_by_mail() {
    let fixture = Fixture::new();
    let diff = fixture.patch("changed");
    let built = fixture.ensure(&[fixture.recipe("mine", std::slice::from_ref(&diff))]).remove(0);
    let mail = format!("Subject: [PATCH] code: change it\n\nWhy.\n---\n{}-- \n2.47\n", text(&diff));
    let mail = fixture.write("by-mail.patch", &mail);
    let again = fixture.ensure(&[fixture.recipe("theirs", &[mail])]).remove(0);
    assert_eq!((&again.identity, image(&again).as_str()), (&built.identity, "changed\n"));
    assert_eq!(fixture.builds(), 1);
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_damaged_entry_is_noticed_and_built_again() {
    let fixture = Fixture::new();
    let recipe = fixture.recipe("mainline", &[]);
    let kernel = fixture.ensure(std::slice::from_ref(&recipe)).remove(0);
    fs::write(kernel.image().path, "damaged").unwrap();
    let notes = Notes::default();
    let mended = fixture.store().ensure(&[recipe], &notes).unwrap().remove(0);
    assert_eq!(image(&mended), "pristine\n");
    let notes = notes.0.into_inner().unwrap();
    assert!(notes.len() == 1 && notes[0].contains("is damaged: it is built again"), "{notes:?}");
}

#[test]
fn a_build_that_fails_shows_what_the_compiler_said_and_does_not_hurt_the_next() {
    let fixture = Fixture::new();
    let failing = fixture.recipe("broken", &[fixture.patch("fail")]);
    let failure = fixture.store().ensure(&[failing], &Nobody).unwrap_err();
    assert_eq!(failure.kind, Kind::Build);
    assert_eq!(failure.attempt, "build the kernel \"broken\"");
    assert!(failure.seen.contains("code.c:1:1: error: no"), "{failure}");
    assert!(failure.next.contains("build-"), "{failure}");
    assert_eq!(image(&fixture.ensure(&[fixture.recipe("mainline", &[])])[0]), "pristine\n");
}

#[test]
fn beside_a_kernel_that_cannot_be_built_the_others_are_there_and_a_patch_that_does_not_apply_is_refused() {
    let fixture = Fixture::new();
    let recipes = [
        fixture.recipe("broken", &[fixture.patch("fail")]),
        fixture.recipe("one", &[]),
        fixture.recipe("two", &[fixture.patch("two")]),
    ];
    let Others { kernels, broken } = fixture.store().ensure_others(&recipes, &Nobody).unwrap();
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    let broken: Vec<(&str, Kind)> =
        broken.iter().map(|broken| (broken.recipe.name.as_str(), broken.failure.kind)).collect();
    assert_eq!(broken, [("broken", Kind::Build)]);
    // Of nothing but that there is nothing to go on with.
    let alone = fixture.store().ensure_others(&recipes[..1], &Nobody).unwrap_err();
    assert_eq!(alone.kind, Kind::Build);
    let never = fixture.write("never.patch", "--- a/code.c\n+++ b/code.c\n@@ -1 +1 @@\n-another\n+new\n");
    let with_never = [fixture.recipe("one", &[]), fixture.recipe("never", &[never])];
    assert_eq!(fixture.store().ensure_others(&with_never, &Nobody).unwrap_err().kind, Kind::Series);
}

#[test]
fn a_symbol_that_the_source_does_not_grant_is_named() {
    let fixture = Fixture::new();
    fixture.write("guest.config", "CONFIG_SMP=y\nCONFIG_WARP_DRIVE=y\n");
    let failure = fixture.store().ensure(&[fixture.recipe("mainline", &[])], &Nobody).unwrap_err();
    assert_eq!(failure.kind, Kind::Build);
    assert!(failure.seen.contains("CONFIG_WARP_DRIVE: asked for y, got n"), "{failure}");
}

#[test]
fn a_patch_that_does_not_apply_is_refused_before_any_kernel_is_built() {
    let fixture = Fixture::new();
    let never = fixture.write("never.patch", "--- a/code.c\n+++ b/code.c\n@@ -1 +1 @@\n-another\n+new\n");
    let recipes = [fixture.recipe("mainline", &[]), fixture.recipe("mine", &[never])];
    let failure = fixture.store().ensure(&recipes, &Nobody).unwrap_err();
    assert_eq!((failure.kind, fixture.builds()), (Kind::Series, 0), "{failure}");
}

#[test]
fn a_series_for_another_source_is_refused_with_the_hunk() {
    let fixture = Fixture::new();
    let series = [fixture.patch("first"), fixture.patch("second")];
    let failure = fixture.store().ensure(&[fixture.recipe("with", &series)], &Nobody).unwrap_err();
    assert_eq!(failure.kind, Kind::Series);
    let folder = fixture.folder.path().display();
    assert_eq!(failure.attempt, format!("apply second.patch, in {folder} for the kernel \"with\""));
    let seen = "hunk 1 of 1 of code.c does not match; at line 1\n  expected: pristine\n  found:    first";
    assert_eq!(failure.seen, seen);
    assert_eq!(fixture.source_says(), "pristine\n");
}

#[test]
fn commits_of_a_tree_are_built_one_after_the_other_and_the_tree_is_left_alone() {
    let fixture = Fixture::new();
    let first = fixture.git_tree("linux");
    fixture.write("linux/code.c", "second\n");
    let second = fixture.commit("linux");
    // What the user is working on, in a tree like Debian's, whose ignore file ignores all.
    fixture.write("linux/.gitignore", "/*\n");
    fs::create_dir_all(fixture.folder.path().join("linux/include/config")).unwrap();
    fixture.write("linux/code.c", "in the works\n");
    fixture.write("linux/new.c", "new\n");
    fixture.write("linux/wanted.c", "wanted\n");
    fixture.git("linux", &["add", "--force", "wanted.c"]);
    let before =
        (fixture.git("linux", &["status", "--porcelain"]), fixture.git("linux", &["worktree", "list"]));
    let objects = fixture.git("linux", &["count-objects"]);

    let at = |commit: &str| {
        image(&fixture.ensure(&[fixture.of_tree("linux", State::Commit(commit.to_owned()))])[0])
    };
    assert_eq!([at(&first), at(&second), at(&first)], ["pristine\n", "second\n", "pristine\n"]);
    assert_eq!(fixture.builds(), 2, "the first is still there");
    let as_it_stands = || image(&fixture.ensure(&[fixture.of_tree("linux", State::AsItStands)])[0]);
    assert_eq!(as_it_stands(), "in the works\n");
    // Of new files, those that are not ignored; of ignored ones, those that somebody has added all the same.
    assert_eq!(["wanted.c", "new.c"].map(|name| fixture.tree_has(name)), [true, false]);
    // It is looked at anew each time.
    fixture.write("linux/code.c", "a later thought\n");
    assert_eq!(as_it_stands(), "a later thought\n");
    assert_eq!(fixture.builds(), 4);

    let after =
        (fixture.git("linux", &["status", "--porcelain"]), fixture.git("linux", &["worktree", "list"]));
    assert_eq!((before, objects), (after, fixture.git("linux", &["count-objects"])));
    assert_eq!(fs::read_to_string(fixture.folder.path().join("linux/code.c")).unwrap(), "a later thought\n");
}

#[test]
fn a_tree_as_it_stands_is_whole_or_refused() {
    let fixture = Fixture::new();
    fixture.git_tree("linux");
    for folder in ["linux/docs", "linux/drivers"] {
        fs::create_dir_all(fixture.folder.path().join(folder)).unwrap();
        fixture.write(&format!("{folder}/file"), "there\n");
    }
    fixture.commit("linux");
    let ensure = || fixture.store().ensure(&[fixture.of_tree("linux", State::AsItStands)], &Nobody);
    fixture.write("linux/new.c", "new\n");
    fixture.write("linux/ignored.c", "ignored by this repository alone\n");
    fixture.write("linux/.git/info/exclude", "ignored.c\n");
    // Files that a sparse check-out leaves out are part of the tree, and changes that git is not to look for as well.
    fixture.git("linux", &["sparse-checkout", "set", "drivers"]);
    fixture.git("linux", &["update-index", "--assume-unchanged", "drivers/file"]);
    fixture.write("linux/drivers/file", "changed\n");
    ensure().unwrap();
    let there = ["new.c", "docs/file", "ignored.c"].map(|name| fixture.tree_has(name));
    assert_eq!(there, [true, true, false]);
    let source = fs::read_dir(fixture.root().join("sources")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(source.join("tree/drivers/file")).unwrap(), "changed\n");

    // Of a repository within git would note nothing but its commit.
    fixture.git_tree("linux/drivers/within");
    let refused = ensure().unwrap_err();
    assert_eq!(refused.kind, Kind::Asked);
    assert!(refused.seen.contains("drivers/within is a git repository of its own"), "{refused}");
    fixture.write("linux/.git/info/exclude", "ignored.c\nwithin\n");
    ensure().unwrap();
    assert!(!fixture.tree_has("drivers/within"));
    let status = fixture.git("linux", &["status", "--porcelain"]);
    assert_eq!(status, "?? new.c", "what git knows of the user's tree is as before");
}

#[test]
fn a_tree_that_is_edited_meanwhile_is_built_as_it_was_noted_by_every_process() {
    let fixture = Fixture::new();
    let tree = fixture.folder.path().join("tree");
    write_source(&tree);
    fs::create_dir_all(tree.join("drivers/base")).unwrap();
    fs::write(tree.join("drivers/base/dd.c"), "").unwrap();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-configs");
    let catalogue = Catalogue::read(&configs).unwrap();
    let wanted = Wanted { kernels: vec![tree.display().to_string()], ..Wanted::default() };
    let pairs = |wanted: &Wanted| wanted.recipes(&catalogue, &fixture.root(), &Nobody).unwrap();
    let recipes = |wanted: &Wanted| pairs(wanted).all();
    let source = |recipes: &[Recipe]| match &recipes[0].origin {
        Origin::Build(build) => build.source.clone(),
        Origin::Ready(_) => unreachable!(),
    };
    let found = pairs(&wanted);
    fs::write(tree.join("drivers/base/dd.c"), "edited").unwrap();
    // What is handed on says the same elsewhere; who asks anew gets what is there now.
    let handed = serde_json::to_string(&wanted.clone().with_noted(&found)).unwrap();
    let first = found.all();
    let elsewhere = recipes(&serde_json::from_str(&handed).unwrap());
    assert_eq!(source(&elsewhere), source(&first));
    assert_ne!(source(&recipes(&wanted)), source(&first));

    let says = |source: Source| {
        let kernel = fixture.ensure(&[recipe(fixture.folder.path(), "mine", source, &[])]).remove(0);
        kernel.identity.source.blake3
    };
    assert_eq!(says(source(&elsewhere)), says(source(&first)));
}

#[test]
fn what_a_killed_check_out_has_left_is_in_no_later_build() {
    let fixture = Fixture::new();
    let first = fixture.git_tree("linux");
    fixture.write("linux/code.c", "second\n");
    let second = fixture.commit("linux");
    let ensure = |commit: &str| {
        fixture.ensure(&[fixture.of_tree("linux", State::Commit(commit.to_owned()))]);
    };
    ensure(&first);
    let source = fs::read_dir(fixture.root().join("sources")).unwrap().next().unwrap().unwrap().path();
    // Of a third commit, whose files were there when the power went, and whose index was not.
    let left =
        ["include/asm/stale.h", "include/.git/HEAD", "stale.o"].map(|name| source.join("tree").join(name));
    for path in &left {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::write(source.join("tree/.gitignore"), "*.o\n").unwrap();
    fs::write(source.join("repository/index.lock"), "").unwrap();
    ensure(&second);
    assert_eq!(left.map(|path| path.exists()), [false; 3]);
    assert!(!source.join("tree/include").exists());
    assert_eq!(fixture.builds(), 2);
}

#[test]
fn a_folder_that_git_has_never_seen_is_built_as_it_stands() {
    let fixture = Fixture::new();
    write_source(&fixture.folder.path().join("plain"));
    // As in the source that Debian packs; and what a build in it has left.
    fixture.write("plain/.gitignore", "/*\n");
    fs::create_dir_all(fixture.folder.path().join("plain/include/config")).unwrap();
    for left in [".config", "code.o", "include/config/auto.conf"] {
        fixture.write(&format!("plain/{left}"), "");
    }
    let recipe = fixture.of_tree("plain", State::AsItStands);
    assert_eq!(image(&fixture.ensure(std::slice::from_ref(&recipe))[0]), "pristine\n");
    fixture.write("plain/code.c", "edited\n");
    assert_eq!(image(&fixture.ensure(std::slice::from_ref(&recipe))[0]), "edited\n");
    assert!(!fixture.folder.path().join("plain/.git").exists());
    let sources = fs::read_dir(fixture.root().join("sources")).unwrap();
    let tree = sources.map(|source| source.unwrap().path().join("tree")).find(|tree| tree.exists()).unwrap();
    let built = [".config", "code.o", "include"].map(|name| tree.join(name).exists());
    assert_eq!(built, [false; 3]);
}

#[test]
fn what_is_built_is_what_went_into_the_id_though_the_patch_is_edited_meanwhile() {
    struct Editor<'a>(&'a Fixture, PathBuf);
    impl Watch for Editor<'_> {
        fn stage(&self, what: &str) {
            // Between the id and the build.
            if what.starts_with("unpack") {
                fs::copy(self.0.patch("later"), &self.1).unwrap();
            }
        }
    }
    let fixture = Fixture::new();
    let patch = fixture.patch("first");
    let recipe = fixture.recipe("mine", std::slice::from_ref(&patch));
    let edited = Editor(&fixture, patch);
    let kernel = fixture.store().ensure(std::slice::from_ref(&recipe), &edited).unwrap().remove(0);
    assert_eq!(image(&kernel), "first\n");
    assert_eq!(image(&fixture.ensure(&[recipe])[0]), "later\n");
}

#[test]
fn a_source_that_is_not_there_names_its_package() {
    let fixture = Fixture::new();
    let recipe = recipe(fixture.folder.path(), "mainline", archive(Path::new("/nowhere/linux.tar.xz")), &[]);
    let failure = fixture.store().ensure(&[recipe], &Nobody).unwrap_err();
    assert_eq!(failure.kind, Kind::Host);
    assert!(failure.next.contains("apt-get install linux-fake"), "{failure}");
}

#[test]
fn a_store_that_cannot_be_written_is_found_out_before_anything_is_built() {
    let fixture = Fixture::new();
    let file = fixture.write("not-a-folder", "");
    assert_eq!(Store::at(&file.join("store")).unwrap_err().kind, Kind::Files);
    // procfs refuses whoever asks, root too.
    let failure = Store::at(Path::new("/proc/parprobe")).unwrap_err();
    assert_eq!(failure.kind, Kind::Files);
    assert!(failure.next.contains("PARPROBE_STORE"), "{failure}");
    // kbuild cannot work in such a folder.
    let failure = Store::at(&fixture.folder.path().join("my store")).unwrap_err();
    assert!(failure.seen.contains("space or a colon"), "{failure}");
}

#[test]
fn two_at_once_build_once() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        let build = || image(&fixture.ensure(&[fixture.recipe("mainline", &[])])[0]);
        let (one, other) = (scope.spawn(build), scope.spawn(build));
        assert_eq!(one.join().unwrap(), "pristine\n");
        assert_eq!(other.join().unwrap(), "pristine\n");
    });
    assert_eq!(fixture.builds(), 1);
}

/// Set for the process that [`a_killed_build_leaves_a_store_that_works`] starts: the fixture's folder.
const BUILDER: &str = "PARPROBE_TEST_BUILDER";

/// What that process does: a build that sleeps, with the files of the fixture in this folder.
fn build_for_ever(folder: &Path) {
    let source = archive(&folder.join("linux-fake.tar.xz"));
    let recipe = recipe(folder, "slow", source, &[folder.join("sleep.patch")]);
    Store::at(&folder.join("störe")).unwrap().ensure(&[recipe], &Nobody).unwrap();
}

#[test]
fn a_killed_build_leaves_a_store_that_works() {
    if let Some(folder) = std::env::var_os(BUILDER) {
        return build_for_ever(Path::new(&folder));
    }
    let fixture = Fixture::new();
    fixture.patch("sleep");
    let mut builder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_build_leaves_a_store_that_works"])
        .env(BUILDER, fixture.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its make says what it compiles, then sleeps for a long time.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_compiling(&fixture.root()) {
        assert!(Instant::now() < deadline && builder.try_wait().unwrap().is_none(), "no build began");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fixture.source_says(), "sleep\n");
    builder.kill().unwrap();
    builder.wait().unwrap();
    let builder_ended = Instant::now();

    // The lock goes when the last process of the build goes, and it goes soon.
    let kernels = fixture.ensure(&[fixture.recipe("mainline", &[])]);
    assert_eq!(image(&kernels[0]), "pristine\n");
    assert_eq!(fixture.source_says(), "pristine\n");
    assert!(builder_ended.elapsed() < Duration::from_secs(60), "the build held its lock");
    assert_eq!(processes_in(&fixture.root()), Vec::<String>::new());
}

fn is_compiling(store: &Path) -> bool {
    let Ok(sources) = fs::read_dir(store.join("sources")) else { return false };
    let logs =
        sources.flatten().flat_map(|source| fs::read_dir(source.path()).into_iter().flatten()).flatten();
    logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("build-"))
        .any(|entry| fs::read_to_string(entry.path()).is_ok_and(|log| log.contains("  CC ")))
}

/// Processes whose working directory is below this folder: make and all it starts.
fn processes_in(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
        .collect()
}
