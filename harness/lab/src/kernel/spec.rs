//! What people call a kernel by, to its recipe: a name of the catalogue, or a place where a source or a kernel is.

use std::path::{Path, PathBuf};

use crate::debian;
use crate::failure::{Failure, Kind};
use crate::kernel::catalogue::Catalogue;
use crate::kernel::recipe::{Brought, Origin, Ready, Recipe, Source, State, file_name};
use crate::kernel::tree::{self, Known};
use crate::watch::Watch;

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
    if let Some(recipe) = catalogue.named(text) {
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
    if let Some((name, source)) = source(text, folder, watch)? {
        refuse_unknown(&source)?;
        let about = "the source as it is".to_owned();
        return Ok(Recipe { name, about, behaves: None, origin: Origin::Build(catalogue.plain(source)?) });
    }
    let names: Vec<&str> = catalogue.names().collect();
    let alike = nearest(text, names.iter().copied());
    let seen = if text.contains('/') {
        "there is nothing at that path".to_owned()
    } else {
        format!("no kernel of that name is in {}", catalogue.path().display())
    };
    let meant =
        if alike.is_empty() { String::new() } else { format!("did you mean {}? ", alike.join(" or ")) };
    let next = format!("{meant}use one of: {}; or a place: {FORMS}", names.join(", "));
    Err(Failure::new(Kind::Asked, format!("find the kernel \"{text}\""), seen, next))
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
        let Some((stem, _)) = name.split_once(".tar") else {
            let attempt = format!("take {text} as a kernel source");
            return Err(Failure::new(Kind::Asked, attempt, "it is a file, but no tar archive", FORMS));
        };
        let source = Source::Archive { path: canonical(&path), brought: Brought::ByHand };
        return Ok(Some((plain_name(stem), source)));
    }
    // A revision may have an @ in it as well, and so may a path.
    for (at, _) in text.match_indices('@') {
        let (place, revision) = (folder.join(home(&text[..at])), &text[at + 1..]);
        if !place.is_dir() || revision.is_empty() {
            continue;
        }
        let Some(known) = Known::of(&place)? else {
            let attempt = format!("find the commit {revision} in {}", place.display());
            let next = "name the top of a git tree, or the folder without @ to take it as it stands";
            return Err(Failure::new(Kind::Asked, attempt, "it is no git tree of its own", next));
        };
        let commit = known.commit(revision)?;
        if known.has_uncommitted_changes()? {
            watch.note(&format!(
                "{text}: uncommitted changes in {} are left out; without @{revision} they are taken",
                place.display()
            ));
        }
        let name = plain_name(&format!("{}@{}", called(&place), known.short(&commit)?));
        return Ok(Some((name, Source::Tree { folder: canonical(&place), state: State::Commit(commit) })));
    }
    Ok(None)
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
    for (at, _) in text.match_indices(':') {
        let (image, modules) = (folder.join(home(&text[..at])), folder.join(home(&text[at + 1..])));
        if image.is_file() && modules.is_dir() {
            let name = file_name(&image);
            let name = name.strip_prefix("vmlinuz-").unwrap_or(&name);
            let ready = Ready::Files { image: canonical(&image), modules: canonical(&modules) };
            return Ok(Some((plain_name(name), ready)));
        }
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
    let known = debian::packages(SOURCES).unwrap_or_default();
    if known.is_empty() || known.contains(package) { Ok(()) } else { Err(unknown_package(package, SOURCES)) }
}

/// How the names of Debian's packages of kernel source begin.
pub(super) const SOURCES: &str = "linux-source-";
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
mod tests {
    use super::*;
    use crate::watch::Nobody;
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
        for file in
            ["linux-6.9.tar.xz", "linux-image-6.1.0-9-amd64_6.1.1-1_amd64.deb", "vmlinuz-6.1.0", "mods/a.ko"]
        {
            fixture.write(file);
        }
        let named = |text: &str| fixture.find(text).unwrap().name;
        assert_eq!(named("mainline"), "mainline");
        assert_eq!(named("mainline+debug"), "mainline+debug");
        assert_eq!(named(&fixture.path("linux")), "linux");
        assert_eq!(named(&format!("{}+debug", fixture.path("linux"))), "linux+debug");
        assert_eq!(named(&fixture.path("linux-6.9.tar.xz")), "linux-6.9");
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
        assert!(refused(&format!("{}@v6.1", fixture.path("linux"))).contains("no git tree of its own"));
        assert!(refused("mainline+nope").contains("mainline"));
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
    }
}
