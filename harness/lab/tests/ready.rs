//! Kernels that somebody else has built, in the kernel store.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lab::failure::{Failure, Kind};
use lab::kernel::{Kernel, Origin, Ready, Recipe, Store};
use lab::watch::{Nobody, Watch};

/// The header of a bzImage of this release (Documentation/arch/x86/boot.rst).
fn image(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x40u16.to_le_bytes());
    image[0x240..0x240 + release.len()].copy_from_slice(release.as_bytes());
    image
}

/// An ELF file with a `.modinfo` and nothing else (elf(5)).
fn module(release: &str) -> Vec<u8> {
    let info = format!("vermagic={release} SMP \0depends=\0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (64, 64 + info.len());
    let sections_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    for half in [1u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for place in [0, 0, sections_at as u64] {
        file.extend(place.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 0, 0, 64, 3, 2] {
        file.extend(half.to_le_bytes());
    }
    file.extend(info.as_bytes());
    file.extend(names);
    file.resize(sections_at, 0);
    let sections = [(0, 0, 0, 0), (1, 1, info_at, info.len()), (10, 3, names_at, names.len())];
    for (name, kind, at, size) in sections {
        file.extend((name as u32).to_le_bytes());
        file.extend((kind as u32).to_le_bytes());
        for word in [0, 0, at as u64, size as u64] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0; 8]);
        for word in [1u64, 0] {
            file.extend(word.to_le_bytes());
        }
    }
    file
}

const RELEASE: &str = "6.1.0-fake";

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(image_name: &str, built_for: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        fixture.write(image_name, &image(RELEASE));
        fixture.write("modules/kernel/one.ko", &module(built_for));
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn recipe(&self, image_name: &str) -> Recipe {
        let ready = Ready::Files { image: self.path(image_name), modules: self.path("modules") };
        let name = "ready".to_owned();
        Recipe { name, about: String::new(), behaves: None, origin: Origin::Ready(ready) }
    }

    fn ensure(&self, image_name: &str, watch: &dyn Watch) -> Result<Kernel, Failure> {
        let store = Store::at(&self.path("store"))?;
        Ok(store.ensure(&[self.recipe(image_name)], watch)?.remove(0))
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn an_image_and_its_modules_are_kept_and_damage_is_mended() {
    let fixture = Fixture::new("vmlinuz-6.1.0-fake", RELEASE);
    let kernel = fixture.ensure("vmlinuz-6.1.0-fake", &Nobody).unwrap();
    assert_eq!((kernel.identity.release.as_str(), kernel.is_ready()), (RELEASE, true));
    assert_eq!(fs::read(kernel.image().path).unwrap(), image(RELEASE));
    assert_eq!(fs::read(kernel.modules().join("one.ko")).unwrap(), module(RELEASE));
    let first = inode(&kernel.image().path);
    let again = fixture.ensure("vmlinuz-6.1.0-fake", &Nobody).unwrap();
    assert_eq!(inode(&again.image().path), first);

    fs::write(kernel.image().path, "damaged").unwrap();
    fixture.ensure("vmlinuz-6.1.0-fake", &Nobody).unwrap();
    assert_eq!(fs::read(kernel.image().path).unwrap(), image(RELEASE));
    let left: Vec<_> =
        fs::read_dir(fixture.path("store")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kernels"]);
}

#[test]
fn of_two_that_bring_the_same_kernel_the_slower_leaves_that_of_the_faster_alone() {
    struct Overtaken<'a>(&'a Fixture, Mutex<Option<u64>>);
    impl Watch for Overtaken<'_> {
        fn stage(&self, _: &str) {
            let kernel = self.0.ensure("vmlinuz", &Nobody).unwrap();
            *self.1.lock().unwrap() = Some(inode(&kernel.image().path));
        }
    }
    let fixture = Fixture::new("vmlinuz", RELEASE);
    let overtaken = Overtaken(&fixture, Mutex::default());
    let kernel = fixture.ensure("vmlinuz", &overtaken).unwrap();
    assert_eq!(overtaken.1.into_inner().unwrap(), Some(inode(&kernel.image().path)));
}

#[test]
fn modules_of_another_kernel_are_refused() {
    let fixture = Fixture::new("vmlinuz", "6.1.0-other");
    let failure = fixture.ensure("vmlinuz", &Nobody).unwrap_err();
    assert_eq!((failure.kind, failure.seen.as_str()), (Kind::Asked, "it was built for 6.1.0-other"));
    assert!(failure.attempt.ends_with("one.ko as a module of the kernel 6.1.0-fake"), "{failure}");
    fixture.write("vmlinuz", b"no kernel");
    assert_eq!(fixture.ensure("vmlinuz", &Nobody).unwrap_err().seen, "it is no bzImage");
}

#[test]
fn the_configuration_is_found_where_distributions_and_builds_have_it_and_never_made_up() {
    let config = |image: &str, of: &str| {
        let fixture = Fixture::new(image, RELEASE);
        fixture.write(of, b"CONFIG_OF=y\n");
        let kernel = fixture.ensure(image, &Nobody).unwrap();
        fs::read_to_string(kernel.folder.join("config")).unwrap()
    };
    for (image, of) in [
        ("boot/vmlinuz-6.1.0-fake", "boot/config-6.1.0-fake"),
        ("boot/vmlinuz", "boot/config-6.1.0-fake"),
        ("vmlinuz", "modules/config"),
        ("arch/x86/boot/bzImage", ".config"),
    ] {
        assert_eq!(config(image, of), "CONFIG_OF=y\n", "{image}");
    }
    for (image, of) in [("bzImage", "other"), ("boot/bzImage", ".config"), ("vmlinuz", "config-6.1.0-other")]
    {
        assert_eq!(config(image, of), "", "{image}");
    }
}
