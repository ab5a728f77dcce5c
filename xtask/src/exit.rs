//! The exit codes of what was found: a contract, described in the README. Those of failures are their kind's.

use evidence::judge::Outcome;

/// Every claim is supported; every test passed.
pub(crate) const SUPPORTED: u8 = 0;
/// A claim is refuted; a test failed.
pub(crate) const REFUTED: u8 = 1;
/// The boots cannot tell, or were not made.
pub(crate) const INCONCLUSIVE: u8 = 2;

/// The code of a verdict.
pub(crate) fn code_of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Supported => SUPPORTED,
        Outcome::Refuted => REFUTED,
        Outcome::Inconclusive | Outcome::NotRun => INCONCLUSIVE,
    }
}
