//! The verdict as text: what was claimed, what was seen, what follows, where to look, how to repeat it.

mod bisect;
pub(crate) mod limit;
mod mutants;
mod nightly;
mod of_tests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use evidence::judge::Outcome;
use evidence::memory::Memory;
use evidence::neighbours::BUSY;
use evidence::plain::plain;
use evidence::stats::median;

use crate::document::{
    BootEntry, Comparison, Document, FactsEntry, IntervalKind, ResultEntry, TimeEntry, hung,
};
use crate::table::Table;

pub use bisect::{render_bisect, render_step};
pub use mutants::{render_mutant, render_mutants};
pub use nightly::{render_night, render_trends};
pub use of_tests::{render_not_passed, render_unknown};

/// Renders the document for a terminal or a mail. No line is longer than a terminal unless a name in it is.
pub fn render(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(&hung(document), &mut out);
    plain(&out).into_owned()
}

fn write(document: &Document, out: &mut String) -> std::fmt::Result {
    for case in &document.cases {
        writeln!(out, "{}: {}", case.name, case.situation)?;
        writeln!(out, "claim:  {}", case.claim)?;
        writeln!(out, "        ({})", case.source)?;
        writeln!(out, "guest:  {}", document.topology)?;
        writeln!(out, "host:   {}, {} cores", document.host.qemu, document.host.cores)?;
        writeln!(out, "        {} ({})", document.accel.to_uppercase(), document.accel_reason)?;
        for open in &document.host.open {
            writeln!(out, "        guests were not quite shut off from it: {open}")?;
        }
        writeln!(out)?;

        let results: Vec<&ResultEntry> =
            document.results.iter().filter(|result| result.case == case.name).collect();
        let kernel_of =
            |result: &ResultEntry| document.kernels.iter().find(|kernel| kernel.name == result.kernel);
        let mut table = Table::new(&[
            "kernel",
            "boots",
            "in flight",
            "workers",
            "on node",
            "makespan",
            "insmod",
            "witnesses",
            "unpaired",
        ]);
        for result in &results {
            table.row(row(result));
        }
        out.push_str(&table.render());
        writeln!(out)?;
        out.push_str(&limit::render(case.limit.as_ref(), &results));
        writeln!(out)?;
        for result in &results {
            let kernel = kernel_of(result);
            if let Some(kernel) = kernel {
                writeln!(out, "{} ({}): {}", result.kernel, kernel.release, kernel.about)?;
            }
            for finding in &result.findings {
                writeln!(out, "  {:<12}  {}: {}", finding.outcome, finding.expected, finding.seen)?;
            }
            if kernel.is_some_and(|kernel| kernel.behaves.is_none()) && !result.others.is_empty() {
                writeln!(
                    out,
                    "  promised of some kernels; not judged, as nothing says how this one behaves:"
                )?;
                for finding in &result.others {
                    writeln!(out, "  {:<13} {}: {}", kept(finding.outcome), finding.expected, finding.seen)?;
                }
            }
            for line in remarks(result) {
                writeln!(out, "  {line}")?;
            }
        }
        for comparison in document.comparisons.iter().filter(|comparison| comparison.case == case.name) {
            writeln!(out, "{}", compare(comparison))?;
        }
        if let Some(warning) = warn_of_neighbours(&results) {
            writeln!(out, "{warning}")?;
        }
        if let Some(why) = document.untested(case) {
            writeln!(out, "  {:<12}  the claim: {why}", Outcome::NotRun)?;
        }
        writeln!(out)?;
    }
    let but = document.leaves_open().map_or_else(String::new, |but| format!(", {but}"));
    writeln!(out, "verdict:  {}{but}", document.outcome)?;
    if let Some(time) = &document.time {
        writeln!(out, "time:     {}", where_it_went(time))?;
    }
    if let Some(memory) = most_memory(document) {
        writeln!(out, "memory:   {memory}")?;
    }
    writeln!(out, "evidence: {}", document.run)?;
    for result in &document.results {
        // The findings that decide, and of the evidence of each the boot that does.
        for finding in result.findings.iter().filter(|finding| finding.outcome == result.outcome) {
            if let Some(place) = finding.evidence.first() {
                writeln!(out, "          {}: {place}", result.kernel)?;
            }
        }
    }
    writeln!(out, "picture:  cargo xtask report {} -o report.html", document.run)?;
    writeln!(out, "repeat:   {}", document.command)
}

fn where_it_went(time: &TimeEntry) -> String {
    let seconds = |us: u64| format!("{:.1} s", Duration::from_micros(us).as_secs_f64());
    let each = if time.guests == 1 { "" } else { " a guest" };
    let rest = time.overhead_us().map_or_else(String::new, |us| {
        format!(", {:.2} s{each} for all else", Duration::from_micros(us).as_secs_f64())
    });
    format!(
        "{}: {} until the first boot, {} measured in {} guest{}{rest}",
        seconds(time.wall_us),
        seconds(time.until_boot_us),
        seconds(time.measured_us),
        time.guests,
        if time.guests == 1 { "" } else { "s" }
    )
}

/// Of the guest whose QEMU took most.
fn most_memory(document: &Document) -> Option<String> {
    let memories = document.results.iter().flat_map(|result| &result.boots).filter_map(|boot| boot.memory);
    let Memory { qemu_peak_kib, guest_kib, guest_used_kib } =
        memories.max_by_key(|memory| memory.qemu_peak_kib)?;
    let mib = |kib: u64| kib / 1024;
    Some(format!(
        "QEMU {} MiB at most; its guest used {} of {} MiB",
        mib(qemu_peak_kib),
        mib(guest_used_kib),
        mib(guest_kib)
    ))
}

fn row(result: &ResultEntry) -> Vec<String> {
    let facts: Vec<&FactsEntry> = result.boots.iter().map(|boot| &boot.facts).collect();
    let Cells { boots, in_flight, workers, on_node, makespan, insmod } = Cells::of(result);
    let unpaired = facts.iter().map(|facts| facts.unpaired).sum::<usize>().to_string();
    let kernel = result.kernel.clone();
    vec![kernel, boots, in_flight, workers, on_node, makespan, insmod, witnesses(&facts), unpaired]
}

/// What the boots of a kernel showed, in a word each: a range over the boots, or the median of a time.
pub(crate) struct Cells {
    pub(crate) boots: String,
    pub(crate) in_flight: String,
    pub(crate) workers: String,
    pub(crate) on_node: String,
    pub(crate) makespan: String,
    pub(crate) insmod: String,
}

impl Cells {
    pub(crate) fn of(result: &ResultEntry) -> Self {
        let facts: Vec<&FactsEntry> = result.boots.iter().map(|boot| &boot.facts).collect();
        let time = |of: &dyn Fn(&FactsEntry) -> Option<u64>| {
            let middle = median(facts.iter().filter_map(|facts| of(facts)).map(Duration::from_micros));
            middle.map_or_else(|| "-".to_owned(), |time| format!("{:.3} s", time.as_secs_f64()))
        };
        let local = |facts: &&FactsEntry| (facts.local_probes? * 100).checked_div(facts.placeable?);
        Self {
            boots: boots(result),
            in_flight: range(facts.iter().map(|facts| Some(facts.max_in_flight))),
            workers: range(facts.iter().map(|facts| facts.workers)),
            on_node: range(facts.iter().map(local)) + " %",
            makespan: time(&|facts| facts.makespan_us),
            insmod: time(&|facts| facts.insmod_us),
        }
    }
}

/// Boots, and forks of them: `3+9`.
fn boots(result: &ResultEntry) -> String {
    let forks = result.boots.iter().filter(|boot| boot.fork_of.is_some()).count();
    let boots = result.boots.len() - forks;
    if forks == 0 { boots.to_string() } else { format!("{boots}+{forks}") }
}

/// Smallest to largest; a dash where it is not known of every boot.
fn range(values: impl Iterator<Item = Option<usize>>) -> String {
    let values: Option<Vec<usize>> = values.collect();
    match values.as_deref().and_then(|values| Some((values.iter().min()?, values.iter().max()?))) {
        Some((low, high)) if low == high => low.to_string(),
        Some((low, high)) => format!("{low}-{high}"),
        None => "-".to_owned(),
    }
}

fn witnesses(facts: &[&FactsEntry]) -> String {
    let differing = facts.iter().filter(|facts| facts.witnesses_agree == Some(false)).count();
    let alone = facts.iter().filter(|facts| facts.witnesses_agree.is_none()).count();
    match (differing, alone) {
        _ if facts.is_empty() => "-".to_owned(),
        (0, 0) => "agree".to_owned(),
        (0, _) if alone == facts.len() => "log only".to_owned(),
        (0, _) => format!("{alone} log only"),
        _ => format!("{differing} differ"),
    }
}

/// What a reader must know about the boots: differences, leftovers, blind spots; each text once.
fn remarks(result: &ResultEntry) -> Vec<String> {
    /// How many are shown; the document has them all.
    const SHOWN: usize = 5;
    let of = |title: &'static str, lines: &dyn Fn(&BootEntry) -> Vec<String>| {
        let all: BTreeSet<String> = result.boots.iter().flat_map(lines).collect();
        let more = all.len().saturating_sub(SHOWN);
        let rest = (more > 0).then(|| format!("{title}: {more} more in verdict.json"));
        all.into_iter()
            .take(SHOWN)
            .map(move |line| format!("{title}: {line}"))
            .chain(rest)
            .collect::<Vec<_>>()
    };
    [
        of("witnesses differ", &|boot| boot.differences.clone()),
        of("left over", &|boot| boot.leftovers.clone()),
        of("not at rest", &|boot| boot.unsettled.iter().cloned().collect()),
        of("not seen", &|boot| boot.blind_spots.clone()),
    ]
    .concat()
}

/// What a reader of times must know: no verdict changes for it, but an interval may be wider than on a quiet host.
pub(crate) fn warn_of_neighbours(results: &[&ResultEntry]) -> Option<String> {
    let boots: Vec<&BootEntry> = results.iter().flat_map(|result| &result.boots).collect();
    let is_busy = |share: &f64| *share > BUSY;
    let shares: Vec<f64> = boots.iter().filter_map(|boot| boot.neighbours).filter(is_busy).collect();
    let percent = |share: f64| (share * 100.0).round();
    let least = percent(shares.iter().copied().reduce(f64::min)?);
    let most = percent(shares.iter().copied().reduce(f64::max)?);
    let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let disturbed = boots.iter().filter(|boot| boot.neighbours.as_ref().is_some_and(is_busy));
    let cpus: BTreeSet<&str> = disturbed.filter_map(|boot| boot.cpus.as_deref()).collect();
    let cpus = match cpus.first() {
        Some(only) if cpus.len() == 1 => format!("CPUs {only}"),
        _ => "their CPUs".to_owned(),
    };
    Some(format!(
        "warning: busy neighbours: others used {range} % of {cpus} while {} of {} guests ran;\n         \
         times may vary more for it, and intervals be wider",
        shares.len(),
        boots.len()
    ))
}

fn compare(comparison: &Comparison) -> String {
    let Comparison { baseline, candidate, metric, left_out, claim, outcome, .. } = comparison;
    let left_out = match left_out {
        0 => String::new(),
        more => format!(
            "\n  {more} more pair{} left out: a kernel died, lines were lost, witnesses differ or probes went on",
            if *more == 1 { " was" } else { "s were" }
        ),
    };
    let claim = claim.iter().zip(outcome).map(|(claim, outcome)| {
        let why = advice(comparison).map_or_else(String::new, |advice| format!(": {advice}"));
        format!("\n  {outcome:<12}  {claim}{why}")
    });
    let claim = claim.collect::<String>();
    format!("{metric} {baseline} / {candidate} = {}{left_out}{claim}", ratio(comparison))
}

/// What would tell, of a claim that its boots cannot tell.
pub(crate) fn advice(comparison: &Comparison) -> Option<&'static str> {
    (comparison.outcome == Some(Outcome::Inconclusive)).then_some(match comparison.low {
        None => "too few pairs for an interval; use --boots auto, or 2 or more",
        Some(_) => "the interval is too wide; more --boots make it narrower",
    })
}

/// A ratio with its interval.
pub(crate) fn ratio(comparison: &Comparison) -> String {
    let Comparison { ratio, low, high, interval, pairs, forks, .. } = comparison;
    let ratio = ratio.map_or_else(|| "no ratio".to_owned(), |ratio| format!("{ratio:.2}"));
    let kind = match interval {
        IntervalKind::Fixed => "interval",
        IntervalKind::Sequence => "confidence sequence",
    };
    let interval = match (low, high) {
        (Some(low), Some(high)) => {
            format!("95 % {kind} {low:.2} to {high:.2}, {pairs} pairs of boots{}", forked(*forks))
        }
        _ => format!("no interval from {pairs} pair{} of boots", if *pairs == 1 { "" } else { "s" }),
    };
    format!("{ratio} ({interval})")
}

fn forked(forks: usize) -> String {
    match forks {
        0 => String::new(),
        1 => ", each forked once".to_owned(),
        _ => format!(", each forked {forks} times"),
    }
}

/// What to say of a promise that nobody made for this kernel.
fn kept(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Supported => "holds",
        Outcome::Refuted => "does not hold",
        Outcome::Inconclusive | Outcome::NotRun => "cannot tell",
    }
}
