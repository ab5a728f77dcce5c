//! What the command line makes of files that it reads back, for programs that feed it with whatever comes to mind:
//! `harness/fuzz`.
//!
//! Each is what the rest calls, with texts in the place of files.

use std::path::Path;

use lab::history::Kept;
use lab::run::Record;
use report::document::{HistoryEntry, TestDocument};
use report::findings::Found;
use report::lanes::Timeline;

use crate::history::{nights, trends};
use crate::merge::Whole;
use crate::nightly::tell;
use crate::report::kept;
use crate::results::Noted;

pub use crate::bisect::outside::search;

/// What the nights of a history say, and what its last one is told, from the texts of its files.
pub fn history(files: &[&str]) -> String {
    let kept =
        |(number, text): (usize, &&str)| Kept { name: number.to_string(), text: Ok((*text).to_owned()) };
    let read = || nights(files.iter().enumerate().map(kept).collect());
    let mut before = read();
    let last: Option<HistoryEntry> = before.entries.pop();
    let night = last.map(|entry| report::text::render_night(&tell(entry, before)));
    night.unwrap_or_default() + &report::text::render_trends(&trends(String::new(), read()))
}

/// What a run found, from the text of its document.
///
/// # Errors
/// What is wrong with it.
pub fn document(text: &str) -> Result<Found, String> {
    kept::parse(text)
}

/// What a boot drew.
pub fn timelines(record: &Record) -> Vec<Timeline> {
    kept::of_record(record, &record.read(&[]), ["case", "kernel", "boots/001"])
}

/// What several machines noted of their tests, joined: the texts of their files.
pub fn joined(files: &[&str]) -> TestDocument {
    let (mut whole, nowhere) = (Whole::default(), Path::new("/nowhere"));
    files.iter().for_each(|text| whole.add(Noted::parse(text), nowhere, "part"));
    whole.document(nowhere, &[])
}
