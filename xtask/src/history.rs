//! `history`: what the nights of a folder say together.

use std::collections::BTreeSet;
use std::path::Path;

use lab::failure::Failure;
use lab::history::Kept;
use report::document::{
    HISTORY_SCHEMA, HistoryEntry, LeftOutEntry, MachineEntry, MachineTrend, StructureEntry, TRENDS_SCHEMA,
    TrendsDocument,
};
use serde::Deserialize;

use crate::cli::HistoryArguments;
use crate::exit;
use crate::nightly::judge;
use crate::screen::print;

pub(crate) fn run(arguments: &HistoryArguments) -> Result<u8, Failure> {
    let document = trends(arguments.history.display().to_string(), read(&arguments.history)?);
    print(&if arguments.json { document.to_json() + "\n" } else { report::text::render_trends(&document) });
    // Of no night there is nothing to tell.
    Ok(if document.machines.is_empty() { exit::INCONCLUSIVE } else { exit::SUPPORTED })
}

/// What these nights say together.
pub(crate) fn trends(history: String, nights: Nights) -> TrendsDocument {
    let Nights { entries, left_out } = nights;
    let machines: BTreeSet<&MachineEntry> = entries.iter().map(|entry| &entry.machine).collect();
    let machines = machines.into_iter().map(|machine| trend(machine, &entries)).collect();
    TrendsDocument { schema: TRENDS_SCHEMA.to_owned(), history, left_out, machines }
}

fn trend(machine: &MachineEntry, entries: &[HistoryEntry]) -> MachineTrend {
    let nights: Vec<&HistoryEntry> = entries.iter().filter(|entry| entry.machine == *machine).collect();
    let mut structure: Vec<StructureEntry> = Vec::new();
    for of in nights.iter().rev().flat_map(|night| &night.structure) {
        if !structure.iter().any(|known| known.kernel == of.kernel) {
            structure.push(of.clone());
        }
    }
    MachineTrend {
        machine: machine.clone(),
        runners: runners(&nights),
        nights: days(&nights),
        series: judge::series(&nights, true),
        structure,
        failing: judge::failing(&nights),
        flaky: judge::flaky(&nights),
    }
}

/// The nights of a history, oldest first, and the files that are none.
pub(crate) struct Nights {
    pub(crate) entries: Vec<HistoryEntry>,
    pub(crate) left_out: Vec<LeftOutEntry>,
}

/// Reads a history. A file that says nothing is named, and stops nothing.
pub(crate) fn read(folder: &Path) -> Result<Nights, Failure> {
    Ok(nights(lab::history::read(folder)?))
}

/// The same for what is in its files.
pub(crate) fn nights(files: Vec<Kept>) -> Nights {
    let (mut entries, mut left_out) = (Vec::<HistoryEntry>::new(), Vec::new());
    for kept in files {
        // The same night, copied under another name. Two machines of a pool may begin in one second.
        let known = |entry: &HistoryEntry| entries.contains(entry);
        match kept.text.and_then(|text| parse(&text)) {
            Ok(entry) if known(&entry) => {
                let why = format!("{} has a night of {} already", entry.runner, entry.when);
                left_out.push(LeftOutEntry { file: kept.name, why });
            }
            Ok(entry) => entries.push(entry),
            Err(why) => left_out.push(LeftOutEntry { file: kept.name, why }),
        }
    }
    entries.sort_by(|a, b| (&a.when, &a.runner).cmp(&(&b.when, &b.runner)));
    Nights { entries, left_out }
}

fn parse(text: &str) -> Result<HistoryEntry, String> {
    #[derive(Deserialize)]
    struct Any {
        schema: String,
    }
    let Any { schema } = serde_json::from_str(text).map_err(|e| format!("no night: {e}"))?;
    if schema != HISTORY_SCHEMA {
        return Err(format!("its schema is {schema}, and this parprobe reads {HISTORY_SCHEMA}"));
    }
    let entry: HistoryEntry = serde_json::from_str(text).map_err(|e| format!("damaged: {e}"))?;
    if !lab::history::is_time(&entry.when) {
        return Err(format!("damaged: there is no such time as {}", entry.when));
    }
    Ok(entry)
}

/// The days of nights, each once.
pub(crate) fn days(nights: &[&HistoryEntry]) -> Vec<String> {
    let days: BTreeSet<&str> = nights.iter().map(|night| night.night()).collect();
    days.into_iter().map(str::to_owned).collect()
}

/// The runners of nights, each once.
pub(crate) fn runners(nights: &[&HistoryEntry]) -> Vec<String> {
    let runners: BTreeSet<&str> = nights.iter().map(|night| night.runner.as_str()).collect();
    runners.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn night(runner: &str, schema: &str) -> String {
        format!(
            r#"{{"schema": "{schema}", "when": "2026-11-25T01:00:00Z", "runner": "{runner}", "machine": {{"cpu": "a",
            "cores": 2, "memory_gib": 4, "accel": "tcg", "qemu": "QEMU 7.2"}}, "parprobe": "0.1.0", "run": "",
            "command": "", "topology": "", "kernels": [], "checks": [], "comparisons": [], "structure": []}}"#
        )
    }

    #[test]
    fn files_that_say_nothing_are_named_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let append = |name: &str, text: &str| {
            lab::history::append(folder.path(), "2026-11-25T01:00:00Z", name, text).unwrap()
        };
        append("a", &night("a", HISTORY_SCHEMA));
        append("b", &night("b", HISTORY_SCHEMA));
        append("c", &night("a", HISTORY_SCHEMA));
        append("d", &night("d", "parprobe.history/2"));
        append("g", &night("g", HISTORY_SCHEMA).replace("2026-11-25T", "2026-13-99T"));
        append("e", "{\"schema\": \"parprobe.history/1\"}");
        fs::write(append("f", "{}"), "").unwrap();
        let Nights { entries, left_out } = read(folder.path()).unwrap();
        assert_eq!(runners(&entries.iter().collect::<Vec<_>>()), ["a", "b"]);
        let why: Vec<&str> = left_out.iter().map(|left_out| left_out.why.as_str()).collect();
        for (why, part) in
            why.iter().zip(["already", "history/2", "damaged: missing", "damaged or changed", "no such time"])
        {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(why.len(), 5);
    }
}
