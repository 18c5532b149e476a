//! The way of a connection through the engine: arrival, hold queue, pick, offer, claim, and back
//! to the hold queue when a worker leaves it lying.

use super::action::{Action, Actions, Custody};
use super::event::Event;
use super::input::{Begins, Load, Refusal, Word};
use super::ledger::{Credit, Grip, Place};
use super::policy::{Binder, Rebinds, Select};
use super::worker::{Attention, State, Worker};
use super::{Engine, Overload};
use crate::limits::{
    ACCEPT_PAUSE, OFFER_PAUSE, RECALL_AFTER, RECALL_AFTER_FIXED, RESUMED_BEYOND_CREDIT_MAX,
    TICKETS_MAX,
};
use crate::units::{Mono, Span, Ticket, WorkerId};

/// Time that a worker which left an offer lying is not tried again: short, since it may be well
/// again, and whoever it is tried with waits no longer than for the next recall.
const OVERDUE_PAUSE: Span = RECALL_AFTER.times(2);

impl Engine {
    pub(super) fn arrived(&mut self, now: Mono, ticket: Ticket, begins: Begins, out: &mut Actions) {
        self.counters.arrived += 1;
        match (self.setup.overload, begins) {
            (Overload::Reject, _) if self.is_hold_full() => {
                self.counters.rejected += 1;
                self.tell_hold(now, out);
                out.push(Action::Retire(ticket));
            }
            (Overload::Hold | Overload::Reject, Begins::Client) => {
                self.ledger.enter(ticket, Place::Watched { since: now });
                out.push(Action::Watch(ticket));
            }
            (Overload::Hold | Overload::Reject, Begins::Server) => {
                self.ledger.enter(ticket, Place::Held);
            }
        }
    }

    pub(super) fn accept_exhausted(&mut self, now: Mono, out: &mut Actions) {
        if self.accepts_fail.is_felt(now) {
            out.emit(Event::AcceptPaused);
        }
        self.accept_paused_until = Some(now.after(ACCEPT_PAUSE));
    }

    pub(super) fn readable(&mut self, ticket: Ticket, out: &mut Actions) {
        match self.ledger.place(ticket) {
            Some(Place::Watched { .. }) => self.ledger.move_to(ticket, Place::Held),
            Some(Place::Expiring) => self.reject(ticket, out),
            Some(Place::Held | Place::Offered { .. } | Place::Delivered { .. }) | None => {}
        }
    }

    pub(super) fn hung_up(&mut self, ticket: Ticket, out: &mut Actions) {
        match self.ledger.place(ticket) {
            Some(Place::Watched { .. } | Place::Expiring) => self.reject(ticket, out),
            Some(Place::Held | Place::Offered { .. } | Place::Delivered { .. }) | None => {}
        }
    }

    pub(super) fn refused(&mut self, now: Mono, ticket: Ticket, why: Refusal, out: &mut Actions) {
        let Some(Place::Offered { to, .. }) = self.ledger.place(ticket) else { return };
        self.take_back(ticket, to);
        match why {
            Refusal::TooManyInFlight => {
                self.offers_paused_until = Some(now.after(OFFER_PAUSE));
                if self.offers_fail.is_felt(now) {
                    out.emit(Event::OffersPaused);
                }
            }
            Refusal::Full | Refusal::Gone => {
                if let Some(worker) = self.worker_mut(to)
                    && worker.attention == Attention::Prompt
                {
                    worker.attention = Attention::Full { until: now.after(OFFER_PAUSE) };
                }
            }
        }
        self.refresh(to);
    }

    /// An unread offer is back from the kept end. Its worker is told apart by its state: a live
    /// one was stalled, a dead one is being buried.
    pub(super) fn recalled(&mut self, ticket: Ticket) {
        let Some(Place::Offered { to, .. }) = self.ledger.place(ticket) else { return };
        self.take_back(ticket, to);
        let Some(worker) = self.worker_mut(to) else { return };
        if let Attention::Recalling { recalled } = &mut worker.attention {
            *recalled += 1;
        }
        if worker.state == State::Reclaiming {
            self.counters.recovered += 1;
        } else {
            self.counters.recalled += 1;
        }
    }

    pub(super) fn recall_ended(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        if worker.state == State::Reclaiming {
            return self.bury(now, id, out);
        }
        let Attention::Recalling { recalled } = worker.attention else { return };
        worker.attention = Attention::Overdue { until: now.after(OVERDUE_PAUSE) };
        let (seat, serving) = (worker.seat, worker.is_serving());
        let silent_since = *worker.silent_since.get_or_insert(now);
        // What did not come back has been received, though no token says so yet.
        for ticket in self.ledger.offers_of(id) {
            self.receive(ticket);
        }
        // Told once per stall, not once per try; one that serves another request does not stall.
        if 0 < recalled && !serving && now.since(silent_since) < OVERDUE_PAUSE {
            out.emit(Event::Stalled { worker: id, seat, recalled });
        }
        self.refresh(id);
    }

    pub(super) fn word(
        &mut self,
        now: Mono,
        id: WorkerId,
        ticket: Ticket,
        word: Word,
        out: &mut Actions,
    ) {
        if self.worker(id).is_none() {
            return;
        }
        self.sign_of_life(now, id);
        let place = self.ledger.place(ticket);
        let known = match (place, word) {
            (Some(Place::Offered { to, .. }), Word::Claimed { transit_us }) if to == id => {
                self.receive(ticket);
                self.claim(ticket, transit_us, out);
                true
            }
            (
                Some(Place::Delivered { to, grip: Grip::Received(_), .. }),
                Word::Claimed { transit_us },
            ) if to == id => {
                self.claim(ticket, transit_us, out);
                true
            }
            (Some(Place::Delivered { to, grip: Grip::Claimed, credit }), word) if to == id => {
                self.claimed_word(id, ticket, credit, word, out)
            }
            (
                Some(
                    Place::Watched { .. }
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
    }

    /// A stopped worker receives nothing: what it has not received goes to others at once, and no
    /// recall has to find out by waiting.
    pub(super) fn stopped(&mut self, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = true;
        let reachable = match worker.state {
            State::Ready | State::Draining { .. } => true,
            State::Vacant
            | State::Starting { .. }
            | State::Terminating { .. }
            | State::Killing
            | State::Reclaiming => false,
        };
        match worker.attention {
            Attention::Prompt | Attention::Full { .. } | Attention::Overdue { .. }
                if reachable && 0 < worker.offered =>
            {
                worker.attention = Attention::Recalling { recalled: 0 };
                out.push(Action::Recall(id));
            }
            Attention::Prompt
            | Attention::Full { .. }
            | Attention::Overdue { .. }
            | Attention::Recalling { .. } => {}
        }
        self.refresh(id);
        self.tell_strength(out);
    }

    pub(super) fn continued(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.stopped = false;
        self.sign_of_life(now, id);
        self.refresh(id);
        self.tell_strength(out);
    }

    pub(super) fn load(&mut self, id: WorkerId, load: Load) {
        let Some(worker) = self.worker_mut(id) else { return };
        if worker.load != load {
            worker.load = load;
            self.refresh(id);
        }
    }

    /// Deadlines of connections and of the workers' attention.
    pub(super) fn tick_dispatch(&mut self, now: Mono, out: &mut Actions) {
        if self.accept_paused_until.is_some_and(|until| until <= now) {
            self.accept_paused_until = None;
        }
        if self.accepts_fail.is_over(now) {
            out.emit(Event::AcceptResumed);
        }
        if self.offers_paused_until.is_some_and(|until| until <= now) {
            self.offers_paused_until = None;
        }
        if self.offers_fail.is_over(now) {
            out.emit(Event::OffersResumed);
        }
        self.expire_silent(now, out);
        self.recall_unclaimed(now, out);
        self.give_up_on_silence(now, out);
        for berth in 0..self.workers.len() {
            let worker = &mut self.workers[berth];
            if worker.attention.deadline().is_some_and(|until| until <= now) {
                worker.attention = Attention::Prompt;
                let id = self.name(berth);
                self.refresh(id);
            }
        }
    }

    /// Offers what is held, oldest first, for as long as the policy finds a worker. Once per turn:
    /// only who sees all that arrived can tell what travels together.
    pub(super) fn place_held(&mut self, now: Mono, out: &mut Actions) {
        let mut placed = core::mem::take(&mut self.placed);
        if self.offers_paused_until.is_none() {
            while let Some(ticket) = self.ledger.oldest_held() {
                let Some(seat) = self.selector.pick(&mut self.field) else { break };
                let to = self.seats[seat.index()].holder.expect("an eligible seat has a holder");
                self.offer(now, ticket, to);
                placed.push((ticket, to));
            }
        }
        for (ticket, to) in placed.drain(..) {
            let custody = self.custody_for(to);
            self.ledger.set(ticket, Place::Offered { to, at: now, custody });
            out.push(Action::Offer { ticket, to, custody });
        }
        self.placed = placed;
        self.tell_hold(now, out);
    }

    /// Brings the field up to date with one worker.
    pub(super) fn refresh(&mut self, id: WorkerId) {
        let Some(worker) = self.worker(id) else { return };
        let seat = worker.seat;
        if self.seats[seat.index()].holder != Some(id) {
            return;
        }
        if self.may_be_offered(id, worker) {
            let in_flight = worker.in_flight();
            let connections = self.ledger.delivered_to(id).max(worker.load.connections);
            let connections = worker.offered + connections;
            self.field.admit(seat, in_flight, connections);
        } else {
            self.field.bar(seat);
        }
    }

    /// Whether a worker can take one more.
    pub(super) fn may_be_offered(&self, id: WorkerId, worker: &Worker) -> bool {
        worker.state == State::Ready
            && worker.attention == Attention::Prompt
            && !worker.stopped
            && worker.offered + self.ledger.delivered_to(id) < worker.terms.connections_max
            && worker.offered + worker.running < self.credit_limit(worker)
    }

    pub(super) fn refresh_all(&mut self) {
        for seat in 0..self.seats.len() {
            match self.seats[seat].holder {
                Some(holder) => self.refresh(holder),
                None => self.field.bar(Self::seat_id(seat)),
            }
        }
    }

    /// Strikes a ticket out that ends with the master, not with a worker.
    pub(super) fn reject(&mut self, ticket: Ticket, out: &mut Actions) {
        self.ledger.strike(ticket);
        self.counters.rejected += 1;
        out.push(Action::Retire(ticket));
    }

    /// Moves an offer back to its place in the hold queue.
    pub(super) fn take_back(&mut self, ticket: Ticket, from: WorkerId) {
        self.ledger.move_to(ticket, Place::Held);
        if let Some(worker) = self.worker_mut(from) {
            worker.offered -= 1;
        }
    }

    fn offer(&mut self, now: Mono, ticket: Ticket, to: WorkerId) {
        let worker = self.worker_mut(to).expect("the holder of a seat is alive");
        worker.offered += 1;
        if worker.offered_at != now {
            (worker.offered_at, worker.offered_now) = (now, 0);
        }
        worker.offered_now += 1;
        self.counters.offered += 1;
        // Until the turn's whole placement is known, which decides what travels together.
        let custody = Custody::Transfer;
        self.ledger.move_to(ticket, Place::Offered { to, at: now, custody });
        self.refresh(to);
    }

    /// A worker that begins whatever it receives needs no copy kept: receipt is its claim (decision
    /// 001). One that receives more than it begins is lent the descriptors instead: because it
    /// says so, or because several travel together under a policy that takes nothing back from a
    /// worker that is merely late.
    fn custody_for(&self, to: WorkerId) -> Custody {
        let Some(worker) = self.worker(to) else { return Custody::Transfer };
        let together = match self.setup.policy.rebinds() {
            Rebinds::Always => false,
            Rebinds::WhenStopped => 1 < worker.offered_now,
        };
        if 1 < worker.terms.concurrency || together { Custody::Lend } else { Custody::Transfer }
    }

    /// The worker has it, whether or not it has begun: its request holds a credit.
    fn receive(&mut self, ticket: Ticket) {
        let Some(Place::Offered { to, custody, .. }) = self.ledger.place(ticket) else { return };
        let grip = Grip::Received(custody);
        self.ledger.move_to(ticket, Place::Delivered { to, grip, credit: Credit::Holds });
        if let Some(worker) = self.worker_mut(to) {
            worker.offered -= 1;
            worker.running += 1;
            worker.unclaimed += 1;
        }
    }

    fn claim(&mut self, ticket: Ticket, transit_us: u32, out: &mut Actions) {
        let Some(Place::Delivered { to, grip, credit }) = self.ledger.place(ticket) else { return };
        self.ledger.move_to(ticket, Place::Delivered { to, grip: Grip::Claimed, credit });
        if let Some(worker) = self.worker_mut(to) {
            worker.unclaimed -= 1;
        }
        if grip == Grip::Received(Custody::Lend) {
            out.push(Action::Release(ticket));
        }
        if 0 < transit_us {
            self.gauge.crossed(transit_us);
            self.measure_depth();
        }
    }

    /// A word about a connection that the worker has claimed; false when it makes no sense.
    fn claimed_word(
        &mut self,
        id: WorkerId,
        ticket: Ticket,
        credit: Credit,
        word: Word,
        out: &mut Actions,
    ) -> bool {
        match (word, credit) {
            (Word::Done { service_us }, Credit::Holds | Credit::Lent) => {
                self.gauge.served(service_us);
                self.set_credit(id, ticket, credit, Credit::Spent);
                self.measure_depth();
                true
            }
            (Word::Waiting, Credit::Holds) => {
                self.set_credit(id, ticket, credit, Credit::Lent);
                true
            }
            (Word::Resumed, Credit::Lent) => {
                self.set_credit(id, ticket, credit, Credit::Holds);
                self.worker(id).is_some_and(|worker| {
                    worker.running
                        <= self.credit_limit(worker).saturating_add(RESUMED_BEYOND_CREDIT_MAX)
                })
            }
            (Word::Pinned, _) => {
                self.set_credit(id, ticket, credit, Credit::Spent);
                true
            }
            (Word::Closed, _) => {
                self.set_credit(id, ticket, credit, Credit::Spent);
                self.ledger.strike(ticket);
                self.counters.closed += 1;
                out.push(Action::Retire(ticket));
                true
            }
            (Word::Claimed { .. }, _)
            | (Word::Done { .. }, Credit::Spent)
            | (Word::Waiting, Credit::Lent | Credit::Spent)
            | (Word::Resumed, Credit::Holds | Credit::Spent) => false,
        }
    }

    fn set_credit(&mut self, id: WorkerId, ticket: Ticket, from: Credit, to: Credit) {
        let place = Place::Delivered { to: id, grip: Grip::Claimed, credit: to };
        self.ledger.set(ticket, place);
        let Some(worker) = self.worker_mut(id) else { return };
        match (from, to) {
            (Credit::Holds, Credit::Lent | Credit::Spent) => worker.running -= 1,
            (Credit::Lent | Credit::Spent, Credit::Holds) => worker.running += 1,
            (Credit::Holds, Credit::Holds)
            | (Credit::Lent | Credit::Spent, Credit::Lent | Credit::Spent) => {}
        }
    }

    /// What decides the depth has changed; if the depth has, so has everybody's credit.
    pub(super) fn measure_depth(&mut self) {
        let depth = match self.setup.policy.binder() {
            Binder::AtOnce | Binder::Kernel => u32::MAX,
            Binder::OnCredit(depth) => self.gauge.depth(depth),
        };
        if self.depth != depth {
            self.depth = depth;
            self.refresh_all();
        }
    }

    fn sign_of_life(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.worker_mut(id) else { return };
        worker.silent_since = (0 < worker.unclaimed).then_some(now);
        match worker.attention {
            Attention::Full { .. } | Attention::Overdue { .. } => {
                worker.attention = Attention::Prompt;
            }
            Attention::Prompt | Attention::Recalling { .. } => {}
        }
        self.offers_paused_until = None;
    }

    /// Requests that a worker may have offered or running.
    fn credit_limit(&self, worker: &Worker) -> u32 {
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
            // Looked at again after another while, whatever is decided now.
            if let Some(Place::Offered { custody, .. }) = self.ledger.place(ticket) {
                self.ledger.move_to(ticket, Place::Offered { to, at: now, custody });
            }
            let rebinds = self.setup.policy.rebinds();
            let stall_timeout = self.setup.stall_timeout;
            let Some(worker) = self.worker_mut(to) else { continue };
            let idle = worker.load.in_flight == 0;
            let recall = match (rebinds, worker.attention) {
                (_, Attention::Recalling { .. }) => false,
                (Rebinds::Always, _) => true,
                (Rebinds::WhenStopped, _) => idle,
            };
            if !recall || worker.state == State::Reclaiming {
                continue;
            }
            let silent_since = *worker.silent_since.get_or_insert(at);
            worker.attention = Attention::Recalling { recalled: 0 };
            out.push(Action::Recall(to));
            self.refresh(to);
            if idle && stall_timeout <= now.since(silent_since) {
                self.replace_stalled(now, to, out);
            }
        }
    }

    /// How long an offer may be unclaimed before its worker is looked at.
    pub(super) fn recall_after(&self) -> Span {
        match self.setup.policy.rebinds() {
            Rebinds::Always => RECALL_AFTER,
            Rebinds::WhenStopped => RECALL_AFTER_FIXED,
        }
    }

    /// Replaces workers that have received what they do not claim, and serve nothing else: no
    /// recall can reach it, and by their credit they may never be offered more.
    fn give_up_on_silence(&mut self, now: Mono, out: &mut Actions) {
        for berth in 0..self.workers.len() {
            let worker = &mut self.workers[berth];
            if worker.gives_up_at(self.setup.stall_timeout).is_none_or(|at| now < at) {
                continue;
            }
            // Looked at again after another while, whatever is decided now.
            worker.silent_since = Some(now);
            if worker.load.in_flight == 0 {
                let id = self.name(berth);
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
