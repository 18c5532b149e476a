//! The worker's end of everything that it shares with its master: the channel that descriptors
//! come through, the pages, the bell. It keeps the order that makes a connection safe: claim
//! before the first read, done after the last byte of the answer, closed at the end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use crate::limits::{CONCURRENCY_MAX, WORKER_SPARE_DESCRIPTORS};
use crate::shm::claim;
use crate::shm::layout::{Berth, LAYOUT, MAGIC, MasterPage, Order, WorkerPage};
use crate::shm::map::{MapError, Mapped, ReadOnly, Writable};
use crate::shm::ring::{self, Bell, Words};
use crate::sys::affinity::{self, PinError};
use crate::sys::eventfd;
use crate::sys::fd::{self, io_error};
use crate::sys::rlimit::{self, Resource};
use crate::sys::scm::{self, Incoming, Patience};
use crate::sys::spawn::FIRST_FD;
use crate::units::{Errno, ListenerId, Mono, Span, Ticket};
use crate::wire::link::{BadNote, Note, VARIABLE, position};
use crate::wire::parcel::{self, BadParcel, Header, Kind};
use crate::wire::token::{Say, Token};

/// The worker's end.
#[derive(Debug)]
pub struct Link {
    note: Note,
    channel: OwnedFd,
    bell: OwnedFd,
    master: Mapped<MasterPage, ReadOnly>,
    own: Mapped<WorkerPage, Writable>,
    listeners: Vec<OwnedFd>,
    /// Offers that came together and have not been asked for.
    received: VecDeque<Offer>,
    /// Tokens that found the ring full, in order; they go before any other.
    unsaid: VecDeque<Words>,
    connections: u32,
    idle_since: Mono,
}

/// A connection that the master offers. It is not ours before it is claimed, and the master may
/// take it back until then. It has a copy even a moment longer: `shutdown` before `close`, or the
/// client waits for the end.
#[derive(Debug)]
pub struct Offer {
    /// The connection's number.
    pub ticket: Ticket,
    /// The connection: blocking, close-on-exec.
    pub socket: OwnedFd,
    /// Where it came in.
    pub listener: ListenerId,
}

/// What was in the channel.
#[derive(Debug)]
pub enum Delivery {
    /// A connection.
    Offer(Offer),
    /// Only a wake-up: look at [`Link::order`].
    Look,
    /// Nothing at the moment.
    Nothing,
    /// The master is gone.
    Gone,
}

/// Why there is no link, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The variable is missing.
    #[error("{VARIABLE} is not set: start this program as `dispatchd -- PROGRAM`")]
    Missing,
    /// The variable cannot be read.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// A descriptor that the note names is not open.
    #[error(
        "descriptor {number} of {VARIABLE} is not open: something between \
         dispatchd and this program closed it"
    )]
    Descriptor {
        /// Which one.
        number: i32,
    },
    /// The shared pages cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The master was built otherwise.
    #[error("dispatchd lays its pages out otherwise: build it and this program from one version")]
    Layout,
    /// The limit of open files is too low.
    #[error(
        "{open_files} open files are too few for a worker: raise `ulimit -n` \
         above {WORKER_SPARE_DESCRIPTORS}"
    )]
    OpenFiles {
        /// The limit.
        open_files: u64,
    },
    /// The channel failed.
    #[error("cannot receive connections: {}", io_error(*.0))]
    Receive(Errno),
    /// The channel had what no master sends.
    #[error(transparent)]
    Parcel(#[from] BadParcel),
    /// Descriptors were lost on the way.
    #[error("connections were lost on their way here: the limit of open files was reached")]
    Truncated,
}

impl Link {
    /// Takes up the link that dispatchd left in the environment. To be called once, first thing.
    ///
    /// # Errors
    /// When it is not there, or of another version.
    pub fn from_env() -> Result<Self, LinkError> {
        #[expect(clippy::disallowed_methods, reason = "this is where the worker reads it, once")]
        let text = std::env::var(VARIABLE).map_err(|_| LinkError::Missing)?;
        Self::from_note(Note::parse(&text)?)
    }

    fn from_note(note: Note) -> Result<Self, LinkError> {
        let take = |position: usize| {
            let number = FIRST_FD + i32::try_from(position).unwrap_or(i32::MAX - FIRST_FD);
            fd::adopt_inherited(number).map_err(|_| LinkError::Descriptor { number })
        };
        let master = Mapped::<MasterPage, ReadOnly>::open(&take(position::MASTER)?)?;
        if master.head.magic.load(Relaxed) != MAGIC || master.head.layout.load(Relaxed) != LAYOUT {
            return Err(LinkError::Layout);
        }
        let own = Mapped::<WorkerPage, Writable>::open(&take(position::OWN)?)?;
        let listeners = (0..note.listeners)
            .map(|index| take(position::LISTENERS + index))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            channel: take(position::CHANNEL)?,
            bell: take(position::BELL)?,
            master,
            own,
            listeners,
            note,
            received: VecDeque::new(),
            unsaid: VecDeque::new(),
            connections: 0,
            idle_since: Mono::ZERO,
        })
    }

    /// A link to a master that is part of the test.
    #[cfg(test)]
    pub(super) const fn for_test(
        note: Note,
        channel: OwnedFd,
        bell: OwnedFd,
        master: Mapped<MasterPage, ReadOnly>,
        own: Mapped<WorkerPage, Writable>,
        listeners: Vec<OwnedFd>,
    ) -> Self {
        Self {
            note,
            channel,
            bell,
            master,
            own,
            listeners,
            received: VecDeque::new(),
            unsaid: VecDeque::new(),
            connections: 0,
            idle_since: Mono::ZERO,
        }
    }

    /// Binds this process to the CPU that the master chose, if it chose one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pin(&self) -> Result<(), PinError> {
        match self.note.cpu {
            Some(cpu) => {
                affinity::pin_current(cpu)?;
                self.own.board.cpu.store(u32::from(cpu.0) + 1, Relaxed);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Says that this worker is ready to have so many requests begun at once.
    ///
    /// # Errors
    /// When the limit of open files leaves no room for a connection.
    pub fn hello(&mut self, concurrency: u32) -> Result<(), LinkError> {
        let open_files = rlimit::read(Resource::OpenFiles).map_or(1024, |limit| limit.soft);
        let room = open_files.saturating_sub(u64::from(WORKER_SPARE_DESCRIPTORS));
        if room == 0 {
            return Err(LinkError::OpenFiles { open_files });
        }
        let head = &self.own.head;
        head.concurrency.store(concurrency.clamp(1, CONCURRENCY_MAX), Relaxed);
        head.connections_max.store(u32::try_from(room).unwrap_or(u32::MAX), Relaxed);
        head.magic.store(MAGIC, Relaxed);
        head.layout.store(LAYOUT, Relaxed);
        self.say(Say::Hello);
        Ok(())
    }

    /// The next connection that the master offers, to be claimed when it can be begun with.
    ///
    /// # Errors
    /// When the channel fails, or holds what no master sends.
    pub fn receive(&mut self, patience: Patience) -> Result<Delivery, LinkError> {
        if let Some(offer) = self.received.pop_front() {
            return Ok(Delivery::Offer(offer));
        }
        let message = match scm::recv_parcel(self.channel.as_fd(), patience) {
            Ok(Incoming::Parcel(message)) => message,
            Ok(Incoming::Empty) => return Ok(Delivery::Nothing),
            Ok(Incoming::EndOfStream) | Err(Errno(libc::ECONNRESET)) => return Ok(Delivery::Gone),
            Err(errno) => return Err(LinkError::Receive(errno)),
        };
        if message.truncated {
            return Err(LinkError::Truncated);
        }
        let (header, tickets) = Header::decode(&message.words, message.fds.len())?;
        match header.kind {
            Kind::Look => return Ok(Delivery::Look),
            Kind::Offer => {}
        }
        for (ticket, socket) in parcel::tickets(tickets).zip(message.fds) {
            let listener = self.listener_of(ticket);
            self.received.push_back(Offer { ticket, socket, listener });
        }
        Ok(self.received.pop_front().map_or(Delivery::Look, Delivery::Offer))
    }

    /// Makes an offered connection ours. To be called before its first byte is read. False when the
    /// master has taken it back: then it is another's, and not to be touched; dropping our copy
    /// does it no harm.
    #[must_use = "a connection that is not ours must not be touched"]
    pub fn claim(&mut self, ticket: Ticket, now: Mono) -> bool {
        if !claim::claim(&self.own, ticket) {
            self.say(Say::Missed(ticket));
            return false;
        }
        let transit_us = if self.own.board.busy_since_ns.load(Relaxed) == 0 {
            let offered_at = self.card_time(ticket);
            // A worker that was idle before the offer was made measures the way; any other
            // measures itself.
            if self.idle_since <= offered_at { micros(now.since(offered_at)).max(1) } else { 0 }
        } else {
            0
        };
        self.opened();
        self.say(Say::Claimed { ticket, transit_us });
        true
    }

    /// Says something about a connection, or hello.
    pub fn say(&mut self, say: Say) {
        self.note_token(say);
        self.ring_if_needed();
    }

    /// Says several things, with one look at the bell.
    pub fn say_all(&mut self, says: &[Say]) {
        for say in says {
            self.note_token(*say);
        }
        self.ring_if_needed();
    }

    /// What the master wants of this worker.
    pub fn order(&self) -> Order {
        Order::from_word(self.berth().order.load(Relaxed))
    }

    /// Who this worker is.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The channel, to wait for; it is read with [`Link::receive`].
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// The listeners that this worker accepts from, once.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// A connection has been opened or claimed.
    pub fn opened(&mut self) {
        self.connections += 1;
        let board = &self.own.board;
        board.connections.store(self.connections, Relaxed);
        add_one(&board.accepted);
    }

    /// A connection has been closed.
    pub fn closed(&mut self) {
        self.connections = self.connections.saturating_sub(1);
        self.own.board.connections.store(self.connections, Relaxed);
    }

    /// A request begins.
    pub fn began(&mut self, now: Mono) {
        self.own.board.busy_since_ns.store(now.as_ns().max(1), Relaxed);
        add_one(&self.own.board.started);
    }

    /// A request has been answered.
    pub fn ended(&mut self, now: Mono) {
        add_one(&self.own.board.finished);
        self.own.board.busy_since_ns.store(0, Relaxed);
        self.idle_since = now;
    }

    /// Pushes what found the ring full before; true when nothing is left.
    pub fn flush(&mut self) -> bool {
        let berth = &self.master.berths[self.note.worker.index()];
        while let Some(words) = self.unsaid.front() {
            if ring::push(&self.own, berth, *words).is_err() {
                return false;
            }
            self.unsaid.pop_front();
        }
        true
    }

    fn note_token(&mut self, say: Say) {
        let words = Token { pool: self.note.pool, say }.encode();
        if !self.flush() || ring::push(&self.own, self.berth(), words).is_err() {
            self.unsaid.push_back(words);
        }
    }

    fn ring_if_needed(&self) {
        match ring::after_push(&self.own, self.berth(), &self.master) {
            Bell::Silent => {}
            // It fails only when the master is gone, which the channel tells.
            Bell::Ring => eventfd::ring(&self.bell.as_fd()).unwrap_or_default(),
        }
    }

    fn berth(&self) -> &Berth {
        &self.master.berths[self.note.worker.index()]
    }

    fn listener_of(&self, ticket: Ticket) -> ListenerId {
        let listener =
            self.master.cards.get(ticket.index()).map_or(0, |card| card.listener.load(Relaxed));
        ListenerId(u16::try_from(listener).unwrap_or(0))
    }

    fn card_time(&self, ticket: Ticket) -> Mono {
        let card = self.master.cards.get(ticket.index());
        Mono::from_ns(card.map_or(0, |card| card.offered_at_ns.load(Relaxed)))
    }
}

/// Microseconds for a token, cut at what fits.
pub(super) fn micros(span: Span) -> u32 {
    u32::try_from(span.as_us()).unwrap_or(u32::MAX)
}

fn add_one(counter: &std::sync::atomic::AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}
