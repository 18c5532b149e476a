//! The descriptors that a worker has been given: of connections that are offered to it, and of
//! those that it or another has given back.

use std::os::fd::OwnedFd;

use crate::units::Ticket;

/// Copies by the index of their ticket.
#[derive(Debug, Default)]
pub(super) struct ReceivedCopies(Vec<Option<Copy>>);

#[derive(Debug)]
struct Copy {
    generation: u32,
    socket: OwnedFd,
}

impl ReceivedCopies {
    /// Takes a copy in. One of another occupant of the index is closed: that one has ended.
    pub(super) fn put(&mut self, ticket: Ticket, socket: OwnedFd) {
        if self.0.len() <= ticket.index() {
            self.0.resize_with(ticket.index() + 1, || None);
        }
        self.0[ticket.index()] = Some(Copy { generation: ticket.generation, socket });
    }

    pub(super) fn has(&self, ticket: Ticket) -> bool {
        let copy = self.0.get(ticket.index()).and_then(Option::as_ref);
        copy.is_some_and(|copy| copy.generation == ticket.generation)
    }

    /// Takes a copy out, if it is there.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<OwnedFd> {
        let has = self.has(ticket);
        self.0.get_mut(ticket.index())?.take_if(|_| has).map(|copy| copy.socket)
    }
}
