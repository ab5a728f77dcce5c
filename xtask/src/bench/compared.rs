//! The times of two kernels to a comparison.

use std::time::Duration;

use evidence::stats::Ratio;
use evidence::{judge, sequential, stats};
use lab::kernel::Behaviour;
use report::document::{Comparison, IntervalKind};
use testcases::{Case, KernelResult, Rounds};

use crate::metric::Metric;

/// Pairs of kernels, by name, boot by boot, in each time that they have. A pair with a boot on which no claim can rest is
/// left out, and so is a pair of which one is not there.
pub(super) fn compared(
    case: &Case,
    rounds: Rounds,
    pairs: &[(String, String)],
    results: &[KernelResult],
) -> Vec<Comparison> {
    // Whoever stops when it is clear has looked after every round.
    let (estimate, interval): (Estimate, _) = match rounds {
        Rounds::Just(_) => (stats::ratio, IntervalKind::Fixed),
        Rounds::UntilClear { .. } => (sequential::ratio, IntervalKind::Sequence),
    };
    let of = |name: &str| results.iter().find(|result| result.kernel == name);
    let there = pairs.iter().filter_map(|(first, other)| Some((of(first)?, of(other)?)));
    let against = |(first, other)| {
        Metric::OF_A_BENCH.into_iter().filter_map(move |metric| compare(metric, case, first, other, estimate))
    };
    let mut comparisons: Vec<Comparison> = there.flat_map(against).collect();
    for comparison in &mut comparisons {
        comparison.interval = interval;
    }
    comparisons
}

/// How the interval of a ratio is found.
type Estimate = fn(&[(Duration, Duration)]) -> Option<Ratio>;

/// Compares two kernels in a time; `None` where no boot has it.
fn compare(
    metric: Metric,
    case: &Case,
    first: &KernelResult,
    other: &KernelResult,
    estimate: Estimate,
) -> Option<Comparison> {
    if !metric.is_in(&[first, other]) {
        return None;
    }
    let pairs = metric.pairs(first, other);
    let ratio = estimate(&pairs);
    let left_out = first.boots.len().min(other.boots.len()) - pairs.len();
    let mut comparison =
        Comparison::new(case.name, &first.kernel, &other.kernel, pairs.len(), left_out, ratio);
    comparison.metric = metric.name().to_owned();
    comparison.forks = first.boots.first().map_or(0, |boot| boot.samples.len().saturating_sub(1));
    let (faster, slower, claimed) = match (Role::of_result(case, first), Role::of_result(case, other)) {
        (Some(Role::Baseline), Some(Role::Candidate)) => (other, first, ratio),
        (Some(Role::Candidate), Some(Role::Baseline)) => (first, other, ratio.map(Ratio::inverse)),
        // A patch on top of one of them: nobody claims that it is faster.
        _ => {
            comparison.claim = Some(format!("{} is not slower than {}", other.kernel, first.kernel));
            comparison.outcome = Some(judge::judge_not_slower(ratio));
            return Some(comparison);
        }
    };
    comparison.claim = Some(format!("{} is faster than {}", faster.kernel, slower.kernel));
    comparison.outcome = Some(judge::judge_faster(claimed));
    Some(comparison)
}

/// What a kernel is for a claim.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Role {
    Baseline,
    Candidate,
}

impl Role {
    /// Of kernels of this kind, for the claim of a case.
    pub(super) fn of(case: &Case, behaves: Behaviour) -> Option<Self> {
        if case.candidates.contains(&behaves) {
            Some(Self::Candidate)
        } else {
            case.baselines.contains(&behaves).then_some(Self::Baseline)
        }
    }

    pub(super) fn of_result(case: &Case, result: &KernelResult) -> Option<Self> {
        Self::of(case, result.behaves?)
    }
}
