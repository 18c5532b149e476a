//! Connections that come in, and how those end that no worker ever gets.

use super::super::action::{Action, Actions};
use super::super::event::Event;
use super::super::input::FirstSpeaker;
use super::Dispatcher;
use super::ledger::Place;
use crate::limits::ACCEPT_PAUSE;
use crate::units::{Mono, Route, Ticket};

impl Dispatcher {
    pub(in super::super) fn arrived(
        &mut self,
        now: Mono,
        ticket: Ticket,
        first_speaker: FirstSpeaker,
        out: &mut Actions,
    ) {
        self.counters.arrived += 1;
        self.ledger.enter(ticket, Place::Watched { since: now });
        match first_speaker {
            FirstSpeaker::Client => out.push(Action::Watch(ticket)),
            FirstSpeaker::Server => self.ledger.asks(ticket, self.classes.demand(now, None)),
        }
    }

    pub(in super::super) fn accept_exhausted(&mut self, now: Mono, out: &mut Actions) {
        if self.accepts_fail.is_felt(now) {
            out.emit(Event::AcceptPaused);
        }
        self.accept_paused_until = Some(now.after(ACCEPT_PAUSE));
    }

    pub(in super::super) fn watch_failed(&mut self, now: Mono, out: &mut Actions) {
        if self.watches_fail.is_felt(now) {
            out.emit(Event::WatchesFail);
        }
    }

    pub(in super::super) fn readable(&mut self, now: Mono, ticket: Ticket, route: Option<Route>) {
        match self.ledger.place(ticket) {
            // One that was to be let go of has spoken before it was.
            Some(Place::Watched { .. } | Place::Parked { .. } | Place::Expiring) => {
                let demand = self.classes.demand(now, route);
                self.ledger.asks(ticket, demand);
            }
            Some(Place::Held | Place::Offered { .. } | Place::Delivered { .. }) | None => {}
        }
    }

    pub(in super::super) fn hung_up(&mut self, ticket: Ticket, out: &mut Actions) {
        match self.ledger.place(ticket) {
            Some(Place::Watched { .. }) => {
                self.counters.hung_up += 1;
                self.strike(ticket, out);
            }
            Some(Place::Expiring) => self.let_go(ticket, out),
            Some(Place::Parked { .. }) => self.left(ticket, out),
            Some(Place::Held | Place::Offered { .. } | Place::Delivered { .. }) | None => {}
        }
    }

    /// Ends what was paused for a while, and tells it where the log knows of it.
    pub(super) fn end_pauses(&mut self, now: Mono, out: &mut Actions) {
        if self.accept_paused_until.is_some_and(|until| until <= now) {
            self.accept_paused_until = None;
        }
        let told = if self.is_full() {
            self.accepts_fail.is_felt(now).then_some(Event::AcceptPaused)
        } else {
            self.accepts_fail.is_over(now).then_some(Event::AcceptResumed)
        };
        if let Some(event) = told {
            out.emit(event);
        }
        if self.offers_paused_until.is_some_and(|until| until <= now) {
            self.offers_paused_until = None;
        }
        if self.offers_fail.is_over(now) {
            out.emit(Event::OffersResumed);
        }
        if self.watches_fail.is_over(now) {
            out.emit(Event::WatchesResumed);
        }
    }

    /// Lets go of clients that have said nothing for too long.
    pub(super) fn expire_silent(&mut self, now: Mono, out: &mut Actions) {
        while let Some(ticket) = self.ledger.oldest_watched() {
            let Some(Place::Watched { since }) = self.ledger.place(ticket) else { break };
            if now < since.after(self.silent_after()) {
                break;
            }
            self.ledger.move_to(ticket, Place::Expiring);
            out.push(Action::Expire(ticket));
        }
    }

    /// When the next one is let go of, if nothing else happens.
    pub(super) fn silent_deadline(&self) -> Option<Mono> {
        match self.ledger.place(self.ledger.oldest_watched()?)? {
            Place::Watched { since } => Some(since.after(self.silent_after())),
            Place::Parked { .. }
            | Place::Expiring
            | Place::Held
            | Place::Offered { .. }
            | Place::Delivered { .. } => None,
        }
    }

    /// Tells that no more may wait, or that more may.
    pub(super) fn tell_hold(&mut self, now: Mono, out: &mut Actions) {
        let full = self.is_hold_full();
        if if full { self.hold_full.is_felt(now) } else { self.hold_full.is_over(now) } {
            out.emit(Event::Hold { full });
        }
    }
}
