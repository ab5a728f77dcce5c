//! What [`crate::outside`] shows of the kernels' parsers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::kernel::modules::{self, Module, Modules};
use crate::kernel::{Catalogue, Patch, Recipe, config, patches, ready, series, spec, unpack};
use crate::watch::{Nobody, Watch};

/// The release of a kernel image.
pub fn release(image: &[u8]) -> Option<String> {
    ready::release(image)
}

/// The initcalls of a kernel image, in order.
///
/// # Errors
/// What is wrong with it.
pub fn initcalls(image: &[u8]) -> Result<Vec<String>, String> {
    crate::kernel::initcalls::table(image)
}

/// What modules of these contents say of themselves: an order in which all of them can be loaded.
///
/// # Errors
/// What is wrong with one.
pub fn load_order(modules: &[(&str, &[u8])]) -> Result<Vec<String>, String> {
    let mut known = BTreeMap::new();
    for (name, data) in modules {
        modules::built_for(data)?;
        let (name, path) = ((*name).to_owned(), PathBuf::from(name));
        let depends = modules::depends(data)?;
        known.insert(name.clone(), Module { name, path, depends });
    }
    let names: Vec<&str> = modules.iter().map(|(name, _)| *name).collect();
    let order = Modules::of(known).closure(&names).map_err(|failure| failure.seen)?;
    Ok(order.into_iter().map(|module| module.name).collect())
}

/// What a configuration does not have of what was asked for, in words.
pub fn lost_config(asked: &str, granted: &str) -> Vec<String> {
    config::lost(asked, granted).iter().map(ToString::to_string).collect()
}

/// The files of the patches that are taken of mails with these subjects and patches.
///
/// # Errors
/// What is wrong with them.
pub fn mails(mails: &[(&str, &[u8])]) -> Result<Vec<String>, String> {
    patches::chosen(mails)
}

/// What a quilt series lists, where it is one.
///
/// # Errors
/// What is wrong with it.
pub fn quilt_series(text: &str, path: &Path) -> Option<Result<Vec<PathBuf>, String>> {
    patches::series_of(text, path)
}

/// What a patch changes, without the words around it.
pub fn change(patch: &[u8]) -> Vec<u8> {
    series::essence(patch)
}

/// What is said of a patch that git refuses with these words.
pub fn explained(said: &str, patch: &str, root: &Path) -> String {
    series::explained(said, patch, root)
}

pub(crate) fn named(text: &str, folder: &Path, catalogue: &Catalogue) -> Result<Recipe, Failure> {
    spec::find(text, folder, catalogue, &Nobody)
}

pub(crate) fn patches(file: &Path, keep: &Path) -> Result<Vec<Patch>, Failure> {
    patches::read(file, keep, &Nobody)
}

pub(crate) fn unpacked(archive: &Path, into: &Path, watch: &dyn Watch) -> Result<(), Failure> {
    unpack::unpack(archive, into, watch)
}
