//! Nights of a comparison to the changes that held: since when, by how much, how sure.
//!
//! A night gives the logarithm of a ratio of two kernels' times, whose boots were interleaved: a host that is slow
//! tonight slows both. Looked at anew each night, a change is told when it has held for three.
//!
//! The method is the change-point model of Hawkins, Qiu and Kang, "The changepoint model for statistical process
//! control", Journal of Quality Technology 35(4), 2003: after each night the newest nights are held against those
//! before them by a two-sample t-test with level and scatter unknown, for several places of the change, and the best
//! counts. (Hunter, now Apache Otava, judges its splits by the same test: Fleming et al., "Hunter: Using Change Point
//! Detection to Hunt for Performance Regressions", ICPE 2023. It looks back at a whole history, and says nothing of how
//! often somebody who looks each night is misled.) What is different here:
//!
//! - The newest 3, 5, 8 or 13 nights are tried, at a level of [`FALSE_REDS`] divided by four and by the number of
//!   series that are watched (Bonferroni): the chance of a false red in a night is below it, however series hang together.
//! - Level and scatter are robust ([`robust`]): a night that is far off is neither a change nor a wider band for years.
//! - A change has to hold: each of the newest three nights is on its side, by a third of it at least, and further off
//!   than 19 of 20 nights were before. That needs no normal noise: three such nights in a row are rare with any.
//! - Each runner is held against its own level, and of several runners in a night the middle one counts: one that is
//!   always slower, or is ill for a night or for good, is no change.
//! - A night whose own interval says that it is worse than usual counts for less.
//!
//! After a change the nights from it on are the new level. The scatter is known from all nights, so that a second
//! change is found after [`LEAST_BEFORE`] nights of the new one.

#[cfg(test)]
mod noise;
mod robust;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::stats::{CONFIDENCE, Interval};
use robust::{clipped_mean, majority, median, scatter};

/// The chance of a false red in a night, over all series together.
pub const FALSE_REDS: f64 = 1.0 / 1000.0;

/// A change of less than this in the logarithm of a ratio, three percent, is not told: nobody would act on it.
pub const SMALLEST: f64 = 0.03;

/// How many values have to be known before anything can be found: of fewer the scatter is anybody's guess.
pub const LEAST_KNOWN: usize = 8;

/// How many nights a level needs before something can be a change from it.
pub const LEAST_BEFORE: usize = 5;

/// How many of the newest nights are held against those before.
const WINDOWS: [usize; 4] = [3, 5, 8, 13];
/// A change has to show in each of so many of the newest nights.
const HOLDS: usize = 3;
/// By so much of its size,
const SHARE: f64 = 1.0 / 3.0;
/// and further than 19 of 20 nights before were off, by so much: what holds whatever the noise looks like.
const FURTHER: f64 = 1.15;
/// A change may be found to have begun so many nights ago.
const LONGEST: usize = 20;
/// So many nights make the level before a change; what is older says little of today.
const BEFORE: usize = 40;
/// So many values make the scatter.
const KNOWN: usize = 60;
/// The scatter that is taken for granted.
const LEAST_SCATTER: f64 = 0.002;
/// A night counts for less where its own standard error is so many times what nights usually differ by.
const WORSE: f64 = 2.0;
/// The share of the values that the robust scatter makes use of, as degrees of freedom.
const EFFICIENCY: f64 = 0.8;

/// What a runner measured in a night.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The night, a number that grows with time.
    pub night: usize,
    /// The runner, a number of its own.
    pub runner: usize,
    /// The natural logarithm of the ratio.
    pub log_ratio: f64,
    /// Its standard error by the boots of the night; `None` where they were too few.
    pub error: Option<f64>,
}

/// A change that held.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Change {
    /// The night after which it was found.
    pub found: usize,
    /// The first night that shows it.
    pub since: usize,
    /// The ratio after it over the ratio before it: 1.1 is ten percent more.
    pub factor: f64,
    /// The interval of that at [`CONFIDENCE`].
    pub interval: Interval,
    /// The chance that noise alone makes something of the kind in a night, in any of the series.
    pub chance: f64,
}

/// The changes in a series, as they were found night after night; `series` is how many are watched. Readings may come
/// in any order; several of a runner in a night count as their mean.
pub fn changes(readings: &[Reading], series: usize) -> Vec<Change> {
    let nights = by_night(readings);
    let tests = (series.max(1) * WINDOWS.len()) as f64;
    let mut found = Vec::new();
    let mut regime = Regime { begin: 0, known: Vec::new() };
    for now in 0..nights.len() {
        let regime_nights = &nights[regime.begin..=now];
        let best = WINDOWS
            .iter()
            .filter_map(|window| regime.split(regime_nights, *window))
            .filter(|split| split.holds && split.shift.abs() >= SMALLEST)
            .map(|split| (split.p_value() * tests, split))
            .min_by(|(a, _), (b, _)| a.total_cmp(b));
        let Some((chance, split)) = best.filter(|(chance, _)| *chance < FALSE_REDS) else { continue };
        let window = split.nights_since();
        let since = now + 1 - window;
        let split = regime.split(regime_nights, window).unwrap_or(split);
        let (factor, interval) = split.factor();
        found.push(Change { found: nights[now].night, since: nights[since].night, factor, interval, chance });
        regime = Regime { begin: since, known: split.known };
    }
    found
}

/// The level of the newest nights of a series: the logarithm of the ratio, since the last change; `None` without any.
pub fn level(readings: &[Reading], changes: &[Change]) -> Option<f64> {
    let since = changes.last().map_or(0, |change| change.since);
    let mut newest: Vec<&Reading> = readings.iter().filter(|reading| reading.night >= since).collect();
    newest.sort_by_key(|reading| reading.night);
    let newest = &newest[newest.len().saturating_sub(BEFORE)..];
    median(&newest.iter().map(|reading| reading.log_ratio).collect::<Vec<_>>())
}

/// A night: what each runner measured.
struct Night {
    night: usize,
    values: Vec<Value>,
}

struct Value {
    runner: usize,
    log_ratio: f64,
    error: Option<f64>,
}

fn by_night(readings: &[Reading]) -> Vec<Night> {
    let mut runners: BTreeMap<(usize, usize), Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        runners.entry((reading.night, reading.runner)).or_default().push(reading);
    }
    let mut nights: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for ((night, runner), of) in runners {
        nights.entry(night).or_default().push(Value {
            runner,
            log_ratio: of.iter().map(|reading| reading.log_ratio).sum::<f64>() / of.len() as f64,
            error: of.iter().filter_map(|reading| reading.error).reduce(f64::max),
        });
    }
    nights.into_iter().map(|(night, values)| Night { night, values }).collect()
}

/// The nights since the last change.
struct Regime {
    /// The place of the first.
    begin: usize,
    /// How far values of the nights before were from their level.
    known: Vec<f64>,
}

/// A night against the level before.
struct Off {
    /// By how much the logarithm differs.
    shift: f64,
    /// The standard error of that, by the night itself.
    error: f64,
    /// How many nights made the level of the runner in the middle.
    nights_before: f64,
}

/// The newest nights against those before them.
struct Split {
    /// By how much the logarithm differs.
    shift: f64,
    /// The standard error of that.
    error: f64,
    /// Degrees of freedom of the scatter.
    freedom: f64,
    /// Whether each of the newest nights shows it.
    holds: bool,
    /// How far the values before were from their level.
    known: Vec<f64>,
    /// How far each of the last nights is from the level before, the newest last: zero where nobody knows.
    path: Vec<f64>,
}

impl Regime {
    /// Holds so many of the newest nights against the others; `None` where these are too few.
    fn split(&self, nights: &[Night], window: usize) -> Option<Split> {
        let (before, newest) = nights.split_at(nights.len().checked_sub(window)?);
        let before = &before[before.len().saturating_sub(BEFORE)..];
        let mut levels: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for value in before.iter().flat_map(|night| &night.values) {
            levels.entry(value.runner).or_default().push(value.log_ratio);
        }
        levels.retain(|_, values| values.len() >= LEAST_BEFORE);
        let off = |level: &dyn Fn(&[f64]) -> Option<f64>| -> Option<Vec<f64>> {
            let of = |values: &Vec<f64>| {
                let level = level(values)?;
                Some(values.iter().map(move |value| value - level).collect::<Vec<f64>>())
            };
            Some(levels.values().map(of).collect::<Option<Vec<_>>>()?.concat())
        };
        let rough = scatter(&off(&median)?)?.max(LEAST_SCATTER);
        let level_of = |values: &[f64]| {
            let values: Vec<(f64, f64)> = values.iter().map(|value| (*value, rough)).collect();
            clipped_mean(&values).map(|(level, _)| level)
        };
        let now = off(&level_of)?;
        // Each level takes one of the values it was made of.
        let lost = (now.len() as f64 / (now.len() as f64 - levels.len() as f64)).sqrt();
        let mut known = self.known.clone();
        known.extend(now.iter().map(|off| off * lost));
        let known = known.split_off(known.len().saturating_sub(KNOWN));
        if known.len() < LEAST_KNOWN {
            return None;
        }
        let errors: Vec<f64> =
            before.iter().flat_map(|night| &night.values).filter_map(|value| value.error).collect();
        // Nights differ by no less than what the boots of one of them do not agree on.
        let noise = scatter(&known)?.max(median(&errors).unwrap_or(0.0)).max(LEAST_SCATTER);

        let off_level = |night: &Night| {
            let (mut of_night, mut counts) = (Vec::new(), Vec::new());
            for value in &night.values {
                // Of a runner that was not there before, nothing is known.
                let Some(values) = levels.get(&value.runner) else { continue };
                counts.push(values.len() as f64);
                of_night.push((value.log_ratio - level_of(values)?, value.error));
            }
            let error = median(&of_night.iter().filter_map(|(_, error)| *error).collect::<Vec<_>>());
            let error = error.filter(|error| *error > WORSE * noise).unwrap_or(noise);
            let shift = majority(&of_night.iter().map(|(shift, _)| *shift).collect::<Vec<_>>())?;
            Some(Off { shift, error, nights_before: median(&counts)? })
        };
        let newest: Vec<Off> = newest.iter().filter_map(off_level).collect();
        let last = &nights[nights.len().saturating_sub(LONGEST)..];
        let path = last.iter().map(|night| off_level(night).map_or(0.0, |off| off.shift)).collect();
        if newest.len() < HOLDS {
            return None;
        }
        let shifts: Vec<(f64, f64)> = newest.iter().map(|off| (off.shift, off.error)).collect();
        let (shift, of_newest) = clipped_mean(&shifts)?;
        let nights_before = median(&newest.iter().map(|off| off.nights_before).collect::<Vec<_>>())?;
        let of_level = noise / nights_before.sqrt();
        let least = (SHARE * shift.abs()).max(FURTHER * usual_most(&known));
        Some(Split {
            shift,
            error: of_newest.hypot(of_level),
            freedom: EFFICIENCY * (known.len() as f64 - levels.len() as f64),
            holds: newest[newest.len() - HOLDS..].iter().all(|off| off.shift * shift.signum() >= least),
            known,
            path,
        })
    }
}

/// How far off 19 of 20 were.
fn usual_most(known: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = known.iter().map(|off| off.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.get(sizes.len().saturating_sub(1) * 19 / 20).copied().unwrap_or(0.0)
}

impl Split {
    fn t(&self) -> f64 {
        self.shift / self.error
    }

    /// The chance of a difference like this one or more, either way, where there is none.
    fn p_value(&self) -> f64 {
        let t = self.t().abs();
        // Short of this it is nowhere near, and the tail takes its time.
        if t < 3.0 {
            return 1.0;
        }
        StudentsT::new(0.0, 1.0, self.freedom).map_or(1.0, |student| 2.0 * student.sf(t))
    }

    /// How many of the newest nights show it: where the path leaves the level before for the one after. Distances and
    /// not their squares, so that a night that is far off says no more than another.
    fn nights_since(&self) -> usize {
        let off = |since: usize| {
            let (before, after) = self.path.split_at(self.path.len() - since);
            before.iter().map(|off| off.abs()).sum::<f64>()
                + after.iter().map(|off| (off - self.shift).abs()).sum::<f64>()
        };
        (HOLDS..=self.path.len()).min_by(|a, b| off(*a).total_cmp(&off(*b))).unwrap_or(HOLDS)
    }

    /// The ratio after over the ratio before, with its interval.
    fn factor(&self) -> (f64, Interval) {
        let student = StudentsT::new(0.0, 1.0, self.freedom).ok();
        let errors = student.map_or(2.0, |student| student.inverse_cdf(0.5 + CONFIDENCE / 2.0));
        let end = |errors: f64| (self.shift + errors * self.error).exp();
        (self.shift.exp(), Interval { low: end(-errors), high: end(errors) })
    }
}
