//! What a kernel is made of: the address that follows from it, and the record in its folder by which damage is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::kernel::recipe::{Build, file_name};
use crate::kernel::{series, source};

/// Part of every id: to be raised when the way kernels are made changes.
const RECIPE_VERSION: &str = "6";

/// What a finished kernel is made of, in its folder.
pub(super) const RECORD: &str = "kernel.json";

/// What a kernel is made of, and what came of it: `kernel.json` in its folder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Hash of all that follows up to `compiler`; of patches, of what they change.
    pub id: String,
    /// Its source, or what it came in where somebody else has built it.
    pub source: Piece,
    /// The patches, in order.
    pub patches: Vec<Piece>,
    /// The configuration fragments, in order.
    pub config: Vec<Piece>,
    /// The sources of the modules that were built with it.
    pub modules: Vec<Piece>,
    /// The first line of the compiler's `--version`; `None` where somebody else has built it.
    pub compiler: Option<String>,
    /// What `uname -r` says.
    pub release: String,
    /// BLAKE3 of each file of the finished kernel, by its path in the folder.
    pub files: BTreeMap<String, String>,
    /// BLAKE3 of the record itself without this. Kernels that were built before there was one have none.
    #[serde(default)]
    pub seal: Option<String>,
}

/// Something that went into a kernel: mostly a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Piece {
    /// Its name, without folder. A tree has that of its folder, and its commit after an `@`.
    pub name: String,
    /// BLAKE3 of its content, in hexadecimal. For a git tree, of the name of its tree object; for an image with its
    /// modules, of the hashes of all.
    pub blake3: String,
}

impl Piece {
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        Ok(Self { name: file_name(path), blake3: source::digest(path)? })
    }
}

impl Identity {
    /// Writes `kernel.json` to the folder of a kernel, with a checksum for each file that is in it: they tell when
    /// the disk has lost some of it.
    pub(super) fn write(&mut self, folder: &Path) -> Result<(), Failure> {
        digests(folder, "", &mut self.files)?;
        self.seal = Some(self.sealed());
        let record = folder.join(RECORD);
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        fs::write(&record, json).map_err(|e| Failure::file("write", &record, &e))
    }

    /// What the seal has to be.
    fn sealed(&self) -> String {
        let bare = Self { seal: None, ..self.clone() };
        blake3::hash(serde_json::to_string(&bare).unwrap_or_default().as_bytes()).to_hex().to_string()
    }

    /// Whether this is what was written, and the folder has the files that it names, as they were written.
    fn holds(&self, folder: &Path) -> bool {
        let mut there = BTreeMap::new();
        let sealed = self.seal.as_ref().is_none_or(|seal| *seal == self.sealed());
        sealed
            && digests(folder, "", &mut there).is_ok()
            && there.remove(RECORD).is_some()
            && there == self.files
    }
}

/// BLAKE3 of each file below a folder, by its path in it, which begins so.
fn digests(folder: &Path, before: &str, files: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::file("list", folder, &e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = format!("{before}{}", file_name(&path));
        if path.is_dir() {
            digests(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, source::digest(&path)?);
        }
    }
    Ok(())
}

/// The identity in `kernel.json`, if that and all that is beside it is as it was written.
pub(super) fn intact(folder: &Path) -> Option<Identity> {
    let identity: Identity = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
    identity.holds(folder).then_some(identity)
}

/// What the kernel would be; `release` and `files` are not known yet and not part of the id.
pub(super) fn identify(build: &Build, source: Piece, compiler: String) -> Result<Identity, Failure> {
    let patches = build.series.iter().map(|patch| Piece::of(&patch.path)).collect::<Result<Vec<_>, _>>()?;
    let config = build.config.iter().map(|path| Piece::of(path)).collect::<Result<Vec<_>, _>>()?;
    let modules = build.modules.iter().map(|path| Piece::of(path)).collect::<Result<Vec<_>, _>>()?;
    // By content alone: the same change under another name, or in another mail, makes the same kernel.
    let changes = build.series.iter().map(|patch| change(&patch.path)).collect::<Result<Vec<_>, _>>()?;
    let digests = |pieces: &[Piece]| pieces.iter().map(|piece| piece.blake3.clone()).collect::<Vec<_>>();
    // The file names of modules are their names.
    let parts =
        (RECIPE_VERSION, &source.blake3, changes, digests(&config), &modules, build.bzimage, &compiler);
    let id = id_of(&serde_json::to_string(&parts).unwrap_or_default());
    let (compiler, release, files) = (Some(compiler), String::new(), BTreeMap::new());
    Ok(Identity { id, source, patches, config, modules, compiler, release, files, seal: None })
}

/// BLAKE3 of what a patch changes, in hexadecimal.
fn change(patch: &Path) -> Result<String, Failure> {
    let text = fs::read(patch).map_err(|e| Failure::file("read", patch, &e))?;
    Ok(blake3::hash(&series::essence(&text)).to_hex().to_string())
}

/// What a kernel is that somebody else has built.
pub(super) fn identify_ready(source: Piece) -> Identity {
    Identity {
        id: id_of(&format!("{RECIPE_VERSION} ready {}", source.blake3)),
        source,
        patches: Vec::new(),
        config: Vec::new(),
        modules: Vec::new(),
        compiler: None,
        release: String::new(),
        files: BTreeMap::new(),
        seal: None,
    }
}

fn id_of(parts: &str) -> String {
    blake3::hash(parts.as_bytes()).to_hex()[..16].to_owned()
}
