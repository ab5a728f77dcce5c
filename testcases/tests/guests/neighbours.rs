//! A guest has CPUs of its own, whichever harness started it, and who else is busy on them is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use evidence::cpus::Cpus;
use evidence::neighbours::Neighbours;
use lab::guest::topology::Topology;
use lab::run::{self, Ending};
use libtest_mimic::Trial;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use testcases::DRIVER_AFTER_DEVICES;

use crate::endings::{Harness, children_of, status};
use crate::laboratory;
use crate::outcome::{Wrong, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::guests_have_cpus_of_their_own".to_owned(), guests_have_cpus_of_their_own),
        trial("neighbours::a_busy_one_is_noticed".to_owned(), a_busy_one_is_noticed),
    ]
}

/// One guest of this process and one of another, on a CPU each.
fn guests_have_cpus_of_their_own() -> Result<(), Wrong> {
    let (guest, folder) = laboratory::small_guest("own-cpus")?;
    let harness = Harness::with_guest("own-cpus-too")?;
    let others = children_of(harness.id());
    let ours = qemu_of(&folder).ok_or("QEMU is not among our children")?;
    let other = others.first().ok_or("the other harness has no QEMU")?;
    let (one, two) = (cpus_of(&ours)?, cpus_of(other)?);
    let seen = format!("the guests run on CPUs {one} and {two}");
    let apart = lab::host::host_cores() < 2 || one.0.is_disjoint(&two.0);
    let result = match (one.0.len(), two.0.len(), apart) {
        (1, 1, true) => Ok(()),
        (1, 1, false) if signs_of_others(harness.id())? > 0 => {
            Err(Wrong::Inconclusive(format!("{seen}, and yet another harness has some")))
        }
        _ => Err(seen.into()),
    };
    guest.end();
    result
}

/// How many CPUs have a sign of a harness that is neither this process nor that one.
fn signs_of_others(harness: u32) -> Result<usize, Wrong> {
    let mut known = Vec::new();
    for process in ["self".to_owned(), harness.to_string()] {
        for open in fs::read_dir(Path::new("/proc").join(process).join("fd"))? {
            // It may be closed by now.
            known.extend(fs::read_link(open?.path()));
        }
    }
    // unix(7): the inode is the seventh column, the name the eighth, with @ for an abstract one.
    let sockets = fs::read_to_string("/proc/net/unix")?;
    let signs = sockets.lines().filter(|line| line.contains("@parprobe-cpu-"));
    let inodes = signs.filter_map(|line| line.split_whitespace().nth(6));
    Ok(inodes.filter(|inode| !known.contains(&PathBuf::from(format!("socket:[{inode}]")))).count())
}

fn a_busy_one_is_noticed() -> Result<(), Wrong> {
    let (folder, _) = laboratory::folder("quiet")?;
    let quiet = neighbours_of_a_boot(&folder)?;
    let (folder, _) = laboratory::folder("busy")?;
    let busy = thread::scope(|scope| {
        let spinning = scope.spawn(|| spin_beside(&folder));
        let busy = neighbours_of_a_boot(&folder);
        let spinning = spinning.join().map_err(|_| "the one who was to spin panicked")?;
        busy.and_then(|busy| spinning.map(|_| busy))
    })?;
    let seen = format!("with a busy neighbour {busy:?}, without one {quiet:?}");
    match (busy.busy(), busy.share > quiet.share, quiet.busy()) {
        (true, true, _) => Ok(()),
        // Somebody else has the CPUs already, and more than all nobody can take.
        (true, false, true) => Err(Wrong::Inconclusive(seen)),
        _ => Err(seen.into()),
    }
}

fn neighbours_of_a_boot(folder: &Path) -> Result<Neighbours, Wrong> {
    let case = &DRIVER_AFTER_DEVICES;
    let topology = Topology { luns: 16, ..case.topology };
    let kernel = laboratory::kernel("mainline")?;
    let ending = run::carry_out(&run::Boot {
        kernel: &kernel,
        topology: &topology,
        steps: case.steps,
        parameters: case.parameters,
        seed: 0,
        accelerator: laboratory::accelerator()?,
        folder,
    })?;
    match ending {
        Ending::Well(record) => record.left.neighbours.ok_or_else(|| "nothing is known of neighbours".into()),
        Ending::Died { lost, .. } => Err(lost.into()),
    }
}

/// Waits for the guest of this folder, and has loops run on its CPUs, two on each, until they are dropped.
fn spin_beside(folder: &Path) -> Result<Vec<Harness>, Wrong> {
    // It ends with us, however we end.
    const LOOP: &str = "while kill -0 $PPID; do :; done";
    // It may have to wait for CPUs until other guests are done.
    let deadline = Instant::now() + Duration::from_secs(900);
    let qemu = loop {
        match qemu_of(folder) {
            Some(qemu) => break qemu,
            None if Instant::now() > deadline => {
                return Err(Wrong::Inconclusive("no QEMU for a quarter of an hour".to_owned()));
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let cpus = cpus_of(&qemu)?;
    let mut spinning = Vec::new();
    for cpu in cpus.0.iter().chain(&cpus.0) {
        let mut command = Command::new("sh");
        command.args(["-c", LOOP]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Harness(command.spawn()?);
        let mut set = CpuSet::new();
        set.set(usize::try_from(*cpu)?)?;
        sched_setaffinity(Pid::from_raw(i32::try_from(child.id())?), &set)?;
        spinning.push(child);
    }
    Ok(spinning)
}

/// The QEMU among our children that writes its errors to this folder.
pub(crate) fn qemu_of(folder: &Path) -> Option<PathBuf> {
    let log = folder.join("qemu.log");
    let is_it = |process: &PathBuf| fs::read_link(process.join("fd/2")).is_ok_and(|file| file == log);
    let runs = |process: &PathBuf| status(process, "Name:").is_some_and(|name| name.starts_with("qemu"));
    children_of(std::process::id()).into_iter().find(|process| is_it(process) && runs(process))
}

/// The CPUs that all threads of a process may run on.
fn cpus_of(process: &Path) -> Result<Cpus, Wrong> {
    let mut all = Cpus::default();
    for thread in fs::read_dir(process.join("task"))? {
        let list = status(&thread?.path(), "Cpus_allowed_list:").ok_or("a thread without a status")?;
        all.0.extend(list.parse::<Cpus>()?.0);
    }
    Ok(all)
}
