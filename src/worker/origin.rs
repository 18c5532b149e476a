//! Where a connection came from, which says whom to tell when it goes.

use crate::units::Ticket;

/// Where a connection came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionOrigin {
    /// The master offered it, and may still have a copy.
    Master(Ticket),
    /// This worker accepted it itself.
    Listener,
}

impl ConnectionOrigin {
    pub(super) const fn ticket(self) -> Option<Ticket> {
        match self {
            Self::Master(ticket) => Some(ticket),
            Self::Listener => None,
        }
    }
}
