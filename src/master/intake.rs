//! From completions and messages to inputs. Deaths first, then what handoffs came to, then what
//! workers say, then the operator, and arrivals last: capacity is freed before it is spent.

use super::Master;
use super::host::{ConnEvent, Host, Launch};
use super::tags::Purpose;
use super::tickets::{WatchEnd, WhenBack};
use super::watches::Failed;
use crate::engine::input::{Command, FirstSpeaker, Input, Message, OfferRefusal};
use crate::io::{self, Backend, Batch, Completion, Op, Outcome, Ready};
use crate::limits::MESSAGES_PER_TURN;
use crate::sys::signal::Notice;
use crate::units::{Errno, ListenerId, Ticket, WorkerId};
use crate::wire::batch::tickets;
use crate::wire::message::{RingMessage, WorkerMessage};

/// Completions by class; what is feared most comes first and is not stored.
#[derive(Debug)]
pub(super) struct Sorted<F> {
    handoffs: Vec<Completion<F>>,
    operator: Vec<Completion<F>>,
    arrivals: Vec<Completion<F>>,
}

impl<F> Sorted<F> {
    pub(super) const fn new() -> Self {
        Self { handoffs: Vec::new(), operator: Vec::new(), arrivals: Vec::new() }
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Takes in everything that the last wait brought.
    pub(super) fn take_in(&mut self) {
        let mut sorted = std::mem::replace(&mut self.sorted, Sorted::new());
        let mut ended = Vec::new();
        for completion in self.completions.drain(..) {
            match Purpose::of(completion.tag) {
                Purpose::Process(worker) if completion.has_succeeded() => ended.push(worker),
                Purpose::Batch(_) => sorted.handoffs.push(completion),
                Purpose::Accept(_) | Purpose::Watch(_) => sorted.arrivals.push(completion),
                Purpose::Process(_)
                | Purpose::Launch(_)
                | Purpose::Output(_)
                | Purpose::Channel(_)
                | Purpose::Doorbell(_)
                | Purpose::Signals
                | Purpose::ControlAccept
                | Purpose::ControlClient(_)
                | Purpose::Close => sorted.operator.push(completion),
            }
        }
        self.take_in_deaths(&ended);
        self.take_in_all(&mut sorted.handoffs);
        self.take_in_messages();
        self.take_in_all(&mut sorted.operator);
        if self.engine.dispatcher().reads_loads(self.now) {
            self.take_in_loads();
        }
        self.take_in_all(&mut sorted.arrivals);
        self.sorted = sorted;
    }

    fn take_in_all(&mut self, completions: &mut Vec<Completion<B::Fd>>) {
        for completion in completions.drain(..) {
            self.take_in_one(completion);
        }
    }

    fn take_in_one(&mut self, completion: Completion<B::Fd>) {
        let Completion { token, tag, last: _, outcome } = completion;
        match (Purpose::of(tag), outcome) {
            (Purpose::Accept(index), Outcome::Accepted(result)) => {
                self.accepted(index, token, result);
            }
            (Purpose::Watch(ticket), Outcome::Readable(fd, result)) => {
                self.watch_ended(ticket, fd, result);
            }
            (Purpose::Batch(worker), Outcome::HandedOff(batch, result)) => {
                self.handed_off(worker, batch, result);
            }
            (purpose, Outcome::Readable(fd, Err(_))) => self.watch_failed(purpose, fd),
            (Purpose::Launch(worker), Outcome::Readable(fd, Ok(_))) => self.launched(worker, fd),
            (Purpose::Output(worker), Outcome::Readable(fd, Ok(_))) => self.has_written(worker, fd),
            (Purpose::Channel(worker), Outcome::Readable(_, Ok(_))) => {
                self.step(Input::Detached(worker));
            }
            (Purpose::Signals, Outcome::Readable(fd, Ok(_))) => self.signalled(fd),
            (Purpose::ControlClient(index), Outcome::Readable(fd, Ok(_))) => {
                self.control_spoke(index, fd);
            }
            (Purpose::ControlClient(index), Outcome::Sent(answer, result)) => {
                self.control_answered(index, answer, result);
            }
            (Purpose::Doorbell(worker), Outcome::Rang(Err(_))) => self.doorbell_failed(worker),
            (Purpose::Doorbell(_), Outcome::Rang(Ok(()))) | (Purpose::Close, Outcome::Closed) => {}
            (Purpose::ControlAccept, Outcome::Accepted(result)) => self.control_accepted(result),
            (purpose, outcome) => unreachable!("{purpose:?} cannot end as {outcome:?}"),
        }
    }

    fn take_in_messages(&mut self) {
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                self.messages_of(worker);
            }
        }
    }

    pub(super) fn messages_of(&mut self, worker: WorkerId) {
        let mut words = std::mem::take(&mut self.words);
        if self.host.messages(worker, MESSAGES_PER_TURN, &mut words).is_err() {
            self.step(Input::Violation(worker));
        }
        for word in words.drain(..) {
            match RingMessage::decode(word) {
                Ok(message) => self.take_in_message(worker, message.message),
                Err(_) => self.step(Input::Violation(worker)),
            }
        }
        self.words = words;
        if self.host.asks_to_leave(worker)
            && let Some(link) = self.links.get_mut(worker)
            && !std::mem::replace(&mut link.asked_to_leave, true)
        {
            let load = self.host.load(worker);
            self.step(Input::Load { worker, load });
            self.step(Input::AsksToLeave(worker));
        }
    }

    fn take_in_message(&mut self, worker: WorkerId, message: WorkerMessage) {
        let (ticket, message) = match message {
            WorkerMessage::Hello => {
                return match self.host.terms(worker) {
                    Some(terms) => self.step(Input::Hello { worker, terms }),
                    None => self.step(Input::Violation(worker)),
                };
            }
            WorkerMessage::Claimed { ticket, transit_us } => {
                self.tickets.claimed(ticket, worker);
                (ticket, Message::Claimed { transit_us })
            }
            WorkerMessage::Done { ticket, service_us } => (ticket, Message::Done { service_us }),
            WorkerMessage::Idle { ticket, service_us } => {
                self.tickets.given_back(ticket, worker);
                (ticket, Message::Idle { service_us })
            }
            WorkerMessage::Waiting(ticket) => (ticket, Message::Waiting),
            WorkerMessage::Resumed(ticket) => (ticket, Message::Resumed),
            WorkerMessage::Pinned(ticket) => (ticket, Message::Pinned),
            WorkerMessage::Closed(ticket) => {
                if let Some(link) = self.links.get_mut(worker) {
                    link.copies.remove(ticket);
                }
                (ticket, Message::Closed)
            }
            WorkerMessage::Missed(ticket) => (ticket, Message::Missed),
        };
        self.step(Input::Message { worker, ticket, message });
    }

    fn take_in_loads(&mut self) {
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                let load = self.host.load(worker);
                self.step(Input::Load { worker, load });
            }
        }
    }

    fn accepted(&mut self, index: u32, token: io::Token, result: Result<B::Fd, Errno>) {
        self.listeners.accept_ended(index, token);
        match result {
            Ok(fd) => self.admit(index, fd),
            Err(Errno(libc::ECANCELED)) => {}
            Err(_) => self.step(Input::AcceptExhausted),
        }
    }

    /// A connection comes in.
    pub(super) fn admit(&mut self, index: u32, fd: B::Fd) {
        let (listener, first_speaker) = self.listeners.terms_of(index);
        match self.tickets.issue(fd) {
            Ok(ticket) => self.arrived(ticket, listener, first_speaker),
            Err(fd) => {
                // The engine's room keeps this from happening but for a sweep at the end.
                self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
            }
        }
    }

    fn arrived(&mut self, ticket: Ticket, listener: ListenerId, first_speaker: FirstSpeaker) {
        self.host.conn_record(ticket, ConnEvent::Accepted(listener, self.now));
        self.step(Input::Arrived { ticket, listener, first_speaker });
    }

    fn watch_ended(&mut self, ticket: Ticket, fd: B::Fd, result: Result<Ready, Errno>) {
        let asks = match result {
            Ok(Ready::Input) => true,
            // One that has asked and says no more is to be answered.
            Ok(Ready::Ended) => self.host.has_input(&fd),
            Err(_) => false,
        };
        let route = if asks && self.engine.dispatcher().rules().classes {
            self.host.route(&fd)
        } else {
            None
        };
        let end = match self.tickets.seen(ticket, fd) {
            Ok(end) => end,
            Err(fd) => return self.close_late(fd),
        };
        match (result, end) {
            (Ok(_), WatchEnd::Open | WatchEnd::Asked) if asks => {
                self.host.conn_record(ticket, ConnEvent::Readable(self.now));
                self.step(Input::Readable { ticket, route });
            }
            (Err(errno), WatchEnd::Open) if !is_end(errno) => {
                self.wait_failed(Failed::Connection(ticket));
            }
            // On one that was shut down nobody can be answered.
            (Ok(_) | Err(_), WatchEnd::Open | WatchEnd::Asked | WatchEnd::ShutDown) => {
                self.step(Input::HungUp(ticket));
            }
        }
    }

    /// A batch's descriptors are back, whether or not it went out.
    fn handed_off(&mut self, worker: WorkerId, batch: Batch<B::Fd>, result: Result<(), Errno>) {
        if let (Err(_), Some(link)) = (result, self.links.get_mut(worker)) {
            // It was to wake the worker for what was written too.
            link.wants_doorbell = true;
        }
        for (ticket, fd) in tickets(&batch.words[1..]).zip(batch.fds) {
            if let (Err(_), Some(link)) = (result, self.links.get_mut(worker)) {
                link.copies.remove(ticket);
            }
            match self.tickets.sent(ticket, fd) {
                Ok(asked) => self.back_from(worker, ticket, asked, result),
                Err(fd) => self.close_late(fd),
            }
        }
        self.take_in_ensuing();
    }

    /// Does what was asked of a descriptor while it was in a batch for a worker.
    fn back_from(
        &mut self,
        worker: WorkerId,
        ticket: Ticket,
        asked: WhenBack,
        result: Result<(), Errno>,
    ) {
        match (asked, result) {
            // The claim was faster than this answer.
            (WhenBack::Release, _) => self.release(ticket),
            (WhenBack::Watch, _) => self.watch(ticket),
            (WhenBack::Recall, Ok(())) => {
                self.settle_claim(ticket, worker, Input::Recalled(ticket));
            }
            (WhenBack::Keep, Ok(())) => {}
            // One that was offered to it before may have been claimed by an older message.
            (WhenBack::Keep | WhenBack::Recall, Err(errno)) => {
                let why = refusal(errno);
                self.settle_claim(ticket, worker, Input::Refused { ticket, why });
            }
        }
    }

    /// Closes what has come back when its ticket had ended. Its client is told so first, since
    /// copies may lie about for long.
    fn close_late(&mut self, fd: B::Fd) {
        self.host.shut_down(&fd);
        self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
    }

    /// There is news of a worker's way to its program.
    pub(super) fn launched(&mut self, worker: WorkerId, fd: B::Fd) {
        match self.host.launch(worker) {
            Launch::Pending => return self.watch_for(Purpose::Launch(worker), fd),
            Launch::Over => self.step(Input::Executed(worker)),
            Launch::Failed => self.step(Input::ExecFailed(worker)),
        }
        if let Some(link) = self.links.get_mut(worker) {
            link.report = None;
        }
    }

    /// Listens to a worker's doorbell.
    pub(super) fn listen_to_doorbell(&mut self, worker: WorkerId) {
        if let Some(link) = self.links.get_mut(worker) {
            self.backend
                .submit(Op::Ring { doorbell: link.doorbell }, Purpose::Doorbell(worker).tag());
        }
    }

    /// A doorbell is not listened to any more. That of a worker that is gone need not be.
    fn doorbell_failed(&mut self, worker: WorkerId) {
        if self.links.get_mut(worker).is_some() {
            self.wait_failed(Failed::Doorbell(worker));
        }
    }

    pub(super) fn signalled(&mut self, fd: B::Fd) {
        while let Some(notice) = self.host.notice() {
            let command = match notice {
                Notice::Terminate => Command::Stop,
                // The second ^C of an impatient operator ends it now.
                Notice::Interrupt if self.engine.supervisor().is_stopping() => Command::StopFast,
                Notice::Interrupt => Command::Stop,
                Notice::Quit => Command::StopFast,
                Notice::Reload => {
                    self.names_are_due();
                    Command::Rollout
                }
                Notice::Reopen => {
                    self.names_are_due();
                    Command::ReopenLogs
                }
                Notice::Upgrade => Command::Upgrade,
                Notice::OneMore => Command::Grow,
                Notice::OneLess => Command::Shrink,
                Notice::Children => {
                    self.take_in_children();
                    continue;
                }
            };
            self.step(Input::Command(command));
        }
        self.watch_for(Purpose::Signals, fd);
    }
}

const fn refusal(errno: Errno) -> OfferRefusal {
    match errno.0 {
        libc::ETOOMANYREFS => OfferRefusal::TooManyInFlight,
        libc::EPIPE | libc::ECONNRESET => OfferRefusal::Gone,
        _ => OfferRefusal::Full,
    }
}

/// Whether a watch on a connection failed since the connection has: any other error is the kernel's
/// own (ENOSPC is the user's limit of watches in epoll sets), and the client may be well.
const fn is_end(errno: Errno) -> bool {
    matches!(errno.0, libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::ETIMEDOUT)
}
