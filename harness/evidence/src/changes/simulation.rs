//! What the method does with simulated nights: how often it is misled, and what it finds when.
//!
//! Pairs of boots scatter by 2 to 13 percent, by 6 in the middle: so it was in 16 benches under TCG on two busy cores.
//! Nights of ten boots are taken to scatter by two percent, the mean of ten such pairs.

use super::noise::Noise;
use super::*;

/// The scatter of nights.
const SCATTER: f64 = 0.02;
/// How many series a night of the usual four kernels has: three comparisons, two times each.
const SERIES: usize = 6;

/// A way to be noisy, with about the scatter of 1 in most nights.
type Draw = fn(&mut Noise) -> f64;

const NORMAL: Draw = Noise::normal;
const HEAVY: Draw = Noise::heavy;
/// One night in twenty is ten times as noisy.
const SPOILT: Draw = |noise| if noise.happens(0.05) { 10.0 * noise.normal() } else { noise.normal() };

fn alone(values: impl IntoIterator<Item = f64>) -> Vec<Reading> {
    let of = |(night, log_ratio)| Reading { night, runner: 0, log_ratio, error: None };
    values.into_iter().enumerate().map(of).collect()
}

/// In how many of so many nights without a change any of the series is red.
fn false_reds(draw: Draw, nights: usize) -> usize {
    let mut noise = Noise::new(1);
    let mut red: Vec<usize> = (0..SERIES)
        .flat_map(|_| changes(&alone((0..nights).map(|_| SCATTER * draw(&mut noise))), SERIES))
        .map(|change| change.found)
        .collect();
    red.sort_unstable();
    red.dedup();
    red.len()
}

#[test]
fn at_most_one_night_in_a_thousand_is_red_for_nothing() {
    let reds = false_reds(NORMAL, 3000);
    assert!(reds <= 3, "{reds} of 3000");
}

#[test]
fn with_heavy_tails_as_well() {
    let reds = false_reds(HEAVY, 3000);
    assert!(reds <= 3, "{reds} of 3000");
}

#[test]
fn and_with_a_night_in_twenty_that_is_worth_nothing() {
    let reds = false_reds(SPOILT, 3000);
    assert!(reds <= 3, "{reds} of 3000");
}

/// A longer look, for whoever changes the method: cargo test --package evidence --lib changes -- --ignored --nocapture
#[test]
#[ignore = "takes a minute"]
#[allow(clippy::print_stderr)]
fn rates_of_a_long_simulation() {
    for (name, draw) in [("normal", NORMAL), ("heavy", HEAVY), ("spoilt", SPOILT)] {
        eprintln!("{name}: {} of 40000 nights red for nothing", false_reds(draw, 40_000));
        for begin in [15, 20, 30, 45] {
            let found = [0.01, 0.02, 0.03, 0.04].map(|scatter| found_within(3, begin, draw, scatter, 500));
            eprintln!("{name}: a step of 10 % after {begin} nights, scatter 1, 2, 3, 4 %: {found:?} of 500");
        }
    }
}

/// In how many of so many histories a step of ten percent is found within some nights.
fn found_within(nights: usize, begin: usize, draw: Draw, scatter: f64, histories: usize) -> usize {
    let mut noise = Noise::new(2);
    let mut found = 0;
    for _ in 0..histories {
        let step = |night| if night >= begin { 1.1f64.ln() } else { 0.0 };
        let values = (0..begin + nights).map(|night| scatter * draw(&mut noise) + step(night));
        let changes = changes(&alone(values), SERIES);
        found += usize::from(changes.iter().any(|change| change.found >= begin));
    }
    found
}

#[test]
fn a_step_of_ten_percent_is_found_within_three_nights_in_nearly_all_histories() {
    for draw in [NORMAL, HEAVY] {
        let found = found_within(3, 30, draw, SCATTER, 400);
        assert!(found >= 384, "{found} of 400");
    }
    // On a quiet host after two weeks already.
    let found = found_within(3, 14, NORMAL, SCATTER / 2.0, 400);
    assert!(found >= 384, "{found} of 400");
}

#[test]
fn a_change_says_since_when_by_how_much_and_how_sure() {
    let (mut noise, mut held, mut dated) = (Noise::new(3), 0, 0);
    for _ in 0..200 {
        let step = |night| if night >= 30 { 1.2f64.ln() } else { 0.0 };
        let values = (0..33).map(|night| SCATTER * noise.normal() + step(night));
        let changes = changes(&alone(values), SERIES);
        let [Change { found, since, factor: _, interval, chance }] = changes[..] else {
            panic!("{changes:?}")
        };
        // The night before it may have been high by chance.
        assert!((31..=32).contains(&found) && (29..=31).contains(&since), "{changes:?}");
        dated += usize::from(since == 30);
        assert!(chance < FALSE_REDS);
        held += usize::from(interval.low <= 1.2 && 1.2 <= interval.high);
    }
    assert!(held >= 180, "the interval holds it in {held} of 200");
    assert!(dated >= 180, "the night is right in {dated} of 200");
}

#[test]
fn a_night_whose_boots_do_not_agree_counts_for_less() {
    let mut noise = Noise::new(4);
    let mut readings =
        alone((0..33).map(|night| SCATTER * noise.normal() + if night >= 30 { 1.12f64.ln() } else { 0.0 }));
    assert_eq!(changes(&readings, SERIES).len(), 1);
    for reading in &mut readings[30..] {
        reading.error = Some(0.1);
    }
    assert_eq!(changes(&readings, SERIES), []);
}

#[test]
fn of_few_nights_nothing_is_told() {
    for before in 1..LEAST_KNOWN {
        let values = (0..before + 3).map(|night| if night >= before { 3.0 } else { 0.001 * night as f64 });
        assert_eq!(changes(&alone(values), SERIES), [], "{before}");
    }
    assert_eq!(changes(&[], SERIES), []);
}

/// Sixty nights of three runners, and what is to be added for a night and a runner.
struct Scenario {
    name: &'static str,
    scatter: f64,
    runners: usize,
    shift: fn(usize, usize) -> f64,
}

const fn plain(name: &'static str, shift: fn(usize, usize) -> f64) -> Scenario {
    Scenario { name, scatter: SCATTER, runners: 1, shift }
}

fn from_30(night: usize, shift: f64) -> f64 {
    if night >= 30 { shift } else { 0.0 }
}

const SCENARIOS: [Scenario; 12] = [
    plain("no change", |_, _| 0.0),
    plain("a step of 5 % in night 30", |night, _| from_30(night, 1.05f64.ln())),
    plain("a step of 10 % in night 30", |night, _| from_30(night, 1.1f64.ln())),
    plain("a step of 10 % in night 30, and back in night 45", |night, _| {
        if night < 45 { from_30(night, 1.1f64.ln()) } else { 0.0 }
    }),
    plain("a drift of 0.5 % a night from night 20 to night 40", |night, _| {
        1.005f64.ln() * night.clamp(20, 40).abs_diff(20) as f64
    }),
    plain("one bad night: 30 % slower in night 30", |night, _| if night == 30 { 1.3f64.ln() } else { 0.0 }),
    plain("two bad nights in a row", |night, _| if night == 30 || night == 31 { 1.3f64.ln() } else { 0.0 }),
    Scenario {
        runners: 3,
        ..plain(
            "three runners, one always 30 % slower",
            |_, runner| {
                if runner == 1 { 1.3f64.ln() } else { 0.0 }
            },
        )
    },
    Scenario {
        runners: 3,
        ..plain("three runners, one 30 % slower in night 30", |night, runner| {
            if runner == 1 && night == 30 { 1.3f64.ln() } else { 0.0 }
        })
    },
    Scenario {
        runners: 3,
        ..plain("three runners, one 30 % slower from night 30 on", |night, runner| {
            if runner == 1 { from_30(night, 1.3f64.ln()) } else { 0.0 }
        })
    },
    Scenario { scatter: 2.0 * SCATTER, ..plain("noise twice as large, no change", |_, _| 0.0) },
    Scenario {
        scatter: 2.0 * SCATTER,
        ..plain("noise twice as large, a step of 10 % in night 30", |night, _| from_30(night, 1.1f64.ln()))
    },
];

/// What changes, changes two of six series: one kernel, in both times.
fn told(scenario: &Scenario) -> String {
    let Scenario { name, scatter, runners, shift } = scenario;
    let mut noise = Noise::new(5);
    let mut reds: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for series in 0..SERIES {
        let mut readings = Vec::new();
        for (night, runner) in (0..60).flat_map(|night| (0..*runners).map(move |runner| (night, runner))) {
            let shift = if series < 2 { shift(night, runner) } else { 0.0 };
            let log_ratio = scatter * noise.normal() + shift;
            readings.push(Reading { night, runner, log_ratio, error: None });
        }
        for Change { found, since, factor, interval, chance } in changes(&readings, SERIES) {
            let percent = |factor: f64| (factor - 1.0) * 100.0;
            reds.entry(found).or_default().push(format!(
                "series {series}: {:+.1} % ({:+.1} to {:+.1}) since night {since}, by chance one night in {:.0}",
                percent(factor),
                percent(interval.low),
                percent(interval.high),
                1.0 / chance
            ));
        }
    }
    let mut text = format!("{name}:\n");
    if reds.is_empty() {
        text.push_str("  no night is red\n");
    }
    for (night, found) in reds {
        text.push_str(&format!("  night {night} is red\n    {}\n", found.join("\n    ")));
    }
    text
}

#[test]
fn sixty_nights_and_which_of_them_go_red() {
    insta::assert_snapshot!(SCENARIOS.iter().map(told).collect::<String>());
}
