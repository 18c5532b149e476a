//! Late binding per request. A worker that has answered all that was asked on a connection gives
//! it back; the master watches its own copy, and the next request goes to whoever can take it
//! soonest, as a new connection would. Here is what becomes of a connection in between, and whether
//! that pays at all.
//!
//! # When it pays
//!
//! Under [`Dispatch::Auto`] requests are spread while they would wait otherwise. A connection that
//! stays with its worker is a queue of its own, in which a request waits
//! `rest * load / (1 - load)` on average (Pollaczek and Khinchine), where `rest` is what is left of
//! a running request when another one comes ([`super::depth::Gauge::rest`]: half of the mean
//! service where all are alike, many times the mean where a few are long). Both are measured all
//! the time, by the workers' own accounts, and in the same way whether requests are spread or not;
//! running requests count, so that a single long one is seen before it ends.
//!
//! From a wait of [`SPREAD_ABOVE`] on the way through the master is worth it: some 2 us of CPU
//! time, and two wakes where nobody is awake. Below [`SPREAD_BELOW`] it ends. A factor of two
//! between the two keeps it from going to and fro, and so do a memory of thousands of requests and
//! a mean of the load over half a second; to be wrong either way costs no more than the threshold.
//! Where there is but one connection nobody can wait for anybody, nor where workers serve many
//! requests at once: how busy such a one is its account does not tell.

use super::super::action::{Action, Actions};
use super::super::input::WorkDone;
use super::ledger::{Custody, Place};
use super::{Dispatcher, Gate};
use crate::limits::{
    PARKED_AFTER, SILENT_AFTER_FULL, SILENT_AFTER_STOP, SPREAD_ABOVE, SPREAD_BELOW, SPREAD_EVERY,
    SPREAD_EVERY_IDLE, SPREAD_LOAD_OVER,
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
pub(super) struct Spreading {
    /// What [`Dispatch::Auto`] has decided.
    on: bool,
    /// When it was decided.
    decided_at: Mono,
    /// After how long it is decided again, though nothing else happens.
    pause: Span,
    /// What has been worked since.
    worked: WorkDone,
    /// The workers' load: the busy part of their time, a running mean in 1024ths.
    load: u64,
    /// What workers were last told.
    told: GiveBack,
}

/// The load of workers that do nothing else.
const FULL: u64 = 1_024;
/// The load that is believed at most: beyond it a wait has no end.
const LOAD_MAX: u64 = FULL * 19 / 20;

impl Spreading {
    /// A worker's account has grown.
    pub(super) fn worked(&mut self, work: WorkDone) {
        self.worked.requests = self.worked.requests.saturating_add(work.requests);
        self.worked.time = self.worked.time.plus(work.time);
    }

    /// Brings the load up to date, which so many workers had since it was last.
    fn measure(&mut self, now: Mono, workers: u64) {
        let passed = now.since(self.decided_at);
        let capacity = passed.times(workers).as_ns().max(1);
        let sample = (self.worked.time.times(FULL).as_ns() / capacity).min(LOAD_MAX);
        let weight = passed.min(SPREAD_LOAD_OVER);
        let (new, old) = (weight.as_ns(), SPREAD_LOAD_OVER.less(weight).as_ns());
        self.load = (sample * new + self.load * old) / SPREAD_LOAD_OVER.as_ns();
        let news = 0 < core::mem::take(&mut self.worked).requests;
        self.pause = if news { SPREAD_EVERY } else { SPREAD_EVERY_IDLE };
        self.decided_at = now;
    }

    /// How long requests wait on average, where each stays with its connection's worker.
    const fn wait(&self, rest: Span) -> Span {
        Span::from_ns(rest.times(self.load).as_ns() / (FULL - self.load))
    }
}

impl Dispatcher {
    /// What is dispatched: under policies that cannot spread requests connections, whatever was
    /// wanted.
    pub fn dispatch(&self) -> Dispatch {
        if self.rules.policy.spreads() { self.rules.dispatch } else { Dispatch::Connection }
    }

    /// The custody of what is offered from now on.
    pub(super) fn custody(&self) -> Custody {
        match self.dispatch() {
            Dispatch::Auto | Dispatch::Request => Custody::Lent,
            Dispatch::Connection => Custody::Sent,
        }
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

    /// The client of a parked connection has left.
    pub(super) fn left(&mut self, ticket: Ticket, out: &mut Actions) {
        self.counters.closed += 1;
        self.strike(ticket, out);
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
        let idle = self.spread.on || self.gate != Gate::Open || !self.may_wait();
        (self.dispatch() == Dispatch::Auto && !idle)
            .then(|| self.spread.decided_at.after(self.spread.pause.max(SPREAD_EVERY)))
    }

    /// Decides whether to spread requests: see the head of this file.
    pub(super) fn decide_on_spreading(&mut self, now: Mono) {
        let due = self.spread.decided_at.after(SPREAD_EVERY) <= now;
        if self.dispatch() != Dispatch::Auto || !due {
            return;
        }
        self.spread.measure(now, self.strength().into());
        let least = if self.spread.on { SPREAD_BELOW } else { SPREAD_ABOVE };
        self.spread.on = self.may_wait() && least <= self.spread.wait(self.gauge.rest());
    }

    /// Tells the workers when it has changed what they shall do.
    pub(super) fn tell_give_back(&mut self, out: &mut Actions) {
        let wanted = match (self.gate, self.dispatch()) {
            // Nobody will take it up again: its worker says goodbye itself.
            (Gate::Closed | Gate::Abandoned, _) | (Gate::Open, Dispatch::Connection) => {
                GiveBack::Never
            }
            (Gate::Open, Dispatch::Auto) if !self.spread.on => GiveBack::WhenLeaving,
            (Gate::Open, Dispatch::Auto | Dispatch::Request) => GiveBack::Always,
        };
        if self.spread.told != wanted {
            self.spread.told = wanted;
            out.push(Action::GiveBack(wanted));
        }
    }

    /// Whether a request can have to wait for another one's connection.
    fn may_wait(&self) -> bool {
        let ledger = &self.ledger;
        let connections = ledger.delivered() + ledger.offered() + ledger.held() + ledger.parked();
        2 <= connections && self.concurrency() == 1
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
        if self.gate != Gate::Open {
            SILENT_AFTER_STOP
        } else if self.is_scarce() {
            SILENT_AFTER_FULL
        } else {
            PARKED_AFTER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::action::Strays;
    use super::super::super::input::{Command, Input, Load, Message};
    use super::super::super::pair::Pair;
    use super::super::policy::{Depth, Policy};
    use super::*;
    use crate::limits::ACCEPT_BATCH;

    const JBSQ: Policy = Policy::Jbsq(Depth::Fixed(1));

    fn pair(dispatch: Dispatch) -> Pair {
        Pair::lending(JBSQ, dispatch, 100)
    }

    /// The offer at this place is claimed and answered, and the connection given back.
    fn answers(pair: &mut Pair, at: usize) {
        pair.says(at, Message::Claimed { transit_us: 0 });
        pair.says(at, Message::Idle { service_us: 9 });
    }

    #[test]
    fn custody_is_settled_with_the_offer_whatever_is_dispatched_later() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        pair.engine.dispatcher.rules.dispatch = Dispatch::Connection;
        pair.arrives(1);
        assert_eq!((pair.engine.dispatcher().ledger().lent(), pair.offers.len()), (1, 2));
        answers(&mut pair, 0);
        let (ticket, _) = pair.offers[0];
        assert_eq!(pair.others.last(), Some(&Action::Watch(ticket)), "it was lent");
        let (ticket, worker) = pair.offers[1];
        pair.says(1, Message::Claimed { transit_us: 0 });
        assert!(pair.others.contains(&Action::Release(ticket)), "it was sent");
        let violations = pair.engine.supervisor().worker(worker).unwrap().violations;
        pair.says(1, Message::Idle { service_us: 9 });
        assert_eq!(pair.engine.supervisor().worker(worker).unwrap().violations, violations + 1);
    }

    /// A connection comes, and its worker begins with it.
    fn begins(pair: &mut Pair, index: u32) {
        pair.arrives(index);
        pair.says(pair.offers.len() - 1, Message::Claimed { transit_us: 0 });
    }

    /// One worker's account of all that it has done so far.
    fn load(pair: &mut Pair, done: WorkDone) {
        let WorkDone { requests: finished, time: busy, squares } = done;
        let load = Load { finished, busy, squares, ..Load::NONE };
        pair.step(Input::Load { worker: pair.workers[0], load });
    }

    #[test]
    fn the_next_request_goes_to_whoever_is_free_and_rather_to_whom_it_knows() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        let (ticket, first) = pair.offers[0];
        answers(&mut pair, 0);
        assert_eq!(pair.others.last(), Some(&Action::Watch(ticket)));
        assert_eq!(pair.engine.dispatcher().ledger().parked(), 1);
        pair.step(Input::Readable { ticket, route: None });
        assert_eq!(pair.offers.last(), Some(&(ticket, first)), "both are free");
        answers(&mut pair, 1);
        pair.arrives(1);
        let (_, busy) = pair.offers[2];
        pair.step(Input::Readable { ticket, route: None });
        let (_, free) = pair.offers[3];
        assert_ne!(free, busy);
        assert_eq!(pair.engine.dispatcher().counters().given_back, 2);
    }

    #[test]
    fn where_connections_are_dispatched_nobody_gives_one_back() {
        for mut pair in
            [pair(Dispatch::Connection), Pair::lending(Policy::RoundRobin, Dispatch::Auto, 9)]
        {
            pair.arrives(0);
            let (_, worker) = pair.offers[0];
            answers(&mut pair, 0);
            assert_eq!(pair.engine.supervisor().worker(worker).unwrap().violations, 1);
            assert!(!pair.others.iter().any(|other| matches!(other, Action::GiveBack(_))));
        }
    }

    /// Two workers, half of whose time goes to requests.
    struct HalfBusy {
        done: WorkDone,
    }

    impl HalfBusy {
        /// They do so with requests of this length, for long enough that what was before is
        /// forgotten. Returns what they are told in the end.
        fn with(&mut self, pair: &mut Pair, length: Span) -> GiveBack {
            for _ in 0..20 {
                let count = SPREAD_LOAD_OVER.as_ns() / length.as_ns();
                self.done.requests += count;
                self.done.time = self.done.time.plus(length.times(count));
                self.done.squares += length.squared_us2() * count;
                load(pair, self.done);
                pair.later(SPREAD_LOAD_OVER);
            }
            pair.engine.dispatcher().give_back()
        }
    }

    #[test]
    fn requests_are_spread_while_they_would_wait_otherwise() {
        let mut pair = pair(Dispatch::Auto);
        assert_eq!(pair.engine.dispatcher().give_back(), GiveBack::WhenLeaving);
        begins(&mut pair, 0);
        let mut workers = HalfBusy { done: WorkDone::default() };
        let mut told = |pair: &mut Pair, us| workers.with(pair, Span::from_us(us));
        assert_eq!(told(&mut pair, 900), GiveBack::WhenLeaving, "nobody else could wait");
        begins(&mut pair, 1);
        // Half of the time they find a request that is half over.
        for (us, wanted) in [
            (45, GiveBack::WhenLeaving),
            (95, GiveBack::WhenLeaving),
            (105, GiveBack::Always),
            (55, GiveBack::Always),
            (45, GiveBack::WhenLeaving),
        ] {
            assert_eq!(told(&mut pair, us), wanted, "{us} us");
        }
    }

    #[test]
    fn of_workers_that_serve_many_at_once_nothing_is_reckoned() {
        for (concurrency, wanted) in [(1, GiveBack::Always), (2, GiveBack::WhenLeaving)] {
            let mut pair = Pair::serving(JBSQ, concurrency);
            begins(&mut pair, 0);
            begins(&mut pair, 1);
            let told = HalfBusy { done: WorkDone::default() }.with(&mut pair, Span::from_ms(9));
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn who_finds_nobody_busy_does_not_wait() {
        let mut pair = pair(Dispatch::Auto);
        pair.arrives(0);
        pair.arrives(1);
        let mut done = WorkDone::default();
        for _ in 0..30 {
            done.requests += 1;
            done.time = done.time.plus(Span::from_us(400));
            done.squares += Span::from_us(400).squared_us2();
            load(&mut pair, done);
            pair.later(SPREAD_EVERY_IDLE);
        }
        assert_eq!(pair.engine.dispatcher().give_back(), GiveBack::WhenLeaving);
    }

    #[test]
    fn one_long_request_is_seen_before_it_ends_and_is_not_soon_forgotten() {
        let mut pair = pair(Dispatch::Auto);
        pair.arrives(0);
        pair.arrives(1);
        assert!(pair.engine.deadline().is_some_and(|at| at <= pair.now.after(SPREAD_EVERY_IDLE)));
        let long = Span::from_ms(50);
        let mut done = WorkDone { requests: 0, time: long, squares: long.squared_us2() };
        load(&mut pair, done);
        pair.later(SPREAD_EVERY);
        assert_eq!(pair.engine.dispatcher().give_back(), GiveBack::Always);
        for _ in 0..3 {
            done.requests += 100;
            done.time = done.time.plus(Span::from_ms(1));
            load(&mut pair, done);
            pair.later(SPREAD_EVERY);
            assert_eq!(pair.engine.dispatcher().give_back(), GiveBack::Always);
        }
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
            assert_eq!(pair.engine.dispatcher().accept_room() == 0, copies_max == 1);
            pair.later(patience);
            assert_eq!(pair.others.last(), Some(&Action::Expire(ticket)));
            pair.step(Input::HungUp(ticket));
            assert_eq!(pair.others.last(), Some(&Action::Retire { ticket, strays: Strays::None }));
        }
    }

    #[test]
    fn who_asks_before_it_is_let_go_is_served() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        let (ticket, _) = pair.offers[0];
        answers(&mut pair, 0);
        pair.later(PARKED_AFTER);
        assert_eq!(pair.others.last(), Some(&Action::Expire(ticket)));
        pair.step(Input::Readable { ticket, route: None });
        pair.later(Span::ZERO);
        assert_eq!(pair.offers.last().map(|(offered, _)| *offered), Some(ticket));
        assert!(!pair.others.contains(&Action::Retire { ticket, strays: Strays::None }));
    }

    #[test]
    fn no_more_are_let_go_than_there_is_need_for() {
        let many = 4 * ACCEPT_BATCH;
        let mut pair = Pair::lending(JBSQ, Dispatch::Request, many);
        for index in 0..many {
            pair.arrives(index);
            answers(&mut pair, index as usize);
        }
        assert_eq!(pair.engine.dispatcher().accept_room(), 0);
        pair.later(SILENT_AFTER_FULL);
        let is_expire = |action: &&Action| matches!(action, Action::Expire(_));
        assert_eq!(pair.others.iter().filter(is_expire).count(), 4, "of 64 there is room for one");
    }

    #[test]
    fn who_leaves_between_two_requests_has_had_its_service() {
        let mut pair = pair(Dispatch::Request);
        pair.arrives(0);
        let (ticket, _) = pair.offers[0];
        answers(&mut pair, 0);
        pair.step(Input::HungUp(ticket));
        assert_eq!(pair.others.last(), Some(&Action::Retire { ticket, strays: Strays::None }));
        let counters = pair.engine.dispatcher().counters();
        assert_eq!((counters.closed, counters.hung_up), (1, 0));
    }

    #[test]
    fn at_the_end_workers_say_goodbye_themselves() {
        let mut pair = pair(Dispatch::Request);
        assert!(pair.others.contains(&Action::GiveBack(GiveBack::Always)));
        pair.arrives(0);
        let (ticket, _) = pair.offers[0];
        answers(&mut pair, 0);
        pair.step(Input::Command(Command::Stop));
        assert_eq!(pair.engine.dispatcher().give_back(), GiveBack::Never);
        pair.step(Input::ListenersClosed);
        assert!(pair.others.iter().all(|other| !matches!(other, Action::Drain(_))));
        pair.later(SILENT_AFTER_STOP);
        assert!(pair.others.contains(&Action::Expire(ticket)));
        pair.step(Input::HungUp(ticket));
        assert!(pair.others.iter().any(|other| matches!(other, Action::Drain(_))));
    }
}
