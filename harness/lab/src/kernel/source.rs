//! Kernel sources: found, identified by content, written to the store.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::debian;
use crate::failure::{Failure, Kind};
use crate::kernel::git::Repository;
use crate::kernel::hold::{Hold, Scratch};
use crate::kernel::identity::Piece;
use crate::kernel::recipe::{Brought, Source, State, file_name};
use crate::kernel::spec;
use crate::kernel::tree::{Known, is_source};
use crate::kernel::unpack::unpack;
use crate::watch::Watch;

/// A source that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// What it is. For a tree, the name of git's object for it, hashed.
    pub(super) piece: Piece,
    /// The folder in that of all sources where it is unpacked and built. Commits of one tree share one.
    pub(super) folder: String,
    content: Content,
    /// What was found stays there as long as this does.
    pub(super) hold: Hold,
}

#[derive(Clone, Debug)]
enum Content {
    Archive(PathBuf),
    Tree { repository: Repository, tree: String },
}

impl Found {
    /// Finds a source, fetching it if need be.
    ///
    /// # Errors
    /// `Host` with the package to install; `Asked` for a version that there is not; `Files`, `Interrupted`.
    pub(super) fn of(source: &Source, store: &Path, watch: &dyn Watch) -> Result<Self, Failure> {
        match source {
            Source::Archive { path, brought: Brought::Version { package, version } } => {
                let path = downloaded(path, package, version, store, watch)?;
                Self::version(&path, package, version, store, watch)
            }
            Source::Archive { path, brought } => {
                let path = archive(path, brought)?;
                let piece = Piece::of(&path)?;
                let folder = piece.blake3[..16].to_owned();
                let hold = Hold::on(&store.join("sources").join(&folder))?;
                Ok(Self { piece, folder, content: Content::Archive(path), hold })
            }
            Source::Tree { folder, state } => {
                let known = Known::of(folder)?;
                let place =
                    format!("tree-{}", &blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex()[..16]);
                let within = store.join("sources").join(&place);
                let hold = Hold::on(&within)?;
                let repository = Repository::at(
                    within.join("repository"),
                    known.as_ref().map(|known| known.objects.as_path()),
                )?;
                let (tree, name) = match (state, &known) {
                    (State::Commit(commit), Some(known)) => (
                        known.tree_of(commit)?,
                        format!("{}@{}", file_name(folder), &commit[..commit.len().min(12)]),
                    ),
                    (State::Commit(commit), None) => {
                        let attempt = format!("find the commit {commit} in {}", folder.display());
                        let next = "see whether the tree was moved";
                        return Err(Failure::new(Kind::Asked, attempt, "it is no git tree any more", next));
                    }
                    (State::Noted(tree), _) if repository.has(tree)? => (tree.clone(), file_name(folder)),
                    (State::Noted(_), _) => {
                        let attempt = format!("find {} as it stood", folder.display());
                        let seen = "what was noted of it has gone from the store";
                        return Err(Failure::new(Kind::Files, attempt, seen, "carry it out again"));
                    }
                    (State::AsItStands, known) => {
                        watch.stage(&format!("note the files of {}", folder.display()));
                        let tree = match known {
                            Some(known) => known.snapshot(&repository)?,
                            None => repository.snapshot(folder, None)?,
                        };
                        (tree, file_name(folder))
                    }
                };
                let blake3 = blake3::hash(tree.as_bytes()).to_string();
                Ok(Self {
                    piece: Piece { name, blake3 },
                    folder: place,
                    content: Content::Tree { repository, tree },
                    hold,
                })
            }
        }
    }

    /// The state of a source that stays what it is now, however somebody goes on editing a tree.
    ///
    /// # Errors
    /// As [`Found::of`].
    pub(super) fn noted(source: &Source, store: &Path, watch: &dyn Watch) -> Result<Source, Failure> {
        let Source::Tree { folder, state: State::AsItStands } = source else { return Ok(source.clone()) };
        match Self::of(source, store, watch)?.content {
            Content::Tree { tree, .. } => {
                Ok(Source::Tree { folder: folder.clone(), state: State::Noted(tree) })
            }
            Content::Archive(_) => Ok(source.clone()),
        }
    }

    /// A version of a package, in an archive. All versions of a package share a tree, as commits do: most of their files
    /// are the same.
    fn version(
        archive: &Path,
        package: &str,
        version: &str,
        store: &Path,
        watch: &dyn Watch,
    ) -> Result<Self, Failure> {
        let folder = format!("package-{package}");
        let within = store.join("sources").join(&folder);
        let hold = Hold::on(&within)?;
        let repository = Repository::at(within.join("repository"), None)?;
        let noted = archive.with_file_name("tree");
        let tree = match fs::read_to_string(&noted) {
            Ok(tree) if repository.has(&tree)? => tree,
            _ => {
                watch.stage(&format!("unpack {package} {version}"));
                let scratch = Scratch::partial(store)?;
                let unpacked = scratch.path().join("tree");
                unpack(archive, &unpacked, watch)?;
                let tree = repository.snapshot(&unpacked, None)?;
                fs::write(&noted, &tree).map_err(|e| Failure::file("write", &noted, &e))?;
                tree
            }
        };
        let piece =
            Piece { name: format!("{package}={version}"), blake3: blake3::hash(tree.as_bytes()).to_string() };
        Ok(Self { piece, folder, content: Content::Tree { repository, tree }, hold })
    }

    /// Makes `tree` this source. It may be there already, as another commit of the same tree.
    ///
    /// # Errors
    /// `Files`, `Interrupted`.
    pub(super) fn write(&self, tree: &Path, lock: &Arc<File>, watch: &dyn Watch) -> Result<(), Failure> {
        match &self.content {
            Content::Archive(_) if tree.exists() => Ok(()),
            Content::Archive(archive) => {
                watch.stage(&format!("unpack {}", self.piece.name));
                unpack(archive, tree, watch)?;
                if is_source(tree) {
                    return Ok(());
                }
                remove(tree)?;
                let attempt = format!("take {} as a kernel source", archive.display());
                let seen = "there is no drivers/base/dd.c in it";
                Err(Failure::new(Kind::Asked, attempt, seen, "name an archive of a whole kernel source"))
            }
            Content::Tree { repository, tree: wanted } => {
                watch.stage(&format!("check out {}", self.piece.name));
                repository.check_out(wanted, tree, lock)
            }
        }
    }
}

/// The archive of a source, or how to get it.
fn archive(path: &Path, brought: &Brought) -> Result<PathBuf, Failure> {
    let attempt = || format!("find the kernel source {}", path.display());
    match brought {
        _ if path.is_file() => Ok(path.to_owned()),
        Brought::ByHand | Brought::Version { .. } => {
            Err(Failure::new(Kind::Asked, attempt(), "there is no such file", "check that the path is right"))
        }
        Brought::Package(package) => {
            let next = format!("apt-get install {package}, or run the same command with --setup");
            Err(Failure::new(Kind::Host, attempt(), "there is no such file", next))
        }
    }
}

/// An archive out of a package that is not installed; it is kept in the store.
fn downloaded(
    path: &Path,
    package: &str,
    version: &str,
    store: &Path,
    watch: &dyn Watch,
) -> Result<PathBuf, Failure> {
    let downloads = store.join("downloads");
    let kept = downloads.join(path);
    if kept.is_file() {
        return Ok(kept);
    }
    check_version(package, version, debian::SOURCES)?;
    let deb = debian::download(package, version, &downloads, watch)?;
    let unpacked = Scratch::partial(&downloads)?;
    debian::unpack_downloaded(&deb, unpacked.path())?;
    let folder = kept.parent().unwrap_or(&downloads);
    fs::create_dir_all(folder).map_err(|e| Failure::file("create", folder, &e))?;
    let from = unpacked.path().join("usr/src").join(file_name(path));
    fs::rename(&from, &kept).map_err(|e| Failure::file("find in its package", &from, &e))?;
    match fs::remove_file(&deb) {
        // Another process has fetched the same, and was faster.
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", &deb, &e)),
        _ => Ok(kept),
    }
}

/// Whether apt can get this version.
///
/// # Errors
/// `Asked` with those it can get, or with packages that are alike.
pub(super) fn check_version(package: &str, version: &str, beginning: &str) -> Result<(), Failure> {
    let versions = debian::versions(package)?;
    if versions.is_empty() {
        return Err(spec::unknown_package(package, beginning));
    }
    if versions.iter().any(|known| known == version) {
        return Ok(());
    }
    let attempt = format!("find version {version} of {package}");
    let next =
        format!("use one of: {}; for an older one get the file by hand and name it", versions.join(", "));
    Err(Failure::new(Kind::Asked, attempt, "apt knows none of that number", next))
}

/// BLAKE3 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<String, Failure> {
    let read = |path: &Path| -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut BufReader::with_capacity(1 << 18, File::open(path)?), &mut hasher)?;
        Ok(hasher.finalize())
    };
    read(path).map(|hash| hash.to_string()).map_err(|e| Failure::file("read", path, &e))
}

/// Removes a folder, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", folder, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Nobody;
    use std::sync::Mutex;

    /// Counts what is unpacked.
    #[derive(Default)]
    struct Stages(Mutex<Vec<String>>);
    impl Watch for Stages {
        fn stage(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }
    }

    /// An archive with this in its only file, in a folder of its own.
    fn archive(store: &Path, version: &str, content: &str) -> PathBuf {
        let folder = store.join("downloads").join(format!("linux-fake_{version}"));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("linux-fake.tar");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "linux-fake/code.c", content.as_bytes()).unwrap();
        tar.finish().unwrap();
        path
    }

    #[test]
    fn versions_of_a_package_share_a_tree_and_each_is_unpacked_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        let archives =
            ["1", "2"].map(|version| (version, archive(store, version, &format!("of {version}\n"))));
        let stages = Stages::default();
        let find = |(version, path): &(&str, PathBuf)| {
            Found::version(path, "linux-fake", version, store, &stages).unwrap()
        };
        let found: Vec<Found> = archives.iter().map(find).collect();
        assert_eq!(found[0].folder, found[1].folder);
        assert_ne!(found[0].piece.blake3, found[1].piece.blake3);
        assert_eq!(found[1].piece.name, "linux-fake=2");
        let again = find(&archives[0]);
        assert_eq!(again.piece, found[0].piece);
        let unpacked = ["unpack linux-fake 1", "unpack linux-fake 2"];
        assert_eq!(*stages.0.lock().unwrap(), unpacked);
        assert!(
            !fs::read_dir(store)
                .unwrap()
                .any(|left| { left.unwrap().file_name().to_string_lossy().starts_with("partial-") })
        );

        // A tree becomes one and then the other.
        let tree = store.join("tree");
        let lock = Arc::new(File::create(store.join("lock")).unwrap());
        for (found, (version, _)) in found.iter().zip(&archives).chain([(&again, &archives[0])]) {
            found.write(&tree, &lock, &Nobody).unwrap();
            assert_eq!(fs::read_to_string(tree.join("code.c")).unwrap(), format!("of {version}\n"));
        }

        // Where the repository was cleared away, the note of its tree is of no use.
        drop((found, again));
        fs::remove_dir_all(store.join("sources")).unwrap();
        assert_eq!(find(&archives[0]).piece.name, "linux-fake=1");
        assert_eq!(stages.0.lock().unwrap().len(), 3);
    }
}
