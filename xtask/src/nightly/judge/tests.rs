use super::*;
use report::document::TestResult::{Failed, Inconclusive, Lost, Passed, Skipped};
use report::document::{HISTORY_SCHEMA, IntervalKind, MachineEntry, TestResult, TryEntry};

fn night(day: usize, runner: &str, checks: &[(&str, TestResult, Option<TestResult>)]) -> HistoryEntry {
    let of = |result| TryEntry {
        result,
        why: Vec::new(),
        exit_code: (result == Lost).then_some(70),
        folder: "tests".to_owned(),
    };
    let check = |(name, first, again): &(&str, TestResult, Option<TestResult>)| CheckEntry {
        name: (*name).to_owned(),
        first: of(*first),
        again: again.map(of),
    };
    HistoryEntry {
        schema: HISTORY_SCHEMA.to_owned(),
        when: format!("2026-{:02}-{:02}T01:00:00Z", 1 + day / 28, 1 + day % 28),
        runner: runner.to_owned(),
        machine: MachineEntry {
            cpu: "a CPU".to_owned(),
            cores: 2,
            memory_gib: 4,
            accel: "tcg".to_owned(),
            qemu: "QEMU emulator version 7.2.22".to_owned(),
        },
        parprobe: "0.1.0".to_owned(),
        run: String::new(),
        command: String::new(),
        topology: "2 nodes".to_owned(),
        kernels: Vec::new(),
        checks: checks.iter().map(check).collect(),
        comparisons: Vec::new(),
        structure: Vec::new(),
        told: None,
    }
}

/// The exit code of the last night, and since when its failures are known.
fn told(nights: &[HistoryEntry]) -> (u8, Vec<Option<String>>) {
    let nights: Vec<&HistoryEntry> = nights.iter().collect();
    let (tonight, before) = nights.split_last().unwrap();
    let checks = checks(tonight, before);
    let code = exit_code(tonight, &checks, &series(&nights, false));
    (code, checks.into_iter().map(|told| told.known_since).collect())
}

#[test]
fn a_failure_is_red_at_first_sight_and_known_from_then_on() {
    let fails = |day| night(day, "a", &[("x", Failed, Some(Failed)), ("y", Passed, None)]);
    let well = |day| night(day, "a", &[("x", Passed, None), ("y", Passed, None)]);
    let since = |day: &str| Some(day.to_owned());
    assert_eq!(told(&[fails(0)]), (1, vec![None]));
    assert_eq!(told(&[well(0), fails(1)]), (1, vec![None]));
    assert_eq!(told(&[well(0), fails(1), fails(2)]), (0, vec![since("2026-01-02")]));
    // It was well in between.
    assert_eq!(told(&[fails(0), well(1), fails(2)]), (1, vec![None]));
    // Whoever could not tell says nothing of it.
    let lost = night(2, "a", &[("x", Lost, None), ("y", Passed, None)]);
    assert_eq!(told(&[well(0), fails(1), lost, fails(3)]), (0, vec![since("2026-01-02")]));
    assert_eq!(told(&[fails(0), well(1)]), (0, vec![]));
}

#[test]
fn a_runner_that_is_ill_is_red_once_though_the_others_are_well() {
    let ill = |day| night(day, "ill", &[("x", Failed, Some(Failed))]);
    let well = |day| night(day, "well", &[("x", Passed, None)]);
    assert_eq!(told(&[well(0), ill(0)]).0, 1);
    assert_eq!(told(&[well(0), ill(0), well(1), ill(1)]), (0, vec![Some("2026-01-01".to_owned())]));
    // And what one runner has told is not told by the next.
    assert_eq!(told(&[ill(0), night(0, "next", &[("x", Failed, Some(Failed))])]).0, 0);
}

#[test]
fn a_flaky_test_is_shown_and_not_red() {
    let nights = [night(0, "a", &[("x", Passed, None)]), night(1, "a", &[("x", Failed, Some(Passed))])];
    assert_eq!(told(&nights), (0, vec![None]));
    let of: Vec<&HistoryEntry> = nights.iter().collect();
    let [told] = &checks(of[1], &of[..1])[..] else { panic!() };
    assert_eq!((told.fate, told.red), (CheckFate::Flaky, false));
    let [flaky] = &flaky(&of)[..] else { panic!() };
    assert_eq!((flaky.times, flaky.last.as_str()), (1, "2026-01-02"));
    // A failure after it is new.
    let fails = night(2, "a", &[("x", Failed, Some(Failed))]);
    assert_eq!(checks(&fails, &of)[0].known_since, None);
}

#[test]
fn what_was_not_carried_out_or_cannot_be_told_is_neither_green_nor_red() {
    let code = |checks: &[(&str, TestResult, Option<TestResult>)]| told(&[night(0, "a", checks)]).0;
    assert_eq!(code(&[("x", Passed, None), ("y", Skipped, None)]), 0);
    assert_eq!(code(&[("x", Passed, None), ("y", Inconclusive, None)]), 2);
    assert_eq!(code(&[("x", Inconclusive, None), ("y", Lost, None)]), 70);
    assert_eq!(code(&[("x", Failed, Some(Lost))]), 70);
    assert_eq!(code(&[("x", Failed, Some(Inconclusive))]), 2);
    assert_eq!(code(&[("x", Failed, Some(Failed)), ("y", Lost, None)]), 1);
    assert_eq!(code(&[("x", Skipped, None)]), 2);
    assert_eq!(code(&[]), 2);
}

/// Nights with a comparison, by day.
fn compared(day: usize, runner: &str, log_ratio: f64) -> HistoryEntry {
    let comparison = ComparedEntry {
        case: "c".to_owned(),
        baseline: "without".to_owned(),
        candidate: "with".to_owned(),
        metric: "makespan".to_owned(),
        log_ratio,
        low: None,
        high: None,
        interval: IntervalKind::Fixed,
        error: Some(0.01),
        pairs: 10,
        forks: 0,
    };
    let mut night = night(day, runner, &[("x", Passed, None)]);
    night.comparisons.push(comparison);
    night
}

#[test]
fn a_change_is_red_in_the_night_in_which_it_is_found_and_in_no_other() {
    let value = |day: usize| 3.0 + 0.01 * ((day * 7) % 5) as f64 - if day >= 30 { 0.2 } else { 0.0 };
    let nights: Vec<HistoryEntry> =
        (0..40).flat_map(|day| ["a", "b"].map(|runner| compared(day, runner, value(day)))).collect();
    let red: Vec<usize> = (1..=40).filter(|days| told(&nights[..2 * days]).0 == 1).collect();
    assert_eq!(red, [33]);
    let of: Vec<&HistoryEntry> = nights.iter().collect();
    let [series] = &series(&of, true)[..] else { panic!() };
    let [change] = &series.changes[..] else { panic!("{series:?}") };
    assert_eq!((change.since.as_str(), change.found.as_str()), ("2026-02-03", "2026-02-05"));
    assert!((0.8..0.84).contains(&change.factor) && !change.red, "{change:?}");
    assert_eq!((series.nights.len(), series.ratios.len()), (40, 40));
}

#[test]
fn nights_of_one_pair_change_nothing() {
    let value = |day: usize| 3.0 + 0.01 * ((day * 7) % 5) as f64 - if day >= 30 { 0.2 } else { 0.0 };
    let night = |day: usize| {
        let mut night = compared(day, "a", value(day));
        // As where another kernel dies in the first round.
        if day >= 30 {
            (night.comparisons[0].error, night.comparisons[0].pairs) = (None, 1);
        }
        night
    };
    let nights: Vec<HistoryEntry> = (0..40).map(night).collect();
    assert_eq!((1..=40).map(|days| told(&nights[..days]).0).max(), Some(0));
}

#[test]
fn a_night_whose_tests_did_not_come_to_their_end_is_never_green() {
    let cut = |day| night(day, "a", &[("tests", Failed, Some(Failed)), ("bench::with", Passed, None)]);
    assert_eq!(told(&[cut(0)]).0, 1);
    assert_eq!(told(&[cut(0), cut(1)]), (2, vec![Some("2026-01-01".to_owned())]));
}

#[test]
fn a_change_that_was_dated_into_a_night_which_told_nobody_is_red_once() {
    let value = |day: usize| 3.0 + 0.01 * ((day * 7) % 5) as f64 - if day >= 30 { 0.2 } else { 0.0 };
    let mut nights: Vec<HistoryEntry> = (0..36).map(|day| compared(day, "a", value(day))).collect();
    nights.iter_mut().for_each(|night| night.told = Some(Vec::new()));
    // Files of nights after the step were not there when the others were judged: none was red for it.
    assert_eq!(told(&nights).0, 1);
    let of: Vec<&HistoryEntry> = nights.iter().collect();
    let found = judge_told(&of);
    assert_eq!(found.len(), 1);
    assert!(found[0].found.as_str() < nights[35].night(), "{found:?}");
    nights[35].told = Some(found);
    let tomorrow = compared(36, "a", value(36));
    assert_eq!(told(&[nights.clone(), vec![tomorrow.clone()]].concat()).0, 0);
    // Of nights that did not keep what they told, each was red for what was found in it.
    nights.iter_mut().for_each(|night| night.told = None);
    assert_eq!(told(&[nights, vec![tomorrow]].concat()).0, 0);
}

fn judge_told(nights: &[&HistoryEntry]) -> Vec<ToldChange> {
    super::told(&series(nights, false))
}
