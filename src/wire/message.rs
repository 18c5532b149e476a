//! Messages: what a worker says about a connection, in sixteen bytes, through shared memory. The
//! master reads them as a stranger's: every one is decoded or refused, none is believed.

use crate::units::{AppId, RingWords, Ticket};

/// One message of a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingMessage {
    /// Whose connection, once there are several apps.
    pub app: AppId,
    /// What is said.
    pub message: WorkerMessage,
}

/// What a worker can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerMessage {
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

/// RingWords that no honest worker writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message {0:#018x} {1:#018x} means nothing")]
pub struct BadRingMessage(u64, u64);

impl RingMessage {
    /// The message as it is written: kind in bits 0 to 7, app in 8 to 15, number in 32 to 63 of
    /// the first word, the ticket in the second.
    pub const fn encode(self) -> RingWords {
        let (kind, ticket, number) = match self.message {
            WorkerMessage::Hello => (HELLO, Ticket { index: 0, generation: 0 }, 0),
            WorkerMessage::Claimed { ticket, transit_us } => (CLAIMED, ticket, transit_us),
            WorkerMessage::Done { ticket, service_us } => (DONE, ticket, service_us),
            WorkerMessage::Idle { ticket, service_us } => (IDLE, ticket, service_us),
            WorkerMessage::Waiting(ticket) => (WAITING, ticket, 0),
            WorkerMessage::Resumed(ticket) => (RESUMED, ticket, 0),
            WorkerMessage::Pinned(ticket) => (PINNED, ticket, 0),
            WorkerMessage::Closed(ticket) => (CLOSED, ticket, 0),
            WorkerMessage::Missed(ticket) => (MISSED, ticket, 0),
        };
        let head = kind as u64 | (self.app.0 as u64) << 8 | (number as u64) << 32;
        [head, ticket.to_word()]
    }

    /// The message that these words mean.
    ///
    /// # Errors
    /// When they mean none.
    pub fn decode(words: RingWords) -> Result<Self, BadRingMessage> {
        let [head, ticket_word] = words;
        let bad = BadRingMessage(head, ticket_word);
        let [kind, app, 0, 0, number @ ..] = head.to_le_bytes() else { return Err(bad) };
        let number = u32::from_le_bytes(number);
        let ticket = Ticket::from_word(ticket_word);
        let message = match (kind, number) {
            (HELLO, 0) if ticket_word == 0 => WorkerMessage::Hello,
            (CLAIMED, transit_us) => WorkerMessage::Claimed { ticket, transit_us },
            (DONE, service_us) => WorkerMessage::Done { ticket, service_us },
            (IDLE, service_us) => WorkerMessage::Idle { ticket, service_us },
            (WAITING, 0) => WorkerMessage::Waiting(ticket),
            (RESUMED, 0) => WorkerMessage::Resumed(ticket),
            (PINNED, 0) => WorkerMessage::Pinned(ticket),
            (CLOSED, 0) => WorkerMessage::Closed(ticket),
            (MISSED, 0) => WorkerMessage::Missed(ticket),
            _ => return Err(bad),
        };
        Ok(Self { app: AppId(app), message })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_token_survives_the_ring() {
        let ticket = Ticket { index: 5, generation: u32::MAX };
        for message in [
            WorkerMessage::Hello,
            WorkerMessage::Claimed { ticket, transit_us: 7 },
            WorkerMessage::Done { ticket, service_us: u32::MAX },
            WorkerMessage::Idle { ticket, service_us: 1 },
            WorkerMessage::Waiting(ticket),
            WorkerMessage::Resumed(ticket),
            WorkerMessage::Pinned(ticket),
            WorkerMessage::Closed(ticket),
            WorkerMessage::Missed(ticket),
        ] {
            let message = RingMessage { app: AppId(9), message };
            assert_eq!(RingMessage::decode(message.encode()), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_written_no_other_way(head: u64, ticket: u64, kind in 0_u64..11) {
            for words in [[head, ticket], [head & !0xffff_ff00 & !0xff | kind, ticket]] {
                if let Ok(message) = RingMessage::decode(words) {
                    prop_assert_eq!(message.encode(), words);
                }
            }
        }
    }
}
