//! The first law under chance: whatever is submitted, cancelled, expired and released, in whatever
//! order, ends once.

use dispatchd::io::{Backend, Op, Role, Source, Token, WatchKind};
use dispatchd::units::Span;
use proptest::prelude::*;

use super::kernel::{Kernel, Make};
use super::rig::Rig;

pub(crate) fn every_operation_ends_exactly_once<K: Kernel>(make: Make<'_, K>) {
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() };
    proptest!(config, |(steps in prop::collection::vec((0_u8..12, any::<u8>()), 1..150))| {
        let mut chance = Chance::new(make());
        for (step, pick) in steps {
            chance.step(step, usize::from(pick));
        }
        chance.end();
    });
}

/// A backend to which anything happens.
struct Chance<K: Kernel> {
    rig: Rig<K>,
    listener: Source,
    address: K::Address,
    callers: Vec<K::Caller>,
    channel: Source,
    far: K::FarEnd,
    doorbell: Source,
    clapper: K::Clapper,
    streams: Vec<(Source, K::Peer)>,
    peers: Vec<K::Peer>,
    tokens: Vec<Token>,
}

impl<K: Kernel> Chance<K> {
    fn new(kernel: K) -> Self {
        let mut rig = Rig::new(kernel);
        let (listener, address) = rig.listener(Role::Listener);
        let (channel, far) = rig.channel();
        let (doorbell, clapper) = rig.doorbell();
        let streams = (0..3).map(|_| rig.stream()).collect();
        let (callers, peers, tokens) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            rig,
            listener,
            address,
            callers,
            channel,
            far,
            doorbell,
            clapper,
            streams,
            peers,
            tokens,
        }
    }

    fn step(&mut self, step: u8, pick: usize) {
        let stream = self.streams[pick % self.streams.len()].0;
        let token = self.tokens.get(pick % self.tokens.len().max(1)).copied();
        let op = match (step, token) {
            (0, _) => Op::Accept { listener: self.listener },
            (1, _) => Op::Recv { stream, buffer: Vec::with_capacity(16) },
            (2, _) => Op::Send { stream, buffer: vec![1; pick << 12 | 1], from: 0 },
            (3, _) => Op::Ring { doorbell: self.doorbell },
            (4, _) => {
                let batch = self.rig.batch(0, 0..u8::try_from(pick % 17).unwrap());
                Op::Handoff { channel: self.channel, batch }
            }
            (5, _) => {
                let often = [WatchKind::Once, WatchKind::Standing];
                Op::Readable { fd: self.connection(pick), watch: often[pick % 2] }
            }
            (6, Some(token)) => return self.rig.backend.cancel(token),
            (7, Some(token)) => {
                self.rig.backend.expire(token);
                return;
            }
            (8, _) => return self.callers.push(self.rig.kernel.connect(&self.address)),
            (9, _) => return self.rig.kernel.ring(&self.clapper),
            (10, _) => {
                drop(self.rig.backend.release(stream));
                let at = pick % self.streams.len();
                self.streams[at] = self.rig.stream();
                return;
            }
            _ => {
                drop(self.rig.kernel.receive(&self.far));
                return self.rig.wait(Span::from_us(pick as u64 % 4 * 50));
            }
        };
        self.tokens.push(self.rig.submit(op));
    }

    /// A connection whose peer is gone, has sent, or is silent.
    fn connection(&mut self, pick: usize) -> K::Fd {
        let (fd, peer) = self.rig.kernel.connection();
        match pick % 3 {
            0 => self.rig.kernel.hang_up(peer),
            1 => {
                self.rig.kernel.send(&peer);
                self.peers.push(peer);
            }
            _ => self.peers.push(peer),
        }
        fd
    }

    fn end(mut self) {
        self.rig.backend.quiesce(&mut self.rig.seen).unwrap();
        self.tokens.sort();
        assert_eq!(self.rig.ended(), self.tokens);
        // An operation's last word is its last.
        let mut over = std::collections::BTreeSet::new();
        for seen in &self.rig.seen {
            assert!(!over.contains(&seen.token), "{:?} goes on after its end", seen.token);
            over.extend(seen.last.then_some(seen.token));
        }
    }
}
