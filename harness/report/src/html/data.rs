//! Timelines to the JSON that the page's script shows when a probe is clicked.

use serde_json::{Value, json};

use crate::lanes::{Bar, Timeline};

/// As JSON that can stand in a `<script>`: without `<`, which could end it.
pub(super) fn render(timelines: &[Timeline]) -> String {
    let panels: Vec<Value> = timelines.iter().map(panel).collect();
    json!(panels).to_string().replace('<', "\\u003c")
}

fn panel(timeline: &Timeline) -> Value {
    let Timeline { case: _, kernel, folder, phase: _, witness: _, lanes, bars } = timeline;
    let bars: Vec<Value> = bars.iter().map(bar).collect();
    json!({ "kernel": kernel, "folder": folder, "lanes": lanes, "bars": bars })
}

/// The order is that of the script's `BAR`.
fn bar(bar: &Bar) -> Value {
    let Bar { device, lane, start_us, took_us, returned, thread, cpus, node, at_home, lines } = bar;
    json!([start_us, took_us, lane, device, returned, thread, cpus, node, at_home, lines])
}
