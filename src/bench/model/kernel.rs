//! Policies in which the kernel chooses: one accept queue that whoever is idle takes from, or a
//! queue for each worker that a hash fills.

use std::collections::VecDeque;

use super::super::bound::Queue;
use super::super::outcome::{Fate, Sample, TraceOutcome};
use super::super::trace::Trace;
use super::calendar::Calendar;
use super::server::{Begun, ModelServer};
use super::{Costs, ModelApp};
use crate::engine::dispatcher::policy::Policy;
use crate::engine::rng::Rng;
use crate::units::Span;

/// Workers that accept for themselves.
pub(super) struct Kernel<'a> {
    trace: &'a Trace,
    costs: Costs,
    arrivals: Queue<'a>,
    calendar: Calendar<KernelPlan>,
    servers: Vec<ModelServer<usize>>,
    queue: Accept,
    /// Who has a connection open.
    owners: Vec<Option<usize>>,
    samples: Vec<Sample>,
}

/// Where connections wait to be accepted.
enum Accept {
    /// All workers take from one queue; those that are idle are woken in rotation.
    Shared { backlog: VecDeque<usize>, idle: VecDeque<usize> },
    /// The four numbers of a connection decide whose queue it waits in.
    Hashed(Rng),
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum KernelPlan {
    Finishes(usize),
    Looks(usize),
}

impl<'a> Kernel<'a> {
    pub(super) fn new(trace: &'a Trace, app: &ModelApp) -> Self {
        let workers = app.speeds.len();
        let queue = match app.policy {
            Policy::Shared => {
                Accept::Shared { backlog: VecDeque::new(), idle: (0..workers).collect() }
            }
            Policy::RoundRobin
            | Policy::Weighted
            | Policy::Least
            | Policy::Jbsq(_)
            | Policy::Reuseport => Accept::Hashed(Rng::new(app.seed)),
        };
        let unsent =
            Sample { sent: Span::ZERO, done: Span::ZERO, worker: None, fate: Fate::Unsent };
        Self {
            trace,
            costs: app.costs,
            arrivals: Queue::new(trace),
            calendar: Calendar::new(),
            servers: app.speeds.iter().map(|speed| ModelServer::new(*speed)).collect(),
            queue,
            owners: vec![None; trace.connection_lengths().len()],
            samples: vec![unsent; trace.requests.len()],
        }
    }

    pub(super) fn run(mut self) -> TraceOutcome {
        loop {
            let arrival = self.arrivals.peek().map(|(at, _)| at);
            let planned = self.calendar.next_at();
            let Some(now) = arrival.into_iter().chain(planned).min() else {
                return TraceOutcome { samples: self.samples };
            };
            while let Some(plan) = self.calendar.take(now) {
                match plan {
                    KernelPlan::Finishes(worker) => self.finished(now, worker),
                    KernelPlan::Looks(worker) => self.begin(now, worker),
                }
            }
            if arrival == Some(now) {
                self.arrived(now);
            }
        }
    }

    fn arrived(&mut self, now: Span) {
        let Some((_, request)) = self.arrivals.next() else { return };
        self.samples[request].sent = now;
        let connection = self.trace.requests[request].connection as usize;
        if let Some(owner) = self.owners[connection] {
            self.servers[owner].ask(now, request);
            return self.begin(now, owner);
        }
        match &mut self.queue {
            Accept::Shared { backlog, idle } => match idle.pop_front() {
                Some(worker) => self.wake(now, worker, request),
                None => backlog.push_back(request),
            },
            Accept::Hashed(rng) => {
                let workers = self.servers.len() as u64;
                let worker = usize::try_from(rng.below(workers)).expect("workers are few");
                self.wake(now, worker, request);
            }
        }
    }

    /// The connection is the worker's once it looks.
    fn wake(&mut self, now: Span, worker: usize, request: usize) {
        let server = &mut self.servers[worker];
        let transit = if server.is_idle() { self.costs.handoff } else { Span::ZERO };
        server.send(now.plus(transit), request);
        self.calendar.plan(now.plus(transit), KernelPlan::Looks(worker));
    }

    fn begin(&mut self, now: Span, worker: usize) {
        let request = match self.servers[worker].begin(now, self.costs.handoff) {
            Some(Begun::Received(request, _)) => {
                self.owners[self.trace.requests[request].connection as usize] = Some(worker);
                request
            }
            Some(Begun::Request(request)) => request,
            None => return,
        };
        if let Accept::Shared { idle, .. } = &mut self.queue {
            idle.retain(|one| *one != worker);
        }
        let work = self.trace.requests[request].service;
        let done = self.servers[worker].run(now, request, work, self.costs.overhead);
        self.calendar.plan(done, KernelPlan::Finishes(worker));
    }

    fn finished(&mut self, now: Span, worker: usize) {
        let Some(request) = self.servers[worker].finish(now) else { return };
        let sample = &mut self.samples[request];
        (sample.done, sample.fate) = (now, Fate::Answered);
        sample.worker = u16::try_from(worker).ok();
        self.arrivals.answered(request, now);
        self.accept_next(worker);
        self.begin(now, worker);
        if let Accept::Shared { idle, .. } = &mut self.queue
            && self.servers[worker].is_idle()
        {
            idle.push_back(worker);
        }
    }

    /// A worker that is through takes the oldest newcomer, unless its own clients wait for longer.
    fn accept_next(&mut self, worker: usize) {
        let Accept::Shared { backlog, .. } = &mut self.queue else { return };
        let Some(&request) = backlog.front() else { return };
        let since = self.samples[request].sent;
        if self.servers[worker].oldest_waiting().is_none_or(|other| since <= other) {
            backlog.pop_front();
            self.servers[worker].send(since, request);
        }
    }
}
