//! A store with two finished kernels, and benches in it as processes of their own; and what they leave behind.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lab::footprint::{Standing, at_work_in};
use serde_json::Value;

use crate::laboratory;
use crate::outcome::Wrong;

/// Longer than a bench of a few small guests takes on a host that has much else to do.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long what a bench has started may outlive it: make and the like have two seconds to clean up.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// The kernels of each bench. Neither promises on which node a probe is: with other benches on the same CPUs, that is
/// chance for a kernel that only begins them there (seen: 5 of 8, and it cannot be told).
const KERNELS: [&str; 2] = ["without", "with"];

/// The command line, beside this program.
pub(super) fn xtask() -> Option<PathBuf> {
    let xtask = std::env::current_exe().ok()?.parent()?.parent()?.join("xtask");
    xtask.is_file().then_some(xtask)
}

/// Where benches are carried out.
pub(super) struct World {
    pub(super) folder: PathBuf,
    pub(super) store: PathBuf,
    standing: Standing,
}

impl World {
    /// With the kernels that are there already, so that nothing is built.
    pub(super) fn new(name: &str) -> Result<Self, Wrong> {
        let (folder, _) = laboratory::folder(name)?;
        let store = folder.join("store");
        for name in KERNELS {
            let kernel = laboratory::kernel(name)?;
            let from = kernel.image.path.parent().ok_or("a kernel has no folder")?;
            lab::copy::folder(from, &store.join("kernels").join(&kernel.id))?;
        }
        fs::create_dir(folder.join("tmp"))?;
        let standing = Standing::now(&[&store, &folder.join("tmp")]);
        Ok(Self { folder, store, standing })
    }

    /// A bench of four guests and a fork of each, on its way to this folder.
    pub(super) fn bench(&self, out: &Path) -> Result<Command, Wrong> {
        let accel = laboratory::accelerator()?.to_string().to_lowercase();
        let mut command = Command::new(xtask().ok_or("there is no command line")?);
        command.args(["bench", "--kernels", &KERNELS.join(","), "--luns", "8", "--hbas", "2"]);
        command.args(["--boots", "2", "--forks", "1", "--accel", &accel, "--out"]).arg(out);
        self.at_home(&mut command);
        Ok(command)
    }

    /// A report on this folder.
    pub(super) fn report(&self, run: &Path) -> Result<Said, Wrong> {
        let mut command = Command::new(xtask().ok_or("there is no command line")?);
        command.args(["report", "--format", "junit"]).arg(run);
        self.at_home(&mut command);
        self.start("report", command)?.ended()
    }

    fn at_home(&self, command: &mut Command) {
        command.env("PARPROBE_STORE", &self.store).env("TMPDIR", self.folder.join("tmp"));
        // What these tests were told is not for a bench.
        for variable in ["PARPROBE_RUN", "PARPROBE_KERNELS", "PARPROBE_ACCEL"] {
            command.env_remove(variable);
        }
    }

    /// Starts a command whose words go to files.
    pub(super) fn start(&self, name: &str, mut command: Command) -> Result<Running, Wrong> {
        let [stdout, stderr] = ["out", "err"].map(|stream| self.folder.join(format!("{name}.{stream}")));
        command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        Ok(Running { child: command.spawn()?, stdout, stderr })
    }

    /// Carries a command out.
    pub(super) fn said(&self, name: &str, command: Command) -> Result<Said, Wrong> {
        self.start(name, command)?.ended()
    }

    /// That nothing is left of processes that have ended: no other process, file, lock or memory.
    pub(super) fn nothing_is_left(&self) -> Result<(), Wrong> {
        let deadline = Instant::now() + AFTERWARDS;
        loop {
            let (processes, new) = (at_work_in(&self.folder), self.standing.new_since());
            // A store makes itself folders; kernels and sources are no leftovers.
            let of_store = |path: &PathBuf| {
                path.parent() == Some(&self.store)
                    && ["kernels", "sources", "patches", "downloads", "kvm-proof.json"]
                        .iter()
                        .any(|name| path.ends_with(name))
            };
            let new: Vec<PathBuf> = new.into_iter().filter(|path| !of_store(path)).collect();
            if processes.is_empty() && new.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{AFTERWARDS:?} later there are {processes:?} and {new:?}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes it: the kernels are large.
    pub(super) fn end(self) -> Result<(), Wrong> {
        Ok(fs::remove_dir_all(&self.store)?)
    }
}

/// A command that runs; it ends with the test, also where that fails.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

impl Running {
    /// Waits for its end.
    pub(super) fn ended(mut self) -> Result<Said, Wrong> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(
                    format!("not done after {PATIENCE:?}: {}", fs::read_to_string(&self.stderr)?).into()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Said { status, stdout: read(&self.stdout)?, stderr: read(&self.stderr)? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    /// As a shell tells it: with 128 and its number for a signal.
    pub(super) fn code(&self) -> i32 {
        self.status.code().or(self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// That it ended with this code, and said these.
    pub(super) fn is(&self, code: i32, parts: &[&str]) -> Result<(), Wrong> {
        let missing = parts.iter().find(|part| !self.stderr.contains(**part));
        if self.code() == code && missing.is_none() && !self.stderr.contains("panicked") {
            return Ok(());
        }
        Err(format!("not {code} with {parts:?}: {self:?}").into())
    }
}

/// That a bench came to a verdict in which all that these kernels are to do is supported. Which one is faster may be
/// open: two boots are few.
pub(super) fn is_right(run: &Path, said: &Said) -> Result<(), Wrong> {
    ended_right(run, said, &[0, 2])
}

/// The same of one that ended with one of these codes.
pub(super) fn ended_right(run: &Path, said: &Said, codes: &[i32]) -> Result<(), Wrong> {
    if !codes.contains(&said.code()) {
        return Err(format!("no verdict: {said:?}").into());
    }
    let text = fs::read_to_string(run.join("verdict.json"))?;
    let document: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let results = document["results"].as_array().ok_or("it has no results")?;
    let right = |result: &Value| {
        result["outcome"] == "supported" && result["boots"].as_array().is_some_and(|boots| boots.len() == 4)
    };
    if results.len() != KERNELS.len() || !results.iter().all(right) {
        let short = |result: &Value| {
            let findings = result["findings"].as_array().into_iter().flatten();
            let open: Vec<String> = findings
                .filter(|finding| finding["outcome"] != "supported")
                .map(|finding| {
                    format!("{}: {}, {}", finding["expected"], finding["seen"], finding["outcome"])
                })
                .collect();
            let boots = result["boots"].as_array().map_or(0, Vec::len);
            format!("{}, {boots} boots: {}", result["kernel"], open.join("; "))
        };
        let told: Vec<String> = results.iter().map(short).collect();
        return Err(format!("not all is supported in {}: {}", run.display(), told.join("\n")).into());
    }
    Ok(())
}
