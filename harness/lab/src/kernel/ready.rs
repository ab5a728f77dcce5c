//! Kernels that somebody else has built: found, identified by content, brought into the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::{Failure, Kind};
use crate::kernel::identity::Piece;
use crate::kernel::modules;
use crate::kernel::recipe::{Ready, file_name};
use crate::kernel::source::{check_version, digest};
use crate::kernel::spec;
use crate::kernel::store::BZIMAGE;
use crate::watch::Watch;
use crate::{cancel, compression, debian};

/// A ready kernel that is there.
pub(super) enum Found {
    /// In a package that somebody named.
    Deb(PathBuf, Piece),
    /// In one that is kept in the store.
    Downloaded(PathBuf, Piece),
    /// As files.
    Files { image: PathBuf, modules: PathBuf, piece: Piece },
}

impl Found {
    /// Finds a kernel, fetching it if need be.
    ///
    /// # Errors
    /// `Asked` for one that there is not, `Host` without apt, `Files`, `Interrupted`.
    pub(super) fn of(ready: &Ready, store: &Path, watch: &dyn Watch) -> Result<Self, Failure> {
        match ready {
            Ready::Deb(path) => Ok(Self::Deb(path.clone(), Piece::of(path)?)),
            Ready::Package { package, version } => {
                let mut path = downloaded(package, version.as_deref(), store, watch)?;
                // linux-image-cloud-amd64 has nothing in it, and depends on the newest one.
                if let Some(real) = stands_for(&path)? {
                    path = downloaded(&real, None, store, watch)?;
                }
                let piece = Piece::of(&path)?;
                Ok(Self::Downloaded(path, piece))
            }
            Ready::Files { image, modules } => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(digest(image)?.as_bytes());
                for path in module_files(modules)? {
                    hasher.update(digest(&path)?.as_bytes());
                }
                let piece = Piece { name: file_name(image), blake3: hasher.finalize().to_string() };
                Ok(Self::Files { image: image.clone(), modules: modules.clone(), piece })
            }
        }
    }

    pub(super) fn piece(&self) -> &Piece {
        match self {
            Self::Deb(_, piece) | Self::Downloaded(_, piece) | Self::Files { piece, .. } => piece,
        }
    }

    /// Copies it into a folder as the store has it: `bzImage`, `config`, `modules.builtin`, `modules/<name>.ko`.
    /// Returns its release.
    ///
    /// # Errors
    /// `Asked` where it is not a kernel with its modules; `Files`, `Interrupted`.
    pub(super) fn bring_to(&self, folder: &Path) -> Result<String, Failure> {
        match self {
            Self::Files { image, modules, .. } => bring(image, modules, folder, Trust::AsNamed),
            Self::Deb(path, _) | Self::Downloaded(path, _) => {
                let unpacked =
                    TempDir::new_in(folder).map_err(|e| Failure::file("create a folder in", folder, &e))?;
                match self {
                    Self::Downloaded(..) => debian::unpack_downloaded(path, unpacked.path())?,
                    _ => debian::unpack(path, unpacked.path())?,
                }
                let (image, modules) = inside(unpacked.path()).ok_or_else(|| no_kernel(path))?;
                let root = unpacked.path().canonicalize();
                let root = root.map_err(|e| Failure::file("find", unpacked.path(), &e))?;
                bring(&image, &modules, folder, Trust::Within(&root))
            }
        }
    }
}

/// The file of a package, kept in the store.
fn downloaded(
    package: &str,
    version: Option<&str>,
    store: &Path,
    watch: &dyn Watch,
) -> Result<PathBuf, Failure> {
    let downloads = store.join("downloads");
    let kept = |version: &str| {
        // As apt calls it: a colon would not do in a file name.
        let path = downloads.join(format!("{package}_{}_amd64.deb", version.replace(':', "%3a")));
        path.is_file().then_some(path)
    };
    let version = match version {
        Some(version) => {
            if let Some(path) = kept(version) {
                return Ok(path);
            }
            check_version(package, version, spec::IMAGES)?;
            version.to_owned()
        }
        None => match debian::candidate(package)? {
            Some(candidate) => candidate,
            None => return Err(spec::unknown_package(package, spec::IMAGES)),
        },
    };
    match kept(&version) {
        Some(path) => Ok(path),
        None => debian::download(package, &version, &downloads, watch),
    }
}

/// The image and the folder of modules in an unpacked package.
fn inside(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let images = fs::read_dir(root.join("boot")).ok()?.flatten().map(|entry| entry.path());
    let image = images.into_iter().find(|path| file_name(path).starts_with("vmlinuz-"))?;
    let release = file_name(&image).strip_prefix("vmlinuz-")?.to_owned();
    let places = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place).join(&release));
    Some((image, places.into_iter().find(|path| path.is_dir())?))
}

fn no_kernel(path: &Path) -> Failure {
    let attempt = format!("take the kernel out of {}", path.display());
    let next = "name a package linux-image-…, or an image with the folder of its modules";
    Failure::new(Kind::Asked, attempt, "it has no boot/vmlinuz-… with modules", next)
}

/// The kernel that a package depends on, where that is all there is to it.
fn stands_for(path: &Path) -> Result<Option<String>, Failure> {
    let depends = debian::depends(path)?;
    let names = depends.split([',', '|']).filter_map(|name| name.split_whitespace().next());
    Ok(names.into_iter().find(|name| name.starts_with(spec::IMAGES)).map(str::to_owned))
}

/// Where links may lead.
#[derive(Clone, Copy, Debug)]
enum Trust<'a> {
    /// Anywhere: a person has named the place, and distributions have links there.
    AsNamed,
    /// To what is in this folder, which a package has filled: else it could bring files of the host into a guest, or
    /// onto a page.
    Within(&'a Path),
}

impl Trust<'_> {
    /// What is in a file, as it is; nothing else can be read to its end.
    fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        self.checked(path)?;
        fs::read(path)
    }

    fn checked(self, path: &Path) -> io::Result<()> {
        let real = path.canonicalize()?;
        match self {
            Self::Within(root) if !real.starts_with(root) => {
                Err(io::Error::other("it leads out of the package: do not trust that"))
            }
            _ if !fs::metadata(&real)?.is_file() => Err(io::Error::other("it is no file")),
            _ => Ok(()),
        }
    }
}

/// Brings image and modules to a folder.
fn bring(image: &Path, from: &Path, folder: &Path, trust: Trust<'_>) -> Result<String, Failure> {
    let read = trust.read(image).map_err(|e| Failure::file("read", image, &e))?;
    let release = release(&read).ok_or_else(|| {
        let attempt = format!("read the release of {}", image.display());
        Failure::new(Kind::Asked, attempt, "it is no bzImage", "name what distributions call vmlinuz")
    })?;
    let copied = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|e| Failure::file("write", &path, &e))
    };
    copied(BZIMAGE, &read)?;
    // For people to read. Empty, where it is not known.
    copied("config", &config(image, from, &release, trust).unwrap_or_default())?;
    copied("modules.builtin", &trust.read(&from.join("modules.builtin")).unwrap_or_default())?;

    let to = folder.join("modules");
    fs::create_dir_all(&to).map_err(|e| Failure::file("create", &to, &e))?;
    let files = module_files(from)?;
    for path in &files {
        cancel::check("copy the modules of a kernel")?;
        let module = trust
            .checked(path)
            .and_then(|()| compression::read(path))
            .map_err(|e| Failure::file("read", path, &e))?;
        let name = file_name(path);
        let stem = name.split_once(".ko").map_or(name.as_str(), |(stem, _)| stem);
        copied(&format!("modules/{stem}.ko"), &module)?;
        // One tells for all: they were built together.
        if Some(path) == files.first() {
            refuse_strangers(path, &module, &release)?;
        }
    }
    Ok(release)
}

/// The configuration, where distributions keep it: Debian beside the image, Fedora beside the modules too; or at the top
/// of the tree in which the image was built, as `arch/x86/boot/bzImage`.
fn config(image: &Path, modules: &Path, release: &str, trust: Trust<'_>) -> Option<Vec<u8>> {
    let built = image.parent().filter(|folder| folder.ends_with("arch/x86/boot"));
    let places = [
        Some(image.with_file_name(format!("config-{release}"))),
        Some(modules.join("config")),
        built.and_then(|folder| folder.ancestors().nth(3)).map(|top| top.join(".config")),
    ];
    places.into_iter().flatten().find_map(|path| trust.read(&path).ok())
}

/// Modules of another kernel would not load.
fn refuse_strangers(path: &Path, module: &[u8], release: &str) -> Result<(), Failure> {
    let built_for = modules::built_for(module).unwrap_or_default();
    if built_for == release {
        return Ok(());
    }
    let attempt = format!("take {} as a module of the kernel {release}", path.display());
    let seen = format!("it was built for {built_for}");
    Err(Failure::new(Kind::Asked, attempt, seen, "name the folder of that kernel's own modules"))
}

/// Whether this can be the folder of a kernel's modules.
///
/// # Errors
/// `Files`.
pub(super) fn has_modules(folder: &Path) -> Result<bool, Failure> {
    Ok(folder.join("modules.builtin").is_file() || !module_files(folder)?.is_empty())
}

/// The modules below a folder, compressed or not, in order.
fn module_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // `build` and `source` are links to elsewhere.
            if entry.file_type()?.is_dir() {
                collect(&entry.path(), found)?;
            } else if [".ko", ".ko.xz", ".ko.gz", ".ko.zst"]
                .iter()
                .any(|end| entry.file_name().to_string_lossy().ends_with(end))
            {
                // A pipe would be read for ever. What is not there is found out when it is read.
                if fs::metadata(entry.path()).map_or(true, |meta| meta.is_file()) {
                    found.push(entry.path());
                }
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    collect(folder, &mut found).map_err(|e| Failure::file("list", folder, &e))?;
    found.sort();
    Ok(found)
}

/// The release in the header of a bzImage: its first word is what `uname -r` says
/// (Documentation/arch/x86/boot.rst, `kernel_version`).
pub(super) fn release(image: &[u8]) -> Option<String> {
    const MAGIC: usize = 0x202;
    const POINTER: usize = 0x20e;
    (image.get(MAGIC..MAGIC + 4)? == b"HdrS").then_some(())?;
    let pointer = u16::from_le_bytes(image.get(POINTER..POINTER + 2)?.try_into().ok()?);
    let text = image.get(usize::from(pointer) + 0x200..)?;
    let text = &text[..text.iter().position(|byte| *byte == 0)?];
    let word = std::str::from_utf8(text).ok()?.split(' ').next()?;
    // It becomes part of names of files.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (!word.is_empty() && word.chars().all(plain)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_stands_in_the_header_of_a_bzimage() {
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x40u16.to_le_bytes());
        image[0x240..0x25c].copy_from_slice(b"6.1.0-9-cloud-amd64 (a@b) #1");
        assert_eq!(release(&image).as_deref(), Some("6.1.0-9-cloud-amd64"));
        image[0x240..0x244].copy_from_slice(b"../x");
        assert_eq!(release(&image), None);
        image[0x202] = 0;
        assert_eq!(release(&image), None);
        assert_eq!(release(b"short"), None);
    }

    #[test]
    fn modules_are_found_compressed_or_not_but_not_through_links() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["kernel/a.ko", "kernel/drivers/b.ko.xz", "c.ko.zst", "kernel/d.ko.gz", "modules.dep", "e.kow"]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("kernel"), folder.path().join("build")).unwrap();
        let names: Vec<String> =
            module_files(folder.path()).unwrap().iter().map(|path| file_name(path)).collect();
        assert_eq!(names, ["c.ko.zst", "a.ko", "d.ko.gz", "b.ko.xz"]);
    }
}
