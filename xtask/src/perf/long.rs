//! Many samples one after the other, as a bench takes them: what grows meanwhile, and whether the verdict stays.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use evidence::judge::{Finding, Outcome};
use lab::failure::Failure;
use lab::footprint::{self, Held, Standing};
use lab::guest::topology::Topology;
use lab::kernel::Store;
use lab::run::Lineup;
use lab::watch::Watch;
use testcases::{Circumstances, KernelResult, Rounds, Sample, Seen, Verdict};

use super::{CASE, Row};

const LUNS: u32 = 8;
/// Samples of a boot: itself and its forks.
const OF_A_BOOT: u32 = 10;
/// What the harness may keep of a sample until the verdict: probes and findings, 2 KiB a LUN, and no log.
const MOST_KEPT_KIB: f64 = 2.0 * LUNS as f64;

/// How long threads that listened to a guest may outlive it.
const SETTLES: Duration = Duration::from_secs(5);

/// After a round.
struct Look {
    samples: usize,
    held: Held,
    /// Who works in the folder of the run, besides us.
    others: Vec<String>,
}

pub(super) fn measure(lineup: &Lineup, samples: u32, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let store = Store::open()?;
    let topology = Topology::new(2, 2, LUNS, Duration::from_millis(20));
    let lineup = lineup.among(&[super::bootable(lineup)?.name.as_str()], lineup.run.join("long"))?;
    let rounds = samples.div_ceil(OF_A_BOOT) as usize;
    let standing = Standing::now(&[store.root(), &std::env::temp_dir()]);
    let looks = RefCell::new(Vec::new());
    let look = |results: &[KernelResult]| {
        let mut looks = looks.borrow_mut();
        let first = looks.first().and_then(|look: &Result<Look, Failure>| Some(look.as_ref().ok()?.held));
        let others = footprint::at_work_in(&lineup.run);
        looks.push(settled(first).map(|held| Look { samples: all(results).count(), held, others }));
        testcases::Standing::default()
    };
    let begun = Instant::now();
    let forks = OF_A_BOOT as usize - 1;
    let results = testcases::carry_out(CASE, &topology, &lineup, Rounds::Just(rounds), forks, look, watch)?;
    let took = begun.elapsed();
    let new = standing.new_since();
    let looks = looks.into_inner().into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut rows = vec![Row::plain(
        format!("{} samples one after the other, {LUNS} LUNs, 9 of 10 forks", all(&results).count()),
        format!("{} s", took.as_secs()),
    )];
    rows.extend(growth(&looks));
    rows.push(none(
        "new in the store, the temporary folder and /dev/shm",
        new.iter().map(|path| path.display()),
    ));
    rows.push(verdicts(&topology, &lineup, &results));
    Ok(rows)
}

/// What is held when what listened to the last guest has ended, which it does a moment after that.
fn settled(first: Option<Held>) -> Result<Held, Failure> {
    let deadline = Instant::now() + SETTLES;
    loop {
        let held = Held::by_us()?;
        let more = |first: Held| {
            held.threads > first.threads || held.descriptors > first.descriptors || held.children > 0
        };
        if !first.is_some_and(more) || Instant::now() > deadline {
            return Ok(held);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn all(results: &[KernelResult]) -> impl Iterator<Item = &Sample> {
    results.iter().flat_map(|result| &result.boots).flat_map(|boot| &boot.samples)
}

/// What was held after a tenth of the samples, in the middle and at the end. Before that, things are set up once.
fn growth(looks: &[Look]) -> Vec<Row> {
    let at = |tenths: usize| looks.get((looks.len() * tenths / 10).max(1) - 1);
    let (Some(first), Some(middle), Some(last)) = (at(1), at(5), at(10)) else { return Vec::new() };
    let equal = |what: &str, of: fn(&Held) -> usize| {
        let [least, most] =
            [looks.iter().map(|look| of(&look.held)).min(), looks.iter().map(|look| of(&look.held)).max()]
                .map(Option::unwrap_or_default);
        let same = least == most;
        let seen = if same { least.to_string() } else { format!("{least} to {most}") };
        Row { what: what.to_owned(), seen, limit: Some(("as many after each round".to_owned(), same)) }
    };
    let kept = last.samples.saturating_sub(first.samples).max(1) as f64;
    let grown = last.held.memory_kib.saturating_sub(first.held.memory_kib) as f64;
    let others = looks.iter().flat_map(|look| &look.others);
    vec![
        Row::plain(
            "memory of the harness after a tenth, half and all of them",
            [first, middle, last]
                .map(|look| format!("{:.1}", look.held.memory_kib as f64 / 1024.0))
                .join(", ")
                + " MiB",
        ),
        Row::at_most("  KiB a sample, which is what the verdict needs of it", grown / kept, MOST_KEPT_KIB),
        equal("open files, after each round", |held| held.descriptors),
        equal("threads", |held| held.threads),
        equal("processes that it has started", |held| held.children),
        none("other processes in the folder of the run", others),
    ]
}

/// What there should be none of.
fn none(what: &str, seen: impl Iterator<Item = impl ToString>) -> Row {
    let seen: Vec<String> = seen.map(|one| one.to_string()).collect();
    let text = if seen.is_empty() { "none".to_owned() } else { seen.join("; ") };
    Row { what: what.to_owned(), seen: text, limit: Some(("none".to_owned(), seen.is_empty())) }
}

/// Whether the first tenth of the samples alone gives the verdict that the last tenth gives.
fn verdicts(topology: &Topology, lineup: &Lineup, results: &[KernelResult]) -> Row {
    let circumstances = Circumstances { topology: *topology, host_cores: lab::host::host_cores() };
    let behaves = lineup.kernels.first().and_then(|(kernel, _)| kernel.behaves);
    let seen: Vec<Seen> =
        all(results).map(|sample| Seen { folder: sample.folder.clone(), end: sample.end.clone() }).collect();
    let tenth = (seen.len() / 10).max(1);
    let judged = |seen: &[Seen]| -> (Outcome, Vec<(String, Outcome)>) {
        let verdict = Verdict::of(CASE, behaves, &circumstances, seen);
        let told = |finding: &Finding| (finding.expected.clone(), finding.outcome);
        (verdict.outcome(), verdict.findings.iter().map(told).collect())
    };
    let (first, last) = (judged(&seen[..tenth]), judged(&seen[seen.len() - tenth..]));
    let same = first == last;
    Row {
        what: format!("verdict of the first {tenth}, and of the last"),
        seen: format!("{}, {}", first.0, last.0),
        limit: Some(("the same in each finding".to_owned(), same)),
    }
}
