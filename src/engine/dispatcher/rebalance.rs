//! Late binding, mended: a credit beyond the running request hides the gap between two requests,
//! and binds whoever gets it to a worker that may be busy for long. When another worker has nothing
//! to do meanwhile, what waits behind a running request is taken back and goes there; the busy one
//! gets nothing more to wait behind it.

use super::super::action::Actions;
use super::Dispatcher;
use super::ledger::Reason;
use super::member::Attention;
use super::policy::Binder;
use crate::limits::{REBALANCE_AFTER_MIN, RECALL_AFTER};
use crate::units::{Mono, Span, WorkerId};

impl Dispatcher {
    /// Takes offers back that wait behind running requests, one worker's for each idle one, those
    /// that have waited longest first.
    pub(super) fn rebalance(&mut self, now: Mono, out: &mut Actions) {
        for _ in 0..self.idle_workers() {
            let Some((id, at)) = self.longest_stuck() else { break };
            if now < at.after(self.rebalance_after()) {
                break;
            }
            self.recall_all(now, id, Reason::Stuck, out);
            // Looked at again after another while, even if all of it had been asked for before.
            if let Some(member) = self.member_mut(id) {
                member.offered_at = now;
            }
        }
    }

    /// When there will be something to take back, as things are.
    pub(super) fn rebalance_deadline(&self) -> Option<Mono> {
        if self.idle_workers() == 0 {
            return None;
        }
        let (_, at) = self.longest_stuck()?;
        Some(at.after(self.rebalance_after()))
    }

    /// Workers with nothing to do for whom nothing is on its way either, where the policy has a say
    /// in it and nothing waits in the master, which would be theirs first.
    fn idle_workers(&self) -> usize {
        let moves = match self.rules.policy.binder() {
            Binder::OnCredit(_) => 0 < self.ledger.offered() && !self.has_placeable(),
            Binder::AtOnce | Binder::Kernel => false,
        };
        if !moves || self.offers_paused_until.is_some() {
            return 0;
        }
        let (mut idle, mut recalls) = (0_usize, 0);
        for (id, member) in self.members() {
            match member.attention {
                Attention::Overdue { .. } if 0 < member.offered => recalls += 1,
                Attention::Prompt if member.in_flight() == 0 => {
                    idle += usize::from(self.may_be_offered(id, member));
                }
                Attention::Prompt | Attention::Full { .. } | Attention::Overdue { .. } => {}
            }
        }
        idle.saturating_sub(recalls)
    }

    /// The busy worker whose latest offer is oldest, and when that was made.
    fn longest_stuck(&self) -> Option<(WorkerId, Mono)> {
        let stuck = self.members().filter(|(_, member)| {
            member.is_alive()
                && member.can_be_asked_back()
                && member.attention == Attention::Prompt
                && 0 < member.offered
                && member.is_serving()
        });
        stuck.map(|(id, member)| (id, member.offered_at)).min_by_key(|(_, at)| *at)
    }

    /// How long an offer waits before moving it pays: as long as the move takes. What is served
    /// sooner where it is stays there.
    fn rebalance_after(&self) -> Span {
        self.gauge.gap().clamp(REBALANCE_AFTER_MIN, RECALL_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::action::Action;
    use super::super::super::input::{Exit, Input, Message};
    use super::super::super::pair::Pair;
    use super::super::policy::{Depth, Policy};
    use super::*;
    use crate::units::Ticket;

    impl Pair {
        /// Each worker runs one request, and one of them has another behind it.
        fn busy(policy: Policy) -> Self {
            let mut pair = Self::new(policy);
            pair.arrives(0);
            pair.arrives(1);
            pair.says(0, Message::Claimed { transit_us: 0 });
            pair.says(1, Message::Claimed { transit_us: 0 });
            pair.arrives(2);
            pair
        }

        /// [`Pair::busy`] for as long as a move takes, with one of the two idle by now. Returns
        /// what waited behind the busy one, who that is, and the idle one.
        fn lopsided() -> (Self, Ticket, WorkerId, WorkerId) {
            let mut pair = Self::busy(Policy::Jbsq(Depth::Auto));
            let idle = pair.other_is_done();
            pair.later(REBALANCE_AFTER_MIN);
            let (ticket, busy) = pair.offers[2];
            (pair, ticket, busy, idle)
        }

        /// The worker without a second offer has answered.
        fn other_is_done(&mut self) -> WorkerId {
            let free = usize::from(self.offers[2].1 == self.offers[0].1);
            self.says(free, Message::Done { service_us: 9 });
            self.offers[free].1
        }
    }

    #[test]
    fn what_waits_behind_a_request_goes_to_whoever_is_idle() {
        let mut pair = Pair::busy(Policy::Jbsq(Depth::Auto));
        pair.later(RECALL_AFTER.times(0));
        assert_eq!(pair.recalls, [], "nobody is idle");
        let idle = pair.other_is_done();
        assert_eq!(pair.recalls, [], "it is no older than the move would take");
        assert!(pair.engine.deadline().is_some_and(|at| at <= pair.now.after(RECALL_AFTER)));
        pair.later(REBALANCE_AFTER_MIN);
        let (ticket, busy) = pair.offers[2];
        assert_eq!(pair.recalls, [busy]);
        pair.step(Input::Recalled(ticket));
        assert_eq!(pair.offers.last(), Some(&(ticket, idle)));
        assert_eq!(pair.recalls.len(), 1, "once is enough");
    }

    #[test]
    fn what_waits_behind_the_last_request_of_one_that_leaves_goes_to_whoever_is_idle() {
        let mut pair = Pair::busy(Policy::Jbsq(Depth::Auto));
        let idle = pair.other_is_done();
        let (ticket, busy) = pair.offers[2];
        pair.step(Input::AsksToLeave(busy));
        assert!(pair.others.contains(&Action::Drain(busy)));
        pair.later(REBALANCE_AFTER_MIN);
        assert_eq!(pair.recalls, [busy]);
        pair.step(Input::Recalled(ticket));
        assert_eq!(pair.offers.last(), Some(&(ticket, idle)));
    }

    #[test]
    fn nothing_more_waits_behind_a_request_from_which_something_was_taken_away() {
        let (mut pair, ticket, busy, _) = Pair::lopsided();
        pair.step(Input::Recalled(ticket));
        // The other runs that one, has one behind it, and a third one waits in the master.
        pair.says(3, Message::Claimed { transit_us: 0 });
        pair.arrives(3);
        pair.arrives(4);
        assert!(pair.offers[3..].iter().all(|(_, to)| *to != busy), "{:?}", pair.offers);
        let before = pair.offers.len();
        let running = pair.offers.iter().position(|(_, to)| *to == busy).unwrap();
        pair.says(running, Message::Done { service_us: 9 });
        assert_eq!(pair.offers[before..].first().map(|(_, to)| *to), Some(busy));
    }

    #[test]
    fn a_worker_that_came_too_late_is_as_good_as_any() {
        let (mut pair, ticket, busy, _) = Pair::lopsided();
        pair.step(Input::Recalled(ticket));
        pair.step(Input::Message { worker: busy, ticket, message: Message::Missed });
        let worker = pair.engine.dispatcher().member(busy).unwrap();
        assert_eq!(worker.attention, Attention::Prompt);
        let worker = pair.engine.supervisor().worker(busy).unwrap();
        assert_eq!(worker.violations, 0);
        pair.step(Input::Message { worker: busy, ticket, message: Message::Missed });
        let worker = pair.engine.supervisor().worker(busy).unwrap();
        assert_eq!(worker.violations, 1, "one recall is missed once");
    }

    #[test]
    fn a_worker_is_late_for_what_it_left_lying_and_not_for_what_was_moved_away() {
        let (mut pair, ticket, busy, _) = Pair::lopsided();
        pair.step(Input::Recalled(ticket));
        pair.step(Input::Message { worker: busy, ticket, message: Message::Missed });
        assert_eq!(pair.engine.dispatcher.recall_after(), RECALL_AFTER);
        let mut pair = Pair::new(Policy::Jbsq(Depth::Auto));
        pair.arrives(0);
        pair.later(RECALL_AFTER);
        let (ticket, late) = pair.offers[0];
        assert_eq!(pair.recalls, [late]);
        pair.step(Input::Recalled(ticket));
        pair.step(Input::Message { worker: late, ticket, message: Message::Missed });
        assert_eq!(pair.engine.dispatcher.recall_after(), RECALL_AFTER.times(2));
    }

    #[test]
    fn what_is_asked_back_and_has_not_come_leaves_no_deadline_behind() {
        let (mut pair, _, busy, _) = Pair::lopsided();
        pair.step(Input::Continued(busy));
        pair.later(REBALANCE_AFTER_MIN);
        assert_eq!(pair.recalls, [busy], "once is enough");
        assert!(pair.engine.deadline().is_some_and(|at| pair.now < at));
    }

    #[test]
    fn the_last_word_of_the_dead_buries_them() {
        let (mut pair, ticket, busy, _) = Pair::lopsided();
        pair.step(Input::Exited { worker: busy, exit: Exit::Failed });
        assert_eq!(pair.engine.dispatcher().counters().lost, 0, "nobody knows whose the offer is");
        pair.step(Input::Message {
            worker: busy,
            ticket,
            message: Message::Claimed { transit_us: 0 },
        });
        assert_eq!(pair.engine.dispatcher().counters().lost, 2);
    }

    #[test]
    fn what_a_recall_finds_claimed_stays() {
        let (mut pair, ticket, busy, _) = Pair::lopsided();
        pair.step(Input::TooLate(ticket));
        assert_eq!(pair.offers.len(), 3);
        for message in [Message::Claimed { transit_us: 0 }, Message::Closed] {
            pair.step(Input::Message { worker: busy, ticket, message });
        }
        assert_eq!(pair.engine.dispatcher().counters().closed, 1);
        assert_eq!(pair.engine.supervisor().worker(busy).unwrap().violations, 0);
    }

    #[test]
    fn policies_that_bind_at_once_stay_bound() {
        for policy in [Policy::RoundRobin, Policy::Least] {
            let mut pair = Pair::busy(policy);
            pair.other_is_done();
            pair.later(REBALANCE_AFTER_MIN.times(2));
            assert_eq!(pair.recalls, [], "{policy:?}");
        }
    }

    #[test]
    fn an_offer_to_an_idle_worker_is_on_its_way_and_not_stuck() {
        let mut pair = Pair::new(Policy::Jbsq(Depth::Auto));
        pair.arrives(0);
        pair.later(REBALANCE_AFTER_MIN.times(2));
        assert_eq!(pair.recalls, []);
    }
}
