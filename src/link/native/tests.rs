//! The link over real descriptors and real pages, with the worker's end in the test's hands.

use std::os::fd::{AsFd, OwnedFd};

use super::*;
use crate::engine::input::Terms;
use crate::io::{Completion, Tag, epoll::Epoll};
use crate::link::pages::MappedPages;
use crate::link::{Link, LinkEnds};
use crate::shm::claim::{self, Settled};
use crate::shm::layout::{LAYOUT, MAGIC, MasterPage, WorkerPage};
use crate::shm::map::{Mapped, ReadOnly, Writable};
use crate::shm::ring::Ring;
use crate::sys::scm::{self, Incoming, RecvWait};
use crate::sys::{eventfd, fd, socket};
use crate::units::{Mono, Span};
use std::sync::atomic::Ordering::Relaxed;

const WORKER: WorkerId = WorkerId { index: 3, epoch: 2 };
const ROOM: u32 = 100;

const fn ticket(index: u32) -> Ticket {
    Ticket { index, generation: 1 }
}

/// A link, what it acts upon, and the worker's end.
struct Rig {
    link: Link<OwnedFd>,
    backend: Epoll,
    pages: MappedPages,
    connections: Connections,
    far: Option<OwnedFd>,
    own: Mapped<WorkerPage, Writable>,
    master: Mapped<MasterPage, ReadOnly>,
}

/// Connections that are all here, and those that have been taken out to be sent.
#[derive(Default)]
struct Connections {
    sent: Vec<Ticket>,
    busy: Vec<Ticket>,
}

impl ConnectionTable<OwnedFd> for Connections {
    fn send(&mut self, ticket: Ticket) -> Option<OwnedFd> {
        self.sent.push(ticket);
        eventfd::create().ok()
    }

    fn is_with(&self, ticket: Ticket, _worker: WorkerId) -> bool {
        self.busy.contains(&ticket)
    }

    fn is_held(&self, _ticket: Ticket) -> bool {
        false
    }
}

impl Rig {
    fn new() -> Self {
        let (near, far) = socket::seqpacket_pair().unwrap();
        let (hangup, doorbell) = (fd::duplicate(&near).unwrap(), eventfd::create().unwrap());
        let mut pages = MappedPages::new(Span::from_s(1)).unwrap();
        let (memory, page) = Mapped::<WorkerPage, Writable>::create(c"test").unwrap();
        pages.keep(WORKER, page);
        let own = Mapped::<WorkerPage, Writable>::open(&memory).unwrap();
        let master = Mapped::<MasterPage, ReadOnly>::open(pages.memory()).unwrap();
        let mut backend = Epoll::new().unwrap();
        let ends = LinkEnds::Native { channel: near, hangup, doorbell };
        let link = Link::new(ends, port(&mut backend, &mut pages));
        let connections = Connections::default();
        Self { link, backend, pages, connections, far: Some(far), own, master }
    }

    fn offer(&mut self, index: u32) -> Result<(), Behind> {
        let port = port(&mut self.backend, &mut self.pages);
        self.link.offer(ticket(index), ROOM, &mut self.connections, port)
    }

    fn flush(&mut self) {
        self.link.send_gathered(port(&mut self.backend, &mut self.pages));
        self.link.wake_if_told(port(&mut self.backend, &mut self.pages));
    }

    /// What the link makes of all that ends now.
    fn news(&mut self) -> Vec<LinkNews<OwnedFd>> {
        let (mut ended, mut news) = (Vec::new(), Vec::new());
        self.backend.wait(Some(Span::ZERO), &mut ended).unwrap();
        for Completion { tag, outcome, .. } in ended {
            super::super::completed(Some(&mut self.link), WORKER, op_of(tag), outcome, &mut news);
        }
        news
    }

    /// What the worker finds in its channel: how many descriptors, or none where only a wake-up is.
    fn receives(&self) -> Option<usize> {
        let far = self.far.as_ref().unwrap();
        match scm::recv_batch(far.as_fd(), RecvWait::Now) {
            Ok(Incoming::Batch(message)) => Some(message.fds.len()),
            Ok(Incoming::Empty | Incoming::EndOfStream) | Err(_) => None,
        }
    }

    /// What the worker has been told through shared memory.
    fn is_told(&self) -> Vec<OfferEntry> {
        let ring = Ring::to_worker(&self.master, WORKER.index(), &self.own).unwrap();
        let mut words = Vec::new();
        ring.drain(usize::MAX, &mut words).unwrap();
        words.into_iter().map(|words| OfferEntry::decode(words).unwrap()).collect()
    }

    fn says(&self, words: RingWords) {
        let line = &self.master.workers[WORKER.index()];
        Ring::to_master(&self.own, line).push(words).unwrap();
    }

    fn hears(&mut self) -> Vec<Input> {
        let mut heard = Vec::new();
        self.link.hear(port(&mut self.backend, &mut self.pages), &mut heard);
        heard
    }
}

fn port<'a>(
    backend: &'a mut Epoll,
    pages: &'a mut MappedPages,
) -> LinkPort<'a, Epoll, MappedPages> {
    let tag = |_, op| {
        let ops = [LinkOp::Send, LinkOp::Hangup, LinkOp::Doorbell];
        Tag(ops.iter().position(|each| *each == op).unwrap() as u64)
    };
    LinkPort { worker: WORKER, backend, pages, now: Mono::from_ns(5), tag }
}

fn op_of(tag: Tag) -> LinkOp {
    [LinkOp::Send, LinkOp::Hangup, LinkOp::Doorbell][usize::try_from(tag.0).unwrap()]
}

fn message(message: WorkerMessage) -> RingWords {
    RingMessage { app: APP, message }.encode()
}

#[test]
fn a_connection_crosses_once_and_is_named_afterwards() {
    let mut rig = Rig::new();
    for index in 0..3 {
        rig.offer(index).unwrap();
    }
    rig.flush();
    let news = rig.news();
    assert_eq!(rig.receives(), Some(3), "they travel together");
    let back = |each: &LinkNews<OwnedFd>| matches!(each, LinkNews::Back { result: Ok(()), .. });
    assert!(news.len() == 3 && news.iter().all(back), "{news:?}");
    assert!(claim::claim(&rig.own, ticket(1)));
    rig.own.offer_reader.sleeps.store(1, Relaxed);
    rig.offer(1).unwrap();
    rig.flush();
    rig.news();
    assert_eq!(rig.connections.sent.len(), 3, "it has a copy of that");
    assert_eq!((rig.receives(), rig.is_told()), (Some(0), vec![OfferEntry::Offer(ticket(1))]));
    rig.offer(2).unwrap();
    rig.flush();
    rig.news();
    assert_eq!(rig.receives(), None, "once per sleep is enough");
    rig.own.offer_reader.sleeps.store(3, Relaxed);
    rig.offer(2).unwrap();
    rig.offer(9).unwrap();
    rig.flush();
    rig.news();
    assert_eq!((rig.receives(), rig.receives()), (Some(1), None), "what is sent wakes by itself");
}

#[test]
fn what_does_not_go_out_comes_back_and_is_sent_again_in_full() {
    let mut rig = Rig::new();
    rig.far = None;
    rig.offer(0).unwrap();
    rig.flush();
    let news = rig.news();
    let gone = |each: &LinkNews<OwnedFd>| match each {
        LinkNews::Back { ticket: back, result, .. } => *back == ticket(0) && result.is_err(),
        LinkNews::Input(_) | LinkNews::WaitFailed(..) => false,
    };
    let ended = |each: &LinkNews<OwnedFd>| matches!(each, LinkNews::Input(Input::Detached(WORKER)));
    assert!(news.iter().any(gone) && news.iter().any(ended), "{news:?}");
    rig.offer(0).unwrap();
    assert_eq!(rig.connections.sent, [ticket(0), ticket(0)], "it has no copy of it");
}

#[test]
fn who_does_not_read_what_it_is_told_is_behind_and_forgets_in_order() {
    let mut rig = Rig::new();
    for index in 0..2 {
        rig.offer(index).unwrap();
    }
    rig.flush();
    let mut told = 0;
    while rig.offer(0).is_ok() {
        told += 1;
    }
    let mut entries = vec![OfferEntry::Offer(ticket(0)); told];
    assert!(rig.link.forget(ticket(1), port(&mut rig.backend, &mut rig.pages)));
    assert!(!rig.link.forget(ticket(1), port(&mut rig.backend, &mut rig.pages)), "it has none");
    assert_eq!(rig.offer(7), Err(Behind), "nothing overtakes what is to be forgotten");
    assert_eq!(rig.connections.sent.len(), 2);
    assert_eq!(rig.is_told(), entries);
    assert_eq!(rig.offer(0), Err(Behind), "that goes first");
    rig.flush();
    entries = vec![OfferEntry::Forget(ticket(1))];
    assert_eq!(rig.is_told(), entries);
    assert_eq!(rig.offer(0), Ok(()));
}

#[test]
fn who_is_full_lets_go_of_what_it_does_not_serve() {
    let mut rig = Rig::new();
    rig.connections.busy = vec![ticket(0)];
    for index in 0..2 {
        rig.offer(index).unwrap();
    }
    let port = port(&mut rig.backend, &mut rig.pages);
    rig.link.offer(ticket(2), 2, &mut rig.connections, port).unwrap();
    assert_eq!(rig.is_told(), [OfferEntry::Forget(ticket(1))]);
}

#[test]
fn an_offer_is_its_who_is_faster() {
    let mut rig = Rig::new();
    for index in 0..2 {
        rig.offer(index).unwrap();
    }
    assert!(claim::claim(&rig.own, ticket(0)));
    let mut recall = |index| rig.link.recall(ticket(index), port(&mut rig.backend, &mut rig.pages));
    assert_eq!([recall(0), recall(1)], [Settled::Claimed, Settled::Back]);
    assert!(!claim::claim(&rig.own, ticket(1)), "it is the master's again");
}

#[test]
fn what_a_worker_says_is_understood_and_nonsense_is_a_lie() {
    let mut rig = Rig::new();
    rig.says(message(WorkerMessage::Hello));
    assert_eq!(rig.hears(), [Input::Violation(WORKER)], "its page is of no layout");
    let head = &rig.own.head;
    head.magic.store(MAGIC, Relaxed);
    head.layout.store(LAYOUT, Relaxed);
    head.concurrency.store(2, Relaxed);
    head.connections_max.store(9, Relaxed);
    rig.says(message(WorkerMessage::Hello));
    rig.says([u64::MAX; 2]);
    rig.says(message(WorkerMessage::Done { ticket: ticket(4), service_us: 7 }));
    let terms = Terms { concurrency: 2, connections_max: 9 };
    let done = Message::Done { service_us: 7 };
    let heard = [
        Input::Hello { worker: WORKER, terms },
        Input::Violation(WORKER),
        Input::Message { worker: WORKER, ticket: ticket(4), message: done },
    ];
    assert_eq!(rig.hears(), heard);
    rig.own.message_writer.asks_to_leave.store(1, Relaxed);
    let heard = rig.hears();
    assert!(matches!(heard[..], [Input::Load { .. }, Input::AsksToLeave(WORKER)]), "{heard:?}");
    assert_eq!(rig.hears(), [], "that is said once");
    rig.own.message_writer.produced.store(u64::MAX, Relaxed);
    assert_eq!(rig.hears(), [Input::Violation(WORKER)]);
}

#[test]
fn what_a_worker_has_closed_is_sent_anew_under_the_same_number() {
    let mut rig = Rig::new();
    rig.offer(0).unwrap();
    rig.says(message(WorkerMessage::Closed(ticket(0))));
    rig.hears();
    rig.offer(0).unwrap();
    assert_eq!(rig.connections.sent.len(), 2);
}
