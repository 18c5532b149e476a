//! The port on epoll, for kernels and containers without io_uring: every operation is attempted
//! first and waits only when it must, and what came of it is delivered by the next wait, so that
//! the loop above cannot tell the difference.
//!
//! Listeners are in the set while they have accepts pending and have run dry; one that is ready
//! with nobody to accept is taken out, so that nothing spins. A shared one leaves before this
//! process sleeps without an accept, or it would take wake-ups away from those who want them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::io::arena::{Arena, ArenaKey};
use crate::io::standing::{STANDING_MARK, StandingWatches};
use crate::io::{
    Backend, Batch, Completion, Op, OpKind, Outcome, Ready, Role, Source, Tag, Token, WatchKind,
};
use crate::sys::clock::monotonic;
use crate::sys::epoll::{EpollFlags, Events, Set};
use crate::sys::scm::send_batch;
use crate::sys::socket;
use crate::units::{Errno, Span};

/// Accepts after which a shared listener is put at the end of the kernel's line of waiters.
const ROTATE_AFTER: u32 = 16;
/// Tells the mark of a source from that of an operation: keys take 56 bits. The bit below is for
/// standing watches.
const SOURCE_MARK: u64 = 1 << 63;

/// The backend on epoll.
pub struct Epoll {
    set: Set,
    events: Events,
    operations: Arena<EpollOperation>,
    sources: Arena<EpollSource>,
    standing: StandingWatches,
    /// Completions for the next return of `wait`.
    ready: Vec<Completion<OwnedFd>>,
    /// How many of them end no wait: hand-offs that succeeded, and closes.
    quiet: usize,
    /// Listeners that have accepts pending and may have connections.
    fresh: Vec<Source>,
    /// Shared listeners in our keeping.
    shared: Vec<Source>,
}

struct EpollSource {
    fd: OwnedFd,
    role: Role,
    /// What the set watches the descriptor for; empty when it is not in the set.
    interest: EpollFlags,
    /// Accepts, rings or receives that wait, in order.
    inward: VecDeque<Token>,
    /// Sends that wait, in order.
    outward: VecDeque<Token>,
    /// An attempt inward may succeed: nothing has said EAGAIN since the last event.
    readable: bool,
    /// An attempt outward may succeed.
    writable: bool,
    /// The peer has ended its side: a short read does not mean that nothing is left.
    ended: bool,
    /// Connections taken since the listener was last put at the end of the line.
    taken: u32,
}

struct EpollOperation {
    tag: Tag,
    work: EpollWork,
}

/// What waits, with what goes back to the submitter. Hand-offs and closes never wait.
enum EpollWork {
    Accept { listener: Source },
    Readable { fd: OwnedFd, watch: WatchKind },
    Ring { doorbell: Source },
    Recv { stream: Source, buffer: Vec<u8> },
    Send { stream: Source, buffer: Vec<u8>, from: usize },
    Done,
}

impl Backend for Epoll {
    type Fd = OwnedFd;

    fn adopt(&mut self, fd: OwnedFd, role: Role) -> Source {
        let source = self.sources.insert(EpollSource::new(fd, role)).source();
        match role {
            Role::SharedListener => self.shared.push(source),
            Role::Listener | Role::Channel | Role::Doorbell | Role::Stream => {}
        }
        source
    }

    fn release(&mut self, source: Source) -> OwnedFd {
        let mut held = self.sources.remove(source.key()).expect("a source is released once");
        held.forget(&self.set);
        self.shared.retain(|&shared| shared != source);
        for token in held.inward.into_iter().chain(held.outward) {
            self.fail(token, Errno(libc::ECANCELED));
        }
        held.fd
    }

    fn submit(&mut self, op: Op<OwnedFd>, tag: Tag) -> Token {
        match op {
            Op::Accept { listener } => self.submit_accept(listener, tag),
            Op::Readable { fd, watch } => self.submit_readable(fd, watch, tag),
            Op::Ring { doorbell } => self.submit_ring(doorbell, tag),
            Op::Handoff { channel, batch } => {
                let result = self.hand_off(channel, &batch);
                self.quiet += usize::from(result.is_ok());
                self.done(OpKind::Handoff, tag, Outcome::HandedOff(batch, result))
            }
            Op::Recv { stream, buffer } => {
                let token = self.begin(OpKind::Recv, tag, EpollWork::Recv { stream, buffer });
                self.enqueue(stream, token);
                token
            }
            Op::Send { stream, buffer, from } => {
                let token = self.begin(OpKind::Send, tag, EpollWork::Send { stream, buffer, from });
                self.enqueue(stream, token);
                token
            }
            Op::Close { fd } => {
                self.standing.forget(&self.set, &fd);
                drop(fd);
                self.quiet += 1;
                self.done(OpKind::Close, tag, Outcome::Closed)
            }
        }
    }

    fn cancel(&mut self, token: Token) {
        let Some(operation) = self.operations.occupant(token.key()) else { return };
        match operation.work {
            EpollWork::Accept { listener: source }
            | EpollWork::Ring { doorbell: source }
            | EpollWork::Recv { stream: source, .. }
            | EpollWork::Send { stream: source, .. } => {
                if let Some(held) = self.sources.occupant_mut(source.key()) {
                    held.inward.retain(|&waiting| waiting != token);
                    held.outward.retain(|&waiting| waiting != token);
                    if held.role == Role::Doorbell && held.inward.is_empty() {
                        held.forget(&self.set);
                    }
                }
            }
            EpollWork::Readable { .. } | EpollWork::Done => {}
        }
        self.fail(token, Errno(libc::ECANCELED));
    }

    fn expire(&mut self, token: Token) -> bool {
        let Some(operation) = self.operations.occupant(token.key()) else { return false };
        let fd = match &operation.work {
            EpollWork::Readable { fd, .. } if socket::has_input(fd.as_fd()) => None,
            EpollWork::Readable { fd, .. } => Some(fd),
            EpollWork::Recv { stream, .. } | EpollWork::Send { stream, .. } => {
                self.sources.occupant(stream.key()).map(|held| &held.fd)
            }
            EpollWork::Accept { .. } | EpollWork::Ring { .. } | EpollWork::Done => None,
        };
        // What is no socket, or has ended already, needs no end.
        fd.is_some_and(|fd| socket::shutdown(fd.as_fd()).is_ok())
    }

    fn wait(
        &mut self,
        timeout: Option<Span>,
        out: &mut Vec<Completion<OwnedFd>>,
    ) -> io::Result<()> {
        let end = match timeout {
            None | Some(Span::ZERO) => None,
            Some(span) => Some(monotonic().after(span)),
        };
        let mut left = timeout;
        self.accept_fresh();
        self.leave_idle_shared();
        loop {
            let alone = self.operations.count() == 0 && self.quiet != 0;
            let at_once = alone || self.quiet < self.ready.len();
            let pause = if at_once { Some(Span::ZERO) } else { left };
            let interrupted = match self.set.wait(pause, &mut self.events) {
                Ok(()) => false,
                Err(Errno(libc::EINTR)) => true,
                Err(Errno(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            };
            for index in 0..self.events.count() {
                let (mark, flags) = self.events.at(index);
                self.digest(mark, flags);
            }
            if !self.ready.is_empty() {
                self.deliver(out);
                return Ok(());
            }
            left = match (timeout, end) {
                (None, _) => None,
                (Some(_), Some(end)) if monotonic() < end => Some(end.since(monotonic())),
                // An interruption tells nothing of what has come meanwhile.
                (Some(_), _) if interrupted => Some(Span::ZERO),
                (Some(_), _) => return Ok(()),
            };
        }
    }

    fn quiesce(&mut self, out: &mut Vec<Completion<OwnedFd>>) -> io::Result<()> {
        let waiting: Vec<_> = self
            .operations
            .iter_mut()
            .map(|(key, operation)| key.token(operation.work.kind()))
            .collect();
        for token in waiting {
            self.cancel(token);
        }
        self.deliver(out);
        Ok(())
    }
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM.
    pub fn new() -> io::Result<Self> {
        let set = Set::new().map_err(|Errno(errno)| io::Error::from_raw_os_error(errno))?;
        Ok(Self {
            set,
            events: Events::new(),
            operations: Arena::new(),
            sources: Arena::new(),
            standing: StandingWatches::default(),
            ready: Vec::new(),
            quiet: 0,
            fresh: Vec::new(),
            shared: Vec::new(),
        })
    }

    fn deliver(&mut self, out: &mut Vec<Completion<OwnedFd>>) {
        self.quiet = 0;
        out.append(&mut self.ready);
    }

    fn submit_accept(&mut self, listener: Source, tag: Tag) -> Token {
        let token = self.begin(OpKind::Accept, tag, EpollWork::Accept { listener });
        let Some(held) = self.sources.occupant_mut(listener.key()) else {
            self.fail(token, Errno(libc::ECANCELED));
            return token;
        };
        held.inward.push_back(token);
        let first = held.inward.len() == 1;
        if held.role == Role::SharedListener && first {
            // A busy process may not have slept since: it asks, instead of waiting to be told.
            self.accept_some(listener);
        } else if held.readable && first {
            self.fresh.push(listener);
        } else if first && held.interest.is_empty() {
            self.watch_listener(listener);
        }
        token
    }

    fn submit_readable(&mut self, fd: OwnedFd, watch: WatchKind, tag: Tag) -> Token {
        let begun = match watch {
            WatchKind::Standing => self.standing.begin(&self.set, &fd),
            WatchKind::Once => Ok(socket::poll_ready_now(fd.as_fd())),
        };
        if let Ok(Some(ready)) = begun {
            return self.done(OpKind::Readable, tag, Outcome::Readable(fd, Ok(ready)));
        }
        let token = self.begin(OpKind::Readable, tag, EpollWork::Readable { fd, watch });
        let Some(EpollOperation { work: EpollWork::Readable { fd, .. }, .. }) =
            self.operations.occupant(token.key())
        else {
            return token;
        };
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        let waits = match (begun, watch) {
            (Err(errno), _) => Err(errno),
            (Ok(_), WatchKind::Once) => self.set.add(fd, interest, token.key().to_word()),
            (Ok(_), WatchKind::Standing) => {
                self.standing.await_by(fd, token);
                Ok(())
            }
        };
        if let Err(errno) = waits {
            self.fail(token, errno);
        }
        token
    }

    fn submit_ring(&mut self, doorbell: Source, tag: Tag) -> Token {
        let token = self.begin(OpKind::Ring, tag, EpollWork::Ring { doorbell });
        let Some(held) = self.sources.occupant_mut(doorbell.key()) else {
            self.fail(token, Errno(libc::ECANCELED));
            return token;
        };
        held.inward.push_back(token);
        // Edge-triggered: each write to the doorbell wakes, without a read.
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        if let Err(errno) = held.watch(&self.set, interest, doorbell) {
            self.fail_inward(doorbell, errno);
        }
        token
    }

    fn hand_off(&self, channel: Source, batch: &Batch<OwnedFd>) -> Result<(), Errno> {
        let held = self.sources.occupant(channel.key()).ok_or(Errno(libc::ECANCELED))?;
        send_batch(held.fd.as_fd(), &batch.words, &batch.fds)
    }

    /// Puts a receive or a send in its line, and attempts it when it is the first.
    fn enqueue(&mut self, stream: Source, token: Token) {
        let Some(held) = self.sources.occupant_mut(stream.key()) else {
            return self.fail(token, Errno(libc::ECANCELED));
        };
        match token.kind() {
            OpKind::Send => {
                held.outward.push_back(token);
                if held.writable {
                    self.send_some(stream);
                }
            }
            OpKind::Accept
            | OpKind::Readable
            | OpKind::Ring
            | OpKind::Handoff
            | OpKind::Recv
            | OpKind::Close => {
                held.inward.push_back(token);
                if held.readable {
                    self.recv_some(stream);
                }
            }
        }
    }

    /// One event: of a source, of an operation, or of neither any more.
    fn digest(&mut self, mark: u64, flags: EpollFlags) {
        if mark & STANDING_MARK != 0 {
            if let Some(token) = self.standing.fired(&self.set, mark) {
                self.finish(token, Ok(bits_of(flags)));
            }
            return;
        }
        let key = ArenaKey::from_word(mark);
        if mark & SOURCE_MARK == 0 {
            return self.readable_now(key, flags);
        }
        let source = key.source();
        let Some(held) = self.sources.occupant_mut(key) else { return };
        match held.role {
            Role::Listener | Role::SharedListener => {
                held.readable = true;
                if held.inward.is_empty() {
                    held.forget(&self.set);
                } else {
                    self.accept_some(source);
                }
            }
            Role::Doorbell => self.rang(source),
            Role::Stream => self.stream_ready(source, flags),
            Role::Channel => {}
        }
    }

    /// Gives a descriptor back that has become readable, out of the set: other processes hold
    /// copies, so that closing it would not end its events.
    fn readable_now(&mut self, key: ArenaKey, flags: EpollFlags) {
        let Some(operation) = self.operations.occupant(key) else { return };
        if let EpollWork::Readable { .. } = operation.work {
            self.finish(key.token(OpKind::Readable), Ok(bits_of(flags)));
        }
    }

    fn rang(&mut self, doorbell: Source) {
        let Some(held) = self.sources.occupant(doorbell.key()) else { return };
        for &token in &held.inward {
            let Some(operation) = self.operations.occupant(token.key()) else { continue };
            let (tag, outcome) = (operation.tag, Outcome::Rang(Ok(())));
            self.ready.push(Completion { token, tag, last: false, outcome });
        }
    }

    fn stream_ready(&mut self, stream: Source, flags: EpollFlags) {
        let failed = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        let ended = EpollFlags::EPOLLRDHUP | failed;
        let Some(held) = self.sources.occupant_mut(stream.key()) else { return };
        held.ended |= flags.intersects(ended);
        held.readable |= flags.intersects(EpollFlags::EPOLLIN | ended);
        held.writable |= flags.intersects(EpollFlags::EPOLLOUT | failed);
        let (readable, writable) = (held.readable, held.writable);
        if readable {
            self.recv_some(stream);
        }
        if writable {
            self.send_some(stream);
        }
    }

    /// Tries the listeners that may have connections and have accepts pending.
    fn accept_fresh(&mut self) {
        // One that fails puts itself back for the next wait.
        for _ in 0..self.fresh.len() {
            let listener = self.fresh.remove(0);
            self.accept_some(listener);
        }
    }

    /// Takes shared listeners without a pending accept out of the set: an exclusive wake-up that
    /// comes to us would be lost to those who would accept.
    fn leave_idle_shared(&mut self) {
        for source in &self.shared {
            let Some(held) = self.sources.occupant_mut(source.key()) else { continue };
            if held.inward.is_empty() {
                held.forget(&self.set);
            }
        }
    }

    /// Accepts for those who wait, until there is no connection or nobody waits: at most one
    /// attempt in vain.
    fn accept_some(&mut self, listener: Source) {
        loop {
            let Some(held) = self.sources.occupant_mut(listener.key()) else { return };
            let Some(&token) = held.inward.front() else { return };
            let accepted = socket::accept(held.fd.as_fd());
            match accepted {
                Err(Errno(libc::EAGAIN)) => {
                    held.readable = false;
                    return self.watch_listener(listener);
                }
                Ok(fd) => {
                    held.inward.pop_front();
                    held.taken += 1;
                    self.complete(token, Outcome::Accepted(Ok(fd)));
                }
                Err(errno) => {
                    // The connection is still there. The others who wait try with the next wait,
                    // when the descriptors that this one lacked may be free.
                    held.inward.pop_front();
                    let others = !held.inward.is_empty();
                    held.readable = true;
                    self.complete(token, Outcome::Accepted(Err(errno)));
                    if others {
                        self.fresh.push(listener);
                    }
                    return;
                }
            }
        }
    }

    fn watch_listener(&mut self, listener: Source) {
        let Some(held) = self.sources.occupant_mut(listener.key()) else { return };
        let mut interest = EpollFlags::EPOLLIN;
        if held.role == Role::SharedListener {
            interest |= EpollFlags::EPOLLEXCLUSIVE;
            if ROTATE_AFTER <= held.taken {
                held.taken = 0;
                held.forget(&self.set);
            }
        }
        if let Err(errno) = held.watch(&self.set, interest, listener) {
            self.fail_inward(listener, errno);
        }
    }

    fn recv_some(&mut self, stream: Source) {
        loop {
            let Some(held) = self.sources.occupant_mut(stream.key()) else { return };
            let Some(&token) = held.inward.front() else { return };
            let Some(EpollOperation { work: EpollWork::Recv { buffer, .. }, .. }) =
                self.operations.occupant_mut(token.key())
            else {
                return;
            };
            let room = buffer.capacity() - buffer.len();
            let received = socket::recv(held.fd.as_fd(), buffer);
            if received == Err(Errno(libc::EAGAIN)) {
                held.readable = false;
                return self.watch_stream(stream, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
            }
            // A short read has emptied the socket, and what comes later is an event of its own.
            let emptied = received.is_ok_and(|bytes| 0 < bytes && bytes < room);
            held.readable = !emptied || held.ended || held.interest.is_empty();
            let readable = held.readable;
            held.inward.pop_front();
            self.finish(token, received);
            if !readable {
                return;
            }
        }
    }

    fn send_some(&mut self, stream: Source) {
        loop {
            let Some(held) = self.sources.occupant_mut(stream.key()) else { return };
            let Some(&token) = held.outward.front() else { return };
            let Some(EpollOperation { work: EpollWork::Send { buffer, from, .. }, .. }) =
                self.operations.occupant(token.key())
            else {
                return;
            };
            let sent = socket::send(held.fd.as_fd(), &buffer[*from..]);
            if sent == Err(Errno(libc::EAGAIN)) {
                held.writable = false;
                return self.watch_stream(stream, EpollFlags::EPOLLOUT);
            }
            held.outward.pop_front();
            self.finish(token, sent);
        }
    }

    /// Adds to what a stream is watched for, edge-triggered.
    fn watch_stream(&mut self, stream: Source, more: EpollFlags) {
        let Some(held) = self.sources.occupant_mut(stream.key()) else { return };
        let interest = held.interest | more | EpollFlags::EPOLLET;
        if let Err(errno) = held.watch(&self.set, interest, stream) {
            for token in held.inward.split_off(0).into_iter().chain(held.outward.split_off(0)) {
                self.fail(token, errno);
            }
        }
    }

    fn fail_inward(&mut self, source: Source, errno: Errno) {
        let Some(held) = self.sources.occupant_mut(source.key()) else { return };
        for token in held.inward.split_off(0) {
            self.fail(token, errno);
        }
    }

    fn begin(&mut self, kind: OpKind, tag: Tag, work: EpollWork) -> Token {
        self.operations.insert(EpollOperation { tag, work }).token(kind)
    }

    /// Gives a token to an operation that is over already.
    fn done(&mut self, kind: OpKind, tag: Tag, outcome: Outcome<OwnedFd>) -> Token {
        let token = self.begin(kind, tag, EpollWork::Done);
        self.complete(token, outcome);
        token
    }

    fn fail(&mut self, token: Token, errno: Errno) {
        self.finish(token, Err(errno));
    }

    /// Ends an operation with a number or an error; a connection that was accepted, and a batch,
    /// take another way.
    fn finish(&mut self, token: Token, result: Result<usize, Errno>) {
        let Some(EpollOperation { tag, work }) = self.operations.remove(token.key()) else {
            return;
        };
        let outcome = match work {
            EpollWork::Accept { .. } => {
                Outcome::Accepted(Err(result.err().unwrap_or(Errno(libc::EIO))))
            }
            EpollWork::Readable { fd, watch } => {
                match watch {
                    WatchKind::Standing => self.standing.withdraw(&fd),
                    WatchKind::Once => {
                        // It may not be in the set, when it could not be added.
                        let _not_in_the_set = self.set.remove(&fd);
                    }
                }
                Outcome::Readable(fd, result.map(ready))
            }
            EpollWork::Ring { .. } => Outcome::Rang(result.map(drop)),
            EpollWork::Recv { buffer, .. } => Outcome::Received(buffer, result),
            EpollWork::Send { buffer, .. } => Outcome::Sent(buffer, result),
            EpollWork::Done => return,
        };
        self.ready.push(Completion { token, tag, last: true, outcome });
    }

    fn complete(&mut self, token: Token, outcome: Outcome<OwnedFd>) {
        let Some(EpollOperation { tag, .. }) = self.operations.remove(token.key()) else { return };
        self.ready.push(Completion { token, tag, last: true, outcome });
    }
}

/// What an event says, as the result of a wait, as in a ring.
fn bits_of(flags: EpollFlags) -> usize {
    usize::try_from(flags.bits()).unwrap_or(0)
}

/// What the result of a wait means: bits of poll.
fn ready(events: usize) -> Ready {
    Ready::from_events(i32::try_from(events).unwrap_or(0))
}

impl EpollSource {
    fn new(fd: OwnedFd, role: Role) -> Self {
        Self {
            fd,
            role,
            interest: EpollFlags::empty(),
            inward: VecDeque::new(),
            outward: VecDeque::new(),
            readable: true,
            writable: true,
            ended: false,
            taken: 0,
        }
    }

    /// Has the set watch the descriptor for `interest`, if it does not already.
    fn watch(&mut self, set: &Set, interest: EpollFlags, source: Source) -> Result<(), Errno> {
        if self.interest == interest {
            return Ok(());
        }
        let mark = SOURCE_MARK | source.key().to_word();
        if self.interest.is_empty() {
            set.add(&self.fd, interest, mark)?;
        } else {
            set.change(&self.fd, interest, mark)?;
        }
        self.interest = interest;
        Ok(())
    }

    /// Takes the descriptor out of the set, if it is in there.
    fn forget(&mut self, set: &Set) {
        if !self.interest.is_empty() {
            // It is in the set and open, so that this cannot fail.
            let _cannot_fail = set.remove(&self.fd);
            self.interest = EpollFlags::empty();
        }
    }
}

impl EpollWork {
    const fn kind(&self) -> OpKind {
        match self {
            Self::Accept { .. } => OpKind::Accept,
            Self::Readable { .. } => OpKind::Readable,
            Self::Ring { .. } => OpKind::Ring,
            Self::Recv { .. } => OpKind::Recv,
            Self::Send { .. } => OpKind::Send,
            Self::Done => OpKind::Close,
        }
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll")
            .field("operations", &self.operations.count())
            .field("sources", &self.sources.count())
            .finish_non_exhaustive()
    }
}
