//! What was expected and what was seen: tables, with the evidence a click away.

use evidence::judge::Outcome;
use maud::{Markup, html};

use crate::csv::word;
use crate::document::{Document, ResultEntry, TestDocument, TestEntry, TestResult};
use crate::findings::{Check, Found, of_bench};
use crate::text::{Cells, limit, warn_of_neighbours};

/// The verdicts of a run, in short: what is not as expected in full.
pub(super) fn render(found: &Found) -> Markup {
    match found {
        Found::Bench(document) => bench(document, &found.checks()),
        Found::Tests(document) => tests(document, &found.checks()),
    }
}

/// All that was expected, with the evidence. Of tests there is a row for each already.
pub(super) fn findings(found: &Found) -> Markup {
    let Found::Bench(document) = found else { return html! {} };
    let others = document.results.iter().filter(|result| !result.others.is_empty());
    html! {
        h2 #findings { "Findings" }
        table.checks {
            tr { th { "outcome" } th { "kernel" } th { "expected" } th { "seen, and where" } }
            @for check in &found.checks() { (row(check)) }
        }
        @for result in others {
            details {
                summary { (result.kernel) ": what is promised of kernels that behave otherwise" }
                ul {
                    @for finding in &result.others {
                        li { (finding.outcome) ": " (finding.expected) ": " (finding.seen) }
                    }
                }
            }
        }
    }
}

/// An outcome in words and colour: the colour alone says nothing.
pub(super) fn badge_of_outcome(outcome: Outcome) -> Markup {
    let class = match outcome {
        Outcome::Supported => "passed",
        Outcome::Refuted => "failed",
        Outcome::Inconclusive | Outcome::NotRun => "inconclusive",
    };
    html! { span class={ "badge " (class) } { (outcome) } }
}

fn badge(result: TestResult) -> Markup {
    html! { span class={ "badge " (word(result)) } { (word(result)) } }
}

fn bench(document: &Document, checks: &[Check]) -> Markup {
    html! {
        @for case in &document.cases {
            h2 { (case.name) }
            p { (case.situation) "." br; "Claim: " (case.claim) " " span.place { "(" (case.source) ")" } }
            p { (document.topology) }
            table.numbers {
                tr {
                    @for head in ["kernel", "boots", "in flight", "workers", "on node", "makespan", "insmod"] {
                        th { (head) }
                    }
                }
                @for result in document.results.iter().filter(|result| result.case == case.name) { (numbers(result)) }
            }
            @if let Some(limit) = &case.limit {
                p {
                    "With the CPU time that these probes took here, no schedule has a shorter makespan than " (seconds(limit.ideal_us)) " on "
                    (limit.cpus) " CPUs, and none that probes one device at a time a shorter one than "
                    (seconds(limit.serial_us)) "."
                }
                pre { (limit::render(Some(limit), &of_case(document, &case.name))) }
            }
            @if let Some(warning) = warn_of_neighbours(&of_case(document, &case.name)) { p.warning { (warning) } }
            ul.verdicts {
                @for kernel in &document.kernels {
                    @let (held, all) = held(checks, &case.name, &kernel.name);
                    li {
                        (kernel.name) " (" (kernel.release) ", " (kernel.about) "): "
                        (held) " of " (all) " expectations hold"
                    }
                }
                @for check in checks.iter().filter(|check| check.group == case.name && check.kernel.is_none()) {
                    li { (badge_as_outcome(check.result)) " " (check.name) ": " (check.seen) }
                }
            }
            @for check in checks.iter().filter(|check| check.group == case.name && is_wrong(check)) {
                section.wrong {
                    p { (badge_as_outcome(check.result)) " " b { (check.full_name()) } ": " (check.seen) }
                    (evidence(&check.evidence))
                }
            }
        }
    }
}

/// The results of a case.
fn of_case<'a>(document: &'a Document, case: &str) -> Vec<&'a ResultEntry> {
    document.results.iter().filter(|result| result.case == case).collect()
}

/// How many expectations of a kernel hold, and how many there are.
fn held(checks: &[Check], case: &str, kernel: &str) -> (usize, usize) {
    let of_kernel = |check: &&Check| check.group == case && check.kernel.as_deref() == Some(kernel);
    let held = |check: &&Check| check.result == TestResult::Passed;
    (checks.iter().filter(of_kernel).filter(held).count(), checks.iter().filter(of_kernel).count())
}

/// Whether something expected of a kernel does not hold, or cannot be told.
fn is_wrong(check: &Check) -> bool {
    check.kernel.is_some() && check.result != TestResult::Passed
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

fn numbers(result: &ResultEntry) -> Markup {
    let Cells { boots, in_flight, workers, on_node, makespan, insmod } = Cells::of(result);
    html! {
        tr {
            td { (result.kernel) }
            @for cell in [boots, in_flight, workers, on_node, makespan, insmod] { td.number { (cell) } }
        }
    }
}

fn row(check: &Check) -> Markup {
    html! {
        tr {
            td { (badge_as_outcome(check.result)) }
            td { (check.kernel.as_deref().unwrap_or("compared")) }
            td { (check.name) }
            td {
                @if check.evidence.is_empty() { (check.seen) } @else {
                    details { summary { (check.seen) } (lines(&check.evidence)) }
                }
            }
        }
    }
}

/// In the words of a bench.
fn badge_as_outcome(result: TestResult) -> Markup {
    match result {
        TestResult::Passed => badge_of_outcome(Outcome::Supported),
        TestResult::Failed => badge_of_outcome(Outcome::Refuted),
        TestResult::Inconclusive => badge_of_outcome(Outcome::Inconclusive),
        TestResult::Lost | TestResult::Skipped => badge(result),
    }
}

/// How much of what is possible its first boot reached, where that is known.
fn reached(entry: &TestEntry) -> Markup {
    let share = entry.spent.as_ref().and_then(|spent| spent.efficiency);
    html! {
        @if let (Some(limit), Some(share)) = (&entry.limit, share) {
            span.place title=(format!("no schedule of these probes is shorter than {}", seconds(limit.ideal_us))) {
                " " (format!("{:.0} %", share * 100.0))
            }
        }
    }
}

/// What guests of a case ran under, where one was booted.
fn accel(document: &TestDocument, case: &str) -> String {
    let mut of_case = document.results.iter().filter(|entry| entry.case == case);
    of_case
        .find_map(|entry| entry.accel.as_ref())
        .map_or_else(String::new, |accel| format!(", {}", accel.to_uppercase()))
}

fn evidence(evidence: &[String]) -> Markup {
    html! {
        @if !evidence.is_empty() {
            details { summary { "evidence" } (lines(evidence)) }
        }
    }
}

fn lines(lines: &[String]) -> Markup {
    html! { pre { @for line in lines { (line) "\n" } } }
}

fn tests(document: &TestDocument, checks: &[Check]) -> Markup {
    let mut kernels: Vec<&str> = Vec::new();
    let mut cases: Vec<&TestEntry> = Vec::new();
    for entry in &document.results {
        if !kernels.contains(&entry.kernel.as_str()) {
            kernels.push(&entry.kernel);
        }
        if !cases.iter().any(|known| known.case == entry.case) {
            cases.push(entry);
        }
    }
    let count = |result: TestResult| checks.iter().filter(|check| check.result == result).count();
    let all = TestResult::ALL;
    // Those of a bench are told with it.
    let told_below =
        |check: &Check| document.benches.iter().any(|of| of.document.is_some() && of.test == check.group);
    let is_wrong_here = |check: &Check| {
        !matches!(check.result, TestResult::Passed | TestResult::Skipped) && !told_below(check)
    };
    html! {
        p { @for result in all { (count(result)) " " (word(result)) "  " } }
        @for check in checks.iter().filter(|check| is_wrong_here(check)) {
            section.wrong {
                p { (badge(check.result)) " " b { (check.group) } " " (check.full_name()) }
                p { (check.seen) }
                (evidence(&check.evidence))
            }
        }
        @if !cases.is_empty() {
            h2 { "Cases" }
            table.cases {
                tr { th { "case" } @for kernel in &kernels { th { (kernel) } } th { "guest" } }
                @for case in cases {
                    tr {
                        td title=(case.situation) { (case.case) }
                        @for kernel in &kernels {
                            td {
                                @for entry in document.results.iter().filter(|entry| entry.case == case.case) {
                                    @if entry.kernel == **kernel { (badge(entry.result)) (reached(entry)) }
                                }
                            }
                        }
                        td { (case.topology) (accel(document, &case.case)) }
                    }
                }
            }
        }
        @if document.results.iter().any(|entry| entry.spent.is_some()) {
            p { "Percent: the shortest makespan that is possible over that of the first boot." }
        }
        @if !document.harness.is_empty() {
            details {
                summary { (document.harness.len()) " tests of the harness" }
                ul { @for entry in &document.harness { li { (badge(entry.result)) " " (entry.test) } } }
            }
        }
        @for entry in &document.benches {
            @if let Some(of) = &entry.document {
                h2 { (entry.test) " " (badge_as_outcome(entry.result)) }
                p { (of.host.qemu) ", " (of.host.cores) " cores, " (of.accel.to_uppercase()) }
                p.hint { "Its probes and samples: " code { "cargo xtask report " (of.run) " -o bench.html" } }
                (bench(of, &of_bench(of)))
            }
        }
    }
}
