//! Waits for devices, and does things to them.

use std::time::Duration;

use evidence::boot::Device;
use evidence::units::NodeId;
use protocol::{Answer, Countable, Request};

use super::Session;
use crate::cancel;
use crate::failure::{Failure, Kind};
use crate::guest::{CallError, Trouble};
use crate::run::{Count, Step};

/// How SCSI hosts look for LUNs when they are added: a parameter of scsi_mod that can be set at any time
/// (drivers/scsi/scsi_scan.c).
const SCAN: &str = "/sys/module/scsi_mod/parameters/scan";
/// How many SCSI hosts of other drivers there may be.
const OTHER_HOSTS: u32 = 64;

impl Session<'_> {
    /// Where the driver is built in, the kernel has found them before anybody asks.
    pub(super) fn find_luns(&mut self) -> Result<(), Trouble> {
        let driver = Step::HBA_DRIVER;
        if let Some(request) = self.load_request(driver, "")? {
            self.mark("the scan for LUNs begins")?;
            let usual = self.keep_hosts_from_scanning()?;
            self.tell(&format!("load {driver}"), request, self.patience())?;
            if let Some(usual) = usual {
                self.call("let SCSI hosts scan as usual", write_to(SCAN, &usual), self.patience())?;
                self.scan_targets(driver)?;
            }
            self.mark("the scan for LUNs ends")?;
        }
        self.await_devices("scsi", Count::Luns)
    }

    /// How they would scan; `None` where it cannot be set: then they do.
    fn keep_hosts_from_scanning(&mut self) -> Result<Option<String>, Trouble> {
        let Some(usual) = self.read(SCAN)? else { return Ok(None) };
        Ok(self.set(SCAN, "manual")?.is_ok().then_some(usual))
    }

    /// Has each host of a driver look behind as many targets as any of them has (store_scan() in
    /// drivers/scsi/scsi_sysfs.c: a channel, a target and any LUN).
    fn scan_targets(&mut self, driver: &str) -> Result<(), Trouble> {
        let topology = self.boot.topology;
        let mut left = topology.hbas;
        for host in 0..topology.hbas + OTHER_HOSTS {
            if left == 0 {
                break;
            }
            let folder = format!("/sys/class/scsi_host/host{host}");
            if self.read(&format!("{folder}/proc_name"))?.is_none_or(|name| name != driver) {
                continue;
            }
            left -= 1;
            for target in 0..topology.targets() {
                let request = write_to(&format!("{folder}/scan"), &format!("0 {target} -"));
                self.tell(&format!("scan target {target} of SCSI host {host}"), request, self.patience())?;
            }
        }
        Ok(())
    }

    /// What a file of one line says; `None` where it cannot be read.
    fn read(&mut self, path: &str) -> Result<Option<String>, Trouble> {
        let request = Request::ReadFile { path: path.to_owned() };
        match self.guest.call(&format!("read {path}"), request, self.patience()) {
            Ok((_, text)) => Ok(Some(String::from_utf8_lossy(&text).trim().to_owned())),
            Err(CallError::Refused(_)) => Ok(None),
            Err(CallError::Lost(lost)) => Err(lost.into()),
        }
    }

    pub(super) fn await_devices(&mut self, bus: &str, count: Count) -> Result<(), Trouble> {
        let request = self.count(Countable::Devices { bus: bus.to_owned() }, count);
        self.tell(&format!("find all devices of the bus {bus}"), request, self.patience() * 2)
    }

    /// Where not all get bound the wait ends all the same: how many are is a fact about the kernel, and the
    /// logs are to be read.
    pub(super) fn await_bound(&mut self, bus: &str, driver: &str, count: Count) -> Result<(), Trouble> {
        let what = Countable::Bound { bus: bus.to_owned(), driver: driver.to_owned() };
        let request = self.count(what, count);
        let doing = format!("wait for all devices of the bus {bus} to be bound");
        match self.guest.call(&doing, request, self.patience() * 2) {
            Ok(_) | Err(CallError::Refused(_)) => Ok(()),
            Err(CallError::Lost(lost)) => Err(lost.into()),
        }
    }

    /// How long nothing may move in a guest that goes on: on a busy host it may be a while. Then it does, or never.
    pub(super) fn still(&self) -> Duration {
        const STILL: Duration = Duration::from_secs(8);
        let topology = self.boot.topology;
        let longest = topology.oddities.slow.unwrap_or_default().max(topology.latency);
        STILL + longest * 8
    }

    /// The agent's own deadline comes first, half way to ours: its answer says how many there are.
    pub(super) fn count(&self, what: Countable, count: Count) -> Request {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = match count {
            Count::Luns => (self.at.luns.len() as u64, self.at.luns.len() as u64),
            Count::Just(count) => (u64::from(count), u64::from(count)),
            Count::AtLeast(count) => (u64::from(count), u64::MAX),
        };
        Request::Await {
            what,
            least,
            most,
            still_ms: millis(self.still()),
            timeout_ms: millis(self.patience()),
        }
    }

    pub(super) fn rebind(&mut self, bus: &str, driver: &str, devices: u32) -> Result<(), Trouble> {
        let mut names = self.at.noted.clone();
        self.at.rng.shuffle(&mut names);
        names.truncate(usize::try_from(devices).unwrap_or(usize::MAX));
        self.mark(&format!("rebinds {}", names.join(", ")))?;
        for verb in ["bind", "unbind", "bind"] {
            // Side by side: each write waits for the lock of its device, and so for the probe that holds it.
            let mut begun = Vec::new();
            for name in &names {
                let request = write_to(&format!("/sys/bus/{bus}/drivers/{driver}/{verb}"), name);
                begun.push(self.guest.begin(&format!("{verb} {name}"), request)?);
            }
            for pending in begun {
                // Each may fail: the device may be bound by now, or not yet. What counts is how it ends.
                match self.guest.finish(&pending, self.patience()) {
                    Ok(_) | Err(CallError::Refused(_)) => {}
                    Err(CallError::Lost(lost)) => return Err(lost.into()),
                }
            }
        }
        Ok(())
    }

    pub(super) fn unplug(&mut self, luns: u32) -> Result<(), Trouble> {
        for _ in 0..luns {
            if self.at.luns.is_empty() {
                break;
            }
            let lun = self.at.luns.swap_remove(self.at.rng.usize(..self.at.luns.len()));
            self.mark(&format!("pulls out LUN {lun}"))?;
            self.guest.unplug(lun)?;
        }
        Ok(())
    }

    pub(super) fn plug(&mut self) -> Result<(), Trouble> {
        let topology = self.boot.topology;
        for lun in topology.luns..topology.luns + topology.oddities.spare {
            self.mark(&format!("plugs in LUN {lun}"))?;
            self.guest.plug(topology, lun)?;
            self.at.luns.push(lun);
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, at_most: Duration) -> Result<(), Trouble> {
        cancel::check("go on with a boot")?;
        std::thread::sleep(at_most.mul_f64(self.at.rng.f64()));
        Ok(())
    }

    /// The devices of a bus, but for that of the agent's own port.
    pub(super) fn describe(&mut self, bus: &str) -> Result<Vec<Device>, Trouble> {
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
            let protocol::DeviceFacts { name, node, disk, driver, reads } = facts;
            Device { name, node: node.map(NodeId), disk, driver, reads }
        };
        let mut devices: Vec<Device> = answer.into_iter().map(device).collect();
        devices.retain(|device| device.driver.as_deref() != Some("virtio_console"));
        Ok(devices)
    }
}

/// To write a value to a file.
pub(super) fn write_to(path: &str, value: &str) -> Request {
    Request::Set { path: path.to_owned(), value: value.to_owned() }
}
