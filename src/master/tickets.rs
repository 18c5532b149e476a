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
    /// On its way to a worker, or there.
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
        entry.generation = entry.generation.wrapping_add(1);
        entry.keeping = Keeping::Here(fd);
        Ok(Ticket { slot, generation: entry.generation })
    }

    /// Takes the descriptor out, if it is here.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<F> {
        let slot = self.slot(ticket)?;
        match std::mem::replace(&mut slot.keeping, Keeping::Away) {
            Keeping::Here(fd) => Some(fd),
            other @ (Keeping::Free | Keeping::Watched(_) | Keeping::Away) => {
                slot.keeping = other;
                None
            }
        }
    }

    /// Puts the descriptor back; gives it up again when the ticket is stale or has one already.
    pub(super) fn put(&mut self, ticket: Ticket, fd: F) -> Option<F> {
        match self.slot(ticket) {
            Some(slot) => match slot.keeping {
                Keeping::Watched(_) | Keeping::Away => {
                    slot.keeping = Keeping::Here(fd);
                    None
                }
                Keeping::Free | Keeping::Here(_) => Some(fd),
            },
            None => Some(fd),
        }
    }

    /// Remembers the watch that the descriptor is in.
    pub(super) fn watched(&mut self, ticket: Ticket, token: Token) {
        if let Some(slot) = self.slot(ticket) {
            slot.keeping = Keeping::Watched(token);
        }
    }

    /// The watch that the descriptor is in.
    pub(super) fn watch_of(&mut self, ticket: Ticket) -> Option<Token> {
        match self.slot(ticket)?.keeping {
            Keeping::Watched(token) => Some(token),
            Keeping::Free | Keeping::Here(_) | Keeping::Away => None,
        }
    }

    /// Ends a ticket; its descriptor, if it is here, is the caller's to close.
    pub(super) fn retire(&mut self, ticket: Ticket) -> Option<F> {
        let slot = self.slot(ticket)?;
        let keeping = std::mem::replace(&mut slot.keeping, Keeping::Free);
        self.free.push(ticket.slot);
        match keeping {
            Keeping::Here(fd) => Some(fd),
            Keeping::Free | Keeping::Watched(_) | Keeping::Away => None,
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
        assert_eq!(tickets.take(first), Some("a"));
        assert_eq!(tickets.take(first), None, "it is away");
        assert_eq!(tickets.put(first, "a"), None);
        assert_eq!(tickets.put(first, "copy"), Some("copy"), "it is here already");
        assert_eq!(tickets.retire(first), Some("a"));
        let second = tickets.issue("b").unwrap();
        assert_eq!(second.slot, first.slot);
        assert_ne!(second, first);
        assert_eq!(tickets.take(first), None);
        assert_eq!(tickets.put(first, "late"), Some("late"));
        assert_eq!(tickets.retire(first), None);
        assert_eq!(tickets.take(second), Some("b"));
    }
}
