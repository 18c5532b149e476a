//! Whoever has least to do. The winner among all slots is kept in a tournament tree: when one
//! slot's load changes, only the matches on its way to the root are played again, so that a pick
//! among 256 workers costs hardly more than one among two.

use alloc::vec::Vec;

use super::{Candidates, Select};
use crate::units::SlotId;

/// Picks the cheapest slot; among equals the favourite, else the one that was picked longest ago,
/// so that equals take turns.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Least {
    /// Winners by match: the final is at 1, the matches before match `m` at `2m` and `2m + 1`; the
    /// second half holds the slots themselves.
    winners: Vec<u16>,
    /// When each slot was last picked, in picks.
    picked_at: Vec<u64>,
    picks: u64,
}

impl Select for Least {
    fn pick(&mut self, candidates: &mut Candidates, favourite: Option<SlotId>) -> Option<SlotId> {
        if self.picked_at.len() != candidates.len() {
            self.draw_up(candidates);
        }
        while let Some(slot) = candidates.take_changed() {
            self.replay(candidates, slot.0);
        }
        let mut winner = *self.winners.get(1)?;
        let least = candidates.costs()[usize::from(winner)];
        if least == Candidates::BARRED {
            return None;
        }
        if let Some(SlotId(favourite)) = favourite
            && candidates.costs().get(usize::from(favourite)) == Some(&least)
        {
            winner = favourite;
        }
        self.picks += 1;
        self.picked_at[usize::from(winner)] = self.picks;
        self.replay(candidates, winner);
        Some(SlotId(winner))
    }
}

impl Least {
    /// A new tree for as many slots as there are, all matches played.
    fn draw_up(&mut self, candidates: &Candidates) {
        let slots = u16::try_from(candidates.len()).unwrap_or(u16::MAX);
        self.picked_at.resize(candidates.len(), 0);
        let half = candidates.len().next_power_of_two();
        self.winners = alloc::vec![0; 2 * half];
        for (place, slot) in (0..slots).enumerate() {
            self.winners[half + place] = slot;
        }
        // A leaf without a slot repeats the last one: it wins no match that the last would not.
        for place in candidates.len()..half {
            self.winners[half + place] = slots.saturating_sub(1);
        }
        for number in (1..half).rev() {
            self.winners[number] = self.play(candidates, number);
        }
    }

    /// Plays the matches between a slot and the final again.
    fn replay(&mut self, candidates: &Candidates, slot: u16) {
        let mut number = (self.winners.len() / 2 + usize::from(slot)) / 2;
        while 0 < number {
            self.winners[number] = self.play(candidates, number);
            number /= 2;
        }
    }

    fn play(&self, candidates: &Candidates, number: usize) -> u16 {
        let rivals = [self.winners[2 * number], self.winners[2 * number + 1]];
        let [left, right] = rivals
            .map(|slot| (candidates.costs()[usize::from(slot)], self.picked_at[usize::from(slot)]));
        if right < left { rivals[1] } else { rivals[0] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::rng::Rng;
    use super::*;

    #[test]
    fn the_least_loaded_is_picked_and_equals_take_turns() {
        let mut candidates = Candidates::new(4);
        for (slot, load) in [(0, 2), (1, 1), (2, 1), (3, 5)] {
            candidates.admit(SlotId(slot), load, 0);
        }
        let mut selector = Least::default();
        let picks: Vec<_> = (0..4)
            .filter_map(|_| selector.pick(&mut candidates, None))
            .map(|slot| slot.0)
            .collect();
        assert_eq!(picks, [1, 2, 1, 2]);
        candidates.bar(SlotId(1));
        candidates.bar(SlotId(2));
        assert_eq!(selector.pick(&mut candidates, None), Some(SlotId(0)));
        candidates.bar(SlotId(0));
        candidates.bar(SlotId(3));
        assert_eq!(selector.pick(&mut candidates, None), None);
        assert_eq!(Least::default().pick(&mut Candidates::new(0), None), None);
    }

    #[test]
    fn among_equals_the_favourite_is_picked_and_it_costs_nobody_else_a_turn() {
        let mut candidates = Candidates::new(3);
        for (slot, load) in [(0, 1), (1, 1), (2, 2)] {
            candidates.admit(SlotId(slot), load, 0);
        }
        let mut selector = Least::default();
        for (favourite, picked) in [(1, 1), (1, 1), (2, 0), (0, 0), (9, 1)] {
            assert_eq!(
                selector.pick(&mut candidates, Some(SlotId(favourite))),
                Some(SlotId(picked))
            );
        }
    }

    #[test]
    fn a_heavier_slot_bears_more() {
        let mut candidates = Candidates::new(2);
        candidates.set_weight(SlotId(0), 3);
        candidates.admit(SlotId(0), 2, 0);
        candidates.admit(SlotId(1), 1, 0);
        assert_eq!(Least::default().pick(&mut candidates, None), Some(SlotId(0)));
    }

    #[test]
    fn the_tree_agrees_with_a_scan_whatever_changes() {
        let mut rng = Rng::new(5);
        for slots in [1_u16, 2, 3, 7, 64, 200] {
            let mut candidates = Candidates::new(usize::from(slots));
            let mut selector = Least::default();
            for _ in 0..500 {
                for _ in 0..rng.below(4) {
                    let slot = SlotId(u16::try_from(rng.below(u64::from(slots))).unwrap());
                    match rng.below(3) {
                        0 => candidates.bar(slot),
                        _ => candidates.admit(slot, u32::try_from(rng.below(4)).unwrap(), 0),
                    }
                }
                let least = candidates.costs().iter().copied().min().unwrap();
                let picked = selector.pick(&mut candidates, None);
                match picked {
                    Some(slot) => assert_eq!(candidates.costs()[slot.index()], least),
                    None => assert_eq!(least, Candidates::BARRED),
                }
            }
        }
    }
}
