//! However a harness ends, its guest ends with it.
//!
//! The harness is this program, started again: it boots a guest, says so, and waits for something that does
//! not happen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::guest::{Guest, Image, Order, Patience};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Countable, Request};

use crate::laboratory;
use crate::outcome::{Wrong, trial};

/// Tells the program to be the harness: kernel, initramfs, folder and accelerator, separated by newlines.
const ROLE: &str = "PARPROBE_TEST_HARNESS";

/// Made by the harness in its folder when its guest is up.
const READY: &str = "ready";

pub(crate) fn trials() -> Vec<Trial> {
    let by = |name: &'static str, signal| trial(format!("endings::{name}"), move || ends_by(name, signal));
    vec![by("sigint", Signal::SIGINT), by("sigterm", Signal::SIGTERM), by("sigkill", Signal::SIGKILL)]
}

/// Is the harness, if that is asked for; returns when it was told to stop.
pub(crate) fn be_the_harness() -> Option<Result<(), String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(wait_for_ever(&role))
}

fn wait_for_ever(role: &str) -> Result<(), String> {
    let [kernel, initramfs, folder, accelerator] = role.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("not a role: {role}"));
    };
    let accelerator = match accelerator {
        "KVM" => lab::accelerator::Accelerator::Kvm,
        _ => lab::accelerator::Accelerator::Tcg,
    };
    let topology = Topology::new(1, 1, 1, Duration::ZERO);
    let mut guest = Guest::start(&Order {
        kernel: &Image { path: kernel.into(), own: true },
        initramfs: Path::new(initramfs),
        parameters: "",
        topology: &topology,
        accelerator,
        cpus: 1,
        patience: Patience::of(accelerator),
        folder: Path::new(folder),
    })
    .map_err(|trouble| Failure::from(trouble).to_string())?;
    fs::write(Path::new(folder).join(READY), "").map_err(|e| e.to_string())?;
    let what = Countable::Devices { bus: "scsi".to_owned() };
    let never = Request::Await { what, least: 1000, most: 1000, still_ms: 600_000, timeout_ms: 600_000 };
    match guest.call("wait for ever", never, Duration::from_secs(600)) {
        Err(_) if lab::cancel::requested() => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn ends_by(name: &str, signal: Signal) -> Result<(), Wrong> {
    let mut harness = Harness::with_guest(name)?;
    let id = harness.id();
    let guests = children_of(id);
    if guests.len() != 1 {
        return Err(format!("the harness has the children {guests:?}, not one QEMU").into());
    }
    kill(Pid::from_raw(i32::try_from(id)?), signal)?;

    let deadline = Instant::now() + Duration::from_secs(60);
    while harness.0.try_wait()?.is_none() || guests.iter().any(|guest| lives(guest)) {
        if Instant::now() > deadline {
            return Err(format!("a minute after {signal}: harness {:?}, guest {guests:?}", harness.0).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A process that ends with the test, also where that fails.
pub(crate) struct Harness(pub(crate) Child);

impl Harness {
    /// This program as a harness of its own, whose guest is up.
    pub(crate) fn with_guest(name: &str) -> Result<Self, Wrong> {
        let accelerator = laboratory::accelerator()?;
        let kernel = laboratory::kernel("mainline")?;
        let (folder, _) = laboratory::folder(name)?;
        let role = [
            kernel.image.path.display().to_string(),
            kernel.initramfs.display().to_string(),
            folder.display().to_string(),
            accelerator.to_string(),
        ];
        let mut harness = Self(
            Command::new(std::env::current_exe()?)
                .env(ROLE, role.join("\n"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.join("harness.log"))?)
                .spawn()?,
        );
        let deadline = Instant::now() + Duration::from_secs(240);
        while !folder.join(READY).exists() {
            let ended = harness.0.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let how = ended.map_or("it still runs".to_owned(), |status| status.to_string());
                let said = fs::read_to_string(folder.join("harness.log"))?;
                let next = format!("read console.log and harness.log in {}", folder.display());
                let attempt = "start another harness with a guest";
                return Err(Failure::new(Kind::Guest, attempt, format!("{how}; {said}"), next).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(harness)
    }

    /// Its process ID.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folders in `/proc` of a process's children.
pub(crate) fn children_of(parent: u32) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.filter(|path| status(path, "PPid:").as_deref() == Some(&parent.to_string())).collect()
}

/// A process that was killed may stay as a zombie until its new parent looks after it: that is no life.
fn lives(process: &Path) -> bool {
    status(process, "State:").is_some_and(|state| !state.starts_with('Z'))
}

/// A line of a process's or thread's status.
pub(crate) fn status(process: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(process.join("status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
}
