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
        let credit = Credit::Holds;
        self.ledger.move_to(ticket, Place::Delivered { to, learnt, credit, custody });
        if let Some(member) = self.member_mut(to) {
            member.offered -= 1;
            member.running += 1;
        }
        self.advanced(to, Record::Begun);
        match (custody, self.ledger.strays_of(ticket)) {
            (Custody::Sent, Strays::None) => out.push(Action::Release(ticket)),
            (Custody::Sent, Strays::Possible) | (Custody::Lent, _) => {}
        }
    }
}
