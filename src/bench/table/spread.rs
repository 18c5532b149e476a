//! Figures over rounds: where they lie, and how far they can be trusted.

use serde::Serialize;

use super::digits::digits;

/// The middle and the ends of what the rounds gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RoundSpread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// A mean, and by how much chance may have moved it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over the rounds.
    pub mean: f64,
    /// The standard deviation over the rounds, over the root of their number; none of one round.
    pub error: Option<f64>,
    /// How many rounds.
    pub rounds: usize,
}

impl RoundSpread {
    /// Of no numbers there is none.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        let min = numbers.iter().copied().reduce(f64::min)?;
        let max = numbers.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(numbers)?, min, max })
    }
}

impl Estimate {
    /// Of no numbers there is none.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
        let count = numbers.len() as f64;
        let mean = (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / count)?;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let error = (1 < numbers.len()).then(|| (squares / (count - 1.0) / count).sqrt());
        Some(Self { mean, error, rounds: numbers.len() })
    }

    /// Mean and error as text: as many decimals as the error has two digits of.
    pub fn digits(self) -> (String, Option<String>) {
        let Some(error) = self.error else { return (digits(self.mean), None) };
        let decimals = match error {
            _ if error < 0.095 => 3,
            _ if error < 0.95 => 2,
            _ if error < 9.5 => 1,
            _ => 0,
        };
        let text = |number: f64| {
            if number < 9_999.5 { format!("{number:.decimals$}") } else { digits(number) }
        };
        (text(self.mean), Some(text(error)))
    }
}

/// The middle number, or the mean of the middle two; none of none.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    let above = numbers.get(half).copied()?;
    if numbers.len() % 2 == 1 {
        return Some(above);
    }
    Some(f64::midpoint(numbers[half - 1], above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        let spread = RoundSpread::of([4.0, 1.0, f64::INFINITY, 2.0, 3.0].into_iter());
        assert_eq!(spread, Some(RoundSpread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(RoundSpread::of([f64::NAN].into_iter()), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn the_sampling_error_is_that_of_the_mean() {
        let estimate = Estimate::of([1.0, 2.0, 3.0, 4.0].into_iter()).unwrap();
        assert!((estimate.mean - 2.5).abs() < 1e-12);
        // The sample's standard deviation is the root of 5/3.
        assert!((estimate.error.unwrap() - (5.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(Estimate::of([1.0].into_iter()).unwrap().error, None);
        for (mean, error, text) in [
            (0.114_4, 0.013_4, ("0.114", "0.013")),
            (1.06, 0.561, ("1.06", "0.56")),
            (566.2, 12.3, ("566", "12")),
            (1e7, 3.21, ("10.0M", "3.2")),
        ] {
            let (mean, error) = Estimate { mean, error: Some(error), rounds: 2 }.digits();
            assert_eq!((mean.as_str(), error.as_deref()), (text.0, Some(text.1)));
        }
        assert_eq!(Estimate::of([].into_iter()), None);
    }
}
