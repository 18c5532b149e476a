//! A kernel that is short of something, as far as one dispatchd can tell: calls of one kind fail
//! for as long as a test wants. A filter has the kernel ask this process before each of them. No
//! filter sees what io_uring does, so that this works on epoll alone; for io_uring there is only
//! the simulator, since no limit that a process can set brings these errors about.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use dispatchd::sys::scm::{Incoming, RecvWait, recv_batch, send_batch};
use dispatchd::sys::socket;
use nix::errno::Errno;

use crate::confine::{answer, ask_before};
use crate::role::wanting_memory;
use crate::server::{Plan, Server};

/// What the filter asks about: how the master accepts, how it hands over, and how it watches; each
/// with the error that a shortage is told by.
const CALLS: [(libc::c_long, Errno); 3] = [
    (libc::SYS_accept4, Errno::ENOBUFS),
    (libc::SYS_sendmsg, Errno::ENOBUFS),
    (libc::SYS_epoll_ctl, Errno::ENOSPC),
];
/// No call has this number.
const NONE: i64 = -1;

/// The shortage that a dispatchd may be in.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// The call that fails.
    failing: AtomicI64,
    failed: AtomicU64,
}

/// Runs a test with a dispatchd that can be brought into a shortage.
pub(crate) fn with(plan: Plan, test: impl FnOnce(&Server, &Shortage)) {
    let shortage = Shortage { failing: AtomicI64::new(NONE), failed: AtomicU64::new(0) };
    let (plan, supervisor) = supervised(plan, wanting_memory());
    thread::scope(|scope| {
        // It ends when the last process ends that the filter is for.
        scope.spawn(|| answer(&supervisor.questions(), |asked| shortage.verdict(asked.call)));
        let server = plan.start();
        // Before the server ends, which asks for its status.
        let _ender = Ender(&shortage);
        test(&server, &shortage);
    });
}

/// Where the wrapper of a plan tells of the questions that the kernel asks.
#[derive(Debug)]
pub(crate) struct Supervisor(OwnedFd);

/// The plan with a wrapper that calls [`tell_of_calls`].
pub(crate) fn supervised(plan: Plan, wrapper: Vec<OsString>) -> (Plan, Supervisor) {
    let (ours, theirs) = socket::seqpacket_pair().unwrap();
    (plan.stdin(theirs).through(wrapper), Supervisor(ours))
}

impl Supervisor {
    /// Waits for the wrapper.
    pub(crate) fn questions(&self) -> OwnedFd {
        match recv_batch(self.0.as_fd(), RecvWait::Wait).unwrap() {
            Incoming::Batch(batch) => batch.fds.into_iter().next().unwrap(),
            other => panic!("the wrapper has told nothing: {other:?}"),
        }
    }
}

impl Shortage {
    /// From now on calls of this kind fail.
    pub(crate) fn begin(&self, call: libc::c_long) {
        assert!(error_of(call).is_some(), "the filter asks about what can fail");
        self.failing.store(call, SeqCst);
    }

    /// Everything works again.
    pub(crate) fn end(&self) {
        self.failing.store(NONE, SeqCst);
    }

    /// Calls that have failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(SeqCst)
    }

    fn verdict(&self, call: libc::c_long) -> Option<Errno> {
        let fails = call == self.failing.load(SeqCst);
        self.failed.fetch_add(u64::from(fails), SeqCst);
        if fails { error_of(call) } else { None }
    }
}

fn error_of(call: libc::c_long) -> Option<Errno> {
    CALLS.iter().find(|(known, _)| *known == call).map(|(_, errno)| *errno)
}

/// Ends the shortage even when the test fails.
struct Ender<'a>(&'a Shortage);

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The wrapper's part: from here on the kernel asks about what can fail.
pub(crate) fn tell_of_what_can_fail() {
    tell_of_calls(&CALLS.map(|(call, _)| call));
}

/// A wrapper's part: from here on the kernel asks whoever holds the other end of standard input
/// before each of these calls.
pub(crate) fn tell_of_calls(calls: &[libc::c_long]) {
    let (questions, told) = mpsc::channel();
    thread::scope(|scope| {
        // A thread that the filter is not for, since nobody could answer for this call yet.
        scope.spawn(|| {
            let questions: OwnedFd = told.into_iter().next().unwrap();
            send_batch(io::stdin().as_fd(), &[0], &[questions]).unwrap();
        });
        questions.send(ask_before(calls)).unwrap();
    });
}
