//! Cases about the order and the parameters with which modules are loaded, and when insmod returns.

use std::time::Duration;

use evidence::judge::Expectation;
use lab::guest::topology::Topology;
use lab::run::Step;

use super::scsi::{
    ALL_BOUND, AWAIT_BOUND, AWAIT_LUNS, LOAD_WAITS, PARALLEL, PLACED, PLACED_AS_SCANNED, SD, SERIAL, load,
};
use crate::case::{Case, EVERY, Promise};

const SCAN_ASYNC: Step = Step::Load { module: "scsi_mod", params: "scan=async" };

pub(super) const SCAN_ASYNC_DEVICES_LAST: Case = Case {
    name: "scan_async_devices_last",
    situation: "scsi_mod with scan=async, then sd_mod, then virtio_scsi",
    claim: "insmod of virtio_scsi returns when the hosts are scanned and their LUNs probed",
    source: "67d6212afda2 (v5.17) mended it: modprobe returned before what other threads had scheduled was done",
    steps: &[
        SCAN_ASYNC,
        load("sd_mod"),
        Step::Phase { name: "probes", of: SD, steps: &[load("virtio_scsi"), AWAIT_BOUND] },
    ],
    promises: &[
        ALL_BOUND,
        Promise::of(EVERY, |_| Expectation::InFlightAtLeast(2)),
        PLACED_AS_SCANNED,
        LOAD_WAITS,
    ],
    ..Case::PLAIN
};

pub(super) const SCAN_ASYNC_DRIVER_LAST: Case = Case {
    name: "scan_async_driver_last",
    situation: "scsi_mod with scan=async, then virtio_scsi, then sd_mod",
    claim: "LUNs that were found asynchronously are probed like any other",
    source: "ef0ff68351be (v5.1): driver core: Probe devices asynchronously instead of the driver",
    steps: &[
        SCAN_ASYNC,
        load("virtio_scsi"),
        AWAIT_LUNS,
        Step::Phase { name: "probes", of: SD, steps: &[load("sd_mod"), AWAIT_BOUND] },
    ],
    promises: &[ALL_BOUND, SERIAL, PARALLEL, PLACED, LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const SD_BEFORE_SCAN: Case = Case {
    name: "sd_before_scan",
    situation: "virtio_scsi begins its scan, and sd_mod is loaded beside it",
    claim: "whichever LUN comes first, each is bound once, and the load that ends last has waited for them all",
    source: "Documentation/scsi/scsi_mid_low_api.rst: LUNs come and go while drivers do",
    // A scan goes on for a while after its last LUN: the probe of that one has to take longer, or nobody waits.
    topology: Topology { latency: Duration::from_millis(100), ..Case::PLAIN.topology },
    steps: &[Step::Phase {
        name: "probes",
        of: SD,
        steps: &[
            load("scsi_mod"),
            Step::BeginLoad { module: "virtio_scsi", params: "" },
            load("sd_mod"),
            Step::Finish,
            AWAIT_BOUND,
        ],
    }],
    promises: &[ALL_BOUND, LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const ASYNC_INSMOD: Case = Case {
    name: "async_insmod",
    situation: "all LUNs exist, then sd_mod is loaded with async_probe",
    claim: "insmod returns before the probes are done, and nothing is lost",
    source: "f2411da74698 (v4.2): driver-core: add driver module asynchronous probe support",
    steps: &[
        Step::FindLuns,
        Step::Phase {
            name: "probes",
            of: SD,
            steps: &[Step::Load { module: "sd_mod", params: "async_probe" }, AWAIT_BOUND],
        },
    ],
    promises: &[ALL_BOUND, SERIAL, PARALLEL, PLACED, Promise::of(EVERY, |_| Expectation::LoadReturnsEarly)],
    ..Case::PLAIN
};
