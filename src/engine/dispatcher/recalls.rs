//! Offers that their workers leave lying: they are taken back, and a worker that goes on like that
//! is reported.

use super::super::action::{Action, Actions};
use super::super::event::Event;
use super::super::members::MemberReport;
use super::Dispatcher;
use super::ledger::{Place, Reason, Recall};
use super::member::{Attention, Duty, Member};
use super::policy::Rebinds;
use crate::limits::{RECALL_AFTER, RECALL_AFTER_FIXED};
use crate::units::{Mono, Span, Ticket, WorkerId};

impl Dispatcher {
    /// An offer is back: nobody has begun with it, and nobody can but whoever is offered it next.
    pub(in super::super) fn recalled(&mut self, ticket: Ticket, out: &mut Actions) {
        let Some(Place::Offered { to, recall, .. }) = self.ledger.place(ticket) else { return };
        self.take_back(ticket, to);
        self.ledger.went_astray(ticket);
        let Some(member) = self.member_mut(to) else { return };
        member.recalled += 1;
        member.overdue += u32::from(recall == Recall::Asked(Reason::Overdue));
        match &mut member.duty {
            Duty::Dead { recovered } => {
                *recovered += 1;
                self.counters.recovered += 1;
            }
            Duty::Employed | Duty::Retired => self.counters.recalled += 1,
        }
        self.refresh(to);
        self.settle_if_dead(to, out);
    }

    /// Asks for all that a worker has not claimed. It is offered nothing more until it says
    /// something: what it comes upon and finds gone, it says.
    pub(super) fn recall_all(
        &mut self,
        now: Mono,
        id: WorkerId,
        reason: Reason,
        out: &mut Actions,
    ) {
        let asked = self.ask_back(now, id, reason, out);
        let Some(member) = self.member_mut(id) else { return };
        // What cannot be asked back lies there still, and has since that was first seen.
        let known = matches!(member.attention, Attention::Overdue { .. });
        if asked == 0 && (member.can_be_asked_back() || member.offered == 0 || known) {
            return;
        }
        let before = member.attention;
        member.attention = Attention::Overdue { since: now };
        let (slot, serving) = (member.slot, member.is_serving());
        // Told once per stall; one that serves another request does not stall.
        match before {
            Attention::Prompt | Attention::Full { .. } if !serving => {
                out.emit(Event::Stalled { worker: id, slot, recalled: asked });
            }
            Attention::Prompt | Attention::Full { .. } | Attention::Overdue { .. } => {}
        }
        self.refresh(id);
    }

    /// Asks for each of a worker's offers once. Returns how many.
    pub(super) fn ask_back(
        &mut self,
        now: Mono,
        id: WorkerId,
        reason: Reason,
        out: &mut Actions,
    ) -> u32 {
        let recall = Recall::Asked(reason);
        let mut asked = 0;
        if !self.member(id).is_some_and(Member::can_be_asked_back) {
            return 0;
        }
        for ticket in self.ledger.offers_of(id) {
            let Some(Place::Offered { to, recall: Recall::Unasked, custody, .. }) =
                self.ledger.place(ticket)
            else {
                continue;
            };
            // At the end of the list, since it is looked at now.
            self.ledger.move_to(ticket, Place::Offered { to, at: now, recall, custody });
            out.push(Action::Recall { ticket, from: id });
            asked += 1;
        }
        asked
    }

    /// Takes overdue offers back from whoever leaves them lying.
    pub(super) fn recall_unclaimed(&mut self, now: Mono, out: &mut Actions) {
        while let Some((ticket, to, at)) = self.oldest_offer() {
            if now < at.after(self.recall_after()) {
                break;
            }
            let Some(member) = self.member(to) else { break };
            let recall = match self.rules.policy.rebinds() {
                Rebinds::Always => true,
                Rebinds::WhenStopped => member.load.in_flight == 0,
            };
            if recall {
                self.recall_all(now, to, Reason::Overdue, out);
            }
            // Looked at again after another while, whatever was decided now.
            if let Some(Place::Offered { recall, custody, .. }) = self.ledger.place(ticket) {
                self.ledger.move_to(ticket, Place::Offered { to, at: now, recall, custody });
            }
        }
    }

    /// How long an offer may be unclaimed before its worker is looked at.
    pub(super) fn recall_after(&self) -> Span {
        match self.rules.policy.rebinds() {
            Rebinds::Always => RECALL_AFTER.times(1 << self.late),
            Rebinds::WhenStopped => RECALL_AFTER_FIXED,
        }
    }

    /// Reports members that left an offer lying, have said nothing since, and serve nothing.
    pub(super) fn give_up_on_silence(&mut self, now: Mono) {
        for (id, member) in self.members.iter_mut() {
            if member.gives_up_at(self.rules.stall_timeout).is_none_or(|at| now < at) {
                continue;
            }
            // Looked at again after another while, whatever is decided now.
            member.attention = Attention::Overdue { since: now };
            if !member.is_serving() {
                self.reports.push(MemberReport::Stalled(id));
            }
        }
    }

    /// The offer that has been unclaimed longest: its ticket, its worker, and since when.
    pub(super) fn oldest_offer(&self) -> Option<(Ticket, WorkerId, Mono)> {
        let ticket = self.ledger.oldest_offered()?;
        match self.ledger.place(ticket)? {
            Place::Offered { to, at, .. } => Some((ticket, to, at)),
            Place::Watched { .. }
            | Place::Parked { .. }
            | Place::Expiring
            | Place::Held
            | Place::Delivered { .. } => None,
        }
    }
}
