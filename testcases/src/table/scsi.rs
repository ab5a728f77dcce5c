//! Cases about LUNs and their controllers.

use std::time::Duration;

use evidence::judge::Expectation;
use lab::guest::topology::{Oddities, Topology};
use lab::run::{Count, Measured, Step};

use crate::case::{
    Case, EVERY, NEAR_NODE, PER_DEVICE, PER_DRIVER, PER_NODE, Promise, a_quarter_of_the_luns, luns,
};

/// The LUNs and their driver.
pub(super) const SD: Measured = Measured { bus: "scsi", driver: "sd" };
/// The controllers and theirs.
const HBAS: Measured = Measured { bus: "virtio", driver: "virtio_scsi" };

const PLAIN: Topology = Case::PLAIN.topology;
const USUAL: Oddities = PLAIN.oddities;

/// Loads a module without parameters.
pub(super) const fn load(module: &'static str) -> Step {
    Step::Load { module, params: "" }
}

/// Waits until every LUN is there.
pub(super) const AWAIT_LUNS: Step = Step::AwaitDevices { bus: SD.bus, count: Count::Luns };
/// Waits until every LUN is bound.
pub(super) const AWAIT_BOUND: Step = Step::AwaitBound { bus: SD.bus, driver: SD.driver, count: Count::Luns };

/// Every LUN is bound after one probe.
pub(super) const ALL_BOUND: Promise =
    Promise::of(EVERY, |circumstances| Expectation::AllBound { of: luns(circumstances), rounds: 1 });
/// One at a time, in one worker.
pub(super) const SERIAL: Promise = Promise::of(PER_DRIVER, |_| Expectation::InFlightAtMost(1));
/// Many at a time.
pub(super) const PARALLEL: Promise = Promise::of(PER_DEVICE, |circumstances| {
    Expectation::InFlightAtLeast(a_quarter_of_the_luns(circumstances))
});
/// Not only begun: a lock within the probe would serialise them all the same.
const OVERLAP: Promise = Promise::of(PER_DEVICE, |circumstances| Expectation::ReadsOverlap {
    latency: circumstances.topology.latency,
});
/// On the node of the device. c37e20eaf4b2 (v5.1): driver core: Attach devices on CPU local to device node
pub(super) const PLACED: Promise = Promise::of(PER_NODE, |_| Expectation::LocalAtLeast { percent: 95 });
/// Begun there. With two nodes chance gives half, and every kernel may be lucky.
pub(super) const BEGUN_NEAR: Promise =
    Promise::of(NEAR_NODE, |_| Expectation::BegunLocalAtLeast { percent: 67 }).or_by_chance();
/// On the node of the device where LUNs come after their driver: elsewhere they are probed on the node of whoever scans their host, and
/// with a few hosts that may be the right one each time.
pub(super) const PLACED_AS_SCANNED: Promise = PLACED.or_by_chance();
/// insmod returns when all is done.
pub(super) const LOAD_WAITS: Promise = Promise::of(EVERY, |_| Expectation::LoadWaits);

/// The main experiment.
pub const DRIVER_AFTER_DEVICES: Case = Case {
    name: "driver_after_devices",
    situation: "all LUNs exist, then sd_mod is loaded",
    claim: "with one asynchronous call per device, the slow probes of one driver run in parallel",
    source: "ef0ff68351be (v5.1): driver core: Probe devices asynchronously instead of the driver",
    flavours: &["", "hba-builtin"],
    steps: &[Step::FindLuns, Step::Phase { name: "probes", of: SD, steps: &[load("sd_mod"), AWAIT_BOUND] }],
    promises: &[
        ALL_BOUND,
        Promise::of(PER_DRIVER, |_| Expectation::AttachedBy { function: "driver_attach_async", calls: 1 }),
        SERIAL,
        Promise::of(PER_DRIVER, |_| Expectation::WorkersAtMost(1)),
        Promise::of(PER_DEVICE, |circumstances| Expectation::AttachedBy {
            function: "__driver_attach_async_helper",
            calls: u64::from(circumstances.topology.luns),
        }),
        PARALLEL,
        OVERLAP,
        PLACED,
        BEGUN_NEAR,
        LOAD_WAITS,
    ],
    candidates: PER_DEVICE,
    baselines: PER_DRIVER,
    ..Case::PLAIN
};

/// The negative control: the change does not touch this path, so every kernel does it alike.
///
/// The scan adds LUNs one by one while the probes of the first ones run, so how many overlap depends on how fast
/// it is: two at once is all that is promised.
pub const DEVICES_AFTER_DRIVER: Case = Case {
    name: "devices_after_driver",
    situation: "sd_mod is loaded, then virtio_scsi adds the LUNs",
    claim: "devices that find their driver there are probed by one asynchronous call each, as ever",
    source: "765230b5f084 (v4.2): driver-core: add asynchronous probing support for drivers",
    flavours: &["", "sd-builtin"],
    steps: &[
        load("sd_mod"),
        Step::Phase { name: "probes", of: SD, steps: &[load("virtio_scsi"), AWAIT_BOUND] },
    ],
    promises: &[
        ALL_BOUND,
        Promise::of(EVERY, |circumstances| Expectation::AttachedBy {
            function: "__device_attach_async_helper",
            calls: u64::from(circumstances.topology.luns),
        }),
        Promise::of(EVERY, |_| Expectation::InFlightAtLeast(2)),
        PLACED_AS_SCANNED,
        LOAD_WAITS,
    ],
    candidates: PER_DEVICE,
    baselines: PER_DRIVER,
    ..Case::PLAIN
};

pub(super) const EITHER_ORDER: Case = Case {
    name: "either_order",
    situation: "the driver comes after its devices, and in the same boot again the devices after their driver",
    claim: "it makes no difference which comes first: the same devices, as parallel, on the same nodes",
    source: "ef0ff68351be (v5.1): consistent behaviour whichever of driver and devices comes first",
    steps: &[
        Step::FindLuns,
        Step::Phase { name: "driver last", of: SD, steps: &[load("sd_mod"), AWAIT_BOUND] },
        Step::Unload { module: "sd_mod" },
        Step::Unload { module: "virtio_scsi" },
        load("sd_mod"),
        Step::Phase { name: "devices last", of: SD, steps: &[load("virtio_scsi"), AWAIT_BOUND] },
    ],
    promises: &[ALL_BOUND, ALL_BOUND.in_phase(1)],
    alike: PER_DEVICE,
    ..Case::PLAIN
};

/// Eight controllers, whose probes scan four LUNs each.
const CONTROLLERS: Topology = Topology::new(2, 8, 32, Duration::from_millis(1));
const ALL_CONTROLLERS: Promise = Promise::of(EVERY, |_| Expectation::AllBound { of: 8, rounds: 1 });
const AWAIT_CONTROLLERS: Step =
    Step::AwaitBound { bus: HBAS.bus, driver: HBAS.driver, count: Count::Just(8) };
const CONTROLLERS_OVERLAP: Promise = Promise::of(PER_DEVICE, |_| Expectation::InFlightAtLeast(2));

pub(super) const CONTROLLERS_BY_MODULE_PARAMETER: Case = Case {
    name: "controllers_by_module_parameter",
    situation: "eight controllers are there, then virtio_scsi is loaded with async_probe",
    claim: "controllers are probed, and so scan their LUNs, in parallel; insmod returns before they are done",
    source: "f2411da74698 (v4.2): driver-core: add driver module asynchronous probe support",
    topology: CONTROLLERS,
    steps: &[Step::Phase {
        name: "probes",
        of: HBAS,
        steps: &[Step::Load { module: "virtio_scsi", params: "async_probe" }, AWAIT_CONTROLLERS, AWAIT_LUNS],
    }],
    promises: &[
        ALL_CONTROLLERS,
        SERIAL,
        CONTROLLERS_OVERLAP,
        PLACED,
        Promise::of(EVERY, |_| Expectation::LoadReturnsEarly),
    ],
    ..Case::PLAIN
};

pub(super) const CONTROLLERS_BY_KERNEL_PARAMETER: Case = Case {
    name: "controllers_by_kernel_parameter",
    situation: "driver_async_probe=virtio_scsi; eight controllers are there, then virtio_scsi is loaded",
    claim: "controllers are probed, and so scan their LUNs, in parallel; insmod returns when they are done",
    source: "1ea61b68d0f8 (v5.1): async: Add cmdline option to specify drivers to be async probed",
    topology: CONTROLLERS,
    parameters: "driver_async_probe=virtio_scsi",
    steps: &[Step::Phase {
        name: "probes",
        of: HBAS,
        steps: &[load("virtio_scsi"), AWAIT_CONTROLLERS, AWAIT_LUNS],
    }],
    promises: &[ALL_CONTROLLERS, SERIAL, CONTROLLERS_OVERLAP, PLACED, LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const PLACEMENT_NODE_WITHOUT_CPUS: Case = Case {
    name: "placement_node_without_cpus",
    situation: "a third of the LUNs belong to a node that has memory and no CPU",
    claim: "they are probed like the others, on any CPU; the others keep their nodes",
    source: "8204e0c1113d (v5.1): workqueue: Provide queue_work_node to queue work near a given NUMA node",
    topology: Topology { hbas: 6, oddities: Oddities { node_without_cpus: true, ..USUAL }, ..PLAIN },
    steps: DRIVER_AFTER_DEVICES.steps,
    promises: &[ALL_BOUND, SERIAL, PARALLEL, PLACED, LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const PLACEMENT_NO_NODE: Case = Case {
    name: "placement_no_node",
    situation: "the controllers belong to no node",
    claim: "their LUNs are probed in parallel all the same",
    source: "c37e20eaf4b2 (v5.1): driver core: Attach devices on CPU local to device node",
    topology: Topology { oddities: Oddities { hbas_without_node: true, ..USUAL }, ..PLAIN },
    steps: DRIVER_AFTER_DEVICES.steps,
    promises: &[ALL_BOUND, SERIAL, PARALLEL, LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const SLOW_ONE: Case = Case {
    name: "slow_one",
    situation: "the first LUN takes fifty times as long for a read as the others",
    claim: "it holds up nobody but itself",
    source: "ef0ff68351be (v5.1): driver core: Probe devices asynchronously instead of the driver",
    topology: Topology {
        latency: Duration::from_millis(10),
        oddities: Oddities { slow: Some(Duration::from_millis(500)), ..USUAL },
        ..PLAIN
    },
    steps: DRIVER_AFTER_DEVICES.steps,
    promises: &[
        ALL_BOUND,
        Promise::of(PER_DEVICE, |_| Expectation::SlowestHoldsUpNobody),
        SERIAL,
        LOAD_WAITS,
    ],
    ..Case::PLAIN
};

pub(super) const UNREADABLE_LUNS: Case = Case {
    name: "unreadable_luns",
    situation: "a quarter of the LUNs fail every read",
    claim: "each of them is reported, and all are bound: the driver needs no block of a disk to serve it",
    source: "drivers/scsi/sd.c: what sd_probe() needs is answered without a read; block/partitions/core.c reports",
    topology: Topology { oddities: Oddities { faulty: 6, ..USUAL }, ..PLAIN },
    steps: DRIVER_AFTER_DEVICES.steps,
    promises: &[
        ALL_BOUND,
        SERIAL,
        PARALLEL,
        Promise::of(EVERY, |_| Expectation::Says { text: "unable to read partition table", times: 6 }),
    ],
    ..Case::PLAIN
};
