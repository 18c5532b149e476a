//! The descriptors behind the tickets. The engine decides what becomes of a ticket; here is what
//! it stands for, if the master has it at the moment.

use crate::io::Token;
use crate::limits::TICKETS_MAX;
use crate::units::Ticket;

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
}

/// Where a ticket's descriptor is.
#[derive(Debug)]
enum Keeping<F> {
    /// The ticket has ended.
    Free,
    /// Here.
    Here(F),
    /// In the watch under this token.
    Watched(Token),
    /// The same; it has been shut down, and nobody can be answered on it.
    ShutDown(Token),
    /// In a batch of which the outcome is to come; a copy goes to the worker.
    Sending {
        /// Whether a recall waits for it.
        recalled: bool,
    },
    /// Its worker's alone.
    Away,
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
                self.entries.push(TicketFd { generation: 0, keeping: Keeping::Free });
                next
            }
        };
        let entry = &mut self.entries[index as usize];
        // No ticket has generation 0: that is nobody's.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.keeping = Keeping::Here(fd);
        Ok(Ticket { index, generation: entry.generation })
    }

    /// Takes the descriptor out, if it is here.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<F> {
        self.swap(ticket, Keeping::Away)
    }

    /// The descriptor, if it is here.
    pub(super) fn here(&self, ticket: Ticket) -> Option<&F> {
        let entry = self.entries.get(ticket.index())?;
        match &entry.keeping {
            Keeping::Here(fd) if entry.generation == ticket.generation => Some(fd),
            Keeping::Free
            | Keeping::Here(_)
            | Keeping::Watched(_)
            | Keeping::ShutDown(_)
            | Keeping::Sending { .. }
            | Keeping::Away => None,
        }
    }

    /// Takes the descriptor out for a batch, if it is here.
    pub(super) fn send(&mut self, ticket: Ticket) -> Option<F> {
        self.swap(ticket, Keeping::Sending { recalled: false })
    }

    /// Remembers a recall of the ticket while its descriptor is in a batch; false when it is not.
    pub(super) fn recall_when_back(&mut self, ticket: Ticket) -> bool {
        match self.entry(ticket).map(|entry| &mut entry.keeping) {
            Some(Keeping::Sending { recalled }) => {
                *recalled = true;
                true
            }
            Some(
                Keeping::Free
                | Keeping::Here(_)
                | Keeping::Watched(_)
                | Keeping::ShutDown(_)
                | Keeping::Away,
            )
            | None => false,
        }
    }

    /// Puts the descriptor back, out of a batch or a watch. Tells whether a recall waited for it;
    /// gives it up again when the ticket has ended meanwhile.
    pub(super) fn put(&mut self, ticket: Ticket, fd: F) -> Result<bool, F> {
        let Some(entry) = self.entry(ticket) else { return Err(fd) };
        let recalled = match entry.keeping {
            Keeping::Sending { recalled } => recalled,
            Keeping::Watched(_) | Keeping::ShutDown(_) => false,
            Keeping::Free | Keeping::Here(_) | Keeping::Away => return Err(fd),
        };
        entry.keeping = Keeping::Here(fd);
        Ok(recalled)
    }

    /// Remembers the watch that the descriptor is in.
    pub(super) fn watched(&mut self, ticket: Ticket, token: Token) {
        if let Some(entry) = self.entry(ticket) {
            entry.keeping = Keeping::Watched(token);
        }
    }

    /// Remembers that the socket in the watch was shut down.
    pub(super) fn was_shut_down(&mut self, ticket: Ticket) {
        if let Some(token) = self.watch_of(ticket)
            && let Some(entry) = self.entry(ticket)
        {
            entry.keeping = Keeping::ShutDown(token);
        }
    }

    /// Whether it was.
    pub(super) fn is_shut_down(&mut self, ticket: Ticket) -> bool {
        matches!(self.entry(ticket).map(|entry| &entry.keeping), Some(Keeping::ShutDown(_)))
    }

    /// The watch that the descriptor is in.
    pub(super) fn watch_of(&mut self, ticket: Ticket) -> Option<Token> {
        match self.entry(ticket)?.keeping {
            Keeping::Watched(token) | Keeping::ShutDown(token) => Some(token),
            Keeping::Free | Keeping::Here(_) | Keeping::Sending { .. } | Keeping::Away => None,
        }
    }

    /// Ends a ticket; its descriptor, if it is here, is the caller's to close.
    pub(super) fn retire(&mut self, ticket: Ticket) -> Option<F> {
        let entry = self.entry(ticket)?;
        let keeping = std::mem::replace(&mut entry.keeping, Keeping::Free);
        self.free.push(ticket.index);
        match keeping {
            Keeping::Here(fd) => Some(fd),
            Keeping::Free
            | Keeping::Watched(_)
            | Keeping::ShutDown(_)
            | Keeping::Sending { .. }
            | Keeping::Away => None,
        }
    }

    fn swap(&mut self, ticket: Ticket, keeping: Keeping<F>) -> Option<F> {
        let entry = self.entry(ticket)?;
        match std::mem::replace(&mut entry.keeping, keeping) {
            Keeping::Here(fd) => Some(fd),
            other @ (Keeping::Free
            | Keeping::Watched(_)
            | Keeping::ShutDown(_)
            | Keeping::Sending { .. }
            | Keeping::Away) => {
                entry.keeping = other;
                None
            }
        }
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut TicketFd<F>> {
        let entry = self.entries.get_mut(ticket.index())?;
        let live = entry.generation == ticket.generation && !matches!(entry.keeping, Keeping::Free);
        live.then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_in_one_place_and_a_stale_ticket_reaches_none() {
        let mut tickets = Tickets::new();
        let first = tickets.issue("a").unwrap();
        assert_eq!(tickets.send(first), Some("a"));
        assert_eq!(tickets.here(first), None);
        assert_eq!(tickets.take(first), None, "it is in a batch");
        assert_eq!(tickets.put(first, "a"), Ok(false));
        assert_eq!(tickets.put(first, "copy"), Err("copy"), "it is here already");
        assert_eq!(tickets.retire(first), Some("a"));
        let second = tickets.issue("b").unwrap();
        assert_eq!(second.index, first.index);
        assert_ne!(second, first);
        assert_eq!((tickets.here(first), tickets.here(second)), (None, Some(&"b")));
        assert_eq!(tickets.take(first), None);
        assert_eq!(tickets.put(first, "late"), Err("late"));
        assert_eq!(tickets.retire(first), None);
        assert_eq!(tickets.take(second), Some("b"));
    }

    #[test]
    fn a_recall_waits_for_a_descriptor_that_is_on_its_way() {
        let mut tickets = Tickets::new();
        let ticket = tickets.issue("a").unwrap();
        assert!(!tickets.recall_when_back(ticket), "it is here");
        assert_eq!(tickets.send(ticket), Some("a"));
        assert!(tickets.recall_when_back(ticket));
        assert_eq!(tickets.put(ticket, "a"), Ok(true));
        assert_eq!(tickets.send(ticket), Some("a"));
        assert_eq!(tickets.put(ticket, "a"), Ok(false), "that recall is over");
    }
}
