//! The simulator's kernel under the same laws: what seeds find in the master is worth as much as
//! the fake kernel resembles the real ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dispatchd::sim::stage::{Address, Clapper, FarEnd, SimBackend, SimFd, Stage, StageClient};
use dispatchd::units::Mono;

use super::kernel::{Kernel, Make};

/// Each law is played with so many mixes of delays.
const SEEDS: u64 = 24;

/// A stage, and the marks on it.
pub(crate) struct Staged {
    stage: Stage,
    marks: RefCell<BTreeMap<StageClient, u8>>,
}

/// Plays a law with every seed.
pub(crate) fn on_stages(law: fn(Make<'_, Staged>)) {
    for seed in 0..SEEDS {
        let played = catch_unwind(AssertUnwindSafe(|| law(&|| Staged::new(seed))));
        assert!(played.is_ok(), "the law is broken on the stage of seed {seed}, as said above");
    }
}

impl Staged {
    fn new(seed: u64) -> Self {
        Self { stage: Stage::new(seed), marks: RefCell::default() }
    }
}

/// What the fake kernel itself found wrong comes out at the end, but not on top of a failure.
impl Drop for Staged {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.stage.verdict(), None);
        }
    }
}

impl Kernel for Staged {
    type Fd = SimFd;
    type Port = SimBackend;
    type Address = Address;
    type Caller = StageClient;
    type Peer = StageClient;
    type FarEnd = FarEnd;
    type Clapper = Clapper;

    fn port(&self) -> SimBackend {
        self.stage.port()
    }

    fn now(&self) -> Mono {
        self.stage.now()
    }

    fn listener(&self) -> (SimFd, Address) {
        self.stage.listener()
    }

    fn connect(&self, to: &Address) -> StageClient {
        self.stage.connect(*to)
    }

    fn connection(&self) -> (SimFd, StageClient) {
        self.stage.connection()
    }

    fn duplicate(&self, fd: &SimFd) -> SimFd {
        self.stage.duplicate(fd)
    }

    fn number(&self, fd: &SimFd) -> usize {
        fd.number()
    }

    fn send(&self, peer: &StageClient) {
        self.stage.send(*peer);
    }

    fn read(&self, fd: &SimFd) {
        self.stage.read(fd);
    }

    fn hang_up(&self, peer: StageClient) {
        self.stage.hang_up(peer);
    }

    fn is_over(&self, peer: &StageClient) -> bool {
        self.stage.is_over(*peer)
    }

    fn marked(&self, mark: u8) -> SimFd {
        let (fd, client) = self.stage.connection();
        self.marks.borrow_mut().insert(client, mark);
        fd
    }

    fn mark_of(&self, fd: SimFd) -> u8 {
        let client = Stage::client_of(&fd).expect("connections have marks");
        assert_ne!(self.stage.copies(client), 0, "it is open");
        self.marks.borrow_mut().remove(&client).expect("a mark is read once")
    }

    fn channel(&self) -> (SimFd, FarEnd) {
        self.stage.channel()
    }

    fn receive(&self, far: &FarEnd) -> Option<(Vec<u64>, Vec<SimFd>)> {
        self.stage.receive(far).map(|message| (message.words, message.fds))
    }

    fn close(&self, far: FarEnd) {
        self.stage.close(far);
    }

    fn doorbell(&self) -> (SimFd, Clapper) {
        self.stage.doorbell()
    }

    fn ring(&self, clapper: &Clapper) {
        self.stage.ring(*clapper);
    }

    fn fill(&self, clapper: &Clapper) {
        self.stage.fill(*clapper);
    }
}
