//! `perf`: how fast parprobe itself is, each figure beside the limit it is held against.
//!
//! What is compared is measured in turn, in one run: machines are noisy, and a ratio is less so than a time.

mod boot;
mod edit;
mod forks;
mod huge;
mod long;
mod pair;
mod scale;

use std::path::Path;
use std::time::Duration;

use evidence::judge::Outcome;
use lab::failure::{Failure, Kind};
use lab::guest::topology::Topology;
use lab::kernel::Catalogue;
use lab::run::{self, Bootable, Carried, Lineup, Place, Request};
use lab::watch::Watch;
use testcases::{Case, Circumstances, DRIVER_AFTER_DEVICES, End, Seen, Verdict};

use crate::cli::{PerfArguments, Subject};
use crate::exit;
use crate::screen::print;

/// The case whose guests are timed: that of `bench`.
const CASE: &Case = &DRIVER_AFTER_DEVICES;

/// A figure.
struct Row {
    what: String,
    seen: String,
    /// What it is held against, and whether it is kept.
    limit: Option<(String, bool)>,
}

impl Row {
    fn plain(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { what: what.into(), seen: seen.into(), limit: None }
    }

    fn seconds_below(what: impl Into<String>, seen: Duration, limit: Duration) -> Self {
        let text = format!("under {}", seconds(limit));
        Self { what: what.into(), seen: seconds(seen), limit: Some((text, seen < limit)) }
    }

    fn at_most(what: impl Into<String>, seen: f64, limit: f64) -> Self {
        Self {
            what: what.into(),
            seen: format!("{seen:.2}"),
            limit: Some((format!("at most {limit}"), seen <= limit)),
        }
    }

    fn at_least(what: impl Into<String>, seen: f64, limit: f64) -> Self {
        Self {
            what: what.into(),
            seen: format!("{seen:.2}"),
            limit: Some((format!("at least {limit}"), seen >= limit)),
        }
    }
}

pub(crate) fn run(arguments: &PerfArguments, workspace: &Path, watch: &dyn Watch) -> Result<u8, Failure> {
    let catalogue = Catalogue::read(&workspace.join("kernel-configs"))?;
    let recipe = catalogue.recipe("with")?;
    let mut lineup = Lineup::of(
        &Request {
            workspace,
            recipes: std::slice::from_ref(&recipe),
            modules: Carried::These(&CASE.modules()),
            wish: arguments.accel.into(),
            setup: arguments.setup,
            place: Place::Dated { runs: workspace.join("runs"), kind: "perf" },
        },
        watch,
    )?;
    let subjects = match &arguments.subjects[..] {
        [] => Subject::USUAL,
        some => some,
    };
    let mut rows = Vec::new();
    for subject in subjects {
        watch.stage(subject.what());
        let measured = match subject {
            Subject::Forks => forks::measure(&mut lineup, watch),
            Subject::Boot => boot::measure(workspace, &mut lineup, watch),
            Subject::Huge => huge::measure(&mut lineup),
            Subject::Long => long::measure(&lineup, arguments.samples, watch),
            Subject::Pair => pair::measure(&catalogue, watch),
            Subject::Scale => scale::measure(&mut lineup, watch),
            Subject::Edit => edit::measure(workspace, &catalogue, arguments.accel.into(), &lineup.run, watch),
        };
        rows.extend(measured.map_err(|failure| run::unfinished(&lineup.run, failure))?);
    }
    let text = table(&rows) + &format!("\n{}; evidence: {}\n", circumstances(&lineup), lineup.run.display());
    let path = lineup.run.join("perf.txt");
    std::fs::write(&path, &text).map_err(|e| Failure::file("write", &path, &e))?;
    print(&text);
    let kept = rows.iter().all(|row| row.limit.as_ref().is_none_or(|(_, kept)| *kept));
    Ok(if kept { exit::SUPPORTED } else { exit::REFUTED })
}

fn circumstances(lineup: &Lineup) -> String {
    let qemu = lab::guest::qemu_version().unwrap_or_default();
    format!("{}, {} cores, {qemu}", lineup.choice.accelerator, lab::host::host_cores())
}

/// What is measured to the left, figures and limits in columns.
fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (what, seen) = (width(|row| &row.what), width(|row| &row.seen));
    let line = |row: &Row| {
        let limit = row.limit.as_ref().map_or_else(String::new, |(limit, kept)| {
            format!("{limit}: {}", if *kept { "kept" } else { "MISSED" })
        });
        format!("{:<what$}  {:>seen$}  {limit}", row.what, row.seen).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// The only kernel, and the accelerator.
fn bootable(lineup: &Lineup) -> Result<Bootable, Failure> {
    let first = lineup.kernels.first().map(|(_, bootable)| bootable.clone());
    first.ok_or_else(|| Failure::new(Kind::Asked, "time a guest", "no kernel is lined up", "this is a bug"))
}

/// A boot of the case, in this shape and folder.
fn ordered<'a>(
    lineup: &Lineup,
    kernel: &'a Bootable,
    topology: &'a Topology,
    folder: &'a Path,
) -> run::Boot<'a> {
    run::Boot {
        kernel,
        topology,
        steps: CASE.steps,
        parameters: CASE.parameters,
        seed: 0,
        accelerator: lineup.choice.accelerator,
        folder,
    }
}

/// A folder for the next boot.
fn folder(lineup: &mut Lineup, name: &str) -> Result<std::path::PathBuf, Failure> {
    let name = run::boot_name(lineup.next_boot(), name);
    run::make_boot_folder(&lineup.run, &name)
}

/// How long loading sd_mod took, by the guest's clock: the part of a boot that is measured. A boot that refutes anything,
/// or on which no claim can rest, is no sample; on a slow host fewer probes than a claim asks for may be in flight at once.
fn measured_part(lineup: &Lineup, topology: &Topology, ending: run::Ending) -> Result<Duration, Failure> {
    let behaves = lineup.kernels.first().and_then(|(kernel, _)| kernel.behaves);
    let circumstances = Circumstances { topology: *topology, host_cores: lab::host::host_cores() };
    let seen = Seen::of(CASE, &circumstances, "the boot", Ok(ending))?;
    let verdict = Verdict::of(CASE, behaves, &circumstances, std::slice::from_ref(&seen));
    let wrong = verdict.findings.iter().find(|finding| finding.outcome == Outcome::Refuted);
    let insmod = match &seen.end {
        End::Well(phases) => {
            phases.first().filter(|boot| boot.doubt().is_none()).and_then(|boot| boot.facts.insmod)
        }
        End::Died { .. } | End::Refused(_) => None,
    };
    match (wrong, insmod) {
        (None, Some(time)) => Ok(time),
        (wrong, _) => {
            let seen = wrong.map_or("no time of sd_mod that counts".to_owned(), |finding| {
                format!("{}: {}; {}", finding.expected, finding.seen, finding.outcome)
            });
            let next = format!("read the logs in {}", lineup.run.display());
            Err(Failure::new(Kind::Guest, "time a guest", seen, next))
        }
    }
}

/// Of at least one.
fn mean(times: &[Duration]) -> Result<Duration, Failure> {
    let count = u32::try_from(times.len()).ok().filter(|count| *count > 0);
    let none = || Failure::new(Kind::Guest, "time guests", "there is no sample", "this is a bug");
    Ok(times.iter().sum::<Duration>() / count.ok_or_else(none)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_missed_stands_beside_its_figure() {
        let rows = [
            Row::seconds_below("a fork", Duration::from_millis(1600), Duration::from_millis(1500)),
            Row::at_least("as many", 4.0, 4.0),
            Row::at_most("as long", 1.04, 1.1),
            Row::plain("samples", "27 a minute"),
        ];
        let expected = "\
a fork       1.600 s  under 1.500 s: MISSED
as many         4.00  at least 4: kept
as long         1.04  at most 1.1: kept
samples  27 a minute
";
        assert_eq!(table(&rows), expected);
    }
}
