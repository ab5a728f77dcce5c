//! Timelines to the trace event format, which ui.perfetto.dev and chrome://tracing open.
//!
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>. A boot is a process,
//! a worker a thread, a probe a complete event ("X"), and how many are in flight a counter ("C"). Times are
//! microseconds.

use evidence::plain::plain;
use serde_json::{Value, json};

use crate::lanes::{Bar, Timeline};

/// As JSON, an object with `traceEvents`.
pub fn render(timelines: &[Timeline]) -> String {
    let events: Vec<Value> = timelines.iter().enumerate().flat_map(|(at, of)| boot(at + 1, of)).collect();
    plain(&json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()).into_owned()
}

fn boot(pid: usize, timeline: &Timeline) -> Vec<Value> {
    let Timeline { case, kernel, folder, phase, witness, lanes, bars } = timeline;
    let phase = phase.as_ref().map_or_else(String::new, |phase| format!(", {phase}"));
    let name = format!("{kernel}: {case}{phase} ({folder}/{witness})");
    let named = |what: &str, tid: usize, name: &str| json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": { "name": name } });
    let mut events = vec![
        named("process_name", 0, &name),
        json!({ "ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": { "sort_index": pid } }),
    ];
    for (lane, name) in lanes.iter().enumerate() {
        events.push(named("thread_name", lane + 1, name));
    }
    events.extend(bars.iter().map(|bar| probe(pid, bar)));
    for (time, running) in timeline.in_flight() {
        events.push(json!({
            "ph": "C", "name": "probes in flight", "pid": pid, "tid": 0, "ts": time, "args": { "probes": running }
        }));
    }
    events
}

fn probe(pid: usize, bar: &Bar) -> Value {
    let Bar { device, lane, start_us, took_us, returned, thread, cpus, node, at_home, lines } = bar;
    let lines: Vec<String> = lines.iter().map(|(file, number, _)| format!("{file}:{number}")).collect();
    json!({
        "ph": "X", "cat": "probe", "name": device, "pid": pid, "tid": lane + 1, "ts": start_us, "dur": took_us,
        "args": {
            "returned": returned, "thread": thread, "node": node, "on_node": at_home,
            "cpu_begun": cpus.map(|cpus| cpus.0), "cpu_ended": cpus.map(|cpus| cpus.1), "lines": lines,
        }
    })
}
