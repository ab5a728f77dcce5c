//! Timelines to SVG: kernels one above the other on one time axis, and how many probes are in flight below each.
//!
//! A bar is drawn in microseconds and lanes, and the browser scales it: zooming is another `viewBox`. All bars of a
//! colour are one path, so that 20,000 probes are a handful of elements.

use std::collections::BTreeMap;
use std::fmt::Write;

use maud::{Markup, html};

use crate::document::TestResult;
use crate::findings::Found;
use crate::lanes::{Bar, Timeline};

/// Colours for nodes; page.css has as many.
const COLOURS: u32 = 8;
/// How high a lane is at most, and all lanes of a panel together, in pixels.
const LANE: usize = 12;
const PANEL: usize = 360;

/// A figure for each case.
pub(super) fn render(groups: &[&[Timeline]], found: &Found) -> Markup {
    let checks = found.checks();
    let failed = |case: &str| {
        checks.iter().any(|check| {
            check.group == case && !matches!(check.result, TestResult::Passed | TestResult::Skipped)
        })
    };
    let mut first = 0;
    html! {
        @for group in groups {
            @let (case, from) = (&group[0].case, first);
            @let () = first += group.len();
            // Many cases are a list to choose from.
            details.case open[groups.len() == 1 || failed(case)] {
                summary { (case) }
                (figure(group, from, ideal(found, case)))
            }
        }
    }
}

fn ideal(found: &Found, case: &str) -> Option<u64> {
    let Found::Bench(document) = found else { return None };
    Some(document.cases.iter().find(|entry| entry.name == case)?.limit.as_ref()?.ideal_us)
}

fn figure(group: &[Timeline], from: usize, ideal: Option<u64>) -> Markup {
    let whole = group.iter().map(Timeline::makespan_us).max().unwrap_or(0).max(1);
    let shortest = group.iter().map(Timeline::makespan_us).min().unwrap_or(0).max(1);
    html! {
        figure.group data-whole=(whole) data-shortest=(shortest) {
            @for (at, timeline) in group.iter().enumerate() { (panel(timeline, from + at, whole, ideal)) }
            div.axis { (axis(whole)) }
        }
    }
}

fn panel(timeline: &Timeline, number: usize, whole: u64, ideal: Option<u64>) -> Markup {
    let Timeline { case: _, kernel, folder, phase, witness, lanes, bars } = timeline;
    let lane_count = lanes.len().max(1);
    let height = (lane_count * LANE).clamp(2 * LANE, PANEL);
    let in_flight = timeline.in_flight();
    let most = in_flight.iter().map(|(_, running)| *running).max().unwrap_or(0).max(1);
    let workers = match lanes.len() {
        _ if bars.iter().any(|bar| bar.thread.is_none()) => "lanes, workers unknown",
        1 => "worker",
        _ => "workers",
    };
    html! {
        div.panel data-panel=(number) {
            div.title {
                b { (kernel) } @if let Some(phase) = phase { ", " (phase) }
                ": " (bars.len()) " probes, " (lanes.len()) " " (workers) ", at most " (most) " in flight, makespan "
                (seconds(timeline.makespan_us()))
                " " span.place { (folder) "/" (witness) }
            }
            svg.lanes viewBox={ "0 0 " (whole) " " (lane_count) } preserveAspectRatio="none"
                style={ "height:" (height) "px" } role="img" aria-label={ "probes of " (kernel) " in lanes over time" } {
                @for (class, path) in paths(bars, lane_count) { path class=(class) d=(path) {} }
                @if let Some(ideal) = ideal { line.ideal x1=(ideal) x2=(ideal) y1="0" y2=(lane_count) {} }
            }
            svg.flight viewBox={ "0 0 " (whole) " " (most) } preserveAspectRatio="none"
                role="img" aria-label={ "probes of " (kernel) " in flight over time" } {
                path d=(area(&in_flight, most)) {}
            }
            div.most { (most) " in flight" }
        }
    }
}

/// A path for each class of bars.
fn paths(bars: &[Bar], lanes: usize) -> BTreeMap<String, String> {
    // Lanes that are many leave no room for gaps.
    let (top, thick) = if lanes > PANEL / 4 { (0.0, 1.0) } else { (0.1, 0.8) };
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    for bar in bars {
        let path = paths.entry(class(bar)).or_default();
        let (y, took) = (bar.lane as f64 + top, bar.took_us);
        // Writing to a String does not fail.
        let _ = write!(path, "M{} {y}h{took}v{thick}h-{took}z", bar.start_us);
    }
    paths
}

fn class(bar: &Bar) -> String {
    let away = if bar.at_home == Some(false) { " away" } else { "" };
    let bad = if bar.returned == 0 { "" } else { " bad" };
    format!("{}{away}{bad}", colour(bar.node.map(|node| node.0)))
}

/// The class that has the colour of a node.
pub(super) fn colour(node: Option<u32>) -> String {
    node.map_or_else(|| "none".to_owned(), |node| format!("n{}", node % COLOURS))
}

/// What is under the steps.
fn area(steps: &[(u64, usize)], most: usize) -> String {
    let mut path = format!("M0 {most}");
    for (time, running) in steps {
        let _ = write!(path, "H{time}V{}", most - running);
    }
    path + "z"
}

/// Round times, at their places in percent. The script does the same for a part of the axis.
fn axis(whole: u64) -> Markup {
    let step = round_step(whole);
    html! {
        @for at in (0..=whole / step).map(|number| number * step) {
            span style={ "left:" (format!("{:.3}", at as f64 * 100.0 / whole as f64)) "%" } { (seconds(at)) }
        }
    }
}

/// One, two or five times a power of ten, of which five to ten are in so many microseconds.
fn round_step(whole: u64) -> u64 {
    let power = 10_u64.pow((whole / 5).max(1).ilog10());
    [5, 2].into_iter().map(|times| times * power).find(|step| whole / step >= 5).unwrap_or(power)
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_five_to_twelve_round_times() {
        for whole in [5, 9, 10, 37, 100, 145_000, 4_195_000, 999_999_999] {
            let step = round_step(whole);
            assert!((5..=12).contains(&(whole / step)), "{whole} in steps of {step}");
            let leading = step / 10_u64.pow(step.ilog10());
            assert!([1, 2, 5].contains(&leading), "{step}");
        }
        assert_eq!(round_step(1), 1);
    }

    #[test]
    fn what_is_under_the_steps_ends_on_the_ground() {
        assert_eq!(area(&[(0, 1), (10, 2), (20, 0)], 2), "M0 2H0V1H10V0H20V2z");
    }
}
