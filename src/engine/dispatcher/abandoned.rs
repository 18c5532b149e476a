//! Clients that have gone while their requests waited: nobody works for them. To look costs a
//! system call, and so only what has waited for a while is looked at (decision 023).

use super::super::action::{Actions, Presence};
use super::Dispatcher;
use crate::limits::LOOK_AFTER;
use crate::units::{Mono, Ticket};

impl Dispatcher {
    /// Whether a client that asked for something some time ago is likely to be there still.
    pub(super) fn presence_of(&self, now: Mono, ticket: Ticket) -> Presence {
        let waited = now.since(self.ledger.demand(ticket).since);
        if waited < LOOK_AFTER { Presence::Likely } else { Presence::Doubtful }
    }

    /// A held connection has been reset by its client.
    pub(super) fn abandoned(&mut self, ticket: Ticket, out: &mut Actions) {
        match self.ledger.served_by(ticket) {
            Some(_) => self.left(ticket, out),
            None => {
                self.counters.hung_up += 1;
                self.strike(ticket, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::input::{Input, Message, OfferRefusal};
    use super::super::super::pair::Pair;
    use super::super::giveback::Dispatch;
    use super::super::policy::{Depth, Policy};
    use super::*;
    use crate::units::Span;

    #[test]
    fn what_has_waited_is_looked_at_and_who_has_gone_costs_nobody_anything() {
        let mut pair = Pair::new(Policy::Jbsq(Depth::Fixed(1)));
        for index in 0..4 {
            pair.arrives(index);
        }
        assert_eq!((pair.offers.len(), pair.doubted.len()), (2, 0), "who asks now is there");
        pair.says(0, Message::Claimed { transit_us: 0 });
        pair.says(1, Message::Claimed { transit_us: 0 });
        pair.later(LOOK_AFTER);
        pair.says(0, Message::Done { service_us: 9 });
        let (ticket, worker) = pair.offers[2];
        assert_eq!(pair.doubted, [ticket]);
        pair.step(Input::Refused { ticket, why: OfferRefusal::Abandoned });
        let counters = pair.engine.dispatcher().counters();
        assert_eq!((counters.hung_up, counters.closed), (1, 0));
        let (next, to) = pair.offers[3];
        assert!(next != ticket && to == worker, "the next one gets the place at once");
    }

    #[test]
    fn one_that_was_served_before_is_closed() {
        let mut pair = Pair::lending(Policy::Jbsq(Depth::Fixed(1)), Dispatch::Request, 100);
        pair.arrives(0);
        pair.says(0, Message::Claimed { transit_us: 0 });
        pair.says(0, Message::Idle { service_us: 9 });
        let (ticket, _) = pair.offers[0];
        pair.later(Span::from_s(1));
        pair.step(Input::Readable { ticket, route: None });
        assert_eq!(pair.doubted, [], "it has asked just now");
        pair.step(Input::Refused { ticket, why: OfferRefusal::Abandoned });
        let counters = pair.engine.dispatcher().counters();
        assert_eq!((counters.hung_up, counters.closed), (0, 1));
    }
}
