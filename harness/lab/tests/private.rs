//! What a run and a store leave can be read by their user alone, whatever the umask.
//!
//! In a program of its own: the umask is one for all threads.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lab::kernel::Store;
use lab::run::{Place, make_boot_folder};
use nix::sys::stat::{Mode, umask};

/// Who else can do what there.
fn others(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o077
}

#[test]
fn folders_of_runs_and_stores_are_closed_to_others_under_any_umask() {
    for mask in [0o022, 0o000, 0o077] {
        umask(Mode::from_bits_truncate(mask));
        let made = tempfile::tempdir().unwrap();
        let (runs, named, there) =
            (made.path().join("runs"), made.path().join("a/named"), made.path().join("there"));
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, Permissions::from_mode(0o777)).unwrap();

        let dated = Place::Dated { runs: runs.clone(), kind: "bench" }.make().unwrap();
        for place in [&named, &there] {
            Place::Named(place.clone()).make().unwrap();
        }
        let boot = make_boot_folder(&dated, "boots/001-with").unwrap();
        fs::write(boot.join("console.log"), "").unwrap();
        let store = Store::at(&made.path().join("cache/store")).unwrap();

        for folder in [&runs, &dated, &named, &there, store.root(), &made.path().join("cache")] {
            assert_eq!(others(folder), 0, "{} under umask {mask:o}", folder.display());
        }
        // The user can use it all.
        assert!(fs::read(boot.join("console.log")).is_ok());
    }
}

#[test]
fn a_store_that_is_shared_on_purpose_stays_so() {
    let made = tempfile::tempdir().unwrap();
    fs::set_permissions(made.path(), Permissions::from_mode(0o770)).unwrap();
    Store::at(made.path()).unwrap();
    assert_eq!(others(made.path()), 0o070);
}
