//! Keeps what patches are going to change beside the tree, and puts it back.
//!
//! No link is ever followed: a patch can make one, and then what lies behind it is not the tree's.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

/// What a name of the tree was before; the mark stands at the end of the name of what is kept of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Was {
    /// There was nothing, or a folder, of which the files count.
    Absent,
    /// A file: what is kept is a copy.
    File,
    /// A link: what is kept is a file with the name that it leads to.
    Link,
}

const MARKS: [(Was, &str); 3] =
    [(Was::Absent, "\u{7f}absent"), (Was::Link, "\u{7f}link"), (Was::File, "\u{7f}file")];

/// Copies these files of a tree to a folder.
pub(super) fn copy(root: &Path, files: &BTreeSet<PathBuf>, into: &Path) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for file in files {
        let from = root.join(file);
        let was = match there(root, file)? {
            Some(meta) if meta.is_symlink() => Was::Link,
            Some(meta) if meta.is_file() => Was::File,
            Some(meta) if !meta.is_dir() => {
                let seen = format!("{} is neither a file nor a link", from.display());
                return Err(io::Error::other(seen));
            }
            _ => Was::Absent,
        };
        let mark = MARKS.iter().find(|(of, _)| *of == was).map_or("", |(_, mark)| mark);
        let mut to = into.join(file).into_os_string();
        to.push(mark);
        let to = PathBuf::from(to);
        fs::create_dir_all(to.parent().unwrap_or(into))?;
        match was {
            Was::Absent => fs::write(to, "")?,
            Was::File => fs::copy(from, to).map(drop)?,
            Was::Link => fs::write(to, fs::read_link(from)?.as_os_str().as_bytes())?,
        }
    }
    Ok(())
}

/// Makes of a tree what it was when these copies were made. It can be done again after a kill.
pub(super) fn put_back(root: &Path, copies: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    collect(copies, copies, &mut kept)?;
    // What patches have made goes first: it may stand in the way of the rest.
    for (name, _, _) in kept.iter().filter(|(_, was, _)| *was == Was::Absent) {
        if there(root, name)?.is_some_and(|meta| !meta.is_dir()) {
            fs::remove_file(root.join(name))?;
        }
        remove_emptied(root, name)?;
    }
    for (name, was, copy) in kept.iter().filter(|(_, was, _)| *was != Was::Absent) {
        let (to, now) = (root.join(name), there(root, name)?);
        // What is as it was keeps its time stamp, by which make goes.
        let same = match (was, &now) {
            (Was::Link, Some(meta)) if meta.is_symlink() => {
                fs::read_link(&to)?.as_os_str().as_bytes() == fs::read(copy)?
            }
            (Was::File, Some(meta)) if meta.is_file() => {
                meta.permissions() == fs::metadata(copy)?.permissions() && fs::read(&to)? == fs::read(copy)?
            }
            _ => false,
        };
        if same {
            continue;
        }
        match now {
            Some(meta) if meta.is_dir() => fs::remove_dir(&to)?,
            Some(_) => fs::remove_file(&to)?,
            // A folder that a patch emptied is gone, too.
            None => fs::create_dir_all(to.parent().unwrap_or(root))?,
        }
        match was {
            Was::Link => symlink(OsStr::from_bytes(&fs::read(copy)?), to)?,
            Was::File | Was::Absent => fs::copy(copy, to).map(drop)?,
        }
    }
    Ok(())
}

/// Where one of these files is a link out of the tree now: that link, and where it leads.
pub(super) fn link_out_of(root: &Path, files: &BTreeSet<PathBuf>) -> io::Result<Option<(PathBuf, PathBuf)>> {
    for file in files {
        if !there(root, file)?.is_some_and(|meta| meta.is_symlink()) {
            continue;
        }
        let target = fs::read_link(root.join(file))?;
        let mut depth = file.components().count() - 1;
        let mut inside = true;
        for part in target.components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir if depth > 0 => depth -= 1,
                _ => inside = false,
            }
        }
        // By way of another link a name may lead elsewhere than it looks.
        let real = root.join(file).canonicalize();
        let real_inside = match real {
            Ok(real) => real.starts_with(root.canonicalize()?),
            Err(_) => true,
        };
        if !(inside && real_inside) {
            return Ok(Some((file.clone(), target)));
        }
    }
    Ok(None)
}

/// What there is of this name in the tree; nothing, if the way to it leads through a link.
fn there(root: &Path, name: &Path) -> io::Result<Option<Metadata>> {
    let mut above = name.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    if above.any(|folder| root.join(folder).is_symlink()) {
        return Ok(None);
    }
    match fs::symlink_metadata(root.join(name)) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes the folders above a file that has gone, up to one with something in it.
fn remove_emptied(root: &Path, name: &Path) -> io::Result<()> {
    for folder in name.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        match there(root, folder)? {
            None => {}
            Some(meta) if meta.is_dir() && fs::read_dir(root.join(folder))?.next().is_none() => {
                fs::remove_dir(root.join(folder))?;
            }
            Some(_) => break,
        }
    }
    Ok(())
}

/// What is kept below a folder: its name in the tree, what that was, and the file that tells.
fn collect(copies: &Path, folder: &Path, kept: &mut Vec<(PathBuf, Was, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(copies, &path, kept)?;
            continue;
        }
        let relative = path.strip_prefix(copies).map_err(io::Error::other)?;
        // All names are UTF-8: others are refused before they come here.
        let name = relative.to_string_lossy();
        let marked = MARKS.iter().find_map(|(was, mark)| Some((name.strip_suffix(mark)?, *was)));
        // Until there were marks for all, that of a file was none.
        let (name, was) = marked.unwrap_or((&name, Was::File));
        kept.push((name.into(), was, path.clone()));
    }
    Ok(())
}
