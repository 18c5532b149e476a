//! A worker that executes one request at a time, as the built-in one does: what it has been sent
//! lies in its channel until it can begin, what comes on open connections waits its turn beside it.

use std::collections::VecDeque;

use super::super::bound::at_speed;
use crate::engine::input::{Load, WorkDone};
use crate::units::Span;

/// One worker. `T` names what lies in its channel.
#[derive(Debug)]
pub(super) struct ModelServer<T> {
    speed: f64,
    /// Offered and not claimed, with the time from which it can be claimed.
    channel: VecDeque<(Span, T)>,
    /// Offers taken back that it will come upon.
    missed: Vec<T>,
    /// Requests on its open connections, with the time since which they are there.
    waiting: VecDeque<(Span, usize)>,
    /// The request that runs, and since when.
    running: Option<(usize, Span)>,
    idle_since: Span,
    /// What it has done so far.
    work: WorkDone,
    /// Connections it has open.
    pub(super) connections: u32,
}

/// What a worker begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begun<T> {
    /// What was first in its channel. It had been idle for some time or not.
    Received(T, Rest),
    /// A request on a connection that it has open.
    Request(usize),
}

/// Whether a worker had nothing to do before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// It came from another request.
    Busy,
    /// It had been idle when this was sent.
    Idle,
}

impl<T: Copy + PartialEq> ModelServer<T> {
    pub(super) fn new(speed: f64) -> Self {
        Self {
            speed,
            channel: VecDeque::new(),
            missed: Vec::new(),
            waiting: VecDeque::new(),
            running: None,
            idle_since: Span::ZERO,
            work: WorkDone::default(),
            connections: 0,
        }
    }

    /// Something is sent to it that it can receive from `at` on.
    pub(super) fn send(&mut self, at: Span, what: T) {
        self.channel.push_back((at, what));
    }

    /// A request is there on a connection that it has open.
    pub(super) fn ask(&mut self, now: Span, request: usize) {
        self.waiting.push_back((now, request));
    }

    /// Takes an offer back, unless it is claimed.
    pub(super) fn take_back(&mut self, offer: T) -> bool {
        let position = self.channel.iter().position(|(_, what)| *what == offer);
        position.and_then(|at| self.channel.remove(at)).is_some_and(|(_, what)| {
            self.missed.push(what);
            true
        })
    }

    /// What it comes upon now, if it is idle, that was taken back meanwhile.
    pub(super) fn miss(&mut self) -> Option<T> {
        if self.running.is_some() { None } else { self.missed.pop() }
    }

    /// What it begins with now, if it is idle and something is there: the oldest.
    pub(super) fn begin(&mut self, now: Span, transit: Span) -> Option<Begun<T>> {
        if self.running.is_some() {
            return None;
        }
        let received = self.channel.front().map(|(at, _)| *at).filter(|at| *at <= now);
        let asked = self.waiting.front().map(|(since, _)| *since);
        match (received, asked) {
            (Some(at), asked) if asked.is_none_or(|since| at <= since) => {
                let (at, what) = self.channel.pop_front()?;
                let rested = self.idle_since.plus(transit) <= at;
                Some(Begun::Received(what, if rested { Rest::Idle } else { Rest::Busy }))
            }
            (_, Some(_)) => {
                let (_, request) = self.waiting.pop_front()?;
                Some(Begun::Request(request))
            }
            (_, None) => None,
        }
    }

    /// It executes the request; the time when it will be done.
    pub(super) fn run(&mut self, now: Span, request: usize, work: Span, overhead: Span) -> Span {
        self.running = Some((request, now));
        now.plus(self.takes(work, overhead))
    }

    /// How long a request of so much work takes here.
    pub(super) fn takes(&self, work: Span, overhead: Span) -> Span {
        at_speed(work, self.speed).plus(overhead)
    }

    /// What ran has ended.
    pub(super) fn finish(&mut self, now: Span) -> Option<usize> {
        let (request, since) = self.running.take()?;
        self.idle_since = now;
        let took = now.less(since);
        self.work.requests += 1;
        self.work.time = self.work.time.plus(took);
        self.work.squares += took.squared_us2();
        Some(request)
    }

    /// Its account of itself.
    pub(super) fn load(&self, now: Span) -> Load {
        let running = self.running.map_or(Span::ZERO, |(_, since)| now.less(since));
        Load {
            in_flight: self.in_flight(),
            connections: self.connections,
            finished: self.work.requests,
            busy: self.work.time.plus(running),
            squares: self.work.squares + running.squared_us2(),
        }
    }

    /// Since when the oldest request on its open connections waits.
    pub(super) fn oldest_waiting(&self) -> Option<Span> {
        self.waiting.front().map(|(since, _)| *since)
    }

    /// Requests begun or waiting on open connections.
    fn in_flight(&self) -> u32 {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        waiting.saturating_add(u32::from(self.running.is_some()))
    }

    /// Whether nothing runs and nothing is there to run.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty() && self.channel.is_empty()
    }
}
