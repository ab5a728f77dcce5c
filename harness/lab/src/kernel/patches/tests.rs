//! Patches read out of what people have them in.

use super::*;
use std::sync::Mutex;

const DIFF: &str = "diff --git a/f.c b/f.c\n--- a/f.c\n+++ b/f.c\n@@ -1 +1 @@\n-one\n+two\n";

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watch for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn mail(subject: &str, body: &str) -> String {
    format!(
        "From mboxrd@z Thu Jan  1 00:00:00 1970\nFrom: A <a@b>\nSubject: {subject}\nMessage-ID: <{}@b>\n\n{body}\n\n",
        blake3::hash(format!("{subject}{body}").as_bytes())
    )
}

fn patch(from: &str) -> String {
    format!("Why.\n\nSigned-off-by: A <a@b>\n---\n f.c | 2 +-\n\n{}-- \n2.0\n", DIFF.replace("one", from))
}

/// Names and origins of patches.
type Read = Result<Vec<(String, Option<String>)>, Failure>;

/// What is read from a file with this name and content, and what is noted.
fn read_from(name: &str, content: &[u8]) -> (Read, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let notes = Notes::default();
    let read = read(&path, &folder.path().join("keep"), &notes);
    let names = read.map(|patches| patches.into_iter().map(|patch| (patch.name(), patch.found_in)).collect());
    (names, notes.0.into_inner().unwrap())
}

fn names(read: Read) -> Vec<String> {
    read.unwrap().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_diff_is_taken_as_it_is_also_from_git_show_and_compressed() {
    for text in [
        DIFF.to_owned(),
        format!("commit 0123\nAuthor: A <a@b>\n\n    title\n\n{DIFF}"),
        format!("Index: f.c\n{DIFF}"),
    ] {
        assert_eq!(names(read_from("my.patch", text.as_bytes()).0), ["my.patch"]);
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(DIFF.as_bytes()).unwrap();
    let whole = gz.finish().unwrap();
    assert_eq!(names(read_from("my.patch.gz", &whole).0), ["my.patch"]);
    let cut = read_from("my.patch.gz", &whole[..whole.len() / 2]).0.unwrap_err();
    assert_eq!((cut.kind, &*cut.next), (Kind::Series, "get the file again: it is damaged"));
}

#[test]
fn of_a_thread_the_patches_are_taken_in_order_without_cover_letter_and_replies() {
    let thread = [
        mail("[PATCH v3 0/2] cover", "No diff here.\n\n f.c | 2 +-\n"),
        mail("[PATCH v3 2/2] driver core: Second: it's", &patch("two")),
        mail("Re: [PATCH v3 2/2] driver core: Second", "> diff --git a/f.c b/f.c\n> -one\n\nLooks good.\n"),
        mail("[PATCH v3 1/2] driver core: First", &patch("one")),
    ]
    .concat();
    let (read, notes) = read_from("thread.mbox", thread.as_bytes());
    let expected = [
        ("0001-driver-core-First.patch", "mail 4 of 4 in thread.mbox"),
        ("0002-driver-core-Second-it-s.patch", "mail 2 of 4 in thread.mbox"),
    ];
    assert_eq!(read.unwrap(), expected.map(|(name, origin)| (name.to_owned(), Some(origin.to_owned()))));
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn the_newest_version_is_taken_and_what_is_left_out_is_said() {
    let thread = [
        mail("[PATCH v6 1/2] First", &patch("one")),
        mail("[PATCH v7 1/2] First", &patch("one")),
        mail("[PATCH v7 2/2] Second", &patch("two")),
        mail("Re: [PATCH v7 1/2] First", &format!("Rather this:\n\n{DIFF}")),
    ]
    .concat();
    let (read, notes) = read_from("t.mbox", thread.as_bytes());
    assert_eq!(names(read), ["0001-First.patch", "0002-Second.patch"]);
    assert_eq!(
        notes,
        [
            "t.mbox: the patch in the reply \"Re: [PATCH v7 1/2] First\" is left out",
            "t.mbox: version 7 is taken; 1 patches of older ones are left out",
        ]
    );
}

#[test]
fn versions_and_numbers_are_found_in_all_brackets() {
    for [older, newer] in [
        ["[PATCH 1/1] First", "[PATCHv2 1/1] First"],
        ["[RFC][PATCH 1/1] First", "[RFC][PATCH v2 1/1] First"],
        ["[lists] [PATCH v9 1/1] First", "[lists] [PATCH RFC V10 1/1] First"],
        ["[PATCH-v2 1/1] First", "[RFCv3,1/1] First"],
        ["[PATCH net-next] First", "[PATCH v2][1/1] First"],
    ] {
        let thread = [mail(newer, &patch("new")), mail(older, &patch("old"))].concat();
        let (read, notes) = read_from("t.mbox", thread.as_bytes());
        let found = read.unwrap().remove(0);
        assert_eq!(
            found,
            ("0001-First.patch".to_owned(), Some("mail 1 of 2 in t.mbox".to_owned())),
            "{newer}"
        );
        assert!(notes[0].ends_with("is taken; 1 patches of older ones are left out"), "{notes:?}");
    }
    let (read, _) = read_from("t.mbox", mail("[PATCH] mm: mend a[i] and b", &patch("one")).as_bytes());
    assert_eq!(names(read), ["0001-mm-mend-a-i-and-b.patch"]);
}

#[test]
fn a_mail_that_comes_twice_is_taken_once() {
    let twice = mail("[PATCH 1/2] First", &patch("one"));
    let with_footer = twice.replace("Message-ID: <", "Message-ID: <x").replace("2.0\n", "2.0\n\nA list.\n");
    let second = mail("[PATCH 2/2] Second", &patch("two"));
    let again = mail("[PATCH RESEND 2/2] Second", &patch("two"));
    let thread = [&*twice, &second, &with_footer, &twice, &again].map(String::from).concat();
    let (read, notes) = read_from("t.mbox", thread.as_bytes());
    assert_eq!(names(read), ["0001-First.patch", "0002-Second.patch"]);
    assert_eq!(notes, ["t.mbox: patches that are in it more than once are taken once; 3 are left out"]);
}

#[test]
fn two_series_of_one_version_are_refused_and_patches_without_numbers_are_not() {
    let thread = [
        mail("[PATCH 1/2] First", &patch("one")),
        mail("[PATCH 1/2] Another", &patch("two")),
        mail("[PATCH 2/2] Second", &patch("three")),
    ];
    let failure = read_from("t.mbox", thread.concat().as_bytes()).0.unwrap_err();
    let seen = "two different patches have one number: \"[PATCH 1/2] First\" and \"[PATCH 1/2] Another\"";
    assert_eq!((failure.kind, failure.seen.as_str()), (Kind::Series, seen));
    let unnumbered = [mail("[PATCH] First", &patch("one")), mail("[PATCH] Second", &patch("two"))];
    let (read, notes) = read_from("t.mbox", unnumbered.concat().as_bytes());
    assert_eq!(
        (names(read), notes),
        (vec!["0001-First.patch".to_owned(), "0001-Second.patch".to_owned()], vec![])
    );
}

#[test]
fn a_series_of_which_a_part_is_missing_is_refused_that_of_a_single_new_patch_too() {
    let thread = [
        mail("[PATCH v2 1/2] First", &patch("one")),
        mail("[PATCH v2 2/2] Second", &patch("two")),
        mail("[PATCH v3 2/3] Second", &patch("three")),
    ];
    let (read, notes) = read_from("t.mbox", thread.concat().as_bytes());
    let failure = read.unwrap_err();
    let seen = "of a series of 3 patches these are not in it: 1, 3";
    assert_eq!((failure.kind, failure.seen.as_str()), (Kind::Series, seen));
    assert_eq!(notes, ["t.mbox: version 3 is taken; 2 patches of older ones are left out"]);
    // git format-patch writes a file for each.
    let (_, notes) = read_from("0002-Second.patch", thread[1].as_bytes());
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn a_mail_alone_needs_no_mailbox_and_its_encoding_is_undone() {
    let body = patch("one").replace('=', "=3D");
    let text = format!(
        "From: A <a@b>\nSubject: =?UTF-8?q?[PATCH]_F=C3=B6rst?=\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: quoted-printable\n\n{body}"
    );
    assert_eq!(names(read_from("a.eml", text.as_bytes()).0), ["0001-F-rst.patch"]);
}

#[test]
fn a_quilt_series_is_read_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("base")).unwrap();
    for name in ["base/b.patch", "a.patch"] {
        fs::write(folder.path().join(name), DIFF).unwrap();
    }
    let series = folder.path().join("series");
    let read_series = |text: &str| {
        fs::write(&series, text).unwrap();
        read(&series, &folder.path().join("keep"), &Notes::default())
            .map(|patches| patches.iter().map(Patch::name).collect::<Vec<_>>())
            .map_err(|failure| failure.seen)
    };
    assert_eq!(read_series("# first\nbase/b.patch -p1\n\na.patch # why\n").unwrap(), ["b.patch", "a.patch"]);
    assert_eq!(
        read_series("a.patch -p0\n").unwrap_err(),
        "a.patch is to be applied with -p0: only -p1 is understood"
    );
    assert!(read_series("c.patch\n").unwrap_err().starts_with("it lists c.patch: No such file"));
    for outside in ["../a.patch", "/etc/passwd", "base/../../a.patch"] {
        assert_eq!(
            read_series(&format!("{outside} -p1\n")).unwrap_err(),
            format!("it lists {outside}, outside of its folder")
        );
    }
}

#[test]
fn no_subject_and_no_name_is_a_place_for_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("a/keep");
    for subject in
        ["[PATCH] ../../../evil", "[PATCH] /etc/evil", "[PATCH 1/1] ..", "[PATCH] a/\u{0}b", "[PATCH]"]
    {
        let path = folder.path().join("mbox");
        fs::write(&path, mail(subject, &patch("one"))).unwrap();
        for patch in read(&path, &keep, &Notes::default()).unwrap() {
            assert!(patch.path.starts_with(&keep) && patch.path.is_file(), "{subject}: {patch:?}");
            let depth = patch.path.strip_prefix(&keep).unwrap().components().count();
            assert_eq!(depth, 2, "{subject}: {patch:?}");
        }
    }
    let left: Vec<String> = fs::read_dir(folder.path().join("a"))
        .unwrap()
        .map(|entry| file_name(&entry.unwrap().path()))
        .collect();
    assert_eq!(left, ["keep"]);
}

/// What is kept of the patches in a file with this content.
fn kept_of(name: &str, content: &[u8]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let patches = read(&path, &folder.path().join("keep"), &Notes::default()).unwrap();
    // What is applied does not change when the file does.
    fs::remove_file(&path).unwrap();
    patches.iter().map(|patch| fs::read(&patch.path).unwrap()).collect()
}

#[test]
fn patches_are_kept_byte_by_byte_whatever_their_charset() {
    let latin =
        |text: &str| text.replace("one", "\u{1}").bytes().map(|b| if b == 1 { 0xe4 } else { b }).collect();
    let diff: Vec<u8> = latin(DIFF);
    assert_eq!(kept_of("my.patch", &diff), std::slice::from_ref(&diff));
    let mail: Vec<u8> = latin(&mail("[PATCH] First", &patch("one")));
    let kept = &kept_of("my.mbox", &mail)[0];
    assert!(kept.windows(4).any(|line| line == b"\n-\xe4\n"), "{}", kept.escape_ascii());
}

#[test]
fn a_diff_whose_lines_all_end_in_cr_lf_is_taken_as_git_wrote_it() {
    assert_eq!(kept_of("my.patch", DIFF.replace('\n', "\r\n").as_bytes()), [DIFF.as_bytes()]);
    // That the lines of a file end so is another thing.
    let of_file = DIFF.replace("one\n", "one\r\n").replace("two\n", "two\r\n");
    assert_eq!(kept_of("my.patch", of_file.as_bytes()), [of_file.as_bytes()]);
}

#[test]
fn a_quilt_series_may_list_what_is_compressed_and_mails() {
    let folder = tempfile::tempdir().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(DIFF.as_bytes()).unwrap();
    fs::write(folder.path().join("a.patch.gz"), gz.finish().unwrap()).unwrap();
    let encoded = patch("one").replace('=', "=3D").replace("+two", "+t=77o");
    let text = format!(
        "From: A <a@b>\nSubject: [PATCH] B\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n{encoded}"
    );
    fs::write(folder.path().join("b.eml"), text).unwrap();
    let series = folder.path().join("series");
    fs::write(&series, "a.patch.gz\nb.eml\n").unwrap();
    let patches = read(&series, &folder.path().join("keep"), &Notes::default()).unwrap();
    assert_eq!(patches.iter().map(Patch::name).collect::<Vec<_>>(), ["a.patch", "0001-B.patch"]);
    for patch in patches {
        let text = fs::read_to_string(&patch.path).unwrap();
        assert!(text.contains("\n-one\n+two\n"), "{text}");
    }
}

#[test]
fn a_mail_whose_patch_is_broken_is_no_mail_without_a_patch() {
    let broken = patch("one").replace("@@ -1 +1 @@", "@@ -1,9 +1,9 @@");
    let (read, _) = read_from("my.mbox", mail("[PATCH] First", &broken).as_bytes());
    let failure = read.unwrap_err();
    assert!(failure.seen.contains("corrupt patch"), "{failure}");
    // In a reply it may be just a part.
    let thread = [mail("[PATCH] First", &patch("one")), mail("Re: [PATCH] First, no", &broken)].concat();
    let (read, notes) = read_from("my.mbox", thread.as_bytes());
    assert_eq!(names(read), ["0001-First.patch"]);
    assert_eq!(notes, ["my.mbox: the patch in the reply \"Re: [PATCH] First, no\" is left out"]);
}

#[test]
fn a_file_without_a_patch_is_refused() {
    let (read, _) = read_from("notes.txt", b"just words\n");
    assert_eq!(read.unwrap_err().seen, "it changes no file");
    let (read, _) = read_from("cover.mbox", mail("[PATCH 0/3] cover", "words").as_bytes());
    let failure = read.unwrap_err();
    assert_eq!(failure.kind, Kind::Series);
    assert!(failure.seen.starts_with("none of its 1 mails is a patch"), "{failure}");
}
