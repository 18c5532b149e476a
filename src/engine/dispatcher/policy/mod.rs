//! Who gets the next connection. A policy is a binder (when a connection is bound to a worker)
//! times a selector (whom it is bound to) over the candidates of workers that may be picked now.

mod candidates;
mod least;
mod round_robin;
mod smooth;
mod support;

pub use self::candidates::Candidates;
pub use self::least::Least;
pub use self::round_robin::RoundRobin;
pub use self::smooth::Smooth;
pub use self::support::{Lack, Unsupported};
use crate::units::SlotId;

/// The policies that a user can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// `rr`: each ready worker in turn, at once.
    RoundRobin,
    /// `wrr`: smooth weighted rotation, at once.
    Weighted,
    /// `least`: whoever has the fewest requests in flight, at once.
    Least,
    /// `jbsq:n`: whoever has the fewest, but only while he has a credit.
    Jbsq(Depth),
    /// `shared`: the workers accept from one socket; the kernel chooses.
    Shared,
    /// `reuseport`: the workers accept from a socket each; the kernel hashes.
    Reuseport,
}

/// The `n` of `jbsq:n`: requests beyond the worker's concurrency less one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// Chosen from the measured handoff gap and service time.
    Auto,
    /// Given by the user.
    Fixed(u32),
}

/// When a policy binds a connection to a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Binder {
    /// As soon as it can be read.
    AtOnce,
    /// When a worker has a credit.
    OnCredit(Depth),
    /// Not at all: the kernel did. The master places only what it sweeps up for a vacant slot.
    Kernel,
}

/// Whether an offer that its worker has not claimed in time goes to somebody else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rebinds {
    /// Always: any other worker may be sooner.
    Always,
    /// Only when the worker is stopped, or serves nothing for long and yet does not claim: shares
    /// must not depend on hiccups.
    WhenStopped,
}

impl Policy {
    /// When it binds.
    pub const fn binder(self) -> Binder {
        match self {
            Self::RoundRobin | Self::Weighted | Self::Least => Binder::AtOnce,
            Self::Jbsq(depth) => Binder::OnCredit(depth),
            Self::Shared | Self::Reuseport => Binder::Kernel,
        }
    }

    /// What happens to offers that are not claimed in time.
    pub const fn rebinds(self) -> Rebinds {
        match self {
            Self::RoundRobin | Self::Weighted => Rebinds::WhenStopped,
            Self::Least | Self::Jbsq(_) | Self::Shared | Self::Reuseport => Rebinds::Always,
        }
    }

    /// Whether requests can be dispatched each for itself. In turn, whoever is next, that is worse
    /// than not at all (scheduling.md, T5), and where the kernel chooses there is nobody to do it.
    pub const fn spreads(self) -> bool {
        match self {
            Self::Least | Self::Jbsq(_) => true,
            Self::RoundRobin | Self::Weighted | Self::Shared | Self::Reuseport => false,
        }
    }

    /// Whether it looks at the workers' own accounts.
    pub const fn reads_loads(self) -> bool {
        match self {
            Self::RoundRobin | Self::Weighted => false,
            Self::Least | Self::Jbsq(_) | Self::Shared | Self::Reuseport => true,
        }
    }

    /// A selector of this policy, at its start.
    pub fn selector(self) -> Selector {
        match self {
            Self::RoundRobin => Selector::RoundRobin(RoundRobin::default()),
            Self::Weighted => Selector::Smooth(Smooth::default()),
            Self::Least | Self::Jbsq(_) | Self::Shared | Self::Reuseport => {
                Selector::Least(Least::default())
            }
        }
    }
}

/// Picks one slot of the candidates.
pub trait Select {
    /// The slot that gets the next connection; `None` when nobody may be picked. Where that is all
    /// the same to the policy, it is the `favourite`: whoever served this connection last.
    fn pick(&mut self, candidates: &mut Candidates, favourite: Option<SlotId>) -> Option<SlotId>;
}

/// The selectors, chosen once at start: a match costs less than a call through a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// See [`Policy::RoundRobin`].
    RoundRobin(RoundRobin),
    /// See [`Policy::Weighted`].
    Smooth(Smooth),
    /// See [`Policy::Least`].
    Least(Least),
}

impl Select for Selector {
    fn pick(&mut self, candidates: &mut Candidates, favourite: Option<SlotId>) -> Option<SlotId> {
        match self {
            Self::RoundRobin(selector) => selector.pick(candidates, favourite),
            Self::Smooth(selector) => selector.pick(candidates, favourite),
            Self::Least(selector) => selector.pick(candidates, favourite),
        }
    }
}
