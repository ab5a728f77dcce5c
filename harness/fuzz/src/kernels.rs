//! What kernels are made of and named by: images, modules, archives, patches, configurations, names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lab::kernel::Catalogue;
use lab::outside;

use crate::{parts, text};

/// A bzImage.
pub(crate) fn bzimage(input: &[u8]) {
    let release = outside::release(input);
    assert!(release.is_none_or(|release| !release.is_empty() && !release.contains(' ')));
}

/// A vmlinux.
pub(crate) fn initcalls(input: &[u8]) {
    let _ = outside::initcalls(input);
}

/// Modules: of each its name on a line, and its bytes.
pub(crate) fn modules(input: &[u8]) {
    let parts = parts(input);
    let names: Vec<_> =
        parts.iter().map(|part| text(part.split(|byte| *byte == b'\n').next().unwrap_or(&[]))).collect();
    let content = |part: &&'_ [u8]| part.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let modules: Vec<(&str, &[u8])> =
        names.iter().zip(&parts).map(|(name, part)| (name.as_ref(), &part[content(part)..])).collect();
    let Ok(order) = outside::load_order(&modules) else { return };
    let mut once = order.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), order.len(), "a module is loaded twice");
}

/// A file that is compressed in one of four ways.
pub(crate) fn compressed(input: &[u8]) {
    let _ = outside::decompressed(input);
}

/// An archive of kernel source.
pub(crate) fn archive(input: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let inner = folder.path().join("inner");
    if fs::create_dir(&inner).is_err() {
        return;
    }
    let unpacked = outside::unpacked(input, &inner);
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    };
    assert_eq!(names(folder.path()), ["inner"], "something was written outside");
    let expected: &[&str] = if unpacked.is_ok() { &["archive", "tree"] } else { &["archive"] };
    assert_eq!(names(&inner), expected, "something was left beside the tree, or instead of it");
}

/// What fragments ask for, and what was granted.
pub(crate) fn config(input: &[u8]) {
    let parts = parts(input);
    let (asked, granted) = (text(parts[0]), text(parts.get(1).unwrap_or(&parts[0])));
    outside::lost_config(&asked, &granted);
    assert!(outside::lost_config("", &granted).is_empty(), "something is lost that nobody asked for");
}

/// `kernels.toml`.
pub(crate) fn catalogue(input: &[u8]) {
    let folder = configs();
    let Ok(catalogue) = outside::catalogue(&text(input), &folder) else { return };
    for name in catalogue.names().take(20) {
        let Ok(recipe) = catalogue.recipe(name) else { continue };
        for flavour in catalogue.flavours().take(20) {
            let _ = catalogue.in_flavour(&recipe, flavour);
        }
    }
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-configs")
}

/// Mails: of each its subject on a line, and its patch.
pub(crate) fn mails(input: &[u8]) {
    let texts: Vec<_> = parts(input).into_iter().map(text).collect();
    let mails: Vec<(&str, &[u8])> = texts
        .iter()
        .map(|mail| mail.split_once('\n').unwrap_or((mail, "")))
        .map(|(subject, patch)| (subject, patch.as_bytes()))
        .collect();
    let Ok(files) = outside::mails(&mails) else { return };
    assert!(files.len() <= mails.len());
    assert!(files.iter().all(|file| !file.contains('/') && file.ends_with(".patch")), "{files:?}");
}

/// What git says of a patch that it refuses, the patch, and the file that it is for.
pub(crate) fn refused(input: &[u8]) {
    let parts = parts(input);
    let (said, patch) = (text(parts[0]), text(parts.get(1).unwrap_or(&parts[0])));
    let place = place();
    if let Some(file) = parts.get(2) {
        let _ = fs::write(place.join("f.c"), file);
    }
    outside::explained(&said, &patch, place);
}

/// The `series` of quilt.
pub(crate) fn series(input: &[u8]) {
    let place = place();
    for file in ["series", "anything"] {
        let Some(listed) = outside::quilt_series(&text(input), &place.join(file)) else { continue };
        for path in listed.into_iter().flatten() {
            assert!(path.starts_with(place) && !path.display().to_string().contains(".."), "{path:?}");
        }
    }
}

/// A file with patches, whichever way; git reads it.
pub(crate) fn patches(input: &[u8]) {
    let change = outside::change(input);
    assert_eq!(outside::change(&change), change, "not all of it is a change");
    let Ok(folder) = tempfile::tempdir() else { return };
    let file = folder.path().join("file");
    if fs::write(&file, input).is_err() {
        return;
    }
    let Ok(patches) = outside::patches(&file, &folder.path().join("keep")) else { return };
    assert!(patches.iter().all(|patch| patch.path.is_file()));
}

/// What a person calls a kernel by.
pub(crate) fn spec(input: &[u8]) {
    static CATALOGUE: OnceLock<Option<Catalogue>> = OnceLock::new();
    let name = text(input);
    // apt takes most of a second to say what it knows. Where there is none, all are fed.
    let has_apt = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("apt-cache").exists());
    if has_apt && name.split('+').any(|part| part.starts_with("linux-")) {
        return;
    }
    let Some(catalogue) = CATALOGUE.get_or_init(|| Catalogue::read(&configs()).ok()) else { return };
    match outside::named(&name, place(), catalogue) {
        Ok(recipe) => assert!(!recipe.name.contains([',', '/', '\n']), "{}", recipe.name),
        Err(failure) => assert!(!failure.next.is_empty()),
    }
}

/// A folder with what can be named: a source tree, an archive, a kernel with its modules, patches. It is made once, and
/// is no temporary one: nobody is there to remove it when the process ends.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let folder = workspace.unwrap_or(Path::new("/nowhere")).join("target/fuzz-place");
        for file in [
            "linux/drivers/base/dd.c",
            "linux/Makefile",
            "linux/Kconfig",
            "modules/a.ko",
            "vmlinuz-6.1",
            "a.tar.xz",
            "a.deb",
            "a.patch",
            "b.patch",
        ] {
            let path = folder.join(file);
            let made =
                fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(path, ""));
            if made.is_err() {
                return PathBuf::from("/nowhere");
            }
        }
        folder
    };
    PLACE.get_or_init(make)
}
