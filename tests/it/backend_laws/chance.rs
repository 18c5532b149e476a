//! The first law under chance: whatever is submitted, cancelled, expired and released, in whatever
//! order, ends once.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dispatchd::io::{Backend, Custody, Op, Role, Source, Token};
use dispatchd::sys::{eventfd, fd};
use dispatchd::units::Span;
use proptest::prelude::*;

use super::rig::{Client, Rig, parcel, received};

/// Law 1 under chance: whatever is submitted, cancelled, expired and released in whatever order
/// ends once.
pub(crate) fn every_operation_ends_exactly_once<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() };
    proptest!(config, |(steps in prop::collection::vec((0_u8..12, any::<u8>()), 1..150))| {
        let mut chance = Chance::new(make);
        for (step, pick) in steps {
            chance.step(step, usize::from(pick));
        }
        chance.end();
    });
}

/// A backend to which anything happens.
struct Chance<B> {
    rig: Rig<B>,
    listener: Source,
    client: Client,
    clients: Vec<TcpStream>,
    channel: Source,
    theirs: OwnedFd,
    bell: OwnedFd,
    bell_source: Source,
    streams: Vec<(Source, UnixStream)>,
    tokens: Vec<Token>,
}

impl<B: Backend<Fd = OwnedFd>> Chance<B> {
    fn new(make: fn() -> B) -> Self {
        let mut rig = Rig::new(make);
        let (listener, client) = rig.listener(Role::Listener);
        let (channel, theirs) = rig.channel();
        let bell = eventfd::create().unwrap();
        let bell_source = rig.backend.adopt(fd::duplicate(&bell).unwrap(), Role::Bell);
        let streams = (0..3).map(|_| rig.stream()).collect();
        let (clients, tokens) = (Vec::new(), Vec::new());
        Self { rig, listener, client, clients, channel, theirs, bell, bell_source, streams, tokens }
    }

    fn step(&mut self, step: u8, pick: usize) {
        let stream = self.streams[pick % self.streams.len()].0;
        let token = self.tokens.get(pick % self.tokens.len().max(1)).copied();
        let custody = [Custody::Lend, Custody::Transfer][pick % 2];
        let marks = 0..u8::try_from(pick % 17).unwrap();
        let op = match (step, token) {
            (0, _) => Op::Accept { listener: self.listener },
            (1, _) => Op::Recv { stream, buffer: Vec::with_capacity(16) },
            (2, _) => Op::Send { stream, buffer: vec![1; pick << 12 | 1], from: 0 },
            (3, _) => Op::Ring { bell: self.bell_source },
            (4, _) => Op::Handoff { channel: self.channel, parcel: parcel(0, marks), custody },
            (5, _) => Op::Readable { fd: UnixStream::pair().unwrap().0.into() },
            (6, Some(token)) => return self.rig.backend.cancel(token),
            (7, Some(token)) => return self.rig.backend.expire(token),
            (8, _) => return self.clients.push(self.client.connect()),
            (9, _) => return eventfd::ring(&self.bell.as_fd()).unwrap(),
            (10, _) => {
                drop(self.rig.backend.release(stream));
                let fresh = self.rig.stream();
                let at = pick % self.streams.len();
                self.streams[at] = fresh;
                return;
            }
            _ => {
                drop(received(&self.theirs));
                return self.rig.backend.wait(Some(Span::ZERO), &mut self.rig.seen).unwrap();
            }
        };
        self.tokens.push(self.rig.submit(op));
    }

    fn end(mut self) {
        self.rig.backend.quiesce(&mut self.rig.seen).unwrap();
        let mut ended: Vec<_> =
            self.rig.seen.iter().filter(|seen| seen.last).map(|seen| seen.token).collect();
        ended.sort();
        self.tokens.sort();
        assert_eq!(ended, self.tokens);
    }
}
