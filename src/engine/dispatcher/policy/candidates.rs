//! The workers as a selector sees them: who may be picked, how loaded, how heavy. Kept up to date
//! by the engine, so that a pick only reads.

use alloc::vec::Vec;

use crate::limits::SLOTS_MAX;
use crate::units::SlotId;

const WORD: usize = u64::BITS as usize;

/// What a pick reads: one column per slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidates {
    eligible: [u64; SLOTS_MAX / WORD],
    /// Slots whose cost has changed since a selector last asked.
    changed: [u64; SLOTS_MAX / WORD],
    costs: Vec<u64>,
    weights: Vec<u32>,
    /// The weight of whoever is eligible, 0 for the others: a scan needs no second look.
    shares: Vec<u32>,
}

impl Candidates {
    /// The cost of whoever may not be picked: more than any load.
    pub const BARRED: u64 = u64::MAX;

    /// A candidates of `slots` slots of weight 1, none of them eligible.
    pub fn new(slots: usize) -> Self {
        Self {
            eligible: [0; SLOTS_MAX / WORD],
            changed: [0; SLOTS_MAX / WORD],
            costs: alloc::vec![Self::BARRED; slots],
            weights: alloc::vec![1; slots],
            shares: alloc::vec![0; slots],
        }
    }

    /// Bars nobody that was eligible; new slots come barred, with weight 1.
    pub fn resize(&mut self, slots: usize) {
        for index in slots..self.costs.len() {
            self.eligible[index / WORD] &= !(1 << (index % WORD));
            self.changed[index / WORD] &= !(1 << (index % WORD));
        }
        self.costs.resize(slots, Self::BARRED);
        self.weights.resize(slots, 1);
        self.shares.resize(slots, 0);
    }

    /// Sets the weight of a slot; 0 counts as 1.
    pub fn set_weight(&mut self, slot: SlotId, weight: u32) {
        self.weights[slot.index()] = weight.max(1);
    }

    /// Lets a slot be picked, at this load.
    pub fn admit(&mut self, slot: SlotId, in_flight: u32, connections: u32) {
        let index = slot.index();
        self.eligible[index / WORD] |= 1 << (index % WORD);
        self.changed[index / WORD] |= 1 << (index % WORD);
        self.costs[index] = cost(in_flight, connections, self.weights[index]);
        self.shares[index] = self.weights[index];
    }

    /// Keeps a slot from being picked.
    pub fn bar(&mut self, slot: SlotId) {
        let index = slot.index();
        self.eligible[index / WORD] &= !(1 << (index % WORD));
        self.changed[index / WORD] |= 1 << (index % WORD);
        self.costs[index] = Self::BARRED;
        self.shares[index] = 0;
    }

    /// Slots, eligible or not.
    pub fn len(&self) -> usize {
        self.costs.len()
    }

    /// Whether there is no slot at all.
    pub fn is_empty(&self) -> bool {
        self.costs.is_empty()
    }

    /// What the slots cost, [`Candidates::BARRED`] for those that may not be picked.
    pub fn costs(&self) -> &[u64] {
        &self.costs
    }

    /// The weights of those that may be picked, 0 for the others.
    pub fn shares(&self) -> &[u32] {
        &self.shares
    }

    /// The weights of all slots.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Whether both show the same, whatever a selector has been told of it.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.eligible == other.eligible
            && self.costs == other.costs
            && self.weights == other.weights
            && self.shares == other.shares
    }

    /// A slot whose cost has changed since it was last named here.
    pub fn take_changed(&mut self) -> Option<SlotId> {
        let index = self.changed.iter().position(|word| *word != 0)?;
        let word = &mut self.changed[index];
        let bit = index * WORD + word.trailing_zeros() as usize;
        *word &= *word - 1;
        u16::try_from(bit).ok().map(SlotId)
    }

    /// The first eligible slot at `from` or behind it.
    pub fn eligible_from(&self, from: usize) -> Option<SlotId> {
        let first = from / WORD;
        let mut word = self.eligible.get(first)? & u64::MAX << (from % WORD);
        for index in first.. {
            if word != 0 {
                let bit = index * WORD + word.trailing_zeros() as usize;
                return u16::try_from(bit).ok().map(SlotId);
            }
            word = *self.eligible.get(index + 1)?;
        }
        None
    }
}

/// Requests per weight first, connections second, as one number to compare. The weight divides in
/// fixed point: a float has no place in a decision.
fn cost(in_flight: u32, connections: u32, weight: u32) -> u64 {
    const POINT: u64 = 1 << 10;
    let per_weight = u64::from(in_flight) * POINT / u64::from(weight);
    let connections_per_weight = u64::from(connections) * 16 / u64::from(weight);
    per_weight.min((1 << 40) - 1) << 23 | connections_per_weight.min((1 << 23) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_before_connections_and_weight_divides_both() {
        assert!(cost(1, 0, 1) > cost(0, 9_000, 1));
        assert!(cost(2, 0, 2) < cost(2, 0, 1));
        assert_eq!(cost(2, 4, 2), cost(1, 2, 1));
        assert!(cost(1, 5, 1) < cost(1, 6, 1));
        assert!(cost(u32::MAX, u32::MAX, 1) < Candidates::BARRED);
    }

    #[test]
    fn the_next_eligible_slot_is_found_across_words() {
        let mut candidates = Candidates::new(200);
        for slot in [3, 64, 199] {
            candidates.admit(SlotId(slot), 0, 0);
        }
        assert_eq!(candidates.eligible_from(0), Some(SlotId(3)));
        assert_eq!(candidates.eligible_from(4), Some(SlotId(64)));
        assert_eq!(candidates.eligible_from(65), Some(SlotId(199)));
        assert_eq!(candidates.eligible_from(200), None);
        candidates.resize(100);
        assert_eq!(candidates.eligible_from(65), None);
        candidates.bar(SlotId(3));
        assert_eq!(candidates.eligible_from(0), Some(SlotId(64)));
    }
}
