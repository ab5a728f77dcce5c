//! A large log is read rightly, and in memory that its probes need and its garbage does not.
//!
//! A single test: another one beside it would be counted in.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // The benches use the rest.
mod generated;

use generated::{ASKED, GARBAGE, Mix, REALISTIC, boot, check, devices, log};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

/// Reads a log of this size and returns by how much the heap grew at most.
fn growth(size: usize, mix: Mix) -> usize {
    let (log, devices) = (log(size, mix), devices());
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let boot = boot(&log.text, None, &devices, &[ASKED]);
    let growth = HEAP.peak_usage() - before;
    check(&log, &boot);
    growth
}

#[test]
fn a_large_log_is_read_rightly_and_garbage_takes_no_memory() {
    for mix in [REALISTIC, GARBAGE] {
        let (small, large) = (growth(8 * MIB, mix), growth(64 * MIB, mix));
        // What is kept of what is said and of what is unpaired has a limit, which the smaller log may not have reached.
        assert!(large < small + 2 * MIB, "{mix:?}: {small} bytes for 8 MiB, {large} for 64 MiB");
    }
}
