//! How fast logs and traces are read: `cargo bench --package evidence --bench reading`.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)] // The tests use the rest.
#[path = "../tests/generated/mod.rs"]
mod generated;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evidence::{ftrace, kmsg};
use generated::{ASKED, GARBAGE, REALISTIC, SOUND, boot, devices, log, trace};

/// Much larger than the caches.
const SIZE: usize = 64 << 20;

fn reading(criterion: &mut Criterion) {
    let devices = devices();
    let mut group = criterion.benchmark_group("log");
    group.sample_size(10);
    for (name, mix) in [("realistic", REALISTIC), ("garbage", GARBAGE), ("sound", SOUND)] {
        let log = log(SIZE, mix);
        group.throughput(Throughput::BytesDecimal(log.text.len() as u64));
        group.bench_function(format!("{name}, split"), |b| {
            b.iter(|| black_box(kmsg::read(&log.text).count()));
        });
        group.bench_function(format!("{name}, read"), |b| {
            b.iter(|| black_box(boot(&log.text, None, &devices, &[ASKED])));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("trace");
    group.sample_size(10);
    // As our guests have it, and as it is where others trace too.
    for (name, others) in [("probes only", 0), ("one line in 20 a probe's", 19)] {
        let trace = trace(SIZE, others);
        group.throughput(Throughput::BytesDecimal(trace.text.len() as u64));
        group.bench_function(format!("{name}, split"), |b| {
            b.iter(|| black_box(ftrace::read(&trace.text).count()));
        });
        group.bench_function(format!("{name}, read"), |b| {
            let kmsg = "6,0,0,-;parprobe: phase main begins\n6,1,999999999999,-;parprobe: phase main ends\n";
            b.iter(|| black_box(boot(kmsg, Some(&trace.text), &devices, &[])));
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
