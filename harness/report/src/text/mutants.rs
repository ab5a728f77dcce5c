//! What became of known faults, and of kernels held against themselves.

use std::fmt::Write;

use super::compare;
use crate::document::{Fate, MutantEntry, MutantsDocument, SelfEntry, Untold, hung};
use evidence::plain::plain;

/// Renders what became of known faults: a line each, then what caught it and where that can be read.
pub fn render_mutants(document: &MutantsDocument) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_mutants(&hung(document), &mut out);
    plain(&out).into_owned()
}

fn write_mutants(document: &MutantsDocument, out: &mut String) -> std::fmt::Result {
    for mutant in &document.mutants {
        writeln!(out, "{}", render_mutant(mutant))?;
    }
    let (all, caught) = (
        document.mutants.len(),
        document.mutants.iter().filter(|mutant| mutant.outcome == Fate::Caught).count(),
    );
    if all > 0 {
        writeln!(out, "{caught} of {all} caught")?;
    }
    for entry in &document.aa {
        let SelfEntry { kernel, run, refuted, comparison } = entry;
        writeln!(out, "{kernel} against itself, {run}: {}", compare(comparison))?;
        for finding in refuted {
            writeln!(out, "  refuted       {}: {}", finding.expected, finding.seen)?;
        }
    }
    if !document.aa.is_empty() {
        let (alarms, too_wide, runs) = (document.false_alarms(), document.too_wide(), document.aa.len());
        writeln!(
            out,
            "{alarms} false alarms in {runs} runs; in {too_wide} the interval is too wide to tell"
        )?;
    }
    writeln!(out, "evidence: {}", document.run)?;
    writeln!(out, "repeat:   {}", document.command)
}

/// One fault.
pub fn render_mutant(mutant: &MutantEntry) -> String {
    let MutantEntry {
        name,
        breaks,
        happened,
        outcome,
        caught_by,
        finding,
        seed,
        also_caught_by,
        missed_by,
        untold_by,
        cases,
        survives,
    } = mutant;
    let fate = match outcome {
        Fate::Caught => "caught",
        Fate::Survived => "SURVIVED",
        Fate::Untold => "UNTOLD",
    };
    let mut text = format!("{fate:<8}  {name}: {breaks}\n          ({happened})");
    match (caught_by, finding) {
        (Some(case), Some(finding)) => {
            let seed = seed.map_or_else(String::new, |seed| format!(" (seed {seed})"));
            text.push_str(&format!(
                "\n          by {case}{seed}: {}; seen: {}",
                finding.expected, finding.seen
            ));
            for line in finding.evidence.iter().take(12) {
                text.push_str(&format!("\n            {line}"));
            }
        }
        _ => text.push_str(&format!("\n          not by {}", cases.join(", "))),
    }
    if !also_caught_by.is_empty() {
        text.push_str(&format!("\n          and by {}", also_caught_by.join(", ")));
    }
    if !missed_by.is_empty() && *outcome == Fate::Caught {
        text.push_str(&format!("\n          NOT by {}", missed_by.join(", ")));
    }
    for Untold { case, why } in untold_by {
        text.push_str(&format!("\n          {case} cannot tell: {why}"));
    }
    if let Some(why) = survives {
        text.push_str(&format!("\n          known to survive: {why}"));
    }
    plain(&text).into_owned()
}
