//! A night, and many nights, as text of at most 100 columns.

use std::fmt::Write;

use crate::document::{
    ChangeEntry, CheckEntry, CheckFate, LeftOutEntry, MachineTrend, NightDocument, SeriesEntry,
    StructureEntry, ToldEntry, TrendsDocument, TryEntry,
};
use crate::table::Table;
use evidence::plain::plain;

/// The widest line.
const WIDTH: usize = 100;
/// Nights in a line of blocks.
const SPARKS: usize = 30;

/// Renders a night: red or not first, then why.
pub fn render_night(document: &NightDocument) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_night(document, &mut out);
    plain(&out).into_owned()
}

fn write_night(document: &NightDocument, out: &mut String) -> std::fmt::Result {
    let NightDocument { entry, before, runners, left_out, checks, series, exit_code, file, schema: _ } =
        document;
    let changes = series.iter().flat_map(|series| &series.changes).filter(|change| change.red).count();
    let failures = checks.iter().filter(|told| told.red).count();
    let verdict = match exit_code {
        0 => "green: nothing new".to_owned(),
        1 => format!("RED: {}, {}", number(failures, "new failure"), number(changes, "change")),
        2 => "not green: something cannot be told, or was not run".to_owned(),
        code => format!("not green: something could not be carried out (exit code {code})"),
    };
    line(out, &format!("{} on {}: {verdict}", entry.when, entry.runner))?;
    line(out, &format!("machine: {}", entry.machine))?;
    line(
        out,
        &format!(
            "kernels: {}",
            list(entry.kernels.iter().map(|kernel| format!("{} {}", kernel.name, kernel.release)))
        ),
    )?;
    match (before.first(), before.last()) {
        (Some(first), Some(last)) => {
            let nights = number(before.len(), "night");
            line(
                out,
                &format!("before:  {nights} on such machines, {first} to {last}, of {}", runners.join(", ")),
            )?;
        }
        _ => line(out, "before:  nothing on such machines: there is nothing to compare with yet")?,
    }
    let count = |fate: CheckFate| entry.checks.iter().filter(|check| check.fate() == fate).count();
    let fates = [
        (CheckFate::Passed, "passed"),
        (CheckFate::Failed, "failed"),
        (CheckFate::Flaky, "flaky"),
        (CheckFate::Untold, "cannot be told"),
        (CheckFate::Lost, "not carried out"),
        (CheckFate::Skipped, "skipped"),
    ];
    let counts = fates.into_iter().filter(|(fate, _)| count(*fate) > 0);
    line(out, &format!("checks:  {}", list(counts.map(|(fate, name)| format!("{} {name}", count(fate))))))?;
    for told in checks {
        if let Some(check) = entry.checks.iter().find(|check| check.name == told.name) {
            write_told(told, check, out)?;
        }
    }
    line(out, &format!("series:  {} watched", number(series.len(), "comparison")))?;
    for series in series {
        write_series(series, out)?;
        for change in series.changes.iter().filter(|change| change.red) {
            write_change(series, change, out)?;
        }
    }
    if series.iter().any(|series| series.nights.len() < 11) {
        line(out, "    until the eleventh night no change can be found: eight to know, three to hold")?;
    }
    write_left_out(left_out, out)?;
    line(out, &format!("kept:    {file}"))?;
    line(out, &format!("run:     {}", entry.run))
}

fn write_told(told: &ToldEntry, check: &CheckEntry, out: &mut String) -> std::fmt::Result {
    let ToldEntry { name, fate, known_since, red } = told;
    let what = match (fate, known_since, red) {
        (CheckFate::Failed, Some(since), _) => format!("failed, known since {since}"),
        (CheckFate::Failed, None, _) => "FAILED twice, which is new".to_owned(),
        (CheckFate::Flaky, ..) => "flaky: failed, then passed".to_owned(),
        (CheckFate::Lost, ..) => "could not be carried out".to_owned(),
        (CheckFate::Untold, ..) => "cannot be told".to_owned(),
        (CheckFate::Passed | CheckFate::Skipped, ..) => return Ok(()),
    };
    line(out, &format!("  {name}: {what}"))?;
    let tries = [("first", Some(&check.first)), ("again", check.again.as_ref())];
    for (which, of) in tries.into_iter().filter_map(|(which, of)| Some((which, of?))) {
        let TryEntry { result, why, exit_code: _, folder } = of;
        let result = format!("{result:?}").to_lowercase();
        line(out, &format!("    {which}: {result}, in {folder}"))?;
        for why in why.iter().flat_map(|why| why.lines()).take(3) {
            line(out, &format!("      {why}"))?;
        }
    }
    Ok(())
}

/// Renders trends: each kind of machine, each series with its nights.
pub fn render_trends(document: &TrendsDocument) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_trends(document, &mut out);
    plain(&out).into_owned()
}

fn write_trends(document: &TrendsDocument, out: &mut String) -> std::fmt::Result {
    let TrendsDocument { schema: _, history, left_out, machines } = document;
    if machines.is_empty() {
        line(out, &format!("no nights in {history}"))?;
    }
    for trend in machines {
        let MachineTrend { machine, runners, nights, series, structure, failing, flaky } = trend;
        line(out, &format!("{machine}"))?;
        let (first, last) = (nights.first(), nights.last());
        let ends = first.zip(last).map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
        line(out, &format!("  {}{ends}, of {}", number(nights.len(), "night"), runners.join(", ")))?;
        for series in series {
            write_series(series, out)?;
            for change in &series.changes {
                write_change(series, change, out)?;
            }
        }
        for row in structures(structure).lines() {
            line(out, &format!("  {row}"))?;
        }
        for failing in failing {
            line(out, &format!("  fails since {}: {}", failing.since, failing.name))?;
        }
        for flaky in flaky {
            let times = if flaky.times == 1 { "once".to_owned() } else { format!("{} times", flaky.times) };
            line(out, &format!("  flaky {times}, last on {}: {}", flaky.last, flaky.name))?;
        }
        writeln!(out)?;
    }
    write_left_out(left_out, out)
}

fn structures(structure: &[StructureEntry]) -> String {
    let mut table = Table::new(&["kernel", "boots", "in flight", "workers", "on node", "makespan", "insmod"]);
    let whole = |value: Option<u64>, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value}{unit}"))
    };
    let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| format!("{:.3} s", us as f64 / 1e6));
    for StructureEntry { kernel, boots, in_flight, workers, on_node, makespan_us, insmod_us } in structure {
        table.row(vec![
            kernel.clone(),
            boots.to_string(),
            whole(*in_flight, ""),
            whole(*workers, ""),
            whole(*on_node, " %"),
            time(*makespan_us),
            time(*insmod_us),
        ]);
    }
    if structure.is_empty() { String::new() } else { table.render() }
}

/// A series in a line, or in two where names are long.
fn write_series(series: &SeriesEntry, out: &mut String) -> std::fmt::Result {
    let SeriesEntry { case: _, baseline, candidate, metric, topology: _, nights, ratios, level, changes: _ } =
        series;
    let places = if *level < 1.0 { 3 } else { 2 };
    let name = format!("  {metric} {baseline} / {candidate} = {level:.places$}");
    let path = format!("  {}  {}", sparkline(ratios), number(nights.len(), "night"));
    if name.chars().count() + path.chars().count() <= WIDTH {
        return line(out, &format!("{name}{path}"));
    }
    line(out, &name)?;
    line(out, &format!("  {path}"))
}

/// The newest nights as blocks, from the least to the most; a tenth at least is the whole height, so that noise looks
/// like noise.
fn sparkline(ratios: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let logs: Vec<f64> =
        ratios[ratios.len().saturating_sub(SPARKS)..].iter().map(|ratio| ratio.ln()).collect();
    let (least, most) =
        logs.iter().fold((f64::MAX, f64::MIN), |(least, most), log| (least.min(*log), most.max(*log)));
    let height = (most - least).max(0.1);
    let bottom = f64::midpoint(least, most) - height / 2.0;
    let block = |log: &f64| BLOCKS[(((log - bottom) / height * 8.0) as usize).min(7)];
    logs.iter().map(block).collect()
}

fn write_change(series: &SeriesEntry, change: &ChangeEntry, out: &mut String) -> std::fmt::Result {
    let ChangeEntry { found, since, factor, interval, chance, red } = change;
    let percent = |factor: f64| (factor - 1.0) * 100.0;
    let (low, high) = (percent(interval.low), percent(interval.high));
    let what = if *red { "CHANGED" } else { "changed" };
    line(
        out,
        &format!(
            "    {what} since {since} by {:+.1} % (95 % interval {low:+.1} to {high:+.1}), found {found}",
            percent(*factor)
        ),
    )?;
    let (time, than) = (1.0 / factor, if *factor < 1.0 { "longer" } else { "shorter" });
    let one_in = (1.0 / chance.max(1e-9)).round();
    let SeriesEntry { baseline, candidate, .. } = series;
    line(out, &format!("      noise alone does so in 1 night of {one_in}"))?;
    line(out, &format!("      beside {baseline}, {candidate} takes {:.1} % {than}", percent(time).abs()))
}

fn write_left_out(left_out: &[LeftOutEntry], out: &mut String) -> std::fmt::Result {
    for LeftOutEntry { file, why } in left_out {
        line(out, &format!("left out: {file}:"))?;
        line(out, &format!("    {why}"))?;
    }
    Ok(())
}

fn number(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// A line, cut where it is too wide: the document has it all. Any runner may have written it: it has no control
/// characters, which a terminal obeys.
fn line(out: &mut String, text: &str) -> std::fmt::Result {
    let text = evidence::plain::line(text);
    if text.chars().count() <= WIDTH {
        return writeln!(out, "{}", text.trim_end());
    }
    writeln!(out, "{}…", text.chars().take(WIDTH - 1).collect::<String>())
}
