//! From completions and messages to inputs. Deaths first, then what handoffs came to, then what
//! workers say, then the operator, and arrivals last: capacity is freed before it is spent.

use super::Master;
use super::host::{Host, Launch};
use super::tags::Purpose;
use super::tickets::{WatchEnd, WhenBack};
use super::watches::Failed;
use crate::engine::input::{Command, FirstSpeaker, Input, Message, OfferRefusal};
use crate::io::{self, Backend, Completion, Op, Outcome, Ready};
use crate::link::pages::{ConnEvent, Pages};
use crate::link::{self, Link, LinkNews, LinkOp};
use crate::sys::signal::Notice;
use crate::units::{Errno, ListenerId, Ticket, WorkerId};

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
                Purpose::Link(_, LinkOp::Send) => sorted.handoffs.push(completion),
                Purpose::Accept(_) | Purpose::Watch(_) => sorted.arrivals.push(completion),
                Purpose::Process(_)
                | Purpose::Launch(_)
                | Purpose::Output(_)
                | Purpose::Link(..)
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
            (Purpose::Link(worker, op), outcome) => self.link_completed(worker, op, outcome),
            (purpose, Outcome::Readable(fd, Err(_))) => self.watch_failed(purpose, fd),
            (Purpose::Launch(worker), Outcome::Readable(fd, Ok(_))) => self.launched(worker, fd),
            (Purpose::Output(worker), Outcome::Readable(fd, Ok(_))) => self.has_written(worker, fd),
            (Purpose::Signals, Outcome::Readable(fd, Ok(_))) => self.signalled(fd),
            (Purpose::ControlClient(index), Outcome::Readable(fd, Ok(_))) => {
                self.control_spoke(index, fd);
            }
            (Purpose::ControlClient(index), Outcome::Sent(answer, result)) => {
                self.control_answered(index, answer, result);
            }
            (Purpose::Close, Outcome::Closed) => {}
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
        let mut heard = std::mem::take(&mut self.heard);
        self.with_link(worker, |link, port| link.hear(port, &mut heard));
        for input in heard.drain(..) {
            self.note_claims(input);
            self.step(input);
        }
        self.heard = heard;
    }

    /// Where a connection is follows from what its worker says of it.
    fn note_claims(&mut self, input: Input) {
        let Input::Message { worker, ticket, message } = input else { return };
        match message {
            Message::Claimed { .. } => self.tickets.claimed(ticket, worker),
            Message::Idle { .. } => self.tickets.given_back(ticket, worker),
            Message::Done { .. }
            | Message::Waiting
            | Message::Resumed
            | Message::Pinned
            | Message::Closed
            | Message::Missed => {}
        }
    }

    fn take_in_loads(&mut self) {
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                self.load_of(worker);
            }
        }
    }

    pub(super) fn load_of(&mut self, worker: WorkerId) {
        if let Some(load) = self.with_link(worker, Link::load) {
            self.step(Input::Load { worker, load });
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
        self.host.pages().conn_record(ticket, ConnEvent::Accepted(listener, self.now));
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
                self.host.pages().conn_record(ticket, ConnEvent::Readable(self.now));
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

    /// An operation of a worker's link has ended.
    fn link_completed(&mut self, worker: WorkerId, op: LinkOp, outcome: Outcome<B::Fd>) {
        let mut news = std::mem::take(&mut self.link_news);
        link::completed(self.links.get_mut(worker), worker, op, outcome, &mut news);
        for each in news.drain(..) {
            match each {
                LinkNews::Back { ticket, fd, result } => match self.tickets.sent(ticket, fd) {
                    Ok(asked) => self.back_from(worker, ticket, asked, result),
                    Err(fd) => self.close_late(fd),
                },
                LinkNews::Input(input) => self.step(input),
                LinkNews::WaitFailed(op, fd) => self.wait_failed(Failed::Link(worker, op, fd)),
            }
        }
        self.link_news = news;
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
            (WhenBack::HandOver, _) => self.hand_over(ticket),
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
        if let Some(watches) = self.watches.get_mut(worker) {
            watches.report = None;
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
