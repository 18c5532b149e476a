//! Errands: what the master tells a worker about a connection whose descriptor is already there, in
//! sixteen bytes, through shared memory. Each is a hint to look: whose the connection is, the claim
//! word says, so that one that comes late or twice does no harm.

use crate::units::Ticket;

/// An errand as it lies in the ring.
pub type Words = [u64; 2];

/// What a worker is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Errand {
    /// The connection is offered.
    Offer(Ticket),
    /// The connection has ended, or room is needed: the worker's copy may go.
    Forget(Ticket),
}

const OFFER: u64 = 1;
const FORGET: u64 = 2;

/// Words that no master writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("errand {0:#018x} {1:#018x} is not from a dispatchd of this version")]
pub struct BadErrand(u64, u64);

impl Errand {
    /// The errand as it is written: its kind in the first word, the ticket in the second.
    pub const fn encode(self) -> Words {
        match self {
            Self::Offer(ticket) => [OFFER, ticket.to_word()],
            Self::Forget(ticket) => [FORGET, ticket.to_word()],
        }
    }

    /// The errand that these words mean.
    ///
    /// # Errors
    /// When they mean none.
    pub const fn decode(words: Words) -> Result<Self, BadErrand> {
        let [kind, ticket] = words;
        match kind {
            OFFER => Ok(Self::Offer(Ticket::from_word(ticket))),
            FORGET => Ok(Self::Forget(Ticket::from_word(ticket))),
            _ => Err(BadErrand(kind, ticket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errand_survives_the_ring_and_a_strangers_is_refused() {
        let ticket = Ticket { slot: 5, generation: u32::MAX };
        for errand in [Errand::Offer(ticket), Errand::Forget(ticket)] {
            assert_eq!(Errand::decode(errand.encode()), Ok(errand));
        }
        assert_eq!(Errand::decode([9, 1]), Err(BadErrand(9, 1)));
    }
}
