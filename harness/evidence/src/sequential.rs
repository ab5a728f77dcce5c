//! Compares boots of two kernels while they are still being made: an interval that holds however often one looks.
//!
//! Whoever looks after every boot and stops at the first clear answer is wrong far more often than the interval of
//! [`stats::ratio`](crate::stats::ratio) says: that one is for a number of boots fixed beforehand. This one is a
//! confidence sequence: the chance that it ever leaves out the true ratio, at any look, is at most one in twenty.
//!
//! It inverts the sequential t-test of Lai, "On confidence sequences", Annals of Statistics 4(2), 1976: for the
//! logarithms of the ratios of pairs, taken as normal with a mean and a variance that nobody knows, the Bayes factor
//! with the right Haar prior on the scatter and a normal prior on the mean in units of the scatter is a martingale
//! wherever the mean is the true one (Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian
//! means with unknown variance", Sequential Analysis 44(1), 2025), and by Ville's inequality it exceeds 20 with a
//! chance of at most 1/20. For n pairs, ν = n - 1 and k = 1 + n c², it is below 20 where
//! t² < ν (r - 1) / (1 - r / k) with r = (20 √k)^(2/n).

use std::time::Duration;

use crate::stats::{CONFIDENCE, Interval, Ratio, ratio_within};

/// c: how large a difference the interval is tuned to find, in units of the scatter of one pair. Boots of a kernel
/// scatter by some percent, and what matters is a tenth or a multiple; the interval holds with any value.
const TUNED_TO: f64 = 5.0;

/// The ratio of pairs of (baseline, candidate), with an interval that may be looked at after every pair; `None`
/// without a pair or where a time is zero. With few pairs there is no interval yet.
pub fn ratio(pairs: &[(Duration, Duration)]) -> Option<Ratio> {
    ratio_at(pairs, CONFIDENCE)
}

/// The same, with an interval that leaves out the true ratio with no more than the rest of this chance: 0.99.
pub fn ratio_at(pairs: &[(Duration, Duration)], confidence: f64) -> Option<Ratio> {
    ratio_within(pairs, |n| most_standard_errors(n, confidence))
}

/// The standard error of the logarithm of a ratio, from the interval that [`ratio`] gave it; `None` with too few pairs.
pub fn standard_error(interval: Interval, pairs: usize) -> Option<f64> {
    Some((interval.high / interval.low).ln() / 2.0 / most_standard_errors(pairs as f64, CONFIDENCE)?)
}

/// How many standard errors the mean of `n` may be off.
fn most_standard_errors(n: f64, confidence: f64) -> Option<f64> {
    let k = 1.0 + n * TUNED_TO * TUNED_TO;
    let r = (k.sqrt() / (1.0 - confidence)).powf(2.0 / n);
    (n > 1.0 && r < k).then(|| ((n - 1.0) * (r - 1.0) / (1.0 - r / k)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats;

    /// A linear congruential generator (Knuth's MMIX constants): the same noise in every run of a test.
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        /// Box and Muller, 1958.
        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    /// Pairs of a kernel with itself, whose times scatter by five percent.
    fn alike(noise: &mut Noise, pairs: usize) -> Vec<(Duration, Duration)> {
        let mut boot = || Duration::from_secs_f64((0.05 * noise.normal()).exp());
        (0..pairs).map(|_| (boot(), boot())).collect()
    }

    /// In how many of a thousand trials some look at the pairs finds a difference that is not there.
    fn false_alarms(estimate: fn(&[(Duration, Duration)]) -> Option<Ratio>) -> usize {
        let mut noise = Noise(1);
        let differs = |pairs: &[(Duration, Duration)]| {
            let interval = estimate(pairs).and_then(|ratio| ratio.interval);
            interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0)
        };
        let trial = |pairs: Vec<(Duration, Duration)>| (1..=pairs.len()).any(|n| differs(&pairs[..n]));
        (0..1000).filter(|_| trial(alike(&mut noise, 60))).count()
    }

    #[test]
    fn whoever_looks_after_each_of_sixty_pairs_is_wrong_at_most_once_in_twenty() {
        let wrong = false_alarms(ratio);
        assert!(wrong <= 50, "{wrong} of 1000");
        // The test can fail: the interval for a fixed number of boots does not keep its word so.
        let wrong = false_alarms(stats::ratio);
        assert!(wrong > 150, "{wrong} of 1000");
    }

    #[test]
    fn the_bound_is_where_the_bayes_factor_is_twenty() {
        for n in [3.0f64, 5.0, 20.0, 60.0] {
            let (k, nu) = (1.0 + n * TUNED_TO * TUNED_TO, n - 1.0);
            let t2 = most_standard_errors(n, CONFIDENCE).unwrap().powi(2);
            let factor = k.powf(-0.5) * ((1.0 + t2 / nu) / (1.0 + t2 / (nu * k))).powf(n / 2.0);
            assert!((factor - 20.0).abs() < 1e-6, "{n}: {factor}");
        }
    }

    #[test]
    fn a_multiple_is_clear_after_three_pairs_and_a_tenth_after_some_more() {
        let mut noise = Noise(2);
        let pairs = alike(&mut noise, 60);
        let slower = |times: f64| -> Vec<_> { pairs.iter().map(|(a, b)| (a.mul_f64(times), *b)).collect() };
        let clear = |pairs: &[(Duration, Duration)]| {
            (1..=pairs.len())
                .find(|n| ratio(&pairs[..*n]).unwrap().interval.is_some_and(|interval| interval.low > 1.0))
        };
        assert_eq!(clear(&slower(10.0)), Some(3));
        // The scatter of the pairs, and nothing of how often somebody looks.
        let error = standard_error(ratio(&pairs).unwrap().interval.unwrap(), 60).unwrap();
        assert!((0.8..1.2).contains(&(error / (0.05 * (2.0f64 / 60.0).sqrt()))), "{error}");
        let tenth = clear(&slower(1.1)).unwrap();
        assert!((4..30).contains(&tenth), "{tenth}");
    }

    #[test]
    fn two_pairs_have_no_interval_yet() {
        let pair = (Duration::from_millis(900), Duration::from_millis(100));
        let two = ratio(&[pair, pair]).unwrap();
        assert!((two.ratio - 9.0).abs() < 1e-9);
        assert_eq!(two.interval, None);
        assert_eq!(ratio(&[]), None);
    }
}
