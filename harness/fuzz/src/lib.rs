//! Bytes to what is read of them, for each thing that is read from outside: nothing may panic, hang, or grow without
//! bounds, and no line may be lost.
//!
//! `harness/fuzz/run` has libFuzzer drive the targets; `tests/replay.rs` feeds them what is in `corpus/`, and variations
//! of it, in every `cargo test`.

pub mod accounted;
mod boots;
mod kernels;
mod pieces;
mod runs;
mod words;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Longest input, in bytes.
pub const LONGEST: usize = 1 << 20;

/// Something that is read from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads an input. Panics where what is read is not as it should be.
    pub feed: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "boot", feed: boots::boot },
    Target { name: "console", feed: boots::console },
    Target { name: "log", feed: boots::log },
    Target { name: "proc", feed: boots::proc },
    Target { name: "trace", feed: boots::trace },
    Target { name: "calls", feed: words::calls },
    Target { name: "words", feed: words::words },
    Target { name: "archive", feed: kernels::archive },
    Target { name: "bzimage", feed: kernels::bzimage },
    Target { name: "catalogue", feed: kernels::catalogue },
    Target { name: "compressed", feed: kernels::compressed },
    Target { name: "config", feed: kernels::config },
    Target { name: "initcalls", feed: kernels::initcalls },
    Target { name: "mails", feed: kernels::mails },
    Target { name: "modules", feed: kernels::modules },
    Target { name: "patches", feed: kernels::patches },
    Target { name: "refused", feed: kernels::refused },
    Target { name: "series", feed: kernels::series },
    Target { name: "spec", feed: kernels::spec },
    Target { name: "document", feed: runs::document },
    Target { name: "folder", feed: runs::folder },
    Target { name: "history", feed: runs::history },
    Target { name: "results", feed: runs::results },
    Target { name: "search", feed: runs::search },
];

/// The folder with the corpus of a target.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// What stands between two texts of one input, on a line of its own.
const CUT: &[u8] = b"\n--8<--\n";

/// The texts of an input.
fn parts(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(CUT.len()).position(|bytes| bytes == CUT) {
        parts.push(&rest[..at]);
        rest = &rest[at + CUT.len()..];
    }
    parts.push(rest);
    parts
}

/// Bytes as text, as the bytes of a guest are taken.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
