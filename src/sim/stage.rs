//! The fake kernel by itself, as a stage for the laws of [`crate::io`]: no master, no workers and
//! no agenda, only peers that do what the caller says. What makes the fake kernel hard to please
//! stays on: completions come late and shuffled, and accepts land after their cancel.

use std::cell::RefCell;
use std::rc::Rc;

use super::faults::Faults;
use super::process::ProcessId;
use super::trace::RunTrace;
use super::workload::Scenario;
use super::world::{Happening, Object, Shared, SimListener, World};
use crate::engine::input::FirstSpeaker;
use crate::engine::rng::Rng;
use crate::master::host::SpawnRequest;
use crate::units::{Generation, Mono, SlotId, Span, WorkerId};

pub use super::backend::SimBackend;
pub use super::world::SimFd;

/// Messages that fit into a channel.
pub const CHANNEL_MESSAGES: usize = 8;
/// How late a completion comes at most, and how long a cancel takes at most to reach its accept.
pub const LATENESS_MAX: Span = Span::from_ms(4);

/// A fake kernel and its peers. Time passes only in [`crate::io::Backend::wait`], which therefore
/// always needs a timeout here: nothing happens that the caller has not done.
#[derive(Debug)]
pub struct Stage {
    world: Shared,
}

/// Where clients connect to.
#[derive(Clone, Copy, Debug)]
pub struct Address(usize);

/// A client, by its connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StageClient(usize);

/// The other end of a channel.
#[derive(Debug)]
pub struct FarEnd(ProcessId);

/// The other end of a doorbell.
#[derive(Clone, Copy, Debug)]
pub struct Clapper(usize);

/// A message that was received.
#[derive(Debug)]
pub struct ReceivedMessage {
    /// Its payload: one header word, then one ticket per descriptor.
    pub words: Vec<u64>,
    /// The receiver's copies, in the order of the tickets.
    pub fds: Vec<SimFd>,
}

impl Stage {
    /// The same seed gives the same delays, in the same order.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults { late: 500, late_max: LATENESS_MAX, mute: 1_000, ..Faults::NONE };
        let scenario = Scenario {
            faults,
            faults_from: Mono::ZERO,
            calm_from: Mono::from_ns(u64::MAX),
            clients: Vec::new(),
            orders: Vec::new(),
            listeners: vec![FirstSpeaker::Client],
            channel: CHANNEL_MESSAGES,
            ..Scenario::draw(&mut rng)
        };
        let mut world = World::new(scenario, rng, RunTrace::new(false));
        world.judges_master = false;
        Self { world: Rc::new(RefCell::new(world)) }
    }

    /// The port to this kernel. One at a time: each would miss what another has looked at.
    pub fn port(&self) -> SimBackend {
        SimBackend::new(Rc::clone(&self.world))
    }

    /// The time here.
    pub fn now(&self) -> Mono {
        self.world.borrow().now
    }

    /// A listening socket.
    pub fn listener(&self) -> (SimFd, Address) {
        let mut world = self.world.borrow_mut();
        let listener = world.listeners.len();
        world.listeners.push(SimListener::new(None));
        (world.open(Object::Listener(listener)), Address(listener))
    }

    /// A client connects, and waits to be accepted.
    pub fn connect(&self, to: Address) -> StageClient {
        let connection = self.world.borrow_mut().dials(to.0);
        self.happens(Happening::Connects(connection));
        StageClient(connection)
    }

    /// A connection that has been accepted, and whose client is silent.
    pub fn connection(&self) -> (SimFd, StageClient) {
        // The one address that nobody has a listener of.
        let client = self.connect(Address(0));
        let mut world = self.world.borrow_mut();
        let connection = world.accept(0).expect("nobody else accepts there");
        (world.open(Object::Connection(connection)), client)
    }

    /// A client sends.
    pub fn send(&self, client: StageClient) {
        self.happens(Happening::Sends(client.0));
    }

    /// A client closes its end.
    pub fn hang_up(&self, client: StageClient) {
        self.happens(Happening::HangsUp(client.0));
    }

    /// Reads what the client of this connection has sent, so that there is nothing to read any
    /// more.
    pub fn read(&self, fd: &SimFd) {
        if let Some(StageClient(connection)) = Self::client_of(fd) {
            self.world.borrow_mut().connections[connection].take_input();
        }
    }

    /// The client of a connection; `None` for a descriptor of anything else.
    pub fn client_of(fd: &SimFd) -> Option<StageClient> {
        fd.connection().map(StageClient)
    }

    /// Copies of a client's connection that are open anywhere, in unread messages too.
    pub fn copies(&self, client: StageClient) -> u32 {
        let mut world = self.world.borrow_mut();
        world.settle();
        world.connections[client.0].copies
    }

    /// Whether a client is told that its connection is over: it was shut down, or its last copy is
    /// closed.
    pub fn is_over(&self, client: StageClient) -> bool {
        let mut world = self.world.borrow_mut();
        world.settle();
        let connection = &world.connections[client.0];
        connection.shut || connection.ended.is_some()
    }

    /// Another copy of a descriptor.
    pub fn duplicate(&self, fd: &SimFd) -> SimFd {
        self.world.borrow_mut().open(fd.object)
    }

    /// A channel that [`CHANNEL_MESSAGES`] fit into: the near end, and the other one.
    pub fn channel(&self) -> (SimFd, FarEnd) {
        let mut world = self.world.borrow_mut();
        // Its owner never says or does anything by itself: all processes are mute here.
        let worker = WorkerId { index: 0, epoch: 1 };
        let request = SpawnRequest { worker, slot: SlotId(0), generation: Generation(1) };
        let process = world.start(request).expect("no start fails here");
        (world.open(Object::Channel(process)), FarEnd(process))
    }

    /// Receives one message at a channel's far end, if there is one.
    pub fn receive(&self, far: &FarEnd) -> Option<ReceivedMessage> {
        let mut world = self.world.borrow_mut();
        let message = world.processes[far.0].channel.pop_front()?;
        let fds = message.copies.into_iter().map(|copy| world.descriptor(copy)).collect();
        Some(ReceivedMessage { words: message.words, fds })
    }

    /// Closes a channel's far end. Nobody can read the channel then.
    pub fn close(&self, far: FarEnd) {
        let FarEnd(process) = far;
        self.world.borrow_mut().settle();
        self.happens(Happening::Dies(process, true));
    }

    /// A doorbell, and what rings it.
    pub fn doorbell(&self) -> (SimFd, Clapper) {
        let mut world = self.world.borrow_mut();
        let doorbell = world.hangs_doorbell();
        (world.open(Object::Doorbell(doorbell)), Clapper(doorbell))
    }

    /// Rings a doorbell.
    pub fn ring(&self, clapper: Clapper) {
        self.world.borrow_mut().rings(clapper.0);
    }

    /// Fills a doorbell, so that it can be rung no more.
    pub fn fill(&self, clapper: Clapper) {
        self.world.borrow_mut().fills(clapper.0);
    }

    /// What the fake kernel found wrong with itself: a descriptor that was closed twice, an
    /// operation that outlived its port's rest.
    pub fn verdict(&self) -> Option<String> {
        let mut world = self.world.borrow_mut();
        world.settle();
        world.verdict.clone()
    }

    /// Lets something happen now.
    fn happens(&self, happening: Happening) {
        let mut world = self.world.borrow_mut();
        world.plan_in(Span::ZERO, happening);
        world.live();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Backend, Op, Outcome, Role, Tag, WatchKind};

    /// What comes of watching, in the order in which it is told, and when all is told.
    fn told(seed: u64) -> (Vec<u64>, Mono) {
        let stage = Stage::new(seed);
        let mut port = stage.port();
        for tag in 0..20 {
            let (fd, client) = stage.connection();
            stage.send(client);
            port.submit(Op::Readable { fd, watch: WatchKind::Once }, Tag(tag));
        }
        let mut out = Vec::new();
        while out.len() < 20 {
            port.wait(Some(LATENESS_MAX), &mut out).expect("the clock moves");
        }
        (out.into_iter().map(|completion| completion.tag.0).collect(), stage.now())
    }

    // Were the stage too kind, the laws would prove little.

    #[test]
    fn completions_are_late_and_shuffled_and_the_same_for_a_seed() {
        for seed in 0..8 {
            let (order, end) = told(seed);
            assert!(!order.is_sorted());
            assert!(Mono::ZERO.after(Span::from_ms(1)) < end);
            assert_eq!(told(seed), (order, end));
        }
    }

    #[test]
    fn some_accept_lands_after_its_cancel() {
        let lands = |seed: &u64| {
            let stage = Stage::new(*seed);
            let mut port = stage.port();
            let (listener, address) = stage.listener();
            let listener = port.adopt(listener, Role::Listener);
            let token = port.submit(Op::Accept { listener }, Tag(1));
            let mut out = Vec::new();
            port.wait(Some(Span::ZERO), &mut out).expect("the clock moves");
            port.cancel(token);
            stage.connect(address);
            port.wait(Some(Span::from_ms(20)), &mut out).expect("the clock moves");
            matches!(out[0].outcome, Outcome::Accepted(Ok(_)))
        };
        let landed = (0..64).filter(lands).count();
        assert!((8..56).contains(&landed), "{landed} of 64");
    }
}
