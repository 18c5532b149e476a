//! Offer entries: what the master tells a worker about a connection whose descriptor is already
//! there, in sixteen bytes, through shared memory. Each is a hint to look: whose the connection is,
//! the claim word says, so that one that comes late or twice does no harm.

use crate::units::{RingWords, Ticket};

/// What a worker is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfferEntry {
    /// The connection is offered.
    Offer(Ticket),
    /// The connection has ended, or room is needed: the worker's copy may go.
    Forget(Ticket),
}

const OFFER: u64 = 1;
const FORGET: u64 = 2;

/// RingWords that no master writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("offer entry {0:#018x} {1:#018x} is not from a dispatchd of this version")]
pub struct BadOfferEntry(u64, u64);

impl OfferEntry {
    /// The offer entry as it is written: its kind in the first word, the ticket in the second.
    pub const fn encode(self) -> RingWords {
        match self {
            Self::Offer(ticket) => [OFFER, ticket.to_word()],
            Self::Forget(ticket) => [FORGET, ticket.to_word()],
        }
    }

    /// The offer entry that these words mean.
    ///
    /// # Errors
    /// When they mean none.
    pub const fn decode(words: RingWords) -> Result<Self, BadOfferEntry> {
        let [kind, ticket] = words;
        match kind {
            OFFER => Ok(Self::Offer(Ticket::from_word(ticket))),
            FORGET => Ok(Self::Forget(Ticket::from_word(ticket))),
            _ => Err(BadOfferEntry(kind, ticket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offer_entry_survives_the_ring_and_a_strangers_is_refused() {
        let ticket = Ticket { index: 5, generation: u32::MAX };
        for offer_entry in [OfferEntry::Offer(ticket), OfferEntry::Forget(ticket)] {
            assert_eq!(OfferEntry::decode(offer_entry.encode()), Ok(offer_entry));
        }
        assert_eq!(OfferEntry::decode([9, 1]), Err(BadOfferEntry(9, 1)));
    }
}
