//! What becomes of connections: how each completion and each deadline moves one on, from its first
//! byte to its close. Nothing is executed here.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use super::conn::{Leaving, Linger, ServeConn, ServePhase};
use super::credit::Standing;
use super::http1::Http1Ending;
use super::server::{Mode, Server};
use super::timers::ConnLimit;
use crate::io::arena::ArenaKey;
use crate::io::{Backend, Op, Role, Tag, Token};
use crate::limits::{HTTP_LINGER_BYTES, HTTP_WRITE_TIMEOUT};
use crate::sys::socket;
use crate::units::{Errno, Mono, Ticket};
use crate::wire::message::WorkerMessage;

impl<B: Backend<Fd = OwnedFd>> Server<B> {
    /// Takes a connection up and begins to receive. Returns where it is.
    pub(super) fn open(&mut self, socket: OwnedFd, standing: Standing) -> ArenaKey {
        let source = self.backend.adopt(socket, Role::Stream);
        let key = self.conns.insert(ServeConn::new(source, standing));
        self.receive(key);
        key
    }

    /// A connection that had the chance to deliver its first bytes: if it has not, its client owes
    /// them, and the credit need not wait for it.
    pub(super) fn settle_newcomer(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if conn.fresh {
            self.messages.extend(conn.standing.waits());
            self.rest(key, now);
        }
    }

    /// Answers that had the chance to leave: whose has not, its client does not take it, and the
    /// credit need not wait for that.
    pub(super) fn settle_departing(&mut self, mut departing: Vec<(ArenaKey, Token)>, now: Mono) {
        for (key, token) in departing.drain(..) {
            if let Some(conn) = self.conns.occupant_mut(key)
                && conn.send.is_some_and(|leaving| leaving.token == token)
            {
                self.messages.extend(conn.standing.stalls(now));
            }
        }
        // What was sent in the meantime has its chance in the next turn; the memory is kept.
        departing.append(&mut self.departing);
        self.departing = departing;
    }

    /// Some bytes have come, or the end of them.
    pub(super) fn received(
        &mut self,
        tag: Tag,
        buffer: Vec<u8>,
        result: Result<usize, Errno>,
        now: Mono,
    ) {
        let key = ArenaKey::from_word(tag.0);
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.recv = None;
        conn.fresh = false;
        match result {
            Ok(1..) => conn.http1.heard(buffer),
            Ok(0) | Err(_) => conn.http1.heard_nothing(buffer),
        }
        match (&mut conn.phase, result) {
            (ServePhase::Serving | ServePhase::Parked(_), Ok(1..)) => self.run_soon(key),
            (ServePhase::Serving | ServePhase::Parked(_), Ok(0)) => self.hang_up(key),
            (ServePhase::Serving | ServePhase::Parked(_), Err(_)) => self.doom(key),
            (ServePhase::Retiring, Ok(1..)) => {
                conn.phase = ServePhase::Serving;
                self.run_soon(key);
            }
            (ServePhase::Retiring, Err(Errno(libc::ECANCELED))) => self.retire(key, now),
            (ServePhase::Overdue, Ok(1..) | Err(Errno(libc::ECANCELED))) => {
                conn.phase = ServePhase::Serving;
                self.time_out(key, now);
            }
            (ServePhase::Lingering(linger), Ok(bytes @ 1..)) if bytes < linger.left => {
                linger.left -= bytes;
                conn.http1.discard_input();
                self.receive(key);
            }
            (ServePhase::Ebbing(linger), Ok(bytes @ 1..)) if bytes < linger.left => {
                linger.left -= bytes;
                self.linger_on(key, now);
            }
            (ServePhase::Ebbing(_), Err(Errno(libc::ECANCELED))) => self.linger_on(key, now),
            (ServePhase::Retiring | ServePhase::Overdue, Ok(0) | Err(_))
            | (
                ServePhase::Lingering(_) | ServePhase::Ebbing(_) | ServePhase::Doomed,
                Ok(_) | Err(_),
            ) => {
                self.doom(key);
            }
        }
    }

    /// Some bytes of an answer are in the kernel, or cannot go there.
    pub(super) fn sent(
        &mut self,
        tag: Tag,
        buffer: Vec<u8>,
        result: Result<usize, Errno>,
        now: Mono,
    ) {
        let key = ArenaKey::from_word(tag.0);
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let from = conn.send.take().map_or(0, |leaving| leaving.from);
        let bytes = match (&conn.phase, result) {
            (ServePhase::Doomed, _) | (_, Err(_)) => {
                self.buffers.give(buffer);
                return self.doom(key);
            }
            (_, Ok(bytes)) => bytes,
        };
        let done = conn.standing.sent(bytes, now);
        if from + bytes < buffer.len() {
            conn.http1.falters();
            self.messages.extend(done);
            self.transmit(key, buffer, from + bytes, now);
        } else if conn.http1.said(buffer, &mut self.buffers) {
            self.messages.extend(done);
            let more = conn.http1.lend_output();
            self.transmit(key, more, 0, now);
        } else if let Some(ticket) = self.goes_back(key) {
            self.give_back(key, ticket, done);
        } else {
            self.messages.extend(done);
            self.written(key, now);
        }
    }

    /// The ticket of a connection that is to go back to the master now: nothing of a request has
    /// come, nothing of an answer is left, and the master wants it. What is counted of a connection
    /// keeps it here, since it would be counted from the start after each way through the master; a
    /// worker that leaves lets it go all the same, which no client can have happen again and again.
    fn goes_back(&mut self, key: ArenaKey) -> Option<Ticket> {
        let leaving = self.mode == Mode::Drain;
        let conn = self.conns.occupant_mut(key)?;
        let ticket = conn.standing.ticket()?;
        let ready = conn.is_between_requests() && (leaving || conn.http1.is_blank());
        (ready && self.link.gives_back(leaving)).then_some(ticket)
    }

    /// Gives a connection back: our copy stays here, whoever is offered the next request. `done`
    /// is what would be said of the answer otherwise.
    fn give_back(&mut self, key: ArenaKey, ticket: Ticket, done: Option<WorkerMessage>) {
        let Some(conn) = self.conns.remove(key) else { return };
        self.timers.clear(key);
        let service_us = match done {
            Some(WorkerMessage::Done { service_us, .. }) => service_us.max(1),
            Some(_) | None => 0,
        };
        self.link.keep_copy(ticket, self.backend.release(conn.source));
        self.messages.push(WorkerMessage::Idle { ticket, service_us });
        conn.http1.dissolve(&mut self.buffers);
    }

    /// Submits what is to be submitted for a connection after it was served.
    pub(super) fn settle(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        match conn.phase {
            ServePhase::Parked(_) => return self.timers.clear(key),
            ServePhase::Serving => {}
            ServePhase::Retiring
            | ServePhase::Overdue
            | ServePhase::Lingering(_)
            | ServePhase::Ebbing(_)
            | ServePhase::Doomed => return,
        }
        if conn.send.is_some() {
            return;
        }
        let wants_input = conn.http1.wants_input();
        if wants_input && mem::take(&mut conn.late) && !conn.http1.is_idle() {
            return self.time_out(key, now);
        }
        if wants_input {
            self.messages.extend(conn.standing.waits());
        }
        let leaves = conn.http1.has_output();
        let back = self.goes_back(key);
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if leaves {
            // Before the receive: on epoll both are tried at once, and the answer comes first.
            let output = conn.http1.lend_output();
            self.transmit(key, output, 0, now);
        }
        match back {
            // It goes as soon as the answer has left: nothing more is to be read of it here.
            Some(_) if leaves => return,
            Some(ticket) => return self.give_back(key, ticket, None),
            None => {}
        }
        if wants_input {
            self.receive(key);
        }
        if !leaves {
            self.rest(key, now);
        }
    }

    /// A limit of the connection has run out.
    pub(super) fn expire_one(&mut self, key: ArenaKey, limit: ConnLimit, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        match (limit, &conn.phase) {
            (ConnLimit::Idle | ConnLimit::IdleInDrain, ServePhase::Serving) => {
                if let (Some(recv), None) = (conn.recv, conn.send) {
                    conn.phase = ServePhase::Retiring;
                    self.backend.cancel(recv);
                    self.unsubmitted = true;
                }
            }
            (ConnLimit::Request, ServePhase::Serving) => match (conn.recv, conn.send) {
                (Some(recv), None) => {
                    conn.phase = ServePhase::Overdue;
                    self.backend.cancel(recv);
                    self.unsubmitted = true;
                }
                // Its last bytes are here: they decide.
                (None, None) => conn.late = true,
                // What leaves is limited by itself.
                (_, Some(_)) => self.timers.set(key, ConnLimit::Write, now),
            },
            (ConnLimit::Write, _) => {
                if let Some(leaving) = conn.send {
                    conn.phase = ServePhase::Doomed;
                    self.backend.expire(leaving.token);
                    self.unsubmitted = true;
                }
            }
            (ConnLimit::Linger, &ServePhase::Lingering(linger)) => {
                conn.phase = ServePhase::Ebbing(linger);
                match conn.recv {
                    Some(recv) => {
                        self.backend.cancel(recv);
                        self.unsubmitted = true;
                    }
                    None => self.linger_on(key, now),
                }
            }
            (
                ConnLimit::Linger,
                ServePhase::Serving
                | ServePhase::Parked(_)
                | ServePhase::Retiring
                | ServePhase::Overdue
                | ServePhase::Ebbing(_)
                | ServePhase::Doomed,
            )
            | (
                ConnLimit::Idle | ConnLimit::IdleInDrain | ConnLimit::Request,
                ServePhase::Parked(_)
                | ServePhase::Retiring
                | ServePhase::Overdue
                | ServePhase::Lingering(_)
                | ServePhase::Ebbing(_)
                | ServePhase::Doomed,
            ) => {}
        }
    }

    /// All that was to be said is in the kernel.
    fn written(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        match conn.http1.ending() {
            Http1Ending::Open if conn.recv.is_none() => self.run_soon(key),
            Http1Ending::Open => self.rest(key, now),
            Http1Ending::Close => self.doom(key),
            Http1Ending::Linger => self.linger(key, now),
        }
    }

    /// Looks at the input again, unless something is still leaving: then its completion does.
    fn run_soon(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if conn.is_at_rest() {
            self.runnable.push_back(key);
        }
    }

    /// Limits the time until the client sends the next bytes.
    fn rest(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if conn.recv.is_none() {
            return;
        }
        match (conn.http1.is_idle(), self.mode) {
            (true, Mode::Serve) => self.timers.set(key, ConnLimit::Idle, now),
            (true, Mode::Drain) => self.timers.set(key, ConnLimit::IdleInDrain, now),
            (false, Mode::Serve | Mode::Drain) => self.timers.keep(key, ConnLimit::Request, now),
        }
    }

    fn receive(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if conn.recv.is_some() {
            return;
        }
        let buffer = conn.http1.lend_input(&mut self.buffers);
        let op = Op::Recv { stream: conn.source, buffer };
        conn.recv = Some(self.backend.submit(op, Tag(key.to_word())));
        self.unsubmitted = true;
    }

    fn transmit(&mut self, key: ArenaKey, buffer: Vec<u8>, from: usize, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let op = Op::Send { stream: conn.source, buffer, from };
        let token = self.backend.submit(op, Tag(key.to_word()));
        conn.send = Some(Leaving { token, from });
        if conn.standing.is_leaving() {
            self.departing.push((key, token));
        }
        self.unsubmitted = true;
        self.timers.set(key, ConnLimit::Write, now);
    }

    /// The client has ended its side: what is leaving still leaves.
    fn hang_up(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.http1.hang_up();
        let answers_follow = conn.send.is_some() || matches!(conn.phase, ServePhase::Parked(_));
        if !answers_follow {
            self.doom(key);
        }
    }

    fn time_out(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.http1.time_out(&self.responder, &mut self.buffers);
        conn.standing.answers(conn.http1.unsent());
        self.begin(now);
        self.settle(key, now);
    }

    /// Closes an idle connection, unless a request has come in the last moment.
    fn retire(&mut self, key: ArenaKey, now: Mono) {
        if self.mode == Mode::Drain
            && let Some(ticket) = self.goes_back(key)
        {
            return self.give_back(key, ticket, None);
        }
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let fd = self.backend.release(conn.source);
        let has_news = socket::poll_ready_now(fd.as_fd()).is_some();
        conn.source = self.backend.adopt(fd, Role::Stream);
        if has_news {
            conn.phase = ServePhase::Serving;
            self.receive(key);
            self.rest(key, now);
        } else {
            self.doom(key);
        }
    }

    /// Says the end and reads off what still comes.
    fn linger(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let fd = self.backend.release(conn.source);
        // It fails when the client is gone, which the receive tells.
        let _client_is_gone = socket::shutdown_write(fd.as_fd());
        conn.source = self.backend.adopt(fd, Role::Stream);
        let linger = Linger { left: HTTP_LINGER_BYTES, unsent: usize::MAX, moved_at: now };
        self.keep_lingering(key, linger, now);
    }

    fn keep_lingering(&mut self, key: ArenaKey, linger: Linger, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.phase = ServePhase::Lingering(linger);
        conn.http1.discard_input();
        self.receive(key);
        self.timers.set(key, ConnLimit::Linger, now);
    }

    /// Goes on reading off as long as the answer has not arrived whole and the client takes some of
    /// it: until then a reset would take the rest away.
    fn linger_on(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let ServePhase::Ebbing(linger) = conn.phase else { return };
        let fd = self.backend.release(conn.source);
        let unsent = socket::unsent(fd.as_fd()).unwrap_or(0);
        conn.source = self.backend.adopt(fd, Role::Stream);
        let moved_at = if unsent < linger.unsent { now } else { linger.moved_at };
        if unsent == 0 || moved_at.after(HTTP_WRITE_TIMEOUT) <= now {
            return self.doom(key);
        }
        self.keep_lingering(key, Linger { unsent, moved_at, ..linger }, now);
    }

    /// Closes the connection as soon as the backend has let go of it.
    fn doom(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.phase = ServePhase::Doomed;
        let pending = [conn.recv, conn.send.map(|leaving| leaving.token)];
        if pending == [None, None] {
            return self.close(key);
        }
        for token in pending.into_iter().flatten() {
            self.backend.cancel(token);
        }
        self.unsubmitted = true;
    }

    fn close(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.remove(key) else { return };
        self.timers.clear(key);
        let fd = self.backend.release(conn.source);
        let closes = conn.standing.closes();
        if closes.is_some() {
            // Without it our close sends no end while the master still has a copy.
            let _client_is_gone = socket::shutdown(fd.as_fd());
        }
        // A call of its own costs no more than a completion, and the client sees the end at once.
        drop(fd);
        self.link.closed();
        self.messages.extend(closes);
        conn.http1.dissolve(&mut self.buffers);
    }
}
