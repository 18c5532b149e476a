//! How the built-in worker takes what has come: one arrival at a time, at the right time.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use super::ServeError;
use super::credit::Standing;
use super::server::{Mode, Server};
use crate::io::{Backend, Op, Tag};
use crate::limits::{ACCEPT_PAUSE, CLAIMS_PER_TURN};
use crate::sys::scm::RecvWait;
use crate::sys::socket;
use crate::units::{Errno, Mono};
use crate::worker::Delivery;

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
