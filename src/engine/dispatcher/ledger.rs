//! Custody: where each connection is, and whose it is. A ticket stands in exactly one list, and
//! the list it stands in *is* its state, so that none can be lost and none has two owners.
//!
//! ```text
//! Watched --> Held --> Offered(w) --> Delivered(w) --> ended
//!    |         ^ ^          |             |
//!    |         | +----------+ recalled before w claimed it
//!    v         |                          |
//! Expiring <-- Parked <-------------------+ given back between two requests
//!    |
//!    v
//!  ended
//! ```

use alloc::vec::Vec;

use super::super::action::Strays;
use super::demand::{Class, Demand};
use crate::limits::{TICKETS_MAX, WORKERS_MAX};
use crate::units::{Mono, Ticket, WorkerId};

/// Where a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The master waits for its first byte.
    Watched {
        /// Since when.
        since: Mono,
    },
    /// A worker gave it back; the master waits for the next request.
    Parked {
        /// Since when.
        since: Mono,
    },
    /// The master has shut it down and waits for the watch to end.
    Expiring,
    /// It waits for a worker.
    Held,
    /// It is offered to a worker, who has not claimed it as far as is known.
    Offered {
        /// To whom.
        to: WorkerId,
        /// When it was offered.
        at: Mono,
        /// Whether it is being taken back.
        recall: Recall,
        /// Who can still lose it once it is claimed.
        custody: Custody,
    },
    /// A worker has it.
    Delivered {
        /// Who.
        to: WorkerId,
        /// How far the worker got with it.
        learnt: ClaimLearnt,
        /// Whether its request holds one of the worker's credits.
        credit: Credit,
        /// Who can still lose it.
        custody: Custody,
    },
}

/// Who can still lose a connection that a worker has claimed. It is settled with the offer, so that
/// a change of what is dispatched leaves alone whoever was offered something before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Custody {
    /// The master keeps its copy to the end, and the worker may give the connection back.
    Lent,
    /// The master lets its copy go with the claim, and the connection ends with its worker.
    Sent,
}

impl Place {
    /// Whether a worker may give it back.
    const fn is_lent(self) -> bool {
        match self {
            Self::Offered { custody, .. } | Self::Delivered { custody, .. } => match custody {
                Custody::Lent => true,
                Custody::Sent => false,
            },
            Self::Watched { .. } | Self::Parked { .. } | Self::Expiring | Self::Held => false,
        }
    }
}

/// Whether an offer is being taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recall {
    /// It is not.
    Unasked,
    /// It was asked for; the answer is to come.
    Asked(Reason),
}

/// Why an offer is taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Nobody claimed it in time.
    Overdue,
    /// Its worker is stopped, gone, or busy while another is idle.
    Stuck,
}

/// How the master knows of a claim: from then on the connection may have been read, and what was
/// read may have had effects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimLearnt {
    /// A recall found the claim; the worker's word is to come.
    Found,
    /// By the worker's word.
    Claimed,
}

/// Whether a connection's request holds a credit of its worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credit {
    /// A request runs, or is about to.
    Holds,
    /// The client owes bytes, or the connection is pinned and nothing runs; the credit is back
    /// until there is something to do.
    Returned,
    /// The first response is out: later requests count as load only.
    Spent,
}

/// All tickets and the lists they stand in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ledger {
    entries: Vec<TicketEntry>,
    lists: Lists,
    arrivals: u64,
    /// Requests up to this one have been let in.
    settled: u64,
    /// Of those that are delivered, those of which the master keeps a copy.
    kept: u32,
    /// Of those that are offered or delivered, those that may be given back.
    lent: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Lists {
    watched: TicketList,
    parked: TicketList,
    expiring: TicketList,
    /// By class.
    held: [TicketList; 2],
    offered: TicketList,
    /// By index.
    delivered: Vec<TicketList>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TicketEntry {
    generation: u32,
    /// Order of requests: one that comes back to the hold queue goes before later ones.
    arrival: u64,
    /// Who gave it back last.
    served_by: Option<WorkerId>,
    /// What its request wants.
    demand: Demand,
    /// An offer of it was taken back.
    astray: bool,
    place: Option<Place>,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TicketList {
    head: u32,
    tail: u32,
    len: u32,
}

const NIL: u32 = u32::MAX;

impl TicketEntry {
    const FREE: Self = Self {
        generation: 0,
        arrival: 0,
        served_by: None,
        demand: Demand::UNKNOWN,
        astray: false,
        place: None,
        previous: NIL,
        next: NIL,
    };

    /// Whether it is delivered and the master keeps its copy: since it is lent, or since somebody
    /// else has one too, who keeps the socket open when the worker dies.
    const fn is_kept(&self, place: Place) -> bool {
        match place {
            Place::Delivered { custody: Custody::Lent, .. } => true,
            Place::Delivered { custody: Custody::Sent, .. } => self.astray,
            Place::Watched { .. }
            | Place::Parked { .. }
            | Place::Expiring
            | Place::Held
            | Place::Offered { .. } => false,
        }
    }
}

impl Lists {
    const EMPTY: Self = Self {
        watched: TicketList::EMPTY,
        parked: TicketList::EMPTY,
        expiring: TicketList::EMPTY,
        held: [TicketList::EMPTY; 2],
        offered: TicketList::EMPTY,
        delivered: Vec::new(),
    };

    /// The list in which all stand that are in this place, and of this class.
    fn of(&mut self, place: Place, class: Class) -> &mut TicketList {
        match place {
            Place::Watched { .. } => &mut self.watched,
            Place::Parked { .. } => &mut self.parked,
            Place::Expiring => &mut self.expiring,
            Place::Held => &mut self.held[class as usize],
            Place::Offered { .. } => &mut self.offered,
            Place::Delivered { to, .. } => self.of_worker(to),
        }
    }

    fn of_worker(&mut self, worker: WorkerId) -> &mut TicketList {
        if self.delivered.len() <= worker.index() {
            assert!(worker.index() < WORKERS_MAX, "index {worker} beyond the table");
            self.delivered.resize(worker.index() + 1, TicketList::EMPTY);
        }
        &mut self.delivered[worker.index()]
    }
}

impl TicketList {
    const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };
}

impl Default for Ledger {
    fn default() -> Self {
        Self { entries: Vec::new(), lists: Lists::EMPTY, arrivals: 0, settled: 0, kept: 0, lent: 0 }
    }
}

impl Ledger {
    /// Enters a fresh ticket.
    ///
    /// # Panics
    /// When the ticket's index is taken: the shell numbers tickets, and never twice.
    pub fn enter(&mut self, ticket: Ticket, place: Place) {
        assert!(ticket.index < TICKETS_MAX, "ticket {ticket} beyond the ledger");
        if self.entries.len() <= ticket.index() {
            let free = TicketEntry::FREE;
            self.entries.resize(ticket.index() + 1, free);
        }
        self.arrivals += 1;
        let entry = &mut self.entries[ticket.index()];
        assert!(entry.place.is_none(), "ticket {ticket} entered twice");
        entry.generation = ticket.generation;
        entry.arrival = self.arrivals;
        entry.served_by = None;
        entry.demand = Demand::UNKNOWN;
        entry.astray = false;
        self.link(ticket.index, place);
    }

    /// Parks a connection that `from` gives back.
    ///
    /// # Panics
    /// When the ticket is not live.
    pub fn give_back(&mut self, ticket: Ticket, from: WorkerId, since: Mono) {
        self.move_to(ticket, Place::Parked { since });
        self.entries[ticket.index()].served_by = Some(from);
    }

    /// Moves a watched or a parked connection to the end of the hold queue: a request arrives now.
    ///
    /// # Panics
    /// When the ticket is not live.
    pub fn asks(&mut self, ticket: Ticket, demand: Demand) {
        self.unlink(ticket);
        self.arrivals += 1;
        let entry = &mut self.entries[ticket.index()];
        (entry.arrival, entry.demand) = (self.arrivals, demand);
        self.link(ticket.index, Place::Held);
    }

    /// Nothing is known of its next request. It is with a worker.
    ///
    /// # Panics
    /// When the ticket is beyond the table.
    pub fn forget_demand(&mut self, ticket: Ticket) {
        debug_assert!(self.is_claimed(ticket), "its demand decides which list it stands in");
        self.entries[ticket.index()].demand = Demand::UNKNOWN;
    }

    /// Its request has been measured, and is not to be again.
    ///
    /// # Panics
    /// When the ticket is beyond the table.
    pub fn measured(&mut self, ticket: Ticket) {
        self.entries[ticket.index()].demand.route = None;
    }

    /// Moves a ticket; back into the hold queue it goes before all that arrived later.
    ///
    /// # Panics
    /// When the ticket is not live.
    pub fn move_to(&mut self, ticket: Ticket, place: Place) {
        self.unlink(ticket);
        self.link(ticket.index, place);
    }

    /// Changes what is said of a ticket that stays with its worker, and in its place in the list.
    ///
    /// # Panics
    /// When the ticket is not live.
    pub fn set(&mut self, ticket: Ticket, place: Place) {
        let current = self.place(ticket).expect("only live tickets are changed");
        let entry = &mut self.entries[ticket.index()];
        let class = entry.demand.class;
        debug_assert!(
            core::ptr::eq(self.lists.of(current, class), self.lists.of(place, class)),
            "{current:?} is in another list than {place:?}"
        );
        entry.place = Some(place);
    }

    /// Strikes a ticket out. Returns who may have a stray copy of the connection.
    ///
    /// # Panics
    /// When the ticket is not live.
    pub fn strike(&mut self, ticket: Ticket) -> Strays {
        self.unlink(ticket);
        self.strays_of(ticket)
    }

    /// An offer of it was taken back: somebody has a copy who will not claim it.
    ///
    /// # Panics
    /// When the ticket is beyond the table.
    pub fn went_astray(&mut self, ticket: Ticket) {
        debug_assert!(!self.is_claimed(ticket), "what is claimed is not taken back");
        self.entries[ticket.index()].astray = true;
    }

    /// Whether a copy of the connection may lie where an offer was taken back.
    ///
    /// # Panics
    /// When the ticket is beyond the table.
    pub fn strays_of(&self, ticket: Ticket) -> Strays {
        if self.entries[ticket.index()].astray { Strays::Possible } else { Strays::None }
    }

    /// Of those that are delivered, those of which the master keeps a copy.
    pub const fn kept(&self) -> u32 {
        self.kept
    }

    /// Of those that are offered or delivered, those that may be given back.
    pub const fn lent(&self) -> u32 {
        self.lent
    }

    /// Where the ticket is; `None` when it is stale.
    pub fn place(&self, ticket: Ticket) -> Option<Place> {
        let entry = self.entries.get(ticket.index())?;
        if entry.generation == ticket.generation { entry.place } else { None }
    }

    /// Who gave the connection back last.
    pub fn served_by(&self, ticket: Ticket) -> Option<WorkerId> {
        let entry = self.entries.get(ticket.index())?;
        entry.served_by.filter(|_| entry.generation == ticket.generation)
    }

    /// What the connection's request wants.
    pub fn demand(&self, ticket: Ticket) -> Demand {
        let entry = self.entries.get(ticket.index());
        let entry = entry.filter(|entry| entry.generation == ticket.generation);
        entry.map_or(Demand::UNKNOWN, |entry| entry.demand)
    }

    /// Whether a worker has claimed the connection.
    pub fn is_claimed(&self, ticket: Ticket) -> bool {
        matches!(self.place(ticket), Some(Place::Delivered { .. }))
    }

    /// Connections watched for their first byte.
    pub fn watched(&self) -> u32 {
        self.lists.watched.len
    }

    /// Connections that wait for their next request.
    pub fn parked(&self) -> u32 {
        self.lists.parked.len
    }

    /// Connections that are being shut down.
    pub fn expiring(&self) -> u32 {
        self.lists.expiring.len
    }

    /// Connections that wait for a worker.
    pub fn held(&self) -> u32 {
        self.lists.held.iter().map(|list| list.len).sum()
    }

    /// Those of them whose requests are of this class.
    pub const fn held_of(&self, class: Class) -> u32 {
        self.lists.held[class as usize].len
    }

    /// Connections on their way to a worker.
    pub fn offered(&self) -> u32 {
        self.lists.offered.len
    }

    /// Connections that workers have.
    pub fn delivered(&self) -> u32 {
        self.lists.delivered.iter().map(|list| list.len).sum()
    }

    /// Connections that this worker has.
    pub fn delivered_to(&self, worker: WorkerId) -> u32 {
        self.lists.delivered.get(worker.index()).map_or(0, |list| list.len)
    }

    /// The connection that has been watched longest.
    pub fn oldest_watched(&self) -> Option<Ticket> {
        self.ticket(self.lists.watched.head)
    }

    /// The connection that has been parked longest.
    pub fn oldest_parked(&self) -> Option<Ticket> {
        self.ticket(self.lists.parked.head)
    }

    /// The connection at the head of a class's hold queue.
    pub fn oldest_held(&self, class: Class) -> Option<Ticket> {
        self.ticket(self.lists.held[class as usize].head)
    }

    /// The latest request in the hold queue, if it has come since it was last settled who stays.
    pub fn latest_unsettled(&self) -> Option<Ticket> {
        let arrival = |ticket: &Ticket| self.entries[ticket.index()].arrival;
        let tails = self.lists.held.iter().filter_map(|list| self.ticket(list.tail));
        tails.max_by_key(arrival).filter(|ticket| self.settled < arrival(ticket))
    }

    /// Whoever waits stays.
    pub const fn settle(&mut self) {
        self.settled = self.arrivals;
    }

    /// Some connection that waits for a worker.
    pub fn any_held(&self) -> Option<Ticket> {
        self.lists.held.iter().find_map(|list| self.ticket(list.head))
    }

    /// The offer that has been unclaimed longest.
    pub fn oldest_offered(&self) -> Option<Ticket> {
        self.ticket(self.lists.offered.head)
    }

    /// All that is offered to this worker, oldest first.
    pub fn offers_of(&self, worker: WorkerId) -> Vec<Ticket> {
        self.walk(self.lists.offered)
            .filter(|ticket| match self.place(*ticket) {
                Some(Place::Offered { to, .. }) => to == worker,
                Some(
                    Place::Watched { .. }
                    | Place::Parked { .. }
                    | Place::Expiring
                    | Place::Held
                    | Place::Delivered { .. },
                )
                | None => false,
            })
            .collect()
    }

    /// All that this worker has, oldest first.
    pub fn deliveries_of(&self, worker: WorkerId) -> Vec<Ticket> {
        self.lists
            .delivered
            .get(worker.index())
            .map_or_else(Vec::new, |list| self.walk(*list).collect())
    }

    /// Every list is whole, and every live ticket stands in the list of its place.
    ///
    /// # Panics
    /// When that is not so.
    pub fn check(&self) {
        let live = self.entries.iter().filter(|entry| entry.place.is_some()).count();
        let mut listed = 0;
        for list in [self.lists.watched, self.lists.parked, self.lists.expiring, self.lists.offered]
            .iter()
            .chain(&self.lists.held)
            .chain(&self.lists.delivered)
        {
            let members = self.walk(*list).count();
            assert_eq!(members, list.len as usize, "a list has lost count");
            listed += members;
        }
        assert_eq!(live, listed, "a ticket stands in no list, or in two");
        let kept = |entry: &&TicketEntry| entry.place.is_some_and(|place| entry.is_kept(place));
        let kept = self.entries.iter().filter(kept).count();
        assert_eq!(self.kept as usize, kept, "kept copies have lost count");
        let lent = self.entries.iter().filter(|entry| entry.place.is_some_and(Place::is_lent));
        assert_eq!(self.lent as usize, lent.count(), "lent connections have lost count");
        for list in self.lists.held {
            let arrival = |ticket: Ticket| self.entries[ticket.index()].arrival;
            assert!(self.walk(list).map(arrival).is_sorted(), "the hold queue is out of order");
        }
    }

    fn walk(&self, list: TicketList) -> impl Iterator<Item = Ticket> + '_ {
        core::iter::successors(self.ticket(list.head), |ticket| {
            self.ticket(self.entries[ticket.index()].next)
        })
    }

    fn ticket(&self, index: u32) -> Option<Ticket> {
        let entry = self.entries.get(index as usize)?;
        entry.place.map(|_| Ticket { index, generation: entry.generation })
    }

    fn link(&mut self, index: u32, place: Place) {
        let before = match place {
            Place::Held => self.first_later(&self.entries[index as usize]),
            Place::Watched { .. }
            | Place::Parked { .. }
            | Place::Expiring
            | Place::Offered { .. }
            | Place::Delivered { .. } => NIL,
        };
        let list = self.lists.of(place, self.entries[index as usize].demand.class);
        let previous = match before {
            NIL => core::mem::replace(&mut list.tail, index),
            before => core::mem::replace(&mut self.entries[before as usize].previous, index),
        };
        match previous {
            NIL => list.head = index,
            previous => self.entries[previous as usize].next = index,
        }
        list.len += 1;
        let entry = &mut self.entries[index as usize];
        entry.place = Some(place);
        (entry.previous, entry.next) = (previous, before);
        self.kept += u32::from(entry.is_kept(place));
        self.lent += u32::from(place.is_lent());
    }

    fn unlink(&mut self, ticket: Ticket) {
        let place = self.place(ticket).expect("only live tickets are moved");
        let entry = &mut self.entries[ticket.index()];
        entry.place = None;
        self.kept -= u32::from(entry.is_kept(place));
        self.lent -= u32::from(place.is_lent());
        let TicketEntry { previous, next, .. } = *entry;
        let list = self.lists.of(place, entry.demand.class);
        list.len -= 1;
        match previous {
            NIL => list.head = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NIL => list.tail = previous,
            next => self.entries[next as usize].previous = previous,
        }
    }

    /// The first of its class's hold queue that arrived later, or none. The tail is asked first:
    /// nearly every connection goes there, and what comes back goes to the front, which is near
    /// too.
    fn first_later(&self, entry: &TicketEntry) -> u32 {
        let list = self.lists.held[entry.demand.class as usize];
        match list.tail {
            NIL => NIL,
            tail if self.entries[tail as usize].arrival < entry.arrival => NIL,
            _ => self
                .walk(list)
                .find(|ticket| entry.arrival < self.entries[ticket.index()].arrival)
                .map_or(NIL, |ticket| ticket.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rng::Rng;
    use super::*;

    const W: WorkerId = WorkerId { index: 1, epoch: 0 };

    const fn offered(custody: Custody) -> Place {
        Place::Offered { to: W, at: Mono::ZERO, recall: Recall::Unasked, custody }
    }

    const fn delivered(custody: Custody) -> Place {
        let (learnt, credit) = (ClaimLearnt::Claimed, Credit::Holds);
        Place::Delivered { to: W, learnt, credit, custody }
    }

    fn ticket(index: u32) -> Ticket {
        Ticket { index, generation: 7 }
    }

    #[test]
    fn what_comes_back_goes_before_what_arrived_later() {
        let mut ledger = Ledger::default();
        for index in 0..5 {
            ledger.enter(ticket(index), Place::Held);
        }
        for index in [0, 1, 3] {
            ledger.move_to(ticket(index), offered(Custody::Sent));
        }
        for index in [3, 0, 1] {
            ledger.move_to(ticket(index), Place::Held);
        }
        ledger.check();
        for index in 0..5 {
            assert_eq!(ledger.oldest_held(Class::Short), Some(ticket(index)));
            ledger.strike(ticket(index));
        }
        assert_eq!(ledger.oldest_held(Class::Short), None);
    }

    #[test]
    fn who_asks_again_stands_behind_those_that_wait() {
        let mut ledger = Ledger::default();
        ledger.enter(ticket(0), Place::Held);
        ledger.give_back(ticket(0), W, Mono::ZERO);
        ledger.enter(ticket(1), Place::Held);
        assert_eq!((ledger.parked(), ledger.oldest_parked()), (1, Some(ticket(0))));
        ledger.asks(ticket(0), Demand::UNKNOWN);
        ledger.check();
        assert_eq!(ledger.oldest_held(Class::Short), Some(ticket(1)));
        assert_eq!((ledger.served_by(ticket(0)), ledger.served_by(ticket(1))), (Some(W), None));
        ledger.strike(ticket(0));
        ledger.enter(Ticket { index: 0, generation: 8 }, Place::Held);
        assert_eq!(ledger.served_by(ticket(0)), None, "that one has ended");
        assert_eq!(ledger.served_by(Ticket { index: 0, generation: 8 }), None);
    }

    #[test]
    fn a_stale_ticket_is_nowhere() {
        let mut ledger = Ledger::default();
        ledger.enter(ticket(2), Place::Held);
        assert_eq!(ledger.place(Ticket { index: 2, generation: 6 }), None);
        assert_eq!(ledger.place(ticket(9)), None);
        ledger.strike(ticket(2));
        assert_eq!(ledger.place(ticket(2)), None);
    }

    #[test]
    fn what_went_astray_is_so_to_its_end_and_its_indices_next_occupant_is_not() {
        let mut ledger = Ledger::default();
        ledger.enter(ticket(2), Place::Held);
        assert_eq!(ledger.strays_of(ticket(2)), Strays::None);
        ledger.went_astray(ticket(2));
        ledger.move_to(ticket(2), delivered(Custody::Sent));
        assert_eq!((ledger.strays_of(ticket(2)), ledger.kept()), (Strays::Possible, 1));
        assert_eq!((ledger.strike(ticket(2)), ledger.kept()), (Strays::Possible, 0));
        let next = Ticket { index: 2, generation: 8 };
        ledger.enter(next, delivered(Custody::Sent));
        assert_eq!((ledger.strays_of(next), ledger.kept()), (Strays::None, 0));
    }

    #[test]
    fn what_is_lent_is_kept_once_it_is_claimed_and_what_is_sent_is_not() {
        let mut ledger = Ledger::default();
        for (index, custody) in [(0, Custody::Lent), (1, Custody::Sent)] {
            ledger.enter(ticket(index), offered(custody));
        }
        assert_eq!((ledger.lent(), ledger.kept()), (1, 0));
        ledger.move_to(ticket(0), delivered(Custody::Lent));
        ledger.move_to(ticket(1), delivered(Custody::Sent));
        assert_eq!((ledger.lent(), ledger.kept()), (1, 1));
        ledger.give_back(ticket(0), W, Mono::ZERO);
        assert_eq!((ledger.lent(), ledger.kept()), (0, 0));
    }

    #[test]
    fn random_moves_keep_every_list_whole() {
        let mut rng = Rng::new(11);
        let mut ledger = Ledger::default();
        let mut live: Vec<u32> = Vec::new();
        for _ in 0..5_000 {
            let custody = if rng.chance(1, 2) { Custody::Lent } else { Custody::Sent };
            let place = match rng.below(6) {
                5 => Place::Parked { since: Mono::ZERO },
                0 => Place::Watched { since: Mono::ZERO },
                1 => Place::Expiring,
                2 => Place::Held,
                3 => offered(custody),
                _ => delivered(custody),
            };
            let index = u32::try_from(rng.below(40)).unwrap();
            match (live.contains(&index), rng.chance(1, 3)) {
                (false, _) => {
                    ledger.enter(ticket(index), place);
                    live.push(index);
                }
                (true, false) if rng.chance(1, 4) && !ledger.is_claimed(ticket(index)) => {
                    ledger.went_astray(ticket(index));
                }
                (true, false) => ledger.move_to(ticket(index), place),
                (true, true) => {
                    ledger.strike(ticket(index));
                    live.retain(|each| *each != index);
                }
            }
            ledger.check();
        }
    }
}
