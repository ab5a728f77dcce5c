//! Patches put in and taken out again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const PATCH: &str = "\
From: somebody\nSubject: [PATCH] change\n\n---\n\
diff --git a/dir/file.c b/dir/file.c\n--- a/dir/file.c\n+++ b/dir/file.c\n\
@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n\
@@ -5,2 +5,3 @@\n five\n six\n+seven\n\
diff --git a/new.c b/new.c\nnew file mode 100644\n--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+new\n-- \n2.0\n";

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Patches with these texts, in files beside the tree.
    fn listed(&self, texts: &[String]) -> Vec<Patch> {
        let named = |(number, text): (usize, &String)| {
            let path = self.folder.path().join(format!("{number}.patch"));
            fs::write(&path, text).unwrap();
            Patch::file(path)
        };
        texts.iter().enumerate().map(named).collect()
    }

    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tree/dir")).unwrap();
        fs::write(folder.path().join("tree/dir/file.c"), content).unwrap();
        fs::write(folder.path().join("a.patch"), PATCH).unwrap();
        Self { folder }
    }

    fn tree(&self) -> Tree {
        Tree::new(self.folder.path().join("tree"), self.folder.path().join("pristine"), None)
    }

    fn series(&self) -> Vec<Patch> {
        vec![Patch::file(self.folder.path().join("a.patch"))]
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.path().join("tree").join(name)).ok()
    }
}

const PRISTINE: &str = "one\ntwo\nthree\nfour\nfive\nsix\n";

#[test]
fn a_series_goes_in_and_out() {
    let fixture = Fixture::new(PRISTINE);
    fixture.tree().apply(&fixture.series()).unwrap();
    assert_eq!(fixture.read("dir/file.c").unwrap(), "one\nTWO\nthree\nfour\nfive\nsix\nseven\n");
    assert_eq!(fixture.read("new.c").unwrap(), "new\n");
    fixture.tree().restore().unwrap();
    assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
    assert_eq!(fixture.read("new.c"), None);
}

#[test]
fn a_series_that_a_kill_left_in_is_taken_out_before_the_next() {
    let fixture = Fixture::new(PRISTINE);
    fixture.tree().apply(&fixture.series()).unwrap();
    fixture.tree().apply(&fixture.series()).unwrap();
    fixture.tree().restore().unwrap();
    assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
}

#[test]
fn a_hunk_that_does_not_match_is_shown_with_what_stands_there() {
    let changed = "one\ntwo\nthree\nfour\nFIVE\nsix\n";
    let fixture = Fixture::new(changed);
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert_eq!(failure.kind, Kind::Series);
    assert_eq!(
        failure.seen,
        "hunk 2 of 2 of dir/file.c does not match; at line 5\n  expected: five\n  found:    FIVE"
    );
    assert_eq!(fixture.read("dir/file.c").unwrap(), changed);
    assert_eq!(fixture.read("new.c"), None);
}

#[test]
fn a_hunk_is_held_against_the_place_where_most_of_it_stands() {
    let moved = "zero\n".repeat(40) + "one\ntwo\nthree\nfour\nfive\nsixth\n";
    let fixture = Fixture::new(&moved);
    let patch = PATCH.replace("@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n", "");
    fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert_eq!(
        failure.seen,
        "hunk 1 of 1 of dir/file.c does not match; at line 46\n  expected: six\n  found:    sixth"
    );
}

#[test]
fn what_is_applied_already_is_told_from_what_does_not_fit() {
    let fixture = Fixture::new("one\nTWO\nthree\nfour\nfive\nsix\n");
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert_eq!(failure.seen, "hunk 1 of 2 of dir/file.c is applied already, at line 1; others are not");
    let fixture = Fixture::new("one\nTWO\nthree\nfour\nfive\nsix\nseven\n");
    fs::write(fixture.folder.path().join("tree/new.c"), "new\n").unwrap();
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert_eq!(failure.seen, "it is applied already: all that it adds is there");
    let fixture = Fixture::new(PRISTINE);
    fs::write(fixture.folder.path().join("tree/new.c"), "other\n").unwrap();
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert_eq!(failure.seen, "new.c: already exists in working directory");
}

/// What is said of a patch that does not apply to this content of the file.
fn refused(content: &str, patch: &str) -> String {
    let fixture = Fixture::new(content);
    fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
    fixture.tree().apply(&fixture.series()).unwrap_err().seen
}

#[test]
fn other_ends_of_lines_are_told_from_other_lines() {
    let head = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -3,4 +3,5 @@\n";
    let body = " three\n four\n five\n six\n+seven\n";
    let seen = refused(PRISTINE, &format!("{head}{}", body.replace('\n', "\r\n")));
    let expected =
        "hunk 1 of 1 of dir/file.c does not match: its lines end in CR LF, those of the file in LF";
    assert_eq!(seen, expected);
    let seen = refused(&PRISTINE.replace('\n', "\r\n"), &format!("{head}{body}"));
    let expected =
        "hunk 1 of 1 of dir/file.c does not match: its lines end in LF, those of the file in CR LF";
    assert_eq!(seen, expected);
}

#[test]
fn names_that_lack_their_first_part_are_told_from_files_that_are_not_there() {
    let seen = refused(PRISTINE, "--- dir/file.c\n+++ dir/file.c\n@@ -1 +1 @@\n-one\n+two\n");
    assert_eq!(seen, "its names lack the a/ and b/ of git: there is dir/file.c, but no file.c");
    let seen = refused(PRISTINE, "--- a/dir/f.c\n+++ b/dir/f.c\n@@ -1 +1 @@\n-one\n+two\n");
    assert_eq!(seen, "dir/f.c: No such file or directory");
}

#[test]
fn a_hunk_without_a_newline_at_the_end_is_counted_as_it_is() {
    let head = "--- a/dir/file.c\n+++ b/dir/file.c\n@@ -5,2 +5,2 @@\n five\n";
    let patch = format!("{head}-sixth\n\\ No newline at end of file\n+seventh\n");
    let seen = refused(PRISTINE, &patch);
    assert_eq!(
        seen,
        "hunk 1 of 1 of dir/file.c does not match; at line 6\n  expected: sixth\n  found:    six"
    );
    // It is in already.
    let patch = format!("{head}-5\n\\ No newline at end of file\n+six\n") + "@@ -9 +9 @@\n-x\n+y\n";
    let seen = refused(PRISTINE, &patch);
    assert_eq!(seen, "hunk 1 of 2 of dir/file.c is applied already, at line 5; others are not");
}

#[test]
fn a_diff_that_git_did_not_make_goes_in_and_out_as_well() {
    let fixture = Fixture::new(PRISTINE);
    let patch = "Index: linux/dir/file.c\n===\n--- linux.orig/dir/file.c\t2026-01-01\n+++ linux/dir/file.c\n\
                 @@ -1,5 +1,5 @@\n one\n-two\n+--- two\n three\n four\n five\n";
    fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
    fixture.tree().apply(&fixture.series()).unwrap();
    assert_eq!(fixture.read("dir/file.c").unwrap(), "one\n--- two\nthree\nfour\nfive\nsix\n");
    fixture.tree().restore().unwrap();
    assert_eq!(fixture.read("dir/file.c").unwrap(), PRISTINE);
    // And where it does not match, that is shown, too.
    fs::write(fixture.folder.path().join("tree/dir/file.c"), "zero\n").unwrap();
    let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
    assert!(failure.seen.starts_with("hunk 1 of 1 of dir/file.c does not match; at line 1\n"), "{failure}");
}

#[test]
fn a_rename_a_change_of_mode_and_an_emptied_folder_are_taken_out_as_well() {
    let patch = "\
diff --git a/dir/file.c b/other/file.c\nsimilarity index 100%\nrename from dir/file.c\nrename to other/file.c\n\
diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n";
    let fixture = Fixture::new(PRISTINE);
    let script = fixture.folder.path().join("tree/run.sh");
    fs::write(&script, "").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
    fixture.tree().apply(&fixture.series()).unwrap();
    assert_eq!(fixture.read("dir/file.c"), None);
    assert_eq!(fixture.read("other/file.c").as_deref(), Some(PRISTINE));
    fixture.tree().restore().unwrap();
    assert_eq!(fixture.read("dir/file.c").as_deref(), Some(PRISTINE));
    assert_eq!(fixture.read("other/file.c"), None);
    assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o644);
}

/// What is below a folder, with modes; of a link, where it leads.
fn all_of(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match (meta.is_dir(), meta.is_symlink()) {
            (true, _) => all_of(&path).join(", "),
            (_, true) => fs::read_link(&path).unwrap().display().to_string(),
            _ => format!("{:?}", fs::read(&path).unwrap()),
        };
        all.push(format!("{} {:o} {content}", path.display(), meta.permissions().mode()));
    }
    all.sort();
    all
}

#[test]
fn a_patch_is_taken_out_whichever_way_git_finds_its_names() {
    let new = "new file mode 100644\nindex 0000000..e69de29\n";
    let date = "2026-01-01 00:00:00.000000000 +0000";
    let hunk = "@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n";
    let index = format!("index {}..90802fedc2462f10bf2114d086cacb9e3af99ffb", "0".repeat(40));
    let binary =
        format!("{index}\nGIT binary patch\nliteral 2\nJcmYdf0002Q0Ac_D\n\nliteral 0\nHcmV?d00001\n\n");
    let patches = [
        format!("diff --git i/new.c w/new.c\n{new}"),
        "diff --git i/dir/file.c w/dir/file.c\nold mode 100644\nnew mode 100755\n".to_owned(),
        format!("diff --git i/new.bin w/new.bin\nnew file mode 100644\n{binary}"),
        format!("diff --git c/dir/ä c.c i/dir/ä c.c\n{new}"),
        format!("--- a/dir/file.c {date}\n+++ b/dir/file.c {date}\n{hunk}"),
        "--- /dev/null\n+++ b/deep/er/new.c\n@@ -0,0 +1 @@\n+new\n".to_owned(),
        format!("Why.\n\nrename from /sys/x\ncopy to ../y\n--- a/dir/file.c\n+++ b/dir/file.c\n{hunk}"),
    ];
    for patch in patches {
        let fixture = Fixture::new(PRISTINE);
        fs::write(fixture.folder.path().join("a.patch"), &patch).unwrap();
        let tree = fixture.folder.path().join("tree");
        let before = all_of(&tree);
        fixture.tree().apply(&fixture.series()).unwrap_or_else(|failure| panic!("{failure}: {patch}"));
        assert_ne!(all_of(&tree), before, "{patch}");
        fixture.tree().restore().unwrap();
        let now: Vec<String> = all_of(&tree);
        assert_eq!(now, before, "{patch}");
    }
}

#[test]
fn nothing_is_guessed_about_names_without_a_first_part() {
    let fixture = Fixture::new(PRISTINE);
    fs::write(fixture.folder.path().join("tree/Makefile"), "x\n").unwrap();
    for before in ["", "diff --git Makefile Makefile\n"] {
        let patch = format!("{before}--- Makefile\n+++ Makefile\n@@ -1 +1 @@\n-x\n+y\n");
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert!(failure.next.contains("with a/ and b/"), "{failure}");
        assert_eq!(fixture.read("Makefile").as_deref(), Some("x\n"));
    }
}

#[test]
fn a_patch_that_leads_out_of_the_tree_is_refused() {
    let fixture = Fixture::new(PRISTINE);
    for name in ["../outside.c", "/etc/passwd", "dir/../../outside.c"] {
        let patch = format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n");
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert!(failure.seen.contains("outside of the tree"), "{failure}");
    }
    // git's own ways to name a file: what it is moved or copied from and to, what goes, and a quoted name.
    let outside = fixture.folder.path().join("outside.c");
    fs::write(&outside, "x\n").unwrap();
    for patch in [
        "diff --git a/dir/file.c b/../outside.c\nsimilarity index 100%\nrename from dir/file.c\nrename to ../outside.c\n",
        "diff --git a/../outside.c b/mine.c\nsimilarity index 100%\ncopy from ../outside.c\ncopy to mine.c\n",
        "diff --git a/../outside.c b/../outside.c\ndeleted file mode 100644\n--- a/../outside.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        "--- /dev/null\n+++ \"b/..\\057outside.c\"\n@@ -0,0 +1 @@\n+y\n",
        "--- a//outside.c\n+++ b/../outside.c\n@@ -1 +1 @@\n-x\n+y\n",
    ] {
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        assert!(fixture.tree().apply(&fixture.series()).is_err(), "{patch}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "x\n", "{patch}");
        assert_eq!(
            (fixture.read("mine.c"), fixture.read("dir/file.c").as_deref()),
            (None, Some(PRISTINE)),
            "{patch}"
        );
    }
}

/// A diff that makes, or removes, a link.
fn link(sign: char, name: &str, to: &str) -> String {
    let (word, before, after, hunk) = match sign {
        '+' => ("new", "/dev/null".to_owned(), format!("b/{name}"), "-0,0 +1"),
        _ => ("deleted", format!("a/{name}"), "/dev/null".to_owned(), "-1 +0,0"),
    };
    format!(
        "diff --git a/{name} b/{name}\n{word} file mode 120000\n--- {before}\n+++ {after}\n@@ {hunk} @@\n{sign}{to}\n\
         \\ No newline at end of file\n"
    )
}

/// A diff that removes the file.
fn without_file() -> String {
    let lines = PRISTINE.lines().map(|line| format!("-{line}\n")).collect::<String>();
    let head = "diff --git a/dir/file.c b/dir/file.c\ndeleted file mode 100644";
    format!("{head}\n--- a/dir/file.c\n+++ /dev/null\n@@ -1,6 +0,0 @@\n{lines}")
}

#[test]
fn links_that_patches_make_remove_or_turn_are_put_back_and_never_followed() {
    let fixture = Fixture::new(PRISTINE);
    let tree = fixture.folder.path().join("tree");
    let victim = fixture.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file.c"), "not ours\n").unwrap();
    fs::write(tree.join("plain"), "x\n").unwrap();
    for (name, to) in [("to-dir", "dir"), ("dangling", "nowhere"), ("out", "../victim")] {
        std::os::unix::fs::symlink(to, tree.join(name)).unwrap();
    }
    let (before, pristine) = (all_of(fixture.folder.path()), all_of(&tree));
    let new = |name: &str| format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n");
    let no_plain = "--- a/plain\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    let series: [&[String]; 8] = [
        // A file becomes a link, and a folder.
        &[without_file() + &link('+', "dir/file.c", "../plain")],
        &[without_file(), link('+', "dir", "nowhere")],
        &[no_plain.to_owned(), new("plain/deep/file.c")],
        // A link becomes a folder with the files that lie behind it.
        &[link('-', "to-dir", "dir"), new("to-dir/file.c")],
        &[link('-', "out", "../victim"), new("out/file.c")],
        &[link('-', "dangling", "nowhere")],
        &[link('-', "dangling", "nowhere"), link('+', "dangling", "plain")],
        &[link('-', "to-dir", "dir"), link('+', "to-dir", "other"), new("other")],
    ];
    for patches in series {
        let listed = fixture.listed(patches);
        fixture.tree().apply(&listed).unwrap_or_else(|failure| panic!("{failure}: {patches:?}"));
        assert_ne!(all_of(&tree), pristine, "{patches:?}");
        fixture.tree().restore().unwrap();
        for patch in &listed {
            fs::remove_file(&patch.path).unwrap();
        }
        assert_eq!(all_of(fixture.folder.path()), before, "{patches:?}");
    }
}

#[test]
fn a_link_out_of_the_tree_is_refused_and_what_it_leads_to_is_left_alone() {
    let fixture = Fixture::new(PRISTINE);
    let victim = fixture.folder.path().join("victim");
    fs::write(&victim, "not ours\n").unwrap();
    for to in [victim.to_str().unwrap(), "../../victim", "../dir/../../../nowhere"] {
        let patch = without_file() + &link('+', "dir/file.c", to);
        fs::write(fixture.folder.path().join("a.patch"), patch).unwrap();
        let failure = fixture.tree().apply(&fixture.series()).unwrap_err();
        assert_eq!(failure.kind, Kind::Series);
        assert_eq!(failure.seen, format!("it makes dir/file.c a link to {to}, out of the tree"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "not ours\n");
        assert_eq!(fixture.read("dir/file.c").as_deref(), Some(PRISTINE));
        assert!(!fixture.folder.path().join("tree/dir/file.c").is_symlink());
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let fixture = Fixture::new(PRISTINE);
    let tree = fixture.folder.path().join("tree");
    let victim = fixture.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file.c"), PRISTINE).unwrap();
    for (name, to) in [("out", "../victim"), ("file-out", "../victim/file.c")] {
        std::os::unix::fs::symlink(to, tree.join(name)).unwrap();
    }
    let before = all_of(fixture.folder.path());
    let new = |name: &str| format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n");
    let change =
        |name: &str| format!("--- a/{name}\n+++ b/{name}\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n");
    let moved = |from: &str, to: &str| {
        format!("diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n")
    };
    let series: [&[String]; 9] = [
        // One that the source has, to a folder and to a file.
        &[new("out/evil.c")],
        &[change("out/file.c")],
        &[change("file-out")],
        &[moved("dir/file.c", "out/evil.c")],
        &[moved("out/file.c", "dir/stolen.c")],
        // One that the patch makes, or the one before it, or by a turn.
        &[link('+', "mine", "../victim") + &new("mine/evil.c")],
        &[link('+', "mine", "../victim"), new("mine/evil.c")],
        &[link('+', "mine", "../victim/file.c"), change("mine")],
        &[link('+', "one", "out") + &link('+', "two", "one") + &new("two/evil.c")],
    ];
    for patches in series {
        let listed = fixture.listed(patches);
        let applied = fixture.tree().apply(&listed);
        assert!(applied.is_err(), "{patches:?}");
        for patch in &listed {
            fs::remove_file(&patch.path).unwrap();
        }
        assert_eq!(all_of(fixture.folder.path()), before, "{patches:?}");
    }
}

#[test]
fn a_file_that_has_another_name_outside_is_not_changed_there() {
    let fixture = Fixture::new(PRISTINE);
    let outside = fixture.folder.path().join("outside.c");
    fs::hard_link(fixture.folder.path().join("tree/dir/file.c"), &outside).unwrap();
    fixture.tree().apply(&fixture.series()).unwrap();
    assert!(fixture.read("dir/file.c").unwrap().contains("TWO"));
    assert_eq!(fs::read_to_string(&outside).unwrap(), PRISTINE);
    fixture.tree().restore().unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), PRISTINE);
}
