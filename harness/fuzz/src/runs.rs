//! What runs keep and what is read back of it: documents, plans, searches, histories.

use lab::kernel::Identity;
use lab::run::{Asked, Left, Plan};
use report::findings::{Found, Made};
use report::html::Page;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{parts, text};

/// `verdict.json` and `test.json`, in every form in which they are shown.
pub(crate) fn document(input: &[u8]) {
    let Ok(found) = xtask::outside::document(&text(input)) else { return };
    let kernels: [Made; 0] = [];
    match &found {
        Found::Bench(document) => drop(report::text::render(document)),
        Found::Tests(document) => {
            report::text::render_unknown(document);
            report::text::render_not_passed(document);
        }
    }
    report::csv::render(&found);
    report::html::render(&Page { found: &found, kernels: &kernels, timelines: &[], remarks: &[] });
    report::junit::render(&found);
    report::kcidb::render(&found, &kernels);
    report::ktap::render(&found);
    report::mail::render(&found);
}

/// The other files of a run: `plan.json`, `boot.json`, `guest.json`, `kernel.json`.
pub(crate) fn folder(input: &[u8]) {
    for part in parts(input) {
        if let Some(plan) = again::<Plan>(part) {
            plan.topology.check().map_or_else(|unsound| unsound.to_string(), |()| plan.topology.to_string());
        }
        if let Some(asked) = again::<Asked>(part) {
            asked
                .topology
                .check()
                .map_or_else(|unsound| unsound.to_string(), |()| asked.topology.to_string());
        }
        again::<Left>(part);
        again::<Identity>(part);
    }
}

/// What is in a file, if it is such a one; what was read and written is read again.
fn again<T: DeserializeOwned + Serialize>(input: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(input).ok()?;
    let written = serde_json::to_string(&read);
    let Ok(written) = written else { panic!("what was read cannot be written") };
    let read_again: Result<T, _> = serde_json::from_str(&written);
    let Ok(read_again) = read_again else { panic!("what was written is not read: {written}") };
    assert_eq!(serde_json::to_string(&read_again).ok(), Some(written));
    Some(read)
}

/// The files of a history.
pub(crate) fn history(input: &[u8]) {
    let files: Vec<_> = parts(input).into_iter().map(text).collect();
    let files: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
    xtask::outside::history(&files);
}

/// `results.jsonl` of several machines.
pub(crate) fn results(input: &[u8]) {
    let files: Vec<_> = parts(input).into_iter().map(text).collect();
    let files: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
    let joined = xtask::outside::joined(&files);
    assert_eq!(joined.passed, joined.exit_code == 0);
    report::mail::render(&Found::Tests(Box::new(joined)));
}

/// `search.json` and `bisect.json`.
pub(crate) fn search(input: &[u8]) {
    let parts: Vec<_> = parts(input).into_iter().map(text).collect();
    let [settings, document, ..] = &parts[..] else { return };
    let _ = xtask::outside::search(settings, document);
}
