//! The port on io_uring: one system call per wait submits everything, waits and reaps, and a batch
//! costs no completion of its own, so that the master pays a tenth of a call per connection.
//!
//! What the kernel is given lives in tables that do not move: buffers in the table of operations,
//! messages in boxes that are never handled as boxes. Both outlive the kernel's use, or are leaked.
//!
//! Accepting from a shared listener is a poll and a call here, not an accept in the ring: an
//! accept that loses the race too often is moved to a kernel thread, and one that is armed
//! exclusively swallows the wake-up of a process that is stopped.
#![expect(unsafe_code, reason = "the ring is given raw pointers and raw descriptors")]

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{self, CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use crate::io::arena::Arena;
use crate::io::{Backend, Batch, Completion, Op, OpKind, Outcome, Ready, Role, Source, Tag, Token};
use crate::limits::{BATCH_MAX, QUIESCE_MAX};
use crate::sys::clock::monotonic;
use crate::sys::fd::adopt;
use crate::sys::scm::{DESCRIPTORS_MAX, MessageBuffer, SEND_FLAGS};
use crate::sys::{rlimit, socket};
use crate::units::{Errno, Span};

/// Sizes of the two queues, from the wanted one down to what little locked memory allows.
const SIZES: [(u32, u32); 3] = [(1024, 4096), (512, 2048), (256, 1024)];
/// Marks what nobody waits for: cancels. No token's word is 0.
const NOBODY: u64 = 0;
/// Times in a row that the kernel may refuse to submit (for want of memory) before we give up.
const REFUSALS_MAX: u32 = 1_000;
const _: () = assert!(BATCH_MAX == DESCRIPTORS_MAX);

/// The backend on io_uring.
pub struct Uring {
    // First, so that the ring is closed before the memory that it was given is freed.
    ring: IoUring,
    operations: Arena<UringOperation>,
    messages: MessagePool,
    sources: Arena<UringSource>,
    /// Completions for the next return of `wait`.
    ready: Vec<Completion<OwnedFd>>,
    /// Operations that speak up only when they fail, in the order of submission.
    unconfirmed: Vec<Token>,
    /// Room for one batch of completions, kept between waits.
    reaped: Vec<Reaped>,
    /// How accepts begin, as far as this kernel is known to allow.
    accept_first: First,
    /// How often in a row the kernel refused to submit.
    refusals: u32,
    /// The last wait was.
    interrupted: bool,
    /// The error that made the ring unusable.
    broken: Option<i32>,
}

struct UringSource {
    fd: OwnedFd,
    role: Role,
    /// Operations that name this source and are not over.
    pending: u32,
}

struct UringOperation {
    tag: Tag,
    source: Option<Source>,
    /// Nobody wants it any more, so that it is not begun again.
    cancelled: bool,
    work: UringWork,
}

/// What the kernel does first with an accept. A try that comes too early makes a socket and a file
/// and throws them away: half a microsecond for every accept that is armed ahead of its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum First {
    /// Wait until there is a connection; from Linux 6.10 on.
    Poll,
    /// Try, and wait only then.
    Try,
}

/// What the kernel works with, and what goes back to the submitter.
enum UringWork {
    Accept,
    SharedAccept,
    Readable { fd: OwnedFd },
    Ring,
    Handoff { message: usize, batch: Batch<OwnedFd> },
    Recv { buffer: Vec<u8> },
    Send { buffer: Vec<u8>, from: usize },
    Close { raw: i32 },
}

#[derive(Clone, Copy)]
struct Reaped {
    word: u64,
    result: i32,
    more: bool,
}

impl Backend for Uring {
    type Fd = OwnedFd;

    fn adopt(&mut self, fd: OwnedFd, role: Role) -> Source {
        self.sources.insert(UringSource { fd, role, pending: 0 }).source()
    }

    fn release(&mut self, source: Source) -> OwnedFd {
        let held = self.sources.remove(source.key()).expect("a source is released once");
        if held.pending != 0 {
            // The submissions name the descriptor by number: the kernel must have seen them, and
            // their cancels, before the caller can close it and the number has another meaning.
            self.cancel_all_on(source);
            self.submit_now();
        }
        held.fd
    }

    fn submit(&mut self, op: Op<OwnedFd>, tag: Tag) -> Token {
        let (kind, source, work) = self.work_of(op);
        let key = self.operations.insert(UringOperation { tag, source, cancelled: false, work });
        let token = key.token(kind);
        if let Some(held) = source.and_then(|source| self.sources.occupant_mut(source.key())) {
            held.pending += 1;
        }
        self.issue(token);
        token
    }

    fn cancel(&mut self, token: Token) {
        let Some(operation) = self.operations.occupant_mut(token.key()) else { return };
        match token.kind() {
            OpKind::Accept | OpKind::Readable | OpKind::Ring | OpKind::Recv | OpKind::Send => {
                operation.cancelled = true;
                self.push_cancel(token);
            }
            // These never wait: they are over with the next submission.
            OpKind::Handoff | OpKind::Close => {}
        }
    }

    fn expire(&mut self, token: Token) -> bool {
        let Some(operation) = self.operations.occupant(token.key()) else { return false };
        let held = operation.source.and_then(|source| self.sources.occupant(source.key()));
        let fd = match &operation.work {
            UringWork::Readable { fd } if socket::has_input(fd.as_fd()) => None,
            UringWork::Readable { fd } => Some(fd),
            UringWork::Recv { .. } | UringWork::Send { .. } => held.map(|held| &held.fd),
            UringWork::Accept
            | UringWork::SharedAccept
            | UringWork::Ring
            | UringWork::Handoff { .. }
            | UringWork::Close { .. } => None,
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
        loop {
            // Whoever speaks up only on failure has succeeded once the submission is over. That
            // is told when the wait ends: to return for it would cost a call per connection.
            let alone = self.operations.count() <= self.unconfirmed.len();
            let at_once = !self.ready.is_empty() || alone && !self.unconfirmed.is_empty();
            self.interrupted = false;
            self.enter(if at_once { Some(Span::ZERO) } else { left })?;
            self.reap();
            self.confirm()?;
            if !self.ready.is_empty() {
                out.append(&mut self.ready);
                return Ok(());
            }
            left = match (timeout, end) {
                (None, _) => None,
                (Some(_), Some(end)) if monotonic() < end => Some(end.since(monotonic())),
                // An interruption tells nothing of what has come meanwhile.
                (Some(_), _) if self.interrupted => Some(Span::ZERO),
                (Some(_), _) if self.unconfirmed.is_empty() => return Ok(()),
                (Some(_), _) => Some(Span::ZERO),
            };
        }
    }

    fn quiesce(&mut self, out: &mut Vec<Completion<OwnedFd>>) -> io::Result<()> {
        let drained = self.drain();
        out.append(&mut self.ready);
        drained
    }
}

impl Uring {
    /// A ring of the size that the locked-memory limit allows.
    ///
    /// # Errors
    /// ENOSYS (no io_uring), EPERM (forbidden), ENOMEM (too little locked memory), EINVAL (a
    /// kernel before 6.1).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ring: build_ring()?,
            operations: Arena::new(),
            messages: MessagePool::default(),
            sources: Arena::new(),
            ready: Vec::new(),
            unconfirmed: Vec::new(),
            reaped: Vec::new(),
            accept_first: First::Poll,
            refusals: 0,
            interrupted: false,
            broken: None,
        })
    }

    /// Entries of the submission queue and of the completion queue.
    pub fn sizes(&self) -> (u32, u32) {
        (self.ring.params().sq_entries(), self.ring.params().cq_entries())
    }

    fn work_of(&mut self, op: Op<OwnedFd>) -> (OpKind, Option<Source>, UringWork) {
        match op {
            Op::Accept { listener } => {
                let work = match self.sources.occupant(listener.key()).map(|held| held.role) {
                    Some(Role::SharedListener) => UringWork::SharedAccept,
                    Some(Role::Listener | Role::Channel | Role::Doorbell | Role::Stream) | None => {
                        UringWork::Accept
                    }
                };
                (OpKind::Accept, Some(listener), work)
            }
            Op::Readable { fd, watch: _ } => (OpKind::Readable, None, UringWork::Readable { fd }),
            Op::Ring { doorbell } => (OpKind::Ring, Some(doorbell), UringWork::Ring),
            Op::Handoff { channel, batch } => {
                let message = self.messages.take();
                (OpKind::Handoff, Some(channel), UringWork::Handoff { message, batch })
            }
            Op::Recv { stream, buffer } => (OpKind::Recv, Some(stream), UringWork::Recv { buffer }),
            Op::Send { stream, buffer, from } => {
                (OpKind::Send, Some(stream), UringWork::Send { buffer, from })
            }
            Op::Close { fd } => (OpKind::Close, None, UringWork::Close { raw: fd.into_raw_fd() }),
        }
    }

    /// Puts the operation in the submission queue, for the first time or again.
    fn issue(&mut self, token: Token) {
        let Some(operation) = self.operations.occupant_mut(token.key()) else { return };
        let raw = match operation.source.map(|source| self.sources.occupant(source.key())) {
            None => -1,
            Some(Some(held)) => held.fd.as_raw_fd(),
            Some(None) => return self.finish(token, -libc::ECANCELED),
        };
        let fd = types::Fd(raw);
        let entry = match &mut operation.work {
            UringWork::Accept => accept_entry(fd, self.accept_first),
            UringWork::SharedAccept => opcode::PollAdd::new(fd, poll_mask(libc::POLLIN)).build(),
            UringWork::Readable { fd } => {
                opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), poll_mask(Ready::INTEREST)).build()
            }
            // A multishot poll is edge-triggered: each write to the doorbell wakes, without a read.
            UringWork::Ring => {
                opcode::PollAdd::new(fd, poll_mask(libc::POLLIN)).multi(true).build()
            }
            UringWork::Handoff { message, batch } => {
                let buffer = self.messages.at(*message);
                buffer.fill(&batch.words, batch.fds.iter().map(AsRawFd::as_raw_fd));
                let send = opcode::SendMsg::new(fd, buffer.header_to_send()).flags(SEND_BITS);
                self.unconfirmed.push(token);
                send.build().flags(Flags::SKIP_SUCCESS)
            }
            UringWork::Recv { buffer } => recv_entry(fd, buffer),
            UringWork::Send { buffer, from } => send_entry(fd, &buffer[*from..]),
            UringWork::Close { raw } => {
                self.unconfirmed.push(token);
                opcode::Close::new(types::Fd(*raw)).build().flags(Flags::SKIP_SUCCESS)
            }
        };
        self.push(&entry.user_data(token.to_word()));
    }

    /// Queues an entry; what is in the queue goes to the kernel when there is no room.
    fn push(&mut self, entry: &Entry) {
        let full = self.ring.submission().is_full();
        if full && !self.submit_now() {
            return;
        }
        // SAFETY: a pointer in the entry leads to a message, which does not move, or to the
        // heap part of a vector in the table of operations, which stays there until the kernel's
        // last word on the operation; the descriptors are held by the tables as long.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("room was made above");
    }

    fn push_cancel(&mut self, token: Token) {
        let cancel = opcode::AsyncCancel::new(token.to_word()).build();
        // Its failure means that the operation is over by itself, which is as good.
        self.push(&cancel.user_data(NOBODY).flags(Flags::SKIP_SUCCESS));
    }

    fn cancel_all_on(&mut self, source: Source) {
        let mut tokens = Vec::new();
        for (key, operation) in self.operations.iter_mut() {
            if operation.source == Some(source) {
                operation.cancelled = true;
                tokens.push(key.token(operation.work.kind()));
            }
        }
        for token in tokens {
            self.push_cancel(token);
        }
    }

    /// Hands the submission queue to the kernel without waiting. Tells whether it is empty now.
    fn submit_now(&mut self) -> bool {
        while self.broken.is_none() {
            if self.ring.submission().is_empty() {
                return true;
            }
            match self.ring.submit() {
                Ok(_) => self.refusals = 0,
                Err(error) => self.excuse(&error),
            }
        }
        false
    }

    /// Submits, and waits for one completion at most for `timeout`.
    fn enter(&mut self, timeout: Option<Span>) -> io::Result<()> {
        if let Some(errno) = self.broken {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let entered = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(Span::ZERO) => self.enter_without_wait(),
            Some(span) => self.enter_for(1, span),
        };
        match entered {
            Ok(_) => self.refusals = 0,
            Err(error) => self.excuse(&error),
        }
        Ok(())
    }

    fn enter_without_wait(&mut self) -> io::Result<usize> {
        let count = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        let flags = io_uring::EnterFlags::GETEVENTS.bits();
        // SAFETY: without EXT_ARG the argument is a signal mask, and none is given; the count is
        // that of the entries in the queue.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, flags, None) }
    }

    fn enter_for(&self, completions: usize, span: Span) -> io::Result<usize> {
        let rest = u32::try_from(span.as_ns() % 1_000_000_000).unwrap_or(0);
        let time = Timespec::new().sec(span.as_ns() / 1_000_000_000).nsec(rest);
        self.ring.submitter().submit_with_args(completions, &SubmitArgs::new().timespec(&time))
    }

    /// Sorts the errors of a submission: a wait that ended, a refusal that passes when completions
    /// are taken, and the end of the ring.
    fn excuse(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::ETIME) => {}
            Some(libc::EINTR) => self.interrupted = true,
            Some(libc::EAGAIN | libc::EBUSY) if self.refusals < REFUSALS_MAX => {
                self.refusals += 1;
                self.reap();
            }
            errno => self.broken = Some(errno.unwrap_or(libc::EIO)),
        }
    }

    /// Takes every completion that is there.
    fn reap(&mut self) {
        let mut reaped = mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion().map(|entry| Reaped {
            word: entry.user_data(),
            result: entry.result(),
            more: cqueue::more(entry.flags()),
        }));
        for entry in reaped.drain(..) {
            self.digest(entry);
        }
        self.reaped = reaped;
    }

    fn digest(&mut self, entry: Reaped) {
        let Some(token) = Token::from_word(entry.word) else { return };
        let Some(operation) = self.operations.occupant_mut(token.key()) else {
            if token.kind() == OpKind::Accept && 0 <= entry.result {
                drop(adopt(entry.result));
            }
            return;
        };
        let interrupted = match (&operation.work, entry.result.wrapping_neg()) {
            (UringWork::Accept, libc::ECONNABORTED) | (_, libc::EINTR) => true,
            (_, _) => false,
        };
        match (&operation.work, entry.result) {
            (_, _) if interrupted && operation.cancelled => self.finish(token, -libc::ECANCELED),
            (_, _) if interrupted => self.issue(token),
            (UringWork::Ring, 0..) => self.rang(token, entry.more),
            (UringWork::Accept, result)
                if result == -libc::EINVAL && self.accept_first == First::Poll =>
            {
                self.accept_first = First::Try;
                self.issue(token);
            }
            (UringWork::SharedAccept, 0..) => self.accept_shared(token),
            (_, result) => self.finish(token, result),
        }
    }

    /// Tells of a ring; begins anew when the kernel has ended the watch (its queue was full).
    fn rang(&mut self, token: Token, more: bool) {
        let Some(operation) = self.operations.occupant(token.key()) else { return };
        let (tag, cancelled) = (operation.tag, operation.cancelled);
        self.ready.push(Completion { token, tag, last: false, outcome: Outcome::Rang(Ok(())) });
        match (more, cancelled) {
            (true, _) => {}
            (false, false) => self.issue(token),
            (false, true) => self.finish(token, -libc::ECANCELED),
        }
    }

    /// Takes a connection from a shared listener that was readable a moment ago.
    fn accept_shared(&mut self, token: Token) {
        let Some(operation) = self.operations.occupant(token.key()) else { return };
        let held = operation.source.and_then(|source| self.sources.occupant(source.key()));
        let result = match held {
            None => -libc::ECANCELED,
            Some(_) if operation.cancelled => -libc::ECANCELED,
            Some(held) => match socket::accept(held.fd.as_fd()) {
                Ok(fd) => fd.into_raw_fd(),
                Err(Errno(libc::EAGAIN)) => return self.issue(token),
                Err(Errno(errno)) => -errno,
            },
        };
        self.finish(token, result);
    }

    /// Ends those that would have spoken up by now had they failed.
    fn confirm(&mut self) -> io::Result<()> {
        if self.unconfirmed.is_empty() || !self.ring.submission().is_empty() {
            return Ok(());
        }
        // A failure may be among the completions for which the queue had no room.
        while self.ring.submission().cq_overflow() {
            self.enter(Some(Span::ZERO))?;
            self.reap();
        }
        if !self.ring.submission().is_empty() {
            return Ok(());
        }
        let mut unconfirmed = mem::take(&mut self.unconfirmed);
        for token in unconfirmed.drain(..) {
            self.finish(token, 0);
        }
        self.unconfirmed = unconfirmed;
        Ok(())
    }

    /// Ends the operation, if it has not ended: its last completion, with what belongs to it.
    fn finish(&mut self, token: Token, result: i32) {
        let Some(operation) = self.operations.remove(token.key()) else { return };
        if let Some(held) =
            operation.source.and_then(|source| self.sources.occupant_mut(source.key()))
        {
            held.pending -= 1;
        }
        let outcome = self.outcome(operation.work, result);
        self.ready.push(Completion { token, tag: operation.tag, last: true, outcome });
    }

    fn outcome(&mut self, work: UringWork, result: i32) -> Outcome<OwnedFd> {
        let count = usize::try_from(result).map_err(|_| Errno(result.wrapping_neg()));
        match work {
            UringWork::Accept | UringWork::SharedAccept => {
                Outcome::Accepted(count.map(|_| adopt(result)))
            }
            UringWork::Readable { fd } => {
                Outcome::Readable(fd, count.map(|_| Ready::from_events(result)))
            }
            UringWork::Ring => Outcome::Rang(count.map(drop)),
            UringWork::Handoff { message, batch } => {
                self.messages.give_back(message);
                Outcome::HandedOff(batch, count.map(drop))
            }
            UringWork::Recv { mut buffer } => {
                let length = buffer.len() + count.unwrap_or(0);
                // SAFETY: the kernel has written so many bytes behind the old length, and was
                // given no more room than the spare capacity.
                unsafe { buffer.set_len(length) };
                Outcome::Received(buffer, count)
            }
            UringWork::Send { buffer, from: _ } => Outcome::Sent(buffer, count),
            UringWork::Close { raw: _ } => Outcome::Closed,
        }
    }

    /// Cancels everything until nothing is left, for a bounded time.
    fn drain(&mut self) -> io::Result<()> {
        let end = monotonic().after(QUIESCE_MAX);
        for (_, operation) in self.operations.iter_mut() {
            operation.cancelled = true;
        }
        while self.operations.count() != 0 {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
            self.push(&cancel.user_data(NOBODY).flags(Flags::SKIP_SUCCESS));
            // Asking for more completions than can come runs all that the kernel has put off
            // before the wait begins.
            match self.enter_for(self.sizes().1 as usize, Span::from_us(200)) {
                Ok(_) => self.refusals = 0,
                Err(error) => self.excuse(&error),
            }
            self.reap();
            self.confirm()?;
            if let Some(errno) = self.broken {
                return Err(io::Error::from_raw_os_error(errno));
            }
            if end <= monotonic() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

impl Drop for Uring {
    #[expect(clippy::mem_forget, reason = "memory that the kernel may write to is never freed")]
    fn drop(&mut self) {
        if self.drain().is_err() {
            // The ring is taken down in the background, so that closing it first is not enough.
            mem::forget(mem::take(&mut self.operations));
            mem::forget(mem::take(&mut self.messages));
        }
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("sizes", &self.sizes())
            .field("operations", &self.operations.count())
            .field("sources", &self.sources.count())
            .finish_non_exhaustive()
    }
}

impl UringWork {
    const fn kind(&self) -> OpKind {
        match self {
            Self::Accept | Self::SharedAccept => OpKind::Accept,
            Self::Readable { .. } => OpKind::Readable,
            Self::Ring => OpKind::Ring,
            Self::Handoff { .. } => OpKind::Handoff,
            Self::Recv { .. } => OpKind::Recv,
            Self::Send { .. } => OpKind::Send,
            Self::Close { .. } => OpKind::Close,
        }
    }
}

/// Messages at fixed places, used again and again. They are boxes only when they are born and when
/// they die: a box that is moved while the kernel points into it is undefined behaviour.
#[derive(Default)]
struct MessagePool {
    all: Vec<NonNull<MessageBuffer>>,
    vacant: Vec<usize>,
}

impl MessagePool {
    fn take(&mut self) -> usize {
        if let Some(index) = self.vacant.pop() {
            return index;
        }
        self.all.push(NonNull::from(Box::leak(Box::new(MessageBuffer::new()))));
        self.all.len() - 1
    }

    fn at(&mut self, index: usize) -> &mut MessageBuffer {
        // SAFETY: the pointer came from a box that lives as long as this table, `&mut self` keeps
        // other references away, and the kernel uses the message only between `issue` and
        // `finish`, where nobody calls this for it.
        unsafe { self.all[index].as_mut() }
    }

    fn give_back(&mut self, index: usize) {
        self.vacant.push(index);
    }
}

impl Drop for MessagePool {
    fn drop(&mut self) {
        for pointer in self.all.drain(..) {
            // SAFETY: the pointer came from a box and is given up here, once; the kernel is done
            // with it, or this table would have been leaked.
            drop(unsafe { Box::from_raw(pointer.as_ptr()) });
        }
    }
}

const SEND_BITS: u32 = SEND_FLAGS.cast_unsigned();

fn poll_mask(events: i16) -> u32 {
    u32::from(events.cast_unsigned())
}

fn accept_entry(fd: types::Fd, first: First) -> Entry {
    let nowhere = std::ptr::null_mut();
    let accept = opcode::Accept::new(fd, nowhere, std::ptr::null_mut());
    let mut entry = accept.flags(libc::SOCK_CLOEXEC).build();
    match first {
        First::Poll => set_poll_first(&mut entry),
        First::Try => {}
    }
    entry
}

/// How the kernel's interface has an entry begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
struct EntryHead {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
}

// The crate keeps to itself what its entry is made of; it is not written into unless it is as large
// as the kernel's and aligned for what it begins with.
const _: () = assert!(size_of::<Entry>() == 64, "an entry of the submission queue");
const _: () = assert!(align_of::<EntryHead>() <= align_of::<Entry>());

/// Has an accept wait before it tries, which the crate has no word for.
fn set_poll_first(accept: &mut Entry) {
    /// IORING_ACCEPT_POLL_FIRST.
    const POLL_FIRST: u16 = 1 << 2;
    let head = (&raw mut *accept).cast::<EntryHead>();
    // SAFETY: an entry is 64 initialised bytes, aligned for a head, of which any bytes are one; it
    // is borrowed for us alone.
    let found = unsafe { head.read() };
    let is_accept = found.opcode == opcode::Accept::CODE && (found.flags, found.ioprio) == (0, 0);
    assert!(is_accept, "an entry begins as the kernel's interface says: {found:?}");
    // SAFETY: as above; and in an accept, as this is, these two bytes are its flags.
    unsafe { head.write(EntryHead { ioprio: POLL_FIRST, ..found }) };
}

fn recv_entry(fd: types::Fd, buffer: &mut Vec<u8>) -> Entry {
    let spare = buffer.spare_capacity_mut();
    assert!(!spare.is_empty(), "a read needs room");
    let room = u32::try_from(spare.len()).unwrap_or(u32::MAX);
    opcode::Recv::new(fd, spare.as_mut_ptr().cast(), room).build()
}

fn send_entry(fd: types::Fd, bytes: &[u8]) -> Entry {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    opcode::Send::new(fd, bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build()
}

fn build_ring() -> io::Result<IoUring> {
    let mut answer = Err(io::Error::from_raw_os_error(libc::ENOMEM));
    for (submissions, completions) in SIZES {
        answer = builder(completions).setup_no_sqarray().build(submissions);
        if errno_of(&answer) == Some(libc::EINVAL) {
            // Before 6.6 the indirection array cannot be left out.
            answer = builder(completions).build(submissions);
        }
        if errno_of(&answer) != Some(libc::ENOMEM) {
            break;
        }
    }
    let ring = answer?;
    let params = ring.params();
    let able = params.is_feature_nodrop()
        && params.is_feature_ext_arg()
        && params.is_feature_skip_cqe_on_success();
    if able { Ok(ring) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Bytes of locked memory that the smallest ring costs; none where the kernel charges nothing for
/// rings, or lets us have none. Kernels before 5.12 charge, and those from 6.14 on do again.
pub(super) fn charge() -> Option<u64> {
    let (submissions, completions) = SIZES[SIZES.len() - 1];
    let build = || builder(completions).build(submissions);
    let charged = rlimit::without_locked_memory(build);
    (errno_of(&charged) == Some(libc::ENOMEM)).then(|| memory_of(submissions, completions))
}

/// Bytes of two regions, in whole pages: entries to submit, and the rest.
fn memory_of(submissions: u32, completions: u32) -> u64 {
    /// What the kernel keeps in front of the queues, at most.
    const HEADER: u64 = 320;
    const PAGE: u64 = 4_096;
    let (submissions, completions) = (u64::from(submissions), u64::from(completions));
    let entries = size_of::<Entry>() as u64 * submissions;
    let rest = HEADER + size_of::<cqueue::Entry>() as u64 * completions + 4 * submissions;
    (entries.div_ceil(PAGE) + rest.div_ceil(PAGE)) * PAGE
}

fn builder(completions: u32) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    builder.setup_clamp().setup_cqsize(completions).dontfork();
    builder
}

fn errno_of(answer: &io::Result<IoUring>) -> Option<i32> {
    answer.as_ref().err().and_then(io::Error::raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(mut entry: Entry) -> EntryHead {
        // SAFETY: an entry is 64 initialised bytes, aligned for a head, and is ours.
        unsafe { (&raw mut entry).cast::<EntryHead>().read() }
    }

    #[test]
    fn an_accept_that_waits_first_differs_in_nothing_else() {
        let tries = head_of(accept_entry(types::Fd(7), First::Try));
        let waits = head_of(accept_entry(types::Fd(7), First::Poll));
        assert_eq!((tries.ioprio, waits.ioprio, tries.fd), (0, 4, 7));
        assert_eq!(EntryHead { ioprio: 0, ..waits }, tries);
    }

    #[test]
    fn what_is_no_accept_is_not_written_into() {
        let refused = std::panic::catch_unwind(|| {
            set_poll_first(&mut opcode::Nop::new().build());
        });
        refused.unwrap_err();
    }
}
