//! A search for a commit as text.

use std::fmt::Write;
use std::time::Duration;

use crate::document::{Answer, BisectDocument, CommitEntry, Ended, Role, StepEntry, hung};
use crate::table::Table;
use evidence::plain::plain;

/// Renders what was examined, and what was found.
pub fn render_bisect(document: &BisectDocument) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(&hung(document), &mut out);
    plain(&out).into_owned()
}

/// A line about one step.
pub fn render_step(step: &StepEntry) -> String {
    // The bad end without the commit is another kernel.
    let without = if step.role == Role::Reverted { ", without the commit" } else { "" };
    let StepEntry { subject, why, .. } = &hung(step);
    let text = format!("{} \"{subject}\"{without}: {}: {why}", short(&step.commit), answer(step.answer));
    plain(&text).into_owned()
}

fn write(document: &BisectDocument, out: &mut String) -> std::fmt::Result {
    writeln!(out, "search: {}, from {} to {}", document.case, document.good, document.bad)?;
    let expected =
        document.behaves.as_deref().unwrap_or("not known, so what every kernel promises is expected");
    writeln!(out, "a good kernel behaves: {expected}")?;
    match &document.metric {
        Some(metric) => {
            let threshold = metric.threshold;
            writeln!(
                out,
                "a bad one: takes more than {threshold:.2} times as long as the good end ({})",
                metric.name
            )?;
        }
        None if document.symptoms.is_empty() => {}
        None => {
            writeln!(out, "a bad one does not keep this, as the bad end:")?;
            for symptom in &document.symptoms {
                writeln!(out, "  {symptom}")?;
            }
        }
    }
    for fault in &document.tolerated {
        writeln!(out, "of no account, as the good end does not keep it either: {fault}")?;
    }
    writeln!(out)?;
    let mut table =
        Table::new(&["commit", "role", "answer", "sure", "boots", "shown", "time", "build", "boots take"]);
    for step in &document.steps {
        let ratio = step.ratio.map(|ratio| match (ratio.low, ratio.high) {
            (Some(low), Some(high)) => format!("{:.2} ({low:.2}-{high:.2})", ratio.ratio),
            _ => format!("{:.2}", ratio.ratio),
        });
        table.row(vec![
            short(&step.commit).to_owned(),
            role(step.role).to_owned(),
            answer(step.answer).to_owned(),
            format!("{:.1} %", step.sure * 100.0),
            step.tally.boots().to_string(),
            step.tally.shown.to_string(),
            ratio.unwrap_or_else(|| "-".to_owned()),
            seconds(step.build_us),
            seconds(step.boots_us),
        ]);
    }
    if !document.steps.is_empty() {
        out.push_str(&table.render());
        writeln!(out)?;
    }
    for step in document.steps.iter().filter(|step| step.answer == Answer::Skip) {
        writeln!(out, "skipped {}: {}", short(&step.commit), step.why)?;
    }
    match &document.ended {
        None => writeln!(out, "not at its end: cargo xtask bisect --resume {}", document.run)?,
        Some(Ended::NoFault { why }) => writeln!(out, "no commit: {why}")?,
        Some(Ended::OneOf { commits }) => {
            writeln!(out, "the first bad commit is one of these, of which nobody can tell:")?;
            for commit in commits {
                writeln!(out, "  {}", line(commit))?;
            }
        }
        Some(Ended::Found { commit, sure, confirmed, reverted }) => {
            writeln!(out, "first bad commit: {}", line(commit))?;
            let sure = sure * 100.0;
            writeln!(out, "sure:             {sure:.1} %, over all answers that led to it")?;
            let once_more = if *confirmed { "showed the same" } else { "DID NOT SHOW THE SAME" };
            writeln!(out, "once more:        it and the one before it {once_more}")?;
            writeln!(out, "bad end without:  {reverted}")?;
        }
    }
    if document.steps.iter().any(|step| step.role == Role::Step) {
        writeln!(out, "log:      {}/bisect.log, for git bisect replay", document.run)?;
    }
    writeln!(out, "evidence: {}", document.run)?;
    writeln!(out, "repeat:   {}", document.command)
}

fn line(commit: &CommitEntry) -> String {
    let CommitEntry { id, subject, author, date } = commit;
    let who = if author.is_empty() { String::new() } else { format!(" ({author}, {date})") };
    format!("{} {subject}{who}", short(id))
}

/// Enough of a commit's name to tell it from others; versions are short already.
fn short(commit: &str) -> &str {
    let hexadecimal = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal { &commit[..12] } else { commit }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Good => "good",
        Answer::Bad => "bad",
        Answer::Skip => "skip",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::GoodEnd => "good end",
        Role::BadEnd => "bad end",
        Role::Step => "step",
        Role::Found => "found",
        Role::Before => "before it",
        Role::Reverted => "reverted",
    }
}

fn seconds(micros: u64) -> String {
    format!("{:.1} s", Duration::from_micros(micros).as_secs_f64())
}
