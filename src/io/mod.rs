//! The one door to the kernel's sockets: a completion-shaped port with two backends, io_uring and
//! epoll, so that the master and the built-in worker are written once and run over either, and
//! over the simulator's fake kernel as well.
//!
//! # The eight laws
//!
//! `tests/it/backend_laws.rs` holds every backend to them: io_uring, epoll and the simulator's.
//!
//! 1. Every submitted operation gets exactly one completion with `last`, even after a cancel.
//! 2. A descriptor inside an operation belongs to the backend until `last`, and comes back in the
//!    outcome, whatever became of the operation; only a close keeps it. An accept that lands after
//!    its cancel is still delivered.
//! 3. `submit` never completes re-entrantly and never blocks; `wait` is the only call that waits.
//! 4. Errors are data in outcomes; `wait` fails only when the ring or the epoll set is unusable.
//! 5. EINTR, ECONNABORTED, a full submission queue and a full completion queue are invisible; a
//!    multishot operation that the kernel ended early is re-armed in one place, here.
//! 6. Completions of one operation are in order; across operations there is no order.
//! 7. Arrivals are bounded: one accept per submitted operation, never more.
//! 8. At the end the kernel lets go before memory is freed: `quiesce` cancels all and drains to
//!    zero.

pub mod arena;
pub mod epoll;
pub mod probe;
mod standing;
pub mod uring;

use std::fmt;
use std::io;
use std::num::NonZeroU64;

use crate::limits::BATCH_MAX;
pub use crate::sys::socket::Ready;
use crate::units::{Errno, Span, Ticket};

/// What carries operations to the kernel and completions back.
pub trait Backend {
    /// A descriptor: owned, or a counted fake whose leaks fail a test.
    type Fd: fmt::Debug;

    /// Gives the backend a long-lived descriptor that later operations name.
    fn adopt(&mut self, fd: Self::Fd, role: Role) -> Source;

    /// Takes the descriptor back. Operations that still name the source complete as cancelled, and
    /// the descriptor must not be closed before they did: it comes back at once, but the backend
    /// has already withdrawn every wait on it.
    fn release(&mut self, source: Source) -> Self::Fd;

    /// Starts `op`; its completions carry `tag`. Nothing happens before the next `wait`, but for
    /// what a backend may try at once without blocking.
    fn submit(&mut self, op: Op<Self::Fd>, tag: Tag) -> Token;

    /// Asks that `token` end soon. Its `last` completion still comes, possibly with a result.
    /// A stale token is ignored.
    fn cancel(&mut self, token: Token);

    /// Shuts the socket of a pending `Readable`, `Recv` or `Send` down in both directions, which
    /// completes it: how a silent client is let go. One that is no longer silent is not: a watch
    /// whose socket has input is left alone, since its completion is on its way. Whether the socket
    /// was shut down; a stale token is ignored.
    fn expire(&mut self, token: Token) -> bool;

    /// Carries out everything submitted, waits until something completes or `timeout` has passed
    /// (`None`: for ever; zero: not at all), and appends the completions to `out`. It never returns
    /// without having looked once after the timeout had passed, however long this process was
    /// stopped meanwhile.
    ///
    /// A hand-off that succeeded and a close end no wait while anything else is pending: they are
    /// told when it ends, because returning for them would cost a call per connection. One that
    /// failed ends the wait at once.
    fn wait(
        &mut self,
        timeout: Option<Span>,
        out: &mut Vec<Completion<Self::Fd>>,
    ) -> io::Result<()>;

    /// Cancels all that is pending and waits until the kernel has let go of it; every operation's
    /// `last` completion is in `out` afterwards.
    fn quiesce(&mut self, out: &mut Vec<Completion<Self::Fd>>) -> io::Result<()>;
}

/// What a long-lived descriptor is for; epoll registers by role, io_uring needs no registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// A listening socket that this process alone accepts from.
    Listener,
    /// A listening socket that several processes accept from: wakes one idle process, in rotation.
    SharedListener,
    /// A SOCK_SEQPACKET end that descriptors are handed over through.
    Channel,
    /// What a peer rings: an eventfd, or a channel whose messages somebody else reads.
    Doorbell,
    /// A connection that is read and written.
    Stream,
}

/// A long-lived descriptor in the backend's keeping.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Source {
    /// Position in the backend's table.
    pub index: u32,
    /// Which use of the index is meant.
    pub generation: u32,
}

/// The submitter's own mark on an operation; the backend only carries it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tag(pub u64);

/// One operation in flight: io_uring's 64-bit `user_data`. From above, 8 bits are the kind, which
/// tells that an orphan's result is a descriptor to close; 24 the generation, which tells a late
/// completion from the index's next occupant; 32 the index in the table of operations. It stays
/// packed: as a struct of its parts it was copied by loads that overlap the stores just before
/// them, which took 2.5 % of the master's time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Token(NonZeroU64);

/// The kind of an operation, as its token carries it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum OpKind {
    /// [`Op::Accept`].
    Accept = 1,
    /// [`Op::Readable`].
    Readable,
    /// [`Op::Ring`].
    Ring,
    /// [`Op::Handoff`].
    Handoff,
    /// [`Op::Recv`].
    Recv,
    /// [`Op::Send`].
    Send,
    /// [`Op::Close`].
    Close,
}

/// Everything that can be asked of the kernel: a closed set, each with a way on every backend.
#[derive(Debug)]
pub enum Op<F> {
    /// Takes one connection: [`Outcome::Accepted`]. Waits until there is one.
    Accept {
        /// A [`Role::Listener`] or [`Role::SharedListener`].
        listener: Source,
    },
    /// Waits until `fd` is readable, hung up or in error: [`Outcome::Readable`] gives it back.
    Readable {
        /// A connection, a pipe, a pidfd or a signalfd.
        fd: F,
        /// Whether it is waited for again.
        watch: WatchKind,
    },
    /// Waits for each ring of a doorbell, again and again: [`Outcome::Rang`] until cancelled.
    Ring {
        /// A [`Role::Doorbell`]. It is never read by the backend: each write wakes once
        /// (edge-triggered).
        doorbell: Source,
    },
    /// Sends one message with copies of the batch's descriptors, without waiting:
    /// [`Outcome::HandedOff`]. EAGAIN and ETOOMANYREFS are answers, not waits.
    Handoff {
        /// The master's end of a worker's channel.
        channel: Source,
        /// What to send.
        batch: Batch<F>,
    },
    /// Reads into the spare capacity of `buffer` (at least one byte): [`Outcome::Received`].
    Recv {
        /// A [`Role::Stream`].
        stream: Source,
        /// Appended to.
        buffer: Vec<u8>,
    },
    /// Writes `buffer[from..]`, as much as goes in one step: [`Outcome::Sent`].
    Send {
        /// A [`Role::Stream`].
        stream: Source,
        /// What to write.
        buffer: Vec<u8>,
        /// Bytes already written.
        from: usize,
    },
    /// Closes a descriptor in the batch instead of by a call of its own: [`Outcome::Closed`].
    Close {
        /// What to close; never comes back.
        fd: F,
    },
}

/// Whether a descriptor is waited for again and again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WatchKind {
    /// As far as is known it is not.
    Once,
    /// It may be: a backend may go on watching it meanwhile. Such a descriptor is closed by
    /// [`Op::Close`] and in no other way.
    Standing,
}

/// Up to [`BATCH_MAX`] connections on their way to one worker. The words are the bytes of the
/// message: one header word, then one ticket per descriptor.
#[derive(Debug)]
pub struct Batch<F> {
    /// The message's payload, in the machine's byte order (it never leaves the machine).
    pub words: Vec<u64>,
    /// The descriptors, in the order of the tickets.
    pub fds: Vec<F>,
}

impl<F> Batch<F> {
    /// A batch with this header word and no connection in it.
    pub fn new(header: u64) -> Self {
        Self { words: vec![header], fds: Vec::new() }
    }

    /// Adds a connection.
    ///
    /// # Panics
    /// When the batch is full: the caller counts.
    pub fn push(&mut self, ticket: Ticket, fd: F) {
        assert!(self.fds.len() < BATCH_MAX, "a batch holds {BATCH_MAX} descriptors");
        self.words.push(ticket.to_word());
        self.fds.push(fd);
    }
}

/// What became of an operation.
#[derive(Debug)]
pub struct Completion<F> {
    /// Which operation.
    pub token: Token,
    /// The submitter's mark.
    pub tag: Tag,
    /// Nothing more comes for this token.
    pub last: bool,
    /// What happened.
    pub outcome: Outcome<F>,
}

impl<F> Completion<F> {
    /// Whether what was waited for has come.
    pub const fn has_succeeded(&self) -> bool {
        match &self.outcome {
            Outcome::Accepted(Ok(_))
            | Outcome::Readable(_, Ok(_))
            | Outcome::Rang(Ok(()))
            | Outcome::HandedOff(_, Ok(()))
            | Outcome::Received(_, Ok(_))
            | Outcome::Sent(_, Ok(_))
            | Outcome::Closed => true,
            Outcome::Accepted(Err(_))
            | Outcome::Readable(_, Err(_))
            | Outcome::Rang(Err(_))
            | Outcome::HandedOff(_, Err(_))
            | Outcome::Received(_, Err(_))
            | Outcome::Sent(_, Err(_)) => false,
        }
    }
}

/// The result of each kind of operation. A cancelled one answers `Errno(ECANCELED)`.
#[derive(Debug)]
pub enum Outcome<F> {
    /// A connection, close-on-exec and blocking, or why there is none.
    Accepted(Result<F, Errno>),
    /// The descriptor, and what may be read of it now. What has ended may be told as input where
    /// the kernel does not tell the difference, and never the other way round.
    Readable(F, Result<Ready, Errno>),
    /// A peer rang; or the wait ended.
    Rang(Result<(), Errno>),
    /// The batch as it was, and whether the message is queued: then the channel has copies of the
    /// descriptors.
    HandedOff(Batch<F>, Result<(), Errno>),
    /// The buffer and how many bytes were appended; 0 is the end of the stream.
    Received(Vec<u8>, Result<usize, Errno>),
    /// The buffer and how many bytes were taken from `from`.
    Sent(Vec<u8>, Result<usize, Errno>),
    /// The descriptor is gone.
    Closed,
}
