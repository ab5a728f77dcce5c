//! Reads what people have a patch in: a diff, a mail, a mailbox with a whole thread, a quilt series.

mod mailbox;

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use crate::compression;
use crate::failure::{Failure, Kind};
use crate::kernel::git::Git;
use crate::kernel::hold::{Hold, Scratch};
use crate::kernel::recipe::{Patch, file_name};
use crate::kernel::series::{AS_GIT_DOES, touched};
use crate::watch::Watch;

use mailbox::Mail;

/// The patches in a file, in the order in which they are to be applied. They are kept below `keep`, by content: what is
/// applied later is what was read now.
///
/// # Errors
/// `Asked` where there is no such file; `Series` where there is no patch in it.
pub(crate) fn read(path: &Path, keep: &Path, watch: &dyn Watch) -> Result<Vec<Patch>, Failure> {
    let bytes = content(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(listed) = listed(&text, path).filter(|_| !mailbox::is_mail(&text)) else {
        return patches_of(path, &bytes, keep, watch);
    };
    let mut patches = Vec::new();
    for words in listed {
        let file = quilted(&words, path).map_err(|seen| {
            Failure::new(
                Kind::Series,
                format!("read patches from {}", path.display()),
                seen,
                "mend the series",
            )
        })?;
        patches.extend(patches_of(&file, &content(&file)?, keep, watch)?);
    }
    Ok(patches)
}

/// Keeps patches below `keep` as they are now, and from being removed there.
///
/// # Errors
/// `Files`, `Interrupted`.
pub(super) fn keep_all(patches: &[Patch], keep: &Path) -> Result<Vec<(Patch, Hold)>, Failure> {
    let keep_one = |patch: &Patch| {
        let bytes = fs::read(&patch.path).map_err(|e| Failure::file("read", &patch.path, &e))?;
        let (path, hold) = kept(keep, &patch.name(), &bytes)?;
        let found_in = patch.found_in.clone().unwrap_or_else(|| beside(&patch.path));
        Ok((Patch { path, found_in: Some(found_in) }, hold))
    };
    patches.iter().map(keep_one).collect()
}

/// What is in a file, whichever way it is compressed.
fn content(path: &Path) -> Result<Vec<u8>, Failure> {
    compression::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => {
            let attempt = format!("read patches from {}", path.display());
            let next = "name a file: a diff, a mail, a mailbox or the `series` of quilt";
            Failure::new(Kind::Asked, attempt, e.to_string(), next)
        }
        // As decoders say that something was cut or changed on its way here.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            let attempt = format!("read patches from {}", path.display());
            Failure::new(Kind::Series, attempt, e.to_string(), "get the file again: it is damaged")
        }
        _ => Failure::file("read", path, &e),
    })
}

/// The patches in a file that is a diff, a mail or a mailbox.
fn patches_of(path: &Path, bytes: &[u8], keep: &Path, watch: &dyn Watch) -> Result<Vec<Patch>, Failure> {
    let attempt = format!("read patches from {}", path.display());
    let failed = |seen: &str, next: &str| Failure::new(Kind::Series, &attempt, seen, next);
    let found = file_name(path);
    if !mailbox::is_mail(&String::from_utf8_lossy(bytes)) {
        let bytes = without_carriage_returns(bytes);
        check(&bytes, keep)?.map_err(|seen| failed(&seen, AS_GIT_DOES))?;
        let name = [".gz", ".xz", ".bz2", ".zst"].iter().find_map(|end| found.strip_suffix(end));
        let (path, found_in) = (kept(keep, name.unwrap_or(&found), &bytes)?.0, beside(path));
        return Ok(vec![Patch { path, found_in: Some(found_in) }]);
    }
    let mails = mailbox::split(bytes, &attempt, keep)?;
    let count = mails.len();
    let chosen = mailbox::choose(mails, |note| watch.note(&format!("{found}: {note}")))
        .map_err(|seen| failed(&seen, "leave in it one series, or name the patches"))?;
    if chosen.is_empty() {
        let seen = format!("none of its {count} mails is a patch; replies and cover letters are left out");
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
        let (path, _) = kept(keep, &mail.file_name(), &mail.patch)?;
        Ok(Patch { path, found_in: Some(found_in) })
    };
    chosen.into_iter().map(patch).collect()
}

/// The files of the patches that are taken of mails with these subjects and patches.
pub(super) fn chosen(mails: &[(&str, &[u8])]) -> Result<Vec<String>, String> {
    let mails = mails.iter().zip(1..).map(|((subject, patch), place)| Mail::of(place, subject, patch));
    let chosen = mailbox::choose(mails.collect(), |_| {})?;
    Ok(chosen.iter().map(Mail::file_name).collect())
}

/// The files that a quilt series lists; `None` for a text that is none.
pub(super) fn series_of(text: &str, path: &Path) -> Option<Result<Vec<PathBuf>, String>> {
    let listed = listed(text, path).filter(|_| !mailbox::is_mail(text))?;
    Some(listed.iter().map(|words| quilted(words, path)).collect())
}

/// Where a file is, after its name.
fn beside(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("in {}", path.parent().unwrap_or(&path).display())
}

/// A diff all lines of which end in CR LF went through something that made them so: git's own end in LF, whatever the
/// lines of the files end in.
fn without_carriage_returns(diff: &[u8]) -> Cow<'_, [u8]> {
    let lines = || diff.split_inclusive(|byte| *byte == b'\n');
    if !lines().all(|line| line.ends_with(b"\r\n")) {
        return diff.into();
    }
    lines().flat_map(|line| line[..line.len() - 2].iter().chain(b"\n")).copied().collect::<Vec<u8>>().into()
}

/// Writes a patch to a folder of its own below `keep`, for git to say whether it is one.
fn check(patch: &[u8], keep: &Path) -> Result<Result<(), String>, Failure> {
    fs::create_dir_all(keep).map_err(|e| Failure::file("create", keep, &e))?;
    let folder = Scratch::partial(keep)?;
    let path = folder.path().join("patch");
    fs::write(&path, patch).map_err(|e| Failure::file("write", &path, &e))?;
    Ok(touched(&Git::outside(folder.path(), None), &path)?.files().map(drop))
}

/// Writes a patch to a folder that is named after its content.
fn kept(keep: &Path, name: &str, patch: &[u8]) -> Result<(PathBuf, Hold), Failure> {
    let folder = keep.join(&blake3::hash(patch).to_hex()[..16]);
    let hold = Hold::on(&folder)?;
    let path = folder.join(name);
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(patch)?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(|e| Failure::file("write", &path, &e))?;
    Ok((path, hold))
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

/// The file that a line of a quilt series names.
fn quilted(words: &[&str], series: &Path) -> Result<PathBuf, String> {
    let [name, options @ ..] = words else { return Err("it has an empty line".to_owned()) };
    if let Some(other) = options.iter().find(|option| !["-p1", "-pab"].contains(option)) {
        return Err(format!("{name} is to be applied with {other}: only -p1 is understood"));
    }
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("it lists {name}, outside of its folder"));
    }
    let file = series.with_file_name(name);
    fs::metadata(&file).map_err(|e| format!("it lists {name}: {e}"))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
