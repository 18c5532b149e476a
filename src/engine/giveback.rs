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
