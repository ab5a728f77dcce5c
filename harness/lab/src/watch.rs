//! Somebody who wants to know how long work is going.

use std::time::Duration;

/// Is told what goes on. Every method does nothing by default.
pub trait Watch: Sync {
    /// Something that takes a while begins: "build the kernel with". It ends when the next begins.
    fn stage(&self, _what: &str) {}

    /// So much of it is done, of so much, if that is known; in units like "boots".
    fn count(&self, _done: u64, _of: Option<u64>, _units: &str) {}

    /// What of it is done now: a kernel, or several.
    fn now(&self, _what: &str) {}

    /// What is known so far: "makespan without / with = 27.7 (17.4 to 44.0)". It holds until the next, or the next stage.
    fn known(&self, _what: &str) {}

    /// A finding to be kept on the screen.
    fn note(&self, _text: &str) {}

    /// The screen is for others until the next stage: for a program that writes to it itself.
    fn hand_over(&self) {}

    /// Whether nothing but what was found is wanted.
    fn quiet(&self) -> bool {
        false
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Watch for Nobody {}

/// Until so much is done, in percent, what is to come need not be like it: the first objects of a kernel take longest.
const TELLS: u64 = 3;

/// How long the rest will take, if it goes on as until now; `None` where nothing tells.
pub fn to_go(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    let rest = of.checked_sub(done).filter(|_| done > 0 && done * 100 >= of * TELLS)?;
    Some(elapsed.mul_f64(rest as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done_and_nobody_guesses_before_that() {
        let ten = Duration::from_secs(10);
        assert_eq!(to_go(ten, 2, 6), Some(Duration::from_secs(20)));
        assert_eq!(to_go(ten, 6, 6), Some(Duration::ZERO));
        assert_eq!(to_go(ten, 0, 6), None);
        assert_eq!(to_go(ten, 7, 6), None);
        assert_eq!(to_go(ten, 29, 1000), None);
        assert!(to_go(ten, 30, 1000).is_some());
    }
}
