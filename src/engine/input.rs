//! All that can happen to the engine: the first of its three vocabularies. The shell translates
//! completions, messages and signals into these; the simulator makes them up.

use crate::units::{ListenerId, Route, Span, Ticket, WorkerId};

/// One thing that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// A connection was accepted; the shell keeps its descriptor under this fresh ticket.
    Arrived {
        /// The connection.
        ticket: Ticket,
        /// Where it came in.
        listener: ListenerId,
        /// Whether its client has to speak first.
        first_speaker: FirstSpeaker,
    },
    /// Accepting failed for want of descriptors or memory: EMFILE, ENFILE, ENOBUFS, ENOMEM.
    AcceptExhausted,
    /// Every accept has ended and the backlogs are swept: the answer to `CloseListeners`.
    ListenersClosed,
    /// A watched connection can be read.
    Readable {
        /// The connection.
        ticket: Ticket,
        /// What its client asks for; `None` where nobody looked, or could tell.
        route: Option<Route>,
    },
    /// A watched connection ended without a byte.
    HungUp(Ticket),
    /// The kernel refused a wait, for want of memory or of places; it is tried again by itself.
    WatchFailed,
    /// An offer could not be sent; the shell has the descriptor back.
    Refused {
        /// The connection.
        ticket: Ticket,
        /// What stood in the way.
        why: OfferRefusal,
    },
    /// The offer is taken back: one answer to `Recall`.
    Recalled(Ticket),
    /// Its worker has claimed it, though no word says so yet: the other answer to `Recall`.
    TooLate(Ticket),
    /// The worker is up and names its terms.
    Hello {
        /// Who.
        worker: WorkerId,
        /// What it can take.
        terms: Terms,
    },
    /// A worker says something about a connection.
    Message {
        /// Who.
        worker: WorkerId,
        /// Which connection.
        ticket: Ticket,
        /// What.
        message: Message,
    },
    /// A worker sent or wrote something that no honest worker does.
    Violation(WorkerId),
    /// What the worker's page showed just now.
    Load {
        /// Who.
        worker: WorkerId,
        /// Its own account.
        load: Load,
    },
    /// There is no process: it could not be started.
    SpawnFailed(WorkerId),
    /// The process runs the program that it was started for.
    Executed(WorkerId),
    /// The process cannot run that program, and is about to end.
    ExecFailed(WorkerId),
    /// The process is gone, and every message it left has been read.
    Exited {
        /// Who.
        worker: WorkerId,
        /// Whether it left as a worker does that has been told to.
        exit: Exit,
    },
    /// The process has closed its channel: it can be offered nothing any more.
    Detached(WorkerId),
    /// The process asks to leave: it was sent SIGTERM by somebody else, or wants to be started
    /// anew.
    AsksToLeave(WorkerId),
    /// The process was stopped (SIGSTOP): it does nothing until it is continued.
    Stopped(WorkerId),
    /// The process goes on.
    Continued(WorkerId),
    /// The operator wants something.
    Command(Command),
    /// The turn's news are told: deadlines are looked at, and what is held is placed.
    Tick,
}

impl Input {
    /// Whether it says something of processes, and not of connections alone.
    pub(super) const fn concerns_processes(&self) -> bool {
        match self {
            Self::ListenersClosed
            | Self::Hello { .. }
            | Self::Violation(_)
            | Self::SpawnFailed(_)
            | Self::Executed(_)
            | Self::ExecFailed(_)
            | Self::Exited { .. }
            | Self::Detached(_)
            | Self::AsksToLeave(_)
            | Self::Stopped(_)
            | Self::Continued(_)
            | Self::Command(_) => true,
            Self::Arrived { .. }
            | Self::AcceptExhausted
            | Self::Readable { .. }
            | Self::HungUp(_)
            | Self::WatchFailed
            | Self::Refused { .. }
            | Self::Recalled(_)
            | Self::TooLate(_)
            | Self::Message { .. }
            | Self::Load { .. }
            | Self::Tick => false,
        }
    }
}

/// Which side speaks first on a listener's connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirstSpeaker {
    /// The client: the connection is worth a worker once it is readable.
    Client,
    /// The server: the connection is worth a worker at once.
    Server,
}

/// Why an offer was not taken by the channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfferRefusal {
    /// The worker's channel is full (EAGAIN).
    Full,
    /// Too many descriptors are on their way in this user's name (ETOOMANYREFS).
    TooManyInFlight,
    /// Nobody holds the other end any more.
    Gone,
    /// The connection's client has reset it.
    Abandoned,
}

/// What a worker says of itself when it is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Requests it can have begun at once; 1 for one that blocks.
    pub concurrency: u32,
    /// Connections it can hold, its own descriptors put aside.
    pub connections_max: u32,
}

/// What a worker says about a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// It is mine: I am about to read it for the first time.
    Claimed {
        /// Microseconds from the offer to this claim, when the worker had been idle; else 0.
        transit_us: u32,
    },
    /// The first response's last byte is in the kernel.
    Done {
        /// Microseconds from the claim, or from the last `Resumed`, to here.
        service_us: u32,
    },
    /// All that was asked is answered, and nothing more has come: it is the master's again.
    Idle {
        /// Microseconds from the claim, or from the last `Resumed`, to the last answer's end; 0
        /// when that has been told.
        service_us: u32,
    },
    /// The client owes bytes: nothing runs.
    Waiting,
    /// The bytes came: the request runs.
    Resumed,
    /// It stays with me for good, and nothing runs now; each beginning of a request on it is a
    /// `Resumed`, each end of one `Pinned` again.
    Pinned,
    /// It is closed.
    Closed,
    /// It was taken back before I could claim it; I would take another.
    Missed,
}

/// A worker's own account of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// Requests begun and not answered.
    pub in_flight: u32,
    /// Connections open.
    pub connections: u32,
    /// Requests answered so far.
    pub finished: u64,
    /// Time spent on requests so far, the running one included.
    pub busy: Span,
    /// The squares of these times, in square microseconds.
    pub squares: u64,
}

impl Load {
    /// Nothing at all.
    pub const NONE: Self =
        Self { in_flight: 0, connections: 0, finished: 0, busy: Span::ZERO, squares: 0 };

    /// The account, where what only grows has not shrunk (somebody lies, or was read between two of
    /// his stores).
    #[must_use]
    pub fn no_less_than(self, before: Self) -> Self {
        Self {
            finished: self.finished.max(before.finished),
            busy: self.busy.max(before.busy),
            squares: self.squares.max(before.squares),
            ..self
        }
    }

    /// What has been worked since the account was read as `before`; nothing where it has shrunk.
    pub fn work_since(self, before: Self) -> WorkDone {
        WorkDone {
            requests: self.finished.saturating_sub(before.finished),
            time: self.busy.less(before.busy),
            squares: self.squares.saturating_sub(before.squares),
        }
    }
}

/// Work that was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkDone {
    /// Requests that were answered.
    pub requests: u64,
    /// Time spent, also on what is not answered yet.
    pub time: Span,
    /// The squares of the requests' times, in square microseconds.
    pub squares: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Exit code 0.
    Clean,
    /// Any other code, or a signal.
    Failed,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Replace every worker, new ones first.
    Rollout,
    /// Write to log files that are opened anew.
    ReopenLogs,
    /// Go on as a newer program.
    Upgrade,
    /// One slot more.
    Grow,
    /// One slot less.
    Shrink,
    /// Finish what has begun, then end.
    Stop,
    /// End now.
    StopFast,
}
