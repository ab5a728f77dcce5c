//! Two benches at once on one store.

use std::collections::BTreeMap;
use std::path::Path;

use evidence::cpus::Cpus;

use super::world::{Running, World, is_right};
use super::{Test, nothing};
use crate::endings::{children_of, status};
use crate::outcome::Wrong;

pub(super) const TESTS: &[Test] = &[Test {
    name: "together::two_benches_at_once_on_one_store_are_both_right",
    lacks: nothing,
    test: two_at_once,
}];

/// From here on two guests of two vCPUs have CPUs of their own.
const ROOM: u32 = 4;

fn two_at_once(world: &World) -> Result<(), Wrong> {
    let outs = ["one", "other"].map(|name| world.folder.join(name));
    let mut benches = Vec::new();
    for (name, out) in ["one", "other"].iter().zip(&outs) {
        benches.push(world.start(name, world.bench(out)?)?);
    }
    let alone = lab::host::host_cores() >= ROOM;
    let (mut looks, mut side_by_side) = (0, 0);
    while both_run(&mut benches)? {
        let guests: Vec<BTreeMap<String, Cpus>> =
            benches.iter().map(|bench| guests_of(bench.child.id())).collect();
        looks += 1;
        let [one, other] = &guests[..] else { return Err("there are not two".into()) };
        let pairs = || one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
        side_by_side += usize::from(pairs().next().is_some());
        let shared =
            |((_, one), (_, other)): &((&String, &Cpus), (&String, &Cpus))| !one.0.is_disjoint(&other.0);
        if let (true, Some(pair)) = (alone, pairs().find(shared)) {
            return Err(format!("two guests share CPUs where there is room for both: {pair:?}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = benches.into_iter().map(Running::ended).collect::<Result<Vec<_>, _>>()?;
    for (out, said) in outs.iter().zip(&said) {
        is_right(out, said)?;
    }
    if side_by_side == 0 {
        return Err(format!("in none of {looks} looks there were guests of both").into());
    }
    world.nothing_is_left()
}

fn both_run(benches: &mut [Running]) -> Result<bool, Wrong> {
    for bench in benches {
        if bench.child.try_wait()?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The guests of a harness, and the CPUs that they may run on.
fn guests_of(harness: u32) -> BTreeMap<String, Cpus> {
    let is_guest =
        |process: &Path| status(process, "Name:").is_some_and(|name| name.starts_with("qemu-system"));
    let cpus = |process: &Path| status(process, "Cpus_allowed_list:")?.parse::<Cpus>().ok();
    let guests = children_of(harness).into_iter().filter(|process| is_guest(process));
    guests.filter_map(|process| Some((process.display().to_string(), cpus(&process)?))).collect()
}
