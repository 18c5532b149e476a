//! Short requests first. Where the shell tells what a request asks for (its route), the engine
//! learns how long each route takes, calls those long that take a multiple of what is common, and
//! holds the two classes apart: what is short goes first, some workers are kept free of long ones,
//! and nothing waits behind a long one. It is Persephone's idea (DARC, SOSP 2021), with two classes
//! that are learnt and a hold queue that is late anyway.
//!
//! # Nobody starves
//!
//! A long request that has waited [`LONG_PATIENCE`] times its own length, or [`LONG_PATIENCE_MAX`],
//! goes before short ones, but for those that have waited longer than it. So a class that asks for
//! more than there is gets what it would get in one queue for all, and the other one no less.
//!
//! # Who is kept free
//!
//! With `k` workers long requests may run on `k - r` at once. They need as many workers on average
//! as arrive of them per second times their length, and what waits of them already; `r` is 1 while
//! that is well below `k - 1` (scheduling.md, T6: with fewer the long ones are unstable), else
//! none. Where workers serve many requests at once, none is kept free: a long one keeps nobody from
//! it.

use alloc::vec::Vec;

use super::Dispatcher;
use super::demand::{Class, Demand};
use super::ledger::{Credit, Place};
use crate::limits::{
    LONG_ABOVE, LONG_BELOW, LONG_LOAD_EVERY, LONG_LOAD_OVER, LONG_PATIENCE, LONG_PATIENCE_MAX,
    RESERVE_ABOVE, RESERVE_BELOW, ROUTES_MAX,
};
use crate::units::{Mono, Route, Span, Ticket, WorkerId};

/// What has been learnt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Classes {
    /// In sets of [`WAYS`]; empty until the first route is told.
    routes: Vec<Known>,
    /// The logarithms of service times, in [`OCTAVE`]ths of octaves, and how many there are: their
    /// mean is what is common.
    logs: u64,
    measured: u64,
    /// Long work that has come in since it was measured.
    come: Span,
    measured_at: Mono,
    /// Workers that long requests keep busy, a running mean in [`FULL`]ths.
    load: u64,
    /// Whether a worker is kept free of them, as last decided.
    reserves: bool,
}

/// What is known of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Known {
    route: Option<Route>,
    /// How well it holds its place against newcomers.
    uses: u8,
    class: Class,
    /// A running mean.
    service: Span,
}

/// Places that a route may have in the table.
const WAYS: usize = 4;
/// Parts of an octave.
const OCTAVE: u64 = 256;
/// Parts of a worker.
const FULL: u64 = 1_024;
/// Requests that the mean service of a route remembers.
const MEMORY: u64 = 16;
/// One request counts as so many times the mean at most: a client that reads its answer slowly does
/// not make a route long for everybody.
const OUTLIER: u64 = 8;
/// Requests that what is common remembers, half of them for sure.
const COMMON_MEMORY: u64 = 4_096;

impl Classes {
    /// A request comes in. What it wants, as far as is known.
    pub fn demand(&mut self, now: Mono, route: Option<Route>) -> Demand {
        let common = self.common();
        let known = route.and_then(|route| self.known(route));
        let (class, service) =
            known.map_or((Class::Short, Span::ZERO), |known| (known.judge(common), known.service));
        match class {
            Class::Short => {}
            Class::Long => self.come = self.come.plus(service),
        }
        let overdue_at = now.after(service.times(LONG_PATIENCE).min(LONG_PATIENCE_MAX));
        Demand { class, route, since: now, overdue_at }
    }

    /// A request of this route has taken so long.
    pub fn learn(&mut self, route: Route, service: Span) {
        self.logs += octaves(service);
        self.measured += 1;
        if COMMON_MEMORY < self.measured {
            self.logs /= 2;
            self.measured /= 2;
        }
        if self.routes.is_empty() {
            self.routes.resize(ROUTES_MAX, Known::NOTHING);
        }
        let Some(known) = self.place_of(route) else { return };
        known.uses = known.uses.saturating_add(1);
        let before = known.service;
        known.service = match known.route.replace(route) {
            None => service,
            Some(_) => {
                let sample = service.min(before.times(OUTLIER)).as_ns();
                Span::from_ns(before.as_ns() - before.as_ns() / MEMORY + sample / MEMORY)
            }
        };
    }

    /// Whether it is time to measure again.
    pub fn is_measure_due(&self, now: Mono) -> bool {
        LONG_LOAD_EVERY <= now.since(self.measured_at)
    }

    /// Brings up to date how many workers long requests keep busy, and decides whether one of so
    /// many is kept free of them, while so much long work waits.
    pub fn measure(&mut self, now: Mono, workers: u32, waits: Span) {
        let passed = now.since(self.measured_at);
        let come = core::mem::take(&mut self.come);
        let sample = come.times(FULL).as_ns() / passed.as_ns().max(1);
        let weight = passed.min(LONG_LOAD_OVER);
        let (new, old) = (weight.as_ns(), LONG_LOAD_OVER.less(weight).as_ns());
        let total = u128::from(sample) * u128::from(new) + u128::from(self.load) * u128::from(old);
        let mean = total / u128::from(LONG_LOAD_OVER.as_ns());
        // However much has come at once, more than all workers it cannot keep busy.
        self.load = u64::try_from(mean).unwrap_or(u64::MAX).min(u64::from(workers) * FULL);
        self.measured_at = now;
        let backlog = waits.times(FULL).as_ns() / LONG_LOAD_OVER.as_ns();
        let others = u64::from(workers.saturating_sub(1));
        let most = if self.reserves { RESERVE_BELOW } else { RESERVE_ABOVE };
        self.reserves = self.load.saturating_add(backlog) < others * FULL * most / 100;
    }

    /// Workers that are kept free of long requests.
    pub const fn reserved(&self) -> u32 {
        self.reserves as u32
    }

    /// Routes that are known, and those of them that are long.
    pub fn routes(&self) -> (u32, u32) {
        let known = self.routes.iter().filter(|known| known.route.is_some());
        known.fold((0, 0), |(all, long), known| {
            (all + 1, long + u32::from(known.class == Class::Long))
        })
    }

    fn common(&self) -> u64 {
        self.logs / self.measured.max(1)
    }

    fn known(&mut self, route: Route) -> Option<&mut Known> {
        self.routes.get_mut(ways(route))?.iter_mut().find(|known| known.route == Some(route))
    }

    /// Where a route has its place, or gets one. Whoever is used often gives his up only to one who
    /// comes often, so that a client which makes routes up does not push out those that matter.
    fn place_of(&mut self, route: Route) -> Option<&mut Known> {
        let set = self.routes.get_mut(ways(route))?;
        let own = set.iter().position(|known| known.route == Some(route));
        let at = own.or_else(|| (0..set.len()).min_by_key(|at| set[*at].uses))?;
        let known = &mut set[at];
        if own.is_none() {
            if let Some(uses) = known.uses.checked_sub(1) {
                known.uses = uses;
                return None;
            }
            *known = Known::NOTHING;
        }
        Some(known)
    }
}

impl Dispatcher {
    /// Looks from time to time whether a worker is to be kept free of long requests.
    pub(super) fn measure_classes(&mut self, now: Mono) {
        if !self.rules.classes || !self.classes.is_measure_due(now) {
            return;
        }
        let workers = if self.concurrency() == 1 { self.strength() } else { 0 };
        let head = self.ledger.oldest_held(Class::Long).map(|ticket| self.ledger.demand(ticket));
        let each = head.map_or(Span::ZERO, |demand| demand.overdue_at.since(demand.since));
        let held = u64::from(self.ledger.held_of(Class::Long));
        let waits = Span::from_ns(each.as_ns() / LONG_PATIENCE).times(held);
        self.classes.measure(now, workers, waits);
    }

    /// What is placed next, if somebody has room: the oldest short request, or a long one if `long`
    /// may run, and has waited too long or has no short one before it.
    pub(super) fn next_held(&self, now: Mono, long: bool) -> Option<Ticket> {
        let short = self.ledger.oldest_held(Class::Short);
        let long = self.ledger.oldest_held(Class::Long).filter(|_| long);
        let (Some(first), Some(other)) = (short, long) else { return short.or(long) };
        let (before, after) = (self.ledger.demand(first), self.ledger.demand(other));
        let overdue = after.overdue_at <= now && after.since < before.since;
        Some(if overdue { other } else { first })
    }

    /// Whether anything that is held could be placed, if somebody had room.
    pub(super) fn has_placeable(&self) -> bool {
        0 < self.ledger.held_of(Class::Short) || 0 < self.room_for_long()
    }

    /// How many more long requests may run; none where none waits. One worker at least is for them.
    /// What runs on a worker that is stopped or leaves takes nobody's place.
    pub(super) fn room_for_long(&self) -> u32 {
        if self.ledger.held_of(Class::Long) == 0 {
            return 0;
        }
        let workers = self.strength().saturating_sub(self.classes.reserved()).max(1);
        let running: u32 = self.employed().map(|member| member.longs).sum();
        workers.saturating_mul(self.concurrency()).saturating_sub(running)
    }

    /// Requests that each worker serves at once, at least.
    pub(super) fn concurrency(&self) -> u32 {
        self.employed().map(|member| member.terms.concurrency).min().unwrap_or(1)
    }

    /// Takes in how long a request took, if its route is known and this was not told before.
    pub(super) fn learn(&mut self, ticket: Ticket, service_us: u32) {
        if let Some(route) = self.ledger.demand(ticket).route
            && 0 < service_us
        {
            self.ledger.measured(ticket);
            self.classes.learn(route, Span::from_us(service_us.into()));
        }
    }

    /// 1 for a connection whose request is long, else 0.
    pub(super) fn long(&self, ticket: Ticket) -> u32 {
        u32::from(self.ledger.demand(ticket).class == Class::Long)
    }

    /// Long requests that are offered to a worker or run there, counted anew.
    pub(super) fn longs_of(&self, id: WorkerId) -> u32 {
        let offered = self.ledger.offers_of(id);
        let delivered = self.ledger.deliveries_of(id).into_iter().filter(|ticket| {
            matches!(
                self.ledger.place(*ticket),
                Some(Place::Delivered { credit: Credit::Holds, .. })
            )
        });
        offered.into_iter().chain(delivered).map(|ticket| self.long(ticket)).sum()
    }
}

impl Known {
    const NOTHING: Self = Self { route: None, uses: 0, class: Class::Short, service: Span::ZERO };

    /// Its class, where this is common; in doubt it stays what it was.
    fn judge(&mut self, common: u64) -> Class {
        let least = match self.class {
            Class::Short => LONG_ABOVE,
            Class::Long => LONG_BELOW,
        };
        let longer = octaves(self.service).saturating_sub(common);
        self.class = if least <= longer { Class::Long } else { Class::Short };
        self.class
    }
}

/// The places that a route may have.
const fn ways(route: Route) -> core::ops::Range<usize> {
    let first = route.0 as usize % (ROUTES_MAX / WAYS) * WAYS;
    first..first + WAYS
}

/// The binary logarithm of a length of time in microseconds, between two powers of two along a
/// straight line: no more than a twelfth of an octave off, which is all the same here.
fn octaves(span: Span) -> u64 {
    let us = span.as_us().max(1);
    let whole = us.ilog2();
    let part = ((u128::from(us) * u128::from(OCTAVE)) >> whole) - u128::from(OCTAVE);
    u64::from(whole) * OCTAVE + u64::try_from(part).unwrap_or(0)
}

const _: () = assert!(ROUTES_MAX.is_multiple_of(WAYS));
const _: () = assert!(LONG_BELOW < LONG_ABOVE && RESERVE_ABOVE < RESERVE_BELOW);

#[cfg(test)]
mod tests {
    use super::super::super::input::{Input, Message};
    use super::super::super::pair::Pair;
    use super::super::policy::{Depth, Policy};
    use super::*;

    const QUICK: Route = Route(1);
    const SLOW: Route = Route(2);

    /// What is learnt from a mix of the two, one in so many slow.
    fn taught(quick: Span, slow: Span, one_in: u32) -> Classes {
        let mut classes = Classes::default();
        for number in 0..5_000 {
            let is_slow = number % one_in == 0;
            classes.learn(if is_slow { SLOW } else { QUICK }, if is_slow { slow } else { quick });
        }
        classes
    }

    fn class_of(classes: &Classes, route: Route) -> Class {
        classes.clone().demand(Mono::ZERO, Some(route)).class
    }

    #[test]
    fn what_takes_a_multiple_of_what_is_common_is_long() {
        for (quick, slow, one_in) in [(1_000, 100_000, 100), (50, 500, 10), (500, 500_000, 200)] {
            let classes = taught(Span::from_us(quick), Span::from_us(slow), one_in);
            assert_eq!(class_of(&classes, SLOW), Class::Long, "{slow} among {quick}");
            assert_eq!(class_of(&classes, QUICK), Class::Short);
            assert_eq!(class_of(&classes, Route(3)), Class::Short, "nobody knows it");
        }
        let alike = taught(Span::from_us(900), Span::from_us(1_500), 2);
        assert_eq!(class_of(&alike, SLOW), Class::Short);
        assert_eq!(alike.routes(), (2, 0));
        assert_eq!(Classes::default().demand(Mono::ZERO, None), Demand::UNKNOWN);
    }

    #[test]
    fn a_route_that_becomes_quick_is_short_again_and_not_at_the_first_sign() {
        let mut classes = taught(Span::from_us(1_000), Span::from_us(100_000), 100);
        classes.learn(SLOW, Span::from_us(1_000));
        assert_eq!(class_of(&classes, SLOW), Class::Long);
        (0..200).for_each(|_| classes.learn(SLOW, Span::from_us(1_000)));
        assert_eq!(class_of(&classes, SLOW), Class::Short);
    }

    #[test]
    fn requests_much_longer_than_a_measurement_count_in_full() {
        let mut classes = taught(Span::from_us(1_000), Span::from_s(1), 100);
        for (every_ms, kept_free) in [(2_000, 1), (700, 0)] {
            let (mut now, mut next) = (classes.measured_at, classes.measured_at);
            for _ in 0..600 {
                now = now.after(LONG_LOAD_EVERY);
                if next <= now {
                    classes.demand(now, Some(SLOW));
                    next = now.after(Span::from_ms(every_ms));
                }
                classes.measure(now, 2, Span::ZERO);
            }
            assert_eq!(classes.reserved(), kept_free, "one of a second in {every_ms} ms");
        }
    }

    #[test]
    fn a_client_that_is_slow_makes_no_route_long() {
        let mut classes = taught(Span::from_us(1_000), Span::from_us(100_000), 100);
        classes.learn(QUICK, Span::from_s(60));
        assert_eq!(class_of(&classes, QUICK), Class::Short);
        let mut other = taught(Span::from_us(1_000), Span::from_us(100_000), 100);
        (0..200).for_each(|_| other.learn(QUICK, Span::from_us(100_000)));
        assert_eq!(class_of(&other, QUICK), Class::Long, "that is no exception any more");
    }

    #[test]
    fn behind_one_that_is_very_long_nobody_waits_for_as_long() {
        let mut classes = taught(Span::from_us(1_000), Span::from_s(60), 100);
        let demand = classes.demand(Mono::ZERO, Some(SLOW));
        assert_eq!(demand.class, Class::Long);
        assert_eq!(demand.overdue_at, Mono::ZERO.after(LONG_PATIENCE_MAX));
    }

    #[test]
    fn routes_that_are_made_up_do_not_push_out_those_that_are_used() {
        let mut classes = taught(Span::from_us(1_000), Span::from_us(100_000), 100);
        for number in 0..100_000 {
            classes.learn(Route(number + 10), Span::from_us(1_000));
            if number % 100 == 0 {
                classes.learn(SLOW, Span::from_us(100_000));
            }
        }
        assert_eq!(class_of(&classes, SLOW), Class::Long);
        let (routes, _) = classes.routes();
        assert!(routes as usize <= ROUTES_MAX);
    }

    /// A second of long requests that keep so many hundredths of a worker busy, again and again.
    fn loaded(classes: &mut Classes, hundredths: u64, workers: u32) -> u32 {
        let mut now = classes.measured_at;
        for _ in 0..60 {
            for _ in 0..hundredths / 10 {
                classes.demand(now, Some(SLOW));
            }
            now = now.after(Span::from_s(1));
            classes.measure(now, workers, Span::ZERO);
        }
        classes.reserved()
    }

    #[test]
    fn one_worker_is_kept_free_while_the_others_bear_the_long_ones() {
        let mut classes = taught(Span::from_us(1_000), Span::from_us(100_000), 100);
        assert_eq!(loaded(&mut classes, 160, 4), 1);
        assert_eq!(loaded(&mut classes, 80, 2), 1);
        assert_eq!(loaded(&mut classes, 90, 2), 1, "it stays as it was");
        assert_eq!(loaded(&mut classes, 100, 2), 0);
        assert_eq!(loaded(&mut classes, 90, 2), 0, "it stays as it was");
        assert_eq!(loaded(&mut classes, 80, 2), 1);
        assert_eq!(loaded(&mut classes, 10, 1), 0, "there are no others");
        assert_eq!(loaded(&mut classes, 0, 2), 1);
        let waits = LONG_LOAD_OVER.times(2);
        classes.measure(classes.measured_at.after(LONG_LOAD_EVERY), 2, waits);
        assert_eq!(classes.reserved(), 0, "what has come and waits is work too");
        assert_eq!(loaded(&mut classes, 2_000, 4), 0);
        assert!(classes.load <= 4 * FULL, "there is no more than all");
    }

    /// Two workers who have learnt that one route takes 10 ms and the other one; nothing runs.
    fn informed() -> Pair {
        let mut pair = Pair::classifying(Policy::Jbsq(Depth::Auto));
        for number in 0..40 {
            let (route, service_us) = if number == 0 { (SLOW, 10_000) } else { (QUICK, 1_000) };
            pair.asks(number, route);
            answers(&mut pair, number as usize, service_us);
        }
        pair.later(LONG_LOAD_EVERY);
        pair
    }

    fn answers(pair: &mut Pair, at: usize, service_us: u32) {
        let done = Message::Done { service_us };
        for message in [Message::Claimed { transit_us: 0 }, done, Message::Closed] {
            pair.says(at, message);
        }
    }

    /// The indices of the tickets offered from this one on, and whether to the first worker.
    fn offered(pair: &Pair, from: usize) -> Vec<(u32, bool)> {
        let offers = pair.offers[from..].iter();
        offers.map(|(ticket, to)| (ticket.index, *to == pair.workers[0])).collect()
    }

    #[test]
    fn one_worker_is_left_to_short_requests_and_nothing_waits_behind_a_long_one() {
        let mut pair = informed();
        (40..42).for_each(|index| pair.asks(index, SLOW));
        let [(40, busy)] = offered(&pair, 40)[..] else { panic!("{:?}", offered(&pair, 40)) };
        (42..46).for_each(|index| pair.asks(index, QUICK));
        assert_eq!(offered(&pair, 41), [(42, !busy), (43, !busy)], "two at once");
        answers(&mut pair, 41, 1_000);
        assert_eq!(offered(&pair, 43), [(44, !busy)]);
        answers(&mut pair, 40, 10_000);
        // The long one that waited is put off for what is short, but takes what is left over.
        assert_eq!(offered(&pair, 44), [(45, busy), (41, busy)]);
    }

    #[test]
    fn a_long_request_that_has_waited_for_long_goes_first() {
        // Also before those of whom nothing is known, since their servers speak first.
        for comes in [|pair: &mut Pair, index| pair.asks(index, QUICK), Pair::arrives] {
            let mut pair = informed();
            (40..42).for_each(|index| pair.asks(index, SLOW));
            pair.later(Span::from_ms(10 * LONG_PATIENCE));
            (42..46).for_each(|index| comes(&mut pair, index));
            answers(&mut pair, 40, 10_000);
            let [(42, free), (43, _), (41, busy), ..] = offered(&pair, 41)[..] else {
                panic!("{:?}", offered(&pair, 41))
            };
            assert_ne!(free, busy);
        }
    }

    #[test]
    fn what_runs_on_a_worker_that_is_stopped_takes_nobodys_place() {
        let mut pair = informed();
        (40..42).for_each(|index| pair.asks(index, SLOW));
        let [(40, busy)] = offered(&pair, 40)[..] else { panic!("{:?}", offered(&pair, 40)) };
        pair.says(40, Message::Claimed { transit_us: 0 });
        pair.step(Input::Stopped(pair.workers[usize::from(!busy)]));
        // The one that is left cannot be kept free.
        pair.later(LONG_LOAD_EVERY);
        assert_eq!(offered(&pair, 41), [(41, !busy)]);
    }

    #[test]
    fn what_is_told_twice_is_learnt_once_and_who_dies_holds_nobody_up() {
        let mut pair = informed();
        pair.asks(40, SLOW);
        let (_, worker) = pair.offers[40];
        assert_eq!(pair.engine.dispatcher().member(worker).unwrap().longs, 1);
        pair.says(40, Message::Claimed { transit_us: 0 });
        pair.step(Input::Exited { worker, exit: super::super::super::input::Exit::Failed });
        assert!(pair.engine.dispatcher().members().all(|(_, worker)| worker.longs == 0));
    }

    #[test]
    fn a_logarithm_rises_without_leaps() {
        assert_eq!(octaves(Span::ZERO), 0);
        assert_eq!(octaves(Span::from_us(8)), 3 * OCTAVE);
        assert_eq!(octaves(Span::from_us(12)), 3 * OCTAVE + OCTAVE / 2);
        assert!(octaves(Span::from_ns(u64::MAX)) < 55 * OCTAVE);
        let logs: Vec<_> = (1..5_000).map(|us| octaves(Span::from_us(us))).collect();
        assert!(logs.is_sorted());
    }
}
