//! Each in turn: the policy everybody else has, and the baseline of every comparison.

use super::{Candidates, Select};
use crate::units::SlotId;

/// Remembers whose turn it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RoundRobin {
    next: usize,
}

impl Select for RoundRobin {
    fn pick(&mut self, candidates: &mut Candidates, _: Option<SlotId>) -> Option<SlotId> {
        let slot = candidates.eligible_from(self.next).or_else(|| candidates.eligible_from(0))?;
        self.next = slot.index() + 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn turns_go_round_and_skip_whoever_is_barred() {
        let mut candidates = Candidates::new(4);
        for slot in [0, 1, 3] {
            candidates.admit(SlotId(slot), 9, 9);
        }
        let mut selector = RoundRobin::default();
        let picks: Vec<_> =
            (0..6).filter_map(|_| selector.pick(&mut candidates, None)).map(|s| s.0).collect();
        assert_eq!(picks, [0, 1, 3, 0, 1, 3]);
        assert_eq!(RoundRobin::default().pick(&mut Candidates::new(4), None), None);
    }
}
