//! Cases about a kernel that has everything built in, from its first initcall to the start of `/init`.

use evidence::judge::Expectation;
use lab::run::Step;

use super::scsi::{ALL_BOUND, AWAIT_BOUND, PARALLEL, PLACED, PLACED_AS_SCANNED, SD, SERIAL};
use crate::case::{Case, EVERY, Promise};

const IN_ORDER: Promise = Promise::of(EVERY, |_| Expectation::InitcallsInOrder);
const NOTHING_PENDING: Promise = Promise::of(EVERY, |_| Expectation::NothingPendingAtInit);

pub(super) const BUILT_IN: Case = Case {
    name: "built_in",
    situation: "SCSI, sd and virtio_scsi are built in; the kernel boots",
    claim: "initcalls run in the order of their levels, and all probes are done when /init starts",
    source: "init/main.c: kernel_init() waits for asynchronous work before it frees the init sections",
    flavours: &["builtin"],
    steps: &[AWAIT_BOUND, Step::FromBoot { of: SD }],
    promises: &[ALL_BOUND, IN_ORDER, NOTHING_PENDING, SERIAL, PARALLEL, PLACED],
    ..Case::PLAIN
};

pub(super) const BUILT_IN_SCAN_ASYNC: Case = Case {
    name: "built_in_scan_async",
    situation: "the same with scsi_mod.scan=async",
    claim: "each host is scanned by a call of its own, and still all probes are done when /init starts",
    source: "drivers/scsi/scsi_scan.c: scsi_scan_host() schedules do_scan_async()",
    flavours: &["builtin"],
    parameters: "scsi_mod.scan=async",
    steps: &[AWAIT_BOUND, Step::FromBoot { of: SD }],
    promises: &[ALL_BOUND, IN_ORDER, NOTHING_PENDING, PLACED_AS_SCANNED],
    ..Case::PLAIN
};
