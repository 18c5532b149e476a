//! Histograms: every latency is kept to three digits, since an average of percentiles is no
//! percentile and what was thrown away cannot be asked for later.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Numbers of one unit, each kept to three digits.
#[derive(Clone, Debug)]
pub struct Tally {
    histogram: Histogram<u64>,
    unit: Unit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Times the request's own service time.
    Slowdown,
}

/// The figures that tables show, in the tally's unit.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

/// A point of a percentile plot: the share of all values up to the second number.
pub type PercentilePoint = (f64, f64);

impl Tally {
    /// An empty tally.
    pub fn new(unit: Unit) -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST, DIGITS);
        Self { histogram: histogram.expect("the bounds are sound"), unit }
    }

    /// Takes in one value of the tally's unit; what is below a thousandth counts as that, what is
    /// beyond a year as a year.
    pub fn record(&mut self, value: f64) {
        self.histogram.saturating_record(scaled(value));
    }

    /// Takes in all of another tally of the same unit.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all tallies have the same bounds");
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The value below which the share `quantile` lies; 0 of an empty tally.
    pub fn at(&self, quantile: f64) -> f64 {
        unscaled(self.histogram.value_at_quantile(quantile))
    }

    /// The figures that tables show.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            mean: self.histogram.mean() / SCALE,
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: unscaled(self.histogram.max()),
        }
    }

    /// The curve of a percentile plot: eight points to each halving of what lies above.
    pub fn curve(&self) -> Vec<PercentilePoint> {
        let mut points = Vec::new();
        for step in 0..=HALVINGS * POINTS_PER_HALVING {
            let above = 0.5_f64.powf(f64::from(step) / f64::from(POINTS_PER_HALVING));
            if above * self.count() as f64 <= 1.0 {
                break;
            }
            points.push((1.0 - above, self.at(1.0 - above)));
        }
        if 0 < self.count() {
            points.push((1.0, self.quantiles().max));
        }
        points
    }

    /// The distribution in the text format of `HdrHistogram`'s plotter, `.hgrm`.
    pub fn hgrm(&self) -> String {
        let mut text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n".to_owned();
        for value in self.histogram.iter_quantiles(5) {
            let quantile = value.quantile_iterated_to();
            let total = self.histogram.count_between(0, value.value_iterated_to());
            let at = unscaled(value.value_iterated_to());
            // Writing to a string cannot fail.
            let _ = write!(text, "{at:12.3} {quantile:14.12} {total:10}");
            let above = 1.0 - quantile;
            let _ = if 0.0 < above {
                writeln!(text, " {:14.2}", 1.0 / above)
            } else {
                writeln!(text, "            inf")
            };
        }
        let (mean, deviation) = (self.histogram.mean() / SCALE, self.histogram.stdev() / SCALE);
        let (max, count) = (self.quantiles().max, self.count());
        let _ = write!(
            text,
            "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
             #[Max     = {max:12.3}, Total count    = {count:12}]\n\
             #[Unit    = {unit}]\n",
            unit = self.unit.name()
        );
        text
    }
}

impl Unit {
    /// What tables and axes call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Slowdown => "x service time",
        }
    }
}

impl Quantiles {
    /// Each figure changed by the same rule.
    #[must_use]
    pub fn map(self, rule: impl Fn(f64) -> f64) -> Self {
        let Self { mean, p50, p90, p99, p999, max } = self;
        Self {
            mean: rule(mean),
            p50: rule(p50),
            p90: rule(p90),
            p99: rule(p99),
            p999: rule(p999),
            max: rule(max),
        }
    }
}

/// Values are kept in thousandths.
const SCALE: f64 = 1_000.0;
const DIGITS: u8 = 3;
/// A year of microseconds, in thousandths.
const HIGHEST: u64 = 365 * 86_400 * 1_000_000 * 1_000;
const HALVINGS: u32 = 24;
const POINTS_PER_HALVING: u32 = 4;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that does not fit saturates, which is what is meant"
)]
fn scaled(value: f64) -> u64 {
    ((value * SCALE).round() as u64).clamp(1, HIGHEST)
}

fn unscaled(value: u64) -> f64 {
    value as f64 / SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(values: impl IntoIterator<Item = u32>) -> Tally {
        let mut tally = Tally::new(Unit::Us);
        values.into_iter().for_each(|value| tally.record(f64::from(value)));
        tally
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let quantiles = tally(1..=10_000).quantiles();
        for (found, expected) in [
            (quantiles.mean, 5_000.5),
            (quantiles.p50, 5_000.0),
            (quantiles.p90, 9_000.0),
            (quantiles.p99, 9_900.0),
            (quantiles.p999, 9_990.0),
            (quantiles.max, 10_000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
        }
    }

    #[test]
    fn two_tallies_are_as_one() {
        let mut sum = tally(1..500);
        sum.add(&tally(500..=1_000));
        assert_eq!(sum.quantiles(), tally(1..=1_000).quantiles());
        assert_eq!(sum.count(), 1_000);
    }

    #[test]
    fn a_curve_rises_and_ends_at_the_greatest() {
        let curve = tally(1..=1_000).curve();
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{curve:?}");
        assert_eq!(curve.last().map(|point| point.0), Some(1.0));
        assert!((curve[curve.len() - 1].1 / 1_000.0 - 1.0).abs() < 0.001);
        assert_eq!(tally([]).curve(), []);
    }

    #[test]
    fn odd_values_are_kept_at_the_ends() {
        let mut tally = Tally::new(Unit::Slowdown);
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            tally.record(value);
        }
        assert_eq!(tally.count(), 4);
        assert!(tally.at(0.5) <= 0.001);
    }

    #[test]
    fn the_text_has_the_plotters_columns_and_the_whole_count() {
        let text = tally(1..=100).hgrm();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with(' '))
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == 4), "{text}");
        assert_eq!(rows.last().unwrap()[1..], ["1.000000000000", "100", "inf"]);
        assert!(text.contains("Total count    =          100"));
    }
}
