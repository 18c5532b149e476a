//! What is asked of a server, and how often: classes of requests with their shares, so that the
//! short ones can be told from the long ones that they wait behind.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::normal;
use crate::engine::rng::Rng;
use crate::limits::{BENCH_CLASSES_MAX, HTTP_MS_MAX};
use crate::units::Span;

/// Classes of requests; their shares add up to 1.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// What tables call it: `bim100`, or what the user wrote.
    pub name: String,
    /// At least one; in the order of their mean service times where those are known.
    pub classes: Vec<RequestClass>,
}

/// Requests of one kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RequestClass {
    /// What tables call it: `short`, `long`, or its path.
    pub name: String,
    /// Share of all requests, above 0 and up to 1.
    pub share: f64,
    /// Path and query; `{ms}` in it stands for the service time drawn.
    pub path: String,
    /// How long the server works on one; none where the path does not say.
    pub law: Option<Law>,
}

/// How service times are distributed. Times are milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Law {
    /// Always the same.
    Fixed {
        /// The time.
        ms: f64,
    },
    /// All times between two alike.
    Uniform {
        /// The shortest.
        from_ms: f64,
        /// The longest.
        to_ms: f64,
    },
    /// Exponential.
    Exponential {
        /// Its mean.
        mean_ms: f64,
    },
    /// A part of a lognormal distribution: the times between two of its quantiles.
    Lognormal {
        /// The mean of the whole distribution.
        mean_ms: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
        /// The lower quantile, 0 for the shortest.
        from: f64,
        /// The upper quantile, 1 for the longest.
        to: f64,
    },
}

/// How a worker spends a service time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// It blocks: more workers than cores can be told apart, since waiting costs no core.
    Sleep,
    /// It spins on its own CPU time: what throughput costs.
    Spin,
}

/// Why a mix is none.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MixError {
    /// There is nothing in it.
    #[error("a mix needs at least one class, such as 99%:/burn?ms=1,1%:/burn?ms=100")]
    Empty,
    /// More than tables can show.
    #[error("a mix has at most {BENCH_CLASSES_MAX} classes")]
    TooMany,
    /// No colon, or nothing before or behind it.
    #[error("'{0}' is not a class: write SHARE%:/PATH or NAME=SHARE%:/PATH")]
    NoClass(String),
    /// The share is no number between 0 and 100 %.
    #[error("'{0}' is not a share: write a number above 0 and up to 100 with %, such as 99.5%")]
    Share(String),
    /// The shares do not make up all requests.
    #[error("the shares add up to {0} %, not 100 %")]
    Sum(f64),
    /// The path would break the request.
    #[error("'{0}' is not a path: it begins with / and has neither blanks nor control characters")]
    Path(String),
    /// The service time is no law.
    #[error(
        "'{0}' is not a service time: write ms=NUMBER, ms=exp:MEAN, ms=uniform:FROM:TO or \
         ms=lognormal:MEAN:SIGMA, up to {HTTP_MS_MAX} ms"
    )]
    Law(String),
    /// There is no mix of that name.
    #[error(
        "'{0}' is not a mix: name one of {names}, or write its classes",
        names = NAMES.join(", ")
    )]
    Unknown(String),
}

/// The mixes that have a name; scheduling.md section 2.2.
pub const NAMES: [&str; 7] = ["bim10", "bim100", "bim1000", "ln15", "exp", "uniform", "det"];

impl Mix {
    /// A mix by its name, with `unit_ms` for the short class (or the mean), spent as `service`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(name: &str, service: Service, unit_ms: f64) -> Result<Self, MixError> {
        let fixed = |ms| Law::Fixed { ms };
        let bimodal = |long: f64, times: f64| {
            vec![("short", 1.0 - long, fixed(unit_ms)), ("long", long, fixed(unit_ms * times))]
        };
        let lognormal = |from, to| Law::Lognormal { mean_ms: unit_ms, sigma: 1.5, from, to };
        let parts = match name {
            "bim10" => bimodal(0.1, 10.0),
            "bim100" => bimodal(0.01, 100.0),
            "bim1000" => bimodal(0.005, 1_000.0),
            "ln15" => {
                vec![("short", 0.99, lognormal(0.0, 0.99)), ("long", 0.01, lognormal(0.99, 1.0))]
            }
            "exp" => vec![("all", 1.0, Law::Exponential { mean_ms: unit_ms })],
            "uniform" => {
                vec![("all", 1.0, Law::Uniform { from_ms: 0.0, to_ms: unit_ms * 2.0 })]
            }
            "det" => vec![("all", 1.0, fixed(unit_ms))],
            _ => return Err(MixError::Unknown(name.to_owned())),
        };
        let class = |(class, share, law): (&str, f64, Law)| RequestClass {
            name: class.to_owned(),
            share,
            path: format!("{}{{ms}}", service.path()),
            law: Some(law),
        };
        Ok(Self { name: name.to_owned(), classes: parts.into_iter().map(class).collect() })
    }

    /// Reads `99%:/burn?ms=1,1%:/burn?ms=100`: classes apart by commas, each with its share and
    /// path, and a name if wanted (`short=99%:/`). A single path needs no share.
    ///
    /// # Errors
    /// Which class is wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, MixError> {
        let texts: Vec<&str> = text.split(',').filter(|part| !part.trim().is_empty()).collect();
        let mut classes = match texts.as_slice() {
            [] => return Err(MixError::Empty),
            [path] if path.starts_with('/') => {
                vec![RequestClass::parse(&format!("all=100%:{path}"))?]
            }
            texts => {
                texts.iter().map(|text| RequestClass::parse(text)).collect::<Result<_, _>>()?
            }
        };
        if BENCH_CLASSES_MAX < classes.len() {
            return Err(MixError::TooMany);
        }
        let sum: f64 = classes.iter().map(|class| class.share).sum();
        if 1e-6 < (sum - 1.0).abs() {
            return Err(MixError::Sum((sum * 1e8).round() / 1e6));
        }
        classes.sort_by(|a, b| a.mean_ms().total_cmp(&b.mean_ms()));
        name_classes(&mut classes);
        Ok(Self { name: text.to_owned(), classes })
    }

    /// The mean service time in milliseconds; none when a class does not tell its own.
    pub fn mean_ms(&self) -> Option<f64> {
        self.classes.iter().map(|class| Some(class.share * class.law?.mean_ms())).sum()
    }

    /// Draws a class and its service time.
    pub fn draw(&self, rng: &mut Rng) -> (usize, Span) {
        let mut left = uniform(rng);
        let last = self.classes.len() - 1;
        let class = self.classes.iter().position(|class| {
            left -= class.share;
            left < 0.0
        });
        let class = class.unwrap_or(last);
        let service = self.classes[class].law.map_or(Span::ZERO, |law| law.draw(rng));
        (class, service)
    }
}

impl RequestClass {
    fn parse(text: &str) -> Result<Self, MixError> {
        let (head, path) =
            text.split_once(':').ok_or_else(|| MixError::NoClass(text.to_owned()))?;
        let (name, share) = head.split_once('=').unwrap_or(("", head));
        let percent = share.trim().strip_suffix('%').and_then(|number| number.parse().ok());
        let share = percent
            .filter(|percent| 0.0 < *percent && *percent <= 100.0)
            .map(|percent: f64| percent / 100.0)
            .ok_or_else(|| MixError::Share(share.to_owned()))?;
        let is_plain = |c: char| c.is_ascii_graphic();
        if !path.starts_with('/') || !path.chars().all(is_plain) {
            return Err(MixError::Path(path.to_owned()));
        }
        let (path, law) = take_law(path)?;
        Ok(Self { name: name.trim().to_owned(), share, path, law })
    }

    /// The target of a request whose service takes so long.
    pub fn target(&self, service: Span) -> String {
        let ns = service.as_ns();
        let ms = format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
        self.path.replace("{ms}", ms.trim_end_matches('0').trim_end_matches('.'))
    }

    fn mean_ms(&self) -> f64 {
        self.law.map_or(0.0, Law::mean_ms)
    }
}

impl Law {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let first = words.next()?;
        let numbers: Vec<f64> =
            words.map(|word| word.parse().ok().filter(|n| is_ms(*n))).collect::<Option<_>>()?;
        Some(match (first, numbers.as_slice()) {
            ("exp", &[mean_ms]) => Self::Exponential { mean_ms },
            ("uniform", &[from_ms, to_ms]) if from_ms < to_ms => Self::Uniform { from_ms, to_ms },
            ("lognormal", &[mean_ms, sigma]) if sigma <= 5.0 => {
                Self::Lognormal { mean_ms, sigma, from: 0.0, to: 1.0 }
            }
            (number, []) => Self::Fixed { ms: number.parse().ok().filter(|n| is_ms(*n))? },
            _ => return None,
        })
    }

    /// The mean in milliseconds.
    pub fn mean_ms(self) -> f64 {
        match self {
            Self::Fixed { ms } => ms,
            Self::Uniform { from_ms, to_ms } => f64::midpoint(from_ms, to_ms),
            Self::Exponential { mean_ms } => mean_ms,
            Self::Lognormal { mean_ms, from: 0.0, to: 1.0, .. } => mean_ms,
            Self::Lognormal { .. } => {
                // Of a part there is no closed form without the error function: the mean of its
                // quantiles' midpoints is good to a thousandth, the last part aside.
                let steps = 100_000_u32;
                let at = |step| self.quantile((f64::from(step) + 0.5) / f64::from(steps));
                (0..steps).map(at).sum::<f64>() / f64::from(steps)
            }
        }
    }

    /// Draws a service time, to the microsecond; no longer than a server would take.
    fn draw(self, rng: &mut Rng) -> Span {
        let ms = self.quantile(uniform(rng)).clamp(0.0, HTTP_MS_MAX as f64);
        span_of_ns((ms * 1e3).round() * 1e3)
    }

    fn quantile(self, u: f64) -> f64 {
        match self {
            Self::Fixed { ms } => ms,
            Self::Uniform { from_ms, to_ms } => from_ms + (to_ms - from_ms) * u,
            Self::Exponential { mean_ms } => -mean_ms * (1.0 - u).ln(),
            Self::Lognormal { mean_ms, sigma, from, to } => {
                // The mean of a lognormal distribution is exp(mu + sigma^2 / 2).
                let mu = mean_ms.ln() - sigma * sigma / 2.0;
                let p = (from + (to - from) * u).clamp(1e-12, 1.0 - 1e-12);
                (mu + sigma * normal::quantile(p)).exp()
            }
        }
    }
}

impl Service {
    /// The built-in worker's path for it.
    const fn path(self) -> &'static str {
        match self {
            Self::Sleep => "/sleep?ms=",
            Self::Spin => "/burn?ms=",
        }
    }
}

/// A number from 0 up to, but not, 1, with the 53 random bits that a float holds exactly.
pub(super) fn uniform(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// That many nanoseconds, rounded; nothing for what is below zero or no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that does not fit saturates, which is what is meant"
)]
pub(super) fn span_of_ns(ns: f64) -> Span {
    Span::from_ns(ns.round() as u64)
}

/// Takes the value of `ms=` out of a path, if it has one.
fn take_law(path: &str) -> Result<(String, Option<Law>), MixError> {
    let Some(at) = ["?ms=", "&ms="].iter().find_map(|key| path.find(key)) else {
        return Ok((path.to_owned(), None));
    };
    let start = at + "?ms=".len();
    let end = path[start..].find('&').map_or(path.len(), |length| start + length);
    let value = &path[start..end];
    let law = Law::parse(value).ok_or_else(|| MixError::Law(format!("ms={value}")))?;
    Ok((format!("{}{{ms}}{}", &path[..start], &path[end..]), Some(law)))
}

fn is_ms(ms: f64) -> bool {
    (0.0..=HTTP_MS_MAX as f64).contains(&ms)
}

/// Classes without a name: two that differ in time are short and long, others go by their path.
fn name_classes(classes: &mut [RequestClass]) {
    if let [short, long] = classes
        && short.name.is_empty()
        && long.name.is_empty()
        && short.mean_ms() < long.mean_ms()
    {
        (short.name, long.name) = ("short".to_owned(), "long".to_owned());
    }
    for class in classes {
        if class.name.is_empty() {
            class.name = class.path.replace("{ms}", &class.mean_ms().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_as_it_is_written() {
        let mix = Mix::parse("1%:/burn?ms=100,99%:/burn?ms=1&x=2").unwrap();
        let names: Vec<_> = mix.classes.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(names, ["short", "long"]);
        assert_eq!(mix.classes[0].target(Span::from_us(1_500)), "/burn?ms=1.5&x=2");
        assert_eq!(mix.classes[1].target(Span::from_ms(100)), "/burn?ms=100");
        assert!((mix.mean_ms().unwrap() - 1.99).abs() < 1e-9);
        let plain = Mix::parse("/").unwrap();
        assert_eq!((plain.classes[0].name.as_str(), plain.mean_ms()), ("all", None));
    }

    #[test]
    fn wrong_mixes_say_what_is_wrong() {
        for (text, word) in [
            ("", "at least one"),
            ("99%:/a,2%:/b", "101 %"),
            ("99:/a,1%:/b", "not a share"),
            ("0%:/a,100%:/b", "not a share"),
            ("50%:a,50%:/b", "not a path"),
            ("50%:/a b,50%:/b", "not a path"),
            ("/burn?ms=-1", "not a service time"),
            ("/burn?ms=exp", "not a service time"),
            ("/burn?ms=uniform:3:1", "not a service time"),
            ("/burn?ms=NaN", "not a service time"),
            ("100%", "not a class"),
        ] {
            let error = Mix::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let unknown = Mix::named("bim7", Service::Sleep, 1.0).unwrap_err();
        assert_eq!(unknown, MixError::Unknown("bim7".into()));
        let many = vec!["1%:/"; BENCH_CLASSES_MAX + 1].join(",");
        assert_eq!(Mix::parse(&many), Err(MixError::TooMany));
    }

    #[test]
    fn every_named_mix_has_the_mean_and_the_shares_that_it_draws() {
        for name in NAMES {
            let mix = Mix::named(name, Service::Sleep, 1.0).unwrap();
            let mut rng = Rng::new(5);
            let mut counts = vec![0_u32; mix.classes.len()];
            let draws = 400_000_u32;
            let mut sum_ms = 0.0;
            for _ in 0..draws {
                let (class, service) = mix.draw(&mut rng);
                counts[class] += 1;
                sum_ms += f64::from(u32::try_from(service.as_us()).unwrap()) / 1e3;
            }
            let (mean, expected) = (sum_ms / f64::from(draws), mix.mean_ms().unwrap());
            assert!((mean / expected - 1.0).abs() < 0.06, "{name}: {mean} is not {expected}");
            for (class, count) in mix.classes.iter().zip(counts) {
                let share = f64::from(count) / f64::from(draws);
                assert!((share / class.share - 1.0).abs() < 0.08, "{name}: {share}");
            }
        }
    }

    #[test]
    fn the_tail_of_a_lognormal_mix_is_its_long_class() {
        let mix = Mix::named("ln15", Service::Sleep, 1.0).unwrap();
        let mut rng = Rng::new(9);
        let mut longest_short = Span::ZERO;
        let mut shortest_long = Span::from_s(9);
        for _ in 0..100_000 {
            match mix.draw(&mut rng) {
                (0, service) => longest_short = longest_short.max(service),
                (_, service) => shortest_long = shortest_long.min(service),
            }
        }
        assert!(longest_short <= shortest_long);
        assert!((mix.mean_ms().unwrap() - 1.0).abs() < 0.01);
    }
}
