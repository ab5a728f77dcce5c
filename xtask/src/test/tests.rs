//! What tests end with: the exit code, and what is said.

use super::*;
use TestResult::{Failed, Inconclusive, Lost, Passed, Skipped};
use report::document::{HarnessEntry, LostEntry};

fn noted(results: &[TestResult], ended: &[u64]) -> Noted {
    let entry = |result: &TestResult| {
        let lost = LostEntry { exit_code: Kind::Files.exit_code(), why: "the disk is full".to_owned() };
        let lost = (*result == Lost).then_some(lost);
        HarnessEntry { test: String::new(), result: *result, why: None, lost, took_ms: None }
    };
    let harness = results.iter().map(entry).collect();
    Noted { harness, ended: ended.to_vec(), ..Noted::default() }
}

#[test]
fn what_cannot_be_told_or_was_lost_is_no_failure_unless_something_failed() {
    let code = |results: &[TestResult], ended: &[u64]| {
        let guests = [results.iter().all(|result| *result <= Passed)];
        exit_code(&[true], &guests, &noted(results, ended), None)
    };
    assert_eq!(code(&[Passed, Skipped], &[0]), 0);
    assert_eq!(code(&[Passed, Inconclusive, Skipped], &[1]), 2);
    assert_eq!(code(&[Lost, Inconclusive], &[2]), Kind::Files.exit_code());
    assert_eq!(code(&[Lost, Failed], &[2]), 1);
    // One more failed, of which nothing is known; or the process did not come to its end.
    assert_eq!(code(&[Inconclusive], &[2]), 1);
    assert_eq!(code(&[Passed], &[]), 1);
    assert_eq!(exit_code(&[true, false], &[true], &noted(&[Passed], &[0]), None), 1);
    // It said that all went well, and then ended otherwise.
    assert_eq!(exit_code(&[], &[false], &noted(&[Passed], &[0]), None), 1);
}

#[test]
fn what_did_not_pass_is_said_at_the_end_whoever_was_to_tell_of_it() {
    let words = |results: &[TestResult], all_known, silent_passed| {
        let document = TestDocument {
            schema: TEST_SCHEMA.to_owned(),
            outcome: Outcome::NotRun,
            passed: false,
            exit_code: exit::REFUTED,
            host: Host { qemu: String::new(), cores: 2, open: Vec::new() },
            run: String::new(),
            command: "cargo xtask test".to_owned(),
            results: Vec::new(),
            harness: noted(results, &[]).harness,
            benches: Vec::new(),
            missing: Vec::new(),
        };
        let words = closing_words(&document, all_known, silent_passed);
        // What became of it, and of what.
        let first = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        words.lines().skip(1).map(first).collect::<Vec<_>>()
    };
    let repeat = "repeat: cargo xtask";
    let (silent, died) = ("failed tests that", "failed a process");
    assert_eq!(words(&[Passed, Failed, Inconclusive], true, true), ["failed :", "inconclusive :", repeat]);
    assert_eq!(words(&[Passed], true, false), [silent, repeat]);
    assert_eq!(words(&[Passed], false, true), [died, repeat]);
    assert_eq!(words(&[Lost], false, false), ["lost : the", silent, died, repeat]);
}

#[test]
fn nothing_but_skips_is_no_success() {
    assert_eq!(exit_code(&[], &[true], &noted(&[Skipped, Skipped], &[0]), None), 2);
    assert_eq!(exit_code(&[true], &[true], &noted(&[Skipped], &[0]), None), 0);
    assert_eq!(exit_code(&[true], &[], &noted(&[], &[]), None), 0);
}

#[test]
fn a_kernel_that_does_not_build_hides_no_test_that_failed() {
    let failure = Failure::new(Kind::Build, "build", "an error", "mend it");
    let code = |fast: &[bool]| exit_code(fast, &[], &noted(&[], &[]), Some(&failure));
    assert_eq!((code(&[true]), code(&[false])), (Kind::Build.exit_code(), 1));
}
