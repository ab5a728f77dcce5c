//! Fetches the logs of a guest and writes them to the folder of its boot.

use std::fs;
use std::time::{Duration, Instant};

use evidence::units::{CpuId, NodeId};
use protocol::Request;

use super::Session;
use crate::cancel;
use crate::failure::Failure;
use crate::guest::{CallError, Trouble};
use crate::run::witnesses::{TRACING, hung_after_secs};
use crate::run::{Left, Record, as_text};

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Session<'_> {
    /// As far as it goes: it is called when something else has failed already.
    pub(super) fn save_log(&mut self) {
        if let Ok((_, log)) = self.guest.quick_call("read the kernel log", Request::ReadKmsg) {
            let _ = fs::write(self.boot.folder.join("kmsg.txt"), log);
        }
    }

    /// Reads on in the kernel log.
    pub(super) fn read_on(&mut self) -> Result<(), Trouble> {
        let (_, more) = self.call("read on in the kernel log", Request::ReadKmsgOn, self.patience())?;
        self.at.calls.see(&String::from_utf8_lossy(&more));
        self.at.kmsg.extend(more);
        Ok(())
    }

    /// Waits until no probe and no asynchronous call is under way: a device is bound a little before its probe
    /// has returned. Where that does not come about, what is still under way.
    pub(super) fn await_quiet(&mut self) -> Result<Option<String>, Trouble> {
        // Not before the kernel has said of itself that it hangs: it looks once in that time.
        let told_to_hang = Duration::from_secs(2 * hung_after_secs(self.boot.topology) + 10);
        let (patience, longest_pause) = (self.patience(), self.still().max(told_to_hang));
        let deadline = Instant::now() + patience;
        let (mut last, mut changed) = ((0, 0), Instant::now());
        loop {
            self.read_on()?;
            let calls = self.at.calls.left();
            // The trace also shows the probes that run in no asynchronous call; as long as one does, it is not needed.
            let probes = if calls > 0 || !self.at.traced { 0 } else { self.probes_under_way()? };
            let now = Instant::now();
            if (calls, probes) == (0, 0) {
                return Ok(None);
            }
            if (calls, probes) != last {
                (last, changed) = ((calls, probes), now);
            }
            if now >= deadline || now - changed >= longest_pause {
                let unchanged = (now - changed).as_secs();
                return Ok(Some(format!(
                    "the phase did not come to rest: {calls} asynchronous calls and {probes} probes under way, \
                     the same for {unchanged} s"
                )));
            }
            cancel::check("wait for the probes of a phase")?;
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn probes_under_way(&mut self) -> Result<usize, Trouble> {
        let request = Request::ReadFile { path: format!("{TRACING}/trace") };
        let (_, trace) = self.call("read the trace", request, self.patience())?;
        Ok(evidence::under_way::probes(&String::from_utf8_lossy(&trace)))
    }

    /// Fetches everything and writes down the logs.
    pub(in crate::run) fn collect(&mut self, initcalls: Vec<String>) -> Result<Record, Trouble> {
        let neighbours = self.guest.neighbours();
        let memory = match self.guest.memory() {
            Err(CallError::Lost(lost)) => return Err(lost.into()),
            // A kernel may have no /proc/meminfo that we understand.
            read => read.ok().flatten(),
        };
        if self.at.traced {
            self.set(&format!("{TRACING}/tracing_on"), "0")?
                .map_err(|why| self.cannot("end the trace", why))?;
        }
        self.read_on()?;
        let kmsg = std::mem::take(&mut self.at.kmsg);
        let kmsg = self.keep("kmsg.txt", kmsg)?;
        // A witness that was called has to be heard: without a trace the kernel would pass as one without.
        let (mut trace, mut kprobe_profile) = (None, None);
        if self.at.traced {
            trace = Some(self.fetch("trace", "trace.txt")?);
            kprobe_profile = Some(self.fetch("kprobe_profile", "kprobe_profile.txt")?);
        }
        let hello = self.guest.hello();
        let left = Left {
            release: hello.release.clone(),
            build: hello.build.clone(),
            cmdline: hello.cmdline.clone(),
            cpus: hello.cpus.iter().map(|cpu| (CpuId(cpu.cpu), cpu.node.map(NodeId))).collect(),
            phases: std::mem::take(&mut self.at.phases),
            initcalls,
            neighbours,
            memory,
            blind_spots: std::mem::take(&mut self.at.blind_spots),
        };
        Ok(Record { left, kmsg, trace, kprobe_profile })
    }

    /// Reads a file of tracefs and keeps it.
    pub(super) fn fetch(&mut self, file: &str, name: &str) -> Result<String, Trouble> {
        let request = Request::ReadFile { path: format!("{TRACING}/{file}") };
        let (_, body) = self.call(&format!("read {file}"), request, self.patience())?;
        self.keep(name, body)
    }

    /// Writes bytes to the folder of the boot, as they came, and returns them as text.
    pub(super) fn keep(&self, name: &str, bytes: Vec<u8>) -> Result<String, Trouble> {
        let path = self.boot.folder.join(name);
        fs::write(&path, &bytes).map_err(|e| Failure::file("write", &path, &e))?;
        Ok(as_text(bytes))
    }
}
