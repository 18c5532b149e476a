//! One member: what the dispatcher remembers about a worker that it may give connections to.

use super::super::capabilities::{Capabilities, Endings, OfferKind};
use super::super::input::{Load, Terms};
use super::super::members::Record;
use crate::units::{Mono, SlotId, Span};

/// A worker as the dispatcher sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Where it serves, or is to.
    pub slot: SlotId,
    /// What it is there for.
    pub duty: Duty,
    /// What it can take.
    pub terms: Terms,
    /// What its link can do.
    pub capabilities: Capabilities,
    /// Offers that it has not claimed.
    pub offered: u32,
    /// When it was last offered something.
    pub offered_at: Mono,
    /// Requests of its connections that hold a credit.
    pub running: u32,
    /// Long requests among those offered and running.
    pub longs: u32,
    /// Offers taken back that it has not come upon, as far as it said.
    pub recalled: u32,
    /// Of those, the ones that it had left lying.
    pub overdue: u32,
    /// Its own account, as last read.
    pub load: Load,
    /// Whether offers reach it.
    pub attention: Attention,
    /// Whether it does nothing until it is resumed.
    pub suspended: bool,
    /// What it has done, as last reported.
    pub record: Record,
}

/// What a member is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duty {
    /// It takes what goes to its slot.
    Employed,
    /// It finishes what it has, or has not begun.
    Retired,
    /// It is dead, and what it has not claimed is being taken back.
    Dead {
        /// Offers that came back so far.
        recovered: u32,
    },
}

/// Whether offers reach a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attention {
    /// As far as is known.
    Prompt,
    /// Its channel is full, until it says anything or then.
    Full {
        /// Deadline.
        until: Mono,
    },
    /// Offers were taken back from it; it is tried again when it says anything.
    Overdue {
        /// When they were first taken back, or it was last looked at for its silence.
        since: Mono,
    },
}

impl Attention {
    /// When a member is tried again though it has said nothing.
    pub const fn deadline(self) -> Option<Mono> {
        match self {
            Self::Prompt | Self::Overdue { .. } => None,
            Self::Full { until } => Some(until),
        }
    }
}

impl Member {
    /// One that is to serve in this slot.
    pub const fn new(slot: SlotId) -> Self {
        Self {
            slot,
            duty: Duty::Retired,
            terms: Terms { concurrency: 1, connections_max: 0 },
            capabilities: Capabilities::FULL,
            offered: 0,
            offered_at: Mono::ZERO,
            running: 0,
            longs: 0,
            recalled: 0,
            overdue: 0,
            load: Load::NONE,
            attention: Attention::Prompt,
            suspended: false,
            record: Record::Nothing,
        }
    }

    /// Whether there is a process, as far as is known.
    pub const fn is_alive(&self) -> bool {
        match self.duty {
            Duty::Employed | Duty::Retired => true,
            Duty::Dead { .. } => false,
        }
    }

    /// When it is given up, if it says nothing before: it left lying what it was offered. One that
    /// is suspended goes on when it is let.
    pub fn gives_up_at(&self, stall_timeout: Span) -> Option<Mono> {
        match self.attention {
            Attention::Overdue { since } if self.is_alive() && !self.suspended => {
                Some(since.after(stall_timeout))
            }
            Attention::Overdue { .. } | Attention::Prompt | Attention::Full { .. } => None,
        }
    }

    /// Requests in flight: our own count of what is credited, or its account, whichever is more;
    /// the account is older, and our count does not know of later keep-alive requests.
    pub fn in_flight(&self) -> u32 {
        self.offered + self.running.max(self.load.in_flight)
    }

    /// Whether a request runs there, as far as is known.
    pub const fn is_serving(&self) -> bool {
        0 < self.running || 0 < self.load.in_flight
    }

    /// Whether its offers can be asked back: always, or once it is dead.
    pub const fn can_be_asked_back(&self) -> bool {
        match self.capabilities.offers {
            OfferKind::Revocable => true,
            OfferKind::Final => !self.is_alive(),
        }
    }

    /// Whether it says when a connection ends.
    pub const fn tells_endings(&self) -> bool {
        match self.capabilities.endings {
            Endings::Told => true,
            Endings::Untold => false,
        }
    }

    /// Offers that may be open at once, whatever else there is.
    pub const fn offers_max(&self) -> u32 {
        match self.capabilities.offers {
            OfferKind::Revocable => u32::MAX,
            OfferKind::Final => 1,
        }
    }

    /// Whether a long request keeps it from beginning with anything else.
    pub const fn is_held_up(&self) -> bool {
        0 < self.longs && self.terms.concurrency == 1
    }
}
