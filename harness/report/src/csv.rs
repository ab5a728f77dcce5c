//! Documents to a table with commas: a row for each boot of a bench, or for each test.

use crate::document::{BootEntry, Document, EndedEntry, FactsEntry, TestDocument, TestResult};
use crate::findings::Found;
use evidence::plain::plain;

/// As CSV (RFC 4180), with a head. Times are in microseconds; what is not known is empty.
pub fn render(found: &Found) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = match found {
        Found::Bench(document) => bench(&mut writer, document),
        Found::Tests(document) => tests(&mut writer, document),
    };
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// The columns of a bench. The last is empty for a boot that came to its end, and all numbers are for another one.
const HEAD: [&str; 28] = [
    "case",
    "kernel",
    "release",
    "accel",
    "boot",
    "fork_of",
    "luns",
    "probes",
    "bound",
    "failed",
    "max_in_flight",
    "workers",
    "placeable",
    "begun_local",
    "local_probes",
    "fewest_reads",
    "most_reads",
    "cpu_us",
    "makespan_us",
    "insmod_us",
    "late_probes",
    "initcall_us",
    "letters_out_of_order",
    "attach_calls",
    "witnesses_agree",
    "unpaired",
    "neighbours",
    "ended",
];

fn bench(writer: &mut csv::Writer<Vec<u8>>, document: &Document) -> csv::Result<()> {
    writer.write_record(HEAD)?;
    for result in &document.results {
        let release = document.kernels.iter().find(|kernel| kernel.name == result.kernel);
        let release = release.map_or("", |kernel| kernel.release.as_str());
        for boot in &result.boots {
            let mut row = vec![result.case.clone(), result.kernel.clone(), release.to_owned()];
            row.push(document.accel.clone());
            row.extend(of_boot(boot));
            row.push(String::new());
            writer.write_record(row.iter().map(|text| cell(text)))?;
        }
        for EndedEntry { folder, fork_of, why } in &result.ended {
            let mut row = vec![String::new(); HEAD.len()];
            let origin = fork_of.as_deref().unwrap_or_default();
            let known = [result.case.as_str(), &result.kernel, release, &document.accel, folder, origin];
            row.splice(..known.len(), known.map(str::to_owned));
            row[HEAD.len() - 1] = why.clone();
            writer.write_record(row.iter().map(|text| cell(text)))?;
        }
    }
    Ok(())
}

fn of_boot(boot: &BootEntry) -> Vec<String> {
    let FactsEntry {
        luns,
        probes,
        bound,
        failed,
        max_in_flight,
        workers,
        placeable,
        local_probes,
        begun_local,
        reads_of_one,
        cpu_us,
        makespan_us,
        insmod_us,
        late_probes,
        initcall_us,
        letters_out_of_order,
        attach_calls,
        witnesses_agree,
        unpaired,
    } = &boot.facts;
    let calls = attach_calls.iter().map(|(name, times)| format!("{name} {times}")).collect::<Vec<_>>();
    vec![
        boot.folder.clone(),
        known(boot.fork_of.as_ref()),
        luns.to_string(),
        probes.to_string(),
        bound.to_string(),
        failed.to_string(),
        max_in_flight.to_string(),
        known(workers.as_ref()),
        known(placeable.as_ref()),
        known(begun_local.as_ref()),
        known(local_probes.as_ref()),
        known(reads_of_one.as_ref().map(|reads| reads.0)),
        known(reads_of_one.as_ref().map(|reads| reads.1)),
        known(cpu_us.as_ref()),
        known(makespan_us.as_ref()),
        known(insmod_us.as_ref()),
        known(late_probes.as_ref()),
        known(initcall_us.as_ref()),
        letters_out_of_order.to_string(),
        calls.join("; "),
        known(witnesses_agree.as_ref()),
        unpaired.to_string(),
        known(boot.neighbours.as_ref()),
    ]
}

/// As plain text that no spreadsheet takes for a formula, with or without a blank before it: that would be carried out
/// (owasp.org, "CSV Injection"). None of our numbers is negative.
fn cell(text: &str) -> String {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    format!("{}{}", if formula { "'" } else { "" }, plain(text))
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn tests(writer: &mut csv::Writer<Vec<u8>>, document: &TestDocument) -> csv::Result<()> {
    writer.write_record(["case", "kernel", "result", "outcome", "boots", "ideal_us", "reached", "why"])?;
    let checks = Found::Tests(Box::new(document.clone())).checks();
    for check in checks {
        let kernel = check.kernel.clone().unwrap_or_default();
        let entry = document.results.iter().find(|entry| entry.case == check.group && entry.kernel == kernel);
        let of_bench = document.benches.iter().any(|bench| bench.test == check.group);
        let name = match entry {
            Some(_) => check.group.clone(),
            None if of_bench => format!("{}: {}", check.group, check.name),
            None => check.name.clone(),
        };
        let row = [
            name,
            kernel,
            word(check.result).to_owned(),
            entry.map_or_else(String::new, |entry| entry.outcome.to_string()),
            entry.map_or_else(String::new, |entry| entry.boots.len().to_string()),
            known(entry.and_then(|entry| entry.limit.as_ref()).map(|limit| limit.ideal_us)),
            known(entry.and_then(|entry| entry.spent.as_ref()?.efficiency)),
            check.seen,
        ];
        writer.write_record(row.iter().map(|text| cell(text)))?;
    }
    Ok(())
}

/// As the JSON of the tests has it.
pub(crate) fn word(result: TestResult) -> &'static str {
    match result {
        TestResult::Passed => "passed",
        TestResult::Failed => "failed",
        TestResult::Inconclusive => "inconclusive",
        TestResult::Lost => "lost",
        TestResult::Skipped => "skipped",
    }
}
