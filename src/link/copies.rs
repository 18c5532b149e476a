//! Which connections' descriptors a worker has been given and not lost again: those it can be told
//! of without a message. It keeps them until they end, or until room is needed for others.

use crate::units::Ticket;

/// What one worker has copies of.
#[derive(Debug, Default)]
pub(super) struct SentCopies {
    /// The generation of the ticket by index; 0, which no ticket has, for none.
    generations: Vec<u32>,
    count: u32,
    /// Where the search for one that can go was left off, so that all take turns.
    next: usize,
}

impl SentCopies {
    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.generations.get(ticket.index()) == Some(&ticket.generation)
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn add(&mut self, ticket: Ticket) {
        if self.generations.len() <= ticket.index() {
            self.generations.resize(ticket.index() + 1, 0);
        }
        let generation = &mut self.generations[ticket.index()];
        self.count += u32::from(*generation == 0);
        *generation = ticket.generation;
    }

    /// Strikes one out; false when it is not there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        let has = self.has(ticket);
        if has {
            self.generations[ticket.index()] = 0;
            self.count -= 1;
        }
        has
    }

    /// Strikes one out that may go, each index in its turn.
    pub(super) fn evict(&mut self, mut may_go: impl FnMut(Ticket) -> bool) -> Option<Ticket> {
        let indices = self.generations.len();
        for _ in 0..indices {
            let index = self.next % indices;
            self.next = index + 1;
            let generation = self.generations[index];
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let ticket = Ticket { index, generation };
            if generation != 0 && may_go(ticket) {
                self.remove(ticket);
                return Some(ticket);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(index: u32) -> Ticket {
        Ticket { index, generation: 7 }
    }

    #[test]
    fn copies_are_counted_once_and_a_later_occupant_is_another() {
        let mut copies = SentCopies::default();
        copies.add(ticket(3));
        copies.add(ticket(3));
        assert_eq!((copies.count(), copies.has(ticket(3))), (1, true));
        let later = Ticket { index: 3, generation: 8 };
        assert!(!copies.has(later) && !copies.remove(later) && !copies.has(ticket(9)));
        assert!(copies.remove(ticket(3)) && !copies.remove(ticket(3)));
        assert_eq!(copies.count(), 0);
    }

    #[test]
    fn those_that_may_go_take_turns() {
        let mut copies = SentCopies::default();
        assert_eq!(copies.evict(|_| true), None);
        for index in [0, 2, 5] {
            copies.add(ticket(index));
        }
        assert_eq!(copies.evict(|each| each != ticket(0)), Some(ticket(2)));
        copies.add(ticket(2));
        assert_eq!(copies.evict(|_| true), Some(ticket(5)));
        assert_eq!(copies.evict(|_| true), Some(ticket(0)));
        assert_eq!(copies.evict(|_| false), None);
        assert_eq!(copies.count(), 1);
    }
}
