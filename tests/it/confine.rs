//! A process that the kernel treats worse than others: one in which io_uring is forbidden, as in a
//! container, that has no right to exceed limits, or whose calls fail when a test says so. These
//! are the things that a test needs of the kernel and no safe interface offers.

#![expect(unsafe_code, reason = "filters, their questions and rights are raw calls to the kernel")]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_USER_NOTIF, SECCOMP_USER_NOTIF_FLAG_CONTINUE,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Has `io_uring_setup` fail with EPERM, in this thread and in whatever it executes.
pub(crate) fn forbid_io_uring() {
    forbid(&[libc::SYS_io_uring_setup], Errno::EPERM);
}

/// Has these calls fail with this error, in this thread and in whatever it executes.
pub(crate) fn forbid(calls: &[libc::c_long], errno: Errno) {
    let refusal = SECCOMP_RET_ERRNO | u32::try_from(errno as i32).unwrap();
    install(&mut filter(calls, refusal), 0);
}

/// Gives up the right to lock memory beyond the limit, which root has, for this thread and whatever
/// it executes.
pub(crate) fn obey_the_limit_on_locked_memory() {
    /// From the kernel's header; libc does not name it.
    const IPC_LOCK: libc::c_ulong = 14;
    give_up(IPC_LOCK);
}

/// Gives up the rights to exceed limits, which root has, for this thread and whatever it executes.
pub(crate) fn obey_limits() {
    /// From the kernel's header; libc does not name them.
    const SYS_ADMIN_AND_SYS_RESOURCE: [libc::c_ulong; 2] = [21, 24];
    SYS_ADMIN_AND_SYS_RESOURCE.into_iter().for_each(give_up);
}

fn give_up(right: libc::c_ulong) {
    // SAFETY: the call takes numbers only, and changes what this thread may do later.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0) };
    match Errno::result(result) {
        // Who may not give rights up is not root, and has none.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => panic!("cannot give up right {right}: {errno}"),
    }
}

/// Has these calls wait for a permission, in this thread and in whatever it executes.
pub(crate) fn ask_before(calls: &[libc::c_long]) -> OwnedFd {
    let mut filter = filter(calls, SECCOMP_RET_USER_NOTIF);
    let questions = install(&mut filter, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    own(questions)
}

/// A copy of what is open under a number that somebody else has.
pub(crate) fn copy_of_number(number: i32) -> OwnedFd {
    // SAFETY: the call takes a number only, and makes a new descriptor or none.
    own(Errno::result(unsafe { libc::dup(number) }).unwrap())
}

fn own(new: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    #[expect(clippy::disallowed_methods, reason = "the door for it is not open to tests")]
    unsafe {
        OwnedFd::from_raw_fd(new)
    }
}

/// What [`ask_before`] asks about: a call, and who makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) call: libc::c_long,
    pub(crate) pid: u32,
}

/// Answers the questions that [`ask_before`] brings about, each with the error that its call is to
/// end with, or with none for the call to go on, until nobody is left who could ask.
pub(crate) fn answer(questions: &OwnedFd, mut verdict: impl FnMut(Question) -> Option<Errno>) {
    while let Some(question) = next(questions) {
        let error = verdict(Question { call: question.data.nr.into(), pid: question.pid });
        let mut answer = libc::seccomp_notif_resp {
            id: question.id,
            val: 0,
            error: error.map_or(0, |errno| -(errno as i32)),
            flags: match error {
                None => u32::try_from(SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap(),
                Some(_) => 0,
            },
        };
        let fd = questions.as_raw_fd();
        // SAFETY: the request names the size of the answer, which is alive and ours alone.
        let result = unsafe { libc::ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
        match Errno::result(result) {
            // Whoever asked was interrupted, or is gone.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => panic!("cannot answer: {errno}"),
        }
    }
}

fn next(questions: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        let mut fds = [PollFd::new(questions.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if !fds[0].revents().unwrap().contains(PollFlags::POLLIN) {
            return None;
        }
        // SAFETY: all fields are numbers, for which zero is a value, and the one that the kernel
        // asks for.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        let fd = questions.as_raw_fd();
        // SAFETY: the request names the size of the question, which is alive and ours alone.
        let result = unsafe { libc::ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &raw mut question) };
        match Errno::result(result) {
            Ok(_) => return Some(question),
            // Whoever asked was interrupted, or is gone.
            Err(Errno::ENOENT | Errno::EINTR) => {}
            Err(errno) => panic!("cannot take a question: {errno}"),
        }
    }
}

/// What gives these calls the verdict, and leaves all others alone.
fn filter(calls: &[libc::c_long], verdict: u32) -> Vec<libc::sock_filter> {
    // The number of the call stands first in what a filter sees.
    let mut filter = vec![instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0)];
    for (left, call) in (1..=u8::try_from(calls.len()).unwrap()).rev().zip(calls) {
        let call = u32::try_from(*call).unwrap();
        filter.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, left, call));
    }
    filter.push(instruction(BPF_RET | BPF_K, 0, SECCOMP_RET_ALLOW));
    filter.push(instruction(BPF_RET | BPF_K, 0, verdict));
    filter
}

/// Installs a filter; if the flags ask for a descriptor, it is returned.
fn install(filter: &mut [libc::sock_filter], flags: libc::c_ulong) -> i32 {
    let length = u16::try_from(filter.len()).unwrap();
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().unwrap();
    let (call, mode) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the program and its instructions are alive and as long as `len` says; the kernel
    // copies them, and checks them, before the call returns.
    let result = unsafe { libc::syscall(call, mode, flags, &raw const program) };
    i32::try_from(Errno::result(result).unwrap()).unwrap()
}

/// One instruction, which skips `jump` others if what it compares is equal.
fn instruction(code: u32, jump: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt: jump, jf: 0, k }
}
