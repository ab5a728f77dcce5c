//! An error as a person needs it: what was tried, what was seen, what to do next, and which exit code.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What kind of failure this is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Kind {
    /// What was asked for makes no sense or does not exist.
    Asked,
    /// A patch does not apply to the source it is meant for.
    Series,
    /// The kernel cannot be configured as asked, or does not compile.
    Build,
    /// The host lacks something: a tool, KVM, memory.
    Host,
    /// A guest died, hung or fell silent.
    Guest,
    /// The kernel of a guest that is well refused what it was told.
    Refused,
    /// Files of the kernel store or of a run cannot be read or written.
    Files,
    /// Somebody asked us to stop.
    Interrupted,
}

impl Kind {
    /// The exit code of a program that ends so: a contract, described in the README. From `sysexits.h`, where that
    /// has one.
    pub fn exit_code(self) -> u8 {
        match self {
            // EX_USAGE.
            Self::Asked => 64,
            // EX_DATAERR.
            Self::Series => 65,
            // EX_UNAVAILABLE.
            Self::Host => 69,
            // EX_SOFTWARE.
            Self::Guest | Self::Refused => 70,
            // EX_OSERR.
            Self::Build => 71,
            // EX_IOERR.
            Self::Files => 74,
            // 128 and SIGINT.
            Self::Interrupted => 130,
        }
    }
}

/// A failure.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What was tried, and on what: "start QEMU".
    pub attempt: String,
    /// What was seen instead.
    pub seen: String,
    /// What to do next.
    pub next: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(
        kind: Kind,
        attempt: impl Into<String>,
        seen: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { kind, attempt: attempt.into(), seen: seen.into(), next: next.into() }
    }

    /// A file or folder that could not be read or written.
    pub fn file(attempt: &str, path: &Path, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space there, or move the store with PARPROBE_STORE and the run with --out"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "make it writable, or move the store with PARPROBE_STORE and the run with --out"
            }
            io::ErrorKind::NotFound => "check that the path is right",
            _ => "look at the path and try again",
        };
        // Libraries wrap the system's error in errors of their own, each with the path: the innermost one tells.
        let mut seen = error.to_string();
        let mut source = error.get_ref().and_then(std::error::Error::source);
        while let Some(cause) = source {
            seen = cause.to_string();
            source = cause.source();
        }
        Self::new(Kind::Files, format!("{attempt} {}", path.display()), seen, next)
    }

    /// The same for one that somebody named: where it is not there, that is a slip of theirs.
    pub fn named_file(attempt: &str, path: &Path, error: &io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::Asked } else { Kind::Files };
        Self { kind, ..Self::file(attempt, path, error) }
    }

    /// The user pressed Ctrl-C, or the system asked us to end.
    pub fn interrupted(attempt: impl Into<String>) -> Self {
        Self::new(
            Kind::Interrupted,
            attempt,
            "interrupted",
            "run the same command again: kernels that were built are kept",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, attempt, seen, next } = self;
        match kind {
            Kind::Interrupted => write!(f, "{seen}, in the middle of this: {attempt}\nnext: {next}"),
            _ => write!(f, "could not {attempt}: {}\nnext: {next}", seen.trim_end()),
        }
    }
}

impl std::error::Error for Failure {}
