//! Compares boots of two kernels: the ratio of their times, with an interval.
//!
//! Boots are interleaved, so boot i of one kernel and boot i of the other ran next to each other on the same
//! machine in the same mood: they are compared as pairs. The ratio is the geometric mean of the ratios of the
//! pairs; its interval is Student's t interval of the mean of their logarithms (for paired differences see
//! any text, e.g. Box, Hunter and Hunter, "Statistics for Experimenters", ch. 3; on ratios of run times
//! Fleming and Wallace, CACM 29(3), 1986).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// How often the interval holds the ratio, in the long run.
pub const CONFIDENCE: f64 = 0.95;

/// Baseline time over candidate time.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean over the pairs: 2.0 means that the candidate takes half the time.
    pub ratio: f64,
    /// The interval at [`CONFIDENCE`]; `None` with too few pairs: one says nothing about its own scatter.
    pub interval: Option<Interval>,
}

impl Ratio {
    /// Candidate over baseline instead.
    pub fn inverse(self) -> Self {
        let turn = |interval: Interval| Interval { low: 1.0 / interval.high, high: 1.0 / interval.low };
        Self { ratio: 1.0 / self.ratio, interval: self.interval.map(turn) }
    }
}

/// An interval, ends included.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The ratio of pairs of (baseline, candidate), whose number was fixed beforehand; `None` without a pair or where a
/// time is zero.
pub fn ratio(pairs: &[(Duration, Duration)]) -> Option<Ratio> {
    ratio_within(pairs, |n| {
        let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
        Some(student.inverse_cdf(0.5 + CONFIDENCE / 2.0))
    })
}

/// The standard error of the logarithm of a ratio, from its interval for this number of pairs; `None` of fewer than
/// two.
pub fn standard_error(interval: Interval, pairs: usize) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, pairs.checked_sub(1)? as f64).ok()?;
    Some((interval.high / interval.low).ln() / 2.0 / student.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

/// The ratio with an interval as wide as this says: how many standard errors the mean of so many may be off.
pub(crate) fn ratio_within(
    pairs: &[(Duration, Duration)],
    most_standard_errors: impl Fn(f64) -> Option<f64>,
) -> Option<Ratio> {
    if pairs.is_empty() || pairs.iter().any(|(a, b)| a.is_zero() || b.is_zero()) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a.as_secs_f64() / b.as_secs_f64()).ln()).collect();
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let interval = most_standard_errors(n).map(|errors| {
        let half = errors * (variance / n).sqrt();
        Interval { low: (mean - half).exp(), high: (mean + half).exp() }
    });
    Some(Ratio { ratio: mean.exp(), interval })
}

/// The geometric mean: what stands for a boot of which there are several samples. `None` of nothing or with a zero.
pub fn geometric_mean(durations: &[Duration]) -> Option<Duration> {
    if durations.is_empty() || durations.iter().any(Duration::is_zero) {
        return None;
    }
    let logs: f64 = durations.iter().map(|duration| duration.as_secs_f64().ln()).sum();
    Some(Duration::from_secs_f64((logs / durations.len() as f64).exp()))
}

/// The middle value; of an even number the mean of the two in the middle. `None` of nothing.
pub fn median(durations: impl IntoIterator<Item = Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = durations.into_iter().collect();
    sorted.sort_unstable();
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((*low + *high) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(millis: &[(u64, u64)]) -> Vec<(Duration, Duration)> {
        millis.iter().map(|&(a, b)| (Duration::from_millis(a), Duration::from_millis(b))).collect()
    }

    #[test]
    fn the_interval_is_students_t_on_the_logarithms() {
        // Logarithms ln 2, ln 4, ln 8: mean ln 4, standard deviation ln 2, t(0.975, 2) = 4.302653.
        let ratio = ratio(&pairs(&[(200, 100), (400, 100), (800, 100)])).unwrap();
        let interval = ratio.interval.unwrap();
        let half = 4.302_653 * 2f64.ln() / 3f64.sqrt();
        assert!((ratio.ratio - 4.0).abs() < 1e-9);
        assert!((interval.low - 4.0 * (-half).exp()).abs() < 1e-4, "{interval:?}");
        assert!((interval.high - 4.0 * half.exp()).abs() < 1e-3, "{interval:?}");
        let error = standard_error(interval, 3).unwrap();
        assert!((error - 2f64.ln() / 3f64.sqrt()).abs() < 1e-6, "{error}");
        assert_eq!(standard_error(interval, 1), None);
    }

    #[test]
    fn a_slow_pair_does_not_widen_the_interval() {
        // The second pair ran while the machine was three times as slow.
        let interval = ratio(&pairs(&[(900, 100), (2700, 300), (900, 100)])).unwrap().interval.unwrap();
        assert!((interval.low - 9.0).abs() < 1e-9 && (interval.high - 9.0).abs() < 1e-9, "{interval:?}");
    }

    #[test]
    fn the_other_way_round_the_interval_is_turned_as_well() {
        let there = ratio(&pairs(&[(200, 100), (400, 100)])).unwrap();
        let back = ratio(&pairs(&[(100, 200), (100, 400)])).unwrap();
        let turned = there.inverse();
        assert!((turned.ratio - back.ratio).abs() < 1e-9);
        let (turned, back) = (turned.interval.unwrap(), back.interval.unwrap());
        assert!((turned.low - back.low).abs() < 1e-9 && (turned.high - back.high).abs() < 1e-9);
    }

    #[test]
    fn one_pair_has_a_ratio_and_no_interval() {
        let ratio = ratio(&pairs(&[(900, 100)])).unwrap();
        assert!((ratio.ratio - 9.0).abs() < 1e-9);
        assert_eq!(ratio.interval, None);
    }

    #[test]
    fn no_pair_and_a_zero_have_no_ratio() {
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&pairs(&[(900, 0)])), None);
    }

    #[test]
    fn the_interval_holds_the_true_ratio_about_as_often_as_it_says() {
        // A linear congruential generator (Knuth's MMIX constants): the same noise in every run of the test.
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) % 200
        };
        let trials = 2000;
        let held = (0..trials)
            .filter(|_| {
                let boots: Vec<(u64, u64)> = (0..5).map(|_| (4900 + noise(), 4900 + noise())).collect();
                let interval = ratio(&pairs(&boots)).unwrap().interval.unwrap();
                interval.low <= 1.0 && 1.0 <= interval.high
            })
            .count();
        let share = held as f64 / f64::from(trials);
        assert!((0.93..=0.97).contains(&share), "{share}");
    }

    #[test]
    fn the_median_is_the_middle() {
        let ms = Duration::from_millis;
        assert_eq!(median([ms(3), ms(1), ms(2)]), Some(ms(2)));
        assert_eq!(median([ms(4), ms(1)]), Some(ms(4) / 2 + ms(1) / 2));
        assert_eq!(median([]), None);
    }
}
