//! Leads one guest through the steps of a boot.

use std::fs;
use std::time::{Duration, Instant};

use evidence::boot::Device;
use evidence::units::{CpuId, NodeId};
use protocol::{Answer, Countable, Request};

use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::{CallError, Guest, Lost, Patience, Pending, Trouble};
use crate::run::witnesses::{self, TRACING};
use crate::run::{Boot, Count, Left, Measured, Phase, Record, Step};

pub(super) use crate::run::witnesses::from_boot as witnesses_from_boot;

/// A guest at work.
pub(super) struct Session<'a> {
    guest: Guest,
    boot: &'a Boot<'a>,
    loaded: Vec<String>,
    /// Loads that go on beside the steps.
    begun: Vec<Pending>,
    /// LUNs that are plugged in, by number.
    luns: Vec<u32>,
    phases: Vec<Phase>,
    rng: fastrand::Rng,
    blind_spots: Vec<String>,
    /// Whether the witnesses were called.
    called: bool,
    /// Whether the kprobe events are on: then there is a trace.
    traced: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: Guest, boot: &'a Boot<'a>, from_boot: bool) -> Self {
        Self {
            guest,
            boot,
            loaded: Vec::new(),
            begun: Vec::new(),
            luns: (0..boot.topology.luns).collect(),
            phases: Vec::new(),
            rng: fastrand::Rng::with_seed(boot.seed),
            blind_spots: Vec::new(),
            called: from_boot,
            traced: from_boot,
        }
    }

    pub(super) fn end(self) {
        self.guest.end();
    }

    /// Carries out steps, one after the other.
    pub(super) fn carry_out(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        for step in steps {
            match *step {
                Step::Load { module, params } => self.load(module, params)?,
                Step::TryLoad { module, params } => self.try_load(module, params)?,
                Step::BeginLoad { module, params } => self.begin_load(module, params)?,
                Step::Finish => self.finish()?,
                Step::Unload { module } => self.unload(module)?,
                Step::AwaitDevices { bus, count } => self.await_devices(bus, count)?,
                Step::AwaitBound { bus, driver, count } => self.await_bound(bus, driver, count)?,
                Step::Write { path, value } => {
                    let request = Request::Set { path: path.to_owned(), value: value.to_owned() };
                    self.tell(&format!("write {value} to {path}"), request, self.patience())?;
                    self.mark(&format!("wrote {value} to {path}"))?;
                }
                Step::Rebind { bus, driver, devices } => self.rebind(bus, driver, devices)?,
                Step::Unplug { luns } => self.unplug(luns)?,
                Step::Plug => self.plug()?,
                Step::Pause { at_most } => self.pause(at_most)?,
                Step::Repeat { times, steps } => {
                    for _ in 0..times {
                        self.carry_out(steps)?;
                    }
                }
                Step::Phase { name, of, steps } => self.phase(name, of, steps)?,
                Step::FromBoot { of } => {
                    self.await_quiet()?;
                    self.close_phase(None, of)?;
                }
            }
        }
        Ok(())
    }

    /// A call of the harness for its own ends: if it is refused, something is wrong with the guest.
    fn call(
        &mut self,
        doing: &str,
        request: Request,
        patience: Duration,
    ) -> Result<(Answer, Vec<u8>), Trouble> {
        let doing = format!("{doing} in a guest with the kernel \"{}\"", self.boot.kernel.name);
        self.guest.call(&doing, request, patience).map_err(|e| self.trouble(e, Kind::Guest, &doing))
    }

    /// A step of the case: if it is refused, that says something about the kernel.
    fn tell(&mut self, doing: &str, request: Request, patience: Duration) -> Result<(), Trouble> {
        let doing = format!("{doing} in a guest with the kernel \"{}\"", self.boot.kernel.name);
        self.guest
            .call(&doing, request, patience)
            .map(drop)
            .map_err(|e| self.trouble(e, Kind::Refused, &doing))
    }

    fn trouble(&mut self, e: CallError, refusal: Kind, doing: &str) -> Trouble {
        if matches!(e, CallError::Refused(_)) {
            // The guest is well: what its kernel says about this is worth keeping.
            self.save_log();
        }
        e.into_trouble(refusal, doing, self.boot.folder)
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
    fn load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        self.tell(&format!("load {module}"), request, self.patience())
    }

    fn try_load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        match self.guest.call(&format!("load {module}"), request, self.patience()) {
            Ok(_) => {}
            Err(CallError::Refused(_)) => self.loaded.retain(|name| name != module),
            Err(CallError::Lost(lost)) => return Err(lost.into()),
        }
        Ok(())
    }

    fn begin_load(&mut self, module: &str, params: &str) -> Result<(), Trouble> {
        let Some(request) = self.load_request(module, params)? else { return Ok(()) };
        let pending = self.guest.begin(&format!("load {module}"), request)?;
        self.begun.push(pending);
        Ok(())
    }

    /// Loads what the module depends on; the request for itself, or `None` where it is loaded.
    fn load_request(&mut self, module: &str, params: &str) -> Result<Option<Request>, Trouble> {
        if self.loaded.iter().any(|name| name == module) {
            return Ok(None);
        }
        let known = self.boot.kernel.modules.iter().find(|known| known.name == module);
        for dependency in known.map_or(&[][..], |known| &known.depends) {
            self.load(dependency, "")?;
        }
        if known.is_none() && self.boot.kernel.built_in.iter().any(|name| name == module) {
            return Ok(None);
        }
        self.loaded.push(module.to_owned());
        Ok(Some(Request::LoadModule { name: module.to_owned(), params: drawn(params, &mut self.rng) }))
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        for pending in std::mem::take(&mut self.begun) {
            let finished = self.guest.finish(&pending, self.patience());
            finished.map_err(|e| self.trouble(e, Kind::Refused, "finish a load"))?;
        }
        Ok(())
    }

    /// The kernel refuses while the module is in use, and a disk that is read for its partitions is a use.
    fn unload(&mut self, module: &str) -> Result<(), Trouble> {
        let doing = format!("unload {module}");
        let deadline = Instant::now() + self.patience();
        loop {
            let request = Request::UnloadModule { name: module.to_owned() };
            match self.guest.call(&doing, request, self.patience()) {
                Ok(_) => break,
                Err(CallError::Refused(_)) if Instant::now() < deadline => {
                    cancel::check(&doing)?;
                    // Not so often that the marks of each attempt overrun the log.
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(e) => return Err(self.trouble(e, Kind::Refused, &doing)),
            }
        }
        self.loaded.retain(|name| name != module);
        Ok(())
    }

    fn await_devices(&mut self, bus: &str, count: Count) -> Result<(), Trouble> {
        let request = self.count(Countable::Devices { bus: bus.to_owned() }, count);
        self.tell(&format!("find all devices of the bus {bus}"), request, self.patience() * 2)
    }

    /// Where not all get bound the wait ends all the same: how many are is a fact about the kernel, and the
    /// logs are to be read.
    fn await_bound(&mut self, bus: &str, driver: &str, count: Count) -> Result<(), Trouble> {
        let what = Countable::Bound { bus: bus.to_owned(), driver: driver.to_owned() };
        let request = self.count(what, count);
        let doing = format!("wait for all devices of the bus {bus} to be bound");
        match self.guest.call(&doing, request, self.patience() * 2) {
            Ok(_) | Err(CallError::Refused(_)) => Ok(()),
            Err(CallError::Lost(lost)) => Err(lost.into()),
        }
    }

    /// The agent's own deadline comes first, half way to ours: its answer says how many there are.
    fn count(&self, what: Countable, count: Count) -> Request {
        /// On a busy host nothing may move for a while. Then it does, or never.
        const STILL: Duration = Duration::from_secs(8);
        let topology = self.boot.topology;
        let longest = topology.oddities.slow.unwrap_or_default().max(topology.latency);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = match count {
            Count::Luns => (self.luns.len() as u64, self.luns.len() as u64),
            Count::Just(count) => (u64::from(count), u64::from(count)),
            Count::AtLeast(count) => (u64::from(count), u64::MAX),
        };
        Request::Await {
            what,
            least,
            most,
            still_ms: millis(STILL + longest * 8),
            timeout_ms: millis(self.patience()),
        }
    }

    fn rebind(&mut self, bus: &str, driver: &str, devices: u32) -> Result<(), Trouble> {
        let mut names: Vec<String> = self.describe(bus)?.into_iter().map(|device| device.name).collect();
        self.rng.shuffle(&mut names);
        for name in names.into_iter().take(usize::try_from(devices).unwrap_or(usize::MAX)) {
            self.mark(&format!("rebinds {name}"))?;
            // Each may fail: the device may be bound by now, or not yet. What counts is how it ends.
            for verb in ["bind", "unbind", "bind"] {
                let _ = self.set(&format!("/sys/bus/{bus}/drivers/{driver}/{verb}"), &name)?;
            }
        }
        Ok(())
    }

    fn unplug(&mut self, luns: u32) -> Result<(), Trouble> {
        for _ in 0..luns {
            if self.luns.is_empty() {
                break;
            }
            let lun = self.luns.swap_remove(self.rng.usize(..self.luns.len()));
            self.mark(&format!("pulls out LUN {lun}"))?;
            self.guest.unplug(lun).map_err(|e| self.qemu_refused("pull out a LUN", &e))?;
        }
        Ok(())
    }

    fn plug(&mut self) -> Result<(), Trouble> {
        let topology = self.boot.topology;
        for lun in topology.luns..topology.luns + topology.oddities.spare {
            self.mark(&format!("plugs in LUN {lun}"))?;
            self.guest.plug(topology, lun).map_err(|e| self.qemu_refused("plug in a LUN", &e))?;
            self.luns.push(lun);
        }
        Ok(())
    }

    fn qemu_refused(&self, attempt: &str, e: &std::io::Error) -> Failure {
        let next = format!("read qemu.log in {}", self.boot.folder.display());
        Failure::new(Kind::Guest, attempt, format!("QEMU: {e}"), next)
    }

    fn pause(&mut self, at_most: Duration) -> Result<(), Trouble> {
        cancel::check("go on with a boot")?;
        std::thread::sleep(at_most.mul_f64(self.rng.f64()));
        Ok(())
    }

    fn phase(&mut self, name: &'static str, of: Measured, steps: &[Step]) -> Result<(), Trouble> {
        if !self.called {
            self.traced = witnesses::call(self)?;
            self.called = true;
        }
        self.mark(&format!("phase {name} begins"))?;
        self.carry_out(steps)?;
        self.await_quiet()?;
        self.mark(&format!("phase {name} ends"))?;
        self.close_phase(Some(name), of)
    }

    /// Waits until no probe and no asynchronous call is under way: a device is bound a little before its probe
    /// has returned. Where that does not come about, the lines that do not pair will tell.
    fn await_quiet(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience();
        let (mut last, mut still) = (usize::MAX, 0);
        while Instant::now() < deadline && still < 100 {
            let (_, kmsg) = self.call("read the kernel log", Request::ReadKmsg, self.patience())?;
            let trace = if self.traced {
                let request = Request::ReadFile { path: format!("{TRACING}/trace") };
                Some(self.call("read the trace", request, self.patience())?.1)
            } else {
                None
            };
            let trace = trace.as_deref().map(String::from_utf8_lossy);
            let left = evidence::boot::under_way(&String::from_utf8_lossy(&kmsg), trace.as_deref());
            if left == 0 {
                break;
            }
            still = if left == last { still + 1 } else { 0 };
            last = left;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn close_phase(&mut self, name: Option<&str>, of: Measured) -> Result<(), Trouble> {
        let devices = self.describe(of.bus)?;
        let (name, driver) = (name.map(str::to_owned), of.driver.to_owned());
        self.phases.push(Phase { name, driver, devices });
        Ok(())
    }

    /// The devices of a bus, but for that of the agent's own port.
    fn describe(&mut self, bus: &str) -> Result<Vec<Device>, Trouble> {
        let request = Request::DescribeDevices { bus: bus.to_owned() };
        let answer = match self.call("describe the devices", request, self.patience())? {
            (Answer::Devices(devices), _) => devices,
            (other, _) => {
                let seen = format!("the agent answered {other:?}");
                let next = "build the guest image again";
                return Err(Failure::new(Kind::Guest, "describe the devices", seen, next).into());
            }
        };
        let device = |facts: protocol::DeviceFacts| {
            let protocol::DeviceFacts { name, node, disk, driver } = facts;
            Device { name, node: node.map(NodeId), disk, driver }
        };
        let mut devices: Vec<Device> = answer.into_iter().map(device).collect();
        devices.retain(|device| device.driver.as_deref() != Some("virtio_console"));
        Ok(devices)
    }

    fn mark(&mut self, text: &str) -> Result<(), Trouble> {
        let record = format!("<6>{} {text}\n", protocol::MARK);
        self.set("/dev/kmsg", &record)?.map_err(|why| self.cannot("mark the log", why))
    }

    /// Writes a setting. The inner error is the kernel's no.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<Result<(), String>, Box<Lost>> {
        let request = Request::Set { path: path.to_owned(), value: value.to_owned() };
        let patience = self.patience();
        match self.guest.call(&format!("set {path}"), request, patience) {
            Ok(_) => Ok(Ok(())),
            Err(CallError::Refused(why)) => Ok(Err(why)),
            Err(CallError::Lost(lost)) => Err(lost),
        }
    }

    /// Writes a setting that not every kernel has; without it, `blind` is what cannot be seen.
    pub(super) fn try_set(&mut self, path: &str, value: &str, blind: &str) -> Result<bool, Box<Lost>> {
        let set = self.set(path, value)?;
        if let Err(why) = &set {
            self.blind_to(format!("{blind}: {why}"));
        }
        Ok(set.is_ok())
    }

    pub(super) fn blind_to(&mut self, what: String) {
        self.blind_spots.push(what);
    }

    pub(super) fn boot(&self) -> &'a Boot<'a> {
        self.boot
    }

    /// Fetches everything and writes down the logs.
    pub(super) fn collect(&mut self, initcalls: Vec<String>) -> Result<Record, Trouble> {
        let patience = self.patience();
        if self.traced {
            self.set(&format!("{TRACING}/tracing_on"), "0")?
                .map_err(|why| self.cannot("end the trace", why))?;
        }
        let (_, kmsg) = self.call("read the kernel log", Request::ReadKmsg, patience)?;
        let kmsg = self.keep("kmsg.txt", &kmsg)?;
        // A witness that was called has to be heard: without a trace the kernel would pass as one without.
        let (mut trace, mut kprobe_profile) = (None, None);
        if self.traced {
            trace = Some(self.fetch("trace", "trace.txt")?);
            kprobe_profile = Some(self.fetch("kprobe_profile", "kprobe_profile.txt")?);
        }
        let hello = self.guest.hello();
        let left = Left {
            release: hello.release.clone(),
            build: hello.build.clone(),
            cmdline: hello.cmdline.clone(),
            cpus: hello.cpus.iter().map(|cpu| (CpuId(cpu.cpu), cpu.node.map(NodeId))).collect(),
            phases: std::mem::take(&mut self.phases),
            initcalls,
            blind_spots: std::mem::take(&mut self.blind_spots),
        };
        Ok(Record { left, kmsg, trace, kprobe_profile })
    }

    /// Reads a file of tracefs and keeps it.
    fn fetch(&mut self, file: &str, name: &str) -> Result<String, Trouble> {
        let request = Request::ReadFile { path: format!("{TRACING}/{file}") };
        let (_, body) = self.call(&format!("read {file}"), request, self.patience())?;
        self.keep(name, &body)
    }

    /// Writes bytes to the folder of the boot, as they came, and returns them as text.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<String, Trouble> {
        let path = self.boot.folder.join(name);
        fs::write(&path, bytes).map_err(|e| Failure::file("write", &path, &e))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn cannot(&self, doing: &str, why: String) -> Trouble {
        CallError::Refused(why).into_trouble(Kind::Guest, doing, self.boot.folder)
    }
}

/// Parameters with each `{60}` replaced by a number from 1 to 60.
fn drawn(params: &str, rng: &mut fastrand::Rng) -> String {
    let mut parts = params.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let drawn = part.split_once('}').and_then(|(most, rest)| Some((most.parse::<u32>().ok()?, rest)));
        match drawn {
            Some((most, rest)) => text.push_str(&format!("{}{rest}", rng.u32(1..=most.max(1)))),
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_follows_from_the_seed_and_keeps_within_its_bounds() {
        let draw = |seed| drawn("delay_ms={60} drivers=2 gap_us={9}", &mut fastrand::Rng::with_seed(seed));
        assert_eq!(draw(7), draw(7));
        let texts: std::collections::BTreeSet<String> = (0..100).map(draw).collect();
        assert!(texts.len() > 50, "{texts:?}");
        for text in texts {
            let numbers: Vec<u32> = text.split(['=', ' ']).filter_map(|part| part.parse().ok()).collect();
            let [delay, 2, gap] = numbers[..] else { panic!("{text}") };
            assert!((1..=60).contains(&delay) && (1..=9).contains(&gap), "{text}");
        }
        assert_eq!(drawn("scan=async", &mut fastrand::Rng::with_seed(1)), "scan=async");
    }
}
