//! Where a blocking worker waits: for its channel, under a kernel policy for its listeners, and for
//! the connections that stay with it between two requests.

use std::os::fd::{AsFd, OwnedFd};

use super::WorkerError;
use super::connection::Origin;
use super::kept::{Kept, Shelf};
use super::link::{Claimed, Delivery, Link};
use crate::limits::{PARKED_AFTER, REQUESTS_PER_TURN};
use crate::shm::layout::Order;
use crate::sys::epoll::{EpollFlags, Events, Set};
use crate::sys::scm::Patience;
use crate::sys::{clock, fd, socket};
use crate::units::{Errno, ListenerId, Mono, Span};
use crate::wire::link::Sharing;

/// A connection to serve.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The master offered it.
    Claimed(Claimed),
    /// This worker accepted it.
    Accepted(OwnedFd, ListenerId),
    /// It has stayed here since its last request.
    Kept(Kept),
}

/// The places where connections come from.
#[derive(Debug)]
pub(super) struct Intake {
    listeners: Listeners,
    shelf: Shelf,
    /// There once anything but the channel is waited for: to wait for that alone is one call less.
    waits: Option<Waits>,
    /// Connections that were served since the set was last asked.
    served: usize,
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
struct Listeners {
    sockets: Vec<OwnedFd>,
    sharing: Sharing,
    next: usize,
    accepted: u32,
}

const CHANNEL: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// Accepts between two rotations of the wake-up order.
const ROTATE_EVERY: u32 = 16;
const INPUT: EpollFlags = EpollFlags::EPOLLIN;

impl Waits {
    fn new(link: &Link) -> Result<Self, Errno> {
        let set = Set::new()?;
        set.add(link.channel(), INPUT, CHANNEL)?;
        Ok(Self { set, events: Events::new() })
    }
}

impl Intake {
    pub(super) fn new(link: &mut Link) -> Result<Self, Errno> {
        let (sockets, sharing) = (link.take_listeners(), link.note().sharing);
        let listeners = Listeners { sockets, sharing, next: 0, accepted: 0 };
        let mut waits = None;
        if !listeners.sockets.is_empty() {
            let Waits { set, .. } = waits.insert(Waits::new(link)?);
            for listener in &listeners.sockets {
                fd::set_nonblocking(listener)?;
                listeners.add(set, listener)?;
            }
        }
        Ok(Self { listeners, shelf: Shelf::default(), waits, served: 0 })
    }

    /// The next connection, or `None` when the worker shall end.
    pub(super) fn next(&mut self, link: &mut Link) -> Result<Option<Arrival>, WorkerError> {
        self.served += 1;
        if REQUESTS_PER_TURN <= self.served {
            // However much the master has to offer, those that are here get their turn.
            self.ask(Some(Span::ZERO)).map_err(WorkerError::Wait)?;
        }
        loop {
            link.flush();
            let draining = link.order() == Order::Drain;
            if draining {
                self.clear_out(link);
            }
            if let Some(kept) = self.take_ready() {
                return Ok(Some(Arrival::Kept(kept)));
            }
            // What was sent before the order is still ours to serve.
            let patience = match &self.waits {
                None if !draining => Patience::Wait,
                None | Some(_) => Patience::Now,
            };
            match link.receive(patience)? {
                Delivery::Offer(ticket) => match link.claim(ticket, clock::monotonic()) {
                    Some(claimed) => return Ok(Some(Arrival::Claimed(claimed))),
                    // It was taken back.
                    None => continue,
                },
                Delivery::Look => continue,
                Delivery::Gone => return Ok(None),
                Delivery::Nothing if draining && self.shelf.is_empty() => return Ok(None),
                Delivery::Nothing => {}
            }
            if !draining && let Some(arrival) = self.accept().map_err(WorkerError::Wait)? {
                return Ok(Some(arrival));
            }
            self.wait(link).map_err(WorkerError::Wait)?;
        }
    }

    /// Keeps a connection until it has something to read. One that cannot be waited for ends.
    pub(super) fn keep(&mut self, link: &mut Link, kept: Kept) -> Result<(), Errno> {
        let Waits { set, .. } = match &mut self.waits {
            Some(waits) => waits,
            waits @ None => waits.insert(Waits::new(link)?),
        };
        let mark = self.shelf.next_mark();
        match set.add(&kept.socket, INPUT | EpollFlags::EPOLLRDHUP, mark) {
            Ok(()) => {
                self.shelf.put(kept);
            }
            Err(_) => kept.end(link),
        }
        Ok(())
    }

    /// One that has something to read, out of the set: others have copies, and events would go on.
    fn take_ready(&mut self) -> Option<Kept> {
        let kept = self.shelf.take_ready()?;
        self.forget(&kept);
        Some(kept)
    }

    fn forget(&self, kept: &Kept) {
        if let Some(Waits { set, .. }) = &self.waits {
            // It is in the set, or it could not be added.
            let _not_there = set.remove(&kept.socket);
        }
    }

    /// This worker is to leave: what can be another's is, what is idle ends, what has asked is
    /// served first, and what is pinned stays until it ends by itself.
    fn clear_out(&mut self, link: &mut Link) {
        let leaves = link.gives_back(true);
        while let Some(kept) = self.shelf.take_oldest_loose() {
            self.forget(&kept);
            match kept.origin {
                Origin::Master(ticket) if leaves => link.give_back(ticket, kept.socket, 0),
                Origin::Master(_) | Origin::Listener if kept.has_asked() => {
                    self.shelf.put_first(kept);
                    return;
                }
                Origin::Master(_) | Origin::Listener => kept.end(link),
            }
        }
    }

    fn accept(&mut self) -> Result<Option<Arrival>, Errno> {
        let (Some(Waits { set, .. }), listeners) = (&self.waits, &mut self.listeners) else {
            return Ok(None);
        };
        for _ in 0..listeners.sockets.len() {
            let index = listeners.next % listeners.sockets.len();
            listeners.next = index + 1;
            if let Ok(socket) = socket::accept(listeners.sockets[index].as_fd()) {
                listeners.rotate(set)?;
                let listener = ListenerId(u16::try_from(index).unwrap_or(0));
                return Ok(Some(Arrival::Accepted(socket, listener)));
            }
        }
        Ok(None)
    }

    /// Waits for any of them, until the oldest that is kept has been idle for too long.
    fn wait(&mut self, link: &mut Link) -> Result<(), Errno> {
        let now = clock::monotonic();
        let oldest = self.shelf.oldest_loose();
        let timeout = oldest.map(|since| since.after(PARKED_AFTER).since(now));
        if !link.nap() {
            return Ok(());
        }
        let asked = self.ask(timeout);
        link.wake();
        self.expire(link, clock::monotonic());
        asked
    }

    /// Asks the set who has something to read, and waits for no longer than that.
    fn ask(&mut self, timeout: Option<Span>) -> Result<(), Errno> {
        self.served = 0;
        let Some(Waits { set, events }) = &mut self.waits else { return Ok(()) };
        match set.wait(timeout, events) {
            Ok(()) => {}
            Err(Errno(libc::EINTR)) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        for index in 0..events.count() {
            match events.at(index) {
                (CHANNEL | LISTENER, _) => {}
                (mark, _) => self.shelf.is_ready(mark),
            }
        }
        Ok(())
    }

    fn expire(&mut self, link: &mut Link, now: Mono) {
        while self.shelf.oldest_loose().is_some_and(|since| since.after(PARKED_AFTER) <= now) {
            let Some(kept) = self.shelf.take_oldest_loose() else { return };
            self.forget(&kept);
            if kept.has_asked() {
                self.shelf.put_first(kept);
                return;
            }
            kept.end(link);
        }
    }
}

impl Listeners {
    fn rotate(&mut self, set: &Set) -> Result<(), Errno> {
        self.accepted += 1;
        if self.accepted.is_multiple_of(ROTATE_EVERY) && self.sharing == Sharing::Shared {
            for listener in &self.sockets {
                set.remove(listener)?;
                self.add(set, listener)?;
            }
        }
        Ok(())
    }

    fn add(&self, set: &Set, listener: &OwnedFd) -> Result<(), Errno> {
        let interest = match self.sharing {
            Sharing::Shared => INPUT | EpollFlags::EPOLLEXCLUSIVE,
            Sharing::Own | Sharing::None => INPUT,
        };
        set.add(listener, interest, LISTENER)
    }
}
