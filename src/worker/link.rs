//! The worker's end of everything that it shares with its master: the channel that descriptors
//! come through, the pages, the doorbell. It keeps the order that makes a connection safe: claim
//! before the first read, done or idle after the last byte of the answer, closed at the end.
//!
//! A descriptor comes once; here it stays, whosever the connection is, until it ends. What is
//! offered afterwards is only named, in the offer entries that the master writes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::copies::ReceivedCopies;
use super::spin::Spinner;
use crate::limits::{
    CONCURRENCY_MAX, LOOK_AFTER, OFFER_ENTRY_RING, TICKETS_MAX, WORKER_SPARE_DESCRIPTORS,
};
use crate::shm::claim;
use crate::shm::layout::{LAYOUT, MasterPage, Order, WorkerLine, WorkerPage};
use crate::shm::map::{MapError, Mapped, ReadOnly, Writable};
use crate::shm::ring::{self, Doorbell, Overrun, Ring, Urgency};
use crate::sys::affinity::{self, PinError};
use crate::sys::clock;
use crate::sys::errno::io_error;
use crate::sys::eventfd;
use crate::sys::fd;
use crate::sys::rlimit::{self, Resource};
use crate::sys::scm::{self, Incoming, RecvWait};
use crate::sys::sigterm::{self, Watched};
use crate::sys::socket;
use crate::units::{Cpu, Errno, GiveBack, ListenerId, Mono, RingWords, Span, Ticket};
use crate::wire::batch::{self, BadBatch, BatchKind, Header};
use crate::wire::handshake::{BadHandshake, Handshake, VARIABLE};
use crate::wire::message::{RingMessage, WorkerMessage};
use crate::wire::offer::{BadOfferEntry, OfferEntry};

/// The worker's end.
#[derive(Debug)]
pub struct LinkEnd {
    handshake: Handshake,
    channel: OwnedFd,
    doorbell: OwnedFd,
    master: Mapped<MasterPage, ReadOnly>,
    own: Mapped<WorkerPage, Writable>,
    listeners: Vec<OwnedFd>,
    /// Connections that the master may offer without sending them, and those on offer.
    copies: ReceivedCopies,
    /// Offers that have not been asked for.
    offers: VecDeque<Ticket>,
    /// There was a wake-up among what was read for another reason.
    told_to_look: bool,
    /// Offer entries that were read together and have not been run.
    offer_entries: VecDeque<RingWords>,
    /// Messages that found the ring full, in order; they go before any other.
    unsent: VecDeque<RingWords>,
    /// The master's sleep that this worker last rang for.
    rung: Option<u32>,
    connections: u32,
    busy_since: Mono,
    idle_since: Mono,
    spin: Spinner,
    /// Since when this worker has had nothing to do, until it is told something.
    pausing: Option<Mono>,
    /// It has slept since it last claimed anything.
    slept: bool,
    /// The master has ended its side: nobody takes anything back.
    gone: bool,
}

/// A connection that is ours. Others have copies of it: `shutdown` before `close`, or the client
/// waits for the end.
#[derive(Debug)]
pub struct Claimed {
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
    /// A connection, to be claimed when it can be begun with.
    Offer(Ticket),
    /// Only a wake-up: look at [`LinkEnd::order`].
    Look,
    /// Nothing at the moment.
    Nothing,
    /// The master is gone.
    Gone,
}

/// What a message was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ChannelMessage {
    Offers,
    Look,
    Nothing,
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
    Note(#[from] BadHandshake),
    /// A descriptor that the handshake names is not open.
    #[error(
        "descriptor {number} of {VARIABLE} is not open: something between \
         dispatchd and this program closed it"
    )]
    Descriptor {
        /// Which one.
        number: i32,
    },
    /// A descriptor is another than dispatchd gave.
    #[error(
        "descriptor {number} of {VARIABLE} is not the {wanted} that dispatchd gave: the variable \
         is set by dispatchd alone, do not set or copy it, and close nothing that comes with it"
    )]
    Strange {
        /// Which one.
        number: i32,
        /// What it should be.
        wanted: &'static str,
    },
    /// The variable is none that dispatchd set for this process.
    #[error(
        "{VARIABLE} is not what dispatchd gave to this process: it is set by dispatchd alone, do \
         not set or copy it"
    )]
    Forged,
    /// There is one owner.
    #[error(
        "process {by} has taken up the link to dispatchd: take it up once, in the program that \
         dispatchd starts"
    )]
    Taken {
        /// The process that has it.
        by: u32,
    },
    /// The shared pages cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The master was built otherwise.
    #[error("dispatchd lays its pages out otherwise: build it and this program from one version")]
    Layout,
    /// The limit of open files is too low.
    #[error("{open_files} open files are too few for a worker: raise `ulimit -n` above {spare}")]
    OpenFiles {
        /// The limit.
        open_files: u64,
        /// Those that are not for connections.
        spare: u64,
    },
    /// The channel failed.
    #[error("cannot receive connections: {}", io_error(*.0))]
    Receive(Errno),
    /// The channel had what no master sends.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// A ticket is beyond the table.
    #[error("ticket {0} is beyond the table: build dispatchd and this program from one version")]
    Ticket(Ticket),
    /// The ring had what no master writes.
    #[error(transparent)]
    OfferEntry(#[from] BadOfferEntry),
    /// The ring is impossible.
    #[error(transparent)]
    Overrun(#[from] Overrun),
    /// The signal cannot be handled.
    #[error("cannot prepare for SIGTERM: {}", io_error(*.0))]
    SigTerm(Errno),
    /// Descriptors were lost on the way.
    #[error("connections were lost on their way here: the limit of open files was reached")]
    Truncated,
}

impl LinkEnd {
    /// From now on SIGTERM is a request to leave; see [`sigterm`].
    pub(super) fn handle_sigterm(&self, master: &OwnedFd, own: &OwnedFd) -> Result<(), LinkError> {
        let master = Mapped::<MasterPage, ReadOnly>::open(master)?.leak();
        let own = Mapped::<WorkerPage, Writable>::open(own)?.leak();
        let Some(index) = master.workers.get(self.handshake.worker.index()) else {
            return Err(LinkError::Layout);
        };
        let setup = sigterm::HandlerSetup {
            asks_to_leave: &own.message_writer.asks_to_leave,
            doorbell: fd::duplicate(&self.doorbell).map_err(LinkError::SigTerm)?,
            channel: Watched::new(self.channel()),
            order: &index.order,
            end_at_once: Order::Terminate as u32,
            master: socket::maker(&self.channel).map_err(LinkError::SigTerm)?,
            patience: Span::from_ns(master.drain_ns.load(Relaxed)),
        };
        let ours = self.listeners.iter().skip(self.handshake.inherited).map(AsFd::as_fd);
        sigterm::handle(setup, ours).map_err(LinkError::SigTerm)
    }

    /// A link over these, of which nothing has been used.
    pub(super) fn over(
        handshake: Handshake,
        channel: OwnedFd,
        doorbell: OwnedFd,
        master: Mapped<MasterPage, ReadOnly>,
        own: Mapped<WorkerPage, Writable>,
        listeners: Vec<OwnedFd>,
    ) -> Self {
        Self {
            handshake,
            channel,
            doorbell,
            master,
            own,
            listeners,
            copies: ReceivedCopies::default(),
            offers: VecDeque::new(),
            told_to_look: false,
            offer_entries: VecDeque::new(),
            unsent: VecDeque::new(),
            rung: None,
            connections: 0,
            busy_since: Mono::ZERO,
            idle_since: Mono::ZERO,
            spin: Spinner::UNTRIED,
            pausing: None,
            slept: false,
            gone: false,
        }
    }

    /// Binds this process to the CPU that the master chose, if it chose one. Where the kernel
    /// refuses the master is told with the hello, and the process runs wherever it may.
    pub fn pin(&self) {
        let Some(cpu) = self.handshake.cpu else { return };
        match affinity::pin_current(cpu) {
            Ok(()) => self.own.board.cpu.store(u32::from(cpu.0) + 1, Relaxed),
            Err(PinError { errno: Errno(errno), .. }) => {
                self.own.head.pin_errno.store(errno.unsigned_abs(), Relaxed);
            }
        }
    }

    /// Raises this process's soft limit of open files to the hard one: every connection is a
    /// descriptor, and those that are given back stay here as copies (decision 012). Programs that
    /// call `select`, which knows 1,024, are better off without. To be called before
    /// [`LinkEnd::hello`].
    pub fn raise_nofile(&self) {
        // If it cannot be raised, the limit as it is bounds the connections.
        rlimit::raise_open_files().map(drop).unwrap_or_default();
    }

    /// Says that this worker is ready to have so many requests begun at once.
    ///
    /// # Errors
    /// When the limit of open files leaves no room for a connection.
    pub fn hello(&mut self, concurrency: u32) -> Result<(), LinkError> {
        let open_files = rlimit::read(Resource::OpenFiles).map_or(1024, |limit| limit.soft);
        // Those listeners that it accepts from are there twice: see [`LinkEnd::let_listeners_go`].
        let listeners = 2 * u64::try_from(self.handshake.listeners).unwrap_or(0);
        let spare = u64::from(WORKER_SPARE_DESCRIPTORS) + listeners;
        let room = open_files.saturating_sub(spare);
        if room == 0 {
            return Err(LinkError::OpenFiles { open_files, spare });
        }
        let head = &self.own.head;
        head.concurrency.store(concurrency.clamp(1, CONCURRENCY_MAX), Relaxed);
        head.connections_max.store(u32::try_from(room).unwrap_or(u32::MAX), Relaxed);
        head.layout.store(LAYOUT, Relaxed);
        self.send(WorkerMessage::Hello);
        Ok(())
    }

    /// The next connection that the master offers, to be claimed when it can be begun with.
    ///
    /// # Errors
    /// When the channel fails, or it or the ring holds what no master sends.
    pub fn receive(&mut self, patience: RecvWait) -> Result<Delivery, LinkError> {
        self.run_offer_entries()?;
        if let Some(ticket) = self.offers.pop_front() {
            return Ok(Delivery::Offer(ticket));
        }
        if std::mem::take(&mut self.told_to_look) {
            return Ok(Delivery::Look);
        }
        let message = match patience {
            RecvWait::Wait if self.spin() || !self.fall_asleep() => return Ok(Delivery::Look),
            RecvWait::Wait | RecvWait::Now => self.read_channel(patience),
        };
        self.wake();
        Ok(match message? {
            ChannelMessage::Offers => {
                self.offers.pop_front().map_or(Delivery::Look, Delivery::Offer)
            }
            ChannelMessage::Look => Delivery::Look,
            ChannelMessage::Nothing => Delivery::Nothing,
            ChannelMessage::Gone => {
                sigterm::abandoned();
                Delivery::Gone
            }
        })
    }

    /// Makes an offered connection ours. To be called before its first byte is read. `None` when
    /// the master has taken it back: then it is another's; or when its client has reset it while it
    /// waited here.
    pub fn claim(&mut self, ticket: Ticket, now: Mono) -> Option<Claimed> {
        if !self.copies.has(ticket) || !claim::claim(&self.own, ticket) {
            self.send(WorkerMessage::Missed(ticket));
            return None;
        }
        let socket = self.copies.take(ticket)?;
        self.opened();
        self.pausing = None;
        let transit_us = self.transit_us(ticket, now);
        if std::mem::take(&mut self.slept) && 0 < transit_us {
            self.spin.woke(Span::from_us(transit_us.into()), self.spins_at_most());
        }
        self.send(WorkerMessage::Claimed { ticket, transit_us });
        let waited = now.since(self.conn_record_time(ticket));
        if LOOK_AFTER <= waited && socket::is_reset(socket.as_fd()) {
            // Its client has given up, and nobody would read the answer.
            self.let_go(Some(ticket), socket, None);
            return None;
        }
        Some(Claimed { ticket, socket, listener: self.listener_of(ticket) })
    }

    /// Whether a connection that has been answered goes back to the master now, which
    /// [`LinkEnd::keep_copy`] and [`WorkerMessage::Idle`] do. `leaving` is whether this worker is
    /// to end.
    pub fn gives_back(&self, leaving: bool) -> bool {
        if self.gone {
            return false;
        }
        match GiveBack::from_word(self.master.give_back.load(Relaxed)) {
            GiveBack::Never => false,
            GiveBack::WhenLeaving => leaving,
            GiveBack::Always => true,
        }
    }

    /// Keeps our copy of a connection that is not ours any more: all that was asked is answered,
    /// the answer's last byte is in the kernel, and nothing that came after it has been read.
    /// [`WorkerMessage::Idle`] is to follow, and without a claim it is not to be touched again.
    pub fn keep_copy(&mut self, ticket: Ticket, socket: OwnedFd) {
        self.copies.put(ticket, socket);
        self.closed();
    }

    /// Gives a connection back, as [`LinkEnd::keep_copy`] says. `service_us` is how long its
    /// request took; 0 where that was told.
    pub(super) fn give_back(&mut self, ticket: Ticket, socket: OwnedFd, service_us: u32) {
        self.keep_copy(ticket, socket);
        self.send(WorkerMessage::Idle { ticket, service_us });
    }

    /// Ends a connection for its client. `service_us` is how long its request took, where that is
    /// to be told.
    pub(super) fn let_go(
        &mut self,
        ticket: Option<Ticket>,
        socket: OwnedFd,
        service_us: Option<u32>,
    ) {
        self.closed();
        let Some(ticket) = ticket else { return };
        // Without it our close sends no FIN while the master still has a copy. It fails when the
        // client is gone, and then there is nobody to tell.
        socket::shutdown(socket.as_fd()).unwrap_or_default();
        drop(socket);
        let done = service_us.map(|service_us| WorkerMessage::Done { ticket, service_us });
        let messages: Vec<WorkerMessage> =
            done.into_iter().chain([WorkerMessage::Closed(ticket)]).collect();
        self.send_all(&messages);
    }

    /// Whether the master has written anything that [`LinkEnd::receive`] has not taken in.
    pub fn has_offer_entries(&self) -> bool {
        !self.offer_entries.is_empty() || self.ring().is_some_and(|ring| ring.has_messages())
    }

    /// Stays awake for a moment, where that is wanted and likely to be worth it. Whether the master
    /// has written something meanwhile. To be asked before [`LinkEnd::fall_asleep`], with nothing
    /// left undone.
    pub fn spin(&mut self) -> bool {
        let most = self.spins_at_most();
        if most == Span::ZERO {
            return false;
        }
        let began_at = clock::monotonic();
        self.pausing = Some(began_at);
        let end = began_at.after(self.spin.for_how_long(most));
        let mut now = began_at;
        while now < end {
            if self.has_offer_entries() {
                self.slept = false;
                return true;
            }
            std::hint::spin_loop();
            now = clock::monotonic();
        }
        if began_at < end {
            // It was in vain, whatever comes next and when.
            self.pausing = None;
            self.spin.paused(Span::from_ns(u64::MAX), most);
        }
        false
    }

    /// Says that this worker is about to sleep, until [`LinkEnd::wake`]. False when it must not,
    /// since the master has written something meanwhile.
    #[must_use = "whoever sleeps over offer entries is not woken for them"]
    pub fn fall_asleep(&mut self) -> bool {
        ring::fall_asleep(&self.own);
        self.slept = !self.has_offer_entries();
        if !self.slept {
            self.wake();
        }
        self.slept
    }

    /// Says that this worker is awake.
    pub fn wake(&self) {
        ring::wake(&self.own);
    }

    /// Runs what the master has written.
    fn run_offer_entries(&mut self) -> Result<(), LinkError> {
        let Self { own, master, offer_entries, handshake, .. } = self;
        if let Some(ring) = Ring::to_worker(master, handshake.worker.index(), own) {
            ring.drain(OFFER_ENTRY_RING, offer_entries)?;
        }
        while let Some(words) = self.offer_entries.pop_front() {
            match OfferEntry::decode(words)? {
                OfferEntry::Offer(ticket) => {
                    self.end_pause(ticket);
                    self.fetch(ticket)?;
                    self.offers.push_back(ticket);
                }
                OfferEntry::Forget(ticket) => {
                    self.fetch(ticket)?;
                    drop(self.copies.take(ticket));
                }
            }
        }
        Ok(())
    }

    /// How long this worker may stay awake at most.
    fn spins_at_most(&self) -> Span {
        Span::from_ns(self.master.spin_ns.load(Relaxed).into())
    }

    /// The pause since there was nothing to do ended when this was offered.
    fn end_pause(&mut self, ticket: Ticket) {
        if let Some(since) = self.pausing.take() {
            self.spin.paused(self.conn_record_time(ticket).since(since), self.spins_at_most());
        }
    }

    /// An offer entry may be read before the message that brought its connection. What was sent
    /// after the offer entry may be newer than it: no more is read than is needed.
    fn fetch(&mut self, ticket: Ticket) -> Result<(), LinkError> {
        while !self.copies.has(ticket) {
            match self.read_channel(RecvWait::Now)? {
                ChannelMessage::Offers => {}
                // What it is about may be newer than whatever was looked at before.
                ChannelMessage::Look => self.told_to_look = true,
                ChannelMessage::Nothing | ChannelMessage::Gone => break,
            }
        }
        Ok(())
    }

    /// Reads one message: what is in it joins the copies and the offers.
    fn read_channel(&mut self, patience: RecvWait) -> Result<ChannelMessage, LinkError> {
        let message = match scm::recv_batch(self.channel.as_fd(), patience) {
            Ok(Incoming::Batch(message)) => message,
            Ok(Incoming::Empty) => return Ok(ChannelMessage::Nothing),
            Ok(Incoming::EndOfStream) | Err(Errno(libc::ECONNRESET)) => {
                self.gone = true;
                return Ok(ChannelMessage::Gone);
            }
            Err(errno) => return Err(LinkError::Receive(errno)),
        };
        if message.truncated {
            return Err(LinkError::Truncated);
        }
        let (header, tickets) = Header::decode(&message.words, message.fds.len())?;
        match header.kind {
            BatchKind::Look => return Ok(ChannelMessage::Look),
            BatchKind::Offer => {}
        }
        for (ticket, socket) in batch::tickets(tickets).zip(message.fds) {
            if TICKETS_MAX <= ticket.index {
                return Err(LinkError::Ticket(ticket));
            }
            self.copies.put(ticket, socket);
            self.offers.push_back(ticket);
        }
        Ok(ChannelMessage::Offers)
    }

    /// Microseconds since the offer, if that is what it took to come here: a worker that was idle
    /// before the offer was made measures the way; any other measures itself.
    fn transit_us(&self, ticket: Ticket, now: Mono) -> u32 {
        let offered_at = self.conn_record_time(ticket);
        let idle = self.own.board.busy_since_ns.load(Relaxed) == 0;
        if idle && self.idle_since <= offered_at { micros(now.since(offered_at)).max(1) } else { 0 }
    }

    /// Says something about a connection, or hello.
    pub fn send(&mut self, message: WorkerMessage) {
        self.send_all(&[message]);
    }

    /// Says several things, with one look at the doorbell.
    pub fn send_all(&mut self, messages: &[WorkerMessage]) {
        let mut urgency = Urgency::Whenever;
        for message in messages {
            self.write_message(*message);
            // Somebody has to watch for the next request.
            if let WorkerMessage::Idle { .. } = message {
                urgency = Urgency::Now;
            }
        }
        self.ring_if_needed(urgency);
    }

    /// What the master wants of this worker.
    pub fn order(&self) -> Order {
        Order::from_word(self.index().order.load(Relaxed))
    }

    /// Asks for the order to drain, which comes when another worker is ready to take over. SIGTERM
    /// asks for the same.
    pub fn ask_to_leave(&self) {
        self.own.message_writer.asks_to_leave.store(1, Relaxed);
        // It fails where enough has been rung already.
        eventfd::ring(&self.doorbell.as_fd()).unwrap_or_default();
    }

    /// Who this worker is.
    pub const fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The CPU that [`LinkEnd::pin`] has bound this process to, which is not always the one that
    /// its handshake names.
    pub fn cpu(&self) -> Option<Cpu> {
        let number = self.own.board.cpu.load(Relaxed).checked_sub(1)?;
        u16::try_from(number).ok().map(Cpu)
    }

    /// The channel, to wait for; it is read with [`LinkEnd::receive`].
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// The listeners that this worker accepts from, once. They are to be closed when the order is
    /// to drain, after one last accept from each, and [`LinkEnd::let_listeners_go`] is to be
    /// called: who accepts no more keeps nobody waiting.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// Says that this process accepts no more: closes the copies of its listeners that were kept
    /// for SIGTERM, which ends them where there is no master to do so. As long as there are any,
    /// whoever connects waits at a listener that nobody accepts from.
    pub fn let_listeners_go(&self) {
        sigterm::let_listeners_go();
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
        self.busy_since = now;
        self.slept = false;
        add_one(&self.own.board.started);
    }

    /// A request has been answered.
    pub fn ended(&mut self, now: Mono) {
        self.ended_together(1, now);
    }

    /// So many requests have been answered, that were begun at the same time and took the same.
    pub fn ended_together(&mut self, count: u32, now: Mono) {
        let took = now.since(self.busy_since);
        let board = &self.own.board;
        board.busy_since_ns.store(0, Relaxed);
        add(&board.busy_ns, took.as_ns());
        add(&board.squares_us2, took.squared_us2() / u64::from(count.max(1)));
        add(&board.finished, count.into());
        self.idle_since = now;
    }

    /// Pushes what found the ring full before; true when nothing is left.
    pub fn flush(&mut self) -> bool {
        let ring = Ring::to_master(&self.own, &self.master.workers[self.handshake.worker.index()]);
        while let Some(words) = self.unsent.front() {
            if ring.push(*words).is_err() {
                return false;
            }
            self.unsent.pop_front();
        }
        true
    }

    fn write_message(&mut self, message: WorkerMessage) {
        let words = RingMessage { app: self.handshake.app, message }.encode();
        if !self.flush() || Ring::to_master(&self.own, self.index()).push(words).is_err() {
            self.unsent.push_back(words);
        }
    }

    fn ring_if_needed(&mut self, urgency: Urgency) {
        let Self { own, master, rung, handshake, .. } = self;
        let ring = Ring::to_master(own, &master.workers[handshake.worker.index()]);
        match ring::after_push(ring, master, urgency, rung) {
            Doorbell::Silent => {}
            // It fails when this process has filled its doorbell, and is then heard by chance.
            Doorbell::Ring => {
                add_one(&own.board.rings);
                eventfd::ring(&self.doorbell.as_fd()).unwrap_or_default();
            }
        }
    }

    fn ring(&self) -> Option<Ring<'_>> {
        Ring::to_worker(&self.master, self.handshake.worker.index(), &self.own)
    }

    fn index(&self) -> &WorkerLine {
        &self.master.workers[self.handshake.worker.index()]
    }

    fn listener_of(&self, ticket: Ticket) -> ListenerId {
        let listener = self
            .master
            .conn_records
            .get(ticket.index())
            .map_or(0, |conn_record| conn_record.listener.load(Relaxed));
        ListenerId(u16::try_from(listener).unwrap_or(0))
    }

    fn conn_record_time(&self, ticket: Ticket) -> Mono {
        let conn_record = self.master.conn_records.get(ticket.index());
        Mono::from_ns(conn_record.map_or(0, |conn_record| conn_record.offered_at_ns.load(Relaxed)))
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        // Its number may soon be another's.
        sigterm::forget(&self.channel);
    }
}

/// Microseconds for a message, cut at what fits.
pub(super) fn micros(span: Span) -> u32 {
    u32::try_from(span.as_us()).unwrap_or(u32::MAX)
}

fn add_one(counter: &AtomicU64) {
    add(counter, 1);
}

/// Nobody else writes it: no atomic addition is needed.
fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
}
