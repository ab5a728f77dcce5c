//! Nights as text: a red one, the first one, and the trends of a history.

#![allow(clippy::unwrap_used)]

use evidence::stats::Interval;
use report::document::{
    ChangeEntry, CheckEntry, CheckFate, FailingEntry, FlakyEntry, HISTORY_SCHEMA, HistoryEntry, LeftOutEntry,
    MachineEntry, MachineTrend, NIGHTLY_SCHEMA, NightDocument, SeriesEntry, StructureEntry, TRENDS_SCHEMA,
    TestResult, ToldEntry, TrendsDocument, TryEntry,
};

fn tried(result: TestResult, why: &str, folder: &str) -> TryEntry {
    let why = if why.is_empty() { Vec::new() } else { vec![why.to_owned()] };
    TryEntry { result, why, exit_code: None, folder: folder.to_owned() }
}

fn check(name: &str, first: TryEntry, again: Option<TryEntry>) -> CheckEntry {
    CheckEntry { name: name.to_owned(), first, again }
}

fn structure() -> Vec<StructureEntry> {
    vec![StructureEntry {
        kernel: "with".to_owned(),
        boots: 10,
        in_flight: Some(61),
        workers: Some(61),
        on_node: None,
        makespan_us: Some(154_000),
        insmod_us: Some(160_000),
    }]
}

fn entry() -> HistoryEntry {
    let serial =
        "at least 16 probes in flight: 1; refuted (boots/002-with/trace.txt:14-141: not as expected)";
    let failed = |folder| tried(TestResult::Failed, serial, folder);
    HistoryEntry {
        schema: HISTORY_SCHEMA.to_owned(),
        when: "2026-11-25T01:00:00Z".to_owned(),
        runner: "alpha".to_owned(),
        machine: MachineEntry {
            cpu: "AMD EPYC".to_owned(),
            cores: 2,
            memory_gib: 24,
            accel: "tcg".to_owned(),
            qemu: "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)".to_owned(),
        },
        parprobe: "0.1.0".to_owned(),
        run: "/home/user/parprobe/runs/20261125-010000-nightly".to_owned(),
        command: "cargo xtask nightly --history h".to_owned(),
        topology: "2 nodes, 2 vCPUs, 4 HBAs, 64 LUNs, 20ms a read".to_owned(),
        kernels: Vec::new(),
        checks: vec![
            check("bench::with", tried(TestResult::Passed, "", "bench"), None),
            check("driver_after_devices::with", failed("tests"), Some(failed("tests-again"))),
            check("slow_one::with", failed("tests"), Some(failed("tests-again"))),
            check(
                "race_unbind::mainline+debug",
                failed("tests"),
                Some(tried(TestResult::Passed, "", "tests-again")),
            ),
            check(
                "elsewhere::kernels",
                tried(TestResult::Lost, "could not start QEMU: none\nnext: install it", "tests"),
                None,
            ),
        ],
        comparisons: Vec::new(),
        structure: structure(),
        told: Some(Vec::new()),
    }
}

fn series() -> SeriesEntry {
    SeriesEntry {
        case: "driver_after_devices".to_owned(),
        baseline: "without".to_owned(),
        candidate: "with-a-very-long-name-as-patched-kernels-have".to_owned(),
        metric: "makespan".to_owned(),
        topology: "2 nodes".to_owned(),
        nights: (0..40).map(|night| format!("2026-10-{night:02}")).collect(),
        ratios: (0..40)
            .map(|night| if night < 37 { 24.0 + 0.3 * f64::from(night % 4) } else { 21.5 })
            .collect(),
        level: 21.5,
        changes: vec![ChangeEntry {
            found: "2026-11-25".to_owned(),
            since: "2026-11-23".to_owned(),
            factor: 0.88,
            interval: Interval { low: 0.86, high: 0.9 },
            chance: 0.000_02,
            red: true,
        }],
    }
}

fn left_out() -> Vec<LeftOutEntry> {
    vec![LeftOutEntry {
        file: "20261124T010000Z-beta-0badc0de.json".to_owned(),
        why: "damaged or changed: its hash is 5eadbeef".to_owned(),
    }]
}

fn told(name: &str, fate: CheckFate, known_since: Option<&str>, red: bool) -> ToldEntry {
    ToldEntry { name: name.to_owned(), fate, known_since: known_since.map(str::to_owned), red }
}

fn night() -> NightDocument {
    NightDocument {
        schema: NIGHTLY_SCHEMA.to_owned(),
        exit_code: 1,
        file: "/home/user/history/20261125T010000Z-alpha-87b70cf8.json".to_owned(),
        entry: entry(),
        before: vec!["2026-11-23".to_owned(), "2026-11-24".to_owned()],
        runners: vec!["alpha".to_owned(), "beta".to_owned()],
        left_out: left_out(),
        checks: vec![
            told("driver_after_devices::with", CheckFate::Failed, None, true),
            told("slow_one::with", CheckFate::Failed, Some("2026-11-20"), false),
            told("race_unbind::mainline+debug", CheckFate::Flaky, None, false),
            told("elsewhere::kernels", CheckFate::Lost, None, false),
        ],
        series: vec![series()],
    }
}

fn narrow(text: &str) {
    let wide = text.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None);
}

#[test]
fn a_red_night_says_what_is_new_and_what_is_known_with_both_tries() {
    let text = report::text::render_night(&night());
    narrow(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn the_first_night_says_that_there_is_nothing_to_compare_with() {
    let mut first = night();
    (first.before, first.runners, first.left_out, first.checks) = Default::default();
    first.series[0].nights.truncate(1);
    let text = report::text::render_night(&first);
    assert!(text.contains("nothing on such machines: there is nothing to compare with yet"), "{text}");
    assert!(text.contains("until the eleventh night no change can be found"), "{text}");
}

#[test]
fn trends_show_each_series_its_changes_what_fails_and_what_is_flaky() {
    let text = report::text::render_trends(&TrendsDocument {
        schema: TRENDS_SCHEMA.to_owned(),
        history: "h".to_owned(),
        left_out: left_out(),
        machines: vec![MachineTrend {
            machine: entry().machine,
            runners: vec!["alpha".to_owned(), "beta".to_owned()],
            nights: vec!["2026-10-17".to_owned(), "2026-11-25".to_owned()],
            series: vec![series()],
            structure: structure(),
            failing: vec![FailingEntry { name: "slow_one::with".to_owned(), since: "2026-11-20".to_owned() }],
            flaky: vec![FlakyEntry {
                name: "race_unbind::mainline+debug".to_owned(),
                times: 2,
                last: "2026-11-25".to_owned(),
            }],
        }],
    });
    narrow(&text);
    insta::assert_snapshot!(text);
}
