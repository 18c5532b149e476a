//! A backend under test, and the peers that it talks to: every law is told in its words.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dispatchd::io::{Backend, Completion, Op, Outcome, Parcel, Role, Source, Tag, Token};
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::scm::{Incoming, Patience, Received, recv_parcel};
use dispatchd::sys::socket::{Endpoint, ListenOptions, listen, local_endpoint, seqpacket_pair};
use dispatchd::units::{Errno, Span, Ticket};

/// Longer than anything here takes, shorter than anyone waits for a test.
pub(crate) const PATIENCE: Span = Span::from_s(5);
/// Long enough for a completion that must not come.
pub(crate) const SILENCE: Span = Span::from_ms(20);
pub(crate) const CANCELLED: Errno = Errno(libc::ECANCELED);
pub(crate) const FULL: Errno = Errno(libc::EAGAIN);

/// A backend, and the completions that nobody has asked for yet.
pub(crate) struct Rig<B> {
    pub(crate) backend: B,
    pub(crate) seen: Vec<Completion<OwnedFd>>,
}

impl<B: Backend<Fd = OwnedFd>> Rig<B> {
    pub(crate) fn new(make: fn() -> B) -> Self {
        Self { backend: make(), seen: Vec::new() }
    }

    pub(crate) fn submit(&mut self, op: Op<OwnedFd>) -> Token {
        self.backend.submit(op, Tag(7))
    }

    /// Waits until `token` says something.
    pub(crate) fn next(&mut self, token: Token) -> (bool, Outcome<OwnedFd>) {
        let end = monotonic().after(PATIENCE);
        loop {
            if let Some(at) = self.seen.iter().position(|seen| seen.token == token) {
                let completion = self.seen.remove(at);
                return (completion.last, completion.outcome);
            }
            let left = end.since(monotonic());
            assert_ne!(left, Span::ZERO, "nothing came of {token:?}");
            self.backend.wait(Some(left), &mut self.seen).unwrap();
        }
    }

    /// The one and only completion of `token`.
    pub(crate) fn only(&mut self, token: Token) -> Outcome<OwnedFd> {
        let (last, outcome) = self.next(token);
        assert!(last, "{token:?} goes on after {outcome:?}");
        outcome
    }

    /// Nothing completes for a while.
    pub(crate) fn silent(&mut self) {
        self.backend.wait(Some(SILENCE), &mut self.seen).unwrap();
        assert!(self.seen.is_empty(), "{:?}", self.seen);
    }

    /// Nothing is there yet, and everything submitted is carried out.
    pub(crate) fn silent_now(&mut self) {
        self.backend.wait(Some(Span::ZERO), &mut self.seen).unwrap();
        assert!(self.seen.is_empty(), "{:?}", self.seen);
    }

    pub(crate) fn listener(&mut self, role: Role) -> (Source, Client) {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let fd = listen(&any, ListenOptions { backlog: 512, reuse_port: false }).unwrap();
        let client = Client(local_endpoint(&fd).unwrap());
        (self.backend.adopt(fd, role), client)
    }

    pub(crate) fn accepted(&mut self, token: Token) -> Result<OwnedFd, Errno> {
        match self.only(token) {
            Outcome::Accepted(result) => result,
            other => panic!("not an accept: {other:?}"),
        }
    }

    pub(crate) fn readable(&mut self, token: Token) -> (OwnedFd, Result<(), Errno>) {
        match self.only(token) {
            Outcome::Readable(fd, result) => (fd, result),
            other => panic!("not a watch: {other:?}"),
        }
    }

    pub(crate) fn handed_off(
        &mut self,
        token: Token,
    ) -> Result<Vec<OwnedFd>, (Errno, Parcel<OwnedFd>)> {
        match self.only(token) {
            Outcome::HandedOff(result) => result,
            other => panic!("not a handoff: {other:?}"),
        }
    }

    pub(crate) fn received(&mut self, token: Token) -> (Vec<u8>, Result<usize, Errno>) {
        match self.only(token) {
            Outcome::Received(buffer, result) => (buffer, result),
            other => panic!("not a receive: {other:?}"),
        }
    }

    pub(crate) fn sent(&mut self, token: Token) -> (Vec<u8>, Result<usize, Errno>) {
        match self.only(token) {
            Outcome::Sent(buffer, result) => (buffer, result),
            other => panic!("not a send: {other:?}"),
        }
    }

    pub(crate) fn rang(&mut self, token: Token) -> (bool, Result<(), Errno>) {
        match self.next(token) {
            (last, Outcome::Rang(result)) => (last, result),
            other => panic!("not a ring: {other:?}"),
        }
    }

    /// A channel: the source of our end, and the other end.
    pub(crate) fn channel(&mut self) -> (Source, OwnedFd) {
        let (ours, theirs) = seqpacket_pair().unwrap();
        (self.backend.adopt(ours, Role::Channel), theirs)
    }

    pub(crate) fn stream(&mut self) -> (Source, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (self.backend.adopt(ours.into(), Role::Stream), theirs)
    }
}

/// Where to connect.
pub(crate) struct Client(Endpoint);

impl Client {
    pub(crate) fn connect(&self) -> TcpStream {
        match &self.0 {
            Endpoint::Tcp(address) => TcpStream::connect(address).unwrap(),
            Endpoint::Unix(path) => panic!("not TCP but {path:?}"),
        }
    }
}

/// The read end of a pipe that holds one byte, to tell descriptors apart.
pub(crate) fn marked(mark: u8) -> OwnedFd {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(&[mark]).unwrap();
    read.into()
}

pub(crate) fn mark_of(fd: OwnedFd) -> u8 {
    let mut mark = [0];
    File::from(fd).read_exact(&mut mark).unwrap();
    mark[0]
}

pub(crate) fn parcel(header: u64, marks: std::ops::Range<u8>) -> Parcel<OwnedFd> {
    let mut parcel = Parcel::new(header);
    for mark in marks {
        parcel.push(Ticket { slot: u32::from(mark), generation: 1 }, marked(mark));
    }
    parcel
}

pub(crate) fn received(channel: &OwnedFd) -> Option<Received> {
    match recv_parcel(channel.as_fd(), Patience::Now).unwrap() {
        Incoming::Parcel(received) => Some(received),
        Incoming::Empty | Incoming::EndOfStream => None,
    }
}
