//! The link to a program of any kind that serves no connections of ours: nothing is said between
//! the two. It is ready when it has run for a while, and told to leave by a signal.

use super::pages::Order;
use crate::engine::capabilities::{Accepter, Capabilities, Endings, OfferKind, Readiness, Returns};
use crate::limits::BARE_READY_AFTER;
use crate::sys::pidfd::Signal;

/// What can be asked of such a program: to be there.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    accepter: Accepter::Nobody,
    offers: OfferKind::Final,
    endings: Endings::Untold,
    returns: Returns::Never,
    readiness: Readiness::After(BARE_READY_AFTER),
};

/// Signals are all that such a program hears.
pub(super) const fn signal_for(order: Order) -> Option<Signal> {
    match order {
        Order::Drain => Some(Signal::Terminate),
        // That comes with one.
        Order::Serve | Order::Terminate => None,
    }
}
