//! The bound: one central queue, first come first served, and a worker that takes the next request
//! the moment it is free (M/G/k). No policy that knows nothing of sizes and lets requests run to
//! their end has a better tail, so every table tells how far from this a policy is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::mix::span_of_ns;
use super::outcome::{Fate, Sample, TraceOutcome};
use super::trace::Trace;
use crate::units::Span;

/// Replays the trace through a central queue with workers of these speeds (1 is one that serves a
/// second's work in a second). Every request costs `overhead` beside its service. The next one on
/// a connection is there no sooner than the one before it is answered. Of several idle workers the
/// fastest takes the request.
///
/// # Panics
/// Without workers.
pub fn replay(trace: &Trace, speeds: &[f64], overhead: Span) -> TraceOutcome {
    let mut queue = Queue::new(trace);
    let mut free_at = vec![Span::ZERO; speeds.len()];
    let nothing = Sample { sent: Span::ZERO, done: Span::ZERO, worker: None, fate: Fate::Unsent };
    let mut samples = vec![nothing; trace.requests.len()];
    while let Some((ready, index)) = queue.next() {
        let worker = pick(&free_at, speeds, ready);
        let work = trace.requests[index].service;
        let done = ready.max(free_at[worker]).plus(at_speed(work, speeds[worker])).plus(overhead);
        free_at[worker] = done;
        let number = u16::try_from(worker).expect("workers are few");
        samples[index] = Sample { sent: ready, done, worker: Some(number), fate: Fate::Answered };
        queue.answered(index, done);
    }
    TraceOutcome { samples }
}

/// Requests in the order in which they are there to be served.
pub(super) struct Queue<'a> {
    trace: &'a Trace,
    /// The next request on the same connection.
    successors: Vec<Option<u32>>,
    /// The first request of a connection that has not come yet.
    next: usize,
    /// Whether a request follows another on its connection.
    follows: Vec<bool>,
    /// Followers whose turn has come.
    ready: BinaryHeap<Reverse<(Span, usize)>>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        let count = trace.requests.len();
        let (mut successors, mut follows) = (vec![None; count], vec![false; count]);
        let mut last_of = vec![None; trace.connection_lengths().len()];
        for (index, request) in trace.requests.iter().enumerate() {
            let last: &mut Option<usize> = &mut last_of[request.connection as usize];
            if let Some(before) = last.replace(index) {
                successors[before] = u32::try_from(index).ok();
                follows[index] = true;
            }
        }
        Self { trace, successors, next: 0, follows, ready: BinaryHeap::new() }
    }

    /// When the next request is there, and which it is; none when all there are wait for answers.
    pub(super) fn peek(&mut self) -> Option<(Span, usize)> {
        while self.follows.get(self.next) == Some(&true) {
            self.next += 1;
        }
        let first = self.trace.requests.get(self.next).map(|request| (request.at, self.next));
        let follower = self.ready.peek().map(|Reverse(follower)| *follower);
        first.into_iter().chain(follower).min()
    }

    /// Takes the next request out.
    pub(super) fn next(&mut self) -> Option<(Span, usize)> {
        let (ready, index) = self.peek()?;
        if self.ready.peek() == Some(&Reverse((ready, index))) {
            self.ready.pop();
        } else {
            self.next += 1;
        }
        Some((ready, index))
    }

    /// The request was answered: the one behind it on its connection may come.
    pub(super) fn answered(&mut self, index: usize, done: Span) {
        if let Some(successor) = self.successors[index] {
            let successor = successor as usize;
            self.ready.push(Reverse((self.trace.requests[successor].at.max(done), successor)));
        }
    }

    /// Whether another request comes on the same connection.
    pub(super) fn has_successor(&self, index: usize) -> bool {
        self.successors[index].is_some()
    }
}

/// The fastest worker that is idle at `ready`, or whoever is free first.
fn pick(free_at: &[Span], speeds: &[f64], ready: Span) -> usize {
    let idle = (0..free_at.len())
        .filter(|worker| free_at[*worker] <= ready)
        .max_by(|a, b| speeds[*a].total_cmp(&speeds[*b]));
    idle.or_else(|| (0..free_at.len()).min_by_key(|worker| free_at[*worker]))
        .expect("there is at least one worker")
}

/// How long the work takes at that speed.
pub(super) fn at_speed(work: Span, speed: f64) -> Span {
    if speed == 1.0 { work } else { span_of_ns(work.as_ns() as f64 / speed) }
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Mix, Service};
    use super::super::trace::{Arrivals, Connections, TraceRequest, TraceSpec};
    use super::*;

    /// `ask` requests per second of a mean service of one millisecond, for `workers` at `load`.
    fn trace(mix: &str, workers: u32, load: f64, requests: u64) -> Trace {
        let mix = Mix::named(mix, Service::Sleep, 1.0).unwrap();
        let rate = load * f64::from(workers) / mix.mean_ms().unwrap() * 1e3;
        let spec = TraceSpec {
            seed: 11,
            mix,
            arrivals: Arrivals::Poisson,
            connections: Connections::PerRequest,
            rate,
            requests,
            ramp_s: 0.0,
        };
        Trace::draw(spec).unwrap()
    }

    /// The mean wait over the mean service time.
    fn mean_wait(trace: &Trace, workers: usize) -> f64 {
        let outcome = replay(trace, &vec![1.0; workers], Span::ZERO);
        let (mut wait, mut service) = (0.0, 0.0);
        for (request, sample) in trace.requests.iter().zip(&outcome.samples) {
            let sojourn = sample.done.as_ns() - request.at.as_ns();
            wait += (sojourn - request.service.as_ns()) as f64;
            service += request.service.as_ns() as f64;
        }
        wait / service
    }

    /// Erlang's C formula over the capacity that is left: the mean wait in an M/M/k queue, in mean
    /// service times.
    fn erlang(workers: u32, load: f64) -> f64 {
        let offered = load * f64::from(workers);
        let mut blocked = 1.0;
        for server in 1..=workers {
            blocked = offered * blocked / (f64::from(server) + offered * blocked);
        }
        let waits = blocked / (1.0 - load * (1.0 - blocked));
        waits / (f64::from(workers) * (1.0 - load))
    }

    #[test]
    fn exponential_service_waits_as_erlang_says() {
        assert!((erlang(1, 0.8) - 4.0).abs() < 1e-9);
        for (workers, load) in [(1, 0.5), (1, 0.7), (4, 0.7), (8, 0.7)] {
            let trace = trace("exp", workers, load, 500_000);
            let (found, theory) = (mean_wait(&trace, workers as usize), erlang(workers, load));
            assert!((found / theory - 1.0).abs() < 0.02, "M/M/{workers}: {found}, not {theory}");
        }
    }

    #[test]
    fn other_service_waits_as_lee_and_longton_say() {
        // (1 + C^2) / 2 of the exponential wait: exact for one worker, rough for more.
        for (mix, squared_variation, workers, tolerance) in [
            ("det", 0.0, 1, 0.02),
            ("uniform", 1.0 / 3.0, 1, 0.02),
            ("bim10", 7.29 * 10.0 / 36.1, 1, 0.05),
            ("det", 0.0, 4, 0.15),
            ("bim10", 7.29 * 10.0 / 36.1, 4, 0.15),
        ] {
            let trace = trace(mix, workers, 0.7, 250_000);
            let theory = erlang(workers, 0.7) * (1.0 + squared_variation) / 2.0;
            let found = mean_wait(&trace, workers as usize);
            let error = (found / theory - 1.0).abs();
            assert!(error < tolerance, "{mix} on {workers}: {found}, not {theory}");
        }
    }

    fn by_hand(requests: &[(u64, u64, u32)]) -> Trace {
        let mut trace = trace("det", 1, 0.5, 1);
        let request = |&(at, service, connection)| TraceRequest {
            at: Span::from_ms(at),
            service: Span::from_ms(service),
            connection,
            class: 0,
        };
        trace.requests = requests.iter().map(request).collect();
        trace
    }

    fn done_ms(outcome: &TraceOutcome) -> Vec<u64> {
        outcome.samples.iter().map(|sample| sample.done.as_us() / 1_000).collect()
    }

    #[test]
    fn first_come_is_first_served_and_overhead_is_paid_each_time() {
        let trace = by_hand(&[(0, 10, 0), (1, 5, 1), (2, 1, 2), (30, 1, 3)]);
        assert_eq!(done_ms(&replay(&trace, &[1.0], Span::ZERO)), [10, 15, 16, 31]);
        assert_eq!(done_ms(&replay(&trace, &[1.0; 2], Span::ZERO)), [10, 6, 7, 31]);
        assert_eq!(done_ms(&replay(&trace, &[1.0], Span::from_ms(2))), [12, 19, 22, 33]);
    }

    #[test]
    fn a_request_waits_for_the_one_before_it_on_its_connection() {
        let trace = by_hand(&[(0, 10, 0), (1, 5, 0), (2, 1, 1)]);
        assert_eq!(done_ms(&replay(&trace, &[1.0; 3], Span::ZERO)), [10, 15, 3]);
        assert_eq!(done_ms(&replay(&trace, &[1.0], Span::ZERO)), [10, 16, 11]);
    }

    #[test]
    fn the_faster_of_two_idle_workers_is_taken() {
        let trace = by_hand(&[(0, 10, 0), (1, 10, 1), (40, 10, 2)]);
        assert_eq!(done_ms(&replay(&trace, &[0.5, 1.0], Span::ZERO)), [10, 21, 50]);
    }
}
