//! Which policies can be had over which links: a policy asks for capabilities, and where one is
//! lacking it is refused, with the reason and what comes nearest.

use super::super::super::capabilities::{Accepter, Capabilities};
use super::Policy;

/// Why a policy cannot be had over a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsupported {
    /// What it asks for.
    pub lacks: Lack,
    /// What comes nearest to it, if anything does.
    pub nearest: Option<Policy>,
}

/// What a link lacks for a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lack {
    /// Connections cannot be handed to these workers.
    HandingOver,
    /// These workers accept no connections.
    Accepting,
}

impl Policy {
    /// Whether this policy can be had over a link.
    ///
    /// # Errors
    /// When it cannot: what is lacking, and what to take instead.
    pub const fn supported_by(self, link: Capabilities) -> Result<(), Unsupported> {
        match (self, link.accepter) {
            (_, Accepter::Either) | (Self::Shared, Accepter::Workers) => Ok(()),
            // What comes in for a slot whose worker is gone is the master's to hand to another.
            (
                Self::RoundRobin | Self::Weighted | Self::Least | Self::Jbsq(_) | Self::Reuseport,
                Accepter::Workers,
            ) => Err(Unsupported { lacks: Lack::HandingOver, nearest: Some(Self::Shared) }),
            (Self::RoundRobin | Self::Weighted | Self::Least | Self::Jbsq(_), Accepter::Nobody) => {
                Err(Unsupported { lacks: Lack::HandingOver, nearest: None })
            }
            (Self::Shared | Self::Reuseport, Accepter::Nobody) => {
                Err(Unsupported { lacks: Lack::Accepting, nearest: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Depth;
    use super::*;

    #[test]
    fn a_policy_is_refused_where_its_connections_have_no_way_and_the_nearest_is_named() {
        let of = |accepter| Capabilities { accepter, ..Capabilities::FULL };
        let nearest = |accepter, policy: Policy| policy.supported_by(of(accepter)).err();
        let handed =
            [Policy::RoundRobin, Policy::Weighted, Policy::Least, Policy::Jbsq(Depth::Auto)];
        let kernel = [Policy::Shared, Policy::Reuseport];
        for policy in handed.into_iter().chain(kernel) {
            assert_eq!(nearest(Accepter::Either, policy), None);
        }
        for policy in handed {
            let lacks = Lack::HandingOver;
            let refused = |nearest| Some(Unsupported { lacks, nearest });
            assert_eq!(nearest(Accepter::Workers, policy), refused(Some(Policy::Shared)));
            assert_eq!(nearest(Accepter::Nobody, policy), refused(None));
        }
        for policy in kernel {
            let refused = Some(Unsupported { lacks: Lack::Accepting, nearest: None });
            assert_eq!(nearest(Accepter::Nobody, policy), refused);
        }
        assert_eq!(nearest(Accepter::Workers, Policy::Shared), None);
        let (lacks, nearest_is) = (Lack::HandingOver, Some(Policy::Shared));
        let refused = Some(Unsupported { lacks, nearest: nearest_is });
        assert_eq!(nearest(Accepter::Workers, Policy::Reuseport), refused);
    }
}
