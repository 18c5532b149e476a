//! The shell around the engine: the one thread, the one loop. It turns completions into inputs and
//! actions into operations, and decides nothing.
//!
//! One turn, always in this order: wait; take in what came back, class by class (free capacity
//! before spending it); let deadlines pass; carry out what the engine asked for. The clock is read
//! once per turn, and nothing runs inside a completion.

mod accounts;
mod budget;
mod control;
mod control_clients;
pub mod escape;
mod exec;
pub mod host;
mod intake;
mod late_output;
mod listeners;
mod names;
pub mod open;
mod output;
mod pending_outputs;
mod refusal;
mod reload;
mod spec;
pub mod start;
mod status;
mod tags;
pub mod telemetry;
mod tickets;
mod watches;
mod worker_process;
mod world;

use std::io;

pub use self::control::{ControlError, ask, check_path, socket_path};
use self::control_clients::ControlClients;
use self::host::Host;
pub use self::host::{ListenerOrigin, Opened};
use self::intake::Sorted;
use self::late_output::LateOutputs;
use self::listeners::Listeners;
use self::pending_outputs::PendingOutputs;
use self::tags::Purpose;
use self::tickets::Tickets;
use self::watches::{ProcessWatches, Retries};
use crate::engine::action::{Action, Actions, MasterOutcome};
use crate::engine::input::Input;
use crate::engine::workers::Workers;
use crate::engine::{Engine, Setup};
use crate::io::{Backend, Completion, Op, Role, Source, WatchKind};
use crate::limits::NAMES_EVERY;
use crate::link::pages::{Order, Pages, SleepState};
use crate::link::{Link, LinkNews};
use crate::units::{Mono, Span};

/// A master over some kernel and some world.
#[derive(Debug)]
pub struct Master<B: Backend, H: Host<Fd = B::Fd>> {
    engine: Engine,
    backend: B,
    host: H,
    tickets: Tickets<B::Fd>,
    links: Workers<Link<B::Fd>>,
    watches: Workers<ProcessWatches>,
    late: LateOutputs,
    listeners: Listeners<B::Fd>,
    control: Option<Source>,
    control_clients: ControlClients,
    retries: Retries<B::Fd>,
    now: Mono,
    actions: Actions,
    completions: Vec<Completion<B::Fd>>,
    /// What a link has said, and what it has made of an operation, while that is taken in.
    heard: Vec<Input>,
    link_news: Vec<LinkNews<B::Fd>>,
    sorted: Sorted<B::Fd>,
    /// Inputs that actions bring about by themselves.
    ensuing: Vec<Input>,
    /// When the names in the file system are looked after; never where there is none.
    names_at: Option<Mono>,
    /// Workers whose output has something to read.
    pending_outputs: PendingOutputs<B::Fd>,
    /// When the host wants to be asked again, whatever happens.
    flush_again: Option<Span>,
    outcome: Option<MasterOutcome>,
}

/// The descriptors that a master starts with.
#[derive(Debug)]
pub struct StartupDescriptors<F> {
    /// The sockets that connections come in on.
    pub listeners: Vec<Opened<F>>,
    /// The signalfd.
    pub signals: F,
    /// The control socket, if there is one.
    pub control: Option<F>,
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// A master that has not started anything yet.
    pub fn new(
        setup: Setup,
        startup: StartupDescriptors<B::Fd>,
        mut backend: B,
        mut host: H,
    ) -> Self {
        let now = host.now();
        backend.submit(
            Op::Readable { fd: startup.signals, watch: WatchKind::Once },
            Purpose::Signals.tag(),
        );
        let control = startup.control.map(|fd| {
            let source = backend.adopt(fd, Role::Listener);
            backend.submit(Op::Accept { listener: source }, Purpose::ControlAccept.tag());
            source
        });
        let kernel =
            setup.rules.policy.binder() == crate::engine::dispatcher::policy::Binder::Kernel;
        let listeners = Listeners::adopt(startup.listeners, kernel, &mut backend);
        let names_at = control.map(|_| now.after(NAMES_EVERY));
        let late = LateOutputs::default();
        Self {
            engine: Engine::new(setup),
            backend,
            host,
            tickets: Tickets::new(),
            links: Workers::new(),
            watches: Workers::new(),
            late,
            listeners,
            control,
            control_clients: ControlClients::new(),
            retries: Retries::NONE,
            now,
            actions: Actions::new(),
            completions: Vec::new(),
            heard: Vec::new(),
            link_news: Vec::new(),
            sorted: Sorted::new(),
            ensuing: Vec::new(),
            names_at,
            pending_outputs: PendingOutputs::default(),
            flush_again: None,
            outcome: None,
        }
    }

    /// Starts the workers and turns until everything has ended.
    ///
    /// # Errors
    /// When the ring or the epoll set is unusable.
    pub fn run(&mut self) -> io::Result<MasterOutcome> {
        self.start();
        loop {
            self.turn(None)?;
            if let Some(outcome) = self.outcome {
                self.close()?;
                return Ok(outcome);
            }
        }
    }

    /// Starts the workers.
    pub fn start(&mut self) {
        self.engine.start(self.now, &mut self.actions);
        self.carry_out();
        self.arm_accepts();
    }

    /// One turn. It waits no longer than `at_most`, if that is given.
    ///
    /// # Errors
    /// When the ring or the epoll set is unusable.
    pub fn turn(&mut self, at_most: Option<Span>) -> io::Result<()> {
        let deadline = self.deadline();
        let timeout = self.fall_asleep(deadline, at_most);
        self.backend.wait(timeout, &mut self.completions)?;
        self.host.pages().set_sleep_state(SleepState::Awake);
        self.now = self.host.now();
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            // Nothing runs out before what came by now is taken in, though this process may have
            // been stopped since it looked last (decision 024).
            self.backend.wait(Some(Span::ZERO), &mut self.completions)?;
        }
        self.take_in();
        self.retry();
        self.let_a_silent_client_go();
        self.let_late_outputs_go();
        self.look_after_names();
        self.step(Input::Tick);
        self.carry_out();
        self.arm_accepts();
        self.read_outputs();
        self.flush_again = self.host.flush();
        Ok(())
    }

    /// How everything ended, once it has.
    pub const fn outcome(&self) -> Option<MasterOutcome> {
        self.outcome
    }

    /// The engine, to look at.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to be replaced by its own restored snapshot.
    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Lets the kernel let go of everything.
    ///
    /// # Errors
    /// When the ring or the epoll set is unusable.
    pub fn close(&mut self) -> io::Result<()> {
        self.host.flush();
        self.backend.quiesce(&mut self.completions)?;
        self.completions.clear();
        Ok(())
    }

    /// Says that the master is about to sleep and for how long it will: not at all when a worker
    /// said something that matters just before.
    fn fall_asleep(&mut self, deadline: Option<Mono>, at_most: Option<Span>) -> Option<Span> {
        let awaits = self.engine.awaits_messages();
        self.host.pages().set_sleep_state(if awaits {
            SleepState::Waiting
        } else {
            SleepState::Content
        });
        if self.pending_outputs.has_any() {
            return Some(Span::ZERO);
        }
        // What is given back is urgent, whether it was awaited or not.
        if (awaits || 0 < self.engine.dispatcher().ledger().lent())
            && self.host.pages().has_messages()
        {
            return Some(Span::ZERO);
        }
        let until_deadline = deadline.map(|deadline| deadline.since(self.now));
        [until_deadline, at_most, self.flush_again].into_iter().flatten().min()
    }

    /// When something runs out, if nothing happens.
    fn deadline(&self) -> Option<Mono> {
        let deadlines = [
            self.engine.deadline(),
            self.retries.deadline(),
            self.control_clients.deadline(),
            self.late.deadline(),
            self.names_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn step(&mut self, input: Input) {
        self.engine.step(self.now, input, &mut self.actions);
    }

    /// Carries out what the engine asked for. What that brings about by itself is taken in
    /// afterwards, and what came back thereby is placed in the same turn.
    fn carry_out(&mut self) {
        loop {
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain() {
                self.execute(action);
            }
            debug_assert!(self.actions.is_empty(), "what an action brings about is put off");
            self.actions = actions;
            if self.ensuing.is_empty() {
                return self.flush_links();
            }
            self.take_in_ensuing();
            self.step(Input::Tick);
        }
    }

    fn take_in_ensuing(&mut self) {
        for input in std::mem::take(&mut self.ensuing) {
            self.step(input);
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::CloseListeners => self.close_listeners(),
            Action::Watch(ticket) => self.watch(ticket),
            Action::Expire(ticket) => self.expire(ticket),
            Action::Offer { ticket, to, client } => self.offer(ticket, to, client),
            Action::Recall { ticket, from } => self.recall(ticket, from),
            Action::Release(ticket) => self.release(ticket),
            Action::HandOver(ticket) => self.hand_over(ticket),
            Action::GiveBack(give_back) => self.host.pages().give_back(give_back),
            Action::Refuse { ticket, strays } => self.refuse(ticket, strays),
            Action::Retire { ticket, strays } => self.retire(ticket, strays),
            Action::Spawn { worker, slot, generation } => self.spawn(worker, slot, generation),
            Action::Drain(worker) => self.order(worker, Order::Drain),
            Action::Terminate(worker) => {
                self.order(worker, Order::Terminate);
                self.host.signal(worker, crate::sys::pidfd::Signal::Terminate);
            }
            Action::Kill(worker) => self.host.signal(worker, crate::sys::pidfd::Signal::Kill),
            Action::ReleaseWorker(worker) => self.release_worker(worker),
            Action::Emit(event) => self.host.tell(self.now, event),
            Action::Exit(outcome) => self.outcome = Some(outcome),
        }
    }
}
