//! The descriptors behind the tickets. The engine decides what becomes of a ticket; here is what
//! it stands for, if the master has it at the moment.

use crate::io::Token;
use crate::limits::TICKETS_MAX;
use crate::link::ConnectionTable;
use crate::units::{Ticket, WorkerId};

/// Every live ticket's descriptor.
#[derive(Debug)]
pub(super) struct Tickets<F> {
    entries: Vec<TicketFd<F>>,
    /// Indices to be used again, the last freed first: its conn record is still warm.
    free: Vec<u32>,
}

#[derive(Debug)]
struct TicketFd<F> {
    generation: u32,
    keeping: Keeping<F>,
    offer: OfferHeard,
}

/// Where a ticket's descriptor is.
#[derive(Debug)]
enum Keeping<F> {
    /// The ticket has ended.
    Free,
    /// Here.
    Here(F),
    /// In the watch under this token.
    Watched(Token, WatchEnd),
    /// In a batch of which the outcome is to come; a copy goes to the worker.
    Sending(WhenBack),
    /// Its worker's alone.
    Away,
}

/// Whether the client of a watched connection is to be let go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WatchEnd {
    /// It is waited for.
    Open,
    /// It was to be let go, and has spoken or left before.
    Asked,
    /// The connection has been shut down: nobody can be answered on it.
    ShutDown,
}

/// What was asked of a descriptor while it was in a batch, and is done when it is back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WhenBack {
    /// Nothing.
    Keep,
    /// Its offer is to be taken back.
    Recall,
    /// Its worker has it for good: it is closed.
    Release,
    /// Its worker has it for good, and nothing more is heard of it: its ticket ends.
    HandOver,
    /// Its worker has given it back: it is watched.
    Watch,
}

/// What has been heard of the last offer of a ticket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OfferHeard {
    /// There was none, or nothing is left of it.
    None,
    /// It is open.
    Open(WorkerId),
    /// It was claimed.
    Claimed(WorkerId),
}

impl<F> Tickets<F> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// A fresh ticket for this descriptor; the descriptor again when there are no tickets left.
    pub(super) fn issue(&mut self, fd: F) -> Result<Ticket, F> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let next = u32::try_from(self.entries.len()).unwrap_or(TICKETS_MAX);
                if TICKETS_MAX <= next {
                    return Err(fd);
                }
                self.entries.push(TicketFd {
                    generation: 0,
                    keeping: Keeping::Free,
                    offer: OfferHeard::None,
                });
                next
            }
        };
        let entry = &mut self.entries[index as usize];
        // No ticket has generation 0: that is nobody's.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        (entry.keeping, entry.offer) = (Keeping::Here(fd), OfferHeard::None);
        Ok(Ticket { index, generation: entry.generation })
    }

    /// Takes the descriptor out, if it is here; if a batch has it, remembers what it is wanted for.
    pub(super) fn take(&mut self, ticket: Ticket, wanted_for: WhenBack) -> Option<F> {
        let entry = self.entry(ticket)?;
        if let Keeping::Sending(when_back) = &mut entry.keeping {
            *when_back = wanted_for;
            return None;
        }
        self.swap(ticket, Keeping::Away)
    }

    /// The descriptor, if it is here.
    pub(super) fn here(&self, ticket: Ticket) -> Option<&F> {
        match &self.live(ticket)?.keeping {
            Keeping::Here(fd) => Some(fd),
            Keeping::Free | Keeping::Watched(..) | Keeping::Sending(_) | Keeping::Away => None,
        }
    }

    /// Remembers a recall of the ticket while its descriptor is in a batch; false when it is not.
    pub(super) fn recall_when_back(&mut self, ticket: Ticket) -> bool {
        match self.entry(ticket).map(|entry| &mut entry.keeping) {
            Some(Keeping::Sending(when_back)) => {
                if *when_back == WhenBack::Keep {
                    *when_back = WhenBack::Recall;
                }
                true
            }
            Some(Keeping::Free | Keeping::Here(_) | Keeping::Watched(..) | Keeping::Away)
            | None => false,
        }
    }

    /// Whether the descriptor is in a batch.
    pub(super) fn is_in_batch(&self, ticket: Ticket) -> bool {
        self.live(ticket).is_some_and(|entry| matches!(entry.keeping, Keeping::Sending(_)))
    }

    /// Puts the descriptor back, out of a batch. Returns what was asked of it meanwhile; gives it
    /// up again when the ticket has ended.
    pub(super) fn sent(&mut self, ticket: Ticket, fd: F) -> Result<WhenBack, F> {
        let Some(entry) = self.entry(ticket) else { return Err(fd) };
        match entry.keeping {
            Keeping::Sending(when_back) => {
                entry.keeping = Keeping::Here(fd);
                Ok(when_back)
            }
            Keeping::Free | Keeping::Here(_) | Keeping::Watched(..) | Keeping::Away => Err(fd),
        }
    }

    /// Puts the descriptor back, out of a watch. Returns whether its client was to be let go; gives
    /// it up again when the ticket has ended.
    pub(super) fn seen(&mut self, ticket: Ticket, fd: F) -> Result<WatchEnd, F> {
        let Some(entry) = self.entry(ticket) else { return Err(fd) };
        match entry.keeping {
            Keeping::Watched(_, end) => {
                entry.keeping = Keeping::Here(fd);
                Ok(end)
            }
            Keeping::Free | Keeping::Here(_) | Keeping::Sending(_) | Keeping::Away => Err(fd),
        }
    }

    /// Remembers the watch that the descriptor is in.
    pub(super) fn watched(&mut self, ticket: Ticket, token: Token) {
        if let Some(entry) = self.entry(ticket) {
            entry.keeping = Keeping::Watched(token, WatchEnd::Open);
        }
    }

    /// Remembers how it was tried to end the watch.
    pub(super) fn is_to_end(&mut self, ticket: Ticket, end: WatchEnd) {
        if let Some(token) = self.watch_of(ticket)
            && let Some(entry) = self.entry(ticket)
        {
            entry.keeping = Keeping::Watched(token, end);
        }
    }

    /// The watch that the descriptor is in.
    pub(super) fn watch_of(&mut self, ticket: Ticket) -> Option<Token> {
        match self.entry(ticket)?.keeping {
            Keeping::Watched(token, _) => Some(token),
            Keeping::Free | Keeping::Here(_) | Keeping::Sending(_) | Keeping::Away => None,
        }
    }

    /// The connection is offered to a worker.
    pub(super) fn offered(&mut self, ticket: Ticket, to: WorkerId) {
        self.hears(ticket, OfferHeard::Open(to));
    }

    /// A worker says that it has claimed the connection, or it was found to have.
    pub(super) fn claimed(&mut self, ticket: Ticket, by: WorkerId) {
        if self.is_open(ticket, by) {
            self.hears(ticket, OfferHeard::Claimed(by));
        }
    }

    /// The offer to a worker is back, unclaimed.
    pub(super) fn taken_back(&mut self, ticket: Ticket, from: WorkerId) {
        if self.is_open(ticket, from) {
            self.hears(ticket, OfferHeard::None);
        }
    }

    /// A worker says that it gives the connection back. Of one that it has not claimed that is a
    /// lie, and its offer stays open.
    pub(super) fn given_back(&mut self, ticket: Ticket, by: WorkerId) {
        if self.heard(ticket) == OfferHeard::Claimed(by) {
            self.hears(ticket, OfferHeard::None);
        }
    }

    /// Whether an offer to this worker is open: neither claimed, as far as is known, nor back.
    pub(super) fn is_open(&self, ticket: Ticket, to: WorkerId) -> bool {
        self.heard(ticket) == OfferHeard::Open(to)
    }

    /// Ends a ticket; its descriptor, if it is here, is the caller's to close.
    pub(super) fn retire(&mut self, ticket: Ticket) -> Option<F> {
        let entry = self.entry(ticket)?;
        let keeping = std::mem::replace(&mut entry.keeping, Keeping::Free);
        self.free.push(ticket.index);
        match keeping {
            Keeping::Here(fd) => Some(fd),
            Keeping::Free | Keeping::Watched(..) | Keeping::Sending(_) | Keeping::Away => None,
        }
    }

    fn hears(&mut self, ticket: Ticket, offer: OfferHeard) {
        if let Some(entry) = self.entry(ticket) {
            entry.offer = offer;
        }
    }

    fn heard(&self, ticket: Ticket) -> OfferHeard {
        self.live(ticket).map_or(OfferHeard::None, |entry| entry.offer)
    }

    fn swap(&mut self, ticket: Ticket, keeping: Keeping<F>) -> Option<F> {
        let entry = self.entry(ticket)?;
        match std::mem::replace(&mut entry.keeping, keeping) {
            Keeping::Here(fd) => Some(fd),
            other
            @ (Keeping::Free | Keeping::Watched(..) | Keeping::Sending(_) | Keeping::Away) => {
                entry.keeping = other;
                None
            }
        }
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut TicketFd<F>> {
        self.entries.get_mut(ticket.index()).filter(|entry| entry.is_of(ticket))
    }

    fn live(&self, ticket: Ticket) -> Option<&TicketFd<F>> {
        self.entries.get(ticket.index()).filter(|entry| entry.is_of(ticket))
    }
}

impl<F> TicketFd<F> {
    const fn is_of(&self, ticket: Ticket) -> bool {
        self.generation == ticket.generation && !matches!(self.keeping, Keeping::Free)
    }
}

impl<F> ConnectionTable<F> for Tickets<F> {
    fn send(&mut self, ticket: Ticket) -> Option<F> {
        self.swap(ticket, Keeping::Sending(WhenBack::Keep))
    }

    fn is_with(&self, ticket: Ticket, worker: WorkerId) -> bool {
        self.is_open(ticket, worker) || self.heard(ticket) == OfferHeard::Claimed(worker)
    }

    fn is_held(&self, ticket: Ticket) -> bool {
        self.here(ticket).is_some() && self.heard(ticket) == OfferHeard::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId { index: 1, epoch: 1 };
    const OTHER: WorkerId = WorkerId { index: 2, epoch: 1 };

    #[test]
    fn a_descriptor_is_in_one_place_and_a_stale_ticket_reaches_none() {
        let mut tickets = Tickets::new();
        let first = tickets.issue("a").unwrap();
        assert_eq!(tickets.send(first), Some("a"));
        assert_eq!(tickets.here(first), None);
        assert_eq!(tickets.send(first), None, "it is in a batch");
        assert_eq!(tickets.sent(first, "a"), Ok(WhenBack::Keep));
        assert_eq!(tickets.sent(first, "copy"), Err("copy"), "it is here already");
        assert_eq!(tickets.seen(first, "copy"), Err("copy"), "nor was it watched");
        assert_eq!(tickets.retire(first), Some("a"));
        let second = tickets.issue("b").unwrap();
        assert_eq!(second.index, first.index);
        assert_ne!(second, first);
        assert_eq!((tickets.here(first), tickets.here(second)), (None, Some(&"b")));
        assert_eq!(tickets.take(first, WhenBack::Release), None);
        assert_eq!(tickets.sent(first, "late"), Err("late"));
        assert_eq!(tickets.retire(first), None);
        assert_eq!(tickets.take(second, WhenBack::Release), Some("b"));
    }

    #[test]
    fn what_is_asked_of_a_descriptor_in_a_batch_is_told_when_it_is_back() {
        let mut tickets = Tickets::new();
        let ticket = tickets.issue("a").unwrap();
        assert!(!tickets.recall_when_back(ticket), "it is here");
        assert_eq!(tickets.send(ticket), Some("a"));
        assert!(tickets.recall_when_back(ticket));
        assert_eq!(tickets.sent(ticket, "a"), Ok(WhenBack::Recall));
        for wanted_for in [WhenBack::Release, WhenBack::Watch] {
            assert_eq!(tickets.send(ticket), Some("a"));
            assert!(tickets.recall_when_back(ticket), "asked before its worker was heard of");
            assert_eq!(tickets.take(ticket, wanted_for), None);
            assert!(tickets.recall_when_back(ticket), "which is known to be too late");
            assert_eq!(tickets.sent(ticket, "a"), Ok(wanted_for));
        }
        assert_eq!(tickets.send(ticket), Some("a"));
        assert_eq!(tickets.sent(ticket, "a"), Ok(WhenBack::Keep), "those are over");
    }

    #[test]
    fn an_offer_is_settled_once_and_by_the_worker_that_has_it() {
        let mut tickets = Tickets::new();
        let ticket = tickets.issue("a").unwrap();
        tickets.offered(ticket, WORKER);
        tickets.claimed(ticket, OTHER);
        tickets.taken_back(ticket, OTHER);
        tickets.given_back(ticket, WORKER);
        assert!(tickets.is_open(ticket, WORKER) && !tickets.is_open(ticket, OTHER));
        tickets.claimed(ticket, WORKER);
        assert!(tickets.is_with(ticket, WORKER) && !tickets.is_open(ticket, WORKER));
        tickets.taken_back(ticket, WORKER);
        assert!(tickets.is_with(ticket, WORKER), "it was claimed before");
        tickets.given_back(ticket, WORKER);
        tickets.claimed(ticket, WORKER);
        assert!(!tickets.is_with(ticket, WORKER), "it is not offered any more");
        tickets.offered(ticket, WORKER);
        tickets.taken_back(ticket, WORKER);
        assert!(!tickets.is_with(ticket, WORKER));
        tickets.offered(ticket, WORKER);
        tickets.retire(ticket);
        let next = tickets.issue("b").unwrap();
        assert!(!tickets.is_with(ticket, WORKER) && !tickets.is_with(next, WORKER));
    }

    #[test]
    fn a_connection_is_held_while_neither_worker_nor_client_is_to_do_something() {
        let mut tickets = Tickets::new();
        let ticket = tickets.issue("a").unwrap();
        assert!(tickets.is_held(ticket));
        tickets.offered(ticket, WORKER);
        assert!(!tickets.is_held(ticket));
        tickets.claimed(ticket, WORKER);
        tickets.given_back(ticket, WORKER);
        assert_eq!(tickets.take(ticket, WhenBack::Watch), Some("a"));
        let token = Token::from_word(2 << 56).expect("a watch");
        tickets.watched(ticket, token);
        assert!(!tickets.is_held(ticket));
        tickets.is_to_end(ticket, WatchEnd::ShutDown);
        assert_eq!(tickets.seen(ticket, "a"), Ok(WatchEnd::ShutDown));
        assert!(tickets.is_held(ticket));
        tickets.retire(ticket);
        assert!(!tickets.is_held(ticket));
    }
}
