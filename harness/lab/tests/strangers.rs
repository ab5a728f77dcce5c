//! A package of strangers writes nothing outside of the store, and brings nothing of the host into it.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab::failure::{Failure, Kind};
use lab::kernel::{Kernel, Origin, Ready, Recipe, Store};
use lab::watch::Nobody;
use tar::EntryType::{self, Directory, Fifo, Link, Regular, Symlink};

const RELEASE: &str = "6.1.0-fake";
const SECRET: &str = "a secret of the host";

/// The header of a bzImage (Documentation/arch/x86/boot.rst).
fn image() -> Vec<u8> {
    let mut image = vec![0; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x40u16.to_le_bytes());
    image[0x240..0x240 + RELEASE.len()].copy_from_slice(RELEASE.as_bytes());
    image
}

/// A tar archive of these entries: kind, name, and what is in a file or where a link leads.
fn tarred(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o700);
        // Not as the library would have it: it refuses names such as these.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let data = if *kind == Regular { *content } else { b"" };
        if [Link, Symlink].contains(kind) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        tar.append(&header, data).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A package (deb(5)) with these files.
fn deb(path: &Path, files: &[(EntryType, &str, &[u8])]) {
    let control =
        b"Package: linux-image-fake\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x>\nDescription: x\n";
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tarred(&[(Directory, "./", b""), (Regular, "./control", control)])),
        ("data.tar", tarred(files)),
    ];
    let mut file = File::create(path).unwrap();
    file.write_all(b"!<arch>\n").unwrap();
    for (name, content) in parts {
        writeln!(file, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        file.write_all(&content).unwrap();
        file.write_all(&b"\n"[..content.len() % 2]).unwrap();
    }
}

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("host")).unwrap();
        fs::write(folder.path().join("host/secret"), SECRET).unwrap();
        Self { folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn taken(&self, files: &[(EntryType, &str, &[u8])]) -> Result<Kernel, Failure> {
        let path = self.folder.path().join("linux-image-fake_1_amd64.deb");
        deb(&path, files);
        self.taken_from(path)
    }

    fn taken_from(&self, path: PathBuf) -> Result<Kernel, Failure> {
        let origin = Origin::Ready(Ready::Deb(path));
        let recipe = Recipe { name: "fake".to_owned(), about: String::new(), behaves: None, origin };
        Ok(Store::at(&self.store())?.ensure(&[recipe], &Nobody)?.remove(0))
    }

    /// What is in the folder of the host, by name.
    fn host(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.folder.path().join("host"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// The files below a folder that have this text in them.
fn with_text(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(with_text(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|at| at == text.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

/// Debian and Ubuntu have it; elsewhere packages cannot be taken at all.
fn packages_can_be_taken() -> bool {
    let mut command = Command::new("dpkg-deb");
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_package_that_is_well_is_taken() {
    if packages_can_be_taken() {
        let modules = format!("./lib/modules/{RELEASE}");
        let image = image();
        let files: [(EntryType, &str, &[u8]); 4] = [
            (Directory, "./boot", b""),
            (Regular, "./boot/vmlinuz-6.1.0-fake", &image),
            (Symlink, "./boot/config-6.1.0-fake", b"vmlinuz-6.1.0-fake"),
            (Directory, &modules, b""),
        ];
        let kernel = Fixture::new().taken(&files).unwrap();
        assert_eq!(kernel.identity.release, RELEASE);
    }
}

#[test]
fn a_package_that_was_cut_is_not_what_was_asked_for() {
    if packages_can_be_taken() {
        let fixture = Fixture::new();
        let path = fixture.folder.path().join("linux-image-cut_1_amd64.deb");
        deb(&path, &[(Regular, "./boot/vmlinuz-6.1.0-fake", &image())]);
        let whole = fs::read(&path).unwrap();
        for length in [whole.len() / 2, 10, 0] {
            fs::write(&path, &whole[..length]).unwrap();
            let failure = fixture.taken_from(path.clone()).unwrap_err();
            assert_eq!(failure.kind, Kind::Asked, "{failure}");
            assert!(failure.seen.starts_with("it is no whole package: "), "{failure}");
        }
    }
}

#[test]
fn a_package_writes_nothing_outside_and_brings_nothing_in() {
    if !packages_can_be_taken() {
        return;
    }
    let fixture = Fixture::new();
    let host = fixture.folder.path().join("host").display().to_string();
    let (secret, up) = (format!("{host}/secret"), format!("{}/../host", fixture.folder.path().display()));
    let modules = format!("./lib/modules/{RELEASE}");
    let [builtin, module, config] =
        [format!("{modules}/modules.builtin"), format!("{modules}/a.ko"), format!("./boot/config-{RELEASE}")];
    let image = image();
    let boot: [(EntryType, &str, &[u8]); 4] = [
        (Directory, "./boot", b""),
        (Regular, "./boot/vmlinuz-6.1.0-fake", &image),
        (Directory, "./lib/modules", b""),
        (Directory, &modules, b""),
    ];
    let before = fixture.host();
    let absolute = format!("{host}/evil");
    let through = format!("{modules}/out/evil");
    let out = format!("{modules}/out");
    let hard = format!("{modules}/hard.ko");
    let packages: [&[(EntryType, &str, &[u8])]; 10] = [
        &[(Regular, "../host/evil", b"evil")],
        &[(Regular, "./boot/../../../host/evil", b"evil")],
        &[(Regular, &absolute, b"evil")],
        &[(Symlink, &out, host.as_bytes()), (Regular, &through, b"evil")],
        &[(Symlink, &out, up.as_bytes()), (Regular, &through, b"evil")],
        &[(Link, &hard, secret.as_bytes()), (Regular, &hard, b"evil")],
        &[(Symlink, &config, secret.as_bytes())],
        &[(Symlink, &builtin, secret.as_bytes())],
        &[(Symlink, &module, secret.as_bytes())],
        // It would be read for ever.
        &[(Fifo, &config, b""), (Fifo, &builtin, b""), (Fifo, &module, b"")],
    ];
    for more in packages {
        // Some are refused; what matters is what is where.
        let _ = fixture.taken(&[&boot, more].concat());
        let names: Vec<&str> = more.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(fixture.host(), before, "{names:?}");
        assert_eq!(with_text(&fixture.store(), SECRET), [] as [PathBuf; 0], "{names:?}");
        let beside = fs::read_dir(fixture.folder.path()).unwrap().count();
        assert_eq!(beside, 3, "the host, the package and the store: {names:?}");
    }
}
