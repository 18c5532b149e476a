//! The memory that the master shares with workers that are made for dispatchd: what a link reads
//! and writes of it. A trait, so that the very same link also runs in the simulator.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::input::{Load, Terms};
use crate::engine::workers::Workers;
use crate::shm::claim;
pub use crate::shm::claim::Settled;
use crate::shm::layout::{LAYOUT, MAGIC, MasterPage, WorkerPage};
pub use crate::shm::layout::{Order, SleepState};
use crate::shm::map::{MapError, Mapped, Writable};
use crate::shm::ring::{self, Ring};
pub use crate::shm::ring::{Full, Overrun};
use crate::units::{GiveBack, ListenerId, Mono, RingWords, Span, Ticket, WorkerId};

/// The master's side of the pages that it shares with workers.
pub trait Pages {
    /// Reads up to `max` of a worker's messages.
    ///
    /// # Errors
    /// When its ring is impossible.
    fn messages(
        &mut self,
        worker: WorkerId,
        max: usize,
        out: &mut Vec<RingWords>,
    ) -> Result<(), Overrun>;

    /// Whether a worker asks to leave.
    fn asks_to_leave(&mut self, worker: WorkerId) -> bool;

    /// Whether any worker has messages unread.
    fn has_messages(&mut self) -> bool;

    /// Says whether the master sleeps.
    fn set_sleep_state(&mut self, state: SleepState);

    /// What a worker's page says about itself; `None` when that is of another layout.
    fn terms(&mut self, worker: WorkerId) -> Option<Terms>;

    /// What a worker's page says about its load, `now`.
    fn load(&mut self, worker: WorkerId, now: Mono) -> Load;

    /// Writes what a worker shall do on its line of the master's page.
    fn order(&mut self, worker: WorkerId, order: Order);

    /// Writes a connection's conn record.
    fn conn_record(&mut self, ticket: Ticket, event: ConnEvent);

    /// Writes what workers shall do with connections that they have answered.
    fn give_back(&mut self, give_back: GiveBack);

    /// Writes an offer entry for a worker.
    ///
    /// # Errors
    /// When it has not read those before.
    fn offer_entry(&mut self, worker: WorkerId, offer_entry: RingWords) -> Result<(), Full>;

    /// Which of its sleeps a worker takes, if it sleeps: then it must be woken for offer entries.
    /// To be asked after writing them.
    fn sleep_number(&mut self, worker: WorkerId) -> Option<u64>;

    /// A worker was woken.
    fn woke(&mut self, worker: WorkerId);

    /// Lets the worker claim the connection from now on.
    fn offer(&mut self, worker: WorkerId, ticket: Ticket);

    /// Takes an offer back, if its worker has not claimed it.
    fn recall(&mut self, worker: WorkerId, ticket: Ticket) -> Settled;
}

/// What happened to a connection, for its conn record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnEvent {
    /// It was accepted.
    Accepted(ListenerId, Mono),
    /// It became readable.
    Readable(Mono),
    /// It was offered.
    Offered(WorkerId, Mono),
}

/// The pages themselves.
#[derive(Debug)]
pub struct MappedPages {
    master: Mapped<MasterPage, Writable>,
    memory: OwnedFd,
    workers: Workers<Mapped<WorkerPage, Writable>>,
}

impl MappedPages {
    /// The master's page, and nobody's else. `drain` is how long a worker may go on without a
    /// master.
    ///
    /// # Errors
    /// When shared memory cannot be had.
    pub fn new(drain: Span) -> Result<Self, MapError> {
        let (memory, master) = Mapped::<MasterPage, Writable>::create(c"dispatchd")?;
        master.head.magic.store(MAGIC, Relaxed);
        master.head.layout.store(LAYOUT, Relaxed);
        master.drain_ns.store(drain.as_ns(), Relaxed);
        Ok(Self { master, memory, workers: Workers::new() })
    }

    /// The memory of the master's page.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Whoever had a worker's index before has left marks there.
    pub fn clear_index(&self, worker: WorkerId) {
        let line = &self.master.workers[worker.index()];
        line.consumed.store(0, Relaxed);
        line.produced.store(0, Relaxed);
        line.wakes.store(0, Relaxed);
        line.order.store(Order::Serve as u32, Relaxed);
    }

    /// Keeps the page of a worker that has started.
    pub fn keep(&mut self, worker: WorkerId, page: Mapped<WorkerPage, Writable>) {
        self.workers.insert(worker, page);
    }

    /// Lets the page of a worker go.
    pub fn remove(&mut self, worker: WorkerId) {
        self.workers.remove(worker);
    }

    /// The page of a worker.
    pub fn of(&self, worker: WorkerId) -> Option<&WorkerPage> {
        self.workers.get(worker).map(|page| &**page)
    }

    /// How often the master has woken a worker.
    pub fn wakes(&self, worker: WorkerId) -> u64 {
        self.master.workers[worker.index()].wakes.load(Relaxed)
    }

    /// Says how long an idle worker may stay awake.
    pub fn set_spin(&self, most: Span) {
        self.master.spin_ns.store(u32::try_from(most.as_ns()).unwrap_or(0), Relaxed);
    }
}

impl Pages for MappedPages {
    fn messages(
        &mut self,
        worker: WorkerId,
        max: usize,
        out: &mut Vec<RingWords>,
    ) -> Result<(), Overrun> {
        let Some(page) = self.workers.get(worker) else { return Ok(()) };
        Ring::to_master(page, &self.master.workers[worker.index()]).drain(max, out)
    }

    fn asks_to_leave(&mut self, worker: WorkerId) -> bool {
        self.of(worker).is_some_and(|page| page.message_writer.asks_to_leave.load(Relaxed) != 0)
    }

    fn has_messages(&mut self) -> bool {
        self.workers.iter().any(|(worker, page)| {
            Ring::to_master(page, &self.master.workers[worker.index()]).has_messages()
        })
    }

    fn set_sleep_state(&mut self, state: SleepState) {
        ring::set_sleep_state(&self.master, state);
    }

    fn terms(&mut self, worker: WorkerId) -> Option<Terms> {
        let head = &self.of(worker)?.head;
        let ours = head.magic.load(Relaxed) == MAGIC && head.layout.load(Relaxed) == LAYOUT;
        ours.then(|| Terms {
            concurrency: head.concurrency.load(Relaxed),
            connections_max: head.connections_max.load(Relaxed),
        })
    }

    fn load(&mut self, worker: WorkerId, now: Mono) -> Load {
        let Some(page) = self.of(worker) else { return Load::NONE };
        let board = &page.board;
        let started = board.started.load(Relaxed);
        let finished = board.finished.load(Relaxed);
        let running = match board.busy_since_ns.load(Relaxed) {
            0 => Span::ZERO,
            since => now.since(Mono::from_ns(since)),
        };
        Load {
            // A worker between two stores shows one more finished than started; a lying one
            // anything.
            in_flight: u32::try_from(started.wrapping_sub(finished)).unwrap_or(0),
            connections: board.connections.load(Relaxed),
            finished,
            busy: Span::from_ns(board.busy_ns.load(Relaxed)).plus(running),
            squares: board.squares_us2.load(Relaxed).saturating_add(running.squared_us2()),
        }
    }

    fn order(&mut self, worker: WorkerId, order: Order) {
        self.master.workers[worker.index()].order.store(order as u32, Relaxed);
    }

    fn conn_record(&mut self, ticket: Ticket, event: ConnEvent) {
        let Some(conn_record) = self.master.conn_records.get(ticket.index()) else { return };
        match event {
            ConnEvent::Accepted(listener, at) => {
                conn_record.generation.store(ticket.generation, Relaxed);
                conn_record.listener.store(u32::from(listener.0), Relaxed);
                conn_record.offers.store(0, Relaxed);
                conn_record.accepted_at_ns.store(at.as_ns(), Relaxed);
            }
            ConnEvent::Readable(at) => conn_record.readable_at_ns.store(at.as_ns(), Relaxed),
            ConnEvent::Offered(worker, at) => {
                conn_record.owner.store(u32::from(worker.index), Relaxed);
                conn_record.offers.store(conn_record.offers.load(Relaxed).wrapping_add(1), Relaxed);
                conn_record.offered_at_ns.store(at.as_ns(), Relaxed);
            }
        }
    }

    fn give_back(&mut self, give_back: GiveBack) {
        self.master.give_back.store(give_back as u32, Relaxed);
    }

    fn offer_entry(&mut self, worker: WorkerId, offer_entry: RingWords) -> Result<(), Full> {
        let Some(page) = self.workers.get(worker) else { return Ok(()) };
        let ring = Ring::to_worker(&self.master, worker.index(), page);
        ring.map_or(Ok(()), |ring| ring.push(offer_entry))
    }

    fn sleep_number(&mut self, worker: WorkerId) -> Option<u64> {
        ring::sleep_number(self.workers.get(worker)?)
    }

    fn woke(&mut self, worker: WorkerId) {
        let wakes = &self.master.workers[worker.index()].wakes;
        wakes.store(wakes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn offer(&mut self, worker: WorkerId, ticket: Ticket) {
        if let Some(page) = self.of(worker) {
            claim::offer(page, ticket);
        }
    }

    fn recall(&mut self, worker: WorkerId, ticket: Ticket) -> Settled {
        // Nobody can claim anything by a page that is gone.
        self.of(worker).map_or(Settled::Back, |page| claim::recall(page, ticket))
    }
}
