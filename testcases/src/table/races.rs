//! Races, most of them repeated with seeds that vary latencies and moments, also under lockdep and KASAN.

use std::time::Duration;

use evidence::judge::{Expectation, Which};
use lab::guest::topology::{Oddities, Topology};
use lab::run::{Count, Step};

use super::own::{self, DEVICES, DRIVER, LEAVE, NO_LEAK, OWN};
use super::scsi::{ALL_BOUND, AWAIT_BOUND, AWAIT_LUNS, LOAD_WAITS, SD, load};
use crate::case::{Case, DEBUGGED, EVERY, PER_DEVICE, Promise, SEEDS, luns};

/// Probes of 60 to 180 ms, in which there is time for something to happen.
const PLAIN: Topology = Topology { latency: Duration::from_millis(40), ..Case::PLAIN.topology };
const BEGIN: Step = Step::BeginLoad { module: "sd_mod", params: "" };
/// Waits until the first probe has begun.
const PROBES_BEGIN: Step = Step::AwaitBound { bus: SD.bus, driver: SD.driver, count: Count::AtLeast(1) };

/// Up to when the first probes end, on a kernel that has them all at once.
const fn pause(millis: u64) -> Step {
    Step::Pause { at_most: Duration::from_millis(millis) }
}

pub(super) const HOT_PLUG: Case = Case {
    name: "race_hot_plug",
    situation: "eight LUNs are plugged in while the probes of the others are pending",
    claim: "old and new, all are bound",
    source: "drivers/base/dd.c: __driver_attach() and __device_attach() meet in the same device",
    topology: Topology { oddities: Oddities { spare: 8, ..PLAIN.oddities }, ..PLAIN },
    flavours: DEBUGGED,
    steps: &[
        Step::FindLuns,
        Step::Phase {
            name: "probes",
            of: SD,
            steps: &[BEGIN, PROBES_BEGIN, pause(60), Step::Plug, Step::Finish, AWAIT_LUNS, AWAIT_BOUND],
        },
    ],
    seeds: SEEDS,
    promises: &[
        Promise::of(EVERY, |c| Expectation::AllBoundInTheEnd { of: luns(c) + 8 }),
        // The first of them: later ones may meet the probes of those before them.
        Promise::of(EVERY, |_| Expectation::MeetsProbes { which: Which::UnderWay, when: "plugs in LUN 24" }),
    ],
    ..Case::PLAIN
};

pub(super) const HOT_UNPLUG: Case = Case {
    name: "race_hot_unplug",
    situation: "eight LUNs are pulled out while probes are pending",
    claim: "the others are bound, and nobody touches what is gone",
    source: "654888327e9f (2020): driver core: Avoid binding drivers to dead devices",
    topology: PLAIN,
    flavours: DEBUGGED,
    steps: &[
        Step::FindLuns,
        Step::Phase {
            name: "probes",
            of: SD,
            steps: &[
                BEGIN,
                PROBES_BEGIN,
                pause(60),
                Step::Unplug { luns: 8 },
                Step::Finish,
                AWAIT_LUNS,
                AWAIT_BOUND,
            ],
        },
    ],
    seeds: SEEDS,
    promises: &[
        Promise::of(EVERY, |c| Expectation::AllBoundInTheEnd { of: luns(c) - 8 }),
        Promise::of(EVERY, |_| Expectation::MeetsProbes { which: Which::UnderWay, when: "pulls out LUN" }),
    ],
    ..Case::PLAIN
};

/// More devices than work items of a node run at once (512), so that some are sure to wait.
const MANY: Step = Step::Load { module: "parprobe_devices", params: "count=600 nodes=1" };
/// Returns while probes of two seconds are pending.
const SLOWLY: Step = Step::Load { module: "parprobe_driver", params: "delay_ms=2000 async_probe" };

pub(super) const VANISH_WHILE_PENDING: Case = Case {
    name: "vanish_while_pending",
    situation: "of 600 devices whose probes are slow, the last goes away before its probe has begun",
    claim: "it is not probed, all others are bound, and no reference is left",
    source: "654888327e9f (2020): driver core: Avoid binding drivers to dead devices",
    topology: own::TOPOLOGY,
    flavours: DEBUGGED,
    seeds: SEEDS,
    steps: &[
        MANY,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[
                SLOWLY,
                pause(300),
                Step::Write { path: "/sys/module/parprobe_devices/parameters/vanish", value: "599" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(599) },
            ],
        },
        LEAVE,
    ],
    promises: &[
        Promise::of(EVERY, |_| Expectation::Bound { bound: 599, of: 599 }),
        Promise::of(EVERY, |_| Expectation::NeverProbed {
            device: "parprobe.599",
            gone: "wrote 599 to /sys/module/parprobe_devices/parameters/vanish",
        }),
        Promise::of(EVERY, |_| Expectation::Says { text: "600 of 600 devices released", times: 1 })
            .in_phase(1),
    ],
    only: Some((PER_DEVICE, "one call for the driver: 600 probes of two seconds would take twenty minutes")),
    ..Case::PLAIN
};

pub(super) const BOUND_WHILE_PENDING: Case = Case {
    name: "bound_while_pending",
    situation: "of 600 devices whose probes are slow, the last is bound through sysfs before its own probe has begun",
    claim: "its asynchronous call finds it bound, and leaves it alone",
    source: "ef0ff68351be (v5.1): __driver_attach_async_helper() skips a device that has a driver by then",
    topology: own::TOPOLOGY,
    flavours: DEBUGGED,
    seeds: SEEDS,
    steps: &[
        MANY,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[
                SLOWLY,
                pause(300),
                Step::Write { path: "/sys/bus/parprobe/drivers/parprobe/bind", value: "parprobe.599" },
                Step::AwaitBound { bus: OWN.bus, driver: OWN.driver, count: Count::Just(600) },
            ],
        },
    ],
    promises: &[Promise::of(EVERY, |_| Expectation::AllBound { of: 600, rounds: 1 })],
    only: VANISH_WHILE_PENDING.only,
    ..Case::PLAIN
};

pub(super) const RMMOD: Case = Case {
    name: "race_rmmod",
    situation: "the driver is unloaded while its probes are pending, and loaded again",
    claim: "unloading waits for the probes; then every device is bound again, and no reference is left",
    source: "drivers/base/dd.c: driver_detach() waits for asynchronous probes; nvme-pci had such a race in v5.3",
    topology: own::TOPOLOGY,
    flavours: DEBUGGED,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "unloads",
            of: OWN,
            steps: &[Step::Repeat {
                times: 5,
                steps: &[
                    Step::Load { module: "parprobe_driver", params: "delay_ms={100} async_probe" },
                    pause(60),
                    Step::Unload { module: "parprobe_driver" },
                ],
            }],
        },
        Step::Phase { name: "again", of: OWN, steps: &[DRIVER, own::AWAIT_BOUND] },
        LEAVE,
    ],
    seeds: SEEDS,
    promises: &[
        Promise::of(EVERY, |c| Expectation::Bound { bound: 0, of: luns(c) }),
        Promise::of(EVERY, |_| Expectation::MeetsProbes {
            which: Which::UnderWay,
            when: "rmmod parprobe_driver begins",
        }),
        ALL_BOUND.in_phase(1),
        LOAD_WAITS.in_phase(1),
        NO_LEAK.in_phase(2),
    ],
    ..Case::PLAIN
};

pub(super) const REBIND: Case = Case {
    name: "race_rebind",
    situation: "eight LUNs are bound, unbound and bound through sysfs while their probes are pending",
    claim: "each ends bound, whoever comes first",
    source: "drivers/base/bus.c: bind_store() and unbind_store() take the device lock, as the probes do",
    topology: PLAIN,
    flavours: DEBUGGED,
    steps: &[
        Step::FindLuns,
        Step::Note { bus: SD.bus },
        Step::Phase {
            name: "probes",
            of: SD,
            steps: &[
                BEGIN,
                PROBES_BEGIN,
                pause(30),
                Step::Rebind { bus: SD.bus, driver: SD.driver, devices: 8 },
                Step::Finish,
                AWAIT_BOUND,
            ],
        },
    ],
    seeds: SEEDS,
    promises: &[
        Promise::of(EVERY, |c| Expectation::AllBoundInTheEnd { of: luns(c) }),
        Promise::of(EVERY, |_| Expectation::MeetsProbes { which: Which::UnderWay, when: "rebinds" }),
    ],
    ..Case::PLAIN
};

const SD_AND_BACK: &[Step] = &[load("sd_mod"), Step::Unload { module: "sd_mod" }];

pub(super) const RELOAD_SD: Case = Case {
    name: "reload_sd",
    situation: "sd_mod is loaded and unloaded five times",
    claim: "every LUN is bound once each time",
    source: "a driver pointer that is left behind keeps the next driver out",
    topology: Topology { latency: Duration::from_millis(2), ..PLAIN },
    flavours: DEBUGGED,
    seeds: SEEDS,
    steps: &[
        Step::FindLuns,
        Step::Phase {
            name: "probes",
            of: SD,
            steps: &[Step::Repeat { times: 4, steps: SD_AND_BACK }, load("sd_mod"), AWAIT_BOUND],
        },
    ],
    promises: &[Promise::of(EVERY, |c| Expectation::AllBound { of: luns(c), rounds: 5 }), LOAD_WAITS],
    ..Case::PLAIN
};

const OWN_AND_BACK: &[Step] = &[
    Step::Load { module: "parprobe_driver", params: "delay_ms={3}" },
    Step::Unload { module: "parprobe_driver" },
];

pub(super) const RELOAD_OWN: Case = Case {
    name: "reload_own",
    situation: "a driver of 24 devices is loaded and unloaded a hundred times, its probes longer or shorter",
    claim: "every device is bound once each time, and no reference is left",
    source: "a driver pointer that is left behind keeps the next driver out",
    topology: own::TOPOLOGY,
    flavours: DEBUGGED,
    steps: &[
        DEVICES,
        Step::Phase {
            name: "probes",
            of: OWN,
            steps: &[Step::Repeat { times: 99, steps: OWN_AND_BACK }, DRIVER, own::AWAIT_BOUND],
        },
        LEAVE,
    ],
    seeds: SEEDS,
    promises: &[
        Promise::of(EVERY, |c| Expectation::AllBound { of: luns(c), rounds: 100 }),
        LOAD_WAITS,
        NO_LEAK.in_phase(1),
    ],
    ..Case::PLAIN
};
