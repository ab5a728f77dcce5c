//! A document to the block of plain text that goes below the `---` of a patch: 72 columns.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::csv::word;
use crate::document::{Comparison, Document, ResultEntry, TestDocument, TestResult};
use crate::findings::{Check, Found};
use crate::table::Table;
use crate::text::{Cells, warn_of_neighbours};
use evidence::plain::plain;

/// What a line of a mail has at most.
const COLUMNS: usize = 72;

/// As text for a mail. No line is longer than 72 columns, unless a single word is.
pub fn render(found: &Found) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = match found {
        Found::Bench(document) => bench(document, &mut out),
        Found::Tests(document) => tests(document, &mut out),
    };
    let not_green: Vec<Check> = found
        .checks()
        .into_iter()
        .filter(|check| !matches!(check.result, TestResult::Passed | TestResult::Skipped))
        .collect();
    if !not_green.is_empty() {
        out.push('\n');
    }
    let is_bench = |group: &str| match found {
        Found::Bench(_) => false,
        Found::Tests(document) => document.benches.iter().any(|bench| bench.test == group),
    };
    for check in not_green {
        let of = if is_bench(&check.group) { format!("{}: ", check.group) } else { String::new() };
        let text = format!("{}: {of}{}: {}", word_of(check.result), check.full_name(), check.seen);
        out.push_str(&fill(&text, "", "  "));
    }
    out.push('\n');
    // Lines that a shell takes as one.
    let command = fill_to(COLUMNS - 2, found.command(), "", "  ");
    out.push_str(&(command.trim_end().replace('\n', " \\\n") + "\n"));
    plain(&out).into_owned()
}

fn word_of(result: TestResult) -> &'static str {
    match result {
        TestResult::Failed => "refuted",
        other => word(other),
    }
}

fn bench(document: &Document, out: &mut String) -> std::fmt::Result {
    // A name that leaves no room for figures gets a letter.
    let longest = document.kernels.iter().map(|kernel| kernel.name.chars().count()).max().unwrap_or(0);
    let letters = longest > 12;
    let short = |name: &str| match document.kernels.iter().position(|kernel| kernel.name == name) {
        Some(at) if letters => char::from(b'A' + u8::try_from(at % 26).unwrap_or(0)).to_string(),
        _ => name.to_owned(),
    };
    for case in &document.cases {
        let mut claims: Vec<&String> = Vec::new();
        out.push_str(&fill(&format!("{}: {}", case.name, case.situation), "", "  "));
        out.push_str(&fill(&format!("{}, {}", document.topology, document.accel.to_uppercase()), "  ", "  "));
        out.push_str(&fill(&format!("{}, {} cores", document.host.qemu, document.host.cores), "  ", "  "));
        for kernel in &document.kernels {
            let name = match short(&kernel.name) {
                short if short == kernel.name => short,
                short => format!("{short}: {}", kernel.name),
            };
            out.push_str(&fill(&format!("{name} ({}): {}", kernel.release, kernel.about), "  ", "    "));
        }
        out.push('\n');
        let mut table = Table::new(&["kernel", "boots", "in flight", "on node", "makespan", "insmod"]);
        for result in document.results.iter().filter(|result| result.case == case.name) {
            let Cells { boots, in_flight, workers: _, on_node, makespan, insmod } = Cells::of(result);
            table.row(vec![short(&result.kernel), boots, in_flight, on_node, makespan, insmod]);
        }
        out.push_str(&table.render());
        out.push('\n');
        let mut table = Table::new(&["ratio of", "", "", "95 % interval", "pairs", "claim"]).words_last();
        for comparison in document.comparisons.iter().filter(|comparison| comparison.case == case.name) {
            let Comparison { baseline, candidate, metric, ratio, low, high, pairs, outcome, .. } = comparison;
            let number = |number: &Option<f64>| number.map_or_else(|| "-".to_owned(), |n| format!("{n:.2}"));
            table.row(vec![
                metric.clone(),
                format!("{} / {}", short(baseline), short(candidate)),
                number(ratio),
                low.zip(*high).map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}")),
                pairs.to_string(),
                outcome.map_or_else(|| "-".to_owned(), |outcome| outcome.to_string()),
            ]);
        }
        out.push_str(&table.render());
        out.push('\n');
        let results: Vec<&ResultEntry> =
            document.results.iter().filter(|result| result.case == case.name).collect();
        if let Some(warning) = warn_of_neighbours(&results) {
            out.push_str(&fill(&warning, "", "  "));
        }
        for claim in document.comparisons.iter().filter_map(|comparison| comparison.claim.as_ref()) {
            if !claims.contains(&claim) {
                claims.push(claim);
            }
        }
        for claim in claims {
            out.push_str(&fill(&format!("claim: {claim}"), "", "  "));
        }
    }
    let but = document.leaves_open().map_or_else(String::new, |but| format!(", {but}"));
    out.push_str(&fill(&format!("verdict: {}{but}", document.outcome), "", "  "));
    Ok(())
}

fn tests(document: &TestDocument, out: &mut String) -> std::fmt::Result {
    let mut kernels: Vec<&str> = Vec::new();
    for entry in &document.results {
        if !kernels.contains(&entry.kernel.as_str()) {
            kernels.push(&entry.kernel);
        }
    }
    out.push_str(&fill(&format!("{}, {} cores", document.host.qemu, document.host.cores), "", "  "));
    let accels: BTreeSet<String> =
        document.results.iter().filter_map(|entry| entry.accel.as_deref()).map(str::to_uppercase).collect();
    if !accels.is_empty() {
        let accels = accels.into_iter().collect::<Vec<_>>().join(", ");
        out.push_str(&fill(&format!("{accels}; the guest of each case has a shape of its own"), "", "  "));
    }
    let all = TestResult::ALL;
    let mut table = Table::new(&["kernel", "passed", "failed", "unclear", "lost", "skipped"]);
    for kernel in &kernels {
        let count = |result: &TestResult| {
            let of = document.results.iter().filter(|entry| entry.kernel == *kernel);
            of.filter(|entry| entry.result == *result).count().to_string()
        };
        table.row([vec![(*kernel).to_owned()], all.iter().map(count).collect()].concat());
    }
    if !kernels.is_empty() {
        out.push_str(&table.render());
    }
    for (entry, of) in document.benches.iter().filter_map(|entry| Some((entry, entry.document.as_ref()?))) {
        writeln!(out, "\n{}", entry.test)?;
        bench(of, out)?;
        out.push('\n');
    }
    writeln!(out, "verdict: {}", Found::Tests(Box::new(document.clone())).outcome())
}

/// Words in lines of at most [`COLUMNS`], the first with one indent and the others with another.
fn fill(text: &str, first: &str, others: &str) -> String {
    fill_to(COLUMNS, text, first, others)
}

fn fill_to(columns: usize, text: &str, first: &str, others: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > columns {
            out.push_str(&line);
            out.push('\n');
            (line, empty) = (others.to_owned(), true);
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fill_lines_and_none_is_cut() {
        let text = fill(&"word ".repeat(40), "", "  ");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        let long = "x".repeat(100);
        assert_eq!(fill(&format!("a {long}"), "", "  "), format!("a\n  {long}\n"));
    }
}
