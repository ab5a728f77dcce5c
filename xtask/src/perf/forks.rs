//! A sample from a fork against one from a fresh boot: 256 LUNs, in turn.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::failure::Failure;
use lab::guest::topology::Topology;
use lab::run::{self, Lineup};
use lab::watch::Watch;

use super::{Row, bootable, folder, mean, measured_part, ordered};

const ROUNDS: u64 = 3;
const FORKS: u32 = 5;
/// What a sample of 256 LUNs may cost, with all that is around it.
const MOST: Duration = Duration::from_millis(1500);
/// What of it may be neither a build nor the measured part.
const MOST_AROUND: Duration = Duration::from_millis(500);
/// How many samples forks have to bring in the time of one boot.
const TIMES_AS_MANY: f64 = 4.0;

pub(super) fn measure(lineup: &mut Lineup, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let topology = Topology::new(2, 4, 256, Duration::from_millis(20));
    let kernel = bootable(lineup)?;
    let (mut fresh, mut saved, mut forked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut measured_fresh, mut measured_forked) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        watch.count(round, Some(ROUNDS));
        let at = folder(lineup, "fresh")?;
        let begun = Instant::now();
        measured_fresh.push(measured_part(run::carry_out(&ordered(lineup, &kernel, &topology, &at))?)?);
        fresh.push(begun.elapsed());

        let at = folder(lineup, "saved")?;
        let begun = Instant::now();
        let (_, snapshot) = run::carry_out_and_save(&ordered(lineup, &kernel, &topology, &at))?;
        saved.push(begun.elapsed());
        let Some(snapshot) = snapshot else { continue };
        let at: Vec<PathBuf> = (0..FORKS).map(|_| folder(lineup, "fork")).collect::<Result<_, _>>()?;
        let begin = |number: usize| {
            let at: Option<&PathBuf> = at.get(number);
            at.map(|at| run::fork(&snapshot, &ordered(lineup, &kernel, &topology, at))).transpose()
        };
        let begun = Instant::now();
        let mut next = begin(0);
        for (number, at) in at.iter().enumerate() {
            let Some(fork) = next? else { break };
            next = Ok(None);
            let boot = ordered(lineup, &kernel, &topology, at);
            let ending = run::carry_on(fork, &boot, &mut || next = begin(number + 1))?;
            measured_forked.push(measured_part(ending)?);
        }
        // They overlap: all together count.
        forked.push(begun.elapsed() / FORKS);
    }
    let (fresh, saved, forked) = (mean(&fresh), mean(&saved), mean(&forked));
    let (measured_fresh, measured_forked) = (mean(&measured_fresh), mean(&measured_forked));
    let per_minute = |cost: Duration| format!("{:.0} a minute", 60.0 / cost.as_secs_f64());
    Ok(vec![
        Row::plain("a fresh boot of 256 LUNs, with its verdict", super::seconds(fresh)),
        Row::plain("  of it, loading sd_mod", super::seconds(measured_fresh)),
        Row::plain("  samples", per_minute(fresh)),
        Row::plain("a boot that is saved on the way", super::seconds(saved)),
        Row::seconds_below("a fork, with its verdict", forked, MOST),
        Row::plain("  of it, loading sd_mod", super::seconds(measured_forked)),
        Row::seconds_below("  of it, all else", forked.saturating_sub(measured_forked), MOST_AROUND),
        Row::plain("  samples", per_minute(forked)),
        Row::at_least(
            "samples from forks, in the time of one from a boot",
            fresh.as_secs_f64() / forked.as_secs_f64(),
            TIMES_AS_MANY,
        ),
    ])
}
