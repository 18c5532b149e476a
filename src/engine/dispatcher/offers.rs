//! The way of a connection to a worker: pick, offer, and back to the hold queue where the channel
//! does not take it.

use super::super::action::{Action, Actions, Strays};
use super::super::event::Event;
use super::super::input::OfferRefusal;
use super::super::members::{MemberReport, Record};
use super::Dispatcher;
use super::ledger::{ClaimLearnt, Credit, Custody, Place, Recall};
use super::member::Attention;
use super::policy::Select;
use crate::limits::OFFER_PAUSE;
use crate::units::{Mono, Ticket, WorkerId};

impl Dispatcher {
    /// Offers what is held, oldest first and short ones before long ones, for as long as the policy
    /// finds a worker. Once per turn: what goes to one worker then travels together.
    pub(super) fn place_held(&mut self, now: Mono, out: &mut Actions) {
        self.measure_classes(now);
        if self.offers_paused_until.is_none() {
            let mut room_for_long = self.room_for_long();
            while let Some(ticket) = self.next_held(now, 0 < room_for_long) {
                let favourite = self.ledger.served_by(ticket).and_then(|id| self.member(id));
                let favourite = favourite.map(|member| member.slot);
                let Some(slot) = self.selector.pick(&mut self.candidates, favourite) else { break };
                let to = self.employed[slot.index()].expect("an eligible slot has a member");
                self.offer(now, ticket, to, out);
                room_for_long = room_for_long.saturating_sub(self.long(ticket));
            }
        }
    }

    /// The channel did not take an offer.
    pub(in super::super) fn refused(
        &mut self,
        now: Mono,
        ticket: Ticket,
        why: OfferRefusal,
        out: &mut Actions,
    ) {
        let Some(Place::Offered { to, .. }) = self.ledger.place(ticket) else { return };
        self.take_back(ticket, to);
        match why {
            OfferRefusal::TooManyInFlight => {
                self.offers_paused_until = Some(now.after(OFFER_PAUSE));
                if self.offers_fail.is_felt(now) {
                    out.emit(Event::OffersPaused);
                }
            }
            OfferRefusal::Gone => self.reports.push(MemberReport::Unreachable(to)),
            OfferRefusal::Abandoned => self.abandoned(ticket, out),
            OfferRefusal::Full => {
                let until = now.after(OFFER_PAUSE);
                if let Some(member) = self.member_mut(to) {
                    let (attention, recalled) = (member.attention, member.recalled);
                    match attention {
                        Attention::Prompt => member.attention = Attention::Full { until },
                        // What it was to come upon never went there: it has nothing to say.
                        Attention::Overdue { .. } if recalled == 0 => {
                            member.attention = Attention::Full { until };
                        }
                        Attention::Overdue { .. } | Attention::Full { .. } => {}
                    }
                }
            }
        }
        self.refresh(to);
        self.settle_if_dead(to, out);
    }

    /// The worker was faster: it has the connection, and its word will say so.
    pub(in super::super) fn too_late(&mut self, ticket: Ticket, out: &mut Actions) {
        let Some(Place::Offered { to, custody, .. }) = self.ledger.place(ticket) else { return };
        self.deliver(ticket, to, ClaimLearnt::Found, custody, out);
        self.refresh(to);
        self.settle_if_dead(to, out);
    }

    /// Moves an offer back to its place in the hold queue.
    pub(super) fn take_back(&mut self, ticket: Ticket, from: WorkerId) {
        self.ledger.move_to(ticket, Place::Held);
        let long = self.long(ticket);
        if let Some(member) = self.member_mut(from) {
            member.offered -= 1;
            member.longs -= long;
        }
    }

    fn offer(&mut self, now: Mono, ticket: Ticket, to: WorkerId, out: &mut Actions) {
        let long = self.long(ticket);
        let member = self.member_mut(to).expect("whoever is employed is there");
        member.offered += 1;
        member.longs += long;
        member.offered_at = now;
        self.counters.offered += 1;
        let (recall, custody) = (Recall::Unasked, self.custody());
        self.ledger.move_to(ticket, Place::Offered { to, at: now, recall, custody });
        let client = self.presence_of(now, ticket);
        out.push(Action::Offer { ticket, to, client });
        self.refresh(to);
    }

    /// An offer is claimed: its request holds a credit. Our copy may go unless the connection can
    /// come back, or another copy lies about: then the client would wait for an end for as long as
    /// that one is open, should the worker die, and ours is kept to say it.
    pub(super) fn deliver(
        &mut self,
        ticket: Ticket,
        to: WorkerId,
        learnt: ClaimLearnt,
        custody: Custody,
        out: &mut Actions,
    ) {
        let long = self.long(ticket);
        let Some(member) = self.member_mut(to) else { return };
        member.offered -= 1;
        if !member.tells_endings() {
            member.longs -= long;
            return self.hand_over(ticket, to, out);
        }
        member.running += 1;
        let credit = Credit::Holds;
        self.ledger.move_to(ticket, Place::Delivered { to, learnt, credit, custody });
        self.advanced(to, Record::Begun);
        match (custody, self.ledger.strays_of(ticket)) {
            (Custody::Sent, Strays::None) => out.push(Action::Release(ticket)),
            (Custody::Sent, Strays::Possible) | (Custody::Lent, _) => {}
        }
    }

    /// A connection is its worker's for good, and nothing more is heard of it.
    fn hand_over(&mut self, ticket: Ticket, to: WorkerId, out: &mut Actions) {
        self.ledger.strike(ticket);
        self.counters.handed_over += 1;
        out.push(Action::HandOver(ticket));
        self.advanced(to, Record::Begun);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::capabilities::{Accepter, Capabilities, Endings, OfferKind, Returns};
    use super::super::super::input::{Exit, Input, Message, Terms};
    use super::super::super::pair::Pair;
    use super::super::policy::Policy;
    use super::*;
    use crate::limits::RECALL_AFTER_FIXED;
    use crate::units::Span;

    /// As Node's cluster has them.
    const ACKNOWLEDGED: Capabilities = Capabilities {
        accepter: Accepter::Either,
        offers: OfferKind::Final,
        endings: Endings::Untold,
        returns: Returns::Never,
        ..Capabilities::FULL
    };

    /// Two workers whose links can do this, and that serve.
    fn serving(capabilities: Capabilities) -> Pair {
        let mut pair = Pair::linked(capabilities);
        for worker in pair.workers.clone() {
            let terms = Terms { concurrency: 1, connections_max: u32::MAX };
            pair.step(Input::Hello { worker, terms });
        }
        pair
    }

    #[test]
    fn where_offers_are_final_each_worker_has_one_and_what_is_taken_is_not_heard_of_again() {
        let mut pair = serving(ACKNOWLEDGED);
        for index in 0..3 {
            pair.arrives(index);
        }
        assert_eq!((pair.offers.len(), pair.engine.dispatcher().ledger().held()), (2, 1));
        let (ticket, worker) = pair.offers[0];
        pair.says(0, Message::Claimed { transit_us: 0 });
        assert!(pair.others.contains(&Action::HandOver(ticket)));
        assert_eq!(pair.offers[2].1, worker, "it can take another at once");
        let counters = pair.engine.dispatcher().counters();
        assert_eq!((counters.handed_over, counters.closed), (1, 0));
        pair.dies(worker);
        let lost = pair.engine.dispatcher().counters().lost;
        assert_eq!((lost, &pair.recalls[..]), (0, &[worker][..]), "one was not acknowledged");
    }

    #[test]
    fn a_final_offer_is_not_taken_back_while_its_worker_lives_and_who_is_silent_is_replaced() {
        let mut pair = serving(ACKNOWLEDGED);
        pair.arrives(0);
        let (ticket, worker) = pair.offers[0];
        pair.step(Input::Stopped(worker));
        pair.step(Input::Continued(worker));
        pair.later(RECALL_AFTER_FIXED);
        assert_eq!(pair.recalls, []);
        assert!(pair.engine.dispatcher().member(worker).is_some_and(|it| it.offered == 1));
        pair.later(Span::from_s(9));
        assert!(pair.others.contains(&Action::Kill(worker)), "it has said nothing for too long");
        pair.step(Input::Exited { worker, exit: Exit::Failed });
        assert_eq!(pair.recalls, [worker]);
        pair.step(Input::Recalled(ticket));
        let (again, other) = pair.offers[1];
        assert!(again == ticket && other != worker, "nobody has begun with it");
    }

    #[test]
    fn whoever_accepts_for_himself_is_handed_nothing() {
        let accepter = Accepter::Workers;
        let mut pair = serving(Capabilities { accepter, ..Capabilities::FULL });
        assert_eq!(pair.engine.supervisor().strength(), (2, 2));
        pair.arrives(0);
        assert_eq!(pair.offers, []);
        let mut pair = Pair::new(Policy::RoundRobin);
        pair.arrives(0);
        assert_eq!(pair.offers.len(), 1);
    }
}
