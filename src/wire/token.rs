//! Tokens: what a worker says about a connection, in sixteen bytes, through shared memory. The
//! master reads them as a stranger's: every one is decoded or refused, none is believed.

use crate::units::{PoolId, Ticket};

/// A token as it lies in the ring.
pub type Words = [u64; 2];

/// One message of a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token {
    /// Whose connection, once there are several pools.
    pub pool: PoolId,
    /// What is said.
    pub say: Say,
}

/// What a worker can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Say {
    /// I am up; my terms are on my page.
    Hello,
    /// I am about to read it for the first time.
    Claimed {
        /// Which connection.
        ticket: Ticket,
        /// Microseconds from the offer to here if I had been idle, else 0.
        transit_us: u32,
    },
    /// The last byte of its first response is in the kernel.
    Done {
        /// Which connection.
        ticket: Ticket,
        /// Microseconds from the claim, or from the last `Resumed`, to here.
        service_us: u32,
    },
    /// All that was asked is answered, and nothing more has come: it is yours again.
    Idle {
        /// Which connection.
        ticket: Ticket,
        /// Microseconds from the claim, or from the last `Resumed`, to the last answer's end; 0
        /// when a `Done` has told.
        service_us: u32,
    },
    /// Nothing runs: its client owes bytes, or does not take those of the answer.
    Waiting(Ticket),
    /// The bytes came; its request runs.
    Resumed(Ticket),
    /// It stays with me, and nothing runs now.
    Pinned(Ticket),
    /// It is closed.
    Closed(Ticket),
    /// It was taken back before I could claim it; I would take another.
    Missed(Ticket),
}

const HELLO: u8 = 1;
const CLAIMED: u8 = 2;
const DONE: u8 = 3;
const WAITING: u8 = 4;
const RESUMED: u8 = 5;
const PINNED: u8 = 6;
const CLOSED: u8 = 7;
const MISSED: u8 = 8;
const IDLE: u8 = 9;

/// Words that no honest worker writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("token {0:#018x} {1:#018x} means nothing")]
pub struct BadToken(u64, u64);

impl Token {
    /// The token as it is written: kind in bits 0 to 7, pool in 8 to 15, number in 32 to 63 of the
    /// first word, the ticket in the second.
    pub const fn encode(self) -> Words {
        let (kind, ticket, number) = match self.say {
            Say::Hello => (HELLO, Ticket { slot: 0, generation: 0 }, 0),
            Say::Claimed { ticket, transit_us } => (CLAIMED, ticket, transit_us),
            Say::Done { ticket, service_us } => (DONE, ticket, service_us),
            Say::Idle { ticket, service_us } => (IDLE, ticket, service_us),
            Say::Waiting(ticket) => (WAITING, ticket, 0),
            Say::Resumed(ticket) => (RESUMED, ticket, 0),
            Say::Pinned(ticket) => (PINNED, ticket, 0),
            Say::Closed(ticket) => (CLOSED, ticket, 0),
            Say::Missed(ticket) => (MISSED, ticket, 0),
        };
        let head = kind as u64 | (self.pool.0 as u64) << 8 | (number as u64) << 32;
        [head, ticket.to_word()]
    }

    /// The token that these words mean.
    ///
    /// # Errors
    /// When they mean none.
    pub fn decode(words: Words) -> Result<Self, BadToken> {
        let [head, ticket_word] = words;
        let bad = BadToken(head, ticket_word);
        let [kind, pool, 0, 0, number @ ..] = head.to_le_bytes() else { return Err(bad) };
        let number = u32::from_le_bytes(number);
        let ticket = Ticket::from_word(ticket_word);
        let say = match (kind, number) {
            (HELLO, 0) if ticket_word == 0 => Say::Hello,
            (CLAIMED, transit_us) => Say::Claimed { ticket, transit_us },
            (DONE, service_us) => Say::Done { ticket, service_us },
            (IDLE, service_us) => Say::Idle { ticket, service_us },
            (WAITING, 0) => Say::Waiting(ticket),
            (RESUMED, 0) => Say::Resumed(ticket),
            (PINNED, 0) => Say::Pinned(ticket),
            (CLOSED, 0) => Say::Closed(ticket),
            (MISSED, 0) => Say::Missed(ticket),
            _ => return Err(bad),
        };
        Ok(Self { pool: PoolId(pool), say })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_token_survives_the_ring() {
        let ticket = Ticket { slot: 5, generation: u32::MAX };
        for say in [
            Say::Hello,
            Say::Claimed { ticket, transit_us: 7 },
            Say::Done { ticket, service_us: u32::MAX },
            Say::Idle { ticket, service_us: 1 },
            Say::Waiting(ticket),
            Say::Resumed(ticket),
            Say::Pinned(ticket),
            Say::Closed(ticket),
            Say::Missed(ticket),
        ] {
            let token = Token { pool: PoolId(9), say };
            assert_eq!(Token::decode(token.encode()), Ok(token));
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_written_no_other_way(head: u64, ticket: u64, kind in 0_u64..11) {
            for words in [[head, ticket], [head & !0xffff_ff00 & !0xff | kind, ticket]] {
                if let Ok(token) = Token::decode(words) {
                    prop_assert_eq!(token.encode(), words);
                }
            }
        }
    }
}
