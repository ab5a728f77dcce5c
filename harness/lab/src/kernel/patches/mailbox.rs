//! Finds the patches among the mails of a mailbox.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::hold::Scratch;
use crate::kernel::series::{Touched, touched};

/// Whether it begins like a mail or a mailbox: up to the first empty line all are header lines, and some are such as
/// only mails have.
pub(super) fn is_mail(text: &str) -> bool {
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
pub(super) struct Mail {
    /// Which one of its mailbox, from 1.
    pub(super) place: usize,
    /// What its Message-ID says.
    id: Option<String>,
    /// Its subject, with what stands in brackets.
    pub(super) subject: String,
    /// What follows the words, if there is a patch.
    pub(super) patch: Vec<u8>,
    /// Whether there is one, and what is wrong with it.
    pub(super) is_patch: Result<bool, String>,
}

/// What the brackets of a subject say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Numbered {
    version: u32,
    /// Which one of how many, where that is said.
    place: Option<(u32, u32)>,
}

impl Mail {
    /// A mail with a patch and no Message-ID.
    pub(super) fn of(place: usize, subject: &str, patch: &[u8]) -> Self {
        let is_patch = Ok(!patch.is_empty());
        Self { place, id: None, subject: subject.to_owned(), patch: patch.to_owned(), is_patch }
    }

    /// Whether somebody meant it as one.
    fn is_patch(&self) -> bool {
        self.is_patch != Ok(false)
    }

    /// A reply, as programs in several languages mark it.
    fn is_reply(&self) -> bool {
        ["re:", "aw:", "sv:", "antw:", "fwd:"].iter().any(|mark| starts_as(&self.subject, mark))
    }

    /// What stands in the brackets at the beginning of the subject, and what follows them: `[RFC][PATCH v2 4/9] title`.
    fn brackets(&self) -> (Vec<&str>, &str) {
        let (mut brackets, mut rest) = (Vec::new(), self.subject.trim_start());
        while let Some((words, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            brackets.push(words);
            rest = after.trim_start();
        }
        (brackets, rest)
    }

    /// `[PATCH v2 4/9]`, with other words in between, or `[PATCHv2 4/9]`; version 1 where nothing else is said.
    fn numbered(&self) -> Numbered {
        let mut said = Numbered { version: 1, place: None };
        for word in self.brackets().0.into_iter().flat_map(|words| words.split([' ', ',', '-'])) {
            let word = word.to_ascii_lowercase();
            let version = ["patch", "rfc"].iter().find_map(|kind| word.strip_prefix(kind)).unwrap_or(&word);
            let version = version.strip_prefix('v').and_then(|version| version.parse().ok());
            said.version = version.unwrap_or(said.version);
            let place = word.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
            said.place = place.or(said.place);
        }
        said
    }

    /// Its number in its series, 1 where none is said. A cover letter has 0.
    fn number(&self) -> u32 {
        self.numbered().place.map_or(1, |(number, _)| number)
    }

    /// Whether it is the same mail, as it comes by a list and as a copy, or the same patch sent again.
    fn is_copy_of(&self, other: &Self) -> bool {
        /// A list may add lines below the signature.
        fn diff(mail: &Mail) -> &[u8] {
            let end = mail.patch.windows(5).position(|bytes| bytes == b"\n-- \n");
            &mail.patch[..end.unwrap_or(mail.patch.len())]
        }
        // Of one commit git writes all versions with one Message-ID.
        (self.brackets().1, self.numbered()) == (other.brackets().1, other.numbered())
            && ((self.id.is_some() && self.id == other.id) || diff(self) == diff(other))
    }

    /// As `git format-patch` would call it.
    pub(super) fn file_name(&self) -> String {
        let title = self.brackets().1;
        let mut slug = String::new();
        for c in title.trim().chars() {
            match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' => slug.push(c),
                _ if slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        let slug: String = slug.chars().take(52).collect();
        format!("{:04}-{}.patch", self.number(), slug.trim_matches(['-', '.']))
    }
}

/// The mails of a mailbox, or the only one.
pub(super) fn split(mailbox: &[u8], attempt: &str, keep: &Path) -> Result<Vec<Mail>, Failure> {
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
        // -k: the subject with its brackets; -m: the Message-ID, below the words.
        let output = git.run_on(attempt, &["mailinfo", "-k", "-m", "words", "patch"], Some(mail))?;
        if !output.status.success() {
            let seen = format!("mail {place} of {count}: {}", output.stderr.trim());
            return Err(Failure::new(Kind::Series, attempt, seen, next));
        }
        let subject = output.stdout.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("");
        let words = fs::read(folder.join("words")).map_err(files)?;
        let words = String::from_utf8_lossy(&words);
        let id = words.lines().last().and_then(|line| line.strip_prefix("Message-ID: ")).map(str::to_owned);
        let path = folder.join("patch");
        let patch = fs::read(&path).map_err(files)?;
        let is_patch = match touched(&git, &path)? {
            Touched::Files(_) => Ok(true),
            Touched::Nothing => Ok(false),
            Touched::Unclear(why) => Err(why),
        };
        mails.push(Mail { place, id, subject: subject.to_owned(), patch, is_patch });
    }
    Ok(mails)
}

/// The numbers up to a total that are not among these, the first of them: a subject may name any total.
fn missing_of(total: u32, known: BTreeSet<u32>) -> Vec<String> {
    const SHOWN: usize = 20;
    let mut missing: Vec<String> = Vec::new();
    for number in (1..=total).filter(|number| !known.contains(number)) {
        if missing.len() == SHOWN {
            missing.push("and more".to_owned());
            break;
        }
        missing.push(number.to_string());
    }
    missing
}

/// Of a thread, the patches of the newest version of its series, in order.
///
/// # Errors
/// What is wrong, where it holds more than one such series.
pub(super) fn choose(mails: Vec<Mail>, note: impl Fn(&str)) -> Result<Vec<Mail>, String> {
    let alone = mails.len() == 1;
    let (replies, others): (Vec<Mail>, Vec<Mail>) = mails.into_iter().partition(Mail::is_reply);
    for reply in replies.iter().filter(|reply| reply.is_patch()) {
        note(&format!("the patch in the reply \"{}\" is left out", reply.subject));
    }
    let (mut patches, mut copies): (Vec<Mail>, usize) = (Vec::new(), 0);
    for mail in others.into_iter().filter(|mail| mail.is_patch() && mail.number() > 0) {
        if patches.iter().any(|known| mail.is_copy_of(known)) {
            copies += 1;
        } else {
            patches.push(mail);
        }
    }
    if copies > 0 {
        note(&format!("patches that are in it more than once are taken once; {copies} are left out"));
    }
    let newest = patches.iter().map(|mail| mail.numbered().version).max().unwrap_or(1);
    let (mut chosen, older): (Vec<Mail>, Vec<Mail>) =
        patches.into_iter().partition(|mail| mail.numbered().version == newest);
    if !older.is_empty() {
        note(&format!("version {newest} is taken; {} patches of older ones are left out", older.len()));
    }
    // Patches that are numbered come in that order, and keep it where they are not.
    chosen.sort_by_key(Mail::number);
    let places: Vec<(u32, u32)> = chosen.iter().filter_map(|mail| mail.numbered().place).collect();
    for pair in chosen.windows(2) {
        let both_numbered = pair.iter().all(|mail| mail.numbered().place.is_some());
        if both_numbered && pair[0].number() == pair[1].number() {
            let [one, other] = [&pair[0], &pair[1]].map(|mail| &mail.subject);
            return Err(format!("two different patches have one number: \"{one}\" and \"{other}\""));
        }
    }
    let total = places.iter().map(|(_, total)| *total).max().unwrap_or(0);
    let missing = missing_of(total, places.iter().map(|(number, _)| *number).collect());
    // A series may come in files of one mail each, as git writes it.
    if !missing.is_empty() && !alone {
        // A verdict about the rest would be one about something that nobody sent.
        return Err(format!("of a series of {total} patches these are not in it: {}", missing.join(", ")));
    }
    Ok(chosen)
}
