//! A table whose places are used again, with a generation that tells a late word about the last
//! occupant from one about the present: the kernel may answer after we have moved on.

use std::num::NonZeroU64;

use crate::io::{OpKind, Source, Token};

/// Generations are counted in so many bits, because a token shares its word with index and kind.
const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
/// Where the kind stands in a token's word.
const KIND_AT: u32 = 32 + GENERATION_BITS;

/// A table of occupants; all operations take constant time. It grows and never shrinks.
#[derive(Debug)]
pub struct Arena<T> {
    places: Vec<ArenaEntry<T>>,
    vacant: Vec<u32>,
}

/// A place in a table, and which of its occupants is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArenaKey {
    /// Position in the table.
    pub index: u32,
    /// Occupants that the place has had before, in 24 bits.
    pub generation: u32,
}

#[derive(Debug)]
struct ArenaEntry<T> {
    generation: u32,
    occupant: Option<T>,
}

impl<T> Arena<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }

    /// Gives `occupant` a place.
    ///
    /// # Panics
    /// When 2^32 places are taken, for which no machine has the memory.
    pub fn insert(&mut self, occupant: T) -> ArenaKey {
        if let Some(index) = self.vacant.pop() {
            let place = &mut self.places[index as usize];
            place.occupant = Some(occupant);
            return ArenaKey { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).expect("memory ends before 2^32 places do");
        self.places.push(ArenaEntry { generation: 0, occupant: Some(occupant) });
        ArenaKey { index, generation: 0 }
    }

    /// Takes the occupant out, unless it has left already.
    pub fn remove(&mut self, key: ArenaKey) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let occupant = place.occupant.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.vacant.push(key.index);
        Some(occupant)
    }

    /// The occupant, unless it has left.
    pub fn occupant_mut(&mut self, key: ArenaKey) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.occupant.as_mut()
    }

    /// The occupant, unless it has left.
    pub fn occupant(&self, key: ArenaKey) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.occupant.as_ref()
    }

    /// All occupants, in the order of their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ArenaKey, &mut T)> {
        (0_u32..).zip(&mut self.places).filter_map(|(index, place)| {
            let generation = place.generation;
            place.occupant.as_mut().map(|occupant| (ArenaKey { index, generation }, occupant))
        })
    }

    /// How many occupants there are.
    pub const fn count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl ArenaKey {
    /// The token of the operation of this kind in this place.
    pub const fn token(self, kind: OpKind) -> Token {
        let word = (kind as u64) << KIND_AT | self.to_word();
        Token(NonZeroU64::new(word).expect("no kind is 0"))
    }

    /// The source in this place.
    pub const fn source(self) -> Source {
        Source { index: self.index, generation: self.generation }
    }

    /// Index and generation in the lower 56 bits of a word.
    pub const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key in the lower 56 bits of a word.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word are meant")]
    pub const fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 & GENERATION_MASK }
    }
}

impl Source {
    /// Where the backend keeps this source.
    pub(crate) const fn key(self) -> ArenaKey {
        ArenaKey { index: self.index, generation: self.generation }
    }
}

impl Token {
    /// Where the backend keeps this operation.
    pub const fn key(self) -> ArenaKey {
        ArenaKey::from_word(self.to_word())
    }

    /// Which kind of operation it is.
    pub const fn kind(self) -> OpKind {
        kind_of(self.to_word()).expect("a token has a kind")
    }

    /// The token as one word, never 0.
    pub(crate) const fn to_word(self) -> u64 {
        self.0.get()
    }

    /// The token that [`Token::to_word`] made; `None` for a word that it cannot have made.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        kind_of(word).and_then(|_| NonZeroU64::new(word)).map(Self)
    }
}

const fn kind_of(word: u64) -> Option<OpKind> {
    Some(match word >> KIND_AT {
        1 => OpKind::Accept,
        2 => OpKind::Readable,
        3 => OpKind::Ring,
        4 => OpKind::Handoff,
        5 => OpKind::Recv,
        6 => OpKind::Send,
        7 => OpKind::Close,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [OpKind; 7] = [
        OpKind::Accept,
        OpKind::Readable,
        OpKind::Ring,
        OpKind::Handoff,
        OpKind::Recv,
        OpKind::Send,
        OpKind::Close,
    ];

    #[test]
    fn a_place_is_used_again_and_its_last_occupant_is_not_found() {
        let mut arena = Arena::new();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(second.index, first.index);
        assert_ne!(second.generation, first.generation);
        assert_eq!(arena.occupant(first), None);
        assert_eq!(arena.occupant_mut(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.occupant(second), Some(&'b'));
        assert_eq!(arena.occupant(ArenaKey { index: 9, generation: 0 }), None);
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        let mut arena = Arena::new();
        let key = arena.insert(());
        arena.places[0].generation = GENERATION_MASK;
        assert_eq!(arena.remove(ArenaKey { generation: GENERATION_MASK, ..key }), Some(()));
        assert_eq!(arena.insert(()).generation, 0);
    }

    #[test]
    fn every_kind_survives_its_word_and_foreign_words_are_none() {
        for kind in KINDS {
            for key in [
                ArenaKey { index: 0, generation: 0 },
                ArenaKey { index: u32::MAX, generation: GENERATION_MASK },
                ArenaKey { index: 7, generation: 1 },
            ] {
                assert_eq!(Token::from_word(key.token(kind).to_word()), Some(key.token(kind)));
            }
        }
        assert_eq!(Token::from_word(0), None);
        assert_eq!(Token::from_word(8 << 56), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            steps in prop::collection::vec((any::<bool>(), any::<u8>()), 0..200),
        ) {
            let mut arena = Arena::new();
            let mut map = BTreeMap::new();
            let mut keys = Vec::new();
            for (index, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || keys.is_empty() {
                    let key = arena.insert(index);
                    prop_assert_eq!(map.insert((key.index, key.generation), index), None);
                    keys.push(key);
                } else {
                    let key: ArenaKey = keys[usize::from(pick) % keys.len()];
                    prop_assert_eq!(arena.remove(key), map.remove(&(key.index, key.generation)));
                }
                prop_assert_eq!(arena.count(), map.len());
                let held: Vec<_> = arena.iter_mut().map(|(_, occupant)| *occupant).collect();
                prop_assert_eq!(held.len(), map.len());
                prop_assert!(held.iter().all(|each| map.values().any(|value| value == each)));
            }
        }
    }
}
