//! Runs in the formats of other tools. `one_boot.json` is a real bench; `tests.json` has a test of each result, with
//! names and reasons that each format has to escape. Programs of others judge the same in `xtask/tests/formats`.

#![allow(clippy::unwrap_used)]

use evidence::units::{CpuId, NodeId, ThreadId};
use report::document::EndedEntry;
use report::findings::{Found, Made};
use report::html::Page;
use report::lanes::{Bar, Timeline};
use report::{csv, html, junit, kcidb, ktap, mail, perfetto};
use serde_json::Value;

fn bench() -> Found {
    Found::Bench(serde_json::from_str(include_str!("one_boot.json")).unwrap())
}

fn tests() -> Found {
    Found::Tests(serde_json::from_str(include_str!("tests.json")).unwrap())
}

fn timeline(kernel: &str, lane: usize) -> Timeline {
    let bar = |start_us: u64, returned: i64| Bar {
        device: "0:0:0:1 <b>".to_owned(),
        lane,
        start_us,
        took_us: 40,
        returned,
        thread: Some(ThreadId(7)),
        cpus: Some((CpuId(0), CpuId(1))),
        node: Some(NodeId(1)),
        at_home: Some(false),
        lines: vec![("kmsg.txt", 3, "</script><script>alert(1)</script>".to_owned())],
    };
    Timeline {
        case: "driver_after_devices".to_owned(),
        kernel: kernel.to_owned(),
        folder: format!("boots/001-{kernel}"),
        phase: None,
        witness: "trace.txt",
        lanes: (0..=lane).map(|number| format!("thread {number}")).collect(),
        bars: vec![bar(0, 0), bar(20, -5)],
    }
}

fn page(found: &Found) -> String {
    let patches = vec![("0001-a.patch".to_owned(), b"+</pre><script>alert(2)</script> \xe9".to_vec())];
    let kernels = [Made { name: "with".to_owned(), patches, ..Made::default() }];
    let timelines = [timeline("without", 0), timeline("with", 1)];
    html::render(&Page { found, kernels: &kernels, timelines: &timelines, remarks: &[] })
}

#[test]
fn a_bench_as_a_mail() {
    let mail = mail::render(&bench());
    assert!(mail.lines().all(|line| line.chars().count() <= 72), "{mail}");
    insta::assert_snapshot!(mail);
}

#[test]
fn tests_as_a_mail() {
    let mail = mail::render(&tests());
    assert!(mail.lines().all(|line| line.chars().count() <= 72), "{mail}");
    insta::assert_snapshot!(mail);
}

#[test]
fn tests_as_junit() {
    insta::assert_snapshot!(junit::render(&tests()));
}

#[test]
fn tests_as_ktap() {
    insta::assert_snapshot!(ktap::render(&tests()));
}

#[test]
fn a_boot_that_died_has_a_row_of_its_own() {
    let Found::Bench(mut document) = bench() else { panic!() };
    let why = "kernel panic: \"x\", at 2.5; while it was to load sd_mod".to_owned();
    let (folder, fork_of) = ("boots/003-with".to_owned(), Some("boots/002-with".to_owned()));
    document.results[1].ended = vec![EndedEntry { folder, fork_of, why: why.clone() }];
    let text = csv::render(&Found::Bench(document));
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<::csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    let filled = |row: &::csv::StringRecord| -> Vec<(String, String)> {
        let cells = head.iter().zip(row.iter()).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    let expected = [
        ("case", "driver_after_devices"),
        ("kernel", "with"),
        ("release", "6.1.192"),
        ("accel", "tcg"),
        ("boot", "boots/003-with"),
        ("fork_of", "boots/002-with"),
        ("ended", &why),
    ];
    assert_eq!(rows.len(), 3);
    assert_eq!(filled(&rows[2]), expected.map(|(name, cell)| (name.to_owned(), cell.to_owned())));
    assert!(filled(&rows[0]).iter().all(|(name, _)| name != "ended"));
}

#[test]
fn tests_as_csv() {
    insta::assert_snapshot!(csv::render(&tests()));
}

#[test]
fn what_cannot_be_told_and_what_was_lost_is_green_nowhere() {
    for found in [bench(), tests()] {
        let unclear =
            found.checks().iter().filter(|check| check.result > report::document::TestResult::Passed).count();
        assert!(unclear > 0);
        assert_eq!(
            ktap::render(&found).lines().filter(|line| line.starts_with("  not ok ")).count(),
            unclear
        );
        let xml = junit::render(&found);
        assert_eq!(xml.matches("<error ").count() + xml.matches("<failure ").count(), unclear);
    }
    let kernels = [Made { name: "with".to_owned(), ..Made::default() }];
    let sent: Value = serde_json::from_str(&kcidb::render(&tests(), &kernels)).unwrap();
    let states: Vec<&str> =
        sent["tests"].as_array().unwrap().iter().map(|test| test["status"].as_str().unwrap()).collect();
    let of_benches = [&["PASS"; 14][..], &["ERROR", "ERROR", "MISS"]].concat();
    assert_eq!(states, [&["PASS", "FAIL", "ERROR", "MISS", "SKIP"][..], &of_benches].concat());
    let paths: Vec<&str> =
        sent["tests"].as_array().unwrap().iter().map(|test| test["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"parprobe.passes") && paths.contains(&"parprobe.bench.with"), "{paths:?}");
    // A kernel that was not built, and a test that nobody ran, are there as well.
    let Found::Tests(mut document) = tests() else { panic!() };
    document.results[3].kernel = "mainline".to_owned();
    document.missing = vec!["a::with".to_owned()];
    document.benches.clear();
    let sent: Value = serde_json::from_str(&kcidb::render(&Found::Tests(document), &kernels)).unwrap();
    assert_eq!(sent["builds"].as_array().unwrap().len(), 2);
    assert_eq!(sent["builds"][1]["status"], "MISS");
    assert_eq!(sent["tests"].as_array().unwrap().len(), 6);
}

#[test]
fn a_run_that_failed_for_what_no_test_says_is_green_nowhere() {
    let Found::Tests(mut document) = tests() else { panic!() };
    document.results.truncate(1);
    document.benches.clear();
    for (exit_code, what) in [(1, "failure"), (71, "error")] {
        (document.exit_code, document.passed) = (exit_code, false);
        document.outcome = evidence::judge::Outcome::Supported;
        let found = Found::Tests(document.clone());
        assert_ne!(found.outcome(), evidence::judge::Outcome::Supported);
        assert!(junit::render(&found).contains(&format!("<{what} ")));
        assert!(ktap::render(&found).contains("not ok"));
        assert!(!mail::render(&found).contains("verdict: supported"));
        assert!(!page(&found).contains("<h1>parprobe: <span class=\"badge passed\">"));
    }
}

/// What the description of the format asks of each kind of event.
#[test]
fn a_trace_has_what_its_viewers_ask_of_each_event() {
    let trace: Value =
        serde_json::from_str(&perfetto::render(&[timeline("without", 0), timeline("with", 1)])).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |kind: &str| events.iter().filter(|event| event["ph"] == *kind).collect::<Vec<_>>();
    assert_eq!((of("X").len(), of("X").len() + of("C").len() + of("M").len()), (4, events.len()));
    for event in of("X") {
        assert!(event["name"].is_string() && event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        assert!(event["ts"].is_u64() && event["dur"].is_u64(), "{event}");
    }
    for event in of("C") {
        assert!(event["ts"].is_u64() && event["args"]["probes"].is_u64(), "{event}");
    }
    let names: Vec<&str> = of("M")
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .filter_map(|event| event["args"]["name"].as_str())
        .collect();
    assert_eq!(names, ["thread 0", "thread 0", "thread 1"]);
}

#[test]
fn text_of_logs_and_patches_is_no_markup_of_the_page() {
    for found in [bench(), tests()] {
        let page = page(&found);
        assert!(!page.contains("<script>alert") && !page.contains("<b>\""), "{page}");
        // Its own three: style has none, data and the script that shows it.
        assert_eq!(page.matches("<script").count(), 2);
    }
}

#[test]
fn a_control_character_of_a_log_reaches_no_terminal() {
    for text in
        [ktap::render(&tests()), csv::render(&tests()), mail::render(&tests()), junit::render(&tests())]
    {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\r'), "{text}");
    }
}

#[test]
fn a_page_asks_the_network_for_nothing() {
    let page = page(&bench());
    for part in ["src=", "href=", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn the_picture_of_a_bench_has_its_kernels_on_one_axis() {
    let page = page(&bench());
    assert_eq!(page.matches("viewBox=\"0 0 60 1\"").count(), 1, "lanes of `without`");
    assert!(page.contains("viewBox=\"0 0 60 2\""), "lanes of `with`, and the axis of both");
    assert!(page.contains("class=\"n1 away bad\""), "a probe that failed");
}
