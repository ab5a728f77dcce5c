//! Cases with devices and drivers of our own (kernel-configs/modules), for what virtio-scsi cannot do; and the
//! kernel's own test.

use std::time::Duration;

use evidence::console::Death;
use evidence::judge::{Expectation, Which};
use lab::guest::topology::Topology;
use lab::run::{Count, Measured, Step};

use super::scsi::{ALL_BOUND, LOAD_WAITS, PARALLEL, PLACED, SERIAL, load};
use crate::case::{
    Case, DEBUG, DEBUGGED, Dies, EVERY, PER_DEVICE, PER_DRIVER, PER_NODE, Promise, SEEDS, SecondOpinion,
    UNPLACED,
};

/// Our devices and their driver.
pub(super) const OWN: Measured = Measured { bus: "parprobe", driver: "parprobe" };
/// As many devices as other cases have LUNs.
pub(super) const DEVICES: Step = Step::Load { module: "parprobe_devices", params: "count=24 nodes=2" };
pub(super) const AWAIT_BOUND: Step =
    Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(24) };
/// Unloads both modules. What the second one says is whether a device still has a reference.
pub(super) const LEAVE: Step = Step::Phase {
    name: "end",
    of: OWN,
    steps: &[Step::Unload { module: "parprobe_driver" }, Step::Unload { module: "parprobe_devices" }],
};
pub(super) const NO_LEAK: Promise =
    Promise::of(EVERY, |_| Expectation::Says { text: "24 of 24 devices released", times: 1 });

/// One HBA with one LUN that nobody looks at.
const SMALL: Topology = Topology::new(2, 1, 1, Duration::from_millis(20));
/// As many devices as [`DEVICES`] says: for what is expected of them.
pub(super) const TOPOLOGY: Topology = Topology::new(2, 1, 24, Duration::from_millis(20));

pub(super) const PLACEMENT: Case = Case {
    name: "placement",
    situation: "24 devices on two nodes in turn, whose probes sleep; then they lose their driver, and go",
    claim: "every probe runs on a CPU of its device's node, and no reference to a device is left",
    source: "c37e20eaf4b2 (v5.1): driver core: Attach devices on CPU local to device node",
    topology: TOPOLOGY,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[Step::Load { module: "parprobe_driver", params: "delay_ms=60" }, AWAIT_BOUND],
        },
        LEAVE,
    ],
    promises: &[ALL_BOUND, SERIAL, PARALLEL, PLACED, LOAD_WAITS, NO_LEAK.in_phase(1)],
    ..Case::PLAIN
};

pub(super) const FAILING_PROBES: Case = Case {
    name: "failing_probes",
    situation: "every fourth probe fails; then the driver is loaded again and none fails",
    claim: "the others are bound, each failure is reported, and a failed device can be bound later",
    source: "drivers/base/dd.c: call_driver_probe() reports, really_probe() undoes",
    topology: TOPOLOGY,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "failing",
            of: OWN,
            steps: &[
                Step::Load { module: "parprobe_driver", params: "delay_ms=60 fail_every=4" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(18) },
            ],
        },
        Step::Unload { module: "parprobe_driver" },
        Step::Phase {
            name: "again",
            of: OWN,
            steps: &[Step::Load { module: "parprobe_driver", params: "delay_ms=60" }, AWAIT_BOUND],
        },
        LEAVE,
    ],
    promises: &[
        Promise::of(EVERY, |_| Expectation::Bound { bound: 18, of: 24 }),
        Promise::of(EVERY, |_| Expectation::Says { text: "failed with error -5", times: 6 }),
        SERIAL,
        PARALLEL,
        ALL_BOUND.in_phase(1),
        NO_LEAK.in_phase(2),
    ],
    ..Case::PLAIN
};

pub(super) const MATCH_ERROR: Case = Case {
    name: "match_error",
    situation: "asked whether it matches the sixth device, the bus returns an error",
    claim: "the walk goes on: all other devices are bound",
    source: "27c0d217340e (2022): driver core: Fix bus_type.match() error handling in __driver_attach()",
    topology: TOPOLOGY,
    steps: &[
        Step::Load { module: "parprobe_devices", params: "count=24 nodes=2 match_fails=5" },
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[
                // A walk that ends early fails the load, and then nothing is bound.
                Step::TryLoad { module: "parprobe_driver", params: "delay_ms=60" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(23) },
            ],
        },
    ],
    promises: &[Promise::of(EVERY, |_| Expectation::Bound { bound: 23, of: 24 }), SERIAL, PARALLEL],
    ..Case::PLAIN
};

pub(super) const FAILED_REGISTRATION: Case = Case {
    name: "failed_registration",
    situation: "an error of match() for the first device fails the registration of the driver, where one can; then the driver \
                is registered again",
    claim: "the second finds nothing that the first left behind",
    source: "310862e57400 (v5.19): driver core: fix potential use-after-free when driver_attach fails",
    topology: TOPOLOGY,
    // Only KASAN and the checks of lists see what is touched.
    flavours: &[DEBUG],
    steps: &[
        Step::Load { module: "parprobe_devices", params: "count=24 nodes=2 match_fails=0" },
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[
                Step::TryLoad { module: "parprobe_driver", params: "" },
                // Since 27c0d217340e (2022) it is loaded by now.
                Step::TryLoad { module: "parprobe_driver", params: "" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(23) },
            ],
        },
    ],
    promises: &[Promise::of(EVERY, |_| Expectation::Bound { bound: 23, of: 24 })],
    ..Case::PLAIN
};

pub(super) const TWO_DRIVERS: Case = Case {
    name: "two_drivers",
    situation: "two asynchronous drivers match the same devices; the second comes before any probe of the first has begun, \
                and in the same boot again while they are under way",
    claim: "the driver that came first gets the devices, each probed once",
    source: "84e7c6786aad (v5.19): before it, the second driver replaced the first in async_driver",
    topology: TOPOLOGY,
    flavours: DEBUGGED,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "held back",
            of: OWN,
            steps: &[
                Step::Load {
                    module: "parprobe_driver",
                    params: "delay_ms=60 drivers=2 gap_us={200000} hold=512",
                },
                AWAIT_BOUND,
            ],
        },
        Step::Unload { module: "parprobe_driver" },
        Step::Phase {
            name: "under way",
            of: OWN,
            steps: &[
                Step::Load { module: "parprobe_driver", params: "delay_ms=60 drivers=2 gap_us={40000}" },
                AWAIT_BOUND,
            ],
        },
        LEAVE,
    ],
    seeds: SEEDS,
    promises: &[
        ALL_BOUND,
        PARALLEL,
        LOAD_WAITS,
        Promise::of(EVERY, |_| Expectation::MeetsProbes {
            which: Which::ToBegin,
            when: "registers a second driver",
        }),
        ALL_BOUND.in_phase(1),
        LOAD_WAITS.in_phase(1),
        Promise::of(EVERY, |_| Expectation::MeetsProbes {
            which: Which::UnderWay,
            when: "registers a second driver",
        })
        .in_phase(1),
        NO_LEAK.in_phase(2),
    ],
    only: Some((PER_DEVICE, "one call for each driver: which of the two gets a device is left to chance")),
    ..Case::PLAIN
};

pub(super) const ASYNC_IN_OWN_DOMAIN: Case = Case {
    name: "async_in_own_domain",
    situation: "each probe schedules asynchronous work in a domain of its own, and waits for that domain",
    claim: "this works: nobody waits for himself",
    source: "review of the series in 2018: use a domain of your own",
    topology: TOPOLOGY,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[Step::Load { module: "parprobe_driver", params: "delay_ms=60 nested=1" }, AWAIT_BOUND],
        },
        LEAVE,
    ],
    promises: &[ALL_BOUND, SERIAL, PARALLEL, LOAD_WAITS, NO_LEAK.in_phase(1)],
    ..Case::PLAIN
};

pub(super) const ASYNC_WAITS_FOR_EVERYTHING: Case = Case {
    name: "async_waits_for_everything",
    situation: "a probe that runs asynchronously waits for all asynchronous work, and so for itself",
    claim: "this hangs on every kernel, and is told as a hang with the stack that leads to it",
    source: "review of the series in 2018: async_synchronize_full() within an asynchronous probe",
    topology: SMALL,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[Step::Load { module: "parprobe_driver", params: "delay_ms=20 nested=2" }, AWAIT_BOUND],
        },
    ],
    dies: Some(Dies { of: Death::HungTask, through: "parprobe_probe" }),
    ..Case::PLAIN
};

pub(super) const SLOW_IS_NOT_HUNG: Case = Case {
    name: "slow_is_not_hung",
    situation: "each of two probes takes six seconds, which one by one is longer than a hang takes to be told elsewhere",
    claim: "where devices are known to be slow, this is slow and not a hang",
    source: "kernel/hung_task.c: a task hangs when it has not run for hung_task_timeout_secs",
    // So slow that the guest is given half a minute.
    topology: Topology::new(2, 1, 2, Duration::from_secs(1)),
    steps: &[
        Step::Load { module: "parprobe_devices", params: "count=2 nodes=2" },
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[
                Step::Load { module: "parprobe_driver", params: "delay_ms=6000 nested=1" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(2) },
            ],
        },
    ],
    promises: &[ALL_BOUND, SERIAL, Promise::of(PER_DEVICE, |_| Expectation::InFlightAtLeast(2)), LOAD_WAITS],
    ..Case::PLAIN
};

pub(super) const KERNELS_OWN_TEST: Case = Case {
    name: "kernels_own_test",
    situation: "we judge devices of our own, then test_async_driver_probe is loaded: four CPUs on two nodes",
    claim: "its verdict is ours: both are content with a kernel that probes in parallel on the device's node, and \
            with no other",
    source: "drivers/base/test/test_async_driver_probe.c",
    topology: Topology { vcpus: 4, ..TOPOLOGY },
    steps: &[
        DEVICES,
        Step::Phase {
            name: "ours",
            of: OWN,
            steps: &[Step::Load { module: "parprobe_driver", params: "delay_ms=60" }, AWAIT_BOUND],
        },
        Step::Phase {
            name: "test",
            of: Measured { bus: "platform", driver: "test_async_driver" },
            steps: &[Step::TryLoad { module: "test_async_driver_probe", params: "" }],
        },
    ],
    promises: &[
        CONTENT,
        Promise::of(UNPLACED, |_| Expectation::Says { text: "Test failed with", times: 1 }).in_phase(1),
        Promise::of(PER_DRIVER, |_| Expectation::Says { text: "async events still pending", times: 1 })
            .in_phase(1),
    ],
    second_opinion: Some(SecondOpinion { ours: &[ALL_BOUND, PARALLEL, PLACED], theirs: CONTENT }),
    ..Case::PLAIN
};

/// What the kernel's own test says of a kernel that passes it.
const CONTENT: Promise =
    Promise::of(PER_NODE, |_| Expectation::Says { text: "completed successfully", times: 1 }).in_phase(1);

/// For cases that load a driver without parameters.
pub(super) const DRIVER: Step = load("parprobe_driver");
