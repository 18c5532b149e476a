//! What the master needs of the world besides the backend: time, processes, sockets, an operator. A
//! trait for each, so that the production loop itself also runs in the simulator.

use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::input::{Exit, FirstSpeaker};
use crate::link::LinkEnds;
use crate::link::pages::Pages;
pub use crate::sys::pidfd::Signal;
pub use crate::sys::signal::Notice;
use crate::units::{Generation, ListenerId, Mono, Route, SlotId, Span, WorkerId};

/// The world around a master.
pub trait Host: Clock + Processes + Sockets + Operator {
    /// What is shared with workers.
    type Pages: Pages;

    /// The pages.
    fn pages(&mut self) -> &mut Self::Pages;
}

/// The descriptors of a world.
pub trait Descriptors {
    /// The backend's.
    type Fd;
}

/// Its time.
pub trait Clock {
    /// The time, read once per turn.
    fn now(&mut self) -> Mono;
}

/// Its processes.
pub trait Processes: Descriptors {
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
}

/// Its sockets.
pub trait Sockets: Descriptors {
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
}

/// Whoever gives orders, asks, and is told.
pub trait Operator: Descriptors {
    /// What the operator has signalled since.
    fn notice(&mut self) -> Option<Notice>;

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
    /// What its link is made of.
    pub ends: LinkEnds<F>,
    /// Readable when the process has ended.
    pub process: F,
    /// Readable when it has written something.
    pub output: F,
    /// Readable when there is news for [`Processes::launch`].
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
