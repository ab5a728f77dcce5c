//! Leads one guest through the steps of a boot.

mod cputimes;
mod devices;
mod loads;
mod logs;

use std::time::Duration;

use evidence::under_way::Calls;
use protocol::{Answer, Request};

use cputimes::CpuTimes;
use devices::write_to;

use crate::failure::Kind;
use crate::guest::{CallError, Guest, Lost, Patience, Pending, Snapshot, Trouble};
use crate::run::round::Turn;
use crate::run::witnesses;
use crate::run::{Boot, Measured, Phase, Step};

pub(super) use crate::run::witnesses::from_boot as witnesses_from_boot;

/// A guest at work.
pub(super) struct Session<'a> {
    guest: Guest,
    boot: &'a Boot<'a>,
    /// Loads that go on beside the steps.
    begun: Vec<Pending>,
    at: Progress,
    /// To be called when the last phase is over but for its logs.
    measured: Option<&'a mut dyn FnMut()>,
}

/// How far a guest has come, as the harness knows it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    loaded: Vec<String>,
    /// LUNs that are plugged in, by number.
    luns: Vec<u32>,
    /// Devices that were noted, by name.
    noted: Vec<String>,
    phases: Vec<Phase>,
    rng: fastrand::Rng,
    blind_spots: Vec<String>,
    /// The kernel log, as far as it was read, and the asynchronous calls in it.
    kmsg: Vec<u8>,
    calls: Calls,
    /// Whether the witnesses were called.
    called: bool,
    /// Whether the kprobe events are on: then there is a trace.
    traced: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(guest: Guest, boot: &'a Boot<'a>, from_boot: bool) -> Self {
        let at = Progress {
            loaded: boot.kernel.first.clone(),
            luns: (0..boot.topology.luns).collect(),
            noted: Vec::new(),
            phases: Vec::new(),
            rng: fastrand::Rng::with_seed(boot.seed),
            blind_spots: Vec::new(),
            kmsg: Vec::new(),
            calls: Calls::default(),
            called: from_boot,
            traced: from_boot,
        };
        Self { guest, boot, begun: Vec::new(), at, measured: None }
    }

    /// A guest that was saved, where it had come so far.
    pub(super) fn resume(
        guest: Guest,
        boot: &'a Boot<'a>,
        at: Progress,
        measured: &'a mut dyn FnMut(),
    ) -> Self {
        Self { guest, boot, begun: Vec::new(), at, measured: Some(measured) }
    }

    /// Saves a guest that is ready, and lets it go on. What is in its log by now was read, and need not be read again by
    /// each that is restored.
    pub(super) fn save(&mut self) -> Result<(Snapshot, Progress), Trouble> {
        Ok((self.guest.save(self.boot.folder)?, self.at.clone()))
    }

    /// Comes to rest with the witnesses called, so that what is left is the phases; what is under way, if it does not.
    pub(super) fn get_ready(&mut self) -> Result<Option<String>, Trouble> {
        self.call_witnesses()?;
        self.await_quiet()
    }

    /// Waits until nobody else is measured. Who was busy on the guest's CPUs until then were others of ours, and no
    /// neighbours.
    pub(super) fn await_turn(&mut self, turn: &Turn<'_>, under_way: Option<String>) -> Result<(), Trouble> {
        turn.is_ready(under_way);
        let beside = loop {
            if let Some(beside) = turn.comes_soon()? {
                break beside;
            }
            self.guest.listen("wait until it is measured")?;
        };
        for why in beside {
            self.blind_to(format!("what others of its CPUs did beside it: in a guest of its round {why}"));
        }
        self.guest.restart_lookout();
        Ok(())
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
                Step::FindLuns => self.find_luns()?,
                Step::BeginLoad { module, params } => self.begin_load(module, params)?,
                Step::Finish => self.finish()?,
                Step::Unload { module } => self.unload(module)?,
                Step::AwaitDevices { bus, count } => self.await_devices(bus, count)?,
                Step::AwaitBound { bus, driver, count } => self.await_bound(bus, driver, count)?,
                Step::Write { path, value } => {
                    self.tell(&format!("write {value} to {path}"), write_to(path, value), self.patience())?;
                    self.mark(&format!("wrote {value} to {path}"))?;
                }
                Step::Note { bus } => {
                    self.at.noted = self.describe(bus)?.into_iter().map(|device| device.name).collect();
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
                    let unsettled = self.await_quiet()?;
                    self.close_phase(None, of, None, unsettled)?;
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

    /// Enough for any call of this topology, however serial its probes are.
    fn patience(&self) -> Duration {
        Patience::of(self.boot.accelerator).call + self.boot.topology.serial_time() * 2
    }

    fn phase(&mut self, name: &'static str, of: Measured, steps: &[Step]) -> Result<(), Trouble> {
        self.call_witnesses()?;
        let ran = self.cpu_times()?;
        self.mark(&format!("phase {name} begins"))?;
        self.carry_out(steps)?;
        let unsettled = self.await_quiet()?;
        self.mark(&format!("phase {name} ends"))?;
        let cpu_times = self.cpu_times_since(ran)?;
        // While something is under way, the CPUs are not free for the next guest.
        if unsettled.is_none()
            && self.at.phases.len() + 1 == Step::phases(self.boot.steps).len()
            && let Some(measured) = self.measured.take()
        {
            self.guest.give_cpus_back();
            measured();
        }
        self.close_phase(Some(name), of, cpu_times, unsettled)
    }

    fn call_witnesses(&mut self) -> Result<(), Trouble> {
        if !self.at.called {
            self.at.traced = witnesses::call(self)?;
            self.at.called = true;
        }
        Ok(())
    }

    fn close_phase(
        &mut self,
        name: Option<&str>,
        of: Measured,
        cpu_times: Option<CpuTimes>,
        unsettled: Option<String>,
    ) -> Result<(), Trouble> {
        let devices = self.describe(of.bus)?;
        let (name, driver) = (name.map(str::to_owned), of.driver.to_owned());
        self.at.phases.push(Phase { name, driver, devices, cpu_times, unsettled });
        Ok(())
    }

    fn mark(&mut self, text: &str) -> Result<(), Trouble> {
        let (attempt, request) = ("mark the log", Request::Mark { text: text.to_owned() });
        match self.guest.quick_call(attempt, request) {
            Ok(_) => Ok(()),
            Err(e) => Err(e.into_trouble(Kind::Guest, attempt, self.boot.folder)),
        }
    }

    /// Writes a setting. The inner error is the kernel's no.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<Result<(), String>, Box<Lost>> {
        match self.guest.call(&format!("set {path}"), write_to(path, value), self.patience()) {
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
        self.at.blind_spots.push(what);
    }

    pub(super) fn boot(&self) -> &'a Boot<'a> {
        self.boot
    }

    fn cannot(&self, doing: &str, why: String) -> Trouble {
        CallError::Refused(why).into_trouble(Kind::Guest, doing, self.boot.folder)
    }
}
