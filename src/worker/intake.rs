//! Where a blocking worker waits: for its channel, and, under a kernel policy, for its listeners.

use std::os::fd::{AsFd, OwnedFd};

use super::WorkerError;
use super::link::{Claimed, Delivery, Link};
use crate::shm::layout::Order;
use crate::sys::epoll::{EpollFlags, Events, Set};
use crate::sys::scm::Patience;
use crate::sys::{clock, fd, socket};
use crate::units::{Errno, ListenerId};
use crate::wire::link::Sharing;

/// A connection to serve.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The master offered it.
    Claimed(Claimed),
    /// This worker accepted it.
    Accepted(OwnedFd, ListenerId),
}

/// The places where connections come from.
#[derive(Debug)]
pub(super) enum Intake {
    /// The channel alone.
    Channel,
    /// The channel and listeners.
    Listeners(Listeners),
}

/// Listeners in an epoll set. Shared ones are exclusive (one idle worker wakes per connection) and
/// added anew from time to time, since the kernel wakes whoever was added first.
#[derive(Debug)]
pub(super) struct Listeners {
    set: Set,
    events: Events,
    sockets: Vec<OwnedFd>,
    sharing: Sharing,
    next: usize,
    accepted: u32,
}

const CHANNEL: u64 = u64::MAX;

/// Accepts between two rotations of the wake-up order.
const ROTATE_EVERY: u32 = 16;

impl Intake {
    pub(super) fn new(link: &mut Link) -> Result<Self, Errno> {
        let sockets = link.take_listeners();
        if sockets.is_empty() {
            return Ok(Self::Channel);
        }
        let set = Set::new()?;
        set.add(link.channel(), EpollFlags::EPOLLIN, CHANNEL)?;
        let sharing = link.note().sharing;
        let listeners =
            Listeners { set, events: Events::new(), sockets, sharing, next: 0, accepted: 0 };
        for index in 0..listeners.sockets.len() {
            fd::set_nonblocking(&listeners.sockets[index])?;
            listeners.add(index)?;
        }
        Ok(Self::Listeners(listeners))
    }

    /// The next connection, or `None` when the worker shall end.
    pub(super) fn next(&mut self, link: &mut Link) -> Result<Option<Arrival>, WorkerError> {
        loop {
            link.flush();
            let draining = match link.order() {
                Order::Serve => false,
                Order::Drain => true,
            };
            // What was sent before the order is still ours to serve.
            let patience = match self {
                Self::Channel if !draining => Patience::Wait,
                Self::Channel | Self::Listeners(_) => Patience::Now,
            };
            match link.receive(patience)? {
                Delivery::Offer(ticket) => match link.claim(ticket, clock::monotonic()) {
                    Some(claimed) => return Ok(Some(Arrival::Claimed(claimed))),
                    // It was taken back.
                    None => continue,
                },
                Delivery::Look => continue,
                Delivery::Gone => return Ok(None),
                Delivery::Nothing if draining => return Ok(None),
                Delivery::Nothing => {}
            }
            if let Self::Listeners(listeners) = self
                && let Some(arrival) = listeners.next(link)?
            {
                return Ok(Some(arrival));
            }
        }
    }
}

impl Listeners {
    /// A connection of a listener, or nothing when the channel wants attention.
    fn next(&mut self, link: &Link) -> Result<Option<Arrival>, WorkerError> {
        for _ in 0..self.sockets.len() {
            let index = self.next % self.sockets.len();
            self.next = index + 1;
            if let Ok(socket) = socket::accept(self.sockets[index].as_fd()) {
                self.rotate().map_err(WorkerError::Wait)?;
                let listener = ListenerId(u16::try_from(index).unwrap_or(0));
                return Ok(Some(Arrival::Accepted(socket, listener)));
            }
        }
        if !link.nap() {
            return Ok(None);
        }
        let woken = self.set.wait(None, &mut self.events);
        link.wake();
        match woken {
            Ok(()) | Err(Errno(libc::EINTR)) => Ok(None),
            Err(errno) => Err(WorkerError::Wait(errno)),
        }
    }

    fn rotate(&mut self) -> Result<(), Errno> {
        self.accepted += 1;
        if self.accepted.is_multiple_of(ROTATE_EVERY) && self.sharing == Sharing::Shared {
            for index in 0..self.sockets.len() {
                self.set.remove(&self.sockets[index])?;
                self.add(index)?;
            }
        }
        Ok(())
    }

    fn add(&self, index: usize) -> Result<(), Errno> {
        let interest = match self.sharing {
            Sharing::Shared => EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE,
            Sharing::Own | Sharing::None => EpollFlags::EPOLLIN,
        };
        self.set.add(&self.sockets[index], interest, index as u64)
    }
}
