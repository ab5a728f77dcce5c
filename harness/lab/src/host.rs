//! What the host has and lacks, and how to mend it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::accelerator;
use crate::cancel;
use crate::child;
use crate::debian::{self, find_program, install_command};
use crate::failure::{Failure, Kind};
use crate::guest::{QEMU, Walls, qemu_version};
use crate::kernel::{Origin, Recipe, Store};
use crate::watch::Watch;

/// One thing about the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// What was found: a version, a size, or why not.
    pub seen: String,
    /// What follows.
    pub state: State,
}

/// What a finding means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// All is well.
    Fine,
    /// It works, but a person should know.
    Mind(String),
    /// Nothing works like this, and no package mends it: what to do.
    Blocks(String),
    /// Without it nothing works; this Debian package brings it.
    Lacks {
        /// The package.
        package: String,
    },
}

/// Something to look for: what to call it, how to know, which package.
struct Need {
    name: &'static str,
    look: Look,
    package: &'static str,
}

enum Look {
    /// The first line of `<program> --version`.
    Program(&'static str),
    /// A file, at one of these places.
    File(&'static [&'static str]),
}

/// What every run needs.
const NEEDS: [Need; 3] = [
    Need { name: "git", look: Look::Program("git"), package: "git" },
    Need { name: "compiler", look: Look::Program("gcc"), package: "gcc" },
    Need {
        name: "static C library",
        look: Look::File(&["/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib64/libc.a", "/usr/lib/libc.a"]),
        package: "libc6-dev",
    },
];

/// What it takes to build a kernel.
const NEEDS_TO_BUILD: [Need; 5] = [
    Need { name: "make", look: Look::Program("make"), package: "make" },
    Need { name: "flex", look: Look::Program("flex"), package: "flex" },
    Need { name: "bison", look: Look::Program("bison"), package: "bison" },
    Need { name: "bc", look: Look::Program("bc"), package: "bc" },
    Need { name: "libelf", look: Look::File(&["/usr/include/libelf.h"]), package: "libelf-dev" },
];

/// Looks at everything that these kernels need.
pub fn examine(recipes: &[Recipe]) -> Vec<Finding> {
    let mut findings = examine_qemu();
    findings.extend(NEEDS.iter().map(examine_need));
    if recipes.iter().any(|recipe| matches!(recipe.origin, Origin::Build(_))) {
        findings.extend(NEEDS_TO_BUILD.iter().map(examine_need));
    }
    let packages: BTreeMap<&str, &Path> = recipes.iter().filter_map(Recipe::package).collect();
    findings.extend(packages.into_iter().map(|(package, archive)| {
        let name = format!("source {package}");
        match std::fs::metadata(archive) {
            Ok(meta) => fine(&name, format!("{} ({} MiB)", archive.display(), meta.len() >> 20)),
            Err(e) => {
                let seen = format!("{}: {e}", archive.display());
                lacks_source(&name, seen, package, archive, debian::sources())
            }
        }
    }));
    findings.push(examine_machine());
    findings.push(examine_cores());
    findings.push(examine_memory());
    match Store::open() {
        Ok(store) => {
            findings.push(examine_disk(store.root()));
            findings.push(examine_kvm(&store));
        }
        Err(failure) => findings.push(Finding {
            name: "kernel store".to_owned(),
            seen: failure.seen,
            state: State::Blocks(failure.next),
        }),
    }
    findings
}

/// Looks at what it takes to boot kernels that are brought along: QEMU, and a machine for it.
pub fn examine_to_boot() -> Vec<Finding> {
    let mut findings = examine_qemu();
    findings.extend([examine_machine(), examine_cores(), examine_memory()]);
    findings
}

/// Looks for a busybox that needs no library: for guests that a person works in.
pub fn examine_busybox() -> Finding {
    const PATH: &str = "/bin/busybox";
    let name = "busybox";
    let package = "busybox-static";
    match std::fs::read(PATH) {
        Ok(data) if is_static(&data) => fine(name, PATH.to_owned()),
        Ok(_) => lacks(name, format!("{PATH} needs libraries"), package),
        Err(e) => lacks(name, format!("{PATH}: {e}"), package),
    }
}

/// Whether an ELF file asks for no dynamic linker (elf(5), PT_INTERP).
fn is_static(data: &[u8]) -> bool {
    use object::read::elf::{ElfFile64, ProgramHeader};
    ElfFile64::<object::Endianness>::parse(data).is_ok_and(|file| {
        let mut headers = file.elf_program_headers().iter();
        !headers.any(|header| header.p_type(file.endian()) == object::elf::PT_INTERP)
    })
}

/// The packages that are missing, each once.
pub fn missing_packages(findings: &[Finding]) -> Vec<&str> {
    let mut packages: Vec<&str> = findings
        .iter()
        .filter_map(|finding| match &finding.state {
            State::Lacks { package } => Some(package.as_str()),
            State::Fine | State::Mind(_) | State::Blocks(_) => None,
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// An error that names every package that is missing, if one is: before anything is built.
///
/// # Errors
/// `Host`.
pub fn require(findings: &[Finding]) -> Result<(), Failure> {
    refuse_blocked(findings)?;
    let packages = missing_packages(findings);
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = findings
        .iter()
        .filter(|finding| matches!(finding.state, State::Lacks { .. }))
        .map(|finding| format!("{}: {}", finding.name, finding.seen))
        .collect();
    Err(Failure::new(
        Kind::Host,
        "find what is needed on this host",
        names.join("\n  "),
        format!("{}, or run the same command with --setup", install_command(&packages)),
    ))
}

/// An error for what no package mends, with what packages are missing besides.
fn refuse_blocked(findings: &[Finding]) -> Result<(), Failure> {
    for finding in findings {
        if let State::Blocks(next) = &finding.state {
            let attempt = format!("work with the {} of this host", finding.name);
            let mut next = next.clone();
            let packages = missing_packages(findings);
            if !packages.is_empty() {
                next.push_str(&format!("\nmissing as well: {}", install_command(&packages)));
            }
            return Err(Failure::new(Kind::Host, attempt, &finding.seen, next));
        }
    }
    Ok(())
}

/// Sees to it that nothing is missing: installs it, if that is wanted, or says what it is. Where something is wrong
/// that no package mends, nothing is installed.
///
/// # Errors
/// As [`debian::install`] and [`require`]; `Interrupted`.
pub fn prepare(examine: impl Fn() -> Vec<Finding>, setup: bool, watch: &dyn Watch) -> Result<(), Failure> {
    let findings = examine();
    // Programs that were not waited for are not missing.
    cancel::check("look at what this host has")?;
    if !setup {
        return require(&findings);
    }
    refuse_blocked(&findings)?;
    let packages = missing_packages(&findings);
    if packages.is_empty() {
        return Ok(());
    }
    debian::install(&packages, watch)?;
    // A package may bring something else than is looked for, or not where it is looked for.
    let findings = examine();
    cancel::check("look at what this host has now")?;
    require(&findings)
}

fn fine(name: &str, seen: String) -> Finding {
    Finding { name: name.to_owned(), seen, state: State::Fine }
}

fn lacks(name: &str, seen: String, package: &str) -> Finding {
    Finding { name: name.to_owned(), seen, state: State::Lacks { package: package.to_owned() } }
}

/// A package of kernel source that is not installed, where apt knows these.
fn lacks_source(
    name: &str,
    seen: String,
    package: &str,
    archive: &Path,
    known: Option<Vec<String>>,
) -> Finding {
    match known {
        Some(known) if !known.iter().any(|known| known == package) => {
            let next = format!(
                "apt knows no {package} here: put the archive at {}, or name kernels of another source with \
                 --kernels: {}, a tarball, a source tree",
                archive.display(),
                known.join(", ")
            );
            Finding { name: name.to_owned(), seen, state: State::Blocks(next) }
        }
        Some(_) | None => lacks(name, seen, package),
    }
}

fn examine_qemu() -> Vec<Finding> {
    match qemu_version() {
        Some(version) => vec![fine("QEMU", version), examine_walls(Walls::of_host())],
        None => vec![lacks("QEMU", format!("no {QEMU}"), "qemu-system-x86")],
    }
}

/// How far guests are shut off from this host. One without a wall boots them all the same, and says so.
fn examine_walls(walls: &Walls) -> Finding {
    let standing = match walls.standing() {
        none if none.is_empty() => "nothing".to_owned(),
        some => some.join(", "),
    };
    let name = "guests shut off".to_owned();
    match walls.open() {
        all if all.is_empty() => Finding { name, seen: standing, state: State::Fine },
        open => Finding { name, seen: standing, state: State::Mind(open.join("; ")) },
    }
}

fn examine_need(need: &Need) -> Finding {
    match need.look {
        Look::Program(program) => match version_of(program) {
            Some(version) => fine(need.name, version),
            None => lacks(need.name, format!("no {program}"), need.package),
        },
        Look::File(places) => match places.iter().find(|place| Path::new(place).exists()) {
            Some(place) => fine(need.name, (*place).to_owned()),
            None => lacks(need.name, format!("no {}", places[0]), need.package),
        },
    }
}

fn version_of(program: &str) -> Option<String> {
    find_program(program)?;
    let output =
        child::output(Command::new(program).arg("--version"), Duration::from_secs(30), vec![]).ok()?;
    output.stdout.lines().next().map(str::to_owned)
}

fn examine_machine() -> Finding {
    let arch = std::env::consts::ARCH;
    if arch == "x86_64" {
        return fine("architecture", arch.to_owned());
    }
    let why = "guests are x86-64, and so must be the host that builds their kernels".to_owned();
    Finding { name: "architecture".to_owned(), seen: arch.to_owned(), state: State::Blocks(why) }
}

fn examine_cores() -> Finding {
    let cores = host_cores();
    fine("cores", cores.to_string())
}

/// Cores that this process may use.
pub fn host_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// What kind of machine this is: times of two of a kind can be held against each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The model of its CPUs.
    pub cpu: String,
    /// Its memory in GiB, to the nearest one: what firmware and kernel keep for themselves varies.
    pub memory_gib: u64,
}

/// This machine.
pub fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let name = read("/proc/sys/kernel/hostname").trim().to_owned();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = model.map_or("unknown", |(_, model)| model.trim()).to_owned();
    let kib = meminfo("MemTotal:").unwrap_or(0);
    Machine { name, cpu, memory_gib: (kib + (1 << 19)) >> 20 }
}

/// A line of `/proc/meminfo`, in KiB.
fn meminfo(line: &str) -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |text: &str| text.strip_prefix(line)?.trim().strip_suffix(" kB")?.trim().parse().ok();
    meminfo.lines().find_map(value)
}

/// Memory that new processes can have, in MiB; 0 where the host does not say.
pub(crate) fn available_mib() -> u64 {
    meminfo("MemAvailable:").unwrap_or(0) >> 10
}

fn examine_memory() -> Finding {
    /// A parallel build of the kernel and a guest with a few hundred LUNs.
    const ENOUGH_MIB: u64 = 2048;
    let mib = available_mib();
    let seen = format!("{mib} MiB available");
    if mib >= ENOUGH_MIB {
        return fine("memory", seen);
    }
    let why = format!("kernels build and guests run well with {ENOUGH_MIB} MiB");
    Finding { name: "memory".to_owned(), seen, state: State::Mind(why) }
}

fn examine_disk(store: &Path) -> Finding {
    /// The source takes 1.5 GiB, an object tree some 200 MiB, a kernel 25 MiB.
    const ENOUGH_MIB: u64 = 2048;
    let name = "disk".to_owned();
    match nix::sys::statvfs::statvfs(store) {
        Ok(stat) => {
            let mib = stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20;
            let seen = format!("{mib} MiB free for the kernel store in {}", store.display());
            if mib >= ENOUGH_MIB {
                return Finding { name, seen, state: State::Fine };
            }
            let why = format!("the first kernel takes {ENOUGH_MIB} MiB; PARPROBE_STORE moves the store");
            // With a source unpacked, most of it is taken already.
            let state = if store.join("sources").exists() { State::Mind(why) } else { State::Blocks(why) };
            Finding { name, seen, state }
        }
        Err(e) => {
            Finding { name, seen: e.to_string(), state: State::Mind("check the store's folder".to_owned()) }
        }
    }
}

fn examine_kvm(store: &Store) -> Finding {
    let name = "KVM".to_owned();
    match accelerator::known_proof(store) {
        Some(proof) if proof.boots => {
            Finding { name, seen: format!("proven: {}", proof.seen), state: State::Fine }
        }
        Some(proof) => {
            let why = "guests run under TCG: right, but slower".to_owned();
            Finding { name, seen: format!("not usable: {}", proof.seen), state: State::Mind(why) }
        }
        None => {
            let seen = "/dev/kvm opens; not proven yet".to_owned();
            Finding { name, seen, state: State::Mind("the first bench proves it by a boot".to_owned()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Nobody;

    #[test]
    fn a_source_that_apt_does_not_have_is_no_package_to_install_and_keeps_others_from_being_installed() {
        let found = |known: Option<&[&str]>| {
            let known = known.map(|known| known.iter().map(|name| (*name).to_owned()).collect());
            let archive = Path::new("/usr/src/linux-source-0.1.tar.xz");
            lacks_source("source", "nothing".to_owned(), "linux-source-0.1", archive, known)
        };
        let lacks = State::Lacks { package: "linux-source-0.1".to_owned() };
        assert_eq!(found(None).state, lacks);
        assert_eq!(found(Some(&["linux-source-0.1"])).state, lacks);

        let findings =
            vec![super::lacks("flex", "no flex".to_owned(), "flex"), found(Some(&["linux-source-0.2"]))];
        let told = require(&findings).unwrap_err();
        assert_eq!(told.kind, Kind::Host);
        for part in ["linux-source-0.1.tar.xz", "--kernels: linux-source-0.2", "apt-get install", "flex"] {
            assert!(told.next.contains(part), "{told}");
        }
        // Installing would fail otherwise, or ask for more than is told here.
        assert_eq!(prepare(|| findings.clone(), true, &Nobody), Err(told));
    }
}
