//! Traces: what is asked, when, and on which connection, drawn once and replayed for everybody.
//! Two policies that saw different requests cannot be compared, since a single long one more moves
//! the tail further than most policies do.

mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::mix::{Mix, span_of_ns, uniform};
use crate::engine::rng::Rng;
use crate::limits::{TRACE_CONNECTIONS_MAX, TRACE_REQUESTS_MAX};
use crate::units::Span;

pub use self::file::FileError;

/// Requests in the order of their intended times.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What it was drawn from.
    pub spec: TraceSpec,
    /// Ascending by `at`.
    pub requests: Vec<TraceRequest>,
}

/// One request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceRequest {
    /// When it is meant to be sent, from the start of the run. Latency counts from here, whether
    /// or not it could be sent then.
    pub at: Span,
    /// How long the server is to work on it; zero where the class does not say.
    pub service: Span,
    /// On which connection it travels. Numbers are dense, in the order of first use; a connection
    /// ends with the last request that names it.
    pub connection: u32,
    /// Position in the mix's classes.
    pub class: u16,
}

/// All that decides a trace: the same spec always gives the same one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSpec {
    /// Seed of every draw.
    pub seed: u64,
    /// What is asked.
    pub mix: Mix,
    /// How the intended times lie.
    pub arrivals: Arrivals,
    /// How requests share connections.
    pub connections: Connections,
    /// Requests per second, on average, once the ramp is over.
    pub rate: f64,
    /// How many requests; about so many where visits bring them.
    pub requests: u64,
    /// For so many seconds from the start the rate grows evenly from nothing; 0 for no ramp.
    pub ramp_s: f64,
}

/// How the intended times lie.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At random, independently of each other, as those of many people do.
    Poisson,
    /// Evenly, as wrk2's do.
    Constant,
}

/// How requests share connections.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Connections {
    /// A connection for each request.
    PerRequest,
    /// Visits of so many requests on average (geometric), with pauses of so many milliseconds on
    /// average (exponential) between two intended times of a visit.
    KeepAlive {
        /// Mean requests of a visit.
        requests: f64,
        /// Mean pause.
        think_ms: f64,
    },
    /// Half of the requests in each of the two ways.
    Mixed {
        /// Mean requests of a visit.
        requests: f64,
        /// Mean pause.
        think_ms: f64,
    },
    /// So many connections, open from the first to the last request and used in turn.
    Pool {
        /// How many.
        count: u32,
    },
}

/// Why there is no such trace.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TraceSpecError {
    /// The rate is not above zero, or beyond what a clock of nanoseconds tells apart.
    #[error("a rate of {0} requests per second cannot be kept: it is above 0 and up to 10000000")]
    Rate(f64),
    /// None, or more than fit into memory.
    #[error("{0} requests cannot be drawn: 1 to {TRACE_REQUESTS_MAX}; shorten the run")]
    Requests(u64),
    /// A visit of less than one request, or pauses that are no time.
    #[error(
        "visits need at least 1 request and pauses of 0 ms or more, not {requests} and \
         {think_ms} ms"
    )]
    Visits {
        /// Mean requests of a visit.
        requests: f64,
        /// Mean pause.
        think_ms: f64,
    },
    /// None, or more than a process can open.
    #[error("{0} connections cannot be kept: 1 to {TRACE_CONNECTIONS_MAX}")]
    Pool(u32),
    /// The ramp is no time.
    #[error("a ramp of {0} s is none: 0 or more")]
    Ramp(f64),
}

impl Trace {
    /// Draws a trace.
    ///
    /// # Errors
    /// What of the spec is impossible.
    pub fn draw(spec: TraceSpec) -> Result<Self, TraceSpecError> {
        spec.check()?;
        let mut rng = Rng::new(spec.seed);
        let mut requests = match spec.connections {
            Connections::PerRequest => (0..).zip(spec.times(&mut rng)).map(place).collect(),
            Connections::Pool { count } => {
                let places = (0..count).cycle().zip(spec.times(&mut rng));
                places.map(place).collect()
            }
            Connections::KeepAlive { requests, think_ms } => {
                let visits = Visits { requests, think_ms, share: 1.0, numbers_from: 0 };
                spec.visits(visits, &mut rng)
            }
            Connections::Mixed { requests, think_ms } => {
                let visits = Visits { requests, think_ms, share: 0.5, numbers_from: 0 };
                let single = Visits { requests: 1.0, numbers_from: u32::MAX / 2, ..visits };
                let mut all = spec.visits(visits, &mut rng);
                all.extend(spec.visits(single, &mut rng));
                all
            }
        };
        // What is drawn per visit and not per request comes in the order of the visits.
        requests.sort_by_key(|request: &TraceRequest| request.at);
        for request in &mut requests {
            let (class, service) = spec.mix.draw(&mut rng);
            request.class = u16::try_from(class).expect("the classes are few");
            request.service = service;
        }
        number_connections(&mut requests);
        Ok(Self { spec, requests })
    }

    /// How many requests travel on each connection.
    pub fn connection_lengths(&self) -> Vec<u32> {
        let mut lengths = Vec::new();
        for request in &self.requests {
            let connection = request.connection as usize;
            if lengths.len() <= connection {
                lengths.resize(connection + 1, 0);
            }
            lengths[connection] += 1;
        }
        lengths
    }

    /// From the first intended time to the last.
    pub fn length(&self) -> Span {
        self.requests.last().map_or(Span::ZERO, |last| last.at)
    }
}

impl TraceSpec {
    fn check(&self) -> Result<(), TraceSpecError> {
        if !(0.0 < self.rate && self.rate <= 1e7) {
            return Err(TraceSpecError::Rate(self.rate));
        }
        if self.requests == 0 || TRACE_REQUESTS_MAX < self.requests {
            return Err(TraceSpecError::Requests(self.requests));
        }
        if !(0.0..=1e6).contains(&self.ramp_s) {
            return Err(TraceSpecError::Ramp(self.ramp_s));
        }
        match self.connections {
            Connections::PerRequest => Ok(()),
            Connections::KeepAlive { requests, think_ms }
            | Connections::Mixed { requests, think_ms } => {
                let sound = (1.0..=1e6).contains(&requests) && (0.0..=1e7).contains(&think_ms);
                if sound { Ok(()) } else { Err(TraceSpecError::Visits { requests, think_ms }) }
            }
            Connections::Pool { count } if count == 0 || TRACE_CONNECTIONS_MAX < count => {
                Err(TraceSpecError::Pool(count))
            }
            Connections::Pool { .. } => Ok(()),
        }
    }

    /// The intended times of `requests` arrivals, ascending.
    fn times<'a>(&'a self, rng: &'a mut Rng) -> impl Iterator<Item = Span> + 'a {
        self.arrival_times(self.rate, rng)
            .take(usize::try_from(self.requests).unwrap_or(usize::MAX))
    }

    /// Arrivals without end at `rate` per second, which the ramp thins at the start.
    fn arrival_times<'a>(&self, rate: f64, rng: &'a mut Rng) -> impl Iterator<Item = Span> + 'a {
        let (arrivals, ramp_s) = (self.arrivals, self.ramp_s);
        let mut expected = 0.0;
        std::iter::repeat_with(move || {
            // `expected` is how many should have come until then: a unit's step each at a constant
            // rate, an exponential one for Poisson arrivals.
            expected += match arrivals {
                Arrivals::Constant => 1.0,
                Arrivals::Poisson => exponential(rng),
            };
            let in_ramp = rate * ramp_s / 2.0;
            let seconds = if expected < in_ramp {
                (2.0 * ramp_s * expected / rate).sqrt()
            } else {
                ramp_s / 2.0 + expected / rate
            };
            span_of_ns(seconds * 1e9)
        })
    }

    /// The requests of visits that come at random and bring `share` of the rate.
    fn visits(&self, visits: Visits, rng: &mut Rng) -> Vec<TraceRequest> {
        let rate = self.rate * visits.share;
        let seconds = self.requests as f64 / self.rate + self.ramp_s / 2.0;
        // Visits that began before the run are in the middle of theirs when it starts: without
        // them the first seconds would be emptier than the rest. A ramp wants it so.
        let early = if self.ramp_s > 0.0 { 0.0 } else { visits.length_s() * 4.0 };
        let mut starts_rng = Rng::new(rng.next_u64());
        let mut requests = Vec::new();
        for (start, connection) in
            self.arrival_times(rate / visits.requests, &mut starts_rng).zip(visits.numbers_from..)
        {
            let mut at_s = start.as_ns() as f64 / 1e9 - early;
            if seconds < at_s {
                break;
            }
            while at_s < seconds {
                if 0.0 <= at_s {
                    requests.push(place((connection, span_of_ns(at_s * 1e9))));
                }
                if uniform(rng) * visits.requests < 1.0 {
                    break;
                }
                at_s += exponential(rng) * visits.think_ms / 1e3;
            }
        }
        requests
    }
}

/// What visits are like, and how much of the load they bring.
#[derive(Clone, Copy)]
struct Visits {
    requests: f64,
    think_ms: f64,
    share: f64,
    numbers_from: u32,
}

impl Visits {
    /// How long one takes on average.
    fn length_s(self) -> f64 {
        (self.requests - 1.0) * self.think_ms / 1e3
    }
}

const fn place((connection, at): (u32, Span)) -> TraceRequest {
    TraceRequest { at, service: Span::ZERO, connection, class: 0 }
}

/// Numbers connections in the order of their first request.
fn number_connections(requests: &mut [TraceRequest]) {
    let mut numbers = BTreeMap::new();
    for request in requests {
        let next = u32::try_from(numbers.len()).expect("there are fewer requests than numbers");
        request.connection = *numbers.entry(request.connection).or_insert(next);
    }
}

/// An exponential number with mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - uniform(rng)).ln()
}

#[cfg(test)]
mod tests {
    use super::super::mix::Service;
    use super::*;

    fn spec(connections: Connections) -> TraceSpec {
        TraceSpec {
            seed: 7,
            mix: Mix::named("bim10", Service::Sleep, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections,
            rate: 1_000.0,
            requests: 50_000,
            ramp_s: 0.0,
        }
    }

    const WAYS: [Connections; 4] = [
        Connections::PerRequest,
        Connections::KeepAlive { requests: 20.0, think_ms: 500.0 },
        Connections::Mixed { requests: 20.0, think_ms: 500.0 },
        Connections::Pool { count: 64 },
    ];

    #[test]
    fn the_same_spec_gives_the_same_trace_and_another_seed_another() {
        for connections in WAYS {
            let drawn = Trace::draw(spec(connections)).unwrap();
            assert_eq!(Trace::draw(spec(connections)).unwrap(), drawn);
            let other = Trace::draw(TraceSpec { seed: 8, ..spec(connections) }).unwrap();
            assert_ne!(other.requests, drawn.requests);
        }
    }

    #[test]
    fn the_rate_is_kept_from_beginning_to_end() {
        // Visits come in bunches, so that their numbers vary more.
        for (connections, bound) in WAYS.into_iter().zip([0.1, 0.4, 0.3, 0.1]) {
            let trace = Trace::draw(spec(connections)).unwrap();
            assert!(trace.requests.is_sorted_by_key(|request| request.at));
            let count = trace.requests.len() as f64;
            assert!((count / 50_000.0 - 1.0).abs() < bound / 2.0, "{connections:?}: {count}");
            for tenth in 0..10_u64 {
                let (from, to) = (Span::from_s(tenth * 5), Span::from_s(tenth * 5 + 5));
                let within = |request: &&TraceRequest| from <= request.at && request.at < to;
                let share = trace.requests.iter().filter(within).count() as f64 / 5_000.0;
                assert!((share - 1.0).abs() < bound, "{connections:?}: tenth {tenth}: {share}");
            }
        }
    }

    #[test]
    fn requests_share_connections_as_asked() {
        let lengths = |connections| {
            let trace = Trace::draw(spec(connections)).unwrap();
            let lengths = trace.connection_lengths();
            assert!(lengths.iter().all(|length| 0 < *length));
            let mean = trace.requests.len() as f64 / lengths.len() as f64;
            (lengths, mean)
        };
        let [single, visits, mixed, pool] = WAYS.map(lengths);
        assert!(single.0.iter().all(|length| *length == 1));
        // The first and the last visits are cut by the ends of the run.
        assert!((visits.1 / 20.0 - 1.0).abs() < 0.25, "{}", visits.1);
        let alone = mixed.0.iter().filter(|length| **length == 1).count() as f64;
        assert!((alone / 25_000.0 - 1.0).abs() < 0.1, "{alone}");
        assert_eq!(pool.0.len(), 64);
    }

    #[test]
    fn constant_arrivals_are_even_and_a_ramp_grows() {
        let even = TraceSpec { arrivals: Arrivals::Constant, ..spec(Connections::PerRequest) };
        let trace = Trace::draw(even.clone()).unwrap();
        for pair in trace.requests.windows(2) {
            assert_eq!(pair[1].at.as_ns() - pair[0].at.as_ns(), 1_000_000);
        }
        let trace = Trace::draw(TraceSpec { ramp_s: 10.0, ..even }).unwrap();
        let before = |s| trace.requests.iter().filter(|r| r.at <= Span::from_s(s)).count();
        // A quarter of the ramp's requests come in its first half, all of them make half a rate.
        assert_eq!((before(5), before(10), before(11)), (1_250, 5_000, 6_000));
    }

    #[test]
    fn impossible_specs_are_refused() {
        let good = || spec(Connections::PerRequest);
        let visits = Connections::KeepAlive { requests: 0.5, think_ms: 1.0 };
        for (bad, word) in [
            (TraceSpec { rate: 0.0, ..good() }, "rate of 0"),
            (TraceSpec { rate: f64::NAN, ..good() }, "rate of NaN"),
            (TraceSpec { requests: 0, ..good() }, "0 requests"),
            (TraceSpec { requests: u64::MAX, ..good() }, "shorten the run"),
            (TraceSpec { ramp_s: -1.0, ..good() }, "ramp of -1"),
            (TraceSpec { connections: visits, ..good() }, "visits need"),
            (TraceSpec { connections: Connections::Pool { count: 0 }, ..good() }, "0 connections"),
        ] {
            let error = Trace::draw(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
