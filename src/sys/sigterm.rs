//! What SIGTERM means to a worker: a request that it leave, and never the end of what it has begun.
//! It may come from anybody: a service manager sends it to every process of its group, an operator
//! to one, and the kernel when the master has died.
//!
//! The handler passes the request on to the master, which orders the worker to drain as any other.
//! If the master is gone, nobody is there to do so: then the listeners are let go at once, since a
//! successor may want their ports, and what is left of the process ends by a timer. Only when the
//! master has ordered it is SIGTERM an end at once.
//!
//! A child of the master's own sees by its parent that the master is gone. A worker behind a shell
//! loses its parent when the shell dies: it goes by its channel, which ends when the master is gone
//! or has given up this worker alone. It lets go of its listeners, too, and ends by the timer; but
//! what it shares with workers that may still have a master stays as it is.

#![expect(
    unsafe_code,
    reason = "a signal's handler, and system calls that nix has no safe form of"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getpid, getppid};

use super::fd::{adopt, duplicate};
use super::signal::handle_by_default;
use super::{eventfd, socket};
use crate::units::{Errno, Span};

/// Whom the handler tells, and what it goes by.
#[derive(Debug)]
pub struct HandlerSetup {
    /// Where the master reads that this process asks to leave: it is set to 1.
    pub asks_to_leave: &'static AtomicU32,
    /// What wakes the master for it.
    pub doorbell: OwnedFd,
    /// What the master has the other end of.
    pub channel: Watched,
    /// Where the master writes its order.
    pub order: &'static AtomicU32,
    /// The order that makes SIGTERM an end at once.
    pub end_at_once: u32,
    /// The master's process, as this process sees it.
    pub master: Pid,
    /// How long this process may go on without a master.
    pub patience: Span,
}

/// All that the handler looks at; set once, and never changed or freed.
#[derive(Debug)]
struct HandlerPlan {
    setup: HandlerSetup,
    worker: Pid,
    /// Whether the master is this process's parent, or was.
    is_child: bool,
    listeners: Vec<ListenerCopy>,
    /// Sends SIGKILL when it runs out; none where the kernel has none for us.
    timer: Option<Timer>,
}

/// A channel that somebody else owns, until it is forgotten. A copy would keep it open after its
/// owner, and the master would not see that it was closed.
#[derive(Debug)]
pub struct Watched(AtomicI32);

/// A copy of a listener, which ends with whoever takes its number first.
#[derive(Debug)]
struct ListenerCopy(AtomicI32);

/// A timer of this process. It is never deleted.
#[derive(Debug)]
struct Timer {
    id: usize,
    is_set: AtomicBool,
}

/// The number of what is open no more.
const NONE: i32 = -1;

static PLAN: OnceLock<HandlerPlan> = OnceLock::new();

/// Has SIGTERM handled this way, unless this process handles or ignores it already, or has called
/// this before. `listeners` are those that the process accepts from.
///
/// # Errors
/// EMFILE.
pub fn handle<'a>(
    setup: HandlerSetup,
    listeners: impl Iterator<Item = BorrowedFd<'a>>,
) -> Result<(), Errno> {
    let copy = |listener| duplicate(listener).map(ListenerCopy::of);
    let listeners = listeners.map(copy).collect::<Result<_, _>>()?;
    // Who is the parent now is asked before the handler stands: if it dies before that, SIGTERM
    // finds none.
    let (worker, is_child) = (getpid(), getppid() == setup.master);
    let timer = Timer::create();
    if PLAN.set(HandlerPlan { setup, worker, is_child, listeners, timer }).is_err() {
        return Ok(());
    }
    let ours = SigHandler::Handler(terminated);
    let ours = SigAction::new(ours, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler makes only calls that are safe in a signal's context (see there).
    unsafe { handle_by_default(Signal::SIGTERM, &ours) }
}

/// The channel has ended: lets go of the listeners, and gives this process its last deadline.
pub fn abandoned() {
    if let Some(plan) = PLAN.get() {
        plan.go_on_alone();
    }
}

/// This process accepts no more.
pub fn let_listeners_go() {
    let Some(plan) = PLAN.get() else { return };
    plan.listeners.iter().for_each(|listener| drop(listener.take()));
}

/// This channel is about to be closed.
pub fn forget(channel: &OwnedFd) {
    let Some(plan) = PLAN.get() else { return };
    let number = channel.as_raw_fd();
    // It may be another one than the watched.
    let _other = plan.setup.channel.0.compare_exchange(number, NONE, AcqRel, Relaxed);
}

/// The handler. It reads what never changes, stores to atomics, and makes system calls that POSIX
/// or Linux allow here: no lock, no allocation. It leaves errno as it was.
extern "C" fn terminated(_signal: libc::c_int) {
    let errno = nix::errno::Errno::last_raw();
    if let Some(plan) = PLAN.get() {
        let ordered = plan.setup.order.load(Relaxed) == plan.setup.end_at_once;
        if ordered || getpid() != plan.worker {
            // It comes again when this handler returns, and finds none.
            end_by_it();
        } else if plan.has_lost_its_master() || plan.setup.channel.has_ended() {
            plan.go_on_alone();
        } else {
            plan.setup.asks_to_leave.store(1, Relaxed);
            // It fails where enough has been rung already.
            eventfd::ring(&plan.setup.doorbell.as_fd()).unwrap_or_default();
        }
    }
    nix::errno::Errno::set_raw(errno);
}

fn end_by_it() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the kernel's own disposition runs nothing of ours.
    if unsafe { sigaction(Signal::SIGTERM, &default) }.is_ok() {
        nix::sys::signal::raise(Signal::SIGTERM).unwrap_or_default();
    }
}

impl HandlerPlan {
    fn has_lost_its_master(&self) -> bool {
        self.is_child && getppid() != self.setup.master
    }

    fn go_on_alone(&self) {
        let all_have_lost_it = self.has_lost_its_master();
        for listener in self.listeners.iter().filter_map(ListenerCopy::take) {
            if all_have_lost_it {
                // It ends for every process that has it.
                socket::shutdown(listener.as_fd()).unwrap_or_default();
            }
        }
        if let Some(timer) = &self.timer {
            timer.set(self.setup.patience);
        }
    }
}

impl Watched {
    /// A channel that its owner keeps open until it has said [`forget`].
    pub fn new(channel: BorrowedFd<'_>) -> Self {
        Self(AtomicI32::new(channel.as_raw_fd()))
    }

    /// Whether nobody has its other end.
    fn has_ended(&self) -> bool {
        // One that is forgotten is passed over.
        let mut watch = libc::pollfd { fd: self.0.load(Relaxed), events: 0, revents: 0 };
        // SAFETY: there is one of them, which is ours alone and outlives the call. Should its
        // number be another's by now, that one is left as it is.
        let count = unsafe { libc::poll(&raw mut watch, 1, 0) };
        count == 1 && watch.revents & libc::POLLHUP != 0
    }
}

impl ListenerCopy {
    fn of(listener: OwnedFd) -> Self {
        Self(AtomicI32::new(listener.into_raw_fd()))
    }

    fn take(&self) -> Option<OwnedFd> {
        let number = self.0.swap(NONE, AcqRel);
        // It was an owned descriptor's, and the swap gives it to one alone.
        (number != NONE).then(|| adopt(number))
    }
}

impl Drop for ListenerCopy {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Timer {
    fn create() -> Option<Self> {
        // SAFETY: all fields are numbers or pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = std::ptr::null_mut();
        let (clock, place) = (libc::CLOCK_MONOTONIC, &raw mut timer);
        // SAFETY: both structures are valid for the call, and the place is ours alone.
        let result = unsafe { libc::timer_create(clock, &raw mut event, place) };
        (result == 0)
            .then(|| Self { id: timer.expose_provenance(), is_set: AtomicBool::new(false) })
    }

    /// Sets it, once: who hears again that it is alone has no more time.
    fn set(&self, span: Span) {
        if self.is_set.swap(true, AcqRel) {
            return;
        }
        // SAFETY: all fields are numbers, and no interval makes it fire once.
        let mut once: libc::itimerspec = unsafe { std::mem::zeroed() };
        once.it_value.tv_sec = i64::try_from(span.as_ns() / 1_000_000_000).unwrap_or(i64::MAX);
        // Nothing at all would stop it.
        once.it_value.tv_nsec = i64::try_from(span.as_ns() % 1_000_000_000).unwrap_or(0).max(1);
        let timer = std::ptr::with_exposed_provenance_mut(self.id);
        // SAFETY: the timer was created by `create` and lives as long as the process. That is also
        // why it cannot fail.
        unsafe { libc::timer_settime(timer, 0, &raw const once, std::ptr::null_mut()) };
    }
}
