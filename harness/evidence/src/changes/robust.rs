//! Level and scatter of a few numbers, some of which may be far off.

/// How many times the scatter a number may be off before it counts as no further off than that: Huber, "Robust
/// estimation of a location parameter", Annals of Mathematical Statistics 35(1), 1964.
const CLIP: f64 = 2.5;

/// The middle value; of an even number the mean of the two in the middle. `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let (low, high) = middle(values)?;
    Some(f64::midpoint(low, high))
}

/// The middle value; of the two in the middle of an even number the one nearer to zero, and zero where they disagree on
/// the side. So half of them cannot move it: it takes more.
pub(super) fn majority(values: &[f64]) -> Option<f64> {
    let (low, high) = middle(values)?;
    Some(if low > 0.0 {
        low
    } else if high < 0.0 {
        high
    } else if values.len() % 2 == 1 {
        low
    } else {
        0.0
    })
}

/// The two values in the middle; twice the same of an odd number.
fn middle(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some((*sorted.get(sorted.len().checked_sub(1)? / 2)?, *sorted.get(sorted.len() / 2)?))
}

/// The mean of values, each with its noise, where those far from the middle one are taken as less far; and how much it
/// may be off, a standard error. `None` of nothing.
pub(super) fn clipped_mean(values: &[(f64, f64)]) -> Option<(f64, f64)> {
    let middle = median(&values.iter().map(|(value, _)| *value).collect::<Vec<_>>())?;
    let (mut sum, mut weights) = (0.0, 0.0);
    for (value, noise) in values {
        let weight = noise.powi(-2);
        sum += weight * value.clamp(middle - CLIP * noise, middle + CLIP * noise);
        weights += weight;
    }
    Some((sum / weights, (1.0 / weights).sqrt()))
}

/// The scatter in units of a standard deviation: Qn of Rousseeuw and Croux, "Alternatives to the median absolute
/// deviation", JASA 88(424), 1993, with their factors for few values. Half of the values may be anything, and of normal
/// ones it wastes a fifth, where the median absolute deviation wastes three. `None` of fewer than two.
pub(super) fn scatter(values: &[f64]) -> Option<f64> {
    const FEW: [f64; 8] = [0.399, 0.994, 0.512, 0.844, 0.611, 0.857, 0.669, 0.872];
    let n = values.len();
    let mut apart: Vec<f64> = Vec::with_capacity(n * n / 2);
    for (place, value) in values.iter().enumerate() {
        apart.extend(values[..place].iter().map(|other| (value - other).abs()));
    }
    let h = n / 2 + 1;
    let nth = (h * (h - 1) / 2).checked_sub(1).filter(|nth| *nth < apart.len())?;
    let (_, quarter, _) = apart.select_nth_unstable_by(nth, f64::total_cmp);
    let factor = match n.checked_sub(2).and_then(|at| FEW.get(at)) {
        Some(factor) => *factor,
        None if n % 2 == 1 => n as f64 / (n as f64 + 1.4),
        None => n as f64 / (n as f64 + 3.8),
    };
    Some(2.2219 * factor * *quarter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::noise::Noise;

    #[test]
    fn the_scatter_is_the_standard_deviation_of_normal_values_few_or_many() {
        let mut noise = Noise::new(1);
        for n in [3, 8, 9, 20, 41] {
            let trials = 2000;
            let mean = (0..trials)
                .map(|_| scatter(&(0..n).map(|_| noise.normal()).collect::<Vec<_>>()).unwrap())
                .sum::<f64>()
                / f64::from(trials);
            assert!((0.95..1.05).contains(&mean), "{n}: {mean}");
        }
    }

    #[test]
    fn a_value_that_is_far_off_moves_neither_level_nor_scatter_by_much() {
        let near = [0.01, -0.02, 0.0, 0.02, -0.01, 0.01, 0.0, -0.01, 0.02];
        let mut far = near;
        far[4] = 7.0;
        let level = |values: &[f64]| {
            let values: Vec<_> = values.iter().map(|value| (*value, 0.02)).collect();
            clipped_mean(&values).unwrap().0
        };
        assert!((level(&near) - level(&far)).abs() < 0.01);
        assert!(scatter(&far).unwrap() < 2.0 * scatter(&near).unwrap());
    }

    #[test]
    fn half_of_the_runners_cannot_move_what_most_say() {
        assert_eq!(majority(&[0.3]), Some(0.3));
        assert_eq!(majority(&[0.3, 0.01]), Some(0.01));
        assert_eq!(majority(&[0.3, -0.01]), Some(0.0));
        assert_eq!(majority(&[-0.3, -0.29, 0.01]), Some(-0.29));
        assert_eq!(majority(&[0.3, 0.3, 0.0, 0.01]), Some(0.01));
        assert_eq!(majority(&[]), None);
    }

    #[test]
    fn one_value_has_no_scatter() {
        assert_eq!(scatter(&[1.0]), None);
        assert_eq!((median(&[]), clipped_mean(&[])), (None, None));
    }
}
