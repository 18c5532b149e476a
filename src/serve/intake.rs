//! Where connections come from: the channel to the master, and under a kernel policy the listeners.
//! One arrival is taken at a time, between requests, and the next only when the first has had the
//! chance to deliver its request: what a stopped or busy worker has not taken, others can. Where
//! all requests are quick nobody would wait for long, and a call for each costs more than serving
//! it: then some are taken together.

use std::io;
use std::os::fd::OwnedFd;

use super::ServeError;
use crate::io::arena::ArenaKey;
use crate::io::{Backend, Op, Role, Source, Tag, Token};
use crate::limits::{REQUESTS_PER_TURN, TURN_MAX};
use crate::sys::fd;
use crate::units::{Errno, Mono};
use crate::wire::handshake::ListenerSharing;
use crate::worker::LinkEnd;

/// The places where connections come from.
#[derive(Debug)]
pub(super) struct ServeIntake {
    /// The wait for messages.
    pub(super) watch: Token,
    /// There may be a message. The wait is edge-triggered: what it told is true until the channel
    /// is found empty.
    pub(super) has_mail: bool,
    pub(super) doors: Vec<ServeListener>,
    /// The listeners of a worker that leaves, until no accept is in flight any more.
    pub(super) closing: Vec<OwnedFd>,
    /// Accepting pauses until then.
    pub(super) reopens_at: Option<Mono>,
    pub(super) newcomers: Vec<ArenaKey>,
    /// Requests served since the last look.
    pub(super) served: usize,
    pub(super) looked_at: Mono,
}

/// A listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServeListener {
    pub(super) listener: Source,
    pub(super) accept: Option<Token>,
}

impl ServeIntake {
    /// Watches the channel; listeners are not accepted from yet.
    pub(super) fn new(
        backend: &mut impl Backend<Fd = OwnedFd>,
        link: &mut LinkEnd,
    ) -> Result<Self, ServeError> {
        let channel = fd::duplicate(link.channel()).map_err(watch_error)?;
        // The channel is its own doorbell: each message wakes once, and nobody reads it but the
        // link.
        let channel = backend.adopt(channel, Role::Doorbell);
        let role = match link.handshake().sharing {
            // One of our own was the master's while nobody served it: an accept of the master's
            // that is being cancelled takes a wake-up that this process must get as well.
            ListenerSharing::Shared | ListenerSharing::Own => Role::SharedListener,
            ListenerSharing::None => Role::Listener,
        };
        let mut doors = Vec::new();
        for listener in link.take_listeners() {
            fd::set_nonblocking(&listener).map_err(watch_error)?;
            doors.push(ServeListener { listener: backend.adopt(listener, role), accept: None });
        }
        Ok(Self {
            watch: backend.submit(Op::Ring { doorbell: channel }, Tag::default()),
            has_mail: true,
            doors,
            closing: Vec::new(),
            reopens_at: None,
            newcomers: Vec::new(),
            served: 0,
            looked_at: Mono::ZERO,
        })
    }

    /// The channel may have a message, or cannot be waited for any more.
    pub(super) fn rang(&mut self, result: Result<(), Errno>) -> Result<(), ServeError> {
        match result {
            Ok(()) => self.has_mail = true,
            // We have given it up.
            Err(Errno(libc::ECANCELED)) => {}
            Err(errno) => return Err(watch_error(errno)),
        }
        Ok(())
    }

    /// Moves the connections that were taken in the last turn to `out`.
    pub(super) fn take_newcomers(&mut self, out: &mut Vec<ArenaKey>) {
        out.append(&mut self.newcomers);
    }

    /// Counts requests that were served.
    pub(super) const fn count(&mut self, requests: usize) {
        self.served += requests;
    }

    /// The master has written something.
    pub(super) const fn has_offer_entries(&mut self) {
        self.has_mail = true;
    }

    /// Whether there is something to do that no completion announces.
    pub(super) const fn wants_another_turn(&self) -> bool {
        self.has_mail || !self.newcomers.is_empty()
    }

    /// When accepting goes on.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.reopens_at
    }

    /// Accepts no more from the listeners; what the channel holds is still ours.
    pub(super) fn drain(&mut self, backend: &mut impl Backend<Fd = OwnedFd>, link: &LinkEnd) {
        self.has_mail = true;
        self.reopens_at = None;
        link.let_listeners_go();
        self.closing = self.doors.iter().map(|door| backend.release(door.listener)).collect();
    }

    /// Whether nothing is left to take, after [`ServeIntake::drain`].
    pub(super) fn is_empty(&self) -> bool {
        !self.has_mail && !self.is_accepting()
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.doors.iter().any(|door| door.accept.is_some())
    }

    /// Whether it is time to look: nothing else is to do, or enough of it was done since.
    pub(super) fn is_due(&self, has_requests: bool, now: Mono) -> bool {
        self.newcomers.is_empty()
            && (!has_requests
                || REQUESTS_PER_TURN <= self.served
                || self.looked_at.after(TURN_MAX) <= now)
    }
}

fn watch_error(Errno(errno): Errno) -> ServeError {
    ServeError::Watch(io::Error::from_raw_os_error(errno))
}
