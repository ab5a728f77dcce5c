//! Several kernels from nothing, against one: in a store of its own, which is empty at first.

use std::time::{Duration, Instant};

use lab::failure::Failure;
use lab::kernel::{Catalogue, Scratch, Store};
use lab::watch::Watch;

use super::{Row, seconds};

/// How much more two kernels may take than one, and four.
const MOST: [(usize, f64); 2] = [(2, 1.05), (4, 1.2)];

/// The kernels, in this order.
const KERNELS: [&str; 4] = ["without", "with", "with-numa", "mainline"];

pub(super) fn measure(catalogue: &Catalogue, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let beside = Store::open()?;
    let root = Scratch::new_in(beside.root(), "perf-")?;
    let store = Store::at(root.path())?;
    let begun = Instant::now();
    let mut after: Vec<Duration> = Vec::new();
    for name in KERNELS {
        store.ensure(&[catalogue.recipe(name)?], watch)?;
        after.push(begun.elapsed());
    }
    let mut rows = vec![Row::plain("one kernel from nothing", seconds(after[0]))];
    for (kernels, most) in MOST {
        let all = after[kernels - 1];
        rows.push(Row::plain(format!("{kernels} kernels from nothing"), seconds(all)));
        let ratio = all.as_secs_f64() / after[0].as_secs_f64();
        rows.push(Row::at_most("  against one", ratio, most));
    }
    Ok(rows)
}
