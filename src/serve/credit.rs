//! What the master is told about one connection, and in which order: the credit that came with it
//! goes back once, when the first answer's last byte is in the kernel, or while the client owes
//! bytes, or does not take those of its answer: nothing runs here meanwhile.

use crate::units::{Mono, Span, Ticket};
use crate::wire::message::WorkerMessage;

/// What the master believes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// This worker took it from a listener: nobody counts it.
    Own,
    /// It holds a credit.
    Begun {
        /// Which connection.
        ticket: Ticket,
        /// Since when it holds it.
        since: Mono,
        /// Bytes until the first answer is out, once there is one.
        left: Option<u64>,
    },
    /// Its first answer is ready, and its client does not take it: the credit is back.
    Untaken {
        /// Which connection.
        ticket: Ticket,
        /// How long its request had held the credit.
        service: Span,
        /// Bytes until the answer is out.
        left: u64,
    },
    /// Its client owes bytes, and the credit is back for the time being.
    Waiting(Ticket),
    /// Its first answer is out; what follows counts as load, and costs no credit.
    Answered(Ticket),
}

impl Standing {
    /// A connection that was claimed now.
    pub(super) const fn claimed(ticket: Ticket, now: Mono) -> Self {
        Self::Begun { ticket, since: now, left: None }
    }

    /// The client has not sent a whole request.
    pub(super) fn waits(&mut self) -> Option<WorkerMessage> {
        match *self {
            Self::Begun { ticket, left: None, .. } => {
                *self = Self::Waiting(ticket);
                Some(WorkerMessage::Waiting(ticket))
            }
            Self::Own
            | Self::Begun { .. }
            | Self::Untaken { .. }
            | Self::Waiting(_)
            | Self::Answered(_) => None,
        }
    }

    /// A request begins.
    pub(super) fn begins(&mut self, now: Mono) -> Option<WorkerMessage> {
        match *self {
            Self::Waiting(ticket) => {
                *self = Self::claimed(ticket, now);
                Some(WorkerMessage::Resumed(ticket))
            }
            Self::Own | Self::Begun { .. } | Self::Untaken { .. } | Self::Answered(_) => None,
        }
    }

    /// An answer is ready, with so many bytes to send until its end.
    pub(super) fn answers(&mut self, bytes: u64) {
        match self {
            Self::Begun { left: left @ None, .. } => *left = Some(bytes),
            Self::Own
            | Self::Begun { .. }
            | Self::Untaken { .. }
            | Self::Waiting(_)
            | Self::Answered(_) => {}
        }
    }

    /// The client does not take its answer: the kernel has no room for the rest of it.
    pub(super) fn stalls(&mut self, now: Mono) -> Option<WorkerMessage> {
        match *self {
            Self::Begun { ticket, since, left: Some(left) } => {
                *self = Self::Untaken { ticket, service: now.since(since), left };
                Some(WorkerMessage::Waiting(ticket))
            }
            Self::Own
            | Self::Begun { left: None, .. }
            | Self::Untaken { .. }
            | Self::Waiting(_)
            | Self::Answered(_) => None,
        }
    }

    /// The kernel has taken so many bytes.
    pub(super) fn sent(&mut self, bytes: usize, now: Mono) -> Option<WorkerMessage> {
        let (ticket, service, left) = match self {
            Self::Begun { ticket, since, left: Some(left) } => (*ticket, now.since(*since), left),
            Self::Untaken { ticket, service, left } => (*ticket, *service, left),
            Self::Own | Self::Begun { left: None, .. } | Self::Waiting(_) | Self::Answered(_) => {
                return None;
            }
        };
        *left = left.saturating_sub(bytes as u64);
        if 0 < *left {
            return None;
        }
        *self = Self::Answered(ticket);
        let service_us = u32::try_from(service.as_us()).unwrap_or(u32::MAX);
        Some(WorkerMessage::Done { ticket, service_us })
    }

    /// Whether its first answer holds the credit until it is out.
    pub(super) const fn is_leaving(self) -> bool {
        matches!(self, Self::Begun { left: Some(_), .. })
    }

    /// Whose it is to give back: the ticket, if it came from the master.
    pub(super) const fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Own => None,
            Self::Begun { ticket, .. }
            | Self::Untaken { ticket, .. }
            | Self::Waiting(ticket)
            | Self::Answered(ticket) => Some(ticket),
        }
    }

    /// The connection is closed.
    pub(super) fn closes(self) -> Option<WorkerMessage> {
        self.ticket().map(WorkerMessage::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { index: 3, generation: 1 };

    #[test]
    fn the_credit_goes_back_with_the_last_byte_and_only_once() {
        let mut standing = Standing::claimed(TICKET, Mono::from_ns(1_000));
        assert_eq!(standing.begins(Mono::ZERO), None);
        assert_eq!(standing.sent(25, Mono::ZERO), None, "100 Continue is no answer");
        standing.answers(10);
        standing.answers(50);
        assert_eq!(standing.waits(), None, "an answer is on its way");
        assert_eq!(standing.sent(9, Mono::ZERO), None);
        let done = WorkerMessage::Done { ticket: TICKET, service_us: 4 };
        assert_eq!(standing.sent(2, Mono::from_ns(5_000)), Some(done));
        standing.answers(1);
        assert_eq!(standing.sent(1, Mono::from_ns(9_000)), None);
        assert_eq!((standing.waits(), standing.begins(Mono::ZERO)), (None, None));
        assert_eq!(standing.closes(), Some(WorkerMessage::Closed(TICKET)));
    }

    #[test]
    fn a_slow_client_gives_the_credit_back_and_takes_it_up_again() {
        let mut standing = Standing::claimed(TICKET, Mono::ZERO);
        assert_eq!(standing.waits(), Some(WorkerMessage::Waiting(TICKET)));
        assert_eq!(standing.waits(), None);
        assert_eq!(standing.begins(Mono::from_ns(2_000)), Some(WorkerMessage::Resumed(TICKET)));
        standing.answers(1);
        let done = WorkerMessage::Done { ticket: TICKET, service_us: 3 };
        assert_eq!(standing.sent(1, Mono::from_ns(5_000)), Some(done));
    }

    #[test]
    fn a_refusal_of_a_client_that_was_waited_for_returns_no_second_credit() {
        let mut standing = Standing::Waiting(TICKET);
        standing.answers(7);
        assert_eq!(standing.sent(7, Mono::ZERO), None);
        assert_eq!(standing.closes(), Some(WorkerMessage::Closed(TICKET)));
    }

    #[test]
    fn who_does_not_take_the_answer_holds_no_credit_and_is_done_all_the_same() {
        let mut standing = Standing::claimed(TICKET, Mono::ZERO);
        assert_eq!(standing.stalls(Mono::ZERO), None, "there is no answer yet");
        standing.answers(10);
        assert_eq!(standing.sent(4, Mono::from_ns(2_000)), None);
        assert_eq!(standing.stalls(Mono::from_ns(7_000)), Some(WorkerMessage::Waiting(TICKET)));
        assert_eq!((standing.stalls(Mono::ZERO), standing.waits()), (None, None));
        assert_eq!(standing.begins(Mono::ZERO), None);
        assert_eq!(standing.sent(5, Mono::from_ns(50_000)), None);
        // What the client took its time for is none of the request's.
        let done = WorkerMessage::Done { ticket: TICKET, service_us: 7 };
        assert_eq!(standing.sent(1, Mono::from_ns(90_000)), Some(done));
        assert_eq!(standing.closes(), Some(WorkerMessage::Closed(TICKET)));
    }

    #[test]
    fn nothing_is_said_of_a_connection_of_our_own() {
        let mut standing = Standing::Own;
        standing.answers(1);
        assert_eq!((standing.waits(), standing.begins(Mono::ZERO)), (None, None));
        assert_eq!((standing.sent(1, Mono::ZERO), standing.closes()), (None, None));
    }
}
