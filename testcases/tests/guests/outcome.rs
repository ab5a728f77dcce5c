//! What becomes of a guest test, and whoever started the tests being told of it.

use std::io;
use std::num::TryFromIntError;
use std::time::Instant;

use evidence::plain::plain;
use lab::failure::{Failure, Kind};
use lab::guest::{Cause, Lost, Trouble};
use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;
use report::document::{HarnessEntry, LostEntry, TestLine, TestResult};
use testcases::noted::note;

/// Why a test did not pass.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// What it claims is not so.
    Failed(String),
    /// Nobody can tell whether it is so.
    Inconclusive(String),
    /// It could not be carried out to its end.
    World(Failure),
}

impl Wrong {
    pub(crate) fn result(&self) -> TestResult {
        match self {
            Self::Failed(_) => TestResult::Failed,
            Self::Inconclusive(_) => TestResult::Inconclusive,
            Self::World(_) => TestResult::Lost,
        }
    }

    pub(crate) fn lost(&self) -> Option<LostEntry> {
        let Self::World(failure) = self else { return None };
        Some(LostEntry { exit_code: failure.kind.exit_code(), why: failure.to_string() })
    }

    fn why(&self) -> String {
        match self {
            Self::Failed(why) => why.clone(),
            Self::Inconclusive(why) => format!("inconclusive: one cannot tell: {why}"),
            Self::World(failure) => failure.to_string(),
        }
    }
}

impl From<Wrong> for Failed {
    fn from(wrong: Wrong) -> Self {
        // What the test harness prints as it is.
        plain(&wrong.why()).into()
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            // The guest is well, and its kernel does not do what every kernel does.
            Kind::Refused => Self::Failed(failure.to_string()),
            _ => Self::World(failure),
        }
    }
}

impl From<Trouble> for Wrong {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(lost) => lost.into(),
            Trouble::Failure(failure) => failure.into(),
        }
    }
}

/// Of a guest that is to live.
impl From<Box<Lost>> for Wrong {
    fn from(lost: Box<Lost>) -> Self {
        let text = format!("{}, while it was to {}: {}", lost.cause, lost.doing, lost.folder.display());
        match lost.cause {
            Cause::Kernel { .. } | Cause::Reset => Self::Failed(text),
            Cause::Starved { .. } | Cause::Silence(_) | Cause::Overdue(_) => Self::Inconclusive(text),
            Cause::AgentDied(_)
            | Cause::AgentRubbish(_)
            | Cause::QemuEnded(_)
            | Cause::QemuCrashed(_)
            | Cause::QemuStale(_)
            | Cause::QemuUnanswered(_)
            | Cause::Interrupted => Self::World(Trouble::Lost(lost).into()),
        }
    }
}

/// Of files and processes that a test itself looks at.
impl From<io::Error> for Wrong {
    fn from(e: io::Error) -> Self {
        Failure::new(Kind::Files, "carry out a test", e.to_string(), "run it again").into()
    }
}

impl From<Errno> for Wrong {
    fn from(e: Errno) -> Self {
        io::Error::from(e).into()
    }
}

impl From<TryFromIntError> for Wrong {
    fn from(e: TryFromIntError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

/// A test of the harness: one that is no case.
pub(crate) fn trial(name: String, test: impl FnOnce() -> Result<(), Wrong> + Send + 'static) -> Trial {
    Trial::test(name.clone(), move || carry_out(&name, test))
}

/// Carries out a test of the harness, and notes what became of it.
pub(crate) fn carry_out(name: &str, test: impl FnOnce() -> Result<(), Wrong>) -> Result<(), Failed> {
    let begun = Instant::now();
    let done = test();
    let wrong = done.as_ref().err();
    let noted = note(&TestLine::Harness(HarnessEntry {
        test: name.to_owned(),
        result: wrong.map_or(TestResult::Passed, Wrong::result),
        why: wrong.map(Wrong::why),
        lost: wrong.and_then(Wrong::lost),
        took_ms: Some(millis(begun)),
    }));
    done?;
    Ok(noted?)
}

/// How long ago that was, in milliseconds.
pub(crate) fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Notes that a test of the harness makes no sense here; why.
pub(crate) fn skipped(name: &str, why: &'static str) -> io::Result<&'static str> {
    let (test, result) = (name.to_owned(), TestResult::Skipped);
    let why_not = Some(why.to_owned());
    note(&TestLine::Harness(HarnessEntry { test, result, why: why_not, lost: None, took_ms: None }))?;
    Ok(why)
}
