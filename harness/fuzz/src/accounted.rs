//! Every line of a log and of a trace is accounted for: counted here in the plainest way, and held against what
//! `evidence` says.
//!
//! A line of a log is a record, belongs to the record before it, or is no record. A record is one half of a pair (of an
//! initcall, an asynchronous call, a wait), a probe, or about something else; or it begins like one of those and is not
//! understood. A line of a trace is empty, a comment, an entry or not understood, and an entry is one half of a probe or
//! a call. What is no record, not understood, missing or there again, and each half without its other, is unpaired.

use std::collections::HashMap;

use evidence::boot::{Phase, Texts, read};
use evidence::dmesg::{self, Line};
use evidence::ftrace::{self, Event};
use evidence::kmsg::{self, Piece};

/// How many findings a log must have.
pub fn unpaired_of_log(kmsg: &str) -> usize {
    let (mut lines, mut unpaired) = (0, 0);
    let mut open: HashMap<String, i64> = HashMap::new();
    for piece in kmsg::read(kmsg) {
        lines += 1;
        let record = match piece {
            Piece::Record(record) => record,
            Piece::Attached(_) => continue,
            Piece::Broken(_) => {
                unpaired += 1;
                continue;
            }
        };
        unpaired += usize::from(record.missing > 0) + usize::from(record.again);
        let (half, step) = match dmesg::recognise(record.text) {
            Line::InitcallBegins { symbol, .. } => (format!("initcall {symbol}"), 1),
            Line::InitcallEnds { symbol, .. } => (format!("initcall {symbol}"), -1),
            Line::AsyncBegins { cookie, function, .. } => (format!("call {cookie} {function}"), 1),
            Line::AsyncEnds { cookie, function } => (format!("call {cookie} {function}"), -1),
            Line::AsyncWaiting { thread } => (format!("wait {thread}"), 1),
            Line::AsyncContinuing { thread } => (format!("wait {thread}"), -1),
            Line::NotUnderstood => {
                unpaired += 1;
                continue;
            }
            Line::Probed { .. } | Line::Other => continue,
        };
        *open.entry(half).or_default() += step;
    }
    assert_eq!(lines, kmsg.lines().count(), "a line of the log is no piece of it");
    unpaired + open.values().filter(|count| **count != 0).count()
}

/// How many findings a trace must have.
pub fn unpaired_of_trace(trace: &str) -> usize {
    let (mut lines, mut unpaired, mut lost) = (0, 0, 0u64);
    let mut running: HashMap<_, usize> = HashMap::new();
    for piece in ftrace::read(trace) {
        lines += 1;
        match piece {
            ftrace::Piece::Comment { lost: more } => lost = lost.saturating_add(more),
            ftrace::Piece::Broken(_) => unpaired += 1,
            ftrace::Piece::Entry(entry) => {
                let running = running.entry(entry.thread).or_default();
                match (entry.event, *running) {
                    (Event::Start { .. }, _) => *running += 1,
                    (Event::End { .. }, 0) => unpaired += 1,
                    (Event::End { .. }, _) => *running -= 1,
                    (Event::Call { .. } | Event::Mark { .. }, _) => {}
                }
            }
        }
    }
    let all = trace.lines().filter(|line| !line.is_empty()).count();
    assert_eq!(lines, all, "a line of the trace is no piece of it");
    unpaired + running.values().sum::<usize>() + usize::from(lost > 0)
}

/// Reads a boot whose phase is all of it, and holds what it says is unpaired against that.
pub fn check(kmsg: &str, trace: Option<&str>) {
    let phases = [Phase { name: None, driver: "sd", devices: &[], cpu_times: None, unsettled: None }];
    let texts = Texts {
        release: "6.1.0",
        kmsg,
        trace,
        kprobe_profile: None,
        cpus: &[],
        mark: protocol::MARK,
        phases: &phases,
        asked: &[],
        initcalls: &[],
    };
    let boot = read(&texts).remove(0);
    // The mark of its end.
    let init = |piece| matches!(piece, Piece::Record(record) if record.text == "Run /init as init process");
    let unmarked = usize::from(!kmsg::read(kmsg).any(init));
    let expected = unmarked + unpaired_of_log(kmsg) + trace.map_or(0, unpaired_of_trace);
    assert_eq!(boot.facts.unpaired, expected, "not all that is unpaired is said: {:?}", boot.unpaired);
    assert_eq!(boot.unpaired.len(), expected);
    // What is kept of it is all, or so much that its size has a limit: 100 of each of six kinds, and the mark.
    assert!(boot.unpaired.iter().len() <= 601);
}
