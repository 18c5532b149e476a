//! Axes: where on the picture a value lies, and which values are named there.

/// One axis. Places grow from `start` to `end`, which may lie before it.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    kind: ScaleKind,
    /// The ends, as the axis measures: logarithms where it is one of these.
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ScaleKind {
    Linear,
    /// The decimal logarithm.
    Log,
    /// The binary one.
    Doubling,
    /// The decimal logarithm of 1 / (1 - share).
    Percentile,
}

/// A named place.
pub(super) type Tick = (f64, String);

impl Scale {
    /// From one round number to another, evenly.
    pub(super) fn linear(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (from, to) = ends(values).unwrap_or((0.0, 1.0));
        let pad = if from < to { 0.0 } else { (from.abs() / 2.0).max(0.05) };
        Self::new(ScaleKind::Linear, (from - pad, to + pad), places)
    }

    /// Over whole steps of 1, 2, 5 that hold all values; those that have no logarithm aside.
    pub(super) fn log(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (from, to) = ends(values.filter(|value| 0.0 < *value)).unwrap_or((1.0, 10.0));
        let (mut from, mut to) = (step_below(from.log10()), -step_below(-to.log10()));
        if to - from < 0.25 {
            (from, to) = (step_below(from - 0.15), -step_below(-to - 0.15));
        }
        Self::new(ScaleKind::Log, (from, to), places)
    }

    /// Just around all values, which need no more than a few decades.
    pub(super) fn log_around(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (from, to) = ends(values.filter(|value| 0.0 < *value)).unwrap_or((1.0, 10.0));
        let (from, to) = (from.log10(), to.log10());
        if to - from < 0.4 {
            return Self::log([from, to].into_iter().map(|end| 10.0_f64.powf(end)), places);
        }
        let pad = (to - from) * 0.04;
        Self::new(ScaleKind::Log, (from - pad, to + pad), places)
    }

    /// For numbers of workers.
    pub(super) fn doubling(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (from, to) = ends(values.filter(|value| 0.0 < *value)).unwrap_or((1.0, 2.0));
        let pad = if from < to { 0.0 } else { 0.5 };
        Self::new(ScaleKind::Doubling, (from.log2() - pad, to.log2() + pad), places)
    }

    /// From the smallest value up to the share below which all but one of so many lie.
    pub(super) fn percentile(shares: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let greatest = shares.filter(|share| is_share(*share)).fold(0.9, f64::max);
        Self::new(ScaleKind::Percentile, (0.0, -(1.0 - greatest).log10()), places)
    }

    fn new(kind: ScaleKind, (from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        Self { kind, from, to, start, end }
    }

    /// Where a value lies; values outside lie at the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let measured = match self.kind {
            ScaleKind::Linear => value,
            ScaleKind::Log => value.log10(),
            ScaleKind::Doubling => value.log2(),
            ScaleKind::Percentile => -(1.0 - value).log10(),
        };
        let share = ((measured - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + (self.end - self.start) * share
    }

    pub(super) const fn places(&self) -> (f64, f64) {
        (self.start, self.end)
    }

    /// Named places, at most about ten.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let values: Vec<(f64, String)> = match self.kind {
            ScaleKind::Linear => self.linear_ticks(),
            ScaleKind::Log => self.log_ticks(),
            ScaleKind::Doubling => {
                let every = ((self.to - self.from) / 9.0).ceil().max(1.0);
                whole_numbers(self.from / every, self.to / every)
                    .map(|power| named((power * every).exp2()))
                    .collect()
            }
            ScaleKind::Percentile => {
                let nines = whole_numbers(1.0, self.to).map(|nines| {
                    let share = 1.0 - 10.0_f64.powf(-nines);
                    (share, format!("{:.*}", decimals(nines), share * 100.0))
                });
                [(0.5, "50".to_owned())].into_iter().chain(nines).collect()
            }
        };
        values.into_iter().map(|(value, name)| (self.at(value), name)).collect()
    }

    fn linear_ticks(&self) -> Vec<Tick> {
        let step = 10.0_f64.powf(-step_below(-((self.to - self.from) / 7.0).log10()));
        let from = (self.from / step - 1e-9).ceil();
        let to = (self.to / step + 1e-9).floor();
        whole_numbers(from, to).map(|at| named((at * step * 1e9).round() / 1e9)).collect()
    }

    fn log_ticks(&self) -> Vec<Tick> {
        let decades = self.to - self.from;
        let every = (decades / 8.0).ceil().max(1.0);
        let factors: &[f64] = if decades < 2.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        whole_numbers((self.from / every).floor(), self.to / every)
            .flat_map(|power| factors.iter().map(move |factor| (power * every, *factor)))
            .filter(|(power, factor)| {
                let at = power + factor.log10();
                self.from - 1e-9 <= at && at <= self.to + 1e-9
            })
            .map(|(power, factor)| named(factor * 10.0_f64.powf(power)))
            .collect()
    }
}

/// The least and the greatest of those that are numbers.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let ends = |ends: Option<(f64, f64)>, value: f64| {
        let (from, to) = ends.unwrap_or((value, value));
        Some((from.min(value), to.max(value)))
    };
    values.filter(|value| value.is_finite()).fold(None, ends)
}

/// The logarithm of the greatest 1, 2 or 5 of a decade that is not above.
fn step_below(logarithm: f64) -> f64 {
    let (decade, rest) = (logarithm.floor(), logarithm - logarithm.floor() + 1e-9);
    let step = [5.0_f64, 2.0, 1.0].into_iter().map(f64::log10).find(|step| *step <= rest);
    decade + step.unwrap_or_default()
}

fn whole_numbers(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let to = to + 1e-9;
    std::iter::successors(Some(from.ceil()), |at| Some(at + 1.0))
        .take_while(move |at| *at <= to)
        .take(400)
}

fn named(value: f64) -> Tick {
    // No negative zero.
    let value = value + 0.0;
    let size = value.abs();
    let name = match size {
        _ if 1e9 <= size || (0.0 < size && size < 0.000_99) => format!("{value:.0e}"),
        _ if 1e6 <= size => format!("{}M", (value / 1e4).round() / 100.0),
        _ if 1e4 <= size => format!("{}k", (value / 1e1).round() / 100.0),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    };
    (value, name)
}

/// 99 has none, 99.9 one.
fn decimals(nines: f64) -> usize {
    (0..20).find(|count| nines <= *count as f64 + 2.5).unwrap_or(20)
}

pub(super) fn is_share(share: f64) -> bool {
    (0.0..1.0).contains(&share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn axes_name_round_numbers() {
        let log = |values: &[f64]| names(&Scale::log(values.iter().copied(), (0.0, 1.0)));
        assert_eq!(log(&[1.1, 11.0]), ["1", "2", "5", "10", "20"]);
        assert_eq!(log(&[1.0, 566.0]), ["1", "10", "100", "1000"]);
        assert_eq!(log(&[0.0, -1.0, f64::NAN]), ["1", "2", "5", "10"]);
        assert_eq!(log(&[3.0]), ["2", "5"]);
        let linear = |values: &[f64]| names(&Scale::linear(values.iter().copied(), (0.0, 1.0)));
        assert_eq!(linear(&[0.3, 0.95]), ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]);
        let percentile = Scale::percentile([0.5, 0.9999, 1.0].into_iter(), (0.0, 4.0));
        assert_eq!(names(&percentile), ["50", "90", "99", "99.9", "99.99"]);
        assert!((percentile.at(0.99) - 2.0).abs() < 1e-9);
        let workers = Scale::doubling([2.0, 8.0].into_iter(), (0.0, 2.0));
        assert_eq!(names(&workers), ["2", "4", "8"]);
    }

    #[test]
    fn every_axis_has_few_names_and_none_outside() {
        for (from, to) in [(1e-300, 1e300), (1.0, 1.0), (5e-5, 0.3), (1.0, 1e7), (7.0, 7.2)] {
            for make in [Scale::log, Scale::linear, Scale::doubling] {
                let scale = make([from, to].into_iter(), (10.0, 110.0));
                let ticks = scale.ticks();
                assert!(ticks.len() <= 12, "{from} {to}: {ticks:?}");
                assert!(ticks.iter().all(|tick| (10.0..=110.0).contains(&tick.0)), "{ticks:?}");
                assert!((10.0..=110.0).contains(&scale.at(from * 2.0)));
            }
        }
    }
}
