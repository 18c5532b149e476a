//! Who gets which connection. It knows connections, and the members that may be given them; which
//! processes those are, and which should be, is the supervisor's business: see [`super::members`].

mod abandoned;
mod arrivals;
pub mod classes;
pub mod demand;
pub mod depth;
pub mod giveback;
pub mod ledger;
pub mod member;
mod messages;
mod offers;
pub mod overload;
pub mod policy;
mod rebalance;
mod recalls;
mod room;
mod team;
mod want;

use alloc::vec::Vec;

use self::classes::Classes;
use self::depth::Gauge;
use self::giveback::{Dispatch, Spreading};
use self::ledger::{Ledger, Place};
use self::member::{Attention, Duty, Member};
use self::overload::Overload;
use self::policy::{Candidates, Policy, Selector};
use self::want::Want;
use super::action::{Action, Actions};
use super::members::{Backlog, MemberReport};
use super::workers::Workers;
use crate::limits::TICKETS_MAX;
use crate::units::{Mono, SlotId, Span, Ticket, WorkerId};

/// How connections are dispatched, as the user decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Who gets the next connection.
    pub policy: Policy,
    /// One weight per slot; a grown slot has weight 1.
    pub weights: Vec<u32>,
    /// What is dispatched.
    pub dispatch: Dispatch,
    /// Whether short requests go before long ones.
    pub classes: bool,
    /// Connections that may wait in the master.
    pub hold_max: u32,
    /// Connections that the master may have a descriptor of, besides the workers of these slots.
    pub copies_max: u32,
    /// What of that each further slot takes.
    pub slot_cost: u32,
    /// What happens beyond that.
    pub overload: Overload,
    /// How long a worker that serves nothing may leave offers unclaimed before it is replaced.
    pub stall_timeout: Span,
}

/// The half of the engine that dispatches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dispatcher {
    rules: Rules,
    ledger: Ledger,
    members: Workers<Member>,
    /// Who takes what goes to each slot.
    employed: Vec<Option<WorkerId>>,
    /// Derived from members; what a pick reads.
    candidates: Candidates,
    selector: Selector,
    gauge: Gauge,
    /// How often workers came too late for an offer since one came in time.
    late: u32,
    /// Derived from the gauge: requests beyond a worker's concurrency less one.
    depth: u32,
    /// Derived from the gauge: requests that an idle worker counts as, since it must be woken.
    cost_of_waking: u32,
    spread: Spreading,
    classes: Classes,
    gate: Gate,
    accept_paused_until: Option<Mono>,
    offers_paused_until: Option<Mono>,
    /// What the log knows of accepts that fail, of offers and waits that do, and of a full hold
    /// queue.
    accepts_fail: Want,
    offers_fail: Want,
    watches_fail: Want,
    hold_full: Want,
    counters: Counters,
    /// What the supervisor has not been told yet; nothing between two steps.
    reports: Vec<MemberReport>,
}

/// Whether connections come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gate {
    /// They do.
    Open,
    /// None is accepted any more.
    Closed,
    /// Nor does any that is here get a worker.
    Abandoned,
}

/// What has happened so far. Together with the ledger's lists these obey the custody law.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Connections that came in.
    pub arrived: u64,
    /// Connections that workers closed or died with, or that ended between two requests.
    pub closed: u64,
    /// Connections whose clients left without having said anything, or before anybody began with
    /// what they had.
    pub hung_up: u64,
    /// Connections that were turned away: no more might wait.
    pub rejected: u64,
    /// Connections that the master closed: silent for too long, or waiting at its end.
    pub expired: u64,
    /// Connections that workers have taken for good, which do not say when one ends.
    pub handed_over: u64,
    /// Of the closed ones, those that died with a worker that had begun with them.
    pub lost: u64,
    /// Connections saved from a dead worker.
    pub recovered: u64,
    /// Offers taken back from a live worker.
    pub recalled: u64,
    /// Offers made.
    pub offered: u64,
    /// Connections that workers gave back between two requests.
    pub given_back: u64,
}

impl Dispatcher {
    /// A dispatcher without connections and without members.
    pub fn new(rules: Rules) -> Self {
        let mut candidates = Candidates::new(rules.weights.len());
        for (slot, weight) in (0..).map(SlotId).zip(&rules.weights) {
            candidates.set_weight(slot, *weight);
        }
        let mut dispatcher = Self {
            ledger: Ledger::default(),
            members: Workers::new(),
            employed: rules.weights.iter().map(|_| None).collect(),
            candidates,
            selector: rules.policy.selector(),
            gauge: Gauge::default(),
            late: 0,
            depth: 0,
            cost_of_waking: 0,
            spread: Spreading::default(),
            classes: Classes::default(),
            gate: Gate::Open,
            accept_paused_until: None,
            offers_paused_until: None,
            accepts_fail: Want::default(),
            offers_fail: Want::default(),
            watches_fail: Want::default(),
            hold_full: Want::default(),
            counters: Counters::default(),
            reports: Vec::new(),
            rules,
        };
        dispatcher.measure_depth();
        dispatcher
    }

    /// What it has noticed of members since this was last asked, the earliest first.
    pub(super) fn next_report(&mut self) -> Option<MemberReport> {
        (!self.reports.is_empty()).then(|| self.reports.remove(0))
    }

    /// Deadlines of connections, and of the members' attention.
    pub(super) fn tick(&mut self, now: Mono, out: &mut Actions) {
        self.end_pauses(now, out);
        self.expire_silent(now, out);
        self.expire_parked(now, out);
        self.decide_on_spreading(now);
        self.recall_unclaimed(now, out);
        self.give_up_on_silence(now);
        self.retry_full(now);
    }

    /// The end of a turn, in which all that happened has been told: places what can be placed.
    pub(super) fn place(&mut self, now: Mono, out: &mut Actions) {
        self.place_held(now, out);
        self.tell_hold(now, out);
        self.refuse_surplus(out);
        self.rebalance(now, out);
    }

    /// The end of a step.
    pub(super) fn settle(&mut self, out: &mut Actions) {
        if self.gate == Gate::Abandoned {
            self.let_go_of_held(out);
        }
        self.tell_give_back(out);
        debug_assert!(self.custody_holds(), "custody: {:?} {:?}", self.counters, self.ledger);
    }

    /// When it next wants a tick, if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let members = self.members().flat_map(|(_, member)| {
            let given_up = member.gives_up_at(self.rules.stall_timeout);
            [member.attention.deadline(), given_up].into_iter().flatten()
        });
        let rest = [
            self.silent_deadline(),
            self.parked_deadline(),
            self.spread_deadline(),
            self.oldest_offer().map(|(_, _, at)| at.after(self.recall_after())),
            self.accept_paused_until,
            self.offers_paused_until,
            self.rebalance_deadline(),
            // Descriptors that are all in use stay so until something happens.
            self.accepts_fail.deadline().filter(|_| !self.is_full()),
            self.offers_fail.deadline(),
            self.watches_fail.deadline(),
            // So does a queue that is full.
            self.hold_full.deadline().filter(|_| !self.is_hold_full()),
        ];
        members.chain(rest.into_iter().flatten()).min()
    }

    /// How many connections may be accepted now, all listeners together.
    pub fn accept_room(&self) -> u32 {
        if self.accept_paused_until.is_some() || self.gate != Gate::Open {
            return 0;
        }
        let hold_room = match self.rules.overload {
            Overload::Hold => self.rules.hold_max.saturating_sub(self.waiting()),
            Overload::Reject => u32::MAX,
        };
        let room = TICKETS_MAX.saturating_sub(self.live());
        hold_room.min(room).min(self.copies_max().saturating_sub(self.copies()))
    }

    /// Whether a worker's word may change what the master does next: whether a worker must wake
    /// the master for it.
    pub fn awaits_messages(&self) -> bool {
        0 < self.ledger.held()
            || self.gate != Gate::Open
            // Only an end makes room for another beginning.
            || self.is_full()
            || TICKETS_MAX <= self.live()
    }

    /// Whether the next step should be preceded by fresh accounts of the workers.
    pub fn reads_loads(&self, now: Mono) -> bool {
        self.rules.policy.reads_loads()
            || self.oldest_offer().is_some_and(|(_, _, at)| self.recall_after() <= now.since(at))
            || self
                .members()
                .any(|(_, member)| matches!(member.attention, Attention::Overdue { .. }))
    }

    /// What is in the way of a stop.
    pub(super) fn backlog(&self) -> Backlog {
        let held = self.ledger.held();
        let waiting = self.waiting() + self.ledger.parked();
        Backlog { held, waiting, offered: self.ledger.offered() }
    }

    /// What has happened so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The ledger, to look at.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The rules in force.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is known of classes.
    pub const fn classes(&self) -> &Classes {
        &self.classes
    }

    /// What is derived is derived again.
    pub(super) fn derive(&mut self) {
        let weights = self.candidates.weights().to_vec();
        self.candidates = Candidates::new(self.employed.len());
        for (slot, weight) in (0..).map(SlotId).zip(weights) {
            self.candidates.set_weight(slot, weight);
        }
        self.refresh_all();
    }

    /// Every invariant that the dispatcher's state alone can show.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_invariants(&self) {
        self.ledger.check();
        assert!(self.custody_holds(), "custody: {:?}", self.counters);
        assert!(self.reports.is_empty(), "nobody has heard of {:?}", self.reports);
        for (id, member) in self.members() {
            let offers = self.ledger.offers_of(id).len();
            assert_eq!(member.offered as usize, offers, "offers of {id} have lost count");
            assert_eq!(member.longs, self.longs_of(id), "long requests of {id} have lost count");
        }
        for (slot, employed) in (0..).map(SlotId).zip(&self.employed) {
            let there = employed.is_none_or(|id| {
                self.member(id).is_some_and(|it| it.slot == slot && it.duty == Duty::Employed)
            });
            assert!(there, "{employed:?} is not employed in {slot}");
        }
        let mut restored = self.clone();
        restored.refresh_all();
        assert!(
            restored.candidates.agrees_with(&self.candidates),
            "the candidates lag behind the members"
        );
    }

    /// arrived = watched + parked + expiring + held + offered + delivered
    ///     + closed + hung up + rejected + expired + handed over
    fn custody_holds(&self) -> bool {
        let Counters { arrived, closed, hung_up, rejected, expired, handed_over, .. } =
            self.counters;
        let ended = closed + hung_up + rejected + expired + handed_over;
        arrived == u64::from(self.live()) + ended
    }

    /// Ends a connection that the master waits for no longer.
    fn let_go(&mut self, ticket: Ticket, out: &mut Actions) {
        self.counters.expired += 1;
        self.strike(ticket, out);
    }

    /// Strikes a ticket out that ends with the master, not with a worker.
    fn strike(&mut self, ticket: Ticket, out: &mut Actions) {
        let strays = self.ledger.strike(ticket);
        out.push(Action::Retire { ticket, strays });
    }

    /// Nobody will be there for what waits.
    fn abandon(&mut self, out: &mut Actions) {
        self.gate = Gate::Abandoned;
        self.let_go_of_held(out);
        while let Some(ticket) = self.ledger.oldest_watched() {
            self.ledger.move_to(ticket, Place::Expiring);
            out.push(Action::Expire(ticket));
        }
    }

    fn let_go_of_held(&mut self, out: &mut Actions) {
        while let Some(ticket) = self.ledger.any_held() {
            self.let_go(ticket, out);
        }
    }
}
