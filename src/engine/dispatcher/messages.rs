//! What workers say of the connections that they have been offered.

use super::super::action::Actions;
use super::super::input::Message;
use super::super::members::MemberReport;
use super::Dispatcher;
use super::ledger::{ClaimLearnt, Credit, Custody, Place};
use crate::limits::RECALL_DOUBLINGS_MAX;
use crate::units::{Mono, Ticket, WorkerId};

impl Dispatcher {
    /// A worker has said something about a connection.
    pub(in super::super) fn message(
        &mut self,
        now: Mono,
        id: WorkerId,
        ticket: Ticket,
        message: Message,
        out: &mut Actions,
    ) {
        if self.member(id).is_none() {
            return;
        }
        self.sign_of_life(id);
        let place = self.ledger.place(ticket);
        let known = match (place, message) {
            // By now it may be anybody's.
            (_, Message::Missed) => self.missed(id),
            (Some(Place::Offered { to, custody, .. }), Message::Claimed { transit_us })
                if to == id =>
            {
                self.deliver(ticket, to, ClaimLearnt::Claimed, custody, out);
                self.measure_transit(transit_us);
                true
            }
            (
                Some(Place::Delivered { to, learnt: ClaimLearnt::Found, credit, custody }),
                Message::Claimed { transit_us },
            ) if to == id => {
                let learnt = ClaimLearnt::Claimed;
                self.ledger.set(ticket, Place::Delivered { to, learnt, credit, custody });
                self.measure_transit(transit_us);
                true
            }
            (
                Some(Place::Delivered { to, learnt: ClaimLearnt::Claimed, credit, custody }),
                message,
            ) if to == id => self.claimed_message(now, id, ticket, (credit, custody), message, out),
            (
                Some(
                    Place::Watched { .. }
                    | Place::Parked { .. }
                    | Place::Expiring
                    | Place::Held
                    | Place::Offered { .. }
                    | Place::Delivered { .. },
                )
                | None,
                _,
            ) => false,
        };
        if !known {
            self.reports.push(MemberReport::Lied(id));
        }
        self.refresh(id);
        // It may have been a dead one's last.
        self.settle_if_dead(id, out);
    }

    /// A word about a connection that the worker has claimed; false when it makes no sense.
    fn claimed_message(
        &mut self,
        now: Mono,
        id: WorkerId,
        ticket: Ticket,
        (credit, custody): (Credit, Custody),
        message: Message,
        out: &mut Actions,
    ) -> bool {
        let set =
            |dispatcher: &mut Self, to| dispatcher.set_credit(id, ticket, (credit, to), custody);
        match (message, credit) {
            (Message::Done { service_us }, Credit::Holds | Credit::Returned) => {
                self.learn(ticket, service_us);
                set(self, Credit::Spent);
                true
            }
            (Message::Idle { service_us }, _) if custody == Custody::Lent => {
                self.learn(ticket, service_us);
                set(self, Credit::Spent);
                self.idle(now, id, ticket, out);
                true
            }
            (Message::Waiting, Credit::Holds) => {
                set(self, Credit::Returned);
                true
            }
            (Message::Resumed, Credit::Returned) => {
                set(self, Credit::Holds);
                true
            }
            (Message::Pinned, _) => {
                set(self, Credit::Returned);
                // What comes next on it is another request, of which nothing is known.
                self.ledger.forget_demand(ticket);
                true
            }
            (Message::Closed, _) => {
                set(self, Credit::Spent);
                self.counters.closed += 1;
                self.strike(ticket, out);
                true
            }
            (Message::Claimed { .. } | Message::Missed | Message::Idle { .. }, _)
            | (Message::Done { .. }, Credit::Spent)
            | (Message::Waiting, Credit::Returned | Credit::Spent)
            | (Message::Resumed, Credit::Holds | Credit::Spent) => false,
        }
    }

    fn set_credit(
        &mut self,
        id: WorkerId,
        ticket: Ticket,
        (from, to): (Credit, Credit),
        custody: Custody,
    ) {
        let learnt = ClaimLearnt::Claimed;
        let place = Place::Delivered { to: id, learnt, credit: to, custody };
        self.ledger.set(ticket, place);
        let long = self.long(ticket);
        let Some(member) = self.member_mut(id) else { return };
        match (from, to) {
            (Credit::Holds, Credit::Returned | Credit::Spent) => {
                member.running -= 1;
                member.longs -= long;
            }
            (Credit::Returned | Credit::Spent, Credit::Holds) => {
                member.running += 1;
                member.longs += long;
            }
            (Credit::Holds, Credit::Holds)
            | (Credit::Returned | Credit::Spent, Credit::Returned | Credit::Spent) => {}
        }
    }

    /// A worker came for what had been taken back. If it was merely late, everybody gets more time
    /// for a while. False when nothing had been taken back from it.
    fn missed(&mut self, id: WorkerId) -> bool {
        let Some(member) = self.member_mut(id).filter(|member| 0 < member.recalled) else {
            return false;
        };
        member.recalled -= 1;
        if 0 < member.overdue {
            member.overdue -= 1;
            self.late = RECALL_DOUBLINGS_MAX.min(self.late + 1);
        }
        true
    }

    fn measure_transit(&mut self, transit_us: u32) {
        self.late = 0;
        if 0 < transit_us {
            self.gauge.crossed(transit_us);
            self.measure_depth();
        }
    }
}
