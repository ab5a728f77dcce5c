//! Whatever strangers write, in a log, a patch, a name or a subject, does nothing in any report.

#![allow(clippy::unwrap_used)]

use report::document::{BisectDocument, Document, TestDocument};
use report::findings::{Found, Made};
use report::html::{self, Page};
use report::lanes::{Bar, Timeline};
use report::{csv, junit, kcidb, ktap, mail, perfetto, text};
use serde_json::Value;

/// A formula, sequences of a terminal in 7 and 8 bits, a bell, a line overwritten, a line forged, an order turned
/// around, and markup.
const BEFORE: &str = "=cmd|' /C calc'!A0 ";
const AFTER: &str = " \u{1b}]0;mine\u{7}\u{1b}[2J\rok 1 - all\nverdict:  supported\n\u{9b}31m\u{7f} \u{202e}\u{2066}\u{200b}<script>alert(1)</script>\"'&]]>--><i id=x>";

/// A text with all of that in it.
fn hostile(text: &str) -> String {
    format!("{BEFORE}{text}{AFTER}")
}

/// A document with hostile text wherever it has any: where another one would not be read, it is a word of ours.
fn made_hostile<T: for<'a> serde::Deserialize<'a>>(json: &str) -> T {
    let mut document: Value = serde_json::from_str(json).unwrap();
    let mut places = Vec::new();
    find_texts(&document, &mut String::new(), &mut places);
    let mut changed = 0;
    for place in places {
        let old = document.pointer(&place).unwrap().clone();
        *document.pointer_mut(&place).unwrap() = Value::String(hostile(old.as_str().unwrap()));
        match T::deserialize(&document) {
            Ok(_) => changed += 1,
            Err(_) => *document.pointer_mut(&place).unwrap() = old,
        }
    }
    assert!(changed > 10, "{changed}");
    T::deserialize(&document).unwrap()
}

fn find_texts(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let mut within = |part: String, value: &Value| {
        let length = at.len();
        at.push_str(&format!("/{}", part.replace('~', "~0").replace('/', "~1")));
        find_texts(value, at, found);
        at.truncate(length);
    };
    match value {
        Value::String(_) => found.push(at.clone()),
        Value::Array(all) => all.iter().enumerate().for_each(|(n, value)| within(n.to_string(), value)),
        Value::Object(all) => all.iter().for_each(|(name, value)| within(name.clone(), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn bench() -> Document {
    made_hostile(include_str!("one_boot.json"))
}

fn tests() -> TestDocument {
    made_hostile(include_str!("tests.json"))
}

fn search() -> BisectDocument {
    made_hostile(
        r#"{"schema": "s", "command": "c", "run": "r", "case": "slow_one", "behaves": "per device", "symptoms": ["it dies"],
            "metric": null, "good": "v6.8", "bad": "v6.9", "tolerated": ["a"],
            "steps": [{"role": "step", "commit": "0123456789abcdef", "subject": "driver core: x", "answer": "bad", "why": "w",
                       "tally": {"shown": 1, "clean": 0}, "ratio": null, "sure": 0.5, "build_us": 1,
                       "boots_us": 1}],
            "ended": {"as": "found", "sure": 0.9, "confirmed": true, "reverted": "fine",
                      "commit": {"id": "0123456789abcdef", "subject": "s", "author": "a", "date": "d"}}}"#,
    )
}

fn timeline() -> Timeline {
    let bar = Bar {
        device: hostile("0:0:0:0"),
        lane: 0,
        start_us: 0,
        took_us: 10,
        returned: 0,
        thread: None,
        cpus: None,
        node: None,
        at_home: None,
        lines: vec![("kmsg.txt", 1, hostile("probe"))],
    };
    Timeline {
        case: hostile("case"),
        kernel: hostile("kernel"),
        folder: hostile("boots/001"),
        phase: Some(hostile("phase")),
        witness: "kmsg.txt",
        lanes: vec![hostile("lane")],
        bars: vec![bar],
    }
}

fn made() -> Made {
    Made {
        name: hostile("with"),
        id: hostile("id"),
        release: hostile("6.1"),
        source: hostile("linux"),
        patches: vec![(hostile("0001.patch"), hostile("diff").into_bytes())],
        ..Made::default()
    }
}

/// Every report there is, with its name.
fn all() -> Vec<(&'static str, String)> {
    let mut reports = vec![
        ("text", text::render(&bench())),
        ("unknown", text::render_unknown(&tests())),
        ("not passed", text::render_not_passed(&tests())),
        ("search", text::render_bisect(&search())),
        ("step", text::render_step(&search().steps[0])),
        ("JSON", bench().to_json()),
        ("JSON of tests", tests().to_json()),
        ("JSON of a search", search().to_json()),
        ("trace", perfetto::render(&[timeline()])),
    ];
    for found in [Found::Bench(Box::new(bench())), Found::Tests(Box::new(tests()))] {
        let (kernels, timelines, remarks) = ([made()], [timeline()], [hostile("remark")]);
        let page = Page { found: &found, kernels: &kernels, timelines: &timelines, remarks: &remarks };
        reports.extend([
            ("page", html::render(&page)),
            ("JUnit", junit::render(&found)),
            ("KTAP", ktap::render(&found)),
            ("KCIDB", kcidb::render(&found, &kernels)),
            ("CSV", csv::render(&found)),
            ("mail", mail::render(&found)),
        ]);
    }
    reports
}

#[test]
fn nothing_of_it_reaches_a_terminal() {
    for (name, report) in all() {
        let bad =
            |c: char| (c.is_control() && c != '\n' && c != '\t') || "\u{202e}\u{2066}\u{200b}".contains(c);
        let at = report.find(bad);
        assert!(at.is_none(), "{name}: {:?}", at.map(|at| report[at..].chars().take(60).collect::<String>()));
    }
}

#[test]
fn nothing_of_it_is_markup() {
    for (name, report) in all().into_iter().filter(|(name, _)| ["page", "JUnit"].contains(name)) {
        // Of the page's data, which is JSON, only the first could end it.
        let markup: &[&str] =
            if name == "page" { &["<script>alert", "<i id"] } else { &["<script>alert", "<i id", "]]>"] };
        for markup in markup {
            assert!(!report.contains(markup), "{name}: {markup}");
        }
    }
}

#[test]
fn nothing_of_it_is_a_line_of_ours() {
    for (name, report) in all().into_iter().filter(|(name, _)| ["text", "KTAP"].contains(name)) {
        let verdicts = report.lines().filter(|line| line.starts_with("verdict:")).count();
        let forged = report
            .lines()
            .find(|line| line.starts_with("ok 1 - all") || line.starts_with("verdict:  supported"));
        assert!(verdicts <= 1 && forged.is_none(), "{name}: {forged:?}, {verdicts}:\n{report}");
    }
}

#[test]
fn nothing_of_it_is_a_formula() {
    for (_, report) in all().into_iter().filter(|(name, _)| *name == "CSV") {
        let mut cells = 0;
        for row in ::csv::Reader::from_reader(report.as_bytes()).records() {
            for cell in &row.unwrap() {
                cells += 1;
                assert!(!cell.trim_start().starts_with(['=', '+', '-', '@']), "{cell}");
            }
        }
        assert!(cells > 0);
    }
}

#[test]
fn what_is_data_says_the_same_as_before() {
    let [before, after] = [serde_json::to_string(&bench()).unwrap(), bench().to_json()];
    let [before, after]: [Value; 2] = [before, after].map(|json| serde_json::from_str(&json).unwrap());
    assert_eq!(before, after);
}
