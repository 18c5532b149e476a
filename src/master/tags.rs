//! What each operation of the master was for, packed into the mark that the backend carries.

use crate::io::Tag;
use crate::link::LinkOp;
use crate::units::{Ticket, WorkerId};

/// The purpose of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// An accept on a listener, by its position in the master's table.
    Accept(u32),
    /// The watch on a fresh connection.
    Watch(Ticket),
    /// What a worker's link has under way.
    Link(WorkerId, LinkOp),
    /// A worker's end.
    Process(WorkerId),
    /// A worker's way to its program.
    Launch(WorkerId),
    /// A worker's output.
    Output(WorkerId),
    /// The operator's signals.
    Signals,
    /// A new control client.
    ControlAccept,
    /// What a control client says, by its position.
    ControlClient(u32),
    /// A close, of which nothing is expected.
    Close,
}

const PAYLOAD_BITS: u32 = 56;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
/// Tickets need 24 bits of index beside 32 of generation; `limits` keeps indices far below.
const INDEX_BITS: u32 = 24;

impl Purpose {
    pub(super) fn tag(self) -> Tag {
        let (kind, payload) = match self {
            Self::Accept(index) => (1, u64::from(index)),
            Self::Watch(ticket) => {
                (2, u64::from(ticket.generation) << INDEX_BITS | u64::from(ticket.index))
            }
            Self::Link(worker, LinkOp::Send) => (3, pack(worker)),
            Self::Process(worker) => (4, pack(worker)),
            Self::Output(worker) => (5, pack(worker)),
            Self::Link(worker, LinkOp::Doorbell) => (6, pack(worker)),
            Self::Signals => (7, 0),
            Self::ControlAccept => (8, 0),
            Self::ControlClient(index) => (9, u64::from(index)),
            Self::Close => (10, 0),
            Self::Link(worker, LinkOp::Hangup) => (11, pack(worker)),
            #[cfg(feature = "sim")]
            Self::Link(worker, LinkOp::Notice) => (13, pack(worker)),
            Self::Launch(worker) => (12, pack(worker)),
        };
        Tag(kind << PAYLOAD_BITS | payload)
    }

    /// What [`Purpose::tag`] packed.
    ///
    /// # Panics
    /// On a tag that this file did not make.
    #[expect(clippy::cast_possible_truncation, reason = "each field is cut out of the payload")]
    pub(super) fn of(tag: Tag) -> Self {
        let payload = tag.0 & PAYLOAD_MASK;
        let ticket = Ticket {
            index: (payload & ((1 << INDEX_BITS) - 1)) as u32,
            generation: (payload >> INDEX_BITS) as u32,
        };
        let worker = WorkerId { index: (payload >> 32) as u16, epoch: payload as u32 };
        match tag.0 >> PAYLOAD_BITS {
            1 => Self::Accept(payload as u32),
            2 => Self::Watch(ticket),
            3 => Self::Link(worker, LinkOp::Send),
            4 => Self::Process(worker),
            5 => Self::Output(worker),
            6 => Self::Link(worker, LinkOp::Doorbell),
            7 => Self::Signals,
            8 => Self::ControlAccept,
            9 => Self::ControlClient(payload as u32),
            10 => Self::Close,
            11 => Self::Link(worker, LinkOp::Hangup),
            #[cfg(feature = "sim")]
            13 => Self::Link(worker, LinkOp::Notice),
            12 => Self::Launch(worker),
            kind => unreachable!("the master made no tag of kind {kind}"),
        }
    }
}

fn pack(worker: WorkerId) -> u64 {
    u64::from(worker.index) << 32 | u64::from(worker.epoch)
}

const _: () = assert!(crate::limits::TICKETS_MAX <= 1 << INDEX_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_survives_its_tag() {
        let worker = WorkerId { index: 511, epoch: u32::MAX };
        let ticket = Ticket { index: 65_535, generation: u32::MAX };
        for purpose in [
            Purpose::Accept(63),
            Purpose::Watch(ticket),
            Purpose::Link(worker, LinkOp::Send),
            Purpose::Process(worker),
            Purpose::Output(worker),
            Purpose::Link(worker, LinkOp::Hangup),
            Purpose::Launch(worker),
            Purpose::Link(worker, LinkOp::Doorbell),
            Purpose::Signals,
            Purpose::ControlAccept,
            Purpose::ControlClient(15),
            Purpose::Close,
        ] {
            assert_eq!(Purpose::of(purpose.tag()), purpose);
        }
    }
}
