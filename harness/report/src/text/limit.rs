//! What is possible, how much of it each kernel reached, and where the rest is lost.

use crate::document::{BootEntry, LimitEntry, ResultEntry, SpentEntry};
use crate::table::Table;

/// The limit, and a table with a row for each kernel.
pub(crate) fn render(limit: Option<&LimitEntry>, results: &[&ResultEntry]) -> String {
    let Some(limit) = limit else { return "limit:  not known\n".to_owned() };
    let LimitEntry { ideal_us, serial_us, probes, cpus, reads_per_probe, latency_us, cpu_per_probe_us } =
        limit;
    let s = if *cpus == 1 { "" } else { "s" };
    let mut table = Table::new(&["kernel", "reached", "reads", "CPU", "late start", "stretched"]);
    for result in results {
        table.row(row(result));
    }
    format!(
        "limit:  {} on {cpus} CPU{s}, {} one by one\n        ({probes} probes, each with {reads_per_probe} x {} of reads and {} of CPU)\n{}",
        seconds(*ideal_us),
        seconds(*serial_us),
        millis(*latency_us),
        millis(*cpu_per_probe_us),
        table.render()
    )
}

/// Of the boot in the middle, by makespan: its parts add up.
fn row(result: &ResultEntry) -> Vec<String> {
    let mut boots: Vec<&BootEntry> = result.boots.iter().filter(|boot| boot.spent.is_some()).collect();
    boots.sort_by_key(|boot| boot.facts.makespan_us);
    let middle = boots.get(boots.len().saturating_sub(1) / 2).and_then(|boot| boot.spent.as_ref());
    let mut cells = vec![result.kernel.clone()];
    match middle {
        Some(SpentEntry { efficiency, reads_us, cpu_us, late_start_us, stretched_us }) => {
            cells.push(efficiency.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)));
            cells.extend([reads_us, cpu_us, late_start_us, stretched_us].map(|us| seconds(*us)));
        }
        None => cells.extend([(); 5].map(|()| "-".to_owned())),
    }
    cells
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

/// With a digit behind the point where there is one.
fn millis(us: u64) -> String {
    let text = format!("{:.1}", us as f64 / 1e3);
    format!("{} ms", text.strip_suffix(".0").unwrap_or(&text))
}
