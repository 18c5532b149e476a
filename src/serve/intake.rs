//! Where connections come from: the channel to the master, and under a kernel policy the listeners.
//! One arrival is taken at a time, between requests, and the next only when the first has had the
//! chance to deliver its request: what a stopped or busy worker has not taken, others can. Where
//! all requests are quick nobody would wait for long, and a call for each costs more than serving
//! it: then some are taken together.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use super::ServeError;
use super::credit::Standing;
use super::server::{Mode, Server};
use crate::io::arena::ArenaKey;
use crate::io::{Backend, Op, Role, Source, Tag, Token};
use crate::limits::{ACCEPT_PAUSE, CLAIMS_PER_TURN, REQUESTS_PER_TURN, TURN_MAX};
use crate::sys::scm::RecvWait;
use crate::sys::{fd, socket};
use crate::units::{Errno, Mono};
use crate::wire::handshake::ListenerSharing;
use crate::worker::{Delivery, LinkEnd};

/// The places where connections come from.
#[derive(Debug)]
pub(super) struct ServeIntake {
    /// The wait for messages.
    watch: Token,
    /// There may be a message. The wait is edge-triggered: what it told is true until the channel
    /// is found empty.
    has_mail: bool,
    doors: Vec<ServeListener>,
    /// The listeners of a worker that leaves, until no accept is in flight any more.
    closing: Vec<OwnedFd>,
    /// Accepting pauses until then.
    reopens_at: Option<Mono>,
    newcomers: Vec<ArenaKey>,
    /// Requests served since the last look.
    served: usize,
    looked_at: Mono,
}

/// A listener.
#[derive(Clone, Copy, Debug)]
struct ServeListener {
    listener: Source,
    accept: Option<Token>,
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

    fn is_accepting(&self) -> bool {
        self.doors.iter().any(|door| door.accept.is_some())
    }

    /// Whether it is time to look: nothing else is to do, or enough of it was done since.
    fn is_due(&self, has_requests: bool, now: Mono) -> bool {
        self.newcomers.is_empty()
            && (!has_requests
                || REQUESTS_PER_TURN <= self.served
                || self.looked_at.after(TURN_MAX) <= now)
    }
}

impl<B: Backend<Fd = OwnedFd>> Server<B> {
    /// Takes one arrival if there is one and the time is right.
    pub(super) fn look(&mut self, now: Mono) -> Result<(), ServeError> {
        if !self.intake.is_due(!self.runnable.is_empty(), now) {
            return Ok(());
        }
        self.intake.served = 0;
        self.intake.looked_at = now;
        let claims = if self.is_quick() { CLAIMS_PER_TURN } else { 1 };
        while self.intake.newcomers.len() < claims && self.open_mail(now)? {}
        if self.intake.newcomers.is_empty() && self.mode == Mode::Serve {
            self.open_doors(now);
        }
        Ok(())
    }

    /// A listener has a connection for us, or an error.
    pub(super) fn accepted(&mut self, tag: Tag, result: Result<OwnedFd, Errno>, now: Mono) {
        let door = usize::try_from(tag.0).ok().and_then(|index| self.intake.doors.get_mut(index));
        if let Some(door) = door {
            door.accept = None;
        }
        match result {
            Ok(socket) => self.add_accepted(socket),
            Err(Errno(libc::ECANCELED)) => {}
            Err(_) => match self.mode {
                // Descriptors or memory have run out; whatever else it is, it must not spin.
                Mode::Serve => self.intake.reopens_at = Some(now.after(ACCEPT_PAUSE)),
                Mode::Drain => {}
            },
        }
        self.close_listeners();
    }

    /// Once no accept is in flight any more, a worker that leaves lets its listeners go: who does
    /// not accept keeps nobody waiting. What waits at one is taken first, since this may be the
    /// only worker that was woken for it.
    pub(super) fn close_listeners(&mut self) {
        if self.intake.is_accepting() {
            return;
        }
        for listener in mem::take(&mut self.intake.closing) {
            if let Ok(socket) = socket::accept(listener.as_fd()) {
                self.add_accepted(socket);
            }
        }
    }

    fn add_accepted(&mut self, socket: OwnedFd) {
        self.link.opened();
        let key = self.open(socket, Standing::Own);
        self.intake.newcomers.push(key);
    }

    /// Takes up the next offer that is still ours to claim. False when there is none.
    fn open_mail(&mut self, now: Mono) -> Result<bool, ServeError> {
        if !self.intake.has_mail {
            return Ok(false);
        }
        let mut mail = self.link.receive(RecvWait::Now)?;
        while let Delivery::Offer(ticket) = mail {
            if let Some(claimed) = self.link.claim(ticket, now) {
                let key = self.open(claimed.socket, Standing::claimed(ticket, now));
                self.intake.newcomers.push(key);
                return Ok(true);
            }
            // It was taken back, and is another's by now.
            mail = self.link.receive(RecvWait::Now)?;
        }
        match mail {
            // The order may be newer than this turn's look at it: another turn reads it.
            Delivery::Look | Delivery::Offer(_) => {}
            Delivery::Nothing => self.intake.has_mail = false,
            Delivery::Gone => {
                self.intake.has_mail = false;
                self.backend.cancel(self.intake.watch);
                if self.mode == Mode::Serve {
                    self.drain(now);
                    self.intake.has_mail = false;
                }
            }
        }
        Ok(false)
    }

    /// Has one connection of each listener accepted.
    fn open_doors(&mut self, now: Mono) {
        match self.intake.reopens_at {
            Some(then) if now < then => return,
            Some(_) | None => self.intake.reopens_at = None,
        }
        for (index, door) in (0..).zip(&mut self.intake.doors) {
            if door.accept.is_none() {
                let op = Op::Accept { listener: door.listener };
                door.accept = Some(self.backend.submit(op, Tag(index)));
                self.unsubmitted = true;
            }
        }
    }
}

fn watch_error(Errno(errno): Errno) -> ServeError {
    ServeError::Watch(io::Error::from_raw_os_error(errno))
}
