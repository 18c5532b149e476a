//! What workers are told of connections that they have copies of: through shared memory, and woken
//! once per sleep, however much there is to tell.

use super::Master;
use super::host::Host;
use crate::io::Backend;
use crate::units::{Ticket, WorkerId};
use crate::wire::offer::OfferEntry;

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Tells a worker that a connection is offered; false when its ring is full.
    pub(super) fn tell_of_offer(&mut self, worker: WorkerId, ticket: Ticket) -> bool {
        let Some(link) = self.links.get_mut(worker) else { return false };
        link.wants_doorbell = true;
        let free = link.unsent.is_empty();
        free && self.host.offer_entry(worker, OfferEntry::Offer(ticket).encode()).is_ok()
    }

    /// Has a worker let its copy go. It is not woken for that before its ring is full.
    fn tell_to_forget(&mut self, worker: WorkerId, ticket: Ticket) {
        let Some(link) = self.links.get_mut(worker) else { return };
        let words = OfferEntry::Forget(ticket).encode();
        if !link.unsent.is_empty() || self.host.offer_entry(worker, words).is_err() {
            link.unsent.push_back(words);
            link.wants_doorbell = true;
        }
    }

    /// Writes what found rings full, as far as it goes, and wakes whoever sleeps over an offer
    /// entry.
    pub(super) fn send_offer_entries(&mut self) {
        for index in 0..self.links.indices() {
            let Some(worker) = self.links.name_at(index) else { continue };
            let Some(link) = self.links.get_mut(worker) else { continue };
            while let Some(words) = link.unsent.front()
                && self.host.offer_entry(worker, *words).is_ok()
            {
                link.unsent.pop_front();
                link.wants_doorbell = true;
            }
            if !std::mem::take(&mut link.wants_doorbell) {
                continue;
            }
            let sleep = self.host.sleep_number(worker);
            if sleep.is_some() && link.woken != sleep {
                link.woken = sleep;
                self.wake(worker);
            }
        }
    }

    /// A ticket has ended: whoever has a copy lets it go. Returns whether anybody has.
    pub(super) fn forget(&mut self, ticket: Ticket) -> bool {
        let holders = self.links.iter_mut();
        let holders = holders.filter_map(|(id, link)| link.copies.remove(ticket).then_some(id));
        let holders: Vec<WorkerId> = holders.collect();
        for worker in &holders {
            self.tell_to_forget(*worker, ticket);
        }
        !holders.is_empty()
    }

    /// Keeps a worker's copies below what it can hold: one that it is not about to serve goes
    /// before another comes.
    pub(super) fn make_room(&mut self, worker: WorkerId) {
        let Some(most) =
            self.engine.supervisor().worker(worker).map(|each| each.terms.connections_max)
        else {
            return;
        };
        let Self { links, tickets, .. } = self;
        let Some(link) = links.get_mut(worker) else { return };
        if link.copies.count() < most {
            return;
        }
        // One that waits for a worker may be about to be offered to this very one.
        let idle = |ticket| !tickets.is_with(ticket, worker);
        let evicted = link.copies.evict(|ticket| idle(ticket) && !tickets.is_held(ticket));
        if let Some(ticket) = evicted.or_else(|| link.copies.evict(idle)) {
            self.tell_to_forget(worker, ticket);
        }
    }
}
