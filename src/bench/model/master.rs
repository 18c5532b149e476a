//! The master's part: the engine takes a step for everything that happens, turn by turn as in the
//! real loop, and what it asks for is carried out at once.

use super::super::bound::Queue;
use super::super::outcome::{Fate, Sample, TraceOutcome};
use super::super::trace::Trace;
use super::calendar::Calendar;
use super::server::{Begun, ModelServer, Rest};
use super::{Costs, ModelApp};
use crate::engine::action::{Action, Actions};
use crate::engine::capabilities::Capabilities;
use crate::engine::dispatcher::Rules;
use crate::engine::dispatcher::overload::Overload;
use crate::engine::input::{FirstSpeaker, Input, Message, Terms};
use crate::engine::supervisor::worker::Patience;
use crate::engine::{Engine, Setup};
use crate::units::{GiveBack, ListenerId, Mono, Route, Span, Ticket, WorkerId};

/// A master and its workers.
pub(super) struct ModelMaster<'a> {
    trace: &'a Trace,
    costs: Costs,
    engine: Engine,
    actions: Actions,
    arrivals: Queue<'a>,
    calendar: Calendar<ModelPlan>,
    names: Vec<WorkerId>,
    servers: Vec<ModelServer<Ticket>>,
    /// Which of them may say something new of their load.
    stirred: Vec<usize>,
    tickets: ModelTickets,
    /// By connection, from its arrival to its end.
    places: Vec<ModelPlace>,
    samples: Vec<Sample>,
    now: Span,
    /// Whether the engine has taken a step that no turn has ended yet.
    in_turn: bool,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug)]
enum ModelPlace {
    /// It has not come, or has ended.
    Nowhere,
    /// Its request waits in the master, or is on its way to a worker.
    Asking,
    /// A worker has it.
    With {
        worker: usize,
        ticket: Ticket,
        /// A request was answered there since it was claimed.
        served: bool,
    },
    /// A worker has given it back, and the master does not watch it yet. The next request may be
    /// there.
    Returning { next: Option<usize> },
    /// The master watches it.
    Parked(Ticket),
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum ModelPlan {
    /// A worker's word reaches the master.
    Hears(usize, Ticket, ModelReport),
    Finishes(usize),
    Looks(usize),
}

/// A [`Message`] that can stand in a calendar.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum ModelReport {
    Claimed(u32),
    Done(u32),
    Idle(u32),
    Closed,
    Missed,
}

/// The tickets in use, and which request each of them stands for.
#[derive(Debug, Default)]
struct ModelTickets {
    requests: Vec<usize>,
    generations: Vec<u32>,
    free: Vec<u32>,
}

/// Longer than any run: nobody here is ever lost or given up.
const NEVER: Span = Span::from_s(1 << 30);

impl<'a> ModelMaster<'a> {
    pub(super) fn new(trace: &'a Trace, app: &ModelApp) -> Self {
        let setup = Setup {
            rules: Rules {
                policy: app.policy,
                dispatch: app.dispatch,
                classes: app.classes,
                copies_max: u32::MAX,
                slot_cost: 0,
                weights: app.weights.clone(),
                hold_max: u32::MAX,
                overload: Overload::Hold,
                stall_timeout: NEVER,
            },
            capabilities: Capabilities::FULL,
            patience: Patience { start: NEVER, drain: NEVER },
            seed: app.seed,
        };
        let unsent =
            Sample { sent: Span::ZERO, done: Span::ZERO, worker: None, fate: Fate::Unsent };
        let mut master = Self {
            trace,
            costs: app.costs,
            engine: Engine::new(setup),
            actions: Actions::new(),
            arrivals: Queue::new(trace),
            calendar: Calendar::new(),
            names: vec![WorkerId::default(); app.speeds.len()],
            servers: app.speeds.iter().map(|speed| ModelServer::new(*speed)).collect(),
            stirred: Vec::new(),
            tickets: ModelTickets::default(),
            places: vec![ModelPlace::Nowhere; trace.connection_lengths().len()],
            samples: vec![unsent; trace.requests.len()],
            now: Span::ZERO,
            in_turn: false,
        };
        master.fill_slots();
        master
    }

    pub(super) fn run(mut self) -> TraceOutcome {
        while let Some(now) = self.next_instant() {
            self.now = now;
            self.live();
            // An offer that costs nothing is received, and a word that costs nothing heard, in the
            // same instant: another turn sees to that.
            while self.in_turn || self.engine.deadline().is_some_and(|at| at <= self.clock()) {
                self.end_turn();
                self.live();
            }
            if self.arrivals.peek().is_none() && self.calendar.next_at().is_none() {
                break;
            }
        }
        TraceOutcome { samples: self.samples }
    }

    fn fill_slots(&mut self) {
        self.engine.start(self.clock(), &mut self.actions);
        let spawned: Vec<_> = self.actions.drain().collect();
        for action in spawned {
            if let Action::Spawn { worker, slot, .. } = action {
                self.names[slot.index()] = worker;
                let terms = Terms { concurrency: 1, connections_max: CONNECTIONS_MAX };
                self.step(Input::Hello { worker, terms });
            }
        }
        self.end_turn();
    }

    /// The master's clock must not stand at its origin, which means "never" here and there.
    fn clock(&self) -> Mono {
        Mono::from_ns(1).after(self.now)
    }

    fn next_instant(&mut self) -> Option<Span> {
        let arrival = self.arrivals.peek().map(|(at, _)| at);
        let deadline = self.engine.deadline().map(|at| at.since(Mono::from_ns(1)));
        let times = [arrival, self.calendar.next_at(), deadline];
        times.into_iter().flatten().min().map(|at| at.max(self.now))
    }

    /// Everything that happens at this instant outside the master.
    fn live(&mut self) {
        while let Some(plan) = self.calendar.take(self.now) {
            match plan {
                ModelPlan::Hears(worker, ticket, report) => {
                    let input = Input::Message {
                        worker: self.names[worker],
                        ticket,
                        message: report.into(),
                    };
                    self.step(input);
                }
                ModelPlan::Finishes(worker) => self.finished(worker),
                ModelPlan::Looks(worker) => self.begin(worker),
            }
        }
        while self.arrivals.peek().is_some_and(|(at, _)| at <= self.now) {
            self.arrived();
        }
    }

    fn step(&mut self, input: Input) {
        self.in_turn = true;
        self.engine.step(self.clock(), input, &mut self.actions);
    }

    fn end_turn(&mut self) {
        if self.engine.dispatcher().reads_loads(self.clock()) {
            self.tell_loads();
        }
        self.step(Input::Tick);
        self.in_turn = false;
        while !self.actions.is_empty() {
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain() {
                self.execute(action);
            }
        }
    }

    fn tell_loads(&mut self) {
        for at in std::mem::take(&mut self.stirred) {
            let load = self.servers[at].load(self.now);
            self.step(Input::Load { worker: self.names[at], load });
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            // Here nobody gives up.
            Action::Offer { ticket, to, client: _ } => {
                let worker = self.position(to);
                let server = &mut self.servers[worker];
                // A busy worker finds what was sent meanwhile without waking up.
                let transit = if server.is_idle() { self.costs.handoff } else { Span::ZERO };
                server.send(self.now.plus(transit), ticket);
                self.calendar.plan(self.now.plus(transit), ModelPlan::Looks(worker));
            }
            Action::Recall { ticket, from } => {
                let worker = self.position(from);
                let back = self.servers[worker].take_back(ticket);
                self.step(if back { Input::Recalled(ticket) } else { Input::TooLate(ticket) });
            }
            Action::Retire { ticket, .. }
            | Action::Refuse { ticket, .. }
            | Action::HandOver(ticket) => {
                self.tickets.free.push(ticket.index);
            }
            Action::Watch(ticket) => self.watched(ticket),
            Action::CloseListeners
            | Action::Expire(_)
            | Action::Release(_)
            | Action::GiveBack(_)
            | Action::Spawn { .. }
            | Action::Drain(_)
            | Action::Terminate(_)
            | Action::Kill(_)
            | Action::ReleaseWorker(_)
            | Action::Emit(_)
            | Action::Exit(_) => {}
        }
    }

    fn arrived(&mut self) {
        let Some((_, request)) = self.arrivals.next() else { return };
        self.samples[request].sent = self.now;
        let connection = self.connection_of(request);
        match self.places[connection] {
            ModelPlace::Nowhere => {
                let ticket = self.tickets.take(request);
                self.places[connection] = ModelPlace::Asking;
                let listener = ListenerId(0);
                self.step(Input::Arrived { ticket, listener, first_speaker: FirstSpeaker::Client });
            }
            ModelPlace::With { worker, .. } => {
                self.servers[worker].ask(self.now, request);
                self.stirred.push(worker);
                self.begin(worker);
            }
            ModelPlace::Returning { .. } => {
                self.places[connection] = ModelPlace::Returning { next: Some(request) };
            }
            ModelPlace::Parked(ticket) => self.asks(connection, ticket, request),
            ModelPlace::Asking => unreachable!("a client waits for its answer"),
        }
    }

    /// The engine wants to know when a connection can be read.
    fn watched(&mut self, ticket: Ticket) {
        let request = self.tickets.requests[ticket.index()];
        let connection = self.connection_of(request);
        match self.places[connection] {
            ModelPlace::Asking => self.readable(ticket, request),
            ModelPlace::Returning { next: Some(next) } => self.asks(connection, ticket, next),
            ModelPlace::Returning { next: None } if self.arrivals.has_successor(request) => {
                self.places[connection] = ModelPlace::Parked(ticket);
            }
            ModelPlace::Returning { next: None } => {
                self.places[connection] = ModelPlace::Nowhere;
                self.step(Input::HungUp(ticket));
            }
            ModelPlace::Nowhere | ModelPlace::With { .. } | ModelPlace::Parked(_) => {
                unreachable!("whose it is not, the master does not watch")
            }
        }
    }

    /// The next request of a connection that the master has.
    fn asks(&mut self, connection: usize, ticket: Ticket, request: usize) {
        self.tickets.requests[ticket.index()] = request;
        self.places[connection] = ModelPlace::Asking;
        self.readable(ticket, request);
    }

    fn readable(&mut self, ticket: Ticket, request: usize) {
        let class = Route(self.trace.requests[request].class.into());
        let route = self.engine.dispatcher().rules().classes.then_some(class);
        self.step(Input::Readable { ticket, route });
    }

    fn begin(&mut self, worker: usize) {
        while let Some(ticket) = self.servers[worker].miss() {
            self.say(worker, ticket, ModelReport::Missed);
        }
        let begun = self.servers[worker].begin(self.now, self.costs.handoff);
        let request = match begun {
            Some(Begun::Received(ticket, rest)) => self.received(worker, ticket, rest),
            Some(Begun::Request(request)) => request,
            None => return,
        };
        let work = self.trace.requests[request].service;
        let done = self.servers[worker].run(self.now, request, work, self.costs.overhead);
        self.stirred.push(worker);
        self.calendar.plan(done, ModelPlan::Finishes(worker));
    }

    fn received(&mut self, worker: usize, ticket: Ticket, rest: Rest) -> usize {
        let request = self.tickets.requests[ticket.index()];
        let connection = self.connection_of(request);
        self.places[connection] = ModelPlace::With { worker, ticket, served: false };
        self.servers[worker].connections += 1;
        let transit_us = match rest {
            Rest::Idle => u32::try_from(self.costs.handoff.as_us()).unwrap_or(u32::MAX),
            Rest::Busy => 0,
        };
        self.say(worker, ticket, ModelReport::Claimed(transit_us));
        request
    }

    fn finished(&mut self, worker: usize) {
        let Some(request) = self.servers[worker].finish(self.now) else { return };
        self.stirred.push(worker);
        let sample = &mut self.samples[request];
        (sample.done, sample.fate) = (self.now, Fate::Answered);
        sample.worker = u16::try_from(worker).ok();
        self.rests(worker, request);
        self.arrivals.answered(request, self.now);
        self.begin(worker);
    }

    /// A request is answered: its connection goes back, stays or ends.
    fn rests(&mut self, worker: usize, request: usize) {
        let connection = self.connection_of(request);
        let ModelPlace::With { ticket, served, .. } = self.places[connection] else { return };
        let work = self.trace.requests[request].service;
        let took = self.servers[worker].takes(work, self.costs.overhead).as_us();
        let took = u32::try_from(took).unwrap_or(u32::MAX);
        let last = !self.arrivals.has_successor(request);
        if self.engine.dispatcher().give_back() == GiveBack::Always {
            self.servers[worker].connections -= 1;
            self.places[connection] = ModelPlace::Returning { next: None };
            return self.say(worker, ticket, ModelReport::Idle(if served { 0 } else { took }));
        }
        if !served {
            self.places[connection] = ModelPlace::With { worker, ticket, served: true };
            self.say(worker, ticket, ModelReport::Done(took));
        }
        if last {
            self.servers[worker].connections -= 1;
            self.places[connection] = ModelPlace::Nowhere;
            self.say(worker, ticket, ModelReport::Closed);
        }
    }

    fn connection_of(&self, request: usize) -> usize {
        self.trace.requests[request].connection as usize
    }

    fn say(&mut self, worker: usize, ticket: Ticket, report: ModelReport) {
        let heard_at = self.now.plus(self.costs.notice);
        self.calendar.plan(heard_at, ModelPlan::Hears(worker, ticket, report));
    }

    fn position(&self, id: WorkerId) -> usize {
        self.names.iter().position(|name| *name == id).expect("workers stay as they are")
    }
}

/// More than any trace has open.
const CONNECTIONS_MAX: u32 = 1_000_000;

impl ModelTickets {
    fn take(&mut self, request: usize) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| {
            self.requests.push(0);
            self.generations.push(0);
            u32::try_from(self.requests.len() - 1).expect("requests are counted in 32 bits")
        });
        let at = index as usize;
        self.requests[at] = request;
        self.generations[at] = self.generations[at].wrapping_add(1);
        Ticket { index, generation: self.generations[at] }
    }
}

impl From<ModelReport> for Message {
    fn from(report: ModelReport) -> Self {
        match report {
            ModelReport::Claimed(transit_us) => Self::Claimed { transit_us },
            ModelReport::Done(service_us) => Self::Done { service_us },
            ModelReport::Idle(service_us) => Self::Idle { service_us },
            ModelReport::Closed => Self::Closed,
            ModelReport::Missed => Self::Missed,
        }
    }
}
