//! The descriptors behind the tickets. The engine decides what becomes of a ticket; here is what
//! it stands for, if the master has it at the moment.

use crate::io::Token;
use crate::limits::TICKETS_MAX;
use crate::units::Ticket;

/// Every live ticket's descriptor.
#[derive(Debug)]
pub(super) struct Tickets<F> {
    slots: Vec<Slot<F>>,
    /// Slots to be used again, the last freed first: its card is still warm.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<F> {
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
    /// In a parcel of which the outcome is to come; a copy goes to the worker.
    Sending {
        /// Whether a recall waits for it.
        recalled: bool,
    },
    /// Its worker's alone.
    Away,
}

impl<F> Tickets<F> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// A fresh ticket for this descriptor; the descriptor again when there are no tickets left.
    pub(super) fn issue(&mut self, fd: F) -> Result<Ticket, F> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let next = u32::try_from(self.slots.len()).unwrap_or(TICKETS_MAX);
                if TICKETS_MAX <= next {
                    return Err(fd);
                }
                self.slots.push(Slot { generation: 0, keeping: Keeping::Free });
                next
            }
        };
        let entry = &mut self.slots[slot as usize];
        // No ticket has generation 0: that is nobody's.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.keeping = Keeping::Here(fd);
        Ok(Ticket { slot, generation: entry.generation })
    }

    /// Takes the descriptor out, if it is here.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<F> {
        self.swap(ticket, Keeping::Away)
    }

    /// The descriptor, if it is here.
    pub(super) fn here(&self, ticket: Ticket) -> Option<&F> {
        let slot = self.slots.get(ticket.index())?;
        match &slot.keeping {
            Keeping::Here(fd) if slot.generation == ticket.generation => Some(fd),
            Keeping::Free
            | Keeping::Here(_)
            | Keeping::Watched(_)
            | Keeping::ShutDown(_)
            | Keeping::Sending { .. }
            | Keeping::Away => None,
        }
    }

    /// Takes the descriptor out for a parcel, if it is here.
    pub(super) fn send(&mut self, ticket: Ticket) -> Option<F> {
        self.swap(ticket, Keeping::Sending { recalled: false })
    }

    /// Remembers a recall of the ticket while its descriptor is in a parcel; false when it is not.
    pub(super) fn recall_when_back(&mut self, ticket: Ticket) -> bool {
        match self.slot(ticket).map(|slot| &mut slot.keeping) {
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

    /// Puts the descriptor back, out of a parcel or a watch. Tells whether a recall waited for it;
    /// gives it up again when the ticket has ended meanwhile.
    pub(super) fn put(&mut self, ticket: Ticket, fd: F) -> Result<bool, F> {
        let Some(slot) = self.slot(ticket) else { return Err(fd) };
        let recalled = match slot.keeping {
            Keeping::Sending { recalled } => recalled,
            Keeping::Watched(_) | Keeping::ShutDown(_) => false,
            Keeping::Free | Keeping::Here(_) | Keeping::Away => return Err(fd),
        };
        slot.keeping = Keeping::Here(fd);
        Ok(recalled)
    }

    /// Remembers the watch that the descriptor is in.
    pub(super) fn watched(&mut self, ticket: Ticket, token: Token) {
        if let Some(slot) = self.slot(ticket) {
            slot.keeping = Keeping::Watched(token);
        }
    }

    /// Remembers that the socket in the watch was shut down.
    pub(super) fn was_shut_down(&mut self, ticket: Ticket) {
        if let Some(token) = self.watch_of(ticket)
            && let Some(slot) = self.slot(ticket)
        {
            slot.keeping = Keeping::ShutDown(token);
        }
    }

    /// Whether it was.
    pub(super) fn is_shut_down(&mut self, ticket: Ticket) -> bool {
        matches!(self.slot(ticket).map(|slot| &slot.keeping), Some(Keeping::ShutDown(_)))
    }

    /// The watch that the descriptor is in.
    pub(super) fn watch_of(&mut self, ticket: Ticket) -> Option<Token> {
        match self.slot(ticket)?.keeping {
            Keeping::Watched(token) | Keeping::ShutDown(token) => Some(token),
            Keeping::Free | Keeping::Here(_) | Keeping::Sending { .. } | Keeping::Away => None,
        }
    }

    /// Ends a ticket; its descriptor, if it is here, is the caller's to close.
    pub(super) fn retire(&mut self, ticket: Ticket) -> Option<F> {
        let slot = self.slot(ticket)?;
        let keeping = std::mem::replace(&mut slot.keeping, Keeping::Free);
        self.free.push(ticket.slot);
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
        let slot = self.slot(ticket)?;
        match std::mem::replace(&mut slot.keeping, keeping) {
            Keeping::Here(fd) => Some(fd),
            other @ (Keeping::Free
            | Keeping::Watched(_)
            | Keeping::ShutDown(_)
            | Keeping::Sending { .. }
            | Keeping::Away) => {
                slot.keeping = other;
                None
            }
        }
    }

    fn slot(&mut self, ticket: Ticket) -> Option<&mut Slot<F>> {
        let slot = self.slots.get_mut(ticket.index())?;
        let live = slot.generation == ticket.generation && !matches!(slot.keeping, Keeping::Free);
        live.then_some(slot)
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
        assert_eq!(tickets.take(first), None, "it is in a parcel");
        assert_eq!(tickets.put(first, "a"), Ok(false));
        assert_eq!(tickets.put(first, "copy"), Err("copy"), "it is here already");
        assert_eq!(tickets.retire(first), Some("a"));
        let second = tickets.issue("b").unwrap();
        assert_eq!(second.slot, first.slot);
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
