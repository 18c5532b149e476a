//! Two workers and an engine, for tests of what it decides between them.

use alloc::vec;
use alloc::vec::Vec;

use super::action::{Action, Actions, Presence};
use super::capabilities::Capabilities;
use super::dispatcher::Rules;
use super::dispatcher::giveback::Dispatch;
use super::dispatcher::overload::Overload;
use super::dispatcher::policy::Policy;
use super::event::Event;
use super::input::{Exit, FirstSpeaker, Input, Message, Terms};
use super::supervisor::worker::Patience;
use super::{Engine, Setup};
use crate::units::{Generation, ListenerId, Mono, Route, Span, Ticket, WorkerId};

/// Two workers under a policy, and what they were offered, in order.
pub(super) struct Pair {
    pub(super) engine: Engine,
    pub(super) now: Mono,
    pub(super) workers: Vec<WorkerId>,
    pub(super) offers: Vec<(Ticket, WorkerId)>,
    /// Offers before which it is to be looked for their clients.
    pub(super) doubted: Vec<Ticket>,
    pub(super) recalls: Vec<WorkerId>,
    /// What was asked for besides, in order.
    pub(super) others: Vec<Action>,
}

impl Pair {
    pub(super) fn new(policy: Policy) -> Self {
        Self::lending(policy, Dispatch::Connection, 100)
    }

    /// Two workers that may give connections back, and a master that may have so many.
    pub(super) fn lending(policy: Policy, dispatch: Dispatch, copies_max: u32) -> Self {
        Self::with(Rules { policy, dispatch, copies_max, ..Self::RULES })
    }

    /// Two workers, and short requests before long ones.
    pub(super) fn classifying(policy: Policy) -> Self {
        Self::with(Rules { policy, classes: true, ..Self::RULES })
    }

    /// Two workers that serve so many requests at once, under `auto`.
    pub(super) fn serving(policy: Policy, concurrency: u32) -> Self {
        let dispatch = Dispatch::Auto;
        Self::of(Rules { policy, dispatch, ..Self::RULES }, concurrency)
    }

    /// Two workers, and room for so many that ask; the rest is refused.
    pub(super) fn rejecting(policy: Policy, dispatch: Dispatch, hold_max: u32) -> Self {
        Self::with(Rules { policy, dispatch, hold_max, overload: Overload::Reject, ..Self::RULES })
    }

    const RULES: Rules = Rules {
        policy: Policy::RoundRobin,
        weights: Vec::new(),
        dispatch: Dispatch::Connection,
        classes: false,
        copies_max: 100,
        slot_cost: 10,
        hold_max: 100,
        overload: Overload::Hold,
        stall_timeout: Span::from_s(9),
    };

    /// Two workers whose links can do this, and that have not said anything.
    pub(super) fn linked(capabilities: Capabilities) -> Self {
        Self::launched(Self::RULES, capabilities)
    }

    fn with(rules: Rules) -> Self {
        Self::of(rules, 1)
    }

    fn of(rules: Rules, concurrency: u32) -> Self {
        let mut pair = Self::launched(rules, Capabilities::FULL);
        for worker in pair.workers.clone() {
            let terms = Terms { concurrency, connections_max: 9 };
            pair.step(Input::Hello { worker, terms });
        }
        pair
    }

    /// Two workers that have not said anything.
    pub(super) fn starting() -> Self {
        Self::launched(Self::RULES, Capabilities::FULL)
    }

    fn launched(rules: Rules, capabilities: Capabilities) -> Self {
        let rules = Rules { weights: vec![1, 1], ..rules };
        let patience = Patience { start: Span::from_s(9), drain: Span::from_s(9) };
        let setup = Setup { rules, capabilities, patience, seed: 1 };
        let (offers, recalls, others) = (Vec::new(), Vec::new(), Vec::new());
        let doubted = Vec::new();
        let now = Mono::from_ns(1);
        let mut pair = Self {
            engine: Engine::new(setup),
            now,
            workers: vec![],
            offers,
            doubted,
            recalls,
            others,
        };
        let mut out = Actions::new();
        pair.engine.start(now, &mut out);
        for action in out.drain() {
            if let Action::Spawn { worker, .. } = action {
                pair.workers.push(worker);
            }
        }
        pair
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut out = Actions::new();
        self.engine.step(self.now, input, &mut out);
        self.engine.step(self.now, Input::Tick, &mut out);
        for action in out.drain() {
            if let Action::Offer { ticket, to, client } = action {
                if client == Presence::Doubtful {
                    self.doubted.push(ticket);
                }
                self.offers.push((ticket, to));
            } else if let Action::Recall { from, .. } = action {
                self.recalls.push(from);
            } else {
                self.others.push(action);
            }
        }
        self.engine.check_invariants();
    }

    pub(super) fn arrives(&mut self, index: u32) {
        let ticket = Ticket { index, generation: 1 };
        let (listener, first_speaker) = (ListenerId(0), FirstSpeaker::Server);
        self.step(Input::Arrived { ticket, listener, first_speaker });
    }

    /// A new client asks for something.
    pub(super) fn asks(&mut self, index: u32, route: Route) {
        let ticket = Ticket { index, generation: 1 };
        let (listener, first_speaker) = (ListenerId(0), FirstSpeaker::Client);
        self.step(Input::Arrived { ticket, listener, first_speaker });
        self.step(Input::Readable { ticket, route: Some(route) });
    }

    pub(super) fn says(&mut self, at: usize, message: Message) {
        let (ticket, worker) = self.offers[at];
        self.step(Input::Message { worker, ticket, message });
    }

    pub(super) fn later(&mut self, span: Span) {
        self.now = self.now.after(span);
        self.step(Input::Tick);
    }

    pub(super) fn dies(&mut self, worker: WorkerId) {
        self.step(Input::Exited { worker, exit: Exit::Failed });
    }

    /// The processes that were started since this was asked last, in order.
    pub(super) fn started(&mut self) -> Vec<(WorkerId, Generation)> {
        let mut started = Vec::new();
        for action in self.others.drain(..) {
            if let Action::Spawn { worker, generation, .. } = action {
                started.push((worker, generation));
            }
        }
        started
    }

    pub(super) fn told(&self, event: Event) -> bool {
        self.others.contains(&Action::Emit(event))
    }

    /// Whether this rollout was given up.
    pub(super) fn gave_up(&self, rollout: Generation) -> bool {
        self.others.iter().any(|action| {
            matches!(action, Action::Emit(Event::RolloutAborted { generation, .. })
                if *generation == rollout)
        })
    }
}
