//! Reads what people have a patch in: a diff, a mail, a mailbox with a whole thread, a quilt series.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use crate::compression;
use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::hold::Scratch;
use crate::kernel::recipe::{Patch, file_name};
use crate::kernel::series::{AS_GIT_DOES, Touched, touched};
use crate::watch::Watch;

/// The patches in a file, in the order in which they are to be applied. What is taken out of a mailbox is kept below
/// `keep`, by content.
///
/// # Errors
/// `Asked` where there is no such file; `Series` where there is no patch in it.
pub(crate) fn read(path: &Path, keep: &Path, watch: &dyn Watch) -> Result<Vec<Patch>, Failure> {
    let attempt = format!("read patches from {}", path.display());
    let failed = |seen: &str, next: &str| Failure::new(Kind::Series, &attempt, seen, next);
    let bytes = compression::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => {
            let next = "name a file: a diff, a mail, a mailbox or the `series` of quilt";
            Failure::new(Kind::Asked, &attempt, e.to_string(), next)
        }
        _ => Failure::file("read", path, &e),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    if is_mail(&text) {
        let mails = split(&bytes, &attempt, keep)?;
        let (count, found) = (mails.len(), file_name(path));
        let chosen = choose(mails, |note| watch.note(&format!("{found}: {note}")));
        if chosen.is_empty() {
            let seen =
                format!("none of its {count} mails is a patch; replies and cover letters are left out");
            return Err(failed(&seen, "save the whole thread as a mailbox, or name the patches"));
        }
        let patch = |mail: Mail| {
            let found_in = match count {
                1 => format!("in {}", path.display()),
                _ => format!("mail {} of {count} in {found}", mail.place),
            };
            if let Err(seen) = &mail.is_patch {
                let attempt = format!("read the patch \"{}\", {found_in}", mail.subject);
                return Err(Failure::new(Kind::Series, attempt, seen, AS_GIT_DOES));
            }
            let path = kept(keep, &mail.file_name(), mail.patch.as_bytes())?;
            Ok(Patch { path, found_in: Some(found_in) })
        };
        return chosen.into_iter().map(patch).collect();
    }
    if let Some(listed) = listed(&text, path) {
        let each = listed.iter().map(|words| quilted(words, path, keep));
        return each.map(|patch| patch?.map_err(|seen| failed(&seen, "mend the series"))).collect();
    }
    check(&bytes, keep)?.map_err(|seen| failed(&seen, AS_GIT_DOES))?;
    // What is compressed git does not read.
    let plain = fs::read(path).is_ok_and(|read| read == bytes);
    let path = if plain { absolute(path) } else { kept(keep, &file_name(path), &bytes)? };
    Ok(vec![Patch::file(path)])
}

/// Writes a patch to a folder of its own below `keep`, for git to say whether it is one.
fn check(patch: &[u8], keep: &Path) -> Result<Result<(), String>, Failure> {
    fs::create_dir_all(keep).map_err(|e| Failure::file("create", keep, &e))?;
    let folder = Scratch::partial(keep)?;
    let path = folder.path().join("patch");
    fs::write(&path, patch).map_err(|e| Failure::file("write", &path, &e))?;
    Ok(touched(&Git::outside(folder.path(), None), &path)?.files().map(drop))
}

/// Patches may be applied from another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Writes a patch to a folder that is named after its content.
fn kept(keep: &Path, name: &str, patch: &[u8]) -> Result<PathBuf, Failure> {
    let folder = keep.join(&blake3::hash(patch).to_hex()[..16]);
    fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    let path = folder.join(name);
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(patch)?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(|e| Failure::file("write", &path, &e))?;
    Ok(path)
}

/// Whether it begins like a mail or a mailbox: up to the first empty line all are header lines, and some are such as
/// only mails have.
fn is_mail(text: &str) -> bool {
    let header = |line: &str| {
        line.starts_with([' ', '\t'])
            || line.split_once(':').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty()).peekable();
    if lines.peek().is_some_and(|line| line.starts_with("From ")) {
        lines.next();
    }
    let head: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let mail = |line: &&str| ["From:", "Subject:", "Message-ID:"].iter().any(|name| starts_as(line, name));
    head.iter().all(|line| header(line)) && head.iter().any(mail)
}

/// Whether it starts so, in capitals or not.
fn starts_as(line: &str, start: &str) -> bool {
    line.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// A mail.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mail {
    /// Which one of its mailbox, from 1.
    place: usize,
    /// Its subject, with what stands in brackets.
    subject: String,
    /// What follows the words, if there is a patch.
    patch: String,
    /// Whether there is one, and what is wrong with it.
    is_patch: Result<bool, String>,
}

/// What the brackets of a subject say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Numbered {
    version: u32,
    number: u32,
    total: u32,
}

impl Mail {
    /// Whether somebody meant it as one.
    fn is_patch(&self) -> bool {
        self.is_patch != Ok(false)
    }

    /// A reply, as programs in several languages mark it.
    fn is_reply(&self) -> bool {
        ["re:", "aw:", "sv:", "antw:", "fwd:"].iter().any(|mark| starts_as(&self.subject, mark))
    }

    /// `[PATCH v2 4/9]`, with other words in between; version 1 and number 1 of 1 where nothing else is said.
    fn numbered(&self) -> Numbered {
        let brackets = self.subject.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let words = brackets.map_or("", |(words, _)| words);
        let mut said = Numbered { version: 1, number: 1, total: 1 };
        for word in words.split([' ', ',']) {
            let version = word.strip_prefix(['v', 'V']).and_then(|version| version.parse().ok());
            said.version = version.unwrap_or(said.version);
            let numbers = word.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
            (said.number, said.total) = numbers.unwrap_or((said.number, said.total));
        }
        said
    }

    /// As `git format-patch` would call it.
    fn file_name(&self) -> String {
        let title = self.subject.rsplit_once(']').map_or(self.subject.as_str(), |(_, title)| title);
        let mut slug = String::new();
        for c in title.trim().chars() {
            match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' => slug.push(c),
                _ if slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        let slug: String = slug.chars().take(52).collect();
        format!("{:04}-{}.patch", self.numbered().number, slug.trim_matches(['-', '.']))
    }
}

/// The mails of a mailbox, or the only one.
fn split(mailbox: &[u8], attempt: &str, keep: &Path) -> Result<Vec<Mail>, Failure> {
    fs::create_dir_all(keep).map_err(|e| Failure::file("create", keep, &e))?;
    let scratch = Scratch::partial(keep)?;
    let folder = scratch.path();
    let files = |e: io::Error| Failure::file("write", folder, &e);
    fs::write(folder.join("mailbox"), mailbox).map_err(files)?;
    let git = Git::outside(folder, None);
    let next = "save it again as a mailbox, or name a diff";
    // A mailbox of mails that quote "From " as public-inbox does; -b: a mail alone has no such line.
    let count = git.ask(attempt, &["mailsplit", "-b", "--mboxrd", "-o.", "mailbox"], Kind::Series, next)?;
    let count: usize = count.trim().parse().unwrap_or(0);
    let mut mails = Vec::new();
    for place in 1..=count {
        let mail = File::open(folder.join(format!("{place:04}"))).map_err(files)?;
        // -k: the subject with its brackets.
        let output = git.run_on(attempt, &["mailinfo", "-k", "words", "patch"], Some(mail))?;
        if !output.status.success() {
            let seen = format!("mail {place} of {count}: {}", output.stderr.trim());
            return Err(Failure::new(Kind::Series, attempt, seen, next));
        }
        let subject = output.stdout.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("");
        let path = folder.join("patch");
        let patch = String::from_utf8_lossy(&fs::read(&path).map_err(files)?).into_owned();
        let is_patch = match touched(&git, &path)? {
            Touched::Files(_) => Ok(true),
            Touched::Nothing => Ok(false),
            Touched::Unclear(why) => Err(why),
        };
        mails.push(Mail { place, subject: subject.to_owned(), patch, is_patch });
    }
    Ok(mails)
}

/// Of a thread, the patches of the newest version of its series, in order.
fn choose(mails: Vec<Mail>, note: impl Fn(&str)) -> Vec<Mail> {
    let (replies, others): (Vec<Mail>, Vec<Mail>) = mails.into_iter().partition(Mail::is_reply);
    for reply in replies.iter().filter(|reply| reply.is_patch()) {
        note(&format!("the patch in the reply \"{}\" is left out", reply.subject));
    }
    let patches: Vec<Mail> = others.into_iter().filter(Mail::is_patch).collect();
    let newest = patches.iter().map(|mail| mail.numbered().version).max().unwrap_or(1);
    let (mut chosen, older): (Vec<Mail>, Vec<Mail>) =
        patches.into_iter().partition(|mail| mail.numbered().version == newest);
    if !older.is_empty() {
        note(&format!("version {newest} is taken; {} patches of older ones are left out", older.len()));
    }
    // Patches that are numbered come in that order, and keep it where they are not.
    chosen.sort_by_key(|mail| mail.numbered().number);
    let total = chosen.iter().map(|mail| mail.numbered().total).max().unwrap_or(1);
    let missing: Vec<String> = (1..=total)
        .filter(|number| !chosen.iter().any(|mail| mail.numbered().number == *number))
        .map(|number| number.to_string())
        .collect();
    if !missing.is_empty() && chosen.len() > 1 {
        note(&format!("of a series of {total} patches these are not in it: {}", missing.join(", ")));
    }
    chosen
}

/// What a quilt series lists, line by line; `None` for a text that is no such list. A line is a file name, relative to
/// its folder, `-p1` and the like may follow it, and `#` begins a comment (quilt(1)).
fn listed<'a>(text: &'a str, path: &Path) -> Option<Vec<Vec<&'a str>>> {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect())
        .filter(|words: &Vec<&str>| !words.is_empty())
        .collect();
    let there = |words: &Vec<&str>| path.with_file_name(words[0]).is_file();
    let is_list = file_name(path) == "series" || lines.iter().all(there);
    (is_list && !lines.is_empty()).then_some(lines)
}

/// The patch that a line of a quilt series names.
fn quilted(words: &[&str], series: &Path, keep: &Path) -> Result<Result<Patch, String>, Failure> {
    let [name, options @ ..] = words else { return Ok(Err("it has an empty line".to_owned())) };
    if let Some(other) = options.iter().find(|option| !["-p1", "-pab"].contains(option)) {
        return Ok(Err(format!("{name} is to be applied with {other}: only -p1 is understood")));
    }
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(Err(format!("it lists {name}, outside of its folder")));
    }
    let file = series.with_file_name(name);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(e) => return Ok(Err(format!("it lists {name}: {e}"))),
    };
    let patch = Patch { path: absolute(&file), found_in: Some(format!("listed in {}", series.display())) };
    Ok(check(&text, keep)?.map(|()| patch).map_err(|why| format!("{name}: {why}")))
}

#[cfg(test)]
mod tests {
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
            subject.len()
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
        let names =
            read.map(|patches| patches.into_iter().map(|patch| (patch.name(), patch.found_in)).collect());
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
        assert_eq!(names(read_from("my.patch.gz", &gz.finish().unwrap()).0), ["my.patch.gz"]);
    }

    #[test]
    fn of_a_thread_the_patches_are_taken_in_order_without_cover_letter_and_replies() {
        let thread = [
            mail("[PATCH v3 0/2] cover", "No diff here.\n\n f.c | 2 +-\n"),
            mail("[PATCH v3 2/2] driver core: Second: it's", &patch("two")),
            mail(
                "Re: [PATCH v3 2/2] driver core: Second",
                "> diff --git a/f.c b/f.c\n> -one\n\nLooks good.\n",
            ),
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
    fn the_newest_version_is_taken_and_what_is_left_out_or_missing_is_said() {
        let thread = [
            mail("[PATCH v6 1/2] First", &patch("one")),
            mail("[PATCH v7 1/3] First", &patch("one")),
            mail("[PATCH v7 3/3] Third", &patch("three")),
            mail("Re: [PATCH v7 1/3] First", &format!("Rather this:\n\n{DIFF}")),
        ]
        .concat();
        let (read, notes) = read_from("t.mbox", thread.as_bytes());
        assert_eq!(names(read), ["0001-First.patch", "0003-Third.patch"]);
        assert_eq!(
            notes,
            [
                "t.mbox: the patch in the reply \"Re: [PATCH v7 1/3] First\" is left out",
                "t.mbox: version 7 is taken; 1 patches of older ones are left out",
                "t.mbox: of a series of 3 patches these are not in it: 2",
            ]
        );
    }

    #[test]
    fn a_mail_alone_needs_no_mailbox_and_its_encoding_is_undone() {
        let body = patch("one").replace('=', "=3D");
        let text = format!(
            "From: A <a@b>\nSubject: =?UTF-8?q?[PATCH]_F=C3=B6rst?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: quoted-printable\n\n{body}"
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
        assert_eq!(
            read_series("# first\nbase/b.patch -p1\n\na.patch # why\n").unwrap(),
            ["b.patch", "a.patch"]
        );
        assert_eq!(
            read_series("a.patch -p0\n").unwrap_err(),
            "a.patch is to be applied with -p0: only -p1 is understood"
        );
        assert!(read_series("c.patch\n").unwrap_err().starts_with("it lists c.patch: No such file"));
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
}
