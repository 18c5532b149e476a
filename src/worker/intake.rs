//! Where a blocking worker waits: for its channel, under a kernel policy for its listeners, and for
//! the connections that stay with it between two requests.

use std::os::fd::{AsFd, OwnedFd};

use super::WorkerError;
use super::arrival::Arrival;
use super::idle::{IdleConnection, IdleConnections, IdleStay};
use super::link::{Delivery, LinkEnd};
use super::origin::ConnectionOrigin;
use crate::limits::{
    ACCEPT_PAUSE, PARKED_AFTER, REQUESTS_PER_TURN, ROTATE_EVERY, TURN_MAX, UNSENT_PAUSE,
};
use crate::shm::layout::Order;
use crate::sys::epoll::{EpollFlags, Events, Set};
use crate::sys::scm::RecvWait;
use crate::sys::{clock, fd, socket};
use crate::units::{Errno, ListenerId, Mono, Span};
use crate::wire::handshake::ListenerSharing;

/// The places where connections come from.
#[derive(Debug)]
pub(super) struct WorkerIntake {
    listeners: WatchedListeners,
    idle: IdleConnections,
    /// There once anything but the channel is waited for: to wait for that alone is one call less.
    waits: Option<Waits>,
    /// When the set was last asked, and how many connections were served since.
    asked_at: Mono,
    served: usize,
    /// The last connection was a new one: one that is kept goes first.
    kept_first: bool,
}

/// What has come from the channel and the listeners.
#[derive(Debug)]
enum IntakeNews {
    /// A connection.
    Arrival(Arrival),
    /// Something to look at anew.
    Look,
    /// Nothing.
    Nothing,
    /// The master is gone.
    Gone,
}

/// An epoll set with the channel in it.
#[derive(Debug)]
struct Waits {
    set: Set,
    events: Events,
}

/// Listeners in the set. Shared ones are exclusive (one idle worker wakes per connection) and added
/// anew from time to time, since the kernel wakes whoever was added first.
#[derive(Debug)]
struct WatchedListeners {
    sockets: Vec<OwnedFd>,
    sharing: ListenerSharing,
    next: usize,
    accepted: u32,
    accepting: Accepting,
    /// What was waiting when they were let go.
    last: Vec<(OwnedFd, ListenerId)>,
}

/// Whether connections are accepted at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Accepting {
    /// They are, and the listeners are in the set.
    Now,
    /// Descriptors or memory have run out. The listeners are out of the set: what waits there would
    /// end each wait at once. When it is tried again.
    PausedUntil(Mono),
}

const CHANNEL: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

const INPUT: EpollFlags = EpollFlags::EPOLLIN;
/// What tells that the client has said its last, or left.
const ENDS: EpollFlags =
    EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR);

impl Waits {
    fn new(link: &LinkEnd) -> Result<Self, Errno> {
        let set = Set::new()?;
        set.add(link.channel(), INPUT, CHANNEL)?;
        Ok(Self { set, events: Events::new() })
    }
}

impl WorkerIntake {
    pub(super) fn new(link: &mut LinkEnd) -> Result<Self, Errno> {
        let (sockets, sharing) = (link.take_listeners(), link.handshake().sharing);
        let (accepting, last) = (Accepting::Now, Vec::new());
        let listeners =
            WatchedListeners { sockets, sharing, next: 0, accepted: 0, accepting, last };
        let mut waits = None;
        if !listeners.sockets.is_empty() {
            let Waits { set, .. } = waits.insert(Waits::new(link)?);
            for listener in &listeners.sockets {
                fd::set_nonblocking(listener)?;
                listeners.add(set, listener)?;
            }
        }
        let (idle, asked_at) = (IdleConnections::default(), clock::monotonic());
        Ok(Self { listeners, idle, waits, asked_at, served: 0, kept_first: false })
    }

    /// The next connection, or `None` when the worker shall end. Those that are kept and those that
    /// are new take turns, so that neither keeps the other out.
    pub(super) fn next(&mut self, link: &mut LinkEnd) -> Result<Option<Arrival>, WorkerError> {
        self.ask_if_due().map_err(WorkerError::Wait)?;
        loop {
            let draining = link.order() != Order::Serve;
            if draining {
                self.withdraw();
                self.clear_out(link);
            }
            let all_is_sent = link.flush();
            let kept = if self.kept_first { self.take_ready(link) } else { None };
            let news = match kept {
                Some(kept) => IntakeNews::Arrival(Arrival::Kept(kept)),
                None => self.take_new(link, draining, all_is_sent)?,
            };
            let arrival = match news {
                IntakeNews::Arrival(arrival) => Some(arrival),
                IntakeNews::Nothing => self.take_ready(link).map(Arrival::Kept),
                IntakeNews::Look => continue,
                IntakeNews::Gone => {
                    self.end_all(link);
                    return Ok(None);
                }
            };
            if let Some(arrival) = arrival {
                self.kept_first = !matches!(arrival, Arrival::Kept(_));
                return Ok(Some(arrival));
            }
            if draining && all_is_sent && self.idle.is_empty() {
                return Ok(None);
            }
            self.wait(link, all_is_sent).map_err(WorkerError::Wait)?;
        }
    }

    fn take_new(
        &mut self,
        link: &mut LinkEnd,
        draining: bool,
        all_is_sent: bool,
    ) -> Result<IntakeNews, WorkerError> {
        // What was sent before the order to leave is still ours to serve.
        let nothing_else = self.listeners.sockets.is_empty() && self.idle.is_empty();
        let patience = match nothing_else && all_is_sent && !draining {
            true => RecvWait::Wait,
            false => RecvWait::Now,
        };
        Ok(match link.receive(patience)? {
            Delivery::Offer(ticket) => match link.claim(ticket, clock::monotonic()) {
                Some(claimed) => IntakeNews::Arrival(Arrival::Claimed(claimed)),
                // It was taken back.
                None => IntakeNews::Look,
            },
            Delivery::Look => IntakeNews::Look,
            Delivery::Gone => IntakeNews::Gone,
            Delivery::Nothing => self.accept().map_or(IntakeNews::Nothing, IntakeNews::Arrival),
        })
    }

    /// Keeps a connection until it has something to read. One that cannot be waited for ends.
    pub(super) fn keep(&mut self, link: &mut LinkEnd, kept: IdleConnection) -> Result<(), Errno> {
        let mark = self.idle.next_mark();
        match self.waits(link)?.set.add(&kept.socket, INPUT | EpollFlags::EPOLLRDHUP, mark) {
            Ok(()) => {
                self.idle.put(kept);
            }
            Err(_) => kept.end(link),
        }
        Ok(())
    }

    fn waits(&mut self, link: &LinkEnd) -> Result<&mut Waits, Errno> {
        match &mut self.waits {
            Some(waits) => Ok(waits),
            waits @ None => Ok(waits.insert(Waits::new(link)?)),
        }
    }

    /// One that has something to read, out of the set: others have copies, and events would go on.
    fn take_ready(&mut self, link: &mut LinkEnd) -> Option<IdleConnection> {
        while let Some((kept, ended)) = self.idle.take_ready() {
            self.forget(&kept);
            // The program may remember something of one that is pinned, and is told of its end.
            if !ended || kept.stay == IdleStay::Pinned || kept.has_asked() {
                return Some(kept);
            }
            kept.end(link);
        }
        None
    }

    fn forget(&self, kept: &IdleConnection) {
        if let Some(Waits { set, .. }) = &self.waits {
            // It is in the set, or it could not be added.
            let _not_there = set.remove(&kept.socket);
        }
    }

    /// This worker is to leave: what can be another's is, what is idle ends, what has asked is
    /// served first, and what is pinned stays until it ends by itself.
    fn clear_out(&mut self, link: &mut LinkEnd) {
        link.let_listeners_go();
        let leaves = link.gives_back(true);
        while let Some(kept) = self.idle.take_oldest_loose() {
            self.forget(&kept);
            match kept.origin {
                ConnectionOrigin::Master(ticket) if leaves => {
                    link.give_back(ticket, kept.socket, 0);
                }
                ConnectionOrigin::Master(_) | ConnectionOrigin::Listener if kept.has_asked() => {
                    self.idle.put_first(kept);
                    return;
                }
                ConnectionOrigin::Master(_) | ConnectionOrigin::Listener => kept.end(link),
            }
        }
    }

    /// The master is gone, and this worker goes too.
    /// Nothing more is taken: what waits at a listener may be another worker's.
    fn end_all(&mut self, link: &mut LinkEnd) {
        self.listeners.sockets.clear();
        self.idle.take_all().for_each(|kept| kept.end(link));
    }

    /// Lets the listeners go: who does not accept keeps nobody waiting.
    fn withdraw(&mut self) {
        if let Some(Waits { set, .. }) = &self.waits {
            self.listeners.withdraw(set);
        }
    }

    fn accept(&mut self) -> Option<Arrival> {
        let (Some(Waits { set, .. }), listeners) = (&self.waits, &mut self.listeners) else {
            return None;
        };
        if let Some((socket, listener)) = listeners.last.pop() {
            return Some(Arrival::Accepted(socket, listener));
        }
        if !listeners.are_open(set) {
            return None;
        }
        for _ in 0..listeners.sockets.len() {
            let index = listeners.next % listeners.sockets.len();
            listeners.next = index + 1;
            match socket::accept(listeners.sockets[index].as_fd()) {
                Ok(socket) => {
                    listeners.rotate(set);
                    let listener = ListenerId(u16::try_from(index).unwrap_or(0));
                    return Some(Arrival::Accepted(socket, listener));
                }
                Err(Errno(libc::EAGAIN)) => {}
                // Descriptors or memory have run out; whatever else it is, it must not spin.
                Err(_) => {
                    listeners.shut(set);
                    return None;
                }
            }
        }
        None
    }

    /// Waits for any of them, until the oldest that is kept has been idle for too long, or until
    /// accepting is to be tried again.
    fn wait(&mut self, link: &mut LinkEnd, all_is_sent: bool) -> Result<(), Errno> {
        self.waits(link)?;
        if link.spin() || !link.fall_asleep() {
            return Ok(());
        }
        let oldest = self.idle.oldest_loose().map(|since| since.after(PARKED_AFTER));
        let deadlines = oldest.into_iter().chain(self.listeners.reopen_at());
        let until = deadlines.min().map(|at| at.since(clock::monotonic()));
        let unsent = if all_is_sent { None } else { Some(UNSENT_PAUSE) };
        let asked = self.ask(until.into_iter().chain(unsent).min());
        link.wake();
        self.expire(link, clock::monotonic());
        asked
    }

    /// However much the master has to offer, those that are kept get their turn.
    fn ask_if_due(&mut self) -> Result<(), Errno> {
        self.served += 1;
        let due =
            REQUESTS_PER_TURN <= self.served || self.asked_at.after(TURN_MAX) <= clock::monotonic();
        if due && !self.idle.is_empty() {
            self.ask(Some(Span::ZERO))?;
        }
        Ok(())
    }

    /// Asks the set who has something to read, and waits for no longer than that.
    fn ask(&mut self, timeout: Option<Span>) -> Result<(), Errno> {
        let Some(Waits { set, events }) = &mut self.waits else { return Ok(()) };
        let waited = set.wait(timeout, events);
        (self.served, self.asked_at) = (0, clock::monotonic());
        match waited {
            Ok(()) => {}
            Err(Errno(libc::EINTR)) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        for index in 0..events.count() {
            match events.at(index) {
                (CHANNEL | LISTENER, _) => {}
                (mark, flags) => self.idle.is_ready(mark, flags.intersects(ENDS)),
            }
        }
        Ok(())
    }

    fn expire(&mut self, link: &mut LinkEnd, now: Mono) {
        while self.idle.oldest_loose().is_some_and(|since| since.after(PARKED_AFTER) <= now) {
            let Some(kept) = self.idle.take_oldest_loose() else { return };
            self.forget(&kept);
            if kept.has_asked() {
                self.idle.put_first(kept);
                return;
            }
            kept.end(link);
        }
    }
}

impl WatchedListeners {
    fn rotate(&mut self, set: &Set) {
        self.accepted += 1;
        if self.accepted.is_multiple_of(ROTATE_EVERY) && self.sharing == ListenerSharing::Shared {
            self.remove_all(set);
            self.open(set);
        }
    }

    /// Whether connections are accepted, once they can be again.
    fn are_open(&mut self, set: &Set) -> bool {
        match self.accepting {
            Accepting::Now => {}
            Accepting::PausedUntil(until) if clock::monotonic() < until => {}
            Accepting::PausedUntil(_) => self.open(set),
        }
        self.accepting == Accepting::Now
    }

    /// When accepting is to be tried again, if it pauses.
    const fn reopen_at(&self) -> Option<Mono> {
        match self.accepting {
            Accepting::Now => None,
            Accepting::PausedUntil(until) => Some(until),
        }
    }

    fn open(&mut self, set: &Set) {
        self.accepting = Accepting::Now;
        if self.sockets.iter().any(|listener| self.add(set, listener).is_err()) {
            // The kernel watches no more for this user, or has no memory.
            self.shut(set);
        }
    }

    fn shut(&mut self, set: &Set) {
        self.remove_all(set);
        self.accepting = Accepting::PausedUntil(clock::monotonic().after(ACCEPT_PAUSE));
    }

    fn remove_all(&self, set: &Set) {
        for listener in &self.sockets {
            // It is in the set, or it could not be added.
            let _not_there = set.remove(listener);
        }
    }

    /// Closes them all. What waits at one is taken first, since this may be the only worker that
    /// was woken for it.
    fn withdraw(&mut self, set: &Set) {
        self.remove_all(set);
        self.accepting = Accepting::Now;
        for (index, listener) in (0..).zip(std::mem::take(&mut self.sockets)) {
            if let Ok(socket) = socket::accept(listener.as_fd()) {
                self.last.push((socket, ListenerId(index)));
            }
        }
    }

    fn add(&self, set: &Set, listener: &OwnedFd) -> Result<(), Errno> {
        let interest = match self.sharing {
            ListenerSharing::Shared => INPUT | EpollFlags::EPOLLEXCLUSIVE,
            ListenerSharing::Own | ListenerSharing::None => INPUT,
        };
        set.add(listener, interest, LISTENER)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::fake_master::FakeMaster;
    use super::*;
    use crate::units::Ticket;

    /// A listener at which a client waits.
    fn awaited() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, client)
    }

    /// An intake that has just found no descriptor to accept with, and pauses for so long.
    fn pausing(link: &mut LinkEnd, span: Span) -> WorkerIntake {
        let mut intake = WorkerIntake::new(link).unwrap();
        intake.listeners.shut(&intake.waits.as_ref().unwrap().set);
        intake.listeners.accepting = Accepting::PausedUntil(clock::monotonic().after(span));
        intake
    }

    #[test]
    fn a_pause_in_accepting_keeps_nobody_waiting_but_those_who_connect() {
        let (listener, _client) = awaited();
        let (master, link) = FakeMaster::apart(ListenerSharing::Shared, vec![listener.into()]);
        let wait_for_nap = || {
            while !master.sees_nap() {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let mut link = link();
                let mut intake = pausing(&mut link, Span::from_s(60));
                let began_at = clock::monotonic();
                let offered = intake.next(&mut link).unwrap();
                assert!(matches!(offered, Some(Arrival::Claimed(_))), "{offered:?}");
                let waiting = intake.next(&mut link).unwrap();
                assert!(matches!(waiting, Some(Arrival::Accepted(..))), "{waiting:?}");
                assert!(intake.next(&mut link).unwrap().is_none(), "it is to leave");
                clock::monotonic().since(began_at)
            });
            wait_for_nap();
            let (near, _far) = socket::seqpacket_pair().unwrap();
            master.offer(Ticket { index: 1, generation: 1 }, &near);
            wait_for_nap();
            master.drain();
            assert!(worker.join().unwrap() < Span::from_s(30));
        });
    }

    #[test]
    fn accepting_goes_on_after_a_pause() {
        let (listener, _client) = awaited();
        let (_master, mut link) = FakeMaster::new(ListenerSharing::Shared, vec![listener.into()]);
        let mut intake = pausing(&mut link, Span::from_ms(20));
        let began_at = clock::monotonic();
        let arrival = intake.next(&mut link).unwrap();
        assert!(matches!(arrival, Some(Arrival::Accepted(..))), "{arrival:?}");
        assert!(Span::from_ms(15) < clock::monotonic().since(began_at));
    }

    #[test]
    fn who_leaves_takes_what_waits_and_lets_its_listeners_go() {
        let (listener, client) = awaited();
        let address = listener.local_addr().unwrap();
        let (master, mut link) = FakeMaster::new(ListenerSharing::Shared, vec![listener.into()]);
        let mut intake = WorkerIntake::new(&mut link).unwrap();
        master.drain();
        let arrival = intake.next(&mut link).unwrap();
        assert!(matches!(arrival, Some(Arrival::Accepted(..))), "{arrival:?}");
        TcpStream::connect(address).unwrap_err();
        assert!(intake.next(&mut link).unwrap().is_none());
        drop(client);
    }
}
