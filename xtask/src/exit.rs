//! The exit codes: a contract, described in the README.

use evidence::judge::Outcome;
use lab::failure::Kind;
use report::document::TestResult;

/// Every claim is supported; every test passed.
pub(crate) const SUPPORTED: u8 = 0;
/// A claim is refuted; a test failed.
pub(crate) const REFUTED: u8 = 1;
/// The boots cannot tell, or were not made.
pub(crate) const INCONCLUSIVE: u8 = 2;
/// What was asked for makes no sense or does not exist (sysexits: EX_USAGE).
pub(crate) const ASKED: u8 = 64;
/// A patch does not apply (EX_DATAERR).
const SERIES: u8 = 65;
/// The host lacks something (EX_UNAVAILABLE).
const HOST: u8 = 69;
/// A guest died (EX_SOFTWARE).
const GUEST: u8 = 70;
/// A kernel did not build (EX_OSERR).
const BUILD: u8 = 71;
/// Files cannot be read or written (EX_IOERR).
const FILES: u8 = 74;
/// Interrupted (128 and SIGINT).
pub(crate) const INTERRUPTED: u8 = 130;

/// The code of a verdict.
pub(crate) fn code_of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Supported => SUPPORTED,
        Outcome::Refuted => REFUTED,
        Outcome::Inconclusive | Outcome::NotRun => INCONCLUSIVE,
    }
}

/// The code of tests of which this is the worst result.
pub(crate) fn code_of_result(worst: TestResult) -> u8 {
    match worst {
        TestResult::Passed => SUPPORTED,
        TestResult::Failed => REFUTED,
        TestResult::Lost => GUEST,
        TestResult::Inconclusive | TestResult::Skipped => INCONCLUSIVE,
    }
}

/// The code of a failure.
pub(crate) fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Asked => ASKED,
        Kind::Series => SERIES,
        Kind::Build => BUILD,
        Kind::Host => HOST,
        Kind::Guest | Kind::Refused => GUEST,
        Kind::Files => FILES,
        Kind::Interrupted => INTERRUPTED,
    }
}
