//! A bench with one guest that has a fault: how it ends, what it says, what it keeps and what it leaves.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::left::Before;
use crate::middle::{self, Fault};

/// How long a bench may take: every deadline of the harness, and guests that share the host with others.
const PATIENCE: Duration = Duration::from_secs(900);

/// What the harness may take of memory, in KiB, whatever a guest sends.
const MOST_MEMORY: u64 = 512 << 10;

/// What is kept of a console, in bytes, and a line that says that it was more.
const LARGEST_CONSOLE: u64 = (64 << 20) + 4096;

/// The kernel of its guests: of where its probes run nothing is expected, which few of them could not always tell.
const KERNEL: &str = "with";

/// How a bench is to end.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) code: i32,
    /// Parts of what it says.
    pub(crate) says: &'static [&'static str],
    /// Guests that are kept: they came to their end.
    pub(crate) boots: usize,
    /// Forks of each boot: there is one boot where there are any, else there are two.
    pub(crate) forks: usize,
    /// How often a guest was started again.
    pub(crate) again: usize,
    /// The guest that has the fault, in the order in which they are started, from 1 on.
    pub(crate) guest: usize,
}

impl Expected {
    pub(crate) const WELL: Self = Self { code: 0, says: &[], boots: 2, forks: 0, again: 0, guest: 2 };

    pub(crate) const fn again(self, again: usize) -> Self {
        Self { again, ..self }
    }

    pub(crate) const fn saying(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }
}

/// Why a test did not pass.
pub(crate) enum Wrong {
    /// The bench did not end as it has to.
    Failed(String),
    /// It could not be begun.
    World(io::Error),
}

impl From<io::Error> for Wrong {
    fn from(e: io::Error) -> Self {
        Self::World(e)
    }
}

/// Carries out a bench of two guests, of which one has the fault.
pub(crate) fn carry_out(fault: Fault, expected: &Expected) -> Result<(), Wrong> {
    let room = tempfile::tempdir()?;
    let folder = room.path().canonicalize()?;
    for name in ["bin", "tmp"] {
        fs::create_dir(folder.join(name))?;
    }
    symlink(std::env::current_exe()?, folder.join("bin").join(lab::guest::QEMU))?;

    let before = Before::look(&folder);
    let status = ended(&mut bench(&folder, fault, expected)?);
    let said = ["stdout", "stderr"].map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default());
    let said = said.concat();
    let mut wrongs: Vec<String> = Vec::new();
    match status {
        Ok(status) if status.code() == Some(expected.code) => {}
        Ok(status) => wrongs.push(format!("{status}, not {}", expected.code)),
        Err(e) => wrongs.push(e.to_string()),
    }
    wrongs.extend(
        expected.says.iter().filter(|part| !said.contains(**part)).map(|part| format!("no \"{part}\"")),
    );
    if said.contains("panicked") {
        wrongs.push("it panicked".to_owned());
    }
    wrongs.extend(kept(&folder.join("run"), expected));
    wrongs.extend(before.left().into_iter().map(|what| format!("left behind: {what}")));
    if wrongs.is_empty() {
        return Ok(());
    }
    // For whoever looks into it.
    let kept = room.keep();
    let wrongs = wrongs.join("\n");
    Err(Wrong::Failed(format!("{wrongs}\nit said: {said}\nits files are kept in {}", kept.display())))
}

fn bench(folder: &Path, fault: Fault, expected: &Expected) -> io::Result<Child> {
    let file = |name: &str| File::create(folder.join(name));
    let path = std::env::var("PATH").unwrap_or_default();
    let boots = if expected.forks == 0 { "2" } else { "1" };
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["bench", "--kernels", KERNEL, "--luns", "8", "--hbas", "1", "--accel", "tcg"])
        // Three reads of a probe take longer than it is under way when its QEMU is killed.
        .args(["--latency", "50ms"])
        .args(["--boots", boots, "--forks", &expected.forks.to_string(), "--out"])
        .arg(folder.join("run"))
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("TMPDIR", folder.join("tmp"))
        .env(middle::FOLDER, folder)
        .env(middle::FAULT, format!("{} {}", expected.guest, fault.name()))
        .env(middle::REAL_PATH, path)
        .stdin(Stdio::null())
        .stdout(file("stdout")?)
        .stderr(file("stderr")?);
    command.spawn()
}

/// How it ended, in bounds of time and memory.
fn ended(bench: &mut Child) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", bench.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let memory: u64 = peak.and_then(|peak| peak.parse().ok()).unwrap_or(0);
        if let Some(status) = bench.try_wait()? {
            return Ok(status);
        }
        // The host shall not pay for a harness that keeps whatever it is sent.
        if memory > MOST_MEMORY || Instant::now() > deadline {
            bench.kill()?;
            bench.wait()?;
            let text = format!("the bench takes {memory} KiB of memory, or does not end within {PATIENCE:?}");
            return Err(io::Error::other(text));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is wrong with what the run kept: its plan, the guests that came to their end, a verdict or why there is none.
fn kept(run: &Path, expected: &Expected) -> Vec<String> {
    let mut wrongs = Vec::new();
    let boots = || fs::read_dir(run.join("boots")).into_iter().flatten().flatten().map(|entry| entry.path());
    let whole = boots().filter(|boot| boot.join("guest.json").is_file()).count();
    if whole != expected.boots {
        wrongs.push(format!("{whole} guests are kept, not {}", expected.boots));
    }
    for boot in boots() {
        let console = fs::metadata(boot.join("console.log")).map(|file| file.len()).unwrap_or_default();
        if console > LARGEST_CONSOLE {
            wrongs.push(format!("{console} bytes of console in {}", boot.display()));
        }
    }
    let earlier = |boot: PathBuf| {
        (1..).take_while(move |n| boot.join(format!("crash-{n}-console.log")).is_file()).count()
    };
    let again: usize = boots().map(earlier).sum();
    if again != expected.again {
        wrongs.push(format!("{again} earlier starts are kept, not {}", expected.again));
    }
    if !run.join("plan.json").is_file() {
        wrongs.push("no plan.json".to_owned());
    }
    // A verdict can be reported on; of a run without one it is said why there is none.
    let report = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("report")
        .arg(run)
        .args(["--format", "csv"])
        .stdin(Stdio::null())
        .output();
    // What was known after the last round is reported on, too, and as no more than that.
    let (code, says) = match (expected.code < 64, run.join("so-far.json").is_file()) {
        (true, _) => (0, ""),
        (false, true) => (0, "it did not come to its verdict: this is what was known"),
        (false, false) => (64, "it did not come to its verdict: could not "),
    };
    match report {
        Ok(report)
            if report.status.code() == Some(code)
                && String::from_utf8_lossy(&report.stderr).contains(says) => {}
        other => wrongs.push(format!("the report, not {code} with \"{says}\": {other:?}")),
    }
    wrongs
}
