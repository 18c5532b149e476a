//! The choice between the backends: by building a ring and moving a connection through it, because
//! neither the kernel's version nor its list of operations tells what a container allows.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

use crate::io::epoll::Epoll;
use crate::io::uring::Uring;
use crate::io::{Backend, Batch, Completion, Op, Outcome, Ready, Role, Tag, WatchKind};
use crate::sys::clock::monotonic;
use crate::sys::errno::errno_from_io;
use crate::sys::eventfd;
use crate::sys::scm::{Incoming, RecvWait, recv_batch};
use crate::sys::socket::{Endpoint, ListenOptions, listen, seqpacket_pair};
use crate::units::{Errno, Span, Ticket};

/// What each step of the self-test may take: far more than it needs, far less than anyone notices.
const STEP_MAX: Span = Span::from_ms(200);
const IO_URING_DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Which backend is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll, without a look at io_uring.
    Epoll,
}

/// A backend that works here.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per process, moved once")]
pub enum Chosen {
    /// On io_uring.
    Uring(Uring),
    /// On epoll.
    Epoll(Epoll),
}

/// A backend, and why this one.
#[derive(Debug)]
pub struct Choice {
    /// The backend.
    pub backend: Chosen,
    /// One line for the banner, `status` and `doctor`.
    pub reason: String,
}

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// io_uring was asked for and does not work.
    #[error("io_uring cannot be used: {reason}")]
    Uring {
        /// What failed, and the cure.
        reason: String,
    },
    /// Not even epoll works.
    #[error("cannot make an epoll set")]
    Epoll {
        /// What the kernel said.
        source: io::Error,
    },
}

/// The backend that is wanted, or that works.
///
/// # Errors
/// When io_uring is asked for and does not work, or when there is no descriptor left for epoll.
pub fn choose(wanted: Wanted) -> Result<Choice, ProbeError> {
    match wanted {
        Wanted::Epoll => epoll("asked for".to_owned()),
        Wanted::Auto => match tested_ring() {
            Ok((ring, reason)) => Ok(Choice { backend: Chosen::Uring(ring), reason }),
            Err(reason) => epoll(format!("no io_uring: {reason}")),
        },
        Wanted::Uring => match tested_ring() {
            Ok((ring, reason)) => Ok(Choice { backend: Chosen::Uring(ring), reason }),
            Err(reason) => Err(ProbeError::Uring { reason }),
        },
    }
}

/// What io_uring can do here, for `doctor`; the ring is gone afterwards.
///
/// # Errors
/// What is in the way, and the cure.
pub fn explain() -> Result<String, String> {
    tested_ring().map(|(_ring, reason)| reason)
}

/// Bytes of locked memory (RLIMIT_MEMLOCK) that each ring costs at least; none where rings cost
/// none, or there are none.
pub fn ring_charge() -> Option<u64> {
    crate::io::uring::charge()
}

fn epoll(reason: String) -> Result<Choice, ProbeError> {
    let epoll = Epoll::new().map_err(|source| ProbeError::Epoll { source })?;
    Ok(Choice { backend: Chosen::Epoll(epoll), reason })
}

fn tested_ring() -> Result<(Uring, String), String> {
    let mut ring = Uring::new().map_err(|error| build_failure(&error))?;
    self_test(&mut ring).map_err(|failure| failure.to_string())?;
    let (submissions, completions) = ring.sizes();
    let reason = format!("self-test passed, queues of {submissions} and {completions}");
    Ok((ring, reason))
}

/// Why no ring could be built, and what would help.
fn build_failure(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            forbidden_by(std::fs::read_to_string(IO_URING_DISABLED).ok().as_deref()).to_owned()
        }
        Some(libc::ENOSYS) => "this kernel is built without io_uring, or a filter hides it; \
                               in a container allow the io_uring_* system calls"
            .to_owned(),
        Some(libc::ENOMEM) => "too little locked memory (RLIMIT_MEMLOCK, shared by all processes \
                               of the user); raise it to 8 MiB or more"
            .to_owned(),
        Some(libc::EINVAL) => "the kernel is older than 6.1".to_owned(),
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptor is left for the ring; raise the limit of open files".to_owned()
        }
        _ => format!("the ring cannot be built: {error}"),
    }
}

/// Who forbids io_uring, by the text of its sysctl.
fn forbidden_by(sysctl: Option<&str>) -> &'static str {
    match sysctl.map(str::trim) {
        Some("1") => {
            "forbidden by kernel.io_uring_disabled=1; \
             join the group of kernel.io_uring_group, or set it to 0"
        }
        Some("2") => "forbidden by kernel.io_uring_disabled=2; set it to 0",
        Some(_) | None => {
            "forbidden by a seccomp filter (the default in containers); \
             allow io_uring_setup, io_uring_enter and io_uring_register"
        }
    }
}

/// What the self-test found.
#[derive(Debug)]
enum SelfTestFailure {
    /// The kernel refused a preparation that has nothing to do with the ring.
    Preparation(&'static str, Errno),
    /// The ring became unusable.
    Wait(io::Error),
    /// This step did not do what it should.
    Step(&'static str),
}

impl fmt::Display for SelfTestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparation(what, errno) => {
                let error = io::Error::from_raw_os_error(errno.0);
                write!(f, "self-test: cannot make {what}: {error}")
            }
            Self::Wait(error) => write!(f, "self-test: the ring fails: {error}"),
            Self::Step(step) => write!(f, "self-test: {step} does not work on this kernel"),
        }
    }
}

/// Moves a connection through the backend as the master does, and leaves nothing behind.
fn self_test(backend: &mut impl Backend<Fd = OwnedFd>) -> Result<(), SelfTestFailure> {
    let tested = accept(backend)
        .and_then(|(client, connection)| hand_over(backend, &client, connection))
        .and_then(|()| ring(backend));
    backend.quiesce(&mut Vec::new()).map_err(SelfTestFailure::Wait)?;
    tested
}

/// An accept on a listener that does not wait must wait all the same.
fn accept(
    backend: &mut impl Backend<Fd = OwnedFd>,
) -> Result<(UnixStream, OwnedFd), SelfTestFailure> {
    let name = format!("dispatchd-probe-{}-{}", std::process::id(), monotonic().as_ns());
    let endpoint = Endpoint::Unix(PathBuf::from(format!("@{name}")));
    let fd = listen(&endpoint, ListenOptions { backlog: 1, reuse_port: false })
        .map_err(|errno| SelfTestFailure::Preparation("a unix socket", errno))?;
    let listener = backend.adopt(fd, Role::Listener);
    backend.submit(Op::Accept { listener }, Tag::default());
    let early = step(backend, Span::ZERO)?;
    let client = SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address))
        .map_err(|error| SelfTestFailure::Preparation("a connection", errno_from_io(&error)))?;
    let late = step(backend, STEP_MAX)?;
    drop(backend.release(listener));
    match (early, late) {
        (None, Some(Outcome::Accepted(Ok(connection)))) => Ok((client, connection)),
        _ => Err(SelfTestFailure::Step("a waiting accept")),
    }
}

/// A descriptor that is sent must arrive and come back, and what arrived be readable when it is.
fn hand_over(
    backend: &mut impl Backend<Fd = OwnedFd>,
    client: &UnixStream,
    connection: OwnedFd,
) -> Result<(), SelfTestFailure> {
    let (ours, theirs) =
        seqpacket_pair().map_err(|errno| SelfTestFailure::Preparation("a channel", errno))?;
    let channel = backend.adopt(ours, Role::Channel);
    let mut batch = Batch::new(1);
    batch.push(Ticket { index: 2, generation: 3 }, connection);
    let words = batch.words.clone();
    backend.submit(Op::Handoff { channel, batch }, Tag::default());
    let sent = step(backend, STEP_MAX)?;
    drop(backend.release(channel));
    let received = recv_batch(theirs.as_fd(), RecvWait::Now);
    let (Some(Outcome::HandedOff(batch, Ok(()))), Ok(Incoming::Batch(mut message))) =
        (sent, received)
    else {
        return Err(SelfTestFailure::Step("sending a descriptor"));
    };
    let whole = message.words == words && !message.truncated && batch.fds.len() == 1;
    let (true, Some(fd)) = (whole, message.fds.pop()) else {
        return Err(SelfTestFailure::Step("sending a descriptor"));
    };
    backend.submit(Op::Readable { fd, watch: WatchKind::Once }, Tag::default());
    let early = step(backend, Span::ZERO)?;
    crate::sys::socket::send(client.as_fd(), b"x")
        .map_err(|errno| SelfTestFailure::Preparation("a byte to read", errno))?;
    match (early, step(backend, STEP_MAX)?) {
        (None, Some(Outcome::Readable(_, Ok(Ready::Input)))) => Ok(()),
        _ => Err(SelfTestFailure::Step("a watch")),
    }
}

/// Each ring of a doorbell that nobody reads must wake once more.
fn ring(backend: &mut impl Backend<Fd = OwnedFd>) -> Result<(), SelfTestFailure> {
    let no_doorbell = |errno| SelfTestFailure::Preparation("an eventfd", errno);
    let fd = eventfd::create().map_err(no_doorbell)?;
    let ringer = crate::sys::fd::duplicate(&fd).map_err(no_doorbell)?;
    let doorbell = backend.adopt(fd, Role::Doorbell);
    backend.submit(Op::Ring { doorbell }, Tag::default());
    let mut heard = step(backend, Span::ZERO)?.is_none();
    for _ in 0..2 {
        eventfd::ring(&ringer.as_fd()).map_err(no_doorbell)?;
        heard &= matches!(step(backend, STEP_MAX)?, Some(Outcome::Rang(Ok(()))));
    }
    drop(backend.release(doorbell));
    if heard { Ok(()) } else { Err(SelfTestFailure::Step("a doorbell that is never read")) }
}

/// The next completion, if one comes in time.
fn step(
    backend: &mut impl Backend<Fd = OwnedFd>,
    timeout: Span,
) -> Result<Option<Outcome<OwnedFd>>, SelfTestFailure> {
    let mut out: Vec<Completion<OwnedFd>> = Vec::new();
    backend.wait(Some(timeout), &mut out).map_err(SelfTestFailure::Wait)?;
    Ok(out.pop().map(|completion| completion.outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_test_holds_on_epoll_and_leaves_nothing_behind() {
        let mut epoll = Epoll::new().unwrap();
        self_test(&mut epoll).unwrap();
        let mut out = Vec::new();
        epoll.wait(Some(Span::ZERO), &mut out).unwrap();
        assert!(out.is_empty(), "{out:?}");
        assert_eq!(
            format!("{epoll:?}"),
            "Epoll { operations: 0, sources: 0, .. }",
            "the self-test cleans up"
        );
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        let choice = choose(Wanted::Epoll).unwrap();
        assert!(matches!(choice.backend, Chosen::Epoll(_)));
        assert_eq!(choice.reason, "asked for");
        match (choose(Wanted::Auto).unwrap().backend, explain()) {
            (Chosen::Uring(ring), Ok(_)) => {
                assert!(format!("{ring:?}").contains("operations: 0, sources: 0"), "{ring:?}");
            }
            (Chosen::Epoll(_), Err(reason)) => assert!(!reason.is_empty()),
            (chosen, explained) => panic!("{chosen:?} and yet {explained:?}"),
        }
    }

    #[test]
    fn every_refusal_names_its_cure() {
        for (errno, word) in [
            (libc::ENOSYS, "container"),
            (libc::ENOMEM, "RLIMIT_MEMLOCK"),
            (libc::EINVAL, "6.1"),
            (libc::EMFILE, "open files"),
            (libc::EIO, "cannot be built"),
        ] {
            let reason = build_failure(&io::Error::from_raw_os_error(errno));
            assert!(reason.contains(word), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
        assert!(forbidden_by(Some("0\n")).contains("seccomp"));
        assert!(forbidden_by(None).contains("seccomp"));
        assert!(forbidden_by(Some("1\n")).contains("io_uring_group"));
        assert!(forbidden_by(Some("2\n")).contains("=2"));
    }
}
