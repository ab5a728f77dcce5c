//! What a run found, whatever kind of run it was, as a list of checks: what JUnit, KTAP and KCIDB are made of.

use std::time::Duration;

use evidence::judge::{Finding, Outcome};

use crate::document::{BenchEntry, Document, HarnessEntry, TestDocument, TestEntry, TestResult};
use crate::text::{advice, ratio};

/// The group of tests that test us, and no kernel.
pub(crate) const HARNESS: &str = "harness";

/// The document of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Of a bench.
    Bench(Box<Document>),
    /// Of tests.
    Tests(Box<TestDocument>),
}

/// A kernel, as the folder of a run keeps it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Made {
    /// Its name, with its flavour.
    pub name: String,
    /// Its address in the kernel store.
    pub id: String,
    /// `uname -r`.
    pub release: String,
    /// What it was built from, by name.
    pub source: String,
    /// BLAKE3 of that, in hexadecimal.
    pub source_blake3: String,
    /// The compiler; `None` where somebody else has built it.
    pub compiler: Option<String>,
    /// The fragments of its configuration, by name.
    pub fragments: Vec<String>,
    /// Its configuration.
    pub config: String,
    /// Its patches, in order: name and content, which need not be text.
    pub patches: Vec<(String, Vec<u8>)>,
}

/// Something that was checked, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// What it belongs to: a case.
    pub group: String,
    /// The kernel; `None` for a comparison, and for a test of the harness.
    pub kernel: Option<String>,
    /// Of a comparison, the kernel that is held against another.
    pub candidate: Option<String>,
    /// Its name within the group.
    pub name: String,
    /// What came of it.
    pub result: TestResult,
    /// In a few words, what was seen, or why it was not.
    pub seen: String,
    /// What that rests on, a line each.
    pub evidence: Vec<String>,
    /// How long it took, where it was carried out for itself.
    pub took: Option<Duration>,
}

impl Found {
    /// Everything that was checked, groups together.
    ///
    /// Their texts are as they came: whoever shows them makes them plain.
    pub fn checks(&self) -> Vec<Check> {
        match self {
            Self::Bench(document) => of_bench(document),
            Self::Tests(document) => of_tests(document),
        }
    }

    /// All claims together.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Bench(document) => document.outcome,
            // Of what is no case, the exit code alone tells.
            Self::Tests(document) => match document.exit_code {
                0 => Outcome::Supported,
                1 => Outcome::Refuted,
                _ => Outcome::of_all([document.outcome, Outcome::Inconclusive]),
            },
        }
    }

    /// The command that repeats the run.
    pub fn command(&self) -> &str {
        match self {
            Self::Bench(document) => &document.command,
            Self::Tests(document) => &document.command,
        }
    }

    /// The folder of the run, as it was when the run ended.
    pub fn run(&self) -> &str {
        match self {
            Self::Bench(document) => &document.run,
            Self::Tests(document) => &document.run,
        }
    }

    /// QEMU's version, and how many cores of the host the harness might use.
    pub fn host(&self) -> (&str, u32) {
        let host = match self {
            Self::Bench(document) => &document.host,
            Self::Tests(document) => &document.host,
        };
        (&host.qemu, host.cores)
    }

    /// How long it took, by the host's clock, where that is known.
    pub fn took(&self) -> Option<Duration> {
        match self {
            Self::Bench(document) => document.time.map(|time| Duration::from_micros(time.wall_us)),
            Self::Tests(_) => None,
        }
    }
}

impl Check {
    /// Its name with the kernel before it: unique within the group.
    pub fn full_name(&self) -> String {
        match &self.kernel {
            Some(kernel) => format!("{kernel}: {}", self.name),
            None => self.name.clone(),
        }
    }

    fn of(group: &str, kernel: &str, finding: &Finding) -> Self {
        let Finding { expected, seen, outcome, evidence } = finding;
        Self {
            group: group.to_owned(),
            kernel: Some(kernel.to_owned()),
            candidate: None,
            name: expected.clone(),
            result: (*outcome).into(),
            seen: seen.clone(),
            evidence: evidence.clone(),
            took: None,
        }
    }
}

/// What a bench checked.
pub(crate) fn of_bench(document: &Document) -> Vec<Check> {
    let mut checks = Vec::new();
    for case in &document.cases {
        for result in document.results.iter().filter(|result| result.case == case.name) {
            checks
                .extend(result.findings.iter().map(|finding| Check::of(&case.name, &result.kernel, finding)));
        }
        for comparison in document.comparisons.iter().filter(|comparison| comparison.case == case.name) {
            let Some((claim, outcome)) = comparison.claim.as_ref().zip(comparison.outcome) else { continue };
            checks.push(Check {
                group: case.name.clone(),
                kernel: None,
                candidate: Some(comparison.candidate.clone()),
                name: format!("{}: {claim}", comparison.metric),
                result: outcome.into(),
                seen: match advice(comparison) {
                    Some(advice) => format!("{}: {advice}", ratio(comparison)),
                    None => ratio(comparison),
                },
                evidence: Vec::new(),
                took: None,
            });
        }
        if case.tested && !case.judged {
            checks.push(Check {
                group: case.name.clone(),
                kernel: None,
                candidate: None,
                name: "the claim is judged".to_owned(),
                result: TestResult::Skipped,
                seen: "nothing says what is expected: --behaves does".to_owned(),
                evidence: Vec::new(),
                took: None,
            });
        }
        if let Some(why) = document.untested(case) {
            checks.push(Check {
                group: case.name.clone(),
                kernel: None,
                candidate: None,
                name: "the claim is tested".to_owned(),
                result: TestResult::Inconclusive,
                seen: why,
                evidence: Vec::new(),
                took: None,
            });
        }
    }
    checks
}

fn of_tests(document: &TestDocument) -> Vec<Check> {
    let mut checks = of_each_test(document);
    checks.extend(end_of_run(document, &checks));
    checks
}

/// What was checked by tests that note it, groups together.
pub(crate) fn of_each_test(document: &TestDocument) -> Vec<Check> {
    let cases = document.results.iter().map(of_case);
    let all = cases
        .chain(document.harness.iter().map(of_harness))
        .chain(document.benches.iter().flat_map(of_part))
        .chain(document.missing.iter().map(|test| missing(test)));
    let mut checks: Vec<Check> = all.collect();
    // They come as they end, several at a time.
    let mut groups: Vec<String> = Vec::new();
    for check in &checks {
        if !groups.contains(&check.group) {
            groups.push(check.group.clone());
        }
    }
    checks.sort_by_key(|check| groups.iter().position(|group| *group == check.group));
    checks
}

fn of_case(entry: &TestEntry) -> Check {
    let decisive = entry.findings.iter().filter(|finding| finding.outcome != Outcome::Supported);
    let told = |finding: &Finding| format!("{}: {}", finding.expected, finding.seen);
    let why = match (&entry.skipped, &entry.lost) {
        (Some(why), _) => why.clone(),
        (None, Some(lost)) => lost.why.clone(),
        (None, None) if entry.result == TestResult::Passed => String::new(),
        (None, None) => decisive.clone().map(told).collect::<Vec<_>>().join("; "),
    };
    Check {
        group: entry.case.clone(),
        kernel: Some(entry.kernel.clone()),
        candidate: None,
        name: entry.situation.clone(),
        result: entry.result,
        seen: why,
        evidence: decisive.flat_map(|finding| finding.evidence.clone()).collect(),
        took: entry.took_ms.map(Duration::from_millis),
    }
}

/// What none of the others explains: a unit test that failed, a process that died, a kernel that did not build.
fn end_of_run(document: &TestDocument, checks: &[Check]) -> Option<Check> {
    let explained = checks.iter().any(|check| match document.exit_code {
        1 => check.result == TestResult::Failed,
        _ => check.result > TestResult::Passed,
    });
    // Nothing was carried out, and each says why.
    if document.exit_code == 2 && checks.iter().all(|check| check.result == TestResult::Skipped) {
        return None;
    }
    (document.exit_code != 0 && !explained).then(|| Check {
        group: "run".to_owned(),
        kernel: None,
        candidate: None,
        name: "every test came to its end, those that boot no guest as well".to_owned(),
        result: if document.exit_code == 1 { TestResult::Failed } else { TestResult::Lost },
        seen: format!("exit code {}", document.exit_code),
        evidence: Vec::new(),
        took: None,
    })
}

/// A test that nobody ran: no success, whatever it would have been.
fn missing(test: &str) -> Check {
    Check {
        group: "missing".to_owned(),
        kernel: None,
        candidate: None,
        name: test.to_owned(),
        result: TestResult::Inconclusive,
        seen: "no machine ran it".to_owned(),
        evidence: Vec::new(),
        took: None,
    }
}

/// A bench that a machine carried out: what it found, and how long all of it took.
fn of_part(entry: &BenchEntry) -> Vec<Check> {
    let BenchEntry { test, result, lost, took_ms, document } = entry;
    let found = document.as_deref().map(of_bench).unwrap_or_default();
    let found = found.into_iter().map(|check| Check { group: test.clone(), ..check });
    let whole = Check {
        group: test.clone(),
        kernel: None,
        candidate: None,
        name: "the bench comes to its verdict".to_owned(),
        result: if document.is_some() { TestResult::Passed } else { *result },
        seen: lost.as_ref().map(|lost| lost.why.clone()).unwrap_or_default(),
        evidence: Vec::new(),
        took: took_ms.map(Duration::from_millis),
    };
    std::iter::once(whole).chain(found).collect()
}

fn of_harness(entry: &HarnessEntry) -> Check {
    let HarnessEntry { test, result, why, lost, took_ms } = entry;
    Check {
        group: HARNESS.to_owned(),
        kernel: None,
        candidate: None,
        name: test.clone(),
        result: *result,
        seen: why.clone().or_else(|| lost.as_ref().map(|lost| lost.why.clone())).unwrap_or_default(),
        evidence: Vec::new(),
        took: took_ms.map(Duration::from_millis),
    }
}
