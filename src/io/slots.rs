//! A table whose places are used again, with a generation that tells a late word about the last
//! tenant from one about the present: the kernel may answer after we have moved on.

use std::num::NonZeroU64;

use crate::io::{Kind, Source, Token};

/// Generations are counted in so many bits, because a token shares its word with slot and kind.
const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
/// Where the kind stands in a token's word.
const KIND_AT: u32 = 32 + GENERATION_BITS;

/// A table of tenants; all operations take constant time. It grows and never shrinks.
#[derive(Debug)]
pub struct Slots<T> {
    places: Vec<Place<T>>,
    vacant: Vec<u32>,
}

/// A place in a table, and which of its tenants is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key {
    /// Position in the table.
    pub slot: u32,
    /// Tenants that the place has had before, in 24 bits.
    pub generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

impl<T> Slots<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }

    /// Gives `tenant` a place.
    ///
    /// # Panics
    /// When 2^32 places are taken, for which no machine has the memory.
    pub fn insert(&mut self, tenant: T) -> Key {
        if let Some(slot) = self.vacant.pop() {
            let place = &mut self.places[slot as usize];
            place.tenant = Some(tenant);
            return Key { slot, generation: place.generation };
        }
        let slot = u32::try_from(self.places.len()).expect("memory ends before 2^32 places do");
        self.places.push(Place { generation: 0, tenant: Some(tenant) });
        Key { slot, generation: 0 }
    }

    /// Takes the tenant out, unless it has left already.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let tenant = place.tenant.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.vacant.push(key.slot);
        Some(tenant)
    }

    /// The tenant, unless it has left.
    pub fn tenant_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.tenant.as_mut()
    }

    /// The tenant, unless it has left.
    pub fn tenant(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.tenant.as_ref()
    }

    /// All tenants, in the order of their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        (0_u32..).zip(&mut self.places).filter_map(|(slot, place)| {
            let generation = place.generation;
            place.tenant.as_mut().map(|tenant| (Key { slot, generation }, tenant))
        })
    }

    /// How many tenants there are.
    pub const fn count(&self) -> usize {
        self.places.len() - self.vacant.len()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Key {
    /// The token of the operation of this kind in this place.
    pub const fn token(self, kind: Kind) -> Token {
        let word = (kind as u64) << KIND_AT | self.to_word();
        Token(NonZeroU64::new(word).expect("no kind is 0"))
    }

    /// The source in this place.
    pub const fn source(self) -> Source {
        Source { slot: self.slot, generation: self.generation }
    }

    /// Place and generation in the lower 56 bits of a word.
    pub const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The key in the lower 56 bits of a word.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word are meant")]
    pub const fn from_word(word: u64) -> Self {
        Self { slot: word as u32, generation: (word >> 32) as u32 & GENERATION_MASK }
    }
}

impl Source {
    /// Where the backend keeps this source.
    pub(crate) const fn key(self) -> Key {
        Key { slot: self.slot, generation: self.generation }
    }
}

impl Token {
    /// Where the backend keeps this operation.
    pub const fn key(self) -> Key {
        Key::from_word(self.to_word())
    }

    /// Which kind of operation it is.
    pub const fn kind(self) -> Kind {
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

const fn kind_of(word: u64) -> Option<Kind> {
    Some(match word >> KIND_AT {
        1 => Kind::Accept,
        2 => Kind::Readable,
        3 => Kind::Ring,
        4 => Kind::Handoff,
        5 => Kind::Recv,
        6 => Kind::Send,
        7 => Kind::Close,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 7] = [
        Kind::Accept,
        Kind::Readable,
        Kind::Ring,
        Kind::Handoff,
        Kind::Recv,
        Kind::Send,
        Kind::Close,
    ];

    #[test]
    fn a_place_is_used_again_and_its_last_tenant_is_not_found() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(second.slot, first.slot);
        assert_ne!(second.generation, first.generation);
        assert_eq!(slots.tenant(first), None);
        assert_eq!(slots.tenant_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.tenant(second), Some(&'b'));
        assert_eq!(slots.tenant(Key { slot: 9, generation: 0 }), None);
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        let mut slots = Slots::new();
        let key = slots.insert(());
        slots.places[0].generation = GENERATION_MASK;
        assert_eq!(slots.remove(Key { generation: GENERATION_MASK, ..key }), Some(()));
        assert_eq!(slots.insert(()).generation, 0);
    }

    #[test]
    fn every_kind_survives_its_word_and_foreign_words_are_none() {
        for kind in KINDS {
            for key in [
                Key { slot: 0, generation: 0 },
                Key { slot: u32::MAX, generation: GENERATION_MASK },
                Key { slot: 7, generation: 1 },
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
            let mut slots = Slots::new();
            let mut map = BTreeMap::new();
            let mut keys = Vec::new();
            for (index, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || keys.is_empty() {
                    let key = slots.insert(index);
                    prop_assert_eq!(map.insert((key.slot, key.generation), index), None);
                    keys.push(key);
                } else {
                    let key: Key = keys[usize::from(pick) % keys.len()];
                    prop_assert_eq!(slots.remove(key), map.remove(&(key.slot, key.generation)));
                }
                prop_assert_eq!(slots.count(), map.len());
                let held: Vec<_> = slots.iter_mut().map(|(_, tenant)| *tenant).collect();
                prop_assert_eq!(held.len(), map.len());
                prop_assert!(held.iter().all(|tenant| map.values().any(|value| value == tenant)));
            }
        }
    }
}
