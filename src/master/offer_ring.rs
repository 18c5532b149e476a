//! What workers are told of connections that they have copies of: through shared memory, and woken
//! once per nap, however much there is to tell.

use super::Master;
use super::crew::Link;
use super::host::Host;
use crate::engine::ledger::Place;
use crate::io::Backend;
use crate::units::{Ticket, WorkerId};
use crate::wire::offer::OfferEntry;

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Tells a worker that a connection is offered; false when its ring is full.
    pub(super) fn tell_of_offer(&mut self, worker: WorkerId, ticket: Ticket) -> bool {
        let Some(hand) = self.crew.hand(worker) else { return false };
        hand.wants_doorbell = true;
        let free = hand.unsent.is_empty();
        free && self.host.offer_entry(worker, OfferEntry::Offer(ticket).encode()).is_ok()
    }

    /// Has a worker let its copy go. It is not woken for that before its ring is full.
    fn tell_to_forget(&mut self, worker: WorkerId, ticket: Ticket) {
        let Some(hand) = self.crew.hand(worker) else { return };
        let words = OfferEntry::Forget(ticket).encode();
        if !hand.unsent.is_empty() || self.host.offer_entry(worker, words).is_err() {
            hand.unsent.push_back(words);
            hand.wants_doorbell = true;
        }
    }

    /// Writes what found rings full, as far as it goes, and wakes whoever sleeps over an offer
    /// entry.
    pub(super) fn send_offer_entries(&mut self) {
        for index in 0..self.crew.workers() {
            let Some(worker) = self.crew.name(index) else { continue };
            let Some(hand) = self.crew.hand(worker) else { continue };
            while let Some(words) = hand.unsent.front()
                && self.host.offer_entry(worker, *words).is_ok()
            {
                hand.unsent.pop_front();
                hand.wants_doorbell = true;
            }
            if !std::mem::take(&mut hand.wants_doorbell) {
                continue;
            }
            let nap = self.host.nap(worker);
            if nap.is_some() && hand.woken != nap {
                hand.woken = nap;
                self.wake(worker);
            }
        }
    }

    /// A ticket has ended: whoever has a copy lets it go. Returns whether anybody has.
    pub(super) fn forget(&mut self, ticket: Ticket) -> bool {
        let has = |hand: &mut Link<B::Fd>| hand.copies.remove(ticket).then_some(hand.worker);
        let holders: Vec<WorkerId> = self.crew.hands().filter_map(has).collect();
        for worker in &holders {
            self.tell_to_forget(*worker, ticket);
        }
        !holders.is_empty()
    }

    /// Keeps a worker's copies below what it can hold: one that it is not about to serve goes
    /// before another comes.
    pub(super) fn make_room(&mut self, worker: WorkerId) {
        let Some(most) = self.engine.worker(worker).map(|each| each.terms.connections_max) else {
            return;
        };
        let Self { crew, engine, .. } = self;
        let Some(hand) = crew.hand(worker) else { return };
        if hand.copies.count() < most {
            return;
        }
        let idle = |ticket| match engine.ledger().place(ticket) {
            Some(Place::Offered { to, .. } | Place::Delivered { to, .. }) => to != worker,
            Some(Place::Watched { .. } | Place::Parked { .. } | Place::Expiring | Place::Held)
            | None => true,
        };
        // One that is held may be about to be offered to this very worker.
        let held = |ticket| engine.ledger().place(ticket) == Some(Place::Held);
        let evicted = hand.copies.evict(|ticket| idle(ticket) && !held(ticket));
        if let Some(ticket) = evicted.or_else(|| hand.copies.evict(idle)) {
            self.tell_to_forget(worker, ticket);
        }
    }
}
