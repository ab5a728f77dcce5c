//! Holds claims about how long kernels take against the ratio of their times.

use super::Outcome;
use crate::stats::Ratio;

/// Judges the claim that the candidate takes less time than the baseline: the whole interval has to say so.
pub fn judge_faster(ratio: Option<Ratio>) -> Outcome {
    match ratio.map(|ratio| ratio.interval) {
        None => Outcome::NotRun,
        Some(Some(interval)) if interval.low > 1.0 => Outcome::Supported,
        Some(Some(interval)) if interval.high <= 1.0 => Outcome::Refuted,
        Some(_) => Outcome::Inconclusive,
    }
}

/// Two kernels of which nobody claims that one is faster may differ by so much in how long they take.
pub const MARGIN: f64 = 0.1;

/// Judges the claim that a kernel does not take longer than another, but for [`MARGIN`], by the other's time against its
/// own: supported when the whole interval is above that, refuted when it is below.
pub fn judge_not_slower(ratio: Option<Ratio>) -> Outcome {
    let least = 1.0 - MARGIN;
    match ratio.map(|ratio| ratio.interval) {
        None => Outcome::NotRun,
        Some(Some(interval)) if interval.low >= least => Outcome::Supported,
        Some(Some(interval)) if interval.high < least => Outcome::Refuted,
        Some(_) => Outcome::Inconclusive,
    }
}

/// Judges the claim that two kernels take equally long, give or take [`MARGIN`]: supported when the whole interval
/// is within it, refuted when the whole interval is beyond it.
pub fn judge_as_fast(ratio: Option<Ratio>) -> Outcome {
    let (least, most) = (1.0 - MARGIN, 1.0 / (1.0 - MARGIN));
    match ratio.map(|ratio| ratio.interval) {
        None => Outcome::NotRun,
        Some(Some(interval)) if interval.low >= least && interval.high <= most => Outcome::Supported,
        Some(Some(interval)) if interval.high < least || interval.low > most => Outcome::Refuted,
        Some(_) => Outcome::Inconclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Interval;

    #[test]
    fn faster_needs_the_whole_interval() {
        let ratio = |low, high| Some(Ratio { ratio: 2.0, interval: Some(Interval { low, high }) });
        assert_eq!(judge_faster(ratio(1.1, 3.0)), Outcome::Supported);
        assert_eq!(judge_faster(ratio(0.9, 3.0)), Outcome::Inconclusive);
        assert_eq!(judge_faster(ratio(0.2, 0.9)), Outcome::Refuted);
        assert_eq!(judge_faster(Some(Ratio { ratio: 9.0, interval: None })), Outcome::Inconclusive);
        assert_eq!(judge_faster(None), Outcome::NotRun);
    }

    #[test]
    fn a_kernel_that_is_faster_is_not_slower() {
        let ratio = |low, high| Some(Ratio { ratio: 1.0, interval: Some(Interval { low, high }) });
        let outcomes = [(3.0, 4.0), (0.95, 1.5), (0.8, 1.5), (0.5, 0.89)]
            .map(|(low, high)| ratio(low, high))
            .map(judge_not_slower);
        assert_eq!(
            outcomes,
            [Outcome::Supported, Outcome::Supported, Outcome::Inconclusive, Outcome::Refuted]
        );
        assert_eq!(judge_not_slower(None), Outcome::NotRun);
    }

    #[test]
    fn as_fast_is_within_a_tenth_and_not_only_not_proven_to_differ() {
        let ratio = |low, high| Some(Ratio { ratio: 1.0, interval: Some(Interval { low, high }) });
        assert_eq!(judge_as_fast(ratio(0.95, 1.05)), Outcome::Supported);
        assert_eq!(judge_as_fast(ratio(0.8, 1.05)), Outcome::Inconclusive);
        assert_eq!(judge_as_fast(ratio(0.8, 0.89)), Outcome::Refuted);
        assert_eq!(judge_as_fast(ratio(1.2, 1.3)), Outcome::Refuted);
        assert_eq!(judge_as_fast(Some(Ratio { ratio: 1.0, interval: None })), Outcome::Inconclusive);
        assert_eq!(judge_as_fast(None), Outcome::NotRun);
    }
}
