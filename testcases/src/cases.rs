//! The cases, as values: what each checks and why, what the guest does, what is expected of which kernel.

use evidence::judge::Expectation;
use lab::guest::topology::Topology;
use lab::run::Step;

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What happens in it.
    pub situation: &'static str,
    /// What is claimed of a kernel with the change.
    pub claim: &'static str,
    /// Where that was claimed.
    pub source: &'static str,
    /// What the guest does.
    pub steps: &'static [Step],
    /// What is expected of which kernel.
    pub promises: &'static [Promise],
    /// Pairs of (baseline, candidate) of which the candidate is claimed to be faster.
    pub faster: &'static [(&'static str, &'static str)],
}

/// Something expected of some kernels.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The kernels, by name.
    pub of: &'static [&'static str],
    /// What is expected, in a guest of this shape.
    pub expect: fn(&Topology) -> Expectation,
}

impl Case {
    /// What is expected of this kernel in a guest of this shape.
    pub fn expectations(&self, kernel: &str, topology: &Topology) -> Vec<Expectation> {
        let promises = self
            .promises
            .iter()
            .filter(|promise| promise.of.contains(&kernel));
        promises.map(|promise| (promise.expect)(topology)).collect()
    }

    /// The modules that the guest loads.
    pub fn modules(&self) -> Vec<&'static str> {
        let module = |step: &Step| match *step {
            Step::Load { module } | Step::Measure { module, .. } => Some(module),
            Step::AwaitLuns => None,
        };
        self.steps.iter().filter_map(module).collect()
    }
}

const EVERY: &[&str] = &["without", "with", "with-numa", "mainline"];
const PER_DEVICE: &[&str] = &["with", "with-numa", "mainline"];
const PER_NODE: &[&str] = &["with-numa", "mainline"];

/// Half of the LUNs, but no more than the 512 work items that a node's pool of `system_unbound_wq` runs at
/// once (max_active in kernel/workqueue.c, 6.1), halved for the same reason: probes take CPU time as well.
fn half_of_the_luns(topology: &Topology) -> usize {
    let luns = usize::try_from(topology.luns).unwrap_or(usize::MAX);
    luns.div_ceil(2).clamp(2, 256)
}

/// The main experiment.
pub const DRIVER_AFTER_DEVICES: Case = Case {
    name: "driver_after_devices",
    situation: "all LUNs exist, then sd_mod is loaded",
    claim: "with one asynchronous call per device, the slow probes of one driver run in parallel",
    source: "ef0ff68351be (v5.1): driver core: Probe devices asynchronously instead of the driver",
    steps: &[
        Step::Load {
            module: "virtio_scsi",
        },
        Step::AwaitLuns,
        Step::Measure {
            module: "sd_mod",
            driver: "sd",
        },
    ],
    promises: &[
        Promise {
            of: EVERY,
            expect: |_| Expectation::AllBound,
        },
        Promise {
            of: &["without"],
            expect: |_| Expectation::InFlightAtMost(1),
        },
        Promise {
            of: &["without"],
            expect: |_| Expectation::WorkersAtMost(1),
        },
        Promise {
            of: PER_DEVICE,
            expect: |topology| Expectation::InFlightAtLeast(half_of_the_luns(topology)),
        },
        // c37e20eaf4b2 (v5.1): driver core: Attach devices on CPU local to device node
        Promise {
            of: PER_NODE,
            expect: |_| Expectation::LocalAtLeast { percent: 95 },
        },
    ],
    faster: &[
        ("without", "with"),
        ("without", "with-numa"),
        ("without", "mainline"),
    ],
};
