//! Children that have changed, and waits that failed. The kernel may refuse any wait, for want of
//! memory or of places in an epoll set, and it tells nobody how a process ended that a debugger
//! holds. One rule for all of it: what failed is tried again after a pause, and what it was for is
//! looked at then, whether the wait works or not. So nothing is forgotten, and nothing spins.

use std::collections::VecDeque;

use super::Master;
use super::host::{ChangedChild, Host, Launch, ProcessChange};
use super::tags::Purpose;
use crate::engine::input::{Exit, Input};
use crate::engine::supervisor::worker::WorkerRecord;
use crate::io::{Backend, Op, Token, WatchKind};
use crate::limits::{
    CHILDREN_PER_TURN, OUTPUT_AT_DEATH, REAP_GRACE, RETRIES_PER_TURN, WATCH_PAUSE,
};
use crate::link::LinkOp;
use crate::units::{Mono, Ticket, WorkerId};

/// What is to be tried again.
#[derive(Debug)]
pub(super) struct Retries<F> {
    /// In the order in which they failed.
    failed: VecDeque<Failed<F>>,
    /// Processes that have ended and of which nobody has told how, since when.
    unreaped: Vec<(WorkerId, Mono)>,
    /// When.
    at: Option<Mono>,
}

/// The watches on a worker's way to its program and on its output, while they last.
#[derive(Debug, Default)]
pub(super) struct ProcessWatches {
    pub(super) report: Option<Token>,
    pub(super) output: Option<Token>,
}

/// A wait that failed.
#[derive(Debug)]
pub(super) enum Failed<F> {
    /// Of this descriptor.
    Watch(Purpose, F),
    /// Of a connection, whose descriptor is back with its ticket.
    Connection(Ticket),
    /// Of a worker's link, and of what.
    Link(WorkerId, LinkOp, Option<F>),
    /// Of a new control client.
    ControlAccept,
}

impl<F> Retries<F> {
    pub(super) const NONE: Self = Self { failed: VecDeque::new(), unreaped: Vec::new(), at: None };

    /// When something is to be tried again, if anything is.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.at
    }

    fn by(&mut self, at: Mono) {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Waits for what can be read of a descriptor, for as long as that is of use to anybody.
    pub(super) fn watch_for(&mut self, purpose: Purpose, fd: B::Fd) {
        if self.remember(purpose, None) {
            let token =
                self.backend.submit(Op::Readable { fd, watch: WatchKind::Once }, purpose.tag());
            self.remember(purpose, Some(token));
        }
    }

    /// A watch has ended without a result: the kernel refused it, or it was withdrawn.
    pub(super) fn watch_failed(&mut self, purpose: Purpose, fd: B::Fd) {
        if self.remember(purpose, None) {
            self.wait_failed(Failed::Watch(purpose, fd));
        }
    }

    /// Remembers a watch that may have to be withdrawn, or that there is none. False when nobody
    /// would miss it.
    fn remember(&mut self, purpose: Purpose, token: Option<Token>) -> bool {
        match purpose {
            Purpose::Signals => true,
            Purpose::Process(worker) => self.lives(worker),
            Purpose::Output(worker) => {
                self.watches.get_mut(worker).map(|watches| watches.output = token).is_some()
                    || self.late.waits(worker, token)
            }
            Purpose::Launch(worker) => {
                self.watches.get_mut(worker).map(|watches| watches.report = token).is_some()
            }
            Purpose::ControlClient(index) => self.control_clients.waits(index, token),
            // These are waited for in other ways.
            Purpose::Accept(_)
            | Purpose::Watch(_)
            | Purpose::Link(..)
            | Purpose::ControlAccept
            | Purpose::Close => false,
        }
    }

    /// A wait has failed.
    pub(super) fn wait_failed(&mut self, failed: Failed<B::Fd>) {
        self.retries.failed.push_back(failed);
        self.retries.by(self.now.after(WATCH_PAUSE));
        self.step(Input::WatchFailed);
    }

    /// Tries again what is due.
    pub(super) fn retry(&mut self) {
        if self.retries.at.is_none_or(|at| self.now < at) {
            return;
        }
        self.retries.at = None;
        for _ in 0..self.retries.failed.len().min(RETRIES_PER_TURN) {
            if let Some(failed) = self.retries.failed.pop_front() {
                self.try_again(failed);
            }
        }
        if !self.retries.failed.is_empty() {
            self.retries.by(self.now.after(WATCH_PAUSE));
        }
        self.take_in_children();
        self.give_up_on_unreaped();
    }

    /// Takes in what has happened to children. One SIGCHLD can stand for many.
    pub(super) fn take_in_children(&mut self) {
        for _ in 0..CHILDREN_PER_TURN {
            match self.host.child() {
                None => return,
                Some(ChangedChild::Stranger) => {}
                Some(ChangedChild::Worker(worker, ProcessChange::Stopped)) => {
                    self.step(Input::Stopped(worker));
                }
                Some(ChangedChild::Worker(worker, ProcessChange::Continued)) => {
                    self.step(Input::Continued(worker));
                }
                Some(ChangedChild::Worker(worker, ProcessChange::Ended(exit))) => {
                    self.died(worker, exit);
                }
            }
        }
        self.retries.by(self.now);
    }

    /// These processes have ended: their descriptors say so. If they cannot be reaped yet they do
    /// as much as stopped ones.
    pub(super) fn take_in_deaths(&mut self, ended: &[WorkerId]) {
        if !ended.is_empty() {
            self.take_in_children();
        }
        for worker in ended.iter().copied() {
            if self.lives(worker) {
                self.retries.unreaped.push((worker, self.now));
                self.retries.by(self.now.after(WATCH_PAUSE));
                self.step(Input::Stopped(worker));
            }
        }
    }

    /// Nobody waits for ever for how a process ended: that it has is enough to replace it.
    fn give_up_on_unreaped(&mut self) {
        let (now, unreaped) = (self.now, std::mem::take(&mut self.retries.unreaped));
        for (worker, since) in unreaped {
            if since.after(REAP_GRACE) <= now {
                self.died(worker, Exit::Failed);
            } else {
                self.retries.unreaped.push((worker, since));
                self.retries.by(now.after(WATCH_PAUSE));
            }
        }
    }

    /// A dead worker's last words are read before it is buried, of whatever kind they are.
    fn died(&mut self, worker: WorkerId, exit: Exit) {
        self.retries.unreaped.retain(|(unreaped, _)| *unreaped != worker);
        if self.lives(worker) {
            self.host.read_output(worker, OUTPUT_AT_DEATH);
            self.messages_of(worker);
            if self.host.launch(worker) == Launch::Failed {
                self.step(Input::ExecFailed(worker));
            }
            // What it has done decides how soon another is tried.
            self.load_of(worker);
            self.step(Input::Exited { worker, exit });
        }
    }

    /// Whether the engine knows of no end of it.
    fn lives(&self, worker: WorkerId) -> bool {
        self.engine.supervisor().worker(worker).is_some_and(WorkerRecord::is_alive)
    }

    fn try_again(&mut self, failed: Failed<B::Fd>) {
        match failed {
            Failed::Link(worker, op, fd) => {
                self.with_link(worker, |link, port| link.wait_again(op, fd, port));
            }
            Failed::Connection(ticket) => self.watch(ticket),
            Failed::ControlAccept => self.listen_for_control(),
            Failed::Watch(Purpose::Signals, fd) => self.signalled(fd),
            Failed::Watch(Purpose::Launch(worker), fd) => self.launched(worker, fd),
            Failed::Watch(Purpose::Output(worker), fd) => self.has_written(worker, fd),
            Failed::Watch(Purpose::ControlClient(index), fd) => self.control_spoke(index, fd),
            Failed::Watch(purpose, fd) => self.watch_for(purpose, fd),
        }
    }
}
