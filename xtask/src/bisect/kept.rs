//! What a search keeps in the folder of its run.

use std::fs;
use std::path::Path;

use lab::failure::{Failure, Kind};
use serde::Deserialize;

/// Writes a file of the run, whole or not at all: the search may be interrupted at any time.
pub(super) fn keep(run: &Path, name: &str, content: &str) -> Result<(), Failure> {
    let (path, new) = (run.join(name), run.join(format!("{name}.new")));
    let written = fs::write(&new, content).and_then(|()| fs::rename(&new, &path));
    written.map_err(|e| Failure::file("write", &path, &e))
}

/// Reads a file of a run that goes on.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(|e| {
        let attempt = format!("go on with the search in {}", path.parent().unwrap_or(path).display());
        Failure::new(
            Kind::Asked,
            attempt,
            format!("{}: {e}", path.display()),
            "name the folder of a `bisect` run",
        )
    })?;
    serde_json::from_str(&text).map_err(|e| {
        let attempt = format!("read {}", path.display());
        Failure::new(Kind::Files, attempt, e.to_string(), "begin the search anew")
    })
}
