//! A guest is shut off: whoever has taken its QEMU over reads no file of the host, writes none, starts nothing, and
//! reaches no network.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use lab::guest::{Guest, Walls};
use libtest_mimic::{Completion, Trial};
use protocol::Request;

use crate::endings::status;
use crate::laboratory;
use crate::neighbours::qemu_of;
use crate::outcome::{Wrong, carry_out, skipped};

pub(crate) fn trials() -> Vec<Trial> {
    let on = |name: &'static str, wall: Option<Wall>, look: Look| {
        let full = format!("closed::{name}");
        Trial::ignorable_test(full.clone(), move || {
            if let Some(why) = wall.and_then(Wall::unknown_here) {
                return Ok(Completion::ignored_with(skipped(&full, why)?));
            }
            carry_out(&full, || {
                if let Some(why) = wall.and_then(Wall::open) {
                    return Err(Wrong::Inconclusive(format!("QEMU does not start behind it: {why}")));
                }
                with_guest(name, look)
            })?;
            Ok(Completion::Completed)
        })
    };
    vec![
        on("the_filter_is_on_in_every_thread", Some(Wall::Seccomp), the_filter_is_on),
        on("there_is_no_network", None, there_is_no_network),
        on("qemu_makes_no_connection", Some(Wall::Tcp), no_connection),
        on("qemu_reads_and_writes_no_file_of_the_host", Some(Wall::Files), no_file_of_the_host),
        on("qemu_starts_no_program", Some(Wall::Seccomp), no_program),
        on("memory_and_files_of_qemu_are_bounded", None, bounded),
    ]
}

/// What a test looks at.
type Look = fn(&mut Closed) -> Result<(), Wrong>;

/// A wall that a test is about.
#[derive(Clone, Copy)]
enum Wall {
    /// The seccomp filter.
    Seccomp,
    /// What Landlock says of files.
    Files,
    /// What it says of TCP.
    Tcp,
}

impl Wall {
    /// Why there cannot be such a wall on this kernel.
    fn unknown_here(self) -> Option<&'static str> {
        match (self, Walls::version_of_landlock()) {
            (Self::Seccomp, _) | (Self::Files, Some(_)) | (Self::Tcp, Some(4..)) => None,
            (Self::Files | Self::Tcp, None) => {
                Some("this host's kernel has no Landlock; `cargo xtask doctor` says why")
            }
            (Self::Tcp, Some(_)) => {
                Some("Landlock of this kernel knows nothing of TCP: that is since Linux 6.7")
            }
        }
    }

    /// Why it does not stand, though this kernel could have it.
    fn open(self) -> Option<String> {
        let walls = Walls::of_host();
        match self {
            Self::Seccomp => walls.seccomp.clone().err(),
            Self::Files | Self::Tcp => walls.landlock.clone().err(),
        }
    }
}

/// A guest with its QEMU, and a folder that is not its own.
struct Closed {
    guest: Guest,
    qemu: std::path::PathBuf,
    elsewhere: tempfile::TempDir,
}

fn with_guest(name: &str, look: impl FnOnce(&mut Closed) -> Result<(), Wrong>) -> Result<(), Wrong> {
    let (guest, folder) = laboratory::small_guest(name)?;
    let qemu = qemu_of(&folder).ok_or("QEMU is not among our children")?;
    look(&mut Closed { guest, qemu, elsewhere: tempfile::tempdir()? })
}

fn the_filter_is_on(closed: &mut Closed) -> Result<(), Wrong> {
    let threads: Vec<_> = fs::read_dir(closed.qemu.join("task"))?.collect::<Result<_, _>>()?;
    for thread in &threads {
        // SECCOMP_MODE_FILTER (proc_pid_status(5)).
        let seen = ["Seccomp:", "NoNewPrivs:"].map(|key| status(&thread.path(), key).unwrap_or_default());
        if seen != ["2", "1"] {
            return Err(format!("a thread of {}: {seen:?}", threads.len()).into());
        }
    }
    if threads.len() < 2 { Err("a QEMU of one thread".into()) } else { Ok(()) }
}

fn there_is_no_network(closed: &mut Closed) -> Result<(), Wrong> {
    // Of the guest: no device, whether its kernel has a driver for it or not.
    let pci = closed.guest.ask_qemu("info pci")?;
    if !pci.contains("SCSI controller") || pci.contains("Ethernet") || pci.contains("Network") {
        return Err(format!("not the devices of a guest without a network: {pci}").into());
    }
    if let Ok((_, devices)) =
        closed.guest.quick_call("list it", Request::ReadFile { path: "/proc/net/dev".to_owned() })
    {
        let devices = String::from_utf8_lossy(&devices).into_owned();
        let other = devices.lines().skip(2).find(|line| !line.trim_start().starts_with("lo:"));
        if let Some(other) = other {
            return Err(format!("the guest has a network device: {other}").into());
        }
    }
    // Of QEMU: no socket but those to the harness, and none that it could make.
    let sockets = sockets_of(&closed.qemu)?;
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"] {
        let table = fs::read_to_string(closed.qemu.join("net").join(table)).unwrap_or_default();
        if let Some(line) =
            table.lines().find(|line| line.split_whitespace().any(|word| sockets.contains(word)))
        {
            return Err(format!("QEMU has a socket: {line}").into());
        }
    }
    Ok(())
}

fn no_connection(closed: &mut Closed) -> Result<(), Wrong> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let connect = format!("chardev-add socket,id=out,host=127.0.0.1,port={}", listener.local_addr()?.port());
    refused(closed, &connect, "Permission denied")?;
    refused(closed, "chardev-add socket,id=in,host=127.0.0.1,port=0,server=on,wait=off", "Permission denied")
}

/// The inodes of a process's sockets.
fn sockets_of(process: &Path) -> Result<BTreeSet<String>, Wrong> {
    let mut inodes = BTreeSet::new();
    for open in fs::read_dir(process.join("fd"))? {
        // It may be closed by now.
        let Ok(target) = fs::read_link(open?.path()) else { continue };
        let target = target.display().to_string();
        inodes.extend(
            target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned),
        );
    }
    Ok(inodes)
}

fn no_file_of_the_host(closed: &mut Closed) -> Result<(), Wrong> {
    let folder = closed.elsewhere.path().to_owned();
    let secret = folder.join("secret");
    fs::write(&secret, [7; 4096])?;
    let denied = "Permission denied";
    for read in ["drive_add 0 if=none,id=d,format=raw,readonly=on,file={}", "chardev-add pipe,id=p,path={}"] {
        refused(closed, &read.replace("{}", &secret.display().to_string()), denied)?;
    }
    let written = folder.join("written");
    let place = written.display();
    // What it says of each differs, and some say nothing: what counts is that no file is there.
    for write in [
        format!("pmemsave 0 4096 \"{place}\""),
        format!("dump-guest-memory \"{place}\""),
        format!("chardev-add file,id=f,path={place}"),
        format!("chardev-add socket,id=s,path={place},server=on,wait=off"),
        format!("logfile \"{place}\""),
        format!("pmemsave 0 4096 \"{}\"", secret.display()),
    ] {
        let said = closed.guest.ask_qemu(&write)?;
        if written.exists() || fs::read(&secret)? != [7; 4096] {
            return Err(format!("{write}: it did, and said {said:?}").into());
        }
    }
    // Its own folder, where it writes by descriptor, is no exception.
    let log = fs::read_link(closed.qemu.join("fd/2"))?;
    refused(closed, &format!("pmemsave 0 4096 \"{}\"", log.with_file_name("dump").display()), denied)?;
    Ok(())
}

fn no_program(closed: &mut Closed) -> Result<(), Wrong> {
    let made = closed.elsewhere.path().join("made");
    // The filter ends a QEMU that tries, so that no answer comes; or it is told no.
    let said = closed.guest.ask_qemu(&format!("migrate \"exec:touch {0}; cat > {0}\"", made.display()));
    let after = closed.guest.ask_qemu("info status");
    std::thread::sleep(Duration::from_millis(200));
    match (made.exists(), &said, &after) {
        (false, _, Err(_)) | (false, Err(_), _) => Ok(()),
        (false, Ok(said), Ok(_)) if !said.is_empty() => Ok(()),
        (made, said, after) => Err(format!("made: {made}; {said:?}, then {after:?}").into()),
    }
}

fn bounded(closed: &mut Closed) -> Result<(), Wrong> {
    let limits = fs::read_to_string(closed.qemu.join("limits"))?;
    for limit in ["Max core file size", "Max file size", "Max data size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit)).ok_or("a limit is not listed")?;
        if line.trim_start().starts_with("unlimited") {
            return Err(format!("{limit}: {line}").into());
        }
    }
    // Ended before us, where memory is short.
    let score = |process: &Path| -> Result<i32, Wrong> {
        let text = fs::read_to_string(process.join("oom_score_adj"))?;
        text.trim().parse().map_err(|e| format!("{text}: {e}").into())
    };
    match (score(&closed.qemu)?, score(Path::new("/proc/self"))?) {
        (theirs, ours) if theirs > ours || theirs == 1000 => Ok(()),
        scores => Err(format!("QEMU and we have the scores {scores:?}").into()),
    }
}

/// Asks QEMU for something that it shall not do.
fn refused(closed: &mut Closed, line: &str, because: &str) -> Result<(), Wrong> {
    let said = closed.guest.ask_qemu(line)?;
    if said.contains(because) { Ok(()) } else { Err(format!("{line}: QEMU says {said:?}").into()) }
}
