//! What the master is told about one connection, and in which order: the credit that came with it
//! goes back once, when the first answer's last byte is in the kernel, or while the client owes
//! bytes.

use crate::units::{Mono, Ticket};
use crate::wire::token::Say;

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
    pub(super) fn waits(&mut self) -> Option<Say> {
        match *self {
            Self::Begun { ticket, left: None, .. } => {
                *self = Self::Waiting(ticket);
                Some(Say::Waiting(ticket))
            }
            Self::Own | Self::Begun { .. } | Self::Waiting(_) | Self::Answered(_) => None,
        }
    }

    /// A request begins.
    pub(super) fn begins(&mut self, now: Mono) -> Option<Say> {
        match *self {
            Self::Waiting(ticket) => {
                *self = Self::claimed(ticket, now);
                Some(Say::Resumed(ticket))
            }
            Self::Own | Self::Begun { .. } | Self::Answered(_) => None,
        }
    }

    /// An answer is ready, with so many bytes to send until its end.
    pub(super) fn answers(&mut self, bytes: u64) {
        match self {
            Self::Begun { left: left @ None, .. } => *left = Some(bytes),
            Self::Own | Self::Begun { .. } | Self::Waiting(_) | Self::Answered(_) => {}
        }
    }

    /// The kernel has taken so many bytes.
    pub(super) fn sent(&mut self, bytes: usize, now: Mono) -> Option<Say> {
        match self {
            Self::Begun { ticket, since, left: Some(left) } => {
                *left = left.saturating_sub(bytes as u64);
                if 0 < *left {
                    return None;
                }
                let (ticket, service) = (*ticket, now.since(*since));
                *self = Self::Answered(ticket);
                let service_us = u32::try_from(service.as_us()).unwrap_or(u32::MAX);
                Some(Say::Done { ticket, service_us })
            }
            Self::Own | Self::Begun { .. } | Self::Waiting(_) | Self::Answered(_) => None,
        }
    }

    /// Whose it is to give back: the ticket, if it came from the master.
    pub(super) const fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Own => None,
            Self::Begun { ticket, .. } | Self::Waiting(ticket) | Self::Answered(ticket) => {
                Some(ticket)
            }
        }
    }

    /// The connection is closed.
    pub(super) fn closes(self) -> Option<Say> {
        self.ticket().map(Say::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { slot: 3, generation: 1 };

    #[test]
    fn the_credit_goes_back_with_the_last_byte_and_only_once() {
        let mut standing = Standing::claimed(TICKET, Mono::from_ns(1_000));
        assert_eq!(standing.begins(Mono::ZERO), None);
        assert_eq!(standing.sent(25, Mono::ZERO), None, "100 Continue is no answer");
        standing.answers(10);
        standing.answers(50);
        assert_eq!(standing.waits(), None, "an answer is on its way");
        assert_eq!(standing.sent(9, Mono::ZERO), None);
        let done = Say::Done { ticket: TICKET, service_us: 4 };
        assert_eq!(standing.sent(2, Mono::from_ns(5_000)), Some(done));
        standing.answers(1);
        assert_eq!(standing.sent(1, Mono::from_ns(9_000)), None);
        assert_eq!((standing.waits(), standing.begins(Mono::ZERO)), (None, None));
        assert_eq!(standing.closes(), Some(Say::Closed(TICKET)));
    }

    #[test]
    fn a_slow_client_gives_the_credit_back_and_takes_it_up_again() {
        let mut standing = Standing::claimed(TICKET, Mono::ZERO);
        assert_eq!(standing.waits(), Some(Say::Waiting(TICKET)));
        assert_eq!(standing.waits(), None);
        assert_eq!(standing.begins(Mono::from_ns(2_000)), Some(Say::Resumed(TICKET)));
        standing.answers(1);
        let done = Say::Done { ticket: TICKET, service_us: 3 };
        assert_eq!(standing.sent(1, Mono::from_ns(5_000)), Some(done));
    }

    #[test]
    fn a_refusal_of_a_client_that_was_waited_for_returns_no_second_credit() {
        let mut standing = Standing::Waiting(TICKET);
        standing.answers(7);
        assert_eq!(standing.sent(7, Mono::ZERO), None);
        assert_eq!(standing.closes(), Some(Say::Closed(TICKET)));
    }

    #[test]
    fn nothing_is_said_of_a_connection_of_our_own() {
        let mut standing = Standing::Own;
        standing.answers(1);
        assert_eq!((standing.waits(), standing.begins(Mono::ZERO)), (None, None));
        assert_eq!((standing.sent(1, Mono::ZERO), standing.closes()), (None, None));
    }
}
