//! What a guest is told to do, as values.

use std::time::Duration;

/// One step. Steps are carried out one after the other; what was begun goes on beside the steps that follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Loads a module of the image. Those it depends on, and that are not loaded, are loaded before it. Where it is
    /// built in, there is nothing to do.
    Load {
        /// Its name.
        module: &'static str,
        /// Its parameters, as on an insmod command line. For `{60}` stands a number from 1 to 60, drawn from the seed.
        params: &'static str,
    },
    /// The same, but the init function of the module may fail: what it said is in the log.
    TryLoad {
        /// Its name.
        module: &'static str,
        /// Its parameters.
        params: &'static str,
    },
    /// Loads it and goes on at once.
    BeginLoad {
        /// Its name.
        module: &'static str,
        /// Its parameters.
        params: &'static str,
    },
    /// Waits for everything that was begun.
    Finish,
    /// Unloads a module. While it is in use, tries again.
    Unload {
        /// Its name.
        module: &'static str,
    },
    /// Loads the driver of the HBAs, has it look for LUNs behind the targets that there are, and waits until all are
    /// there: what a driver finds that comes after its devices.
    ///
    /// Left to itself, the driver looks for a first LUN behind each of the 256 targets that an HBA of QEMU says it
    /// can have (VIRTIO_SCSI_MAX_TARGET in hw/scsi/virtio-scsi.c). Seen under TCG: 0.2 s an HBA, with KASAN and
    /// lockdep 8 s.
    FindLuns,
    /// Waits until so many devices are there. Without them there is nothing to do.
    AwaitDevices {
        /// Their bus.
        bus: &'static str,
        /// How many.
        count: Count,
    },
    /// Waits until so many devices are bound, or nothing moves any more: then how many are is a fact.
    AwaitBound {
        /// Their bus.
        bus: &'static str,
        /// Their driver.
        driver: &'static str,
        /// How many.
        count: Count,
    },
    /// Writes a value to a file of sysfs or procfs.
    Write {
        /// The file.
        path: &'static str,
        /// The value.
        value: &'static str,
    },
    /// Notes which devices there are, for a step that has no time to look.
    Note {
        /// Their bus.
        bus: &'static str,
    },
    /// Unbinds so many of the devices that were noted, drawn from the seed, or those of them that are bound, and binds
    /// them again.
    Rebind {
        /// Their bus.
        bus: &'static str,
        /// Their driver.
        driver: &'static str,
        /// How many.
        devices: u32,
    },
    /// Pulls out so many LUNs, drawn from the seed.
    Unplug {
        /// How many.
        luns: u32,
    },
    /// Plugs in the spare LUNs.
    Plug,
    /// Waits a time drawn from the seed, as the host's clock goes.
    Pause {
        /// The longest time.
        at_most: Duration,
    },
    /// Carries out steps several times.
    Repeat {
        /// How often.
        times: u32,
        /// The steps.
        steps: &'static [Step],
    },
    /// Steps during which the witnesses look at the probes of one driver.
    Phase {
        /// Its name.
        name: &'static str,
        /// The driver and its devices.
        of: Measured,
        /// The steps.
        steps: &'static [Step],
    },
    /// The witnesses look at the probes of a driver from the start of the kernel on, up to here.
    FromBoot {
        /// The driver and its devices.
        of: Measured,
    },
}

/// What the witnesses look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Measured {
    /// The bus of the devices.
    pub bus: &'static str,
    /// The driver.
    pub driver: &'static str,
}

/// A number of devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// As many as there are LUNs plugged in.
    Luns,
    /// This many.
    Just(u32),
    /// So many or more. A device counts as bound as soon as its probe has begun (driver_sysfs_add() in
    /// drivers/base/dd.c comes before the probe).
    AtLeast(u32),
}

impl Step {
    /// The driver of the HBAs.
    pub(super) const HBA_DRIVER: &'static str = "virtio_scsi";

    /// The names of the phases among these steps, in order.
    pub fn phases(steps: &[Self]) -> Vec<&'static str> {
        let name = |step: &Self| match *step {
            Self::Phase { name, .. } => Some(name),
            Self::FromBoot { .. } => Some("boot"),
            _ => None,
        };
        steps.iter().filter_map(name).collect()
    }

    /// The steps up to the first phase, and those from there on. `None` where there is no phase, or something is under
    /// way when it begins: then a guest cannot be saved between them.
    pub fn at_first_phase(steps: &[Self]) -> Option<(&[Self], &[Self])> {
        let phase = steps.iter().position(|step| matches!(step, Self::Phase { .. }))?;
        let (before, rest) = steps.split_at(phase);
        let under_way = Self::begin_something(before);
        (!under_way).then_some((before, rest))
    }

    fn begin_something(steps: &[Self]) -> bool {
        steps.iter().any(|step| match *step {
            Self::BeginLoad { .. } => true,
            Self::Repeat { steps, .. } => Self::begin_something(steps),
            _ => false,
        })
    }

    /// Whether the witnesses look from the start of the kernel on.
    pub fn look_from_boot(steps: &[Self]) -> bool {
        steps.iter().any(|step| matches!(step, Self::FromBoot { .. }))
    }

    /// The modules that are loaded within each phase that loads one: what they drive has to come there, and not before.
    pub fn loaded_in_phases(steps: &[Self]) -> Vec<Vec<&'static str>> {
        let of = |step: &Self| match *step {
            Self::Phase { steps, .. } => Self::modules(steps),
            _ => Vec::new(),
        };
        steps.iter().map(of).filter(|modules| !modules.is_empty()).collect()
    }

    /// The modules that these steps load.
    pub fn modules(steps: &[Self]) -> Vec<&'static str> {
        let mut found = Vec::new();
        for step in steps {
            match *step {
                Self::Load { module, .. } | Self::BeginLoad { module, .. } | Self::TryLoad { module, .. } => {
                    found.push(module);
                }
                Self::FindLuns => found.push(Self::HBA_DRIVER),
                Self::Repeat { steps, .. } | Self::Phase { steps, .. } => found.extend(Self::modules(steps)),
                Self::Finish
                | Self::Unload { .. }
                | Self::AwaitDevices { .. }
                | Self::AwaitBound { .. }
                | Self::Write { .. }
                | Self::Note { .. }
                | Self::Rebind { .. }
                | Self::Unplug { .. }
                | Self::Plug
                | Self::Pause { .. }
                | Self::FromBoot { .. } => {}
            }
        }
        found
    }
}
