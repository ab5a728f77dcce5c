//! What is said on a machine where nothing was installed, with apt and sudo that are played: what is missing is named
//! in a line to copy, before anything is built, and root is asked for packages and nothing else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A machine that has these programs alone.
struct Machine {
    folder: tempfile::TempDir,
    xtask: PathBuf,
    /// A program cannot be started while it is written, which a fork for another test would seem to do.
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// One whose apt knows these packages once it was updated.
    fn new(packages: &[&str]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        // Anybody may run it, whoever runs the tests.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let xtask = folder.path().join("xtask");
        fs::copy(env!("CARGO_BIN_EXE_xtask"), &xtask).unwrap();
        fs::write(folder.path().join("archive"), packages.join("\n")).unwrap();
        // It looks here where that of the workspace cannot be read.
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let copied = Command::new("cp").arg("--recursive").arg(configs).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let machine = Self { folder, xtask, _alone: alone };
        machine.plays(
            "apt-cache",
            "[ \"$1\" = pkgnames ] && [ -f $here/lists ] || exit 0
             while read -r name || [ -n \"$name\" ]; do case $name in $2*) echo $name;; esac; done < $here/lists",
        );
        machine.plays(
            "apt-get",
            "echo apt-get \"$@\" >> $here/calls
             [ \"$1\" = update ] || exit 0
             while read -r name || [ -n \"$name\" ]; do echo $name; done < $here/archive > $here/lists",
        );
        machine
    }

    /// A program that is a script; `$here` is the machine's folder.
    fn plays(&self, program: &str, script: &str) {
        let bin = self.folder.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join(program);
        let here = self.folder.path().display();
        fs::write(&path, format!("#!/bin/sh\nhere={here}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What an ordinary user is told.
    fn says(&self, arguments: &[&str]) -> String {
        let store = self.folder.path().join("store");
        let mut command = Command::new(&self.xtask);
        let run = self.folder.path().join("run");
        command.args(arguments).current_dir(self.folder.path());
        if arguments.contains(&"bench") {
            command.arg("--out").arg(&run);
        }
        command.env("PATH", self.folder.path().join("bin")).env("PARPROBE_STORE", &store);
        if fs::metadata(self.folder.path()).unwrap().uid() == 0 {
            // Nobody, as everywhere (Documentation/admin-guide/sysctl/fs.rst, "overflowuid").
            command.uid(65534).gid(65534);
        }
        let Output { status, stderr, .. } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(69), "{said}");
        assert!(!run.exists(), "{said}");
        for built in ["kernels", "sources"] {
            let within = fs::read_dir(store.join(built)).into_iter().flatten();
            assert_eq!(within.count(), 0, "{built} before all is there: {said}");
        }
        said
    }

    /// What was run as root, and what apt was told.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

const ALL: [&str; 5] = ["bc", "flex", "linux-source-6.1", "linux-source-6.12", "qemu-system-x86"];

/// The line that installs what is missing, without the source, which a developer may have installed.
fn line(said: &str) -> &str {
    let at = said.find("apt-get").unwrap_or_else(|| panic!("no command in: {said}"));
    said[at..].lines().next().unwrap()
}

#[test]
fn a_user_without_sudo_is_told_what_an_administrator_has_to_run() {
    let machine = Machine::new(&ALL);
    for arguments in [&["bench"][..], &["bench", "--setup"], &["test"], &["test", "--setup"]] {
        let said = machine.says(arguments);
        assert!(
            said.contains("as root: apt-get update && apt-get install --no-install-recommends"),
            "{said}"
        );
        assert!(line(&said).contains("flex") && line(&said).contains("qemu-system-x86"), "{said}");
        assert!(!said.contains("sudo apt-get"), "{said}");
    }
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[test]
fn apt_that_knows_packages_is_not_updated_by_the_line_to_copy() {
    let machine = Machine::new(&ALL);
    fs::copy(machine.folder.path().join("archive"), machine.folder.path().join("lists")).unwrap();
    let said = machine.says(&["bench"]);
    assert!(!said.contains("update") && line(&said).contains("qemu-system-x86"), "{said}");
}

#[test]
fn sudo_that_asks_for_a_password_is_refused_with_the_line_to_run() {
    let machine = Machine::new(&ALL);
    machine.plays("sudo", "echo sudo \"$@\" >> $here/calls; echo 'sudo: a password is required' >&2; exit 1");
    let said = machine.says(&["bench", "--setup"]);
    assert!(said.contains("a password is required"), "{said}");
    assert!(said.contains("sudo apt-get update && sudo apt-get install --no-install-recommends"), "{said}");
    let calls = machine.calls();
    let update = "sudo -n DEBIAN_FRONTEND=noninteractive apt-get update";
    assert!(!calls.is_empty() && calls.iter().all(|call| call == update), "{calls:?}");
}

#[test]
fn root_is_asked_for_packages_and_for_nothing_else() {
    let machine = Machine::new(&ALL);
    machine.plays("sudo", "echo sudo \"$@\" >> $here/calls; shift 2; exec \"$@\"");
    // Played packages are empty: that nothing came of it is said, and nothing is built.
    let said = machine.says(&["bench", "--setup"]);
    assert!(said.contains("flex: no flex"), "{said}");
    let calls = machine.calls();
    let as_root: Vec<&String> = calls.iter().filter(|call| call.starts_with("sudo")).collect();
    let asks = |call: &str| {
        let asked = call.strip_prefix("sudo -n DEBIAN_FRONTEND=noninteractive apt-get ");
        asked.is_some_and(|asked| asked == "update" || asked.starts_with("install --yes "))
    };
    assert!(as_root.len() >= 2 && as_root.iter().all(|call| asks(call)), "{calls:?}");
    assert_eq!(as_root.len() * 2, calls.len(), "apt-get was run otherwise: {calls:?}");
}
