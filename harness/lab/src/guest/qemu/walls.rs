//! What QEMU may do on the host: read what it is made of and what it boots, and nothing else.
//!
//! Three walls, each on its own, so that a host without one has the others. QEMU's own seccomp filter lets it start no
//! process. Landlock (Documentation/userspace-api/landlock.rst of the kernel) lets it open no file but those named
//! here, write none, and reach no network. And its files and memory are bounded, so that whatever goes wrong in it stays
//! small. Consoles, logs and sockets are opened by the harness, and QEMU inherits them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};

use super::launch::idle;
use crate::accelerator::Accelerator;
use crate::cancel;
use crate::debian::find_program;
use crate::guest::arguments::QEMU;
use crate::guest::topology::Topology;

/// Largest file that QEMU may write, in bytes: its errors, which go to a file of the run.
const LARGEST_FILE: u64 = 64 << 20;

/// Memory besides the guest's own, in bytes: translated code (1 GiB at most in tcg/region.c), stacks, devices.
const OWN_MEMORY: u64 = 8 << 30;

/// Makes it more likely that QEMU is ended where memory is short than the harness (proc_pid_oom_score_adj(5)).
const FIRST_TO_GO: &[u8] = b"500";

/// Folders in which a system keeps libraries, firmware and time zones.
const OF_SYSTEM: [&str; 7] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share", "/nix/store", "/gnu/store"];

/// Files that libraries look at, and facts about CPUs and nodes.
const FACTS: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/module/kvm",
];

/// The walls of this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Walls {
    /// QEMU's seccomp filter; or why there is none.
    pub seccomp: Result<(), String>,
    /// What Landlock keeps from it; or why it is not used.
    pub landlock: Result<String, String>,
}

impl Walls {
    /// Those of this host and its QEMU, found out once by starting one that boots nothing.
    pub fn of_host() -> &'static Self {
        static WALLS: OnceLock<Walls> = OnceLock::new();
        // Once more: a host that is busy is no host without walls. After a stop nobody asks.
        let try_out = |walls: &Self| match idle(Accelerator::Tcg, walls) {
            Err(_) if !cancel::requested() => idle(Accelerator::Tcg, walls),
            once => once,
        };
        WALLS.get_or_init(|| Self::find_out(landlock(), &try_out))
    }

    /// The version of Landlock's interface that the host's kernel has; `None` where it has none.
    pub fn version_of_landlock() -> Option<i64> {
        version_of_landlock().ok()
    }

    /// The most that QEMU starts with. Where it does not start at all, that is found out by whoever starts a guest.
    fn find_out(landlock: Result<String, String>, try_out: &dyn Fn(&Self) -> Result<(), String>) -> Self {
        let all = Self { seccomp: Ok(()), landlock };
        let Err(_) = try_out(&all) else { return all };
        if cancel::requested() {
            return all;
        }
        let bare = Self { seccomp: Err(String::new()), landlock: Err(String::new()) };
        if try_out(&bare).is_err() {
            return all;
        }
        let alone = |walls: Self| try_out(&walls);
        Self {
            seccomp: alone(Self { seccomp: Ok(()), ..bare.clone() }),
            landlock: all.landlock.and_then(|version| {
                alone(Self { landlock: Ok(version.clone()), ..bare.clone() }).map(|()| version)
            }),
        }
    }

    /// What stands, for a person.
    pub fn standing(&self) -> Vec<String> {
        let seccomp = self.seccomp.is_ok().then(|| "seccomp".to_owned());
        seccomp.into_iter().chain(self.landlock.clone().ok()).collect()
    }

    /// What does not stand, and why: empty where all does.
    pub fn open(&self) -> Vec<String> {
        let of = |name: &str, why: &str| format!("{name}: {why}");
        let seccomp = self.seccomp.as_ref().err().map(|why| of("no seccomp filter", why));
        let landlock = self.landlock.as_ref().err().map(|why| of("no Landlock", why));
        seccomp.into_iter().chain(landlock).collect()
    }

    /// Sees to it that the command, once started, is behind these walls.
    ///
    /// # Errors
    /// Of Landlock, where it is there and refuses.
    pub(super) fn put_around(&self, command: &mut Command, needs: &Needs<'_>) -> io::Result<()> {
        let rules = match self.landlock {
            Ok(_) => rules(needs).map_err(io::Error::other)?,
            Err(_) => None,
        };
        let memory = needs.memory.saturating_add(OWN_MEMORY);
        let in_child = move || {
            // A core would hold all of the guest's memory.
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            lower(Resource::RLIMIT_FSIZE, LARGEST_FILE)?;
            lower(Resource::RLIMIT_DATA, memory)?;
            // A wish: containers may have no /proc that can be written.
            let _ = File::options()
                .write(true)
                .open("/proc/self/oom_score_adj")
                .and_then(|mut file| file.write_all(FIRST_TO_GO));
            nix::sys::prctl::set_no_new_privs()?;
            rules.as_ref().map_or(Ok(()), restrict)
        };
        // SAFETY: between fork and exec the closure only makes system calls; it neither allocates on its way to
        // success (a short path is made a C string on the stack) nor takes a lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(in_child)
        };
        Ok(())
    }
}

/// What a QEMU needs of the host, besides what each one does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs<'a> {
    /// The files that it boots.
    pub(super) boots: &'a [&'a Path],
    /// The port on which it waits for a debugger.
    pub(super) listens: Option<u16>,
    /// The guest's memory, in bytes.
    pub(super) memory: u64,
}

impl<'a> Needs<'a> {
    /// Those of one that boots these files, in this shape.
    pub(super) fn of(boots: &'a [&'a Path], topology: &Topology) -> Self {
        let memory = (u64::from(topology.node_mib()) * u64::from(topology.all_nodes())) << 20;
        Self { boots, listens: None, memory }
    }
}

/// Lowers a limit; one that is lower already stays.
fn lower(resource: Resource, to: u64) -> nix::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let to = to.min(hard);
    setrlimit(resource, to, to)
}

/// Puts this thread, and what it becomes, under these rules.
fn restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: the kernel takes two numbers, of which the first is a descriptor that is open.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    Ok(Errno::result(result).map(drop)?)
}

/// What this kernel's Landlock can keep from a process; or why it keeps nothing.
fn landlock() -> Result<String, String> {
    match version_of_landlock() {
        // Since version 4, TCP as well (LANDLOCK_ACCESS_NET_BIND_TCP).
        Ok(version) if version >= 4 => Ok(format!("Landlock {version} (files, TCP)")),
        Ok(version) => Ok(format!("Landlock {version} (files)")),
        Err(Errno::EOPNOTSUPP) => Err("it is not among the kernel's security modules (lsm=)".to_owned()),
        Err(_) => Err("this kernel was built without it".to_owned()),
    }
}

fn version_of_landlock() -> Result<i64, Errno> {
    /// LANDLOCK_CREATE_RULESET_VERSION (include/uapi/linux/landlock.h): makes nothing, and says the version.
    const ASK_FOR_VERSION: libc::c_uint = 1;
    // SAFETY: asked for the version, the kernel wants no structure, and reads and writes nothing.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<()>(), 0, ASK_FOR_VERSION)
    };
    Errno::result(result)
}

/// The rules for a QEMU, as far as this kernel knows them; `None` where it knows none.
fn rules(needs: &Needs<'_>) -> Result<Option<OwnedFd>, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = AccessFs::ReadFile | AccessFs::Execute;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    // What this crate knows, and the kernel does not, is left out.
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V10))?
        .handle_access(AccessNet::from_all(ABI::V10))?
        .scope(Scope::from_all(ABI::V10))?
        .create()?;
    let program = find_program(QEMU).and_then(|path| path.canonicalize().ok());
    let mut grants: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    if let Some(program) = &program {
        grants.extend(interpreter_of(program).map(|path| (path, run)));
        grants.push((program.clone(), run));
        grants.extend(homes_of(program).into_iter().map(|path| (path, read)));
    }
    grants.extend(OF_SYSTEM.iter().chain(&FACTS).map(|path| (PathBuf::from(path), read)));
    grants.extend(needs.boots.iter().map(|path| ((*path).to_owned(), read)));
    grants.extend(["/dev/kvm", "/dev/null"].map(|path| (PathBuf::from(path), device)));
    for (path, access) in grants {
        // Not every host has every one.
        if let Ok(open) = PathFd::new(&path) {
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V10) };
            rules = rules.add_rule(PathBeneath::new(open, access))?;
        }
    }
    if let Some(port) = needs.listens {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    Ok(rules.into())
}

/// Where a QEMU that somebody has built for himself keeps firmware and libraries: beside its binary, and beside the
/// folder of that.
fn homes_of(program: &Path) -> Vec<PathBuf> {
    let Some(folder) = program.parent() else { return Vec::new() };
    let above = folder.parent().unwrap_or(folder);
    let beside = ["lib", "lib64", "share", "libexec"].map(|name| above.join(name));
    std::iter::once(folder.to_owned()).chain(beside).collect()
}

/// The program that the kernel starts for this one (elf(5), PT_INTERP).
fn interpreter_of(program: &Path) -> Option<PathBuf> {
    /// Its name stands near the beginning.
    const HEAD: u64 = 64 << 10;
    let mut head = Vec::new();
    File::open(program).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let header = FileHeader64::<object::Endianness>::parse(&*head).ok()?;
    let endian = header.endian().ok()?;
    let mut headers = header.program_headers(endian, &*head).ok()?.iter();
    let name = headers.find_map(|header| header.interpreter(endian, &*head).ok().flatten())?;
    Path::new(OsStr::from_bytes(name)).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where QEMU starts only so.
    fn found(starts: impl Fn(&Walls) -> bool) -> (bool, bool) {
        let try_out = |walls: &Walls| if starts(walls) { Ok(()) } else { Err("QEMU's words".to_owned()) };
        let walls = Walls::find_out(Ok("Landlock 7".to_owned()), &try_out);
        for open in walls.open() {
            assert!(open.ends_with(": QEMU's words"), "{open}");
        }
        assert_eq!(walls.open().len() + walls.standing().len(), 2);
        (walls.seccomp.is_ok(), walls.landlock.is_ok())
    }

    #[test]
    fn a_wall_that_qemu_does_not_start_behind_is_left_out_and_the_other_is_not() {
        assert_eq!(found(|_| true), (true, true));
        assert_eq!(found(|walls| walls.seccomp.is_err()), (false, true));
        assert_eq!(found(|walls| walls.landlock.is_err()), (true, false));
        assert_eq!(found(|walls| walls.seccomp.is_err() && walls.landlock.is_err()), (false, false));
        // It does not start at all: that is no fault of the walls.
        assert_eq!(found(|_| false), (true, true));
    }

    #[test]
    fn a_kernel_without_landlock_is_said_to_be_one() {
        let walls = Walls::find_out(Err("too old".to_owned()), &|_| Ok(()));
        assert_eq!(
            (walls.standing(), walls.open()),
            (vec!["seccomp".into()], vec!["no Landlock: too old".into()])
        );
    }
}
