//! The messages on a worker's channel: a header word, then one ticket per descriptor that comes
//! with the message. One without descriptors only wakes: "look at the page".

use crate::limits::BATCH_MAX;
use crate::units::{AppId, Ticket};

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Whose connections, once there are several apps.
    pub app: AppId,
    /// What is in it.
    pub kind: BatchKind,
}

/// What is in a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchKind {
    /// Connections, each of which the worker has when it has claimed it: the master keeps a copy
    /// until then.
    Offer,
    /// Nothing: the master's page has changed.
    Look,
}

const MAGIC: u64 = 0x6470_6163_0000_0000;
const MAGIC_MASK: u64 = 0xffff_ffff_ffff_0000;

/// A message that the master did not write.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadBatch {
    /// Empty, or with another header.
    #[error("message with header {0:#018x} is not from a dispatchd of this version")]
    Header(u64),
    /// Tickets and descriptors do not match.
    #[error("message with {tickets} tickets has {fds} descriptors")]
    Count {
        /// Tickets in it.
        tickets: usize,
        /// Descriptors that came with it.
        fds: usize,
    },
}

impl Header {
    /// The header as it is sent: kind in bits 0 to 7, app in 8 to 15, below a magic number.
    pub const fn encode(self) -> u64 {
        let kind = match self.kind {
            BatchKind::Offer => 1,
            BatchKind::Look => 2,
        };
        MAGIC | (self.app.0 as u64) << 8 | kind
    }

    /// What these words, with this many descriptors, are.
    ///
    /// # Errors
    /// When the header is not ours or the counts do not match.
    pub fn decode(words: &[u64], fds: usize) -> Result<(Self, &[u64]), BadBatch> {
        let (&word, tickets) = words.split_first().ok_or(BadBatch::Header(0))?;
        let [kind, app, ..] = word.to_le_bytes();
        let kind = match kind {
            1 => BatchKind::Offer,
            2 => BatchKind::Look,
            _ => return Err(BadBatch::Header(word)),
        };
        if word & MAGIC_MASK != MAGIC {
            return Err(BadBatch::Header(word));
        }
        if tickets.len() != fds || BATCH_MAX < fds {
            return Err(BadBatch::Count { tickets: tickets.len(), fds });
        }
        Ok((Self { app: AppId(app), kind }, tickets))
    }
}

/// The tickets of a message's words.
pub fn tickets(words: &[u64]) -> impl Iterator<Item = Ticket> + '_ {
    words.iter().copied().map(Ticket::from_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_strangers_are_refused() {
        for kind in [BatchKind::Offer, BatchKind::Look] {
            let header = Header { app: AppId(3), kind };
            assert_eq!(Header::decode(&[header.encode()], 0), Ok((header, [].as_slice())));
        }
        let header = Header { app: AppId(0), kind: BatchKind::Offer }.encode();
        assert_eq!(Header::decode(&[], 0), Err(BadBatch::Header(0)));
        assert_eq!(
            Header::decode(&[header ^ 1 << 40, 1], 1),
            Err(BadBatch::Header(header ^ 1 << 40))
        );
        assert_eq!(Header::decode(&[header | 9], 0), Err(BadBatch::Header(header | 9)));
        assert_eq!(Header::decode(&[header, 1, 2], 1), Err(BadBatch::Count { tickets: 2, fds: 1 }));
    }
}
