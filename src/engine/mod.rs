//! The pure heart: who gets which connection, and which processes should run. It sees no clock, no
//! descriptor and no log; time and randomness are arguments. `tests/tidy.rs` and a `no_std` build
//! keep it so, which is why the very same code runs in the simulator.
//!
//! One thing happens, one step is taken: [`Engine::step`] turns an [`Input`] into [`Actions`]. It
//! has two halves, which know nothing of each other but what [`members`] has words for.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod capabilities;
pub mod dispatcher;
pub mod event;
pub mod input;
pub mod members;
#[cfg(test)]
mod pair;
pub mod rng;
pub mod supervisor;
pub mod workers;

use alloc::boxed::Box;

use self::action::Actions;
use self::capabilities::{Capabilities, Returns};
use self::dispatcher::giveback::Dispatch;
use self::dispatcher::{Dispatcher, Rules};
use self::input::Input;
use self::supervisor::Supervisor;
use self::supervisor::worker::Patience;
use crate::units::Mono;

/// What the user decided, as far as the engine is concerned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setup {
    /// How connections are dispatched.
    pub rules: Rules,
    /// What the workers' links can do.
    pub capabilities: Capabilities,
    /// How long a worker may take to become ready, and to finish.
    pub patience: Patience,
    /// Seed of the jitter.
    pub seed: u64,
}

/// The engine of one app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine {
    supervisor: Supervisor,
    dispatcher: Dispatcher,
    /// Derived from the supervisor, which is looked at only after it has been told something.
    outlook: Outlook,
}

/// What the supervisor waits for, as long as it is told nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outlook {
    /// It has been told something since it was looked at.
    Unknown,
    /// It was looked at.
    Known {
        /// When it wants its next tick.
        deadline: Option<Mono>,
        /// Whether it waits for a worker's first word.
        awaits_hello: bool,
    },
}

/// The engine's whole state as plain data, from which it can be built again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot(Box<Engine>);

impl Engine {
    /// An engine with all its slots empty; [`Engine::start`] fills them.
    pub fn new(setup: Setup) -> Self {
        let Setup { mut rules, capabilities, patience, seed } = setup;
        match capabilities.returns {
            Returns::PerRequest => {}
            Returns::Never => rules.dispatch = Dispatch::Connection,
        }
        let supervisor = Supervisor::new(rules.weights.len(), capabilities, patience, seed);
        Self { supervisor, dispatcher: Dispatcher::new(rules), outlook: Outlook::Unknown }
    }

    /// Fills every slot for the first time.
    pub fn start(&mut self, now: Mono, out: &mut Actions) {
        self.supervisor.start(now, out);
        self.exchange(now, out);
    }

    /// Takes one step: `input` happened at `now`; what is to be done about it goes to `out`. What
    /// can be placed is placed by [`Input::Tick`], the last input of a turn.
    pub fn step(&mut self, now: Mono, input: Input, out: &mut Actions) {
        let Self { supervisor, dispatcher, outlook } = self;
        if input.concerns_processes() {
            *outlook = Outlook::Unknown;
        }
        match input {
            Input::Arrived { ticket, listener: _, first_speaker } => {
                dispatcher.arrived(now, ticket, first_speaker, out);
            }
            Input::AcceptExhausted => dispatcher.accept_exhausted(now, out),
            Input::ListenersClosed => supervisor.listeners_closed(),
            Input::Readable { ticket, route } => dispatcher.readable(now, ticket, route),
            Input::HungUp(ticket) => dispatcher.hung_up(ticket, out),
            Input::WatchFailed => dispatcher.watch_failed(now, out),
            Input::Refused { ticket, why } => dispatcher.refused(now, ticket, why, out),
            Input::Recalled(ticket) => dispatcher.recalled(ticket, out),
            Input::TooLate(ticket) => dispatcher.too_late(ticket, out),
            Input::Hello { worker, terms } => supervisor.hello(now, worker, terms, out),
            Input::Message { worker, ticket, message } => {
                dispatcher.message(now, worker, ticket, message, out);
            }
            Input::Violation(worker) => supervisor.violation(now, worker, out),
            Input::Load { worker, load } => dispatcher.load(now, worker, load),
            Input::SpawnFailed(worker) => supervisor.spawn_failed(now, worker, out),
            Input::Executed(worker) => supervisor.executed(now, worker, out),
            Input::ExecFailed(worker) => supervisor.exec_failed(worker),
            Input::Exited { worker, exit } => supervisor.exited(now, worker, exit, out),
            Input::Detached(worker) => supervisor.detached(now, worker),
            Input::AsksToLeave(worker) => supervisor.asks_to_leave(now, worker, out),
            Input::Stopped(worker) => supervisor.stopped(worker, out),
            Input::Continued(worker) => supervisor.continued(worker, out),
            Input::Command(command) => {
                let has_room = dispatcher.has_room_for_a_slot();
                supervisor.command(now, command, has_room, out);
            }
            Input::Tick => self.tick(now, out),
        }
        self.finish(now, out);
        if matches!(input, Input::Tick) {
            self.look_ahead();
        }
    }

    /// When the engine next wants a [`Input::Tick`], if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let supervisor = match self.outlook {
            Outlook::Unknown => self.supervisor.deadline(),
            Outlook::Known { deadline, .. } => deadline,
        };
        [supervisor, self.dispatcher.deadline()].into_iter().flatten().min()
    }

    /// Whether a worker's word may change what the master does next: whether a worker must wake
    /// the master for it.
    pub fn awaits_messages(&self) -> bool {
        let awaits_hello = match self.outlook {
            Outlook::Unknown => self.supervisor.awaits_hello(),
            Outlook::Known { awaits_hello, .. } => awaits_hello,
        };
        self.dispatcher.awaits_messages() || awaits_hello
    }

    /// The half that knows processes, to look at.
    pub const fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The half that knows connections, to look at.
    pub const fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// The whole state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Box::new(self.clone()))
    }

    /// The engine that was in this state; what is derived is derived again.
    pub fn restore(snapshot: Snapshot) -> Self {
        let mut engine = *snapshot.0;
        engine.dispatcher.derive();
        engine.outlook = Outlook::Unknown;
        engine
    }

    /// Every invariant of design section 5 that a state alone can show.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_invariants(&self) {
        self.supervisor.check_invariants();
        if let Outlook::Known { deadline, awaits_hello } = self.outlook {
            let is = (self.supervisor.deadline(), self.supervisor.awaits_hello());
            assert_eq!((deadline, awaits_hello), is, "the outlook is out of date");
        }
        self.dispatcher.check_invariants();
        for (id, member) in self.dispatcher.members() {
            let worker = self.supervisor.worker(id);
            assert_eq!(
                worker.map(|worker| (worker.slot, worker.is_alive(), worker.record)),
                Some((member.slot, member.is_alive(), member.record)),
                "the halves differ on {id}"
            );
        }
    }

    fn tick(&mut self, now: Mono, out: &mut Actions) {
        self.dispatcher.tick(now, out);
        self.exchange(now, out);
        let is_quiet = match self.outlook {
            Outlook::Unknown => false,
            Outlook::Known { deadline, .. } => deadline.is_none_or(|at| now < at),
        };
        if !is_quiet {
            self.outlook = Outlook::Unknown;
            self.supervisor.tick(now, out);
            self.exchange(now, out);
        }
        self.dispatcher.place(now, out);
    }

    /// Looks at what the supervisor waits for, once it has been told something.
    fn look_ahead(&mut self) {
        if self.outlook == Outlook::Unknown {
            let deadline = self.supervisor.deadline();
            let awaits_hello = self.supervisor.awaits_hello();
            self.outlook = Outlook::Known { deadline, awaits_hello };
        }
    }

    /// What follows from whatever has happened.
    fn finish(&mut self, now: Mono, out: &mut Actions) {
        self.exchange(now, out);
        self.dispatcher.settle(out);
        if !self.supervisor.is_steady() {
            self.outlook = Outlook::Unknown;
            self.supervisor.advance(now, self.dispatcher.backlog(), out);
            self.exchange(now, out);
        }
    }

    /// Has the halves hear what each has to tell the other, until neither has anything.
    fn exchange(&mut self, now: Mono, out: &mut Actions) {
        loop {
            for change in self.supervisor.take_changes() {
                self.dispatcher.change(now, change, out);
            }
            let Some(report) = self.dispatcher.next_report() else { break };
            self.outlook = Outlook::Unknown;
            self.supervisor.hear(now, report, out);
        }
    }
}
