//! Checks to KTAP, the format of kselftest and KUnit (Documentation/dev-tools/ktap.rst): a test for each case, with its
//! checks as subtests.

use crate::document::TestResult;
use crate::findings::{Check, Found};
use evidence::plain::plain;

/// As KTAP, version 1.
pub fn render(found: &Found) -> String {
    let checks = found.checks();
    let mut groups: Vec<&str> = checks.iter().map(|check| check.group.as_str()).collect();
    groups.dedup();
    let mut out = format!("KTAP version 1\n1..{}\n", groups.len());
    out.push_str(&format!("# {}\n", one_line(found.command())));
    for (number, group) in groups.iter().enumerate() {
        let of_group: Vec<&Check> = checks.iter().filter(|check| check.group == *group).collect();
        let worst = of_group.iter().map(|check| check.result).max().unwrap_or(TestResult::Skipped);
        out.push_str(&format!("  KTAP version 1\n  # Subtest: {}\n  1..{}\n", name(group), of_group.len()));
        for (number, check) in of_group.iter().enumerate() {
            // Diagnostics come before the result that they are about.
            let lines = std::iter::once(&check.seen).chain(&check.evidence).flat_map(|text| text.lines());
            for line in lines.filter(|line| !line.trim().is_empty()) {
                out.push_str(&format!("    # | {}\n", diagnostic(line)));
            }
            out.push_str(&format!("  {}\n", line(number + 1, &check.full_name(), check.result, &check.seen)));
        }
        out.push_str(&format!("{}\n", line(number + 1, group, worst, "")));
    }
    plain(&out).into_owned()
}

fn line(number: usize, text: &str, result: TestResult, why: &str) -> String {
    let (ok, directive) = match result {
        TestResult::Passed => ("ok", ""),
        TestResult::Skipped => ("ok", " # SKIP "),
        TestResult::Failed => ("not ok", ""),
        TestResult::Inconclusive => ("not ok", " # ERROR inconclusive"),
        TestResult::Lost => ("not ok", " # ERROR lost"),
    };
    let why = if result == TestResult::Skipped { one_line(why) } else { String::new() };
    format!("{ok} {number} - {}{directive}{why}", name(text)).trim_end().to_owned()
}

/// What ends a log for the kernel's own parser wherever it stands (tools/testing/kunit/kunit_parser.py, `KTAP_END`): a
/// kernel may have said it.
const SAID_AT_THE_END: [&str; 3] =
    ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"];

/// A line of evidence that no parser takes for more than that.
fn diagnostic(text: &str) -> String {
    let mut text = one_line(text);
    for said in SAID_AT_THE_END {
        text = text.replace(said, &said.replace(':', ";"));
    }
    text
}

/// A name has no `#`: that begins a directive.
fn name(text: &str) -> String {
    one_line(text).replace('#', "_")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
