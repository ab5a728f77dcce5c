//! What the folder of a run keeps of its kernels: written when they are lined up, read back for a report.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::kernel::{Identity, Kernel};

/// In the folder of a run: a folder for each kernel, which has these.
const KERNELS: &str = "kernels";
const IDENTITY: &str = "kernel.json";
const CONFIG: &str = "config";
const PATCHES: &str = "patches";

/// A kernel, as the folder of a run keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name, with its flavour.
    pub name: String,
    /// What it is made of.
    pub identity: Identity,
    /// Its configuration.
    pub config: String,
    /// Its patches, in order: name and content, which need not be text.
    pub patches: Vec<(String, Vec<u8>)>,
}

impl Kept {
    /// The kernels of a run, by name; none where it booted none.
    ///
    /// # Errors
    /// `Files` where one cannot be read.
    pub fn of_run(run: &Path) -> Result<Vec<Self>, Failure> {
        let folder = run.join(KERNELS);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        entries(&folder)?.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Result<Self, Failure> {
        let identity = serde_json::from_str(&text(&folder.join(IDENTITY))?).map_err(|e| {
            let attempt = format!("read {}", folder.join(IDENTITY).display());
            Failure::new(Kind::Files, attempt, e.to_string(), "the file is damaged: carry out the run again")
        })?;
        let patches = folder.join(PATCHES);
        let patches = if patches.exists() { entries(&patches)? } else { Vec::new() };
        let patches =
            patches.iter().map(|path| Ok((name(path), bytes(path)?))).collect::<Result<_, Failure>>();
        Ok(Self { name: name(folder), identity, config: text(&folder.join(CONFIG))?, patches: patches? })
    }
}

/// Makes the folder of a kernel in that of a run, with what it is made of.
pub(super) fn keep(run: &Path, kernel: &Kernel) -> Result<PathBuf, Failure> {
    let folder = run.join(KERNELS).join(&kernel.name);
    fs::create_dir_all(&folder).map_err(|e| Failure::file("create", &folder, &e))?;
    for name in [IDENTITY, CONFIG] {
        copy(&kernel.folder.join(name), &folder.join(name))?;
    }
    // The files may change, or go, before somebody reads what was booted.
    let patches = folder.join(PATCHES);
    if !kernel.patches.is_empty() {
        fs::create_dir_all(&patches).map_err(|e| Failure::file("create", &patches, &e))?;
    }
    for (number, patch) in kernel.patches.iter().enumerate() {
        copy(patch, &patches.join(format!("{:04}-{}", number + 1, name(patch))))?;
    }
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(|e| Failure::file("write", to, &e))
}

/// What is in a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e| Failure::file("list", folder, &e);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String, Failure> {
    bytes(path).map(super::record::as_text)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|e| Failure::file("read", path, &e))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_keeps_of_a_kernel_is_read_back_with_its_patches_in_order() {
        let (store, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = r#"{"id":"1","source":{"name":"a.tar","blake3":"2"},"patches":[],"config":[],"modules":[],
            "compiler":null,"release":"6.1.0","files":{}}"#;
        fs::write(store.path().join(IDENTITY), identity).unwrap();
        fs::write(store.path().join(CONFIG), "CONFIG_X=y\n").unwrap();
        let patch = |name: &str| {
            let path = store.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let kernel = Kernel {
            name: "with".to_owned(),
            about: String::new(),
            behaves: None,
            identity: serde_json::from_str(identity).unwrap(),
            patches: vec![patch("z.patch"), patch("a.patch")],
            folder: store.path().to_owned(),
            holds: Vec::new(),
        };
        assert!(Kept::of_run(run.path()).unwrap().is_empty());
        keep(run.path(), &kernel).unwrap();
        let kept = Kept::of_run(run.path()).unwrap();
        let names: Vec<&str> = kept[0].patches.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((kept[0].name.as_str(), kept[0].config.as_str()), ("with", "CONFIG_X=y\n"));
        assert_eq!(names, ["0001-z.patch", "0002-a.patch"]);
        assert_eq!(kept[0].patches[0].1, b"z.patch");
    }
}
