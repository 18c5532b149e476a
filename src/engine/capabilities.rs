//! What can be asked of a worker over its link. Links differ in nothing else that the engine knows
//! of, and a policy asks for capabilities, never for a kind of link.

use crate::units::Span;

/// What a link can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Who can accept connections.
    pub accepter: Accepter,
    /// What an offer is worth once it is made.
    pub offers: OfferKind,
    /// Whether workers say when a connection ends, and what they do with it until then.
    pub endings: Endings,
    /// Whether connections come back.
    pub returns: Returns,
    /// When a worker is ready.
    pub readiness: Readiness,
}

/// Who can accept connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepter {
    /// The master, which hands them over, or the workers themselves.
    Either,
    /// The workers themselves; none can be handed to them.
    Workers,
    /// Nobody: these workers serve no connections.
    Nobody,
}

/// What an offer is worth once it is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfferKind {
    /// It can be taken back until the worker claims it.
    Revocable,
    /// It is the worker's unless that says no, or dies before it has said anything. One is made at
    /// a time.
    Final,
}

/// Whether workers say when a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endings {
    /// They do, and when a request begins or ends.
    Told,
    /// They say that they have taken it, and nothing more.
    Untold,
}

/// Whether connections come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Returns {
    /// Between two requests.
    PerRequest,
    /// A connection stays where it is.
    Never,
}

/// When a worker is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// When it says so.
    Said,
    /// When its program has run for so long.
    After(Span),
}

impl Capabilities {
    /// All that there is.
    pub const FULL: Self = Self {
        accepter: Accepter::Either,
        offers: OfferKind::Revocable,
        endings: Endings::Told,
        returns: Returns::PerRequest,
        readiness: Readiness::Said,
    };

    /// Whether the master can hand connections over.
    pub const fn can_be_handed(self) -> bool {
        match self.accepter {
            Accepter::Either => true,
            Accepter::Workers | Accepter::Nobody => false,
        }
    }
}
