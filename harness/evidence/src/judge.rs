//! Holds what was expected of a kernel against what its boots show.

mod ratio;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boot::Boot;
use crate::expectation::{Ruling, rule, show, value};

pub use crate::expectation::{Expectation, Which};
pub use ratio::{MARGIN, judge_as_fast, judge_faster, judge_not_slower};

/// What is said about a claim.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every boot shows it.
    Supported,
    /// The boots cannot tell.
    Inconclusive,
    /// No boot was made that could tell.
    NotRun,
    /// A boot shows the contrary.
    Refuted,
}

impl Outcome {
    /// The outcome of several claims together: the one that is furthest from "supported".
    pub fn of_all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        outcomes.into_iter().max().unwrap_or(Self::NotRun)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Supported => "supported",
            Self::Inconclusive => "inconclusive",
            Self::NotRun => "not run",
            Self::Refuted => "refuted",
        })
    }
}

/// An expectation, judged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What was expected.
    pub expected: String,
    /// What was seen: the range over the boots.
    pub seen: String,
    /// What follows.
    pub outcome: Outcome,
    /// Where it can be read, a line for each boot: those that fail it, those that cannot tell, the others.
    pub evidence: Vec<String>,
}

/// Judges an expectation by the boots of one kernel: a pair each of the boot's folder and what it says.
pub fn judge(expectation: &Expectation, boots: &[(String, Boot)]) -> Finding {
    let (mut against, mut doubtful, mut in_favour) = (Vec::new(), Vec::new(), Vec::new());
    for (place, boot) in boots {
        match rule(expectation, boot) {
            Ruling::Holds => in_favour.push(show(expectation, place, boot)),
            Ruling::Fails => against.push(format!("{}: not as expected", show(expectation, place, boot))),
            Ruling::CannotTell(why) => doubtful.push(format!("{place} cannot tell: {why}")),
        }
    }
    // A race that was run in one boot was run, though it may not have come about in another.
    let one_is_enough = matches!(expectation, Expectation::MeetsProbes { .. }) && !in_favour.is_empty();
    let (failed, told) = (!against.is_empty(), doubtful.is_empty() || one_is_enough);
    let evidence = [against, doubtful, in_favour].concat();
    let outcome = match (boots.is_empty(), failed, told) {
        (true, ..) => Outcome::NotRun,
        (_, true, _) => Outcome::Refuted,
        (_, false, true) => Outcome::Supported,
        (_, false, false) => Outcome::Inconclusive,
    };
    Finding { expected: expectation.to_string(), seen: seen(expectation, boots), outcome, evidence }
}

/// The values of the boots: the range of a number, or of how many of the same, else each value once.
fn seen(expectation: &Expectation, boots: &[(String, Boot)]) -> String {
    let mut values: Vec<String> = boots.iter().map(|(_, boot)| value(expectation, boot)).collect();
    values.sort_unstable();
    values.dedup();
    if let Some(range) = range(&values) {
        return range;
    }
    if values.is_empty() { "nothing".to_owned() } else { values.join(", ") }
}

/// From the least to the most of several numbers: `2 to 7`, or `2 to 7 of 9`.
fn range(values: &[String]) -> Option<String> {
    let first = values.first()?;
    let of = &first[first.find(' ').unwrap_or(first.len())..];
    let number = |value: &String| value.strip_suffix(of)?.parse().ok();
    let numbers: Vec<usize> = values.iter().map(number).collect::<Option<_>>()?;
    let (least, most) = (numbers.iter().min()?, numbers.iter().max()?);
    (least != most && (of.is_empty() || of.starts_with(" of "))).then(|| format!("{least} to {most}{of}"))
}

/// Judges whether two phases of the same boots are alike: the same devices bound, both one at a time or both not,
/// and, where that is asked for, both placed on their node (95 in a hundred) or both not.
///
/// "Not one at a time" is all that can be compared: how many overlap depends on how fast devices come.
pub fn judge_alike(first: &[(String, Boot)], second: &[(String, Boot)], placed: bool) -> Finding {
    let (mut against, mut doubtful, mut in_favour) = (Vec::new(), Vec::new(), Vec::new());
    for ((place, a), (_, b)) in first.iter().zip(second) {
        if let Some(doubt) = a.doubt().or_else(|| b.doubt()) {
            doubtful.push(format!("{place} cannot tell: {doubt}"));
            continue;
        }
        if placed && [a, b].iter().any(|boot| boot.facts.placeable.is_none_or(|placeable| placeable == 0)) {
            doubtful.push(format!("{place} cannot tell: the nodes of its probes are not known"));
            continue;
        }
        let differences = unlike(a, b, placed);
        match &differences[..] {
            [] => in_favour.push(format!("alike in {place}")),
            _ => against.push(format!("{}: {place}", differences.join("; "))),
        }
    }
    let seen = against.first().or(doubtful.first()).map_or("alike", String::as_str).to_owned();
    let outcome = match (first.is_empty() || second.is_empty(), against.is_empty(), doubtful.is_empty()) {
        (true, ..) => Outcome::NotRun,
        (_, false, _) => Outcome::Refuted,
        (_, _, false) => Outcome::Inconclusive,
        _ => Outcome::Supported,
    };
    let evidence = [against, doubtful, in_favour].concat();
    Finding { expected: "both orders alike".to_owned(), seen, outcome, evidence }
}

fn unlike(a: &Boot, b: &Boot, placed: bool) -> Vec<String> {
    let mut found = Vec::new();
    let (before, after) = (&a.facts, &b.facts);
    if (before.devices, before.bound) != (after.devices, after.bound) {
        let (of_a, of_b) = (before.devices, after.devices);
        found.push(format!("{} of {of_a} devices bound, then {} of {of_b}", before.bound, after.bound));
    }
    if (before.max_in_flight > 1) != (after.max_in_flight > 1) {
        let (one, other) = (before.max_in_flight, after.max_in_flight);
        found.push(format!("{one} in flight, then {other}"));
    }
    let share =
        |boot: &Boot| Some((boot.facts.local_probes? * 100).checked_div(boot.facts.placeable?).unwrap_or(0));
    // A kernel that places probes has all of them on their node; one that does not, some or other share.
    if placed
        && let (Some(one), Some(other)) = (share(a), share(b))
        && (one >= 95) != (other >= 95)
    {
        found.push(format!("{one} % on their node, then {other} %"));
    }
    found
}

#[cfg(test)]
mod tests;
