//! How much room there is: for connections that wait, and for descriptors.

use super::overload::Overload;
use super::{Dispatcher, Gate};
use crate::limits::{ACCEPT_BATCH, SILENT_AFTER, SILENT_AFTER_FULL, SILENT_AFTER_STOP};
use crate::units::Span;

impl Dispatcher {
    /// Connections that the master has a descriptor of, at most: also of what a worker has claimed,
    /// where that comes back, or where another worker has a stray copy.
    pub fn copies(&self) -> u32 {
        self.live() - self.ledger.delivered() + self.ledger.kept()
    }

    /// Connections that wait in the master for a client's first message, or for a worker.
    pub(super) fn waiting(&self) -> u32 {
        self.ledger.watched() + self.ledger.expiring() + self.ledger.held()
    }

    /// Connections that have not ended.
    pub(super) fn live(&self) -> u32 {
        let ledger = &self.ledger;
        self.waiting() + ledger.parked() + ledger.offered() + ledger.delivered()
    }

    /// Connections that it may have a descriptor of.
    pub(super) fn copies_max(&self) -> u32 {
        let grown = self.employed.len().saturating_sub(self.rules.weights.len());
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        self.rules.copies_max.saturating_sub(self.rules.slot_cost.saturating_mul(grown))
    }

    /// Whether one more slot leaves room for those connections that there are, and a few more.
    pub(in super::super) fn has_room_for_a_slot(&self) -> bool {
        let wanted = self.rules.slot_cost.saturating_add(self.copies().max(ACCEPT_BATCH));
        wanted <= self.copies_max()
    }

    /// Whether there are descriptors for no more.
    pub(super) fn is_full(&self) -> bool {
        self.copies_max() <= self.copies()
    }

    /// Whether there will be descriptors for hardly any more, those counted that are on their way
    /// out: so that no more idle connections are let go of than there is need for.
    pub(super) fn is_scarce(&self) -> bool {
        let spare = (self.copies_max() / 64).clamp(1, ACCEPT_BATCH);
        self.copies_max() < self.copies() - self.ledger.expiring() + spare
    }

    /// How long a client may say nothing.
    pub(super) fn silent_after(&self) -> Span {
        match (self.gate == Gate::Open, self.is_crowded() || self.is_scarce()) {
            (false, _) => SILENT_AFTER_STOP,
            (true, true) => SILENT_AFTER_FULL,
            (true, false) => SILENT_AFTER,
        }
    }

    /// Whether no more may wait. Whoever says nothing keeps others in the kernel's queue, and keeps
    /// nobody from asking where those that ask are refused.
    pub(super) fn is_hold_full(&self) -> bool {
        match self.rules.overload {
            Overload::Hold => self.is_crowded(),
            Overload::Reject => self.rules.hold_max <= self.ledger.held(),
        }
    }

    /// Whether so many wait, those that have said nothing included, that the silent ones go.
    fn is_crowded(&self) -> bool {
        self.rules.hold_max <= self.waiting()
    }
}
