//! The way of a connection through the engine: arrival, hold queue, pick, offer, claim, and back
//! to the hold queue when a worker leaves it lying.

use super::Engine;
use super::action::{Action, Actions, Strays};
use super::event::Event;
use super::input::{FirstSpeaker, Load, Message, OfferRefusal};
use super::ledger::{ClaimLearnt, Credit, Custody, Place, Reason, Recall};
use super::policy::{Binder, Rebinds, Select};
use super::worker::{Attention, WorkerRecord, WorkerState};
use crate::limits::{
    ACCEPT_PAUSE, OFFER_PAUSE, RECALL_AFTER, RECALL_AFTER_FIXED, RECALL_DOUBLINGS_MAX, TICKETS_MAX,
};
use crate::units::{Mono, Route, Span, Ticket, WorkerId};

impl Engine {
    pub(super) fn arrived(
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

    pub(super) fn accept_exhausted(&mut self, now: Mono, out: &mut Actions) {
        if self.accepts_fail.is_felt(now) {
            out.emit(Event::AcceptPaused);
        }
        self.accept_paused_until = Some(now.after(ACCEPT_PAUSE));
    }

    pub(super) fn watch_failed(&mut self, now: Mono, out: &mut Actions) {
        if self.watches_fail.is_felt(now) {
            out.emit(Event::WatchesFail);
        }
    }

    pub(super) fn readable(&mut self, now: Mono, ticket: Ticket, route: Option<Route>) {
        match self.ledger.place(ticket) {
            // One that was to be let go of has spoken before it was.
            Some(Place::Watched { .. } | Place::Parked { .. } | Place::Expiring) => {
                let demand = self.classes.demand(now, route);
                self.ledger.asks(ticket, demand);
            }
            Some(Place::Held | Place::Offered { .. } | Place::Delivered { .. }) | None => {}
        }
    }

    pub(super) fn hung_up(&mut self, ticket: Ticket, out: &mut Actions) {
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

    pub(super) fn refused(
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
            OfferRefusal::Gone => self.detached(now, to, out),
            OfferRefusal::Abandoned => self.abandoned(ticket, out),
            OfferRefusal::Full => {
                let until = now.after(OFFER_PAUSE);
                if let Some(worker) = self.worker_mut(to) {
                    let (attention, recalled) = (worker.attention, worker.recalled);
                    match attention {
                        Attention::Prompt => worker.attention = Attention::Full { until },
                        // What it was to come upon never went there: it has nothing to say.
                        Attention::Overdue { .. } if recalled == 0 => {
                            worker.attention = Attention::Full { until };
                        }
                        Attention::Overdue { .. } | Attention::Full { .. } => {}
                    }
                }
            }
        }
        self.refresh(to);
        self.release_if_settled(now, to, out);
    }

    /// An offer is back: nobody has begun with it, and nobody can but whoever is offered it next.
    pub(super) fn recalled(&mut self, now: Mono, ticket: Ticket, out: &mut Actions) {
        let Some(Place::Offered { to, recall, .. }) = self.ledger.place(ticket) else { return };
        self.take_back(ticket, to);
        self.ledger.went_astray(ticket);
        let Some(worker) = self.worker_mut(to) else { return };
        worker.recalled += 1;
        worker.overdue += u32::from(recall == Recall::Asked(Reason::Overdue));
        match &mut worker.state {
            WorkerState::Reclaiming { recovered } => {
                *recovered += 1;
                self.counters.recovered += 1;
            }
            WorkerState::Vacant
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. } => self.counters.recalled += 1,
        }
        self.refresh(to);
        self.release_if_settled(now, to, out);
    }

    /// The worker was faster: it has the connection, and its word will say so.
    pub(super) fn too_late(&mut self, now: Mono, ticket: Ticket, out: &mut Actions) {
        let Some(Place::Offered { to, custody, .. }) = self.ledger.place(ticket) else { return };
        self.deliver(ticket, to, ClaimLearnt::Found, custody, out);
        self.refresh(to);
        self.release_if_settled(now, to, out);
    }

    pub(super) fn message(
        &mut self,
        now: Mono,
        id: WorkerId,
        ticket: Ticket,
        message: Message,
        out: &mut Actions,
    ) {
        if self.worker(id).is_none() {
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
            self.violation(now, id, out);
        }
        self.refresh(id);
        // It may have been a dead one's last.
        self.release_if_settled(now, id, out);
    }

    /// A stopped worker claims nothing: what it has not claimed goes to others at once, and no
    /// recall has to find out by waiting.
    pub(super) fn stopped(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = true;
        match worker.state {
            WorkerState::Ready | WorkerState::Draining { .. } => {
                self.recall_all(now, id, Reason::Stuck, out);
            }
            WorkerState::Vacant
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming { .. } => {}
        }
        self.refresh(id);
        self.tell_strength(out);
    }

    pub(super) fn continued(&mut self, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = false;
        self.sign_of_life(id);
        self.refresh(id);
        self.tell_strength(out);
    }

    pub(super) fn load(&mut self, now: Mono, id: WorkerId, load: Load) {
        let Some(worker) = self.worker_mut(id) else { return };
        let load = load.no_less_than(worker.load);
        let before = core::mem::replace(&mut worker.load, load);
        let work = load.work_since(before);
        let moved = (before.in_flight, before.connections) != (load.in_flight, load.connections);
        if let Attention::Overdue { since } = &mut worker.attention
            && (moved || 0 < work.requests)
        {
            // It is busy with others, and will come upon what was taken back.
            *since = now;
        }
        self.gauge.worked(work);
        self.spread.worked(work);
        if 0 < work.requests {
            self.measure_depth();
        }
        if moved {
            self.refresh(id);
        }
    }

    /// Deadlines of connections and of the workers' attention.
    pub(super) fn tick_dispatch(&mut self, now: Mono, out: &mut Actions) {
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
        self.expire_silent(now, out);
        self.expire_parked(now, out);
        self.decide_on_spreading(now);
        self.recall_unclaimed(now, out);
        self.give_up_on_silence(now, out);
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.attention.deadline().is_some_and(|until| until <= now) {
                worker.attention = Attention::Prompt;
                let id = self.name(index);
                self.refresh(id);
            }
        }
    }

    /// Offers what is held, oldest first and short ones before long ones, for as long as the policy
    /// finds a worker. Once per turn: what goes to one worker then travels together.
    pub(super) fn place_held(&mut self, now: Mono, out: &mut Actions) {
        self.measure_classes(now);
        if self.offers_paused_until.is_none() {
            let mut room_for_long = self.room_for_long();
            while let Some(ticket) = self.next_held(now, 0 < room_for_long) {
                let favourite = self.ledger.served_by(ticket).and_then(|id| self.worker(id));
                let favourite = favourite.map(|worker| worker.slot);
                let Some(slot) = self.selector.pick(&mut self.candidates, favourite) else { break };
                let to = self.slots[slot.index()].holder.expect("an eligible slot has a holder");
                self.offer(now, ticket, to, out);
                room_for_long = room_for_long.saturating_sub(self.long(ticket));
            }
        }
        self.tell_hold(now, out);
        self.refuse_surplus(out);
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
        let Some(worker) = self.worker_mut(id) else { return };
        if asked == 0 {
            return;
        }
        let before = worker.attention;
        worker.attention = Attention::Overdue { since: now };
        let (slot, serving) = (worker.slot, worker.is_serving());
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

    /// Brings the candidates up to date with one worker.
    pub(super) fn refresh(&mut self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        if !self.holds_its_slot(id, worker) {
            return;
        }
        let slot = worker.slot;
        if self.has_room(id, worker) {
            let in_flight = match worker.in_flight() {
                0 => self.cost_of_waking,
                in_flight => in_flight,
            };
            let connections = self.ledger.delivered_to(id).max(worker.load.connections);
            let connections = worker.offered + connections;
            self.candidates.admit(slot, in_flight, connections);
        } else {
            self.candidates.bar(slot);
        }
    }

    /// Whether a worker can take one more.
    pub(super) fn may_be_offered(&self, id: WorkerId, worker: &WorkerRecord) -> bool {
        self.holds_its_slot(id, worker) && self.has_room(id, worker)
    }

    fn holds_its_slot(&self, id: WorkerId, worker: &WorkerRecord) -> bool {
        self.slots[worker.slot.index()].holder == Some(id)
    }

    fn has_room(&self, id: WorkerId, worker: &WorkerRecord) -> bool {
        worker.state == WorkerState::Ready
            && worker.attention == Attention::Prompt
            && !worker.stopped
            && worker.detached_until.is_none()
            && worker.offered + self.ledger.delivered_to(id) < worker.terms.connections_max
            && !worker.is_held_up()
            && worker.offered + worker.running < self.credit_limit(worker)
    }

    pub(super) fn refresh_all(&mut self) {
        for slot in 0..self.slots.len() {
            match self.slots[slot].holder {
                Some(holder) => self.refresh(holder),
                None => self.candidates.bar(Self::slot_id(slot)),
            }
        }
    }

    /// Ends a connection that the master waits for no longer.
    pub(super) fn let_go(&mut self, ticket: Ticket, out: &mut Actions) {
        self.counters.expired += 1;
        self.strike(ticket, out);
    }

    /// Strikes a ticket out that ends with the master, not with a worker.
    pub(super) fn strike(&mut self, ticket: Ticket, out: &mut Actions) {
        let strays = self.ledger.strike(ticket);
        out.push(Action::Retire { ticket, strays });
    }

    /// Moves an offer back to its place in the hold queue.
    pub(super) fn take_back(&mut self, ticket: Ticket, from: WorkerId) {
        self.ledger.move_to(ticket, Place::Held);
        let long = self.long(ticket);
        if let Some(worker) = self.worker_mut(from) {
            worker.offered -= 1;
            worker.longs -= long;
        }
    }

    fn offer(&mut self, now: Mono, ticket: Ticket, to: WorkerId, out: &mut Actions) {
        let long = self.long(ticket);
        let worker = self.worker_mut(to).expect("the holder of a slot is alive");
        worker.offered += 1;
        worker.longs += long;
        worker.offered_at = now;
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
    fn deliver(
        &mut self,
        ticket: Ticket,
        to: WorkerId,
        learnt: ClaimLearnt,
        custody: Custody,
        out: &mut Actions,
    ) {
        let credit = Credit::Holds;
        self.ledger.move_to(ticket, Place::Delivered { to, learnt, credit, custody });
        if let Some(worker) = self.worker_mut(to) {
            worker.offered -= 1;
            worker.running += 1;
            worker.has_begun = true;
        }
        match (custody, self.ledger.strays_of(ticket)) {
            (Custody::Sent, Strays::None) => out.push(Action::Release(ticket)),
            (Custody::Sent, Strays::Possible) | (Custody::Lent, _) => {}
        }
    }

    /// A worker came for what had been taken back. If it was merely late, everybody gets more time
    /// for a while. False when nothing had been taken back from it.
    fn missed(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.worker_mut(id).filter(|worker| 0 < worker.recalled) else {
            return false;
        };
        worker.recalled -= 1;
        if 0 < worker.overdue {
            worker.overdue -= 1;
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
        let set = |engine: &mut Self, to| engine.set_credit(id, ticket, (credit, to), custody);
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
        let Some(worker) = self.worker_mut(id) else { return };
        match (from, to) {
            (Credit::Holds, Credit::Returned | Credit::Spent) => {
                worker.running -= 1;
                worker.longs -= long;
            }
            (Credit::Returned | Credit::Spent, Credit::Holds) => {
                worker.running += 1;
                worker.longs += long;
            }
            (Credit::Holds, Credit::Holds)
            | (Credit::Returned | Credit::Spent, Credit::Returned | Credit::Spent) => {}
        }
    }

    /// What decides the depth has changed; if the depth has, so has everybody's credit.
    pub(super) fn measure_depth(&mut self) {
        let (depth, waking) = match self.setup.policy.binder() {
            Binder::AtOnce | Binder::Kernel => (u32::MAX, 0),
            Binder::OnCredit(depth) => {
                let depth = self.gauge.depth(depth);
                (depth, self.gauge.served_while_waking().min(depth))
            }
        };
        if (self.depth, self.cost_of_waking) != (depth, waking) {
            (self.depth, self.cost_of_waking) = (depth, waking);
            self.refresh_all();
        }
    }

    fn sign_of_life(&mut self, id: WorkerId) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.attention = Attention::Prompt;
        self.offers_paused_until = None;
    }

    /// Requests that a worker may have offered or running.
    fn credit_limit(&self, worker: &WorkerRecord) -> u32 {
        self.depth.saturating_add(worker.terms.concurrency - 1)
    }

    fn expire_silent(&mut self, now: Mono, out: &mut Actions) {
        while let Some(ticket) = self.ledger.oldest_watched() {
            let Some(Place::Watched { since }) = self.ledger.place(ticket) else { break };
            if now < since.after(self.silent_after()) {
                break;
            }
            self.ledger.move_to(ticket, Place::Expiring);
            out.push(Action::Expire(ticket));
        }
    }

    /// Takes overdue offers back from whoever leaves them lying.
    fn recall_unclaimed(&mut self, now: Mono, out: &mut Actions) {
        while let Some((ticket, to, at)) = self.oldest_offer() {
            if now < at.after(self.recall_after()) {
                break;
            }
            let Some(worker) = self.worker(to) else { break };
            let recall = match self.setup.policy.rebinds() {
                Rebinds::Always => true,
                Rebinds::WhenStopped => worker.load.in_flight == 0,
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
        match self.setup.policy.rebinds() {
            Rebinds::Always => RECALL_AFTER.times(1 << self.late),
            Rebinds::WhenStopped => RECALL_AFTER_FIXED,
        }
    }

    /// Replaces workers that left an offer lying, have said nothing since, and serve nothing. One
    /// that somebody stopped is not stalled: it goes on when it is let.
    fn give_up_on_silence(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.gives_up_at(self.setup.stall_timeout).is_none_or(|at| now < at) {
                continue;
            }
            // Looked at again after another while, whatever is decided now.
            worker.attention = Attention::Overdue { since: now };
            if !worker.is_serving() {
                let id = self.name(index);
                self.replace_stalled(now, id, out);
            }
        }
    }

    fn tell_hold(&mut self, now: Mono, out: &mut Actions) {
        let full = self.is_hold_full();
        if if full { self.hold_full.is_felt(now) } else { self.hold_full.is_over(now) } {
            out.emit(Event::Hold { full });
        }
    }
}

const _: () = assert!(TICKETS_MAX < u32::MAX, "the ledger's end mark is no ticket");
