//! The cases, as values: what each checks and why, what the guest does, what is expected of which kernel.

use std::time::Duration;

use evidence::judge::Expectation;
use lab::guest::topology::Topology;
use lab::kernel::Behaviour;
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
    /// The kernels that the claim is about.
    pub candidates: &'static [Behaviour],
    /// The kernels that candidates are held against; a candidate is claimed to be faster.
    pub baselines: &'static [Behaviour],
}

/// Something expected of kernels that behave in one of these ways.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The ways to behave.
    pub of: &'static [Behaviour],
    /// What is expected, in these circumstances.
    pub expect: fn(&Circumstances) -> Expectation,
}

/// What an expectation may depend on.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The shape of the guest.
    pub topology: Topology,
    /// Cores of the host that the guest can use.
    pub host_cores: u32,
}

impl Case {
    /// What is expected of this kernel in these circumstances.
    pub fn expectations(&self, kernel: Behaviour, circumstances: &Circumstances) -> Vec<Expectation> {
        let promises = self.promises.iter().filter(|promise| promise.of.contains(&kernel));
        promises.map(|promise| (promise.expect)(circumstances)).collect()
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

const PER_DRIVER: &[Behaviour] = &[Behaviour::PerDriver];
const PER_DEVICE: &[Behaviour] = &[Behaviour::PerDevice, Behaviour::PerNode];
const PER_NODE: &[Behaviour] = &[Behaviour::PerNode];
const EVERY: &[Behaviour] = &[Behaviour::PerDriver, Behaviour::PerDevice, Behaviour::PerNode];

/// How many probes have to overlap at least, for a kernel that schedules them one by one: a quarter of the
/// LUNs. A kernel that does not has 1, whatever the host; one that does has half of them or more, but fewer
/// where a neighbour takes the host's CPU away, because a probe begins only when a CPU is free for it.
///
/// Three things lower it, each in proportion. No more than 512 work items of a node's pool run at once
/// (`max_active` of `system_unbound_wq`, kernel/workqueue.c in 6.1). vCPUs beyond the host's cores start
/// probes late. And a probe that is over in less than [`LONG_ENOUGH`] makes room before many others began: on
/// a slow host (TCG) beginning one takes a millisecond of CPU time. Two at once are never too much to ask.
fn a_quarter_of_the_luns(circumstances: &Circumstances) -> usize {
    let Circumstances { topology, host_cores } = circumstances;
    let quarter = topology.luns.div_ceil(4).min(128);
    let overcommitted = topology.vcpus.div_ceil((*host_cores).max(1));
    let share = topology.latency.as_secs_f64() / LONG_ENOUGH.as_secs_f64();
    let least = f64::from(quarter) / f64::from(overcommitted) * share.min(1.0);
    (least as usize).max(2)
}

/// See [`a_quarter_of_the_luns`].
const LONG_ENOUGH: Duration = Duration::from_millis(20);

/// The main experiment.
pub const DRIVER_AFTER_DEVICES: Case = Case {
    name: "driver_after_devices",
    situation: "all LUNs exist, then sd_mod is loaded",
    claim: "with one asynchronous call per device, the slow probes of one driver run in parallel",
    source: "ef0ff68351be (v5.1): driver core: Probe devices asynchronously instead of the driver",
    steps: &[
        Step::Load { module: "virtio_scsi" },
        Step::AwaitLuns,
        Step::Measure { module: "sd_mod", driver: "sd" },
    ],
    promises: &[
        Promise { of: EVERY, expect: |_| Expectation::AllBound },
        Promise {
            of: PER_DRIVER,
            expect: |_| Expectation::AttachedBy { function: "driver_attach_async", calls: 1 },
        },
        Promise { of: PER_DRIVER, expect: |_| Expectation::InFlightAtMost(1) },
        Promise { of: PER_DRIVER, expect: |_| Expectation::WorkersAtMost(1) },
        Promise {
            of: PER_DEVICE,
            expect: |circumstances| Expectation::AttachedBy {
                function: "__driver_attach_async_helper",
                calls: u64::from(circumstances.topology.luns),
            },
        },
        Promise {
            of: PER_DEVICE,
            expect: |circumstances| Expectation::InFlightAtLeast(a_quarter_of_the_luns(circumstances)),
        },
        // c37e20eaf4b2 (v5.1): driver core: Attach devices on CPU local to device node
        Promise { of: PER_NODE, expect: |_| Expectation::LocalAtLeast { percent: 95 } },
    ],
    candidates: PER_DEVICE,
    baselines: PER_DRIVER,
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
    steps: &[Step::Load { module: "sd_mod" }, Step::Measure { module: "virtio_scsi", driver: "sd" }],
    promises: &[
        Promise { of: EVERY, expect: |_| Expectation::AllBound },
        Promise {
            of: EVERY,
            expect: |circumstances| Expectation::AttachedBy {
                function: "__device_attach_async_helper",
                calls: u64::from(circumstances.topology.luns),
            },
        },
        Promise { of: EVERY, expect: |_| Expectation::InFlightAtLeast(2) },
        // c37e20eaf4b2 (v5.1) places these calls as well.
        Promise { of: PER_NODE, expect: |_| Expectation::LocalAtLeast { percent: 95 } },
    ],
    candidates: PER_DEVICE,
    baselines: PER_DRIVER,
};

/// Every case.
pub const CASES: &[Case] = &[DRIVER_AFTER_DEVICES, DEVICES_AFTER_DRIVER];

#[cfg(test)]
mod tests {
    use super::*;

    fn least(luns: u32, vcpus: u32, latency: Duration) -> usize {
        let topology = Topology { nodes: 2, vcpus, hbas: 4, luns, latency };
        a_quarter_of_the_luns(&Circumstances { topology, host_cores: 2 })
    }

    #[test]
    fn a_quarter_of_the_luns_has_to_overlap_where_nothing_keeps_them_from_it() {
        assert_eq!(least(64, 2, LONG_ENOUGH), 16);
        assert_eq!(least(4096, 2, LONG_ENOUGH), 128);
        assert_eq!(least(64, 4, LONG_ENOUGH), 8);
        assert_eq!(least(64, 2, LONG_ENOUGH / 4), 4);
        assert_eq!(least(2, 2, Duration::ZERO), 2);
    }
}
