//! What tests found: on kernels that nobody knows, and where one did not pass.

use evidence::plain::plain;

use super::kept;
use crate::csv::word;
use crate::document::{TestDocument, TestEntry, TestResult, hung};
use crate::findings::{HARNESS, of_each_test};

/// What kernels of which nobody knows how they behave keep of what others promise; empty without such a kernel.
pub fn render_unknown(document: &TestDocument) -> String {
    let mut out = String::new();
    let known = |entry: &&TestEntry| entry.behaves.is_none() && entry.skipped.is_none();
    for entry in hung(document).results.iter().filter(known) {
        out.push_str(&format!("{} on {}: {}\n", entry.case, entry.kernel, entry.situation));
        for (finding, of) in entry
            .findings
            .iter()
            .map(|finding| (finding, "of every kernel"))
            .chain(entry.others.iter().map(|finding| (finding, "of some kernels")))
        {
            let kept = kept(finding.outcome);
            out.push_str(&format!("  {kept:<13}  {of}: {}: {}\n", finding.expected, finding.seen));
        }
    }
    plain(&out).into_owned()
}

/// What did not pass of the tests that note it, a line each: what became of it, the name that runs it again, and how what
/// was seen begins. A bench has a line for each claim. Empty where all passed or were skipped.
pub fn render_not_passed(document: &TestDocument) -> String {
    let mut out = String::new();
    let is_green = |result| matches!(result, TestResult::Passed | TestResult::Skipped);
    for check in of_each_test(document).iter().filter(|check| !is_green(check.result)) {
        let test = match &check.kernel {
            Some(kernel) => format!("{}::{kernel}", check.group),
            None if check.group == HARNESS => check.name.clone(),
            None => format!("{}: {}", check.group, check.name),
        };
        let seen = check.seen.lines().next().unwrap_or_default();
        out.push_str(&format!("{:<12}  {test}: {seen}\n", word(check.result)));
    }
    plain(&out).into_owned()
}
