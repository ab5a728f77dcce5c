//! From an edit of a patch to the verdict: the kernel is built anew, and a bench made of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evidence::judge::Outcome;
use lab::accelerator::Wish;
use lab::failure::{Failure, Kind};
use lab::kernel::{Catalogue, Origin, Store};
use lab::run::{Carried, Lineup, Place, Request};
use lab::watch::Watch;
use testcases::Rounds;

use super::{CASE, Row, seconds};
use crate::bench::Plan;
use crate::cli::usual;

/// What an edit may take to its verdict.
const MOST: Duration = Duration::from_secs(45);
/// What a bench of kernels that are there may take.
///
/// Seen under TCG on two cores: 16.2 s, and 20.7 when the host was slower. Of them 6 s are reads of three boots of
/// `without`, one at a time, and two boots are too few for an interval that holds at every look
/// (`evidence::sequential`).
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
    if let Origin::Build(build) = &mut edited.origin
        && let Some(last) = build.series.last_mut()
    {
        last.path = edit(&last.path, run)?;
    }
    let begun = Instant::now();
    let request = Request {
        workspace,
        recipes: &[baseline, edited],
        modules: Carried::These(&CASE.modules()),
        wish,
        setup: false,
        place: Place::Named(run.join("edit")),
    };
    let lineup = Lineup::of(&request, watch)?;
    let built = begun.elapsed();
    let benched = bench(begun, &lineup, watch);
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

/// What is edited: a word of a message that the patch has the kernel print.
const EDITED: &str = "async attach completed";

/// The patch with one line of code edited, so that what depends on it is compiled, and never the same twice.
fn edit(patch: &Path, run: &Path) -> Result<PathBuf, Failure> {
    let text = fs::read_to_string(patch).map_err(|e| Failure::file("read", patch, &e))?;
    let nonce = run.file_name().unwrap_or_default().display().to_string();
    let edited = edited(&text, &nonce).ok_or_else(|| {
        let attempt = format!("edit {}", patch.display());
        Failure::new(Kind::Asked, attempt, format!("it adds no \"{EDITED}\""), "this is a bug")
    })?;
    let path = run.join("edited.patch");
    fs::write(&path, edited).map_err(|e| Failure::file("write", &path, &e))?;
    Ok(path)
}

/// The patch, with this in the first line that it adds with the message: one that it removes or finds has to stay.
fn edited(patch: &str, nonce: &str) -> Option<String> {
    let mut lines = patch.match_indices('\n').map(|(end, _)| end + 1);
    let line = lines.find(|at| {
        let line = patch[*at..].lines().next().unwrap_or_default();
        line.starts_with('+') && line.contains(EDITED)
    })?;
    let (before, from) = patch.split_at(line);
    Some(before.to_owned() + &from.replacen(EDITED, &format!("{EDITED} ({nonce})"), 1))
}

/// A bench for which nothing is said, with its verdict; how long that took.
fn bench(edited: Instant, lineup: &Lineup, watch: &dyn Watch) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let topology = usual(2);
    let rounds = Rounds::UntilClear { least: 3, most: 30 };
    let names: Vec<&String> = lineup.kernels.iter().map(|(kernel, _)| &kernel.name).collect();
    let plan = Plan {
        case: CASE,
        topology: &topology,
        rounds,
        forks: 0,
        compared: names.windows(2).map(|names| (names[0].to_owned(), names[1].to_owned())).collect(),
        command: "cargo xtask perf edit",
        begun: edited,
    };
    let document = crate::bench::carry_out(&plan, lineup, watch)?;
    let took = begun.elapsed();
    if document.outcome != Outcome::Supported {
        let next = format!("read verdict.txt in {}", lineup.run.display());
        return Err(Failure::new(Kind::Guest, "time a bench", format!("it is {}", document.outcome), next));
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_is_edited_is_one_that_the_patch_adds() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-configs");
        let recipe = Catalogue::read(&configs).unwrap().recipe("with").unwrap();
        let patch = fs::read_to_string(&recipe.build("edit").unwrap().series.last().unwrap().path).unwrap();
        let edited = edited(&patch, "once").unwrap();
        let changed: Vec<_> = patch.lines().zip(edited.lines()).filter(|(old, new)| old != new).collect();
        let [(old, new)] = changed[..] else { panic!("{changed:?}") };
        assert!(old.starts_with('+') && new.contains("completed (once)"), "{old} {new}");
        assert_eq!(super::edited("-async attach completed\n async attach completed\n", "once"), None);
    }
}
