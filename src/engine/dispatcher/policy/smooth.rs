//! Weighted turns that do not come in bursts: weights 5,1,1 give a a b a c a a.

use alloc::vec::Vec;

use super::{Candidates, Select};
use crate::limits::{SLOTS_MAX, WEIGHT_MAX};
use crate::units::SlotId;

/// Smooth weighted rotation, nginx's algorithm: at each pick every eligible slot gains its weight,
/// the richest is picked and pays what all gained. A slot that is barred keeps its score.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Smooth {
    scores: Vec<i32>,
}

impl Select for Smooth {
    fn pick(&mut self, candidates: &mut Candidates, _: Option<SlotId>) -> Option<SlotId> {
        self.scores.resize(candidates.len(), 0);
        // Two plain passes, which the compiler turns into vector code; the assertion below says
        // why nothing can overflow.
        let (mut richest, mut gained) = (i32::MIN, 0_i32);
        for (score, share) in self.scores.iter_mut().zip(candidates.shares()) {
            let share = share.cast_signed();
            *score = score.wrapping_add(share);
            gained = gained.wrapping_add(share);
            richest = richest.max(if share == 0 { i32::MIN } else { *score });
        }
        let best = self
            .scores
            .iter()
            .zip(candidates.shares())
            .position(|(score, share)| *score == richest && *share != 0)?;
        self.scores[best] = self.scores[best].wrapping_sub(gained);
        u16::try_from(best).ok().map(SlotId)
    }
}

const _: () = assert!((WEIGHT_MAX as usize) * SLOTS_MAX * 2 < i32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(weights: &[u32], count: usize) -> Vec<u16> {
        let mut candidates = Candidates::new(weights.len());
        for (slot, weight) in (0..).map(SlotId).zip(weights) {
            candidates.set_weight(slot, *weight);
            candidates.admit(slot, 0, 0);
        }
        let mut selector = Smooth::default();
        (0..count).filter_map(|_| selector.pick(&mut candidates, None)).map(|slot| slot.0).collect()
    }

    #[test]
    fn heavy_slots_come_often_but_not_in_bursts() {
        assert_eq!(picks(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(&[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(picks(&[1, 1], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn shares_are_exact_over_whole_rounds() {
        let weights = [7, 3, 2, 1];
        let picks = picks(&weights, 13 * 50);
        for (slot, weight) in (0..).zip(weights) {
            let share = picks.iter().filter(|pick| **pick == slot).count();
            assert_eq!(share, weight as usize * 50);
        }
    }
}
