//! What the laws need of a kernel besides its port: peers that connect, send, ring and receive.
//! The machine's own kernel has both of its backends here; the made-up one is in `staged.rs`.

use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dispatchd::io::Backend;
use dispatchd::io::epoll::Epoll;
use dispatchd::io::uring::Uring;
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::scm::{Incoming, RecvWait, recv_batch};
use dispatchd::sys::socket::{Endpoint, ListenOptions, listen, local_endpoint, seqpacket_pair};
use dispatchd::sys::{eventfd, fd};
use dispatchd::units::{Errno, Mono};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::rig::{PATIENCE, Rig};

/// A kernel, and everybody who is at the other end of its descriptors.
pub(crate) trait Kernel {
    type Fd: Debug;
    type Port: Backend<Fd = Self::Fd>;
    /// Where clients connect to.
    type Address;
    /// A client that has connected.
    type Caller;
    /// The other end of a connection that has been accepted.
    type Peer;
    /// The other end of a channel.
    type FarEnd;
    /// What rings a doorbell.
    type Clapper;

    fn port(&self) -> Self::Port;
    /// The time by which waits are measured.
    fn now(&self) -> Mono;
    fn listener(&self) -> (Self::Fd, Self::Address);
    fn connect(&self, to: &Self::Address) -> Self::Caller;
    /// A connection whose other end is silent.
    fn connection(&self) -> (Self::Fd, Self::Peer);
    fn duplicate(&self, fd: &Self::Fd) -> Self::Fd;
    /// Tells a descriptor from its copies.
    fn number(&self, fd: &Self::Fd) -> usize;
    /// The peer sends one byte.
    fn send(&self, peer: &Self::Peer);
    /// Reads the one byte that the peer sent.
    fn read(&self, fd: &Self::Fd);
    fn hang_up(&self, peer: Self::Peer);
    /// Whether the peer is told, soon at least, that no copy of its connection is in use any more.
    fn is_over(&self, peer: &Self::Peer) -> bool;
    /// A descriptor that can be told from others by its mark, and waits for nothing else.
    fn marked(&self, mark: u8) -> Self::Fd;
    fn mark_of(&self, fd: Self::Fd) -> u8;
    fn channel(&self) -> (Self::Fd, Self::FarEnd);
    /// The words and the descriptors of one message, if there is one.
    fn receive(&self, far: &Self::FarEnd) -> Option<(Vec<u64>, Vec<Self::Fd>)>;
    fn close(&self, far: Self::FarEnd);
    fn doorbell(&self) -> (Self::Fd, Self::Clapper);
    fn ring(&self, clapper: &Self::Clapper);
    /// Rings a doorbell that nobody has rung so often at once that nobody can any more.
    fn fill(&self, clapper: &Self::Clapper);
}

/// Makes a fresh kernel: a law may want several.
pub(crate) type Make<'a, K> = &'a dyn Fn() -> K;

/// The kernel that this machine runs, through one of its backends.
pub(crate) struct Machine<B>(PhantomData<B>);

/// A backend that is there without further ado.
pub(crate) trait Start: Backend<Fd = OwnedFd> {
    fn start() -> Self;
}

impl Start for Uring {
    fn start() -> Self {
        Self::new().expect("these tests need io_uring; `dispatchd doctor` says what is in the way")
    }
}

impl Start for Epoll {
    fn start() -> Self {
        Self::new().expect("every Linux has epoll")
    }
}

/// A backend of this machine under test.
pub(crate) fn on_machine<B: Start>() -> Rig<Machine<B>> {
    Rig::new(Machine::new())
}

impl<B> Machine<B> {
    pub(crate) fn new() -> Self {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        Self(PhantomData)
    }
}

impl<B: Start> Kernel for Machine<B> {
    type Fd = OwnedFd;
    type Port = B;
    type Address = Endpoint;
    type Caller = TcpStream;
    type Peer = UnixStream;
    type FarEnd = OwnedFd;
    type Clapper = OwnedFd;

    fn port(&self) -> B {
        B::start()
    }

    fn now(&self) -> Mono {
        monotonic()
    }

    fn listener(&self) -> (OwnedFd, Endpoint) {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let fd = listen(&any, ListenOptions { backlog: 512, reuse_port: false }).unwrap();
        let address = local_endpoint(&fd).unwrap();
        (fd, address)
    }

    fn connect(&self, to: &Endpoint) -> TcpStream {
        match to {
            Endpoint::Tcp(address) => TcpStream::connect(address).unwrap(),
            Endpoint::Unix(path) => panic!("not TCP but {path:?}"),
        }
    }

    fn connection(&self) -> (OwnedFd, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Where the end is not told, that is a failure and not a wait for ever.
        theirs.set_read_timeout(Some(Duration::from_nanos(PATIENCE.as_ns()))).unwrap();
        (ours.into(), theirs)
    }

    fn duplicate(&self, fd: &OwnedFd) -> OwnedFd {
        fd::duplicate(fd).unwrap()
    }

    fn number(&self, fd: &OwnedFd) -> usize {
        usize::try_from(fd.as_raw_fd()).unwrap()
    }

    fn send(&self, mut peer: &UnixStream) {
        peer.write_all(b"x").unwrap();
    }

    fn read(&self, fd: &OwnedFd) {
        let mut stream = UnixStream::from(fd::duplicate(fd).unwrap());
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
    }

    fn hang_up(&self, peer: UnixStream) {
        drop(peer);
    }

    fn is_over(&self, mut peer: &UnixStream) -> bool {
        matches!(peer.read(&mut [0; 8]), Ok(0))
    }

    fn marked(&self, mark: u8) -> OwnedFd {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(&[mark]).unwrap();
        read.into()
    }

    fn mark_of(&self, fd: OwnedFd) -> u8 {
        let mut mark = [0];
        File::from(fd).read_exact(&mut mark).unwrap();
        mark[0]
    }

    fn channel(&self) -> (OwnedFd, OwnedFd) {
        seqpacket_pair().unwrap()
    }

    fn receive(&self, far: &OwnedFd) -> Option<(Vec<u64>, Vec<OwnedFd>)> {
        match recv_batch(far.as_fd(), RecvWait::Now).unwrap() {
            Incoming::Batch(received) => {
                assert!(!received.truncated);
                Some((received.words, received.fds))
            }
            Incoming::Empty | Incoming::EndOfStream => None,
        }
    }

    fn close(&self, far: OwnedFd) {
        drop(far);
    }

    fn doorbell(&self) -> (OwnedFd, OwnedFd) {
        let clapper = eventfd::create().unwrap();
        (self.duplicate(&clapper), clapper)
    }

    fn ring(&self, clapper: &OwnedFd) {
        eventfd::ring(&clapper.as_fd()).unwrap();
    }

    fn fill(&self, clapper: &OwnedFd) {
        let most = (u64::MAX - 1).to_ne_bytes();
        File::from(self.duplicate(clapper)).write_all(&most).unwrap();
        assert_eq!(eventfd::ring(&clapper.as_fd()), Err(Errno(libc::EAGAIN)));
    }
}
