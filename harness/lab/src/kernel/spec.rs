//! What people call a kernel by, to its recipe: a name of the catalogue, or a place where a source or a kernel is.

use std::path::{Path, PathBuf};

use crate::debian::{self, SOURCES};
use crate::failure::{Failure, Kind};
use crate::kernel::catalogue::Catalogue;
use crate::kernel::ready;
use crate::kernel::recipe::{Brought, Origin, Ready, Recipe, Source, State, file_name};
use crate::kernel::tree::{self, Known};
use crate::watch::{Nobody, Watch};

/// Where a person finds what else can be named.
const FORMS: &str = "`cargo xtask bench --help` shows what can be named";

/// The recipe of a kernel; relative paths start from a folder.
///
/// # Errors
/// `Asked` where there is no such thing, with what is alike.
pub(super) fn find(
    text: &str,
    folder: &Path,
    catalogue: &Catalogue,
    watch: &dyn Watch,
) -> Result<Recipe, Failure> {
    if text.is_empty() {
        let next = "`cargo xtask bench --help` shows what can be named";
        return Err(Failure::new(Kind::Asked, "find a kernel", "its name is empty", next));
    }
    // A shell leaves it alone behind a comma.
    if let (Some(below), Some(home)) = (text.strip_prefix("~/"), std::env::home_dir()) {
        return find(&home.join(below).to_string_lossy(), folder, catalogue, watch);
    }
    if let Some(recipe) = catalogue.named(text) {
        if tree::is_source(&folder.join(text)) {
            let file = catalogue.path();
            watch.note(&format!("{text} is taken as named in {}; ./{text} is the folder", file.display()));
        }
        return recipe;
    }
    // `+` is also part of names of packages.
    if let Some((kernel, flavour)) = text.rsplit_once('+')
        && catalogue.flavours().any(|known| known == flavour)
    {
        return catalogue.in_flavour(&find(kernel, folder, catalogue, watch)?, flavour);
    }
    if let Some((name, ready)) = ready(text, folder)? {
        let about = "as it was built by somebody else".to_owned();
        return Ok(Recipe { name, about, behaves: None, origin: Origin::Ready(ready) });
    }
    let named = source(text, folder, watch);
    // Not a commit of that name, but one in a flavour that there is not.
    if let (Err(_), Some((kernel, flavour))) = (&named, text.rsplit_once('+'))
        && let Ok(recipe) = find(kernel, folder, catalogue, &Nobody)
    {
        return catalogue.in_flavour(&recipe, flavour);
    }
    if let Some((name, source)) = named? {
        refuse_unknown(&source)?;
        let about = match &source {
            Source::Tree { state: State::Commit(commit), .. } => {
                format!("commit {}", commit.get(..12).unwrap_or(commit))
            }
            _ => "the source as it is".to_owned(),
        };
        return Ok(Recipe { name, about, behaves: None, origin: Origin::Build(catalogue.plain(source)?) });
    }
    if let Some((kernel, flavour)) = text.rsplit_once('+')
        && let Ok(recipe) = find(kernel, folder, catalogue, &Nobody)
    {
        return catalogue.in_flavour(&recipe, flavour);
    }
    Err(unknown(text, folder, catalogue))
}

/// An error for a text that names nothing, with what is alike.
fn unknown(text: &str, folder: &Path, catalogue: &Catalogue) -> Failure {
    let names: Vec<&str> = catalogue.names().collect();
    let (seen, alike) = match text.rsplit_once('/') {
        Some((above, name)) => {
            let entries =
                std::fs::read_dir(folder.join(home(above)).join("")).into_iter().flatten().flatten();
            let beside: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            // Before a revision, or the folder of modules.
            let name = name.split(['@', ':']).next().unwrap_or(name);
            let alike = nearest(name, beside.iter().map(String::as_str));
            let alike: Vec<String> = alike.into_iter().map(|name| format!("{above}/{name}")).collect();
            ("there is nothing at that path".to_owned(), alike)
        }
        None => {
            let packages = if text.starts_with("linux-") { packages_of_kernels() } else { Vec::new() };
            let package = text.split('=').next().unwrap_or(text);
            let known = names.iter().copied().chain(packages.iter().map(String::as_str));
            let alike = nearest(package, known).into_iter().map(str::to_owned).collect();
            (format!("no kernel of that name is in {}", catalogue.path().display()), alike)
        }
    };
    let meant =
        if alike.is_empty() { String::new() } else { format!("did you mean {}? ", alike.join(" or ")) };
    let next = format!("{meant}use one of: {}; or a place: {FORMS}", names.join(", "));
    Failure::new(Kind::Asked, format!("find the kernel \"{text}\""), seen, next)
}

/// The packages that apt knows with a kernel or its source; none without apt.
fn packages_of_kernels() -> Vec<String> {
    let packages = [SOURCES, IMAGES].map(|beginning| debian::packages(beginning).unwrap_or_default());
    packages.into_iter().flatten().filter(|name| !name.ends_with("-dbg")).collect()
}

/// A source, and what to call a kernel that is made of it; `None` for a text that names none.
pub(super) fn source(
    text: &str,
    folder: &Path,
    watch: &dyn Watch,
) -> Result<Option<(String, Source)>, Failure> {
    let path = folder.join(home(text));
    if !text.contains('/') && text.starts_with(SOURCES) && !path.exists() {
        return Ok(Some(packaged_source(text)));
    }
    if path.is_dir() {
        if !tree::is_source(&path) {
            // A bare repository needs a revision; anything else is none.
            let bare = Known::of(&path)?.is_some() && path.join("HEAD").is_file();
            let attempt = format!("take {text} as a kernel source");
            let (seen, next) = if bare {
                (
                    "it is a bare repository: it has no files of its own",
                    format!("name a commit: {text}@REVISION"),
                )
            } else {
                (
                    "it is a folder without drivers/base/dd.c",
                    format!("name the top of a source tree; {FORMS}"),
                )
            };
            return Err(Failure::new(Kind::Asked, attempt, seen, next));
        }
        let name = called(&path);
        return Ok(Some((name, Source::Tree { folder: canonical(&path), state: State::AsItStands })));
    }
    if path.is_file() {
        let name = file_name(&path);
        let Some(stem) = stem_of_archive(&name) else {
            let attempt = format!("take {text} as a kernel source");
            return Err(Failure::new(Kind::Asked, attempt, "it is a file, but no tar archive", FORMS));
        };
        let source = Source::Archive { path: canonical(&path), brought: Brought::ByHand };
        return Ok(Some((plain_name(stem), source)));
    }
    // A revision may have an @ in it as well, and so may a path: the first place at which all is there counts.
    let mut first = None;
    for (at, _) in text.match_indices('@') {
        let (place, revision) = (folder.join(home(&text[..at])), &text[at + 1..]);
        if !place.is_dir() || revision.is_empty() {
            continue;
        }
        let (known, commit) = match commit_in(&place, revision) {
            Ok(found) => found,
            Err(failure) => {
                first = first.or(Some(failure));
                continue;
            }
        };
        if known.has_uncommitted_changes()? {
            watch.note(&format!(
                "{text}: uncommitted changes in {} are left out; without @{revision} they are taken",
                place.display()
            ));
        }
        // A branch moves, and is the same kernel to whoever looks at it every night.
        let short = if known.is_branch(revision)? { revision.to_owned() } else { known.short(&commit)? };
        let name = plain_name(&format!("{}@{short}", called(&place)));
        return Ok(Some((name, Source::Tree { folder: canonical(&place), state: State::Commit(commit) })));
    }
    first.map_or(Ok(None), Err)
}

/// What git knows of a folder, and the full name of a commit there.
fn commit_in(place: &Path, revision: &str) -> Result<(Known, String), Failure> {
    let known = Known::of(place)?.ok_or_else(|| {
        let attempt = format!("find the commit {revision} in {}", place.display());
        let next = "name the top of a git tree, or the folder without @ to take it as it stands";
        Failure::new(Kind::Asked, attempt, "it is no git tree of its own", next)
    })?;
    let commit = known.commit(revision)?;
    Ok((known, commit))
}

/// The name of a tar archive without what says that it is one; `None` for another file.
fn stem_of_archive(name: &str) -> Option<&str> {
    const SHORT: [&str; 5] = [".tgz", ".txz", ".tbz", ".tbz2", ".tzst"];
    let stem = name.split_once(".tar").map(|(stem, _)| stem);
    stem.or_else(|| SHORT.iter().find_map(|end| name.strip_suffix(end)))
}

/// `linux-source-6.1`, which is to be installed, or `linux-source-6.1=6.1.187-1`, which is not.
fn packaged_source(text: &str) -> (String, Source) {
    let (package, version) = match text.split_once('=') {
        Some((package, version)) => (package, Some(version)),
        None => (text, None),
    };
    // Its content: see `dpkg -L linux-source-6.1`.
    let archive = format!("{package}.tar.xz");
    let Some(version) = version else {
        let path = Path::new("/usr/src").join(archive);
        let source = Source::Archive { path, brought: Brought::Package(package.to_owned()) };
        return (plain_name(package), source);
    };
    let path = PathBuf::from(format!("{package}_{version}")).join(archive);
    let brought = Brought::Version { package: package.to_owned(), version: version.to_owned() };
    (plain_name(&format!("{package}={version}")), Source::Archive { path, brought })
}

/// A ready kernel, and what to call it; `None` for a text that names none.
fn ready(text: &str, folder: &Path) -> Result<Option<(String, Ready)>, Failure> {
    let path = folder.join(home(text));
    if !text.contains('/') && text.starts_with(IMAGES) && !path.exists() {
        let (package, version) = match text.split_once('=') {
            Some((package, version)) => (package, Some(version.to_owned())),
            None => (text, None),
        };
        let name = plain_name(text);
        return Ok(Some((name, Ready::Package { package: package.to_owned(), version })));
    }
    if path.extension().is_some_and(|extension| extension == "deb") && path.is_file() {
        // Name, version and architecture, between underscores.
        let name = file_name(&path);
        let package = name.split('_').next().unwrap_or(&name);
        return Ok(Some((plain_name(package), Ready::Deb(canonical(&path)))));
    }
    let mut without_modules = None;
    for (at, _) in text.match_indices(':') {
        let (image, modules) = (folder.join(home(&text[..at])), folder.join(home(&text[at + 1..])));
        if image.is_file() && modules.is_dir() {
            if !ready::has_modules(&modules)? {
                let seen = format!("{} has neither a module nor modules.builtin", modules.display());
                let next = "name the folder of its modules: /lib/modules/RELEASE";
                return Err(Failure::new(Kind::Asked, format!("take {text} as a kernel"), seen, next));
            }
            let name = file_name(&image);
            let name = name.strip_prefix("vmlinuz-").unwrap_or(&name);
            let ready = Ready::Files { image: canonical(&image), modules: canonical(&modules) };
            return Ok(Some((plain_name(name), ready)));
        }
        if image.is_file() {
            without_modules = without_modules.or(Some(modules));
        }
    }
    if let Some(modules) = without_modules.filter(|_| !path.exists()) {
        let seen = format!("there is no folder {}", modules.display());
        let next = "name that of its modules: /lib/modules/RELEASE";
        return Err(Failure::new(Kind::Asked, format!("take {text} as a kernel"), seen, next));
    }
    if path.is_file() && file_name(&path).starts_with("vmlinu") {
        let next = format!("name them as well: {text}:/lib/modules/RELEASE");
        let attempt = format!("take {text} as a kernel");
        return Err(Failure::new(Kind::Asked, attempt, "it is an image without its modules", next));
    }
    Ok(None)
}

/// A package that is not installed, and that apt does not know either. Before its first update apt knows none.
fn refuse_unknown(source: &Source) -> Result<(), Failure> {
    let Source::Archive { path, brought: Brought::Package(package) } = source else { return Ok(()) };
    if path.is_file() {
        return Ok(());
    }
    match debian::sources() {
        Some(known) if !known.contains(package) => Err(unknown_package(package, SOURCES)),
        Some(_) | None => Ok(()),
    }
}

/// How the names of Debian's packages of kernels begin.
pub(super) const IMAGES: &str = "linux-image-";

/// An error for a package that apt does not know.
pub(super) fn unknown_package(package: &str, beginning: &str) -> Failure {
    let known = debian::packages(beginning).unwrap_or_default();
    let usable = known.iter().map(String::as_str).filter(|name| !name.ends_with("-dbg"));
    let alike = nearest(package, usable);
    let next = if alike.is_empty() {
        "run `apt-get update`, or name a file".to_owned()
    } else {
        format!("use one of: {}", alike.join(", "))
    };
    Failure::new(Kind::Asked, format!("find the package {package}"), "apt knows none of that name", next)
}

/// Up to five names that are like another one, the likest first.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    /// Less is chance.
    const ALIKE: f64 = 0.6;
    let mut found: Vec<(f64, &str)> = known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    found.into_iter().take(5).map(|(_, known)| known).collect()
}

/// What a folder is called: `.` is the one that we are in.
fn called(path: &Path) -> String {
    plain_name(file_name(&canonical(path)).trim_end_matches(".git"))
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// With the home folder for `~`, which no shell replaces after a comma.
fn home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

/// A text that can name a file and be an item of a list.
fn plain_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.@=~".contains(c) { c } else { '-' };
    let name: String = text.chars().map(plain).collect();
    name.trim_start_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests;
