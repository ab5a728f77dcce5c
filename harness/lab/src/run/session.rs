//! Leads one guest through the steps of a boot.

use std::time::Duration;

use evidence::boot::Lun;
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
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: Guest, boot: &'a Boot<'a>) -> Self {
        Self { guest, boot, loaded: Vec::new(), blind_spots: Vec::new() }
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
        self.guest.call(&doing, request, patience).map_err(|e| e.into_failure(&doing, self.boot.folder))
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

    pub(super) fn await_luns(&mut self) -> Result<(), Failure> {
        self.await_count("find all LUNs", Countable::Luns)
    }

    fn await_count(&mut self, doing: &str, what: Countable) -> Result<(), Failure> {
        let patience = self.patience();
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let count = u64::from(self.boot.topology.luns);
        // The agent's own deadline comes first: its answer says how many there are.
        let request = Request::Await { what, count, timeout_ms };
        self.call(doing, request, patience + Patience::of(self.boot.accelerator).call).map(drop)
    }

    pub(super) fn measure(&mut self, module: &str, driver: &str) -> Result<(), Failure> {
        self.call_the_witnesses()?;
        self.load(module)?;
        self.await_count("find all LUNs bound", Countable::LunsBoundTo(driver.to_owned()))?;
        self.dismiss_the_witnesses()
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
        // One of the two exists, depending on whether the kernel schedules drivers or devices.
        let per_device = self.set(&events, "p:parprobe/call __driver_attach_async_helper")?;
        let per_driver = self.set(&events, "p:parprobe/call driver_attach_async")?;
        if let (Err(_), Err(why)) = (per_device, per_driver) {
            self.blind_spots
                .push(format!("which function attaches asynchronously is not in the trace: {why}"));
        }
        self.try_set(&format!("{TRACING}/events/parprobe/enable"), "1", blind).map(drop)
    }

    fn dismiss_the_witnesses(&mut self) -> Result<(), Failure> {
        self.set(&format!("{TRACING}/tracing_on"), "0").map(drop)
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

    /// Fetches everything and writes it down.
    pub(super) fn collect(&mut self, module: &str, driver: &str) -> Result<Record, Failure> {
        let patience = self.patience();
        let (_, kmsg) = self.call("read the kernel log", Request::ReadKmsg, patience)?;
        let trace = self.read_file(&format!("{TRACING}/trace"))?;
        let kprobe_profile = self.read_file(&format!("{TRACING}/kprobe_profile"))?;
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
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Record {
            left,
            kmsg: text(kmsg),
            trace: trace.map(text),
            kprobe_profile: kprobe_profile.map(text),
        })
    }

    fn read_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let doing = format!("read {path}");
        let patience = self.patience();
        match self.guest.call(&doing, Request::ReadFile { path: path.to_owned() }, patience) {
            Ok((_, body)) => Ok(Some(body)),
            Err(CallError::Refused(_)) => Ok(None),
            Err(lost @ CallError::Lost(_)) => Err(lost.into_failure(&doing, self.boot.folder)),
        }
    }
}
