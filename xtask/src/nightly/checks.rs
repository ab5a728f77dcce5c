//! Documents of tests and of a bench to what a history keeps of them.

use std::time::Duration;

use evidence::judge::{Finding, Outcome};
use evidence::stats::{self, Interval};
use evidence::{sequential, units::micros};
use lab::failure::Failure;
use report::document::{
    BootEntry, CaseEntry, ComparedEntry, Comparison, Document, HarnessEntry, IntervalKind, LostEntry,
    ResultEntry, StructureEntry, TestEntry, TestResult, TryEntry,
};

use crate::test::Tested;

/// A name, and what a try of it showed.
pub(super) type Named = (String, TryEntry);

/// What each test showed. What was carried out is in a folder of this name.
pub(super) fn of_tests(tested: &Tested, folder: &str) -> Vec<Named> {
    let Tested { document, folder: _, stopped, all_known, silent_passed: _ } = tested;
    let lost_code = |lost: &Option<LostEntry>| lost.as_ref().map(|lost| lost.exit_code);
    let case = |entry: &TestEntry| {
        let why = match (entry.result, &entry.lost) {
            (TestResult::Passed | TestResult::Skipped, _) => Vec::new(),
            (_, Some(lost)) => vec![lost.why.clone()],
            _ => short_of(&entry.findings, "what is promised of other kernels only holds here as well"),
        };
        let exit_code = lost_code(&entry.lost);
        let of = TryEntry { result: entry.result, why, exit_code, folder: folder.to_owned() };
        (format!("{}::{}", entry.case, entry.kernel), of)
    };
    let harness = |entry: &HarnessEntry| {
        let HarnessEntry { test, result, why, lost, took_ms: _ } = entry;
        let why = why.iter().filter(|_| *result > TestResult::Passed).cloned().collect();
        let of = TryEntry { result: *result, why, exit_code: lost_code(lost), folder: folder.to_owned() };
        (test.clone(), of)
    };
    let mut all: Vec<Named> = document.results.iter().map(case).collect();
    all.extend(document.harness.iter().map(harness));
    if let Some(failure) = stopped {
        all.push(("tests".to_owned(), lost(failure, folder)));
    }
    // A process that died has noted only those that came to their end before.
    if !all_known {
        let why = vec!["they ended otherwise than they had said".to_owned()];
        let result = TestResult::Failed;
        all.push(("tests".to_owned(), TryEntry { result, why, exit_code: None, folder: folder.to_owned() }));
    }
    all
}

/// Tests that were tried again because a process had died: that none did is a result, too.
pub(super) fn ended_well(mut tried: Vec<Named>) -> Vec<Named> {
    if !tried.iter().any(|(name, _)| name == "tests")
        && let Some((_, of)) = tried.first()
    {
        let folder = of.folder.clone();
        let passed = TryEntry { result: TestResult::Passed, why: Vec::new(), exit_code: None, folder };
        tried.push(("tests".to_owned(), passed));
    }
    tried
}

/// What each claim of a bench showed.
pub(super) fn of_bench(document: &Document, folder: &str) -> Vec<Named> {
    let of = |outcome: Outcome, why: Vec<String>| TryEntry {
        result: outcome.into(),
        why,
        exit_code: None,
        folder: folder.to_owned(),
    };
    let kernel = |result: &ResultEntry| {
        let why = match result.outcome {
            Outcome::Supported => Vec::new(),
            _ => short_of(&result.findings, "nothing was found"),
        };
        (format!("bench::{}", result.kernel), of(result.outcome, why))
    };
    let pair = |comparison: &Comparison| {
        let Comparison { baseline, candidate, metric, ratio, claim, outcome, .. } = comparison;
        let ratio = ratio.map_or_else(|| "no ratio".to_owned(), |ratio| format!("{ratio:.2}"));
        let why = match outcome {
            Some(Outcome::Supported) | None => Vec::new(),
            Some(_) => vec![format!("{}: {ratio}", claim.as_deref().unwrap_or_default())],
        };
        Some((format!("bench::{metric} {baseline} / {candidate}"), of((*outcome)?, why)))
    };
    let untested = |case: &CaseEntry| {
        let why = format!("the claim: {}", document.untested(case)?);
        Some((format!("bench::{}", case.name), of(Outcome::NotRun, vec![why])))
    };
    let kernels = document.results.iter().map(kernel);
    let pairs = document.comparisons.iter().filter_map(pair);
    kernels.chain(pairs).chain(document.cases.iter().filter_map(untested)).collect()
}

/// What could not be carried out to its end.
pub(super) fn lost(failure: &Failure, folder: &str) -> TryEntry {
    TryEntry {
        result: TestResult::Lost,
        why: vec![failure.to_string()],
        exit_code: Some(failure.kind.exit_code()),
        folder: folder.to_owned(),
    }
}

/// The findings that do not hold, the worst first, with where it can be read.
fn short_of(findings: &[Finding], otherwise: &str) -> Vec<String> {
    let short = |finding: &&Finding| finding.outcome != Outcome::Supported;
    let tell = |Finding { expected, seen, outcome, evidence }: &Finding| {
        let place = evidence.first().map_or_else(String::new, |place| format!(" ({place})"));
        format!("{expected}: {seen}; {outcome}{place}")
    };
    let mut wrong: Vec<&Finding> = findings.iter().filter(short).collect();
    // What is refuted first: it is what a reader looks for.
    wrong.sort_by_key(|finding| std::cmp::Reverse(finding.outcome));
    let told: Vec<String> = wrong.into_iter().map(tell).collect();
    if told.is_empty() { vec![otherwise.to_owned()] } else { told }
}

/// Two kernels, as logarithms; `None` without a ratio.
pub(super) fn compared(comparison: &Comparison) -> Option<ComparedEntry> {
    let Comparison {
        case,
        baseline,
        candidate,
        metric,
        ratio,
        low,
        high,
        interval,
        pairs,
        forks,
        left_out: _,
        claim: _,
        outcome: _,
    } = comparison;
    let standard_error = match interval {
        IntervalKind::Fixed => stats::standard_error,
        IntervalKind::Sequence => sequential::standard_error,
    };
    let ends = low.zip(*high).map(|(low, high)| Interval { low, high });
    Some(ComparedEntry {
        case: case.clone(),
        baseline: baseline.clone(),
        candidate: candidate.clone(),
        metric: metric.clone(),
        log_ratio: (*ratio)?.ln(),
        low: low.map(f64::ln),
        high: high.map(f64::ln),
        interval: *interval,
        error: ends.and_then(|ends| standard_error(ends, *pairs)),
        pairs: *pairs,
        forks: *forks,
    })
}

/// How a kernel probed: the middle one of its boots.
pub(super) fn structure(result: &ResultEntry) -> StructureEntry {
    let middle = |of: &dyn Fn(&BootEntry) -> Option<u64>| {
        let mut values: Vec<u64> = result.boots.iter().filter_map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let time = |of: &dyn Fn(&BootEntry) -> Option<u64>| {
        stats::median(result.boots.iter().filter_map(of).map(Duration::from_micros)).map(micros)
    };
    let whole = |number: usize| u64::try_from(number).ok();
    StructureEntry {
        kernel: result.kernel.clone(),
        boots: result.boots.len(),
        in_flight: middle(&|boot| whole(boot.facts.max_in_flight)),
        workers: middle(&|boot| whole(boot.facts.workers?)),
        on_node: middle(&|boot| whole((boot.facts.local_probes? * 100).checked_div(boot.facts.placeable?)?)),
        makespan_us: time(&|boot| boot.facts.makespan_us),
        insmod_us: time(&|boot| boot.facts.insmod_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::document::TestDocument;

    fn tested(all_known: bool) -> Tested {
        let entry = |test: &str, result| HarnessEntry {
            test: test.to_owned(),
            result,
            why: None,
            lost: None,
            took_ms: None,
        };
        let harness = vec![entry("known", TestResult::Failed), entry("other", TestResult::Passed)];
        let document = serde_json::json!({
            "schema": "", "outcome": "refuted", "passed": false, "exit_code": 1,
            "host": { "qemu": "", "cores": 2 }, "run": "", "command": "", "results": [], "harness": harness,
        });
        let document: TestDocument = serde_json::from_value(document).unwrap();
        Tested { document, folder: None, stopped: None, all_known, silent_passed: true }
    }

    #[test]
    fn a_process_that_died_is_told_though_a_test_failed_as_well() {
        let names = |of: Vec<Named>| of.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(of_tests(&tested(true), "")), ["known", "other"]);
        assert_eq!(names(of_tests(&tested(false), "")), ["known", "other", "tests"]);
        let again = ended_well(of_tests(&tested(true), ""));
        assert_eq!(again[2].1.result, TestResult::Passed);
        assert_eq!(ended_well(of_tests(&tested(false), ""))[2].1.result, TestResult::Failed);
    }
}
