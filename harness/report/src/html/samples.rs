//! Times of boots as points, and the ratios between kernels with their intervals.

use std::time::Duration;

use evidence::stats::median;
use maud::{Markup, html};

use crate::document::{Comparison, Document, FactsEntry, ResultEntry};

/// Where the drawing begins, behind the names, and its width in all.
const LEFT: f64 = 260.0;
const WIDTH: f64 = 1000.0;
/// How high a row is.
const ROW: f64 = 26.0;

/// A figure for each time and one for the ratios.
pub(super) fn render(document: &Document) -> Markup {
    html! {
        h2 #samples { "Samples" }
        p.hint { "A filled point is a boot, a hollow one a fork of it, the stroke the median." }
        (times("makespan", document, |facts| facts.makespan_us))
        (times("insmod", document, |facts| facts.insmod_us))
        (ratios(&document.comparisons))
    }
}

/// An axis: where a value is, from the left.
struct Axis {
    low: f64,
    high: f64,
    by_ratio: bool,
}

impl Axis {
    /// For these values. Those that are far apart are shown by their ratio.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).max(1e-9);
        let high = values.fold(0.0, f64::max).max(low);
        let by_ratio = high / low > 4.0;
        if by_ratio {
            Self { low: low / 1.3, high: high * 1.3, by_ratio }
        } else {
            let room = (high - low).max(high * 0.02);
            Self { low: (low - room).max(0.0), high: high + room, by_ratio }
        }
    }

    fn at(&self, value: f64) -> String {
        let share = if self.by_ratio {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        format!("{:.1}", LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - 40.0))
    }

    /// Round values in it: powers of ten, with their double and their half, or steps of one, two or five.
    fn ticks(&self) -> Vec<f64> {
        let inside = |value: &f64| (self.low..=self.high).contains(value);
        if self.by_ratio {
            let powers = (-6..=9).flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(power)));
            let all: Vec<f64> = powers.filter(inside).collect();
            let every = all.len().div_ceil(10).max(1);
            return all.into_iter().step_by(every).collect();
        }
        let power = 10_f64.powf(((self.high - self.low) / 4.0).log10().floor());
        let step = [5.0, 2.0]
            .into_iter()
            .map(|times| times * power)
            .find(|step| (self.high - self.low) / step >= 4.0);
        let step = step.unwrap_or(power);
        let first = (self.low / step).ceil();
        (0..20).map(|number| (first + f64::from(number)) * step).filter(inside).collect()
    }

    fn draw(&self, rows: usize, unit: &str) -> Markup {
        let bottom = rows as f64 * ROW;
        html! {
            @for tick in self.ticks() {
                line.tick x1=(self.at(tick)) x2=(self.at(tick)) y1="0" y2=(bottom) {}
                text.tick x=(self.at(tick)) y=(bottom + 14.0) text-anchor="middle" { (short(tick)) (unit) }
            }
        }
    }
}

/// As few digits as tell it from its neighbours on an axis.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn times(name: &str, document: &Document, of: impl Fn(&FactsEntry) -> Option<u64>) -> Markup {
    let seconds = |facts: &FactsEntry| of(facts).map(|us| us as f64 / 1e6);
    let rows: Vec<(&ResultEntry, Vec<(f64, bool)>)> = document
        .results
        .iter()
        .map(|result| {
            let of_boot =
                |boot: &crate::document::BootEntry| Some((seconds(&boot.facts)?, boot.fork_of.is_some()));
            (result, result.boots.iter().filter_map(of_boot).collect())
        })
        .collect();
    let all = rows.iter().flat_map(|(_, points)| points.iter().map(|(value, _)| *value));
    if all.clone().next().is_none() {
        return html! {};
    }
    let axis = Axis::of(all);
    let height = rows.len() as f64 * ROW + 20.0;
    html! {
        h3 { (name) }
        svg.samples viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label={ (name) " of each boot" } {
            (axis.draw(rows.len(), " s"))
            @for (number, (result, points)) in rows.iter().enumerate() {
                @let y = (number as f64 + 0.5) * ROW;
                text.name x=(LEFT - 10.0) y=(y + 4.0) text-anchor="end" { (result.kernel) }
                @for (value, fork) in points {
                    circle class=(if *fork { "fork" } else { "boot" }) cx=(axis.at(*value)) cy=(y) r="4" {
                        title { (short(*value)) " s" }
                    }
                }
                @let middle = median(points.iter().map(|(value, _)| Duration::from_secs_f64(*value)));
                @if let Some(middle) = middle {
                    @let x = axis.at(middle.as_secs_f64());
                    line.median x1=(x) x2=(x) y1=(y - 10.0) y2=(y + 10.0) {}
                }
            }
        }
    }
}

fn ratios(comparisons: &[Comparison]) -> Markup {
    let known: Vec<(&Comparison, f64)> =
        comparisons.iter().filter_map(|comparison| Some((comparison, comparison.ratio?))).collect();
    if known.is_empty() {
        return html! {};
    }
    let of = |(comparison, ratio): &(&Comparison, f64)| [Some(*ratio), comparison.low, comparison.high];
    let axis = Axis::of(known.iter().flat_map(of).flatten().chain([1.0]));
    let height = known.len() as f64 * 2.0 * ROW + 20.0;
    let one = axis.at(1.0);
    html! {
        h3 { "ratios, with their 95 % intervals" }
        svg.samples viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label="ratios of times" {
            (axis.draw(known.len() * 2, ""))
            line.one x1=(one) x2=(one) y1="0" y2=(known.len() as f64 * 2.0 * ROW) {}
            @for (number, (comparison, ratio)) in known.iter().enumerate() {
                @let y = (number as f64 * 2.0 + 1.0) * ROW;
                text.name x=(LEFT - 10.0) y=(y - 4.0) text-anchor="end" { (comparison.metric) }
                text.name x=(LEFT - 10.0) y=(y + 12.0) text-anchor="end" {
                    (comparison.baseline) " / " (comparison.candidate)
                }
                @if let Some((low, high)) = comparison.low.zip(comparison.high) {
                    line.interval x1=(axis.at(low)) x2=(axis.at(high)) y1=(y) y2=(y) {}
                }
                circle.boot cx=(axis.at(*ratio)) cy=(y) r="5" { title { (crate::text::ratio(comparison)) } }
                text.value x=(axis.at(*ratio)) y=(y - 9.0) text-anchor="middle" { (format!("{ratio:.2}")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_far_apart_are_shown_by_their_ratio_and_all_are_within() {
        let far = Axis::of([0.145, 4.2].into_iter());
        assert!(far.by_ratio);
        let near = Axis::of([0.98, 1.02].into_iter());
        assert!(!near.by_ratio);
        for (axis, values) in [(&far, [0.145, 4.2]), (&near, [0.98, 1.02])] {
            for value in values {
                let at: f64 = axis.at(value).parse().unwrap();
                assert!(at > LEFT && at < WIDTH - 40.0, "{value} at {at}");
            }
            assert!((2..=20).contains(&axis.ticks().len()), "{:?}", axis.ticks());
        }
        // A single value has room around it.
        assert!(!Axis::of([1.0].into_iter()).ticks().is_empty());
    }
}
