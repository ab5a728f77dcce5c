//! A sample from a fork against one from a fresh boot: 256 LUNs, in turn.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::failure::{Failure, Kind};
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
///
/// Seen under TCG on two cores: 3.2 to 3.5 while boots tried all 256 targets of an HBA, and 2.6 since they do not. The
/// limit is older than boots that take 3.0 s. A fork takes 1.15; of either 0.7 to 0.8 s are measured, so that forks
/// that cost nothing else would bring 3.8 times as many. Starting guests two ahead, stopped while another is measured,
/// did not help. A guest whose memory is mapped from the saved state (x-ignore-shared) starts sooner and is measured
/// slower, as it faults its pages in.
const TIMES_AS_MANY: f64 = 4.0;

pub(super) fn measure(lineup: &mut Lineup, watch: &dyn Watch) -> Result<Vec<Row>, Failure> {
    let topology = Topology::new(2, 4, 256, Duration::from_millis(20));
    let kernel = bootable(lineup)?;
    let (mut fresh, mut saved, mut forked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut measured_fresh, mut measured_forked) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        watch.count(round, Some(ROUNDS), "rounds");
        let at = folder(lineup, "fresh")?;
        let begun = Instant::now();
        let ending = run::carry_out(&ordered(lineup, &kernel, &topology, &at))?;
        measured_fresh.push(measured_part(lineup, &topology, ending)?);
        fresh.push(begun.elapsed());

        let at = folder(lineup, "saved")?;
        let begun = Instant::now();
        let (ending, snapshot) = run::carry_out_and_save(&ordered(lineup, &kernel, &topology, &at))?;
        measured_part(lineup, &topology, ending)?;
        saved.push(begun.elapsed());
        let next = "read the logs in the folder of the run";
        let snapshot = snapshot
            .ok_or_else(|| Failure::new(Kind::Guest, "save a guest", "there is nothing saved", next))?;

        let at: Vec<PathBuf> = (0..FORKS).map(|_| folder(lineup, "fork")).collect::<Result<_, _>>()?;
        let boots: Vec<_> =
            at.iter().map(|at| (&snapshot, ordered(lineup, &kernel, &topology, at))).collect();
        let begun = Instant::now();
        run::carry_on_each(&boots, |_, ending| {
            measured_forked.push(measured_part(lineup, &topology, ending?)?);
            Ok(ControlFlow::Continue(()))
        })?;
        // They overlap: all together count.
        forked.push(begun.elapsed() / FORKS);
    }
    let (fresh, saved, forked) = (mean(&fresh)?, mean(&saved)?, mean(&forked)?);
    let (measured_fresh, measured_forked) = (mean(&measured_fresh)?, mean(&measured_forked)?);
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
