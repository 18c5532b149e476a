//! What workers have done, counted beyond their ends: a number that somebody watches never falls.

use crate::units::SlotId;

/// What one process has done so far, or several.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Account {
    /// Connections taken.
    pub(super) accepted: u64,
    /// Requests answered.
    pub(super) requests: u64,
    /// Times that the master woke it.
    pub(super) wakes: u64,
    /// Times that it woke the master.
    pub(super) rings: u64,
}

impl Account {
    /// Both together. A worker can say anything of itself, so that the sum may be beyond counting.
    #[must_use]
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_add(other.accepted),
            requests: self.requests.saturating_add(other.requests),
            wakes: self.wakes.saturating_add(other.wakes),
            rings: self.rings.saturating_add(other.rings),
        }
    }

    /// The account, where nothing has shrunk since it was `before`: what only grows does not, but a
    /// worker may lie.
    #[must_use]
    pub(super) fn no_less_than(self, before: Self) -> Self {
        Self {
            accepted: self.accepted.max(before.accepted),
            requests: self.requests.max(before.requests),
            wakes: self.wakes.max(before.wakes),
            rings: self.rings.max(before.rings),
        }
    }
}

/// The accounts of processes that are gone, by slot.
#[derive(Debug, Default)]
pub(super) struct Past(Vec<Account>);

impl Past {
    pub(super) fn add(&mut self, slot: SlotId, account: Account) {
        if self.0.len() <= slot.index() {
            self.0.resize(slot.index() + 1, Account::default());
        }
        self.0[slot.index()] = self.0[slot.index()].plus(account);
    }

    pub(super) fn of(&self, slot: SlotId) -> Account {
        self.0.get(slot.index()).copied().unwrap_or_default()
    }

    /// Of all slots, those included that are not wanted any more.
    pub(super) fn total(&self) -> Account {
        self.0.iter().copied().fold(Account::default(), Account::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_sum_of_its_processes_and_nothing_shrinks() {
        let one = Account { accepted: 3, requests: 5, wakes: 2, rings: 1 };
        let mut past = Past::default();
        past.add(SlotId(2), one);
        past.add(SlotId(2), one);
        past.add(SlotId(0), one);
        assert_eq!(past.of(SlotId(2)).requests, 10);
        assert_eq!((past.of(SlotId(1)), past.of(SlotId(9))), Default::default());
        assert_eq!(past.total().accepted, 9);
        let later = Account { accepted: 4, requests: 0, ..one }.no_less_than(one);
        assert_eq!((later.accepted, later.requests), (4, 5));
        let liar = Account { requests: u64::MAX, ..one };
        assert_eq!(one.plus(liar).requests, u64::MAX);
    }
}
