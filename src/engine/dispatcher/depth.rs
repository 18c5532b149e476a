//! What requests cost here, measured all the time, and what follows from it: how deep `jbsq` lets a
//! worker's queue be when the user leaves it open (deep enough to hide the gap between a completion
//! and the next start, and no deeper, since what waits at a worker cannot go to another before it
//! is recalled), whether to wake an idle worker for a short request, and how long somebody waits
//! who comes upon a busy one.

use super::super::input::WorkDone;
use super::policy::Depth;
use crate::limits::{JBSQ_AUTO_DEPTH_MAX, WAIT_AT_WORKER};
use crate::units::Span;

/// What has been measured lately.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gauge {
    /// What workers have done, by their own accounts.
    work: WorkDone,
    /// Running mean, in 256ths of microseconds.
    transit: u64,
}

/// The longest way that is believed: what took longer had to wait for a CPU.
const TRANSIT_MAX_US: u32 = 1_000;
/// Samples that the mean of transits remembers.
const TRANSITS: u64 = 256;
/// Requests that are remembered, half of them for sure: long enough that a rare long one is not
/// forgotten between two of its kind.
const REQUESTS: u64 = 4_096;
/// Hides the gap.
const DEPTH_MIN: u32 = 2;

impl Gauge {
    /// Takes in what a worker has done.
    pub fn worked(&mut self, done: WorkDone) {
        let work = &mut self.work;
        work.requests = work.requests.saturating_add(done.requests);
        work.time = work.time.plus(done.time);
        work.squares = work.squares.saturating_add(done.squares);
        while REQUESTS < work.requests {
            work.requests /= 2;
            work.time = Span::from_ns(work.time.as_ns() / 2);
            work.squares /= 2;
        }
    }

    /// Takes in the time from an offer to an idle worker's claim: half of the gap.
    pub fn crossed(&mut self, transit_us: u32) {
        let sample = u64::from(transit_us.min(TRANSIT_MAX_US)) * TRANSITS;
        let before = self.transit;
        self.transit =
            if before == 0 { sample } else { before - before / TRANSITS + sample / TRANSITS };
    }

    /// From a completion to the next start, if nothing waits at the worker: there and back.
    pub const fn gap(&self) -> Span {
        self.transit().times(2)
    }

    /// The depth. Two hides the gap, and what waits behind a long request is moved when somebody is
    /// idle (decision 009), so that one is never better. Where requests are shorter than the gap,
    /// or than a wait that nobody feels, as many as are served meanwhile: workers would idle for
    /// most of the time otherwise, and every few requests would cost the waking of a process.
    pub fn depth(&self, depth: Depth) -> u32 {
        match depth {
            Depth::Fixed(n) => n,
            Depth::Auto if self.work.requests == 0 => DEPTH_MIN,
            Depth::Auto => {
                let meanwhile = self.served_in(self.gap().max(WAIT_AT_WORKER));
                meanwhile.saturating_add(1).clamp(DEPTH_MIN, JBSQ_AUTO_DEPTH_MAX)
            }
        }
    }

    /// How many requests a worker serves while an idle one wakes up: whoever has fewer is the
    /// better choice, since he gets to the next one sooner, and no process has to be woken.
    pub fn served_while_waking(&self) -> u32 {
        let transit = self.transit().as_ns();
        u32::try_from(transit / self.service().as_ns().max(1)).unwrap_or(u32::MAX)
    }

    /// What is left on average of the request that somebody finds running: half of the mean where
    /// all are alike, the mean where they are exponential, many times the mean where a few are long
    /// (the mean residual life of renewal theory, E\[S^2\] / 2 E\[S\]).
    pub const fn rest(&self) -> Span {
        let us = self.work.time.as_us();
        let us = if us == 0 { 1 } else { us };
        Span::from_ns((self.work.squares / 2).saturating_mul(1_000) / us)
    }

    const fn transit(&self) -> Span {
        Span::from_ns(self.transit * 1_000 / TRANSITS)
    }

    const fn service(&self) -> Span {
        let requests = if self.work.requests == 0 { 1 } else { self.work.requests };
        Span::from_ns(self.work.time.as_ns() / requests)
    }

    /// Requests that a worker serves in a span, the last one begun included.
    fn served_in(&self, span: Span) -> u32 {
        let count = span.as_ns().div_ceil(self.service().as_ns().max(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::super::input::{Input, Load, Message};
    use super::super::super::pair::Pair;
    use super::super::policy::Policy;
    use super::*;
    use crate::units::WorkerId;

    fn one(time: Span) -> WorkDone {
        WorkDone { requests: 1, time, squares: time.squared_us2() }
    }

    fn gauge(service_us: u64, transit_us: u32) -> Gauge {
        let mut gauge = Gauge::default();
        gauge.worked(one(Span::from_us(service_us)));
        gauge.crossed(transit_us);
        gauge
    }

    #[test]
    fn two_are_enough_where_requests_are_longer_than_the_gap() {
        assert_eq!(Gauge::default().depth(Depth::Auto), 2, "nothing is known yet");
        assert_eq!(gauge(2_000, 60).depth(Depth::Auto), 2);
        assert_eq!(gauge(100_000, 60).depth(Depth::Auto), 2);
        assert_eq!(gauge(2_000, 60).depth(Depth::Fixed(5)), 5);
        assert_eq!(gauge(2_000, 60).gap(), Span::from_us(120));
    }

    #[test]
    fn requests_shorter_than_a_wait_that_nobody_feels_queue_deeper_up_to_a_limit() {
        assert_eq!(gauge(20, 30).depth(Depth::Auto), 6);
        assert_eq!(gauge(20, 100).depth(Depth::Auto), 11, "the gap is longer");
        assert_eq!(gauge(1, 500).depth(Depth::Auto), JBSQ_AUTO_DEPTH_MAX);
        assert_eq!(gauge(0, 0).depth(Depth::Auto), JBSQ_AUTO_DEPTH_MAX);
    }

    #[test]
    fn waking_somebody_costs_as_many_requests_as_are_served_meanwhile() {
        assert_eq!(Gauge::default().served_while_waking(), 0);
        assert_eq!(gauge(2_000, 60).served_while_waking(), 0);
        assert_eq!(gauge(60, 60).served_while_waking(), 1);
        assert_eq!(gauge(7, 60).served_while_waking(), 8);
    }

    /// Who is offered what comes in one after the other, once requests have taken so long here.
    fn offered(service_us: u64, count: u32) -> Vec<WorkerId> {
        let mut pair = Pair::new(Policy::Jbsq(Depth::Auto));
        pair.arrives(0);
        pair.says(0, Message::Claimed { transit_us: 30 });
        for message in [Message::Done { service_us: 1 }, Message::Closed] {
            pair.says(0, message);
        }
        let load = Load { finished: 1, busy: Span::from_us(service_us), ..Load::NONE };
        pair.step(Input::Load { worker: pair.workers[0], load });
        (1..=count).for_each(|index| pair.arrives(index));
        pair.offers[1..].iter().map(|(_, to)| *to).collect()
    }

    #[test]
    fn short_requests_gather_where_somebody_is_awake() {
        let gathered = offered(10, 4);
        let first = gathered[0];
        assert_eq!(gathered.iter().filter(|to| **to == first).count(), 3);
        assert_ne!(gathered[3], first, "by now waking another is quicker");
        let spread = offered(100, 2);
        assert_ne!(spread[0], spread[1]);
    }

    #[test]
    fn a_rare_long_request_is_not_forgotten() {
        let mut gauge = gauge(10, 30);
        for _ in 0..50 {
            gauge.worked(one(Span::from_ms(100)));
            for _ in 0..99 {
                gauge.worked(one(Span::from_us(10)));
            }
            assert_eq!(gauge.depth(Depth::Auto), 2, "the mean is a millisecond");
        }
    }

    #[test]
    fn whoever_finds_a_worker_busy_waits_for_the_long_ones() {
        assert_eq!(Gauge::default().rest(), Span::ZERO);
        assert_eq!(gauge(100, 30).rest(), Span::from_us(50), "half of it is over");
        let mut gauge = gauge(100, 30);
        for _ in 1..99 {
            gauge.worked(one(Span::from_us(100)));
        }
        gauge.worked(one(Span::from_ms(10)));
        let rest = gauge.rest().as_us();
        assert!((2_500..2_600).contains(&rest), "{rest} us with 1 % of 100 times the length");
    }

    #[test]
    fn what_a_liar_says_of_its_work_does_no_harm() {
        let mut gauge = gauge(10, 30);
        let lie = WorkDone { requests: u64::MAX, time: Span::from_ns(u64::MAX), squares: u64::MAX };
        for _ in 0..9 {
            gauge.worked(lie);
            gauge.worked(WorkDone { time: Span::ZERO, ..lie });
            gauge.rest();
            assert!((2..=JBSQ_AUTO_DEPTH_MAX).contains(&gauge.depth(Depth::Auto)));
        }
    }
}
