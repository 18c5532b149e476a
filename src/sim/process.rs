//! What the simulated world knows of one process.

use std::collections::{BTreeMap, VecDeque};

use super::faults::{Crash, Lie};
use super::job::Job;
use super::shadow::Seen;
use crate::engine::input::{Load, Terms};
use crate::link::pages::Order;
use crate::master::host::{Launch, ProcessChange, SpawnRequest};
use crate::units::{Mono, RingWords, Span, Ticket, WorkerId};

/// Position in the world's list of all processes that ever were.
pub(super) type ProcessId = usize;

/// One worker process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: WorkerId,
    pub(super) slot: usize,
    pub(super) doorbell: usize,
    pub(super) nature: Nature,
    pub(super) started_at: Mono,
    /// Whether it is its program.
    pub(super) launch: Launch,
    pub(super) up: bool,
    /// It has said that it is ready, in the way of those that say nothing else.
    pub(super) notified: bool,
    /// Whether it left cleanly, once it has ended.
    pub(super) ended: Option<bool>,
    pub(super) stopped_since: Option<Mono>,
    /// What `waitid` would say of stops; only the last one is kept, and the master is told.
    pub(super) change: Option<ProcessChange>,
    /// From when on `waitid` says how it ended, until it has.
    pub(super) reapable_from: Option<Mono>,
    /// Its end is told in no way.
    pub(super) swallowed: bool,
    /// It has closed its channel.
    pub(super) detached: bool,
    /// It was killed, and has not ended: it does nothing any more.
    pub(super) dying: bool,
    /// SIGTERM waits for it to go on.
    pub(super) term_pending: bool,
    pub(super) order: Order,
    /// What was sent to it and nobody has read.
    pub(super) channel: VecDeque<SimMessage>,
    /// What it was told, and has not read.
    pub(super) offer_entries: VecDeque<RingWords>,
    /// When it was last told something.
    pub(super) told_at: Mono,
    /// How often it has gone to sleep and woken up, together.
    pub(super) sleeps: u64,
    /// Offered, not claimed.
    pub(super) inbox: VecDeque<Ticket>,
    /// Copies of connections that are not its own at the moment.
    pub(super) copies: BTreeMap<Ticket, usize>,
    /// What its page says of offers: none that were taken back.
    pub(super) claims: BTreeMap<Ticket, Claim>,
    pub(super) jobs: Vec<Job>,
    /// Its ring.
    pub(super) messages: VecDeque<RingWords>,
    pub(super) asks_to_leave: bool,
    /// When it rang for what the master has not read.
    pub(super) unheard_since: Option<Mono>,
    pub(super) wrote: bool,
    pub(super) looking: bool,
    /// It has begun with something.
    pub(super) has_begun: bool,
    /// Requests that hold its credits.
    pub(super) running: u32,
    /// What its page says.
    pub(super) load: Load,
    /// What the checker knows that the master knows of it.
    pub(super) seen: Seen,
}

/// What kind of process it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    pub(super) terms: Terms,
    /// How long it takes to look at its channel.
    pub(super) latency: Span,
    pub(super) service: Span,
    pub(super) crash: Option<Crash>,
    pub(super) lie: Option<Lie>,
    pub(super) mute: bool,
    pub(super) obeys_drain: bool,
    pub(super) obeys_term: bool,
    pub(super) dies_when_killed: bool,
}

/// A message in a channel.
#[derive(Debug)]
pub(super) struct SimMessage {
    pub(super) words: Vec<u64>,
    pub(super) copies: Vec<usize>,
}

/// What a word of the page says of an offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    /// It may be claimed.
    Open,
    Claimed,
}

impl Process {
    pub(super) fn new(
        request: SpawnRequest,
        doorbell: usize,
        nature: Nature,
        started_at: Mono,
    ) -> Self {
        Self {
            id: request.worker,
            slot: request.slot.index(),
            doorbell,
            nature,
            started_at,
            launch: Launch::Pending,
            up: false,
            notified: false,
            ended: None,
            stopped_since: None,
            change: None,
            reapable_from: None,
            swallowed: false,
            detached: false,
            dying: false,
            term_pending: false,
            order: Order::Serve,
            channel: VecDeque::new(),
            offer_entries: VecDeque::new(),
            told_at: Mono::ZERO,
            sleeps: 0,
            inbox: VecDeque::new(),
            copies: BTreeMap::new(),
            claims: BTreeMap::new(),
            jobs: Vec::new(),
            messages: VecDeque::new(),
            asks_to_leave: false,
            unheard_since: None,
            wrote: false,
            looking: false,
            has_begun: false,
            running: 0,
            load: Load::default(),
            seen: Seen::default(),
        }
    }

    /// Whether it can do anything at the moment.
    pub(super) const fn runs(&self) -> bool {
        let hangs = self.detached || self.dying;
        self.ended.is_none() && self.stopped_since.is_none() && !hangs
    }

    /// Whether it came and went since then, and did nothing.
    pub(super) fn was_of_no_use(&self, since: Mono) -> bool {
        since < self.started_at && self.ended.is_some() && !self.has_begun
    }

    /// Whether its descriptor says that it has ended.
    pub(super) const fn shows_its_end(&self) -> bool {
        self.ended.is_some() && !self.swallowed
    }

    pub(super) const fn has_credit(&self) -> bool {
        self.running < self.nature.terms.concurrency
    }

    /// Descriptors of connections that came from the master.
    pub(super) fn descriptors(&self) -> usize {
        self.copies.len() + self.has()
    }

    /// Connections from the master that it has begun with.
    pub(super) fn has(&self) -> usize {
        self.jobs.iter().filter(|job| job.ticket.is_some()).count()
    }
}
