//! Nights to what changed: pure, so that a history says the same wherever it is read.

use evidence::changes::{self, Change, Reading};
use report::document::{
    ChangeEntry, CheckEntry, CheckFate, ComparedEntry, FailingEntry, FlakyEntry, HistoryEntry, SeriesEntry,
    ToldChange, ToldEntry,
};

use crate::exit;

/// The tests of a night that did not simply pass; `before` are the nights before it on machines of its kind, oldest
/// first.
pub(crate) fn checks(tonight: &HistoryEntry, before: &[&HistoryEntry]) -> Vec<ToldEntry> {
    let tell = |check: &CheckEntry| {
        let fate = check.fate();
        let known_since = match fate {
            CheckFate::Failed => known_since(&check.name, &tonight.runner, before),
            _ => None,
        };
        let red = fate == CheckFate::Failed && known_since.is_none();
        (!matches!(fate, CheckFate::Passed | CheckFate::Skipped)).then(|| ToldEntry {
            name: check.name.clone(),
            fate,
            known_since,
            red,
        })
    };
    tonight.checks.iter().filter_map(tell).collect()
}

/// Since when a test fails, where it failed the last time that it told something: on this runner, which may be one that
/// is ill, or on any.
fn known_since(name: &str, runner: &str, before: &[&HistoryEntry]) -> Option<String> {
    let own: Vec<&HistoryEntry> = before.iter().copied().filter(|night| night.runner == runner).collect();
    [failing_since(name, before), failing_since(name, &own)].into_iter().flatten().min()
}

/// The first of the nights since which a test failed whenever it told something.
fn failing_since(name: &str, nights: &[&HistoryEntry]) -> Option<String> {
    let fate =
        |night: &HistoryEntry| night.checks.iter().find(|check| check.name == name).map(CheckEntry::fate);
    let told = nights.iter().rev().filter_map(|night| Some((*night, fate(night)?)));
    let told =
        told.filter(|(_, fate)| matches!(fate, CheckFate::Passed | CheckFate::Flaky | CheckFate::Failed));
    told.take_while(|(_, fate)| *fate == CheckFate::Failed).last().map(|(night, _)| night.night().to_owned())
}

/// Tests that failed when they last told something.
pub(crate) fn failing(nights: &[&HistoryEntry]) -> Vec<FailingEntry> {
    let fails = |name: String| Some(FailingEntry { since: failing_since(&name, nights)?, name });
    names(nights).into_iter().filter_map(fails).collect()
}

/// Tests that were flaky.
pub(crate) fn flaky(nights: &[&HistoryEntry]) -> Vec<FlakyEntry> {
    let count = |name: String| {
        let is_flaky = |check: &CheckEntry| check.name == name && check.fate() == CheckFate::Flaky;
        let of: Vec<_> = nights.iter().filter(|night| night.checks.iter().any(is_flaky)).collect();
        let last = of.last()?.night().to_owned();
        Some(FlakyEntry { times: of.len(), last, name })
    };
    names(nights).into_iter().filter_map(count).collect()
}

fn names(nights: &[&HistoryEntry]) -> Vec<String> {
    let mut names: Vec<String> =
        nights.iter().flat_map(|night| &night.checks).map(|check| check.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The series of the last of these nights, which are of one kind of machine, oldest first; those of all nights, where
/// all are asked for.
pub(crate) fn series(nights: &[&HistoryEntry], all: bool) -> Vec<SeriesEntry> {
    let Some(tonight) = nights.last() else { return Vec::new() };
    let mut keys: Vec<(&ComparedEntry, &str)> = Vec::new();
    for night in nights.iter().rev().take(if all { usize::MAX } else { 1 }) {
        for compared in night.comparisons.iter().filter(|compared| compared.error.is_some()) {
            let known = |(known, topology): &(&ComparedEntry, &str)| {
                is_of(known, compared) && *topology == night.topology
            };
            if !keys.iter().any(known) {
                keys.push((compared, &night.topology));
            }
        }
    }
    let watched = tonight.comparisons.len();
    keys.into_iter().map(|(key, topology)| one_series(key, topology, nights, watched)).collect()
}

/// The changes of these series that make the last night red, for those after it.
pub(crate) fn told(series: &[SeriesEntry]) -> Vec<ToldChange> {
    let of = |series: &SeriesEntry| {
        let SeriesEntry { case, baseline, candidate, metric, topology, changes, .. } = series;
        let tell = |ChangeEntry { since, found, .. }: &ChangeEntry| ToldChange {
            case: case.clone(),
            baseline: baseline.clone(),
            candidate: candidate.clone(),
            metric: metric.clone(),
            topology: topology.clone(),
            since: since.clone(),
            found: found.clone(),
        };
        changes.iter().filter(|change| change.red).map(tell).collect::<Vec<_>>()
    };
    series.iter().flat_map(of).collect()
}

/// Whether a change, which is first seen in one night and found after another, was found before the last night, and
/// some night was red for it. One that is dated into a night which told nobody, as files of others came later, is new.
fn known_before(
    key: &ComparedEntry,
    topology: &str,
    (since, found): (&str, &str),
    nights: &[&HistoryEntry],
) -> bool {
    let Some((tonight, before)) = nights.split_last() else { return false };
    let this = |told: &ToldChange| {
        let ToldChange { case, baseline, candidate, metric, topology: shape, since: from, found: to } = told;
        (case, baseline, candidate, metric) == (&key.case, &key.baseline, &key.candidate, &key.metric)
            && shape == topology
            // More files may move it by some nights.
            && from.as_str() <= found
            && since <= to.as_str()
    };
    let since_then = before.iter().filter(|night| night.night() >= since);
    found < tonight.night()
        && since_then.clone().any(|night| match &night.told {
            Some(told) => told.iter().any(this),
            // It did not keep what it told.
            None => night.night() >= found,
        })
}

/// Whether two comparisons are of one series.
fn is_of(a: &ComparedEntry, b: &ComparedEntry) -> bool {
    (&a.case, &a.baseline, &a.candidate, &a.metric) == (&b.case, &b.baseline, &b.candidate, &b.metric)
}

fn one_series(key: &ComparedEntry, topology: &str, nights: &[&HistoryEntry], watched: usize) -> SeriesEntry {
    let (mut days, mut runners, mut readings) = (Vec::<String>::new(), Vec::<&str>::new(), Vec::new());
    for night in nights.iter().filter(|night| night.topology == topology) {
        // One pair of boots has no error: nobody knows what such a night is worth.
        let known = |compared: &&ComparedEntry| is_of(key, compared) && compared.error.is_some();
        for compared in night.comparisons.iter().filter(known) {
            if days.last().is_none_or(|day| day != night.night()) {
                days.push(night.night().to_owned());
            }
            let known = runners.iter().position(|runner| *runner == night.runner);
            let runner = known.unwrap_or_else(|| {
                runners.push(&night.runner);
                runners.len() - 1
            });
            let (log_ratio, error) = (compared.log_ratio, compared.error);
            readings.push(Reading { night: days.len() - 1, runner, log_ratio, error });
        }
    }
    let changes = changes::changes(&readings, watched);
    let level = changes::level(&readings, &changes).unwrap_or_default().exp();
    let ratio = |night| {
        let of_night: Vec<Reading> = readings.iter().filter(|of| of.night == night).copied().collect();
        changes::level(&of_night, &[]).unwrap_or_default().exp()
    };
    let tell = |change: &Change| {
        let Change { found, since, factor, interval, chance } = *change;
        let (found, since) = (days[found].clone(), days[since].clone());
        let red = !known_before(key, topology, (&since, &found), nights);
        ChangeEntry { found, since, factor, interval, chance, red }
    };
    SeriesEntry {
        case: key.case.clone(),
        baseline: key.baseline.clone(),
        candidate: key.candidate.clone(),
        metric: key.metric.clone(),
        topology: topology.to_owned(),
        ratios: (0..days.len()).map(ratio).collect(),
        level,
        changes: changes.iter().map(tell).collect(),
        nights: days,
    }
}

/// The exit code of a night: red only for what is new; then for what could not be carried out; then for what cannot be
/// told.
pub(crate) fn exit_code(tonight: &HistoryEntry, told: &[ToldEntry], series: &[SeriesEntry]) -> u8 {
    let changed = series.iter().flat_map(|series| &series.changes).any(|change| change.red);
    if changed || told.iter().any(|told| told.red) {
        return exit::REFUTED;
    }
    let lost = tonight.checks.iter().filter(|check| check.fate() == CheckFate::Lost);
    let code = |check: &CheckEntry| check.again.as_ref().unwrap_or(&check.first).exit_code;
    if let Some(code) = lost.filter_map(code).next() {
        return code;
    }
    let told_something = |check: &CheckEntry| check.fate() != CheckFate::Skipped;
    // Where a process of tests did not come to its end, most of them told nothing, however long that is known.
    let cut_short = |check: &CheckEntry| check.name == "tests" && check.fate() == CheckFate::Failed;
    let untold =
        |check: &CheckEntry| matches!(check.fate(), CheckFate::Untold | CheckFate::Lost) || cut_short(check);
    if tonight.checks.iter().any(untold) || !tonight.checks.iter().any(told_something) {
        return exit::INCONCLUSIVE;
    }
    exit::SUPPORTED
}

#[cfg(test)]
mod tests;
