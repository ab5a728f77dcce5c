//! How sure one can be, from some boots, that a kernel has a fault.
//!
//! A fault may show in each boot or in some. How often a kernel with it shows it, and one without it seems to, is known
//! from kernels of which it is known which they are: a beta-binomial model with Jeffreys' prior Beta(1/2, 1/2) for either
//! rate (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4 and 2.8). Before its first boot a kernel half way
//! between a good and a bad one is either with even chances.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

/// Boots of a kernel, or of kernels that are alike.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tally {
    /// Boots that showed the fault.
    pub shown: u32,
    /// Boots that did not.
    pub clean: u32,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { shown: self.shown.saturating_add(other.shown), clean: self.clean.saturating_add(other.clean) }
    }

    /// With one more boot.
    #[must_use]
    pub fn with(self, shown: bool) -> Self {
        self.and(Self { shown: u32::from(shown), clean: u32::from(!shown) })
    }

    /// How many boots.
    pub fn boots(self) -> u32 {
        self.shown.saturating_add(self.clean)
    }
}

/// The chance that a kernel has the fault, by its own boots; `bad` and `good` are those of kernels that have it, and that
/// do not.
pub fn chance_of_fault(seen: Tally, bad: Tally, good: Tally) -> f64 {
    let (with, without) = (ln_predicted(seen, bad), ln_predicted(seen, good));
    1.0 / (1.0 + (without - with).exp())
}

/// The logarithm of the chance of just these boots, for a kernel like those that are known.
fn ln_predicted(seen: Tally, known: Tally) -> f64 {
    let (a, b) = (f64::from(known.shown) + 0.5, f64::from(known.clean) + 0.5);
    ln_beta(a + f64::from(seen.shown), b + f64::from(seen.clean)) - ln_beta(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Tally = Tally { shown: 5, clean: 0 };
    const NEVER: Tally = Tally { shown: 0, clean: 5 };

    #[test]
    fn where_the_fault_shows_in_each_boot_three_boots_are_enough() {
        let chance = |shown, clean| chance_of_fault(Tally { shown, clean }, ALWAYS, NEVER);
        assert!((chance(0, 0) - 0.5).abs() < 1e-9);
        // Jeffreys' prior and five boots each: 11/12 and 1/12 for the first one.
        assert!((chance(1, 0) - 11.0 / 12.0).abs() < 1e-9);
        assert!(chance(2, 0) < 0.99 && chance(3, 0) > 0.99);
        assert!(chance(0, 3) < 0.01);
    }

    #[test]
    fn where_it_shows_in_some_boots_a_clean_one_says_little_and_a_shown_one_much() {
        let (bad, good) = (Tally { shown: 4, clean: 6 }, Tally { shown: 0, clean: 10 });
        let chance = |shown, clean| chance_of_fault(Tally { shown, clean }, bad, good);
        assert!(chance(0, 3) > 0.1, "{}", chance(0, 3));
        assert!(chance(0, 10) < 0.05);
        assert!(chance(6, 9) > 0.9, "{}", chance(6, 9));
    }

    /// Commits whose rates are drawn, examined until it is sure: how often that is wrong.
    #[test]
    fn whoever_goes_on_until_it_is_sure_at_99_percent_is_wrong_no_more_often_than_that() {
        // A linear congruential generator (Knuth's MMIX constants).
        let mut state = 7u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let (mut wrong, mut told) = (0, 0);
        for trial in 0..4000 {
            // Jeffreys' prior: the squared sine of a uniform angle.
            let mut rate = || (uniform() * std::f64::consts::FRAC_PI_2).sin().powi(2);
            let (bad_rate, good_rate) = (rate(), rate());
            let is_bad = trial % 2 == 0;
            let mut boots = |rate: f64, number: u32| {
                (0..number).fold(Tally::default(), |tally, _| tally.with(uniform() < rate))
            };
            let (bad, good) = (boots(bad_rate, 10), boots(good_rate, 10));
            let mut seen = Tally::default();
            while seen.boots() < 60 {
                seen = seen.and(boots(if is_bad { bad_rate } else { good_rate }, 1));
                let chance = chance_of_fault(seen, bad, good);
                if !(0.01..=0.99).contains(&chance) {
                    told += 1;
                    wrong += u32::from((chance > 0.5) != is_bad);
                    break;
                }
            }
        }
        // Of many pairs the rates that are drawn are much alike, and nobody can tell within 60 boots.
        assert!(told > 1500, "{told} of 4000 told");
        assert!(wrong * 100 <= told, "{wrong} of {told} wrong");
    }

    #[test]
    fn more_boots_than_can_be_counted_are_as_many_as_can() {
        let most = Tally { shown: u32::MAX, clean: u32::MAX };
        assert_eq!((most.and(most), most.boots()), (most, u32::MAX));
    }
}
