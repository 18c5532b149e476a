//! Books of what has passed the ports, kept apart from the engine's own counts: who has which
//! ticket, and what the master can know of each process.

use std::collections::{BTreeMap, BTreeSet};

use crate::units::{Generation, Mono, SlotId, Span, Ticket, WorkerId};

/// What has passed the ports.
#[derive(Debug, Default)]
pub(super) struct ShadowLedger {
    pub(super) entries: BTreeMap<Ticket, ShadowEntry>,
    /// The tickets that somebody has, or is to have.
    shares: BTreeSet<(WorkerId, Ticket)>,
    /// Lies about tickets that the liar may yet be offered.
    pub(super) lies: BTreeSet<(Ticket, WorkerId)>,
    /// Each slot's last delay, and how many processes there had been by then.
    pub(super) backoffs: BTreeMap<SlotId, (Span, usize)>,
    pub(super) ready: BTreeMap<SlotId, Mono>,
    /// What each worker is of, as it was told when it was started.
    pub(super) generations: BTreeMap<WorkerId, Generation>,
    /// A release that is being rolled out.
    pub(super) rollout: Option<Generation>,
    /// Releases that were given up.
    pub(super) given_up: BTreeSet<Generation>,
    pub(super) reclaiming: BTreeMap<WorkerId, Mono>,
    pub(super) ever_ready: bool,
    /// One was waited for in vain.
    pub(super) waited: bool,
    /// Connections of dead workers, that their clients have not been told of.
    pub(super) orphans: Vec<(usize, Mono)>,
    /// How often workers came for what had been taken back since one came in time: at least as
    /// often as they were late.
    pub(super) late: u32,
    /// Connections that wait in the master: those of its last turn, and those that have come in or
    /// back since.
    pub(super) waiting: u32,
    /// Descriptors of connections that the engine reckoned with at the end of the last turn, until
    /// those are counted that the master has.
    pub(super) reckoned: Option<u32>,
    /// Long requests waited after the last turn.
    pub(super) holds_long: bool,
    pub(super) stop_at: Option<Mono>,
    pub(super) fast_at: Option<Mono>,
    /// The loop has ended.
    pub(super) over: bool,
}

/// What is known of a ticket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShadowEntry {
    pub(super) connection: Option<usize>,
    pub(super) with: Option<WorkerId>,
    pub(super) offered_at: Mono,
    pub(super) claimed_at: Option<Mono>,
    /// It holds a credit, once claimed.
    pub(super) holds: bool,
    /// When it took its credit up again.
    pub(super) resumed_at: Option<Mono>,
    pub(super) returned: bool,
    /// A copy of it has gone to a worker.
    pub(super) sent: bool,
    /// It came back after that: a copy lies where nobody claims it.
    pub(super) astray: bool,
}

/// What the master knows of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) ready: bool,
    /// Told to go.
    leaving: bool,
    /// It was stopped when it was killed.
    pub(super) was_stopped: bool,
    /// Since when it has been seen to be gone.
    ended: Option<Mono>,
    pub(super) buried: bool,
}

impl Seen {
    pub(super) const fn signalled(&mut self) {
        self.leaving = true;
    }

    pub(super) const fn killed_while_stopped(&mut self) {
        self.was_stopped = true;
    }

    /// Its end is seen now, or was before.
    pub(super) fn ended(&mut self, now: Mono) {
        self.ended.get_or_insert(now);
    }

    pub(super) const fn is_buried(self) -> bool {
        self.buried
    }

    /// A dead worker's last words are read before its death is: then it may still be made an
    /// offer, in that very turn.
    pub(super) fn serves(self, now: Mono) -> bool {
        self.ready && !self.leaving && self.ended.is_none_or(|at| at == now)
    }
}

impl ShadowLedger {
    /// Every known ticket, and who has it.
    pub(super) fn tickets(&self) -> impl Iterator<Item = (Ticket, Option<WorkerId>)> + '_ {
        self.entries.iter().map(|(ticket, entry)| (*ticket, entry.with))
    }

    pub(super) fn lied_about(&mut self, ticket: Ticket, liar: WorkerId) {
        self.lies.insert((ticket, liar));
    }

    /// A new occupant of a ticket's index: the old one has ended.
    pub(super) fn opened(&mut self, ticket: Ticket) {
        let occupants =
            Ticket { generation: 0, ..ticket }..=Ticket { generation: u32::MAX, ..ticket };
        let before: Vec<Ticket> = self.entries.range(occupants).map(|(old, _)| *old).collect();
        for old in before {
            self.remove(old);
        }
        self.entries.insert(ticket, ShadowEntry::default());
    }

    /// Somebody has the connection from now on, or nobody; returns who had it.
    pub(super) fn set_with(&mut self, ticket: Ticket, with: Option<WorkerId>) -> Option<WorkerId> {
        let entry = self.entries.entry(ticket).or_default();
        let before = std::mem::replace(&mut entry.with, with);
        if let Some(worker) = before {
            self.shares.remove(&(worker, ticket));
        }
        self.shares.extend(with.map(|worker| (worker, ticket)));
        before
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.set_with(ticket, None);
        self.entries.remove(&ticket);
    }

    pub(super) fn tickets_of(&self, worker: WorkerId) -> impl Iterator<Item = Ticket> + '_ {
        const FIRST: Ticket = Ticket { index: 0, generation: 0 };
        const LAST: Ticket = Ticket { index: u32::MAX, generation: u32::MAX };
        self.shares.range((worker, FIRST)..=(worker, LAST)).map(|(_, ticket)| *ticket)
    }

    pub(super) fn of(&self, worker: WorkerId) -> impl Iterator<Item = &ShadowEntry> {
        self.tickets_of(worker).filter_map(|ticket| self.entries.get(&ticket))
    }

    /// Copies of these go to a worker.
    pub(super) fn sent(&mut self, tickets: impl Iterator<Item = Ticket>) {
        for ticket in tickets {
            if let Some(entry) = self.entries.get_mut(&ticket) {
                entry.sent = true;
            }
        }
    }

    pub(super) fn back(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket)
            && entry.claimed_at.is_none()
        {
            (entry.returned, entry.astray) = (true, entry.astray || entry.sent);
            self.set_with(ticket, None);
            self.waiting += 1;
        }
    }
}
