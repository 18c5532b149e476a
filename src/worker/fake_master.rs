//! The master's side of a link, played by a test: it makes offers, gives orders and reads what the
//! worker said, so that a worker's loop is tried without a second process.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use super::link::LinkEnd;
use crate::limits::MESSAGE_RING;
use crate::shm::claim::{self, Settled};
use crate::shm::layout::{MasterPage, Order, WorkerPage};
use crate::shm::map::{Mapped, ReadOnly, Writable};
use crate::shm::ring::{self, Ring};
use crate::sys::{eventfd, scm, socket};
use crate::units::{AppId, Generation, GiveBack, SlotId, Ticket, WorkerId};
use crate::wire::batch::{BatchKind, Header};
use crate::wire::handshake::{Handshake, ListenerSharing};
use crate::wire::message::{RingMessage, WorkerMessage};
use crate::wire::offer::OfferEntry;

/// A master of one worker.
#[derive(Debug)]
pub(crate) struct FakeMaster {
    channel: OwnedFd,
    page: Mapped<MasterPage, Writable>,
    theirs: Mapped<WorkerPage, Writable>,
}

impl FakeMaster {
    /// A master, and the link of its worker: slot 3, index 5, generation 7. The worker gets
    /// these listeners.
    pub(crate) fn new(sharing: ListenerSharing, listeners: Vec<OwnedFd>) -> (Self, LinkEnd) {
        let (master, link) = Self::apart(sharing, listeners);
        (master, link())
    }

    /// The same, where the link is taken up by another thread.
    pub(crate) fn apart(
        sharing: ListenerSharing,
        listeners: Vec<OwnedFd>,
    ) -> (Self, impl FnOnce() -> LinkEnd + Send) {
        let (channel, end) = socket::seqpacket_pair().unwrap();
        let (master_memory, page) = Mapped::<MasterPage, Writable>::create(c"master").unwrap();
        let (own_memory, theirs) = Mapped::<WorkerPage, Writable>::create(c"worker").unwrap();
        let handshake = Handshake {
            app: AppId(0),
            slot: SlotId(3),
            worker: WorkerId { index: 5, epoch: 0 },
            generation: Generation(7),
            cpu: None,
            listeners: listeners.len(),
            inherited: 0,
            sharing,
        };
        let link = move || {
            let doorbell = eventfd::create().unwrap();
            let page = Mapped::<MasterPage, ReadOnly>::open(&master_memory).unwrap();
            let own = Mapped::<WorkerPage, Writable>::open(&own_memory).unwrap();
            LinkEnd::over(handshake, end, doorbell, page, own, listeners)
        };
        (Self { channel, page, theirs }, link)
    }

    /// Offers a connection, of which the caller keeps a copy.
    pub(crate) fn offer(&self, ticket: Ticket, connection: &OwnedFd) {
        claim::offer(&self.theirs, ticket);
        self.send(BatchKind::Offer, &[ticket], &[connection.as_fd()]);
    }

    /// Offers a connection that the worker has a copy of.
    pub(crate) fn offer_again(&self, ticket: Ticket) {
        claim::offer(&self.theirs, ticket);
        self.offer_entry(OfferEntry::Offer(ticket));
    }

    /// Writes an offer entry, and wakes the worker if it sleeps.
    pub(crate) fn offer_entry(&self, offer_entry: OfferEntry) {
        let ring = Ring::to_worker(&self.page, 5, &self.theirs).unwrap();
        ring.push(offer_entry.encode()).unwrap();
        if ring::sleep_number(&self.theirs).is_some() {
            self.look();
        }
    }

    /// Tells the worker what to do with connections that it has answered.
    pub(crate) fn wants_back(&self, give_back: GiveBack) {
        self.page.give_back.store(give_back as u32, Relaxed);
    }

    /// Takes an offer back; false when it is claimed.
    pub(crate) fn recall(&self, ticket: Ticket) -> bool {
        claim::recall(&self.theirs, ticket) == Settled::Back
    }

    /// Whether the worker sleeps.
    pub(crate) fn sees_nap(&self) -> bool {
        ring::sleep_number(&self.theirs).is_some()
    }

    /// Tells the worker to leave.
    pub(crate) fn drain(&self) {
        self.page.workers[5].order.store(Order::Drain as u32, Relaxed);
        self.look();
    }

    /// Tells the worker to look.
    pub(crate) fn look(&self) {
        self.send(BatchKind::Look, &[], &[] as &[OwnedFd]);
    }

    /// What the worker has said since the last call.
    pub(crate) fn heard(&self) -> Vec<WorkerMessage> {
        let mut words = Vec::new();
        let ring = Ring::to_master(&self.theirs, &self.page.workers[5]);
        ring.drain(MESSAGE_RING, &mut words).unwrap();
        words.into_iter().map(|words| RingMessage::decode(words).unwrap().message).collect()
    }

    /// Requests that the worker has begun and answered, and its open connections.
    pub(crate) fn board(&self) -> (u64, u64, u32) {
        let board = &self.theirs.board;
        let connections = board.connections.load(Relaxed);
        (board.started.load(Relaxed), board.finished.load(Relaxed), connections)
    }

    /// Connections that the worker has said it can hold.
    pub(crate) fn connections_max(&self) -> u32 {
        self.theirs.head.connections_max.load(Relaxed)
    }

    fn send(&self, kind: BatchKind, tickets: &[Ticket], fds: &[impl AsFd]) {
        let mut words = vec![Header { app: AppId(0), kind }.encode()];
        words.extend(tickets.iter().map(|ticket| ticket.to_word()));
        scm::send_batch(self.channel.as_fd(), &words, fds).unwrap();
    }
}
