//! Late binding per request. A worker that has answered all that was asked on a connection gives
//! it back; the master watches its own copy, and the next request goes to whoever can take it
//! soonest, as a new connection would. Here is what becomes of a connection in between, and whether
//! that pays at all.
//!
//! # When it pays
//!
//! Under [`Dispatch::Auto`] requests are spread while they take long enough on average
//! ([`SPREAD_ABOVE`]) that one may wait long behind another, and the way through the master (some
//! 5 us, two wakes) is small against them. It ends below [`SPREAD_BELOW`]: a factor of two between
//! the two keeps it from going to and fro, and to be wrong either way costs no more than 5 or 10 %
//! of the workers' time. The mean is over all workers and at least [`SPREAD_EVERY`], out of their
//! own accounts, so that it is the same measure whether requests are spread or not; the running
//! ones count, so that a single long request is seen before it ends. Where there is but one
//! connection nobody can wait for anybody.

use super::action::{Action, Actions};
use super::ledger::Place;
use super::supervisor::Phase;
use super::{Engine, Load};
use crate::limits::{
    PARKED_AFTER, SILENT_AFTER_FULL, SPREAD_ABOVE, SPREAD_BELOW, SPREAD_EVERY, SPREAD_EVERY_IDLE,
};
use crate::units::{GiveBack, Mono, Span, Ticket, WorkerId};

/// What is dispatched: `--dispatch`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dispatch {
    /// Each request while that pays, else each connection.
    Auto,
    /// Each request.
    Request,
    /// Each connection, once.
    Connection,
}

/// Whether requests are spread, and what is known about that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Spread {
    /// What [`Dispatch::Auto`] has decided.
    on: bool,
    /// When it is decided again.
    again_at: Mono,
    /// What workers were last told.
    told: GiveBack,
}

impl Engine {
    /// Whether connections can come back: the master keeps its copies.
    pub fn lends(&self) -> bool {
        self.setup.dispatch != Dispatch::Connection && self.setup.policy.spreads()
    }

    /// What workers do with connections that they have answered.
    pub const fn give_back(&self) -> GiveBack {
        self.spread.told
    }

    /// A worker gives a connection back.
    pub(super) fn idle(&mut self, now: Mono, id: WorkerId, ticket: Ticket, out: &mut Actions) {
        self.ledger.give_back(ticket, id, now);
        self.counters.given_back += 1;
        out.push(Action::Watch(ticket));
    }

    /// A parked connection can be read: its next request waits for a worker.
    pub(super) fn asks_again(&mut self, ticket: Ticket) {
        self.ledger.asks_again(ticket);
    }

    /// The client of a parked connection has left.
    pub(super) fn left(&mut self, ticket: Ticket, out: &mut Actions) {
        self.ledger.strike(ticket);
        self.counters.closed += 1;
        out.push(Action::Retire(ticket));
    }

    /// Lets go of parked connections that have asked for nothing for too long.
    pub(super) fn expire_parked(&mut self, now: Mono, out: &mut Actions) {
        while let Some((ticket, since)) = self.oldest_parked() {
            if now < since.after(self.parked_after()) {
                break;
            }
            self.ledger.move_to(ticket, Place::Expiring);
            out.push(Action::Expire(ticket));
        }
    }

    /// When the next parked connection is let go of, if nothing else happens.
    pub(super) fn parked_deadline(&self) -> Option<Mono> {
        let (_, since) = self.oldest_parked()?;
        Some(since.after(self.parked_after()))
    }

    /// When it is next decided whether to spread, if nothing else happens. While requests are
    /// spread, something happens with each of them.
    pub(super) fn spread_deadline(&self) -> Option<Mono> {
        let idle = self.spread.on || !self.phase.accepts() || !self.may_wait();
        (self.lends() && self.setup.dispatch == Dispatch::Auto && !idle)
            .then_some(self.spread.again_at)
    }

    /// Decides whether to spread requests: see the head of this file.
    pub(super) fn decide_on_spreading(&mut self, now: Mono) {
        if !self.lends() || self.setup.dispatch != Dispatch::Auto || now < self.spread.again_at {
            return;
        }
        let (mut busy, mut finished) = (Span::ZERO, 0_u64);
        for worker in &mut self.workers {
            let Load { finished: before, busy: busy_before, .. } = worker.looked;
            worker.looked = worker.load;
            busy = busy.plus(worker.load.busy.less(busy_before));
            finished = finished.saturating_add(worker.load.finished.saturating_sub(before));
        }
        let pause = if finished == 0 { SPREAD_EVERY_IDLE } else { SPREAD_EVERY };
        self.spread.again_at = now.after(pause);
        let mean = Span::from_ns(busy.as_ns() / finished.max(1));
        // What has not begun to take its time says nothing.
        if finished == 0 && mean < SPREAD_ABOVE {
            return;
        }
        let least = if self.spread.on { SPREAD_BELOW } else { SPREAD_ABOVE };
        self.spread.on = self.may_wait() && least <= mean;
    }

    /// Tells the workers when it has changed what they shall do.
    pub(super) fn tell_give_back(&mut self, out: &mut Actions) {
        let wanted = match (self.setup.dispatch, self.phase) {
            _ if !self.lends() => GiveBack::Never,
            // Nobody will take it up again: its worker says goodbye itself.
            (_, Phase::Stopping { .. } | Phase::Ending(_) | Phase::Over)
            | (Dispatch::Connection, _) => GiveBack::Never,
            (Dispatch::Auto, Phase::Opening { .. } | Phase::Serving) if !self.spread.on => {
                GiveBack::WhenLeaving
            }
            (Dispatch::Auto | Dispatch::Request, Phase::Opening { .. } | Phase::Serving) => {
                GiveBack::Always
            }
        };
        if self.spread.told != wanted {
            self.spread.told = wanted;
            out.push(Action::GiveBack(wanted));
        }
    }

    /// Whether a request can have to wait for another one's connection.
    fn may_wait(&self) -> bool {
        let ledger = &self.ledger;
        2 <= ledger.delivered() + ledger.offered() + ledger.held() + ledger.parked()
    }

    fn oldest_parked(&self) -> Option<(Ticket, Mono)> {
        let ticket = self.ledger.oldest_parked()?;
        match self.ledger.place(ticket)? {
            Place::Parked { since } => Some((ticket, since)),
            Place::Watched { .. }
            | Place::Expiring
            | Place::Held
            | Place::Offered { .. }
            | Place::Delivered { .. } => None,
        }
    }

    /// How long a connection may be parked.
    fn parked_after(&self) -> Span {
        if !self.phase.accepts() {
            Phase::SILENT_AFTER_STOP
        } else if self.is_full() {
            SILENT_AFTER_FULL
        } else {
            PARKED_AFTER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::{Command, Input, Word};
    use super::super::pair::Pair;
    use super::super::policy::{Depth, Policy};
    use super::*;

    const JBSQ: Policy = Policy::Jbsq(Depth::Fixed(1));

    fn pair(dispatch: Dispatch) -> Pair {
        Pair::lending(JBSQ, dispatch, 100)
    }

    /// The offer at this place is claimed and answered, and the connection given back.
    fn answers(pair: &mut Pair, at: usize) {
        pair.says(at, Word::Claimed { transit_us: 0 });
        pair.says(at, Word::Idle { service_us: 9 });
    }

    fn load(pair: &mut Pair, finished: u64, busy: Span) {
        let worker = pair.workers[0];
        let load = Load { finished, busy, ..Load::NONE };
        pair.step(Input::Load { worker, load });
    }

    #[test]
    fn the_next_request_goes_to_whoever_is_free_and_rather_to_whom_it_knows() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        let (ticket, first) = pair.offers[0];
        answers(&mut pair, 0);
        assert_eq!(pair.others.last(), Some(&Action::Watch(ticket)));
        assert_eq!(pair.engine.ledger().parked(), 1);
        pair.step(Input::Readable(ticket));
        assert_eq!(pair.offers.last(), Some(&(ticket, first)), "both are free");
        answers(&mut pair, 1);
        pair.arrives(1);
        let (_, busy) = pair.offers[2];
        pair.step(Input::Readable(ticket));
        let (_, free) = pair.offers[3];
        assert_ne!(free, busy);
        assert_eq!(pair.engine.counters().given_back, 2);
    }

    #[test]
    fn where_connections_are_dispatched_nobody_gives_one_back() {
        for mut pair in
            [pair(Dispatch::Connection), Pair::lending(Policy::RoundRobin, Dispatch::Auto, 9)]
        {
            pair.arrives(0);
            let (_, worker) = pair.offers[0];
            answers(&mut pair, 0);
            assert_eq!(pair.engine.worker(worker).unwrap().violations, 1);
            assert!(!pair.others.iter().any(|other| matches!(other, Action::GiveBack(_))));
        }
    }

    #[test]
    fn long_requests_are_spread_until_they_are_short_for_sure() {
        let mut pair = pair(Dispatch::Auto);
        assert_eq!(pair.engine.give_back(), GiveBack::WhenLeaving);
        pair.arrives(0);
        let (mut finished, mut busy) = (0, Span::ZERO);
        let mut looks = |pair: &mut Pair, mean_us: u64| {
            (finished, busy) = (finished + 10, busy.plus(Span::from_us(10 * mean_us)));
            load(pair, finished, busy);
            pair.later(SPREAD_EVERY_IDLE);
            pair.engine.give_back()
        };
        assert_eq!(looks(&mut pair, 900), GiveBack::WhenLeaving, "nobody else could wait");
        pair.arrives(1);
        assert_eq!(looks(&mut pair, 99), GiveBack::WhenLeaving);
        assert_eq!(looks(&mut pair, 100), GiveBack::Always);
        assert_eq!(looks(&mut pair, 50), GiveBack::Always);
        assert_eq!(looks(&mut pair, 49), GiveBack::WhenLeaving);
        assert_eq!(looks(&mut pair, 99), GiveBack::WhenLeaving);
    }

    #[test]
    fn one_long_request_is_seen_before_it_ends_and_silence_says_nothing() {
        let mut pair = pair(Dispatch::Auto);
        pair.arrives(0);
        pair.arrives(1);
        assert!(pair.engine.deadline().is_some_and(|at| at <= pair.now.after(SPREAD_EVERY_IDLE)));
        load(&mut pair, 0, Span::from_ms(1));
        pair.later(SPREAD_EVERY_IDLE);
        assert_eq!(pair.engine.give_back(), GiveBack::Always);
        pair.later(SPREAD_EVERY_IDLE);
        assert_eq!(pair.engine.give_back(), GiveBack::Always);
        let told = pair.others.iter().filter(|other| matches!(other, Action::GiveBack(_)));
        assert_eq!(told.count(), 2, "a change is told once");
    }

    #[test]
    fn what_asks_for_nothing_is_let_go_and_sooner_where_there_is_no_room() {
        for (copies_max, patience) in [(9, PARKED_AFTER), (1, SILENT_AFTER_FULL)] {
            let mut pair = Pair::lending(JBSQ, Dispatch::Request, copies_max);
            pair.arrives(0);
            let (ticket, _) = pair.offers[0];
            answers(&mut pair, 0);
            assert_eq!(pair.engine.deadline(), Some(pair.now.after(patience)));
            assert_eq!(pair.engine.accept_room() == 0, copies_max == 1);
            pair.later(patience);
            assert_eq!(pair.others.last(), Some(&Action::Expire(ticket)));
            pair.step(Input::Readable(ticket));
            assert_eq!(pair.others.last(), Some(&Action::Retire(ticket)));
        }
    }

    #[test]
    fn who_leaves_between_two_requests_has_had_its_service() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        let (ticket, _) = pair.offers[0];
        answers(&mut pair, 0);
        pair.step(Input::HungUp(ticket));
        assert_eq!(pair.others.last(), Some(&Action::Retire(ticket)));
        let counters = pair.engine.counters();
        assert_eq!((counters.closed, counters.rejected), (1, 0));
    }

    #[test]
    fn at_the_end_workers_say_goodbye_themselves() {
        let mut pair = pair(Dispatch::Request);
        assert!(pair.others.contains(&Action::GiveBack(GiveBack::Always)));
        pair.arrives(0);
        let (ticket, _) = pair.offers[0];
        answers(&mut pair, 0);
        pair.step(Input::Command(Command::Stop));
        assert_eq!(pair.engine.give_back(), GiveBack::Never);
        pair.step(Input::ListenersClosed);
        assert!(pair.others.iter().all(|other| !matches!(other, Action::Drain(_))));
        pair.later(Phase::SILENT_AFTER_STOP);
        assert!(pair.others.contains(&Action::Expire(ticket)));
        pair.step(Input::Readable(ticket));
        assert!(pair.others.iter().any(|other| matches!(other, Action::Drain(_))));
    }
}
