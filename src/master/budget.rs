//! What the master's descriptors are for: some for itself, some for its listeners, some for each
//! worker and its successor, and the rest for connections.

use crate::engine::dispatcher::policy::Policy;
use crate::limits::MASTER_SPARE_DESCRIPTORS;

/// Descriptors that each worker costs the master: its channel and a copy for its end, its doorbell,
/// its process and output twice, and, until it is its program, what it tells of that, twice.
const PER_WORKER: u64 = 9;

/// Descriptors that the output of one that is gone costs: to wait for it, and to read it.
const PER_LATE_OUTPUT: u64 = 2;

/// How a limit on open files is divided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Budget {
    /// The limit.
    pub(super) open_files: u64,
    /// Workers to start with.
    pub(super) workers: u64,
    /// Listeners, inherited ones included.
    pub(super) listeners: u64,
    pub(super) policy: Policy,
}

impl Budget {
    /// The limit with which it can start, and have one connection at least.
    pub(super) fn needed(self) -> u64 {
        self.fixed() + self.workers * (PER_WORKER + self.sockets_per_slot()) + 1
    }

    /// What is left for connections. While workers are replaced there are twice as many.
    pub(super) fn copies_max(self) -> u32 {
        let others = self.fixed() + self.workers * u64::from(self.slot_cost());
        u32::try_from(self.open_files.saturating_sub(others)).unwrap_or(u32::MAX).max(1)
    }

    /// What each further slot takes of that: a worker and its successor, the output of one that is
    /// gone, and its own sockets.
    pub(super) fn slot_cost(self) -> u32 {
        u32::try_from(2 * PER_WORKER + PER_LATE_OUTPUT + self.sockets_per_slot())
            .unwrap_or(u32::MAX)
    }

    /// What does not depend on the number of workers.
    fn fixed(self) -> u64 {
        let listeners = match self.policy {
            // Workers get copies of a copy.
            Policy::Shared => 2 * self.listeners,
            Policy::Reuseport => 0,
            Policy::RoundRobin | Policy::Weighted | Policy::Least | Policy::Jbsq(_) => {
                self.listeners
            }
        };
        u64::from(MASTER_SPARE_DESCRIPTORS) + listeners
    }

    /// One of each listener, and the copy that its workers get copies of.
    const fn sockets_per_slot(self) -> u64 {
        match self.policy {
            Policy::Reuseport => 2 * self.listeners,
            Policy::Shared
            | Policy::RoundRobin
            | Policy::Weighted
            | Policy::Least
            | Policy::Jbsq(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPARE: u64 = MASTER_SPARE_DESCRIPTORS as u64;

    #[test]
    fn all_of_the_limit_is_given_to_somebody() {
        let budget = |policy| Budget { open_files: 1_000, workers: 4, listeners: 3, policy };
        for (policy, needed, left) in [
            (Policy::RoundRobin, SPARE + 3 + 36 + 1, 1_000 - SPARE - 3 - 80),
            (Policy::Shared, SPARE + 6 + 36 + 1, 1_000 - SPARE - 6 - 80),
            (Policy::Reuseport, SPARE + 36 + 24 + 1, 1_000 - SPARE - 80 - 24),
        ] {
            let budget = budget(policy);
            assert_eq!((budget.needed(), u64::from(budget.copies_max())), (needed, left));
            let more = Budget { workers: 5, ..budget };
            assert_eq!(budget.copies_max() - more.copies_max(), budget.slot_cost());
        }
        let poor = Budget { open_files: 0, ..budget(Policy::Shared) };
        assert_eq!(poor.copies_max(), 1);
    }
}
