//! From an edit of a patch to the verdict: the kernel is built anew, and a bench made of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::accelerator::Wish;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::{Catalogue, Store};
use lab::run::{self, Lineup, Place, Request};
use lab::watch::Watch;
use testcases::Rounds;

use super::{CASE, Row, seconds};

/// What an edit may take to its verdict.
const MOST: Duration = Duration::from_secs(45);
/// What a bench of kernels that are there may take.
const MOST_OF_A_BENCH: Duration = Duration::from_secs(20);

/// `without` and `with` have to be there; the edit is made to the last patch of the second.
pub(super) fn measure(
    workspace: &Path,
    catalogue: &Catalogue,
    wish: Wish,
    run: &Path,
    watch: &dyn Watch,
) -> Result<Vec<Row>, Failure> {
    let baseline = catalogue.recipe("without")?;
    Store::open()?.ensure(std::slice::from_ref(&baseline), watch)?;
    let mut edited = catalogue.recipe("with")?;
    edited.name = "edited".to_owned();
    if let Some(last) = edited.series.last_mut() {
        *last = edit(last, run)?;
    }
    let begun = Instant::now();
    let request = Request {
        workspace,
        recipes: &[baseline, edited],
        modules: Some(&CASE.modules()),
        wish,
        setup: false,
        place: Place::Named(run.join("edit")),
    };
    let lineup = Lineup::of(&request, watch)?;
    let built = begun.elapsed();
    let benched = bench(&lineup, watch);
    // It is of no use to anybody: every time it is another.
    if let Some((kernel, _)) = lineup.kernels.last() {
        Store::open()?.discard(kernel)?;
    }
    let benched = benched?;
    Ok(vec![
        Row::plain("from the edit of a patch to the first boot", seconds(built)),
        Row::seconds_below("a bench of two kernels that are there", benched, MOST_OF_A_BENCH),
        Row::seconds_below("from the edit to the verdict", built + benched, MOST),
    ])
}

/// The patch with another message: the same code, and another kernel for the store.
fn edit(patch: &Path, run: &Path) -> Result<PathBuf, Failure> {
    let text = fs::read_to_string(patch).map_err(|e| Failure::file("read", patch, &e))?;
    let (head, rest) = text.split_once("\n---\n").ok_or_else(|| {
        let attempt = format!("edit {}", patch.display());
        Failure::new(Kind::Asked, attempt, "it has no message", "make it with git format-patch")
    })?;
    let path = run.join("edited.patch");
    let edited = format!("{head}\nEdited-for: {}\n---\n{rest}", run.display());
    fs::write(&path, edited).map_err(|e| Failure::file("write", &path, &e))?;
    Ok(path)
}

/// Boots as `bench` does where the first look is clear, and judges; how long that took.
fn bench(lineup: &Lineup, watch: &dyn Watch) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let rounds = Rounds::Just(3);
    // That of a bench for which nothing is said.
    let topology = Topology::new(2, 4, 64, Duration::from_millis(20));
    testcases::carry_out(CASE, &topology, lineup, rounds, 0, |_| true, watch)
        .inspect_err(|failure| run::mark_unfinished(&lineup.run, failure))?;
    Ok(begun.elapsed())
}
