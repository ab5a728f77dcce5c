//! Reads a log of 1 GB whose right answer is known, and says how fast and in how much memory: one pass, no statistics.
//!
//! `cargo bench --package evidence --bench gigabyte`; it needs 1.2 GB of memory for the text. It fails where the
//! answer is wrong, or where reading takes more memory than a log of 16 MB does.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[allow(dead_code)] // The tests use the rest.
#[path = "../tests/generated/mod.rs"]
mod generated;

use std::time::Instant;

use generated::{ASKED, GARBAGE, Mix, REALISTIC, boot, check, devices, log};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MB: usize = 1_000_000;

/// Reads a log of this size and returns by how much the heap grew at most.
fn growth(name: &str, size: usize, mix: Mix) -> usize {
    let (log, devices) = (log(size, mix), devices());
    HEAP.reset_peak_usage();
    let (before, begun) = (HEAP.current_usage(), Instant::now());
    let boot = boot(&log.text, None, &devices, &[ASKED]);
    let (took, growth) = (begun.elapsed(), HEAP.peak_usage() - before);
    check(&log, &boot);
    let (megabytes, seconds) = (log.text.len() as f64 / 1e6, took.as_secs_f64());
    println!(
        "{name}: {megabytes:.0} MB in {seconds:.2} s, {:.0} MB/s; {} KiB of memory; {} probes, {} in flight, {} unpaired",
        megabytes / seconds,
        growth / 1024,
        boot.facts.probes,
        boot.facts.max_in_flight,
        boot.facts.unpaired
    );
    growth
}

fn main() {
    for (name, mix) in [("realistic", REALISTIC), ("garbage", GARBAGE)] {
        let (small, large) = (growth(name, 16 * MB, mix), growth(name, 1000 * MB, mix));
        assert!(large < small + 2 * MB, "{small} bytes for 16 MB, {large} for 1 GB");
    }
}
