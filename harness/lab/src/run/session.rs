//! Leads one guest through the steps of a boot.

use std::fs;
use std::time::Duration;

use evidence::boot::Lun;
use evidence::ftrace::ATTACH_FUNCTIONS;
use evidence::units::{CpuId, NodeId};
use protocol::{Answer, Countable, Request};

use crate::failure::{Failure, Kind};
use crate::guest::{CallError, Guest, Patience};
use crate::run::{Boot, Left, Record};

const TRACING: &str = "/sys/kernel/tracing";

/// A guest at work.
pub(super) struct Session<'a> {
    guest: Guest,
    boot: &'a Boot<'a>,
    loaded: Vec<String>,
    blind_spots: Vec<String>,
    /// Whether the kprobe events are on: then there is a trace.
    traced: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: Guest, boot: &'a Boot<'a>) -> Self {
        Self { guest, boot, loaded: Vec::new(), blind_spots: Vec::new(), traced: false }
    }

    pub(super) fn end(self) {
        self.guest.end();
    }

    fn call(
        &mut self,
        doing: &str,
        request: Request,
        patience: Duration,
    ) -> Result<(Answer, Vec<u8>), Failure> {
        let doing = format!("{doing} in a guest with the kernel \"{}\"", self.boot.kernel.name);
        self.guest.call(&doing, request, patience).map_err(|e| {
            if matches!(e, CallError::Refused(_)) {
                // The guest is well: what its kernel says about this is worth keeping.
                self.save_log();
            }
            e.into_failure(&doing, self.boot.folder)
        })
    }

    /// As far as it goes: it is called when something else has failed already.
    fn save_log(&mut self) {
        if let Ok((_, log)) = self.guest.quick_call("read the kernel log", Request::ReadKmsg) {
            let _ = fs::write(self.boot.folder.join("kmsg.txt"), log);
        }
    }

    /// Enough for any call of this topology, however serial its probes are.
    fn patience(&self) -> Duration {
        Patience::of(self.boot.accelerator).call + self.boot.topology.serial_time() * 2
    }

    /// Loads a module after those it depends on. One that is loaded already is left as it is.
    pub(super) fn load(&mut self, module: &str) -> Result<(), Failure> {
        if self.loaded.iter().any(|name| name == module) {
            return Ok(());
        }
        let known = self.boot.kernel.modules.iter().find(|known| known.name == module);
        for dependency in known.map_or(&[][..], |known| &known.depends) {
            self.load(dependency)?;
        }
        let request = Request::LoadModule { name: module.to_owned(), params: String::new() };
        self.call(&format!("load {module}"), request, self.patience())?;
        self.loaded.push(module.to_owned());
        Ok(())
    }

    /// Waits until every LUN is there. Without them there is nothing to measure.
    pub(super) fn await_luns(&mut self) -> Result<(), Failure> {
        let patience = self.patience();
        let request = self.count(Countable::Luns, patience);
        self.call("find all LUNs", request, patience * 2).map(drop)
    }

    /// The agent's own deadline comes first, half way to ours: its answer says how many there are.
    fn count(&self, what: Countable, patience: Duration) -> Request {
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        Request::Await { what, count: u64::from(self.boot.topology.luns), timeout_ms }
    }

    pub(super) fn measure(&mut self, module: &str, driver: &str) -> Result<(), Failure> {
        self.call_the_witnesses()?;
        self.load(module)?;
        self.await_bound(driver)?;
        self.dismiss_the_witnesses()
    }

    /// Waits until every LUN is bound. Where that does not come about, the wait ends all the same: how many are
    /// bound is a fact about the kernel, and the logs are to be read.
    fn await_bound(&mut self, driver: &str) -> Result<(), Failure> {
        let patience = self.patience();
        let request = self.count(Countable::LunsBoundTo(driver.to_owned()), patience);
        let doing = "wait for all LUNs to be bound";
        match self.guest.call(doing, request, patience * 2) {
            Ok(_) | Err(CallError::Refused(_)) => Ok(()),
            Err(lost @ CallError::Lost(_)) => Err(lost.into_failure(doing, self.boot.folder)),
        }
    }

    /// Turns on what the two witnesses need. Nothing of it prints on the console.
    fn call_the_witnesses(&mut self) -> Result<(), Failure> {
        // A load of 4096 serial probes sleeps for minutes and is not hung.
        let hung_after = (self.boot.topology.serial_time().as_secs() * 2).max(30);
        self.try_set(
            "/proc/sys/kernel/hung_task_timeout_secs",
            &hung_after.to_string(),
            "hung tasks are not told",
        )?;
        self.try_set(
            "/proc/dynamic_debug/control",
            "file kernel/async.c +p",
            "the log shows no async calls",
        )?;
        let kib = (self.boot.topology.luns * 2).max(1024);
        let blind = "there is no trace, so CPUs and nodes of probes are not known";
        if !self.try_set(&format!("{TRACING}/buffer_size_kb"), &kib.to_string(), blind)? {
            return Ok(());
        }
        let events = format!("{TRACING}/kprobe_events");
        // Struct device begins with its kobject, that with the name; struct device_driver with its name; the
        // arguments are in rdi and rsi (System V ABI). A return probe drops what exceeds its maxactive.
        let returns = (self.boot.topology.luns + 64).min(4096);
        let probes = [
            "p:parprobe/start really_probe name=+0(+0(%di)):string drv=+0(+0(%si)):string".to_owned(),
            format!("r{returns}:parprobe/end really_probe ret=$retval:s32"),
        ];
        for probe in &probes {
            if !self.try_set(&events, probe, blind)? {
                return Ok(());
            }
        }
        // Not every kernel has each of them.
        let mut refusals = Vec::new();
        for function in ATTACH_FUNCTIONS {
            refusals.extend(self.set(&events, &format!("p:parprobe/call {function}"))?.err());
        }
        if refusals.len() == ATTACH_FUNCTIONS.len() {
            let why = refusals.join("; ");
            self.blind_spots
                .push(format!("which function attaches asynchronously is not in the trace: {why}"));
        }
        self.traced = self.try_set(&format!("{TRACING}/events/parprobe/enable"), "1", blind)?;
        Ok(())
    }

    fn dismiss_the_witnesses(&mut self) -> Result<(), Failure> {
        if self.traced {
            self.set(&format!("{TRACING}/tracing_on"), "0")?
                .map_err(|why| self.cannot("end the trace", why))?;
        }
        Ok(())
    }

    /// Writes a setting. The inner error is the kernel's no.
    fn set(&mut self, path: &str, value: &str) -> Result<Result<(), String>, Failure> {
        let request = Request::Set { path: path.to_owned(), value: value.to_owned() };
        let doing = format!("set {path}");
        match self.guest.quick_call(&doing, request) {
            Ok(_) => Ok(Ok(())),
            Err(CallError::Refused(why)) => Ok(Err(why)),
            Err(lost @ CallError::Lost(_)) => Err(lost.into_failure(&doing, self.boot.folder)),
        }
    }

    /// Writes a setting that not every kernel has; without it, `blind` is what cannot be seen.
    fn try_set(&mut self, path: &str, value: &str, blind: &str) -> Result<bool, Failure> {
        match self.set(path, value)? {
            Ok(()) => Ok(true),
            Err(why) => {
                self.blind_spots.push(format!("{blind}: {why}"));
                Ok(false)
            }
        }
    }

    /// Fetches everything and writes down the logs.
    pub(super) fn collect(&mut self, module: &str, driver: &str) -> Result<Record, Failure> {
        let patience = self.patience();
        let (_, kmsg) = self.call("read the kernel log", Request::ReadKmsg, patience)?;
        let kmsg = self.keep("kmsg.txt", &kmsg)?;
        // A witness that was called has to be heard: without a trace the kernel would pass as one without.
        let (mut trace, mut kprobe_profile) = (None, None);
        if self.traced {
            trace = Some(self.fetch("trace", "trace.txt")?);
            kprobe_profile = Some(self.fetch("kprobe_profile", "kprobe_profile.txt")?);
        }
        let luns = match self.call("describe the LUNs", Request::DescribeLuns, patience)? {
            (Answer::Luns(luns), _) => luns,
            (other, _) => {
                let seen = format!("the agent answered {other:?}");
                return Err(Failure::new(
                    Kind::Guest,
                    "describe the LUNs",
                    seen,
                    "build the guest image again",
                ));
            }
        };
        let hello = self.guest.hello();
        let left = Left {
            release: hello.release.clone(),
            build: hello.build.clone(),
            cmdline: hello.cmdline.clone(),
            cpus: hello.cpus.iter().map(|cpu| (CpuId(cpu.cpu), cpu.node.map(NodeId))).collect(),
            luns: luns
                .into_iter()
                .map(|protocol::LunFacts { address, node, disk, driver }| Lun {
                    address,
                    node: node.map(NodeId),
                    disk,
                    driver,
                })
                .collect(),
            module: module.to_owned(),
            driver: driver.to_owned(),
            blind_spots: std::mem::take(&mut self.blind_spots),
        };
        Ok(Record { left, kmsg, trace, kprobe_profile })
    }

    /// Reads a file of tracefs and keeps it.
    fn fetch(&mut self, file: &str, name: &str) -> Result<String, Failure> {
        let request = Request::ReadFile { path: format!("{TRACING}/{file}") };
        let (_, body) = self.call(&format!("read {file}"), request, self.patience())?;
        self.keep(name, &body)
    }

    /// Writes bytes to the folder of the boot, as they came, and returns them as text.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<String, Failure> {
        let path = self.boot.folder.join(name);
        fs::write(&path, bytes).map_err(|e| Failure::file("write", &path, &e))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn cannot(&self, doing: &str, why: String) -> Failure {
        CallError::Refused(why).into_failure(doing, self.boot.folder)
    }
}
