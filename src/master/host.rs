//! What the master needs of the world besides sockets: time, processes, shared pages, somebody to
//! tell. A trait, so that the production loop itself also runs in the simulator.

use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::input::{Exit, FirstSpeaker, Load, Terms};
pub use crate::shm::claim::Settled;
pub use crate::shm::layout::{Order, SleepState};
pub use crate::shm::ring::{Full, Overrun};
pub use crate::sys::pidfd::Signal;
pub use crate::sys::signal::Notice;
use crate::units::{
    Generation, GiveBack, ListenerId, Mono, RingWords, Route, SlotId, Span, Ticket, WorkerId,
};

/// The world around a master.
pub trait Host {
    /// The backend's descriptors.
    type Fd;

    /// The time, read once per turn.
    fn now(&mut self) -> Mono;

    /// Starts a worker's process, and does not wait until it has become its program.
    ///
    /// # Errors
    /// When there is no process; the host keeps the reason for its report.
    fn spawn(&mut self, request: SpawnRequest) -> Result<SpawnedWorker<Self::Fd>, SpawnFailed>;

    /// How far a worker's process has got on its way to its program. Why it failed the host keeps
    /// for its report.
    fn launch(&mut self, worker: WorkerId) -> Launch;

    /// Sends a signal; a process that is gone already is no error.
    fn signal(&mut self, worker: WorkerId, signal: Signal);

    /// What has happened to a child since this was asked last, one thing at a time; `None` when
    /// nothing is new. A worker that has ended may be told of later than it has: while a debugger
    /// holds it, nobody else learns how it ended.
    fn child(&mut self) -> Option<ChangedChild>;

    /// Takes in what a worker has written, or what it started, and no more than so many bytes.
    fn read_output(&mut self, worker: WorkerId, at_most: usize) -> OutputRead;

    /// Forgets a worker that is gone, but for its output.
    fn release(&mut self, worker: WorkerId);

    /// Closes the output of a worker that is gone.
    fn forget_output(&mut self, worker: WorkerId);

    /// What the operator has signalled since.
    fn notice(&mut self) -> Option<Notice>;

    /// The listeners are about to be closed: gives up the names that they have in the file system,
    /// and what it has of them for workers to come.
    fn withdraw_listeners(&mut self);

    /// Looks whether all those names are still there, and that of the control socket: where that
    /// had to be made anew, the new one takes the old one's place.
    fn look_after_names(&mut self) -> Option<Self::Fd>;

    /// Takes one waiting connection of a listener that is about to close, without waiting.
    fn sweep(&mut self, listener: &Self::Fd) -> Option<Self::Fd>;

    /// Has nobody connect to a listener any more, whoever has copies of it.
    fn end_listening(&mut self, listener: &Self::Fd);

    /// Reads up to `max` of a worker's messages.
    ///
    /// # Errors
    /// When its ring is impossible.
    fn messages(
        &mut self,
        worker: WorkerId,
        max: usize,
        out: &mut Vec<RingWords>,
    ) -> Result<(), Overrun>;

    /// Whether a worker asks to leave.
    fn asks_to_leave(&mut self, worker: WorkerId) -> bool;

    /// Whether any worker has messages unread.
    fn has_messages(&mut self) -> bool;

    /// Says whether the master sleeps.
    fn set_sleep_state(&mut self, state: SleepState);

    /// What a worker's page says about itself; `None` when that is of another layout.
    fn terms(&mut self, worker: WorkerId) -> Option<Terms>;

    /// What a worker's page says about its load.
    fn load(&mut self, worker: WorkerId) -> Load;

    /// Writes what a worker shall do on its line of the master's page.
    fn order(&mut self, worker: WorkerId, order: Order);

    /// Writes a connection's conn record.
    fn conn_record(&mut self, ticket: Ticket, event: ConnEvent);

    /// Writes what workers shall do with connections that they have answered.
    fn give_back(&mut self, give_back: GiveBack);

    /// Writes an offer entry for a worker.
    ///
    /// # Errors
    /// When it has not read those before.
    fn offer_entry(&mut self, worker: WorkerId, offer_entry: RingWords) -> Result<(), Full>;

    /// Which of its sleeps a worker takes, if it sleeps: then it must be woken for offer entries.
    /// To be asked after writing them.
    fn sleep_number(&mut self, worker: WorkerId) -> Option<u64>;

    /// A worker was woken.
    fn woke(&mut self, worker: WorkerId);

    /// Lets the worker claim the connection from now on.
    fn offer(&mut self, worker: WorkerId, ticket: Ticket);

    /// Takes an offer back, if its worker has not claimed it.
    fn recall(&mut self, worker: WorkerId, ticket: Ticket) -> Settled;

    /// Whether a connection has bytes to read.
    fn has_input(&mut self, connection: &Self::Fd) -> bool;

    /// Whether a connection's client has reset it.
    fn is_reset(&mut self, connection: &Self::Fd) -> bool;

    /// What a connection's client asks for, as far as can be told without reading it.
    fn route(&mut self, connection: &Self::Fd) -> Option<Route>;

    /// Tells a connection's client that too many wait, as far as that goes without waiting. It is
    /// to be closed next.
    fn refuse(&mut self, connection: &Self::Fd);

    /// Ends a connection for its client, whoever has copies of it.
    fn shut_down(&mut self, connection: &Self::Fd);

    /// Reads what a control client wants, and finds the answer.
    fn control(&mut self, client: &Self::Fd, engine: &Engine) -> ControlStep;

    /// Tells whoever listens.
    fn tell(&mut self, now: Mono, event: Event);

    /// Once per turn: does what the host has put off, as far as it goes without waiting, and says
    /// when to come back for the rest.
    fn flush(&mut self) -> Option<Span>;
}

/// How far a worker's output has been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutputRead {
    /// There is nothing more at the moment.
    Drained {
        /// So much there was.
        bytes: usize,
    },
    /// There may be more.
    More,
    /// All who had it have closed it, or nobody reads it any more.
    Ended,
}

/// Whom to start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpawnRequest {
    /// Its name.
    pub worker: WorkerId,
    /// Its place.
    pub slot: SlotId,
    /// Its rollout.
    pub generation: Generation,
}

/// A worker that was started.
#[derive(Debug)]
pub struct SpawnedWorker<F> {
    /// The master's end of its channel.
    pub channel: F,
    /// A copy of it: readable when nobody has the other end any more, since nobody writes there.
    pub hangup: F,
    /// What it rings when it has said something that matters.
    pub doorbell: F,
    /// Readable when the process has ended.
    pub process: F,
    /// Readable when it has written something.
    pub output: F,
    /// Readable when there is news for [`Host::launch`].
    pub report: F,
    /// Sockets that had to be opened for its slot: one that was grown under `reuseport`.
    pub listeners: Vec<Opened<F>>,
}

/// The process could not be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpawnFailed;

/// How far a process has got on its way to its program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Launch {
    /// It is not its program yet.
    Pending,
    /// It is its program, or it has ended.
    Over,
    /// It cannot become its program, and is about to end.
    Failed,
}

/// A child of which there is something new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangedChild {
    /// A worker.
    Worker(WorkerId, ProcessChange),
    /// One that nobody waits for: an orphan, or a worker that was given up. It is reaped.
    Stranger,
}

/// What has happened to a worker's process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProcessChange {
    /// SIGSTOP and its like: it does nothing until continued.
    Stopped,
    /// SIGCONT.
    Continued,
    /// It has ended, and is reaped.
    Ended(Exit),
}

/// What happened to a connection, for its conn record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnEvent {
    /// It was accepted.
    Accepted(ListenerId, Mono),
    /// It became readable.
    Readable(Mono),
    /// It was offered.
    Offered(WorkerId, Mono),
}

/// How far a control client's request has got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlStep {
    /// More is to come.
    Again,
    /// This is its answer.
    Answer(Vec<u8>),
    /// Nobody waits for an answer any more.
    Gone,
}

/// An open socket, on its way into the master.
#[derive(Debug)]
pub struct Opened<F> {
    /// The socket: listening, non-blocking.
    pub socket: F,
    /// Which of the configured listeners it is.
    pub listener: ListenerId,
    /// Who speaks first on its connections.
    pub first_speaker: FirstSpeaker,
    /// The slot whose worker accepts from it, under `reuseport`.
    pub slot: Option<SlotId>,
    /// Where it comes from.
    pub origin: ListenerOrigin,
}

/// Where a listener comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListenerOrigin {
    /// We have opened it: who has it has it from us, and nobody accepts from it after us.
    Ours,
    /// It was inherited: whoever gave it goes on with it when we are gone.
    Inherited,
}
