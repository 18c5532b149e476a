//! All that the engine can ask for: the second vocabulary. The shell carries actions out in their
//! order, after the step, never inside it.

use alloc::vec::Vec;

use super::event::Event;
use crate::units::{Generation, GiveBack, SlotId, Ticket, WorkerId};

/// One thing to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Stop accepting for good: end the accepts, sweep the backlogs, have nobody listen any more,
    /// say `ListenersClosed`.
    CloseListeners,
    /// Wait until the connection is readable.
    Watch(Ticket),
    /// Shut the watched connection down, so that its watch ends.
    Expire(Ticket),
    /// Hand the connection to the worker.
    Offer {
        /// The connection.
        ticket: Ticket,
        /// To whom.
        to: WorkerId,
        /// Whether to look for its client first.
        client: Presence,
    },
    /// Take an offer back unless it is claimed: say `Recalled` or `TooLate`; nothing where it has
    /// been settled meanwhile, since that has been said.
    Recall {
        /// The connection.
        ticket: Ticket,
        /// From whom.
        from: WorkerId,
    },
    /// The connection is claimed, and will not come back: our copy may go.
    Release(Ticket),
    /// The connection is claimed, and nothing more will be heard of it: free the ticket, and let
    /// our copy go without a word to the client.
    HandOver(Ticket),
    /// Tell the workers what to do with connections that they have answered.
    GiveBack(GiveBack),
    /// Too many wait: say so to its client, where that goes without waiting, and free the ticket.
    Refuse {
        /// The connection.
        ticket: Ticket,
        /// Who else may have it open.
        strays: Strays,
    },
    /// The ticket has ended: free it, and close the descriptor if we still have it.
    Retire {
        /// The connection.
        ticket: Ticket,
        /// Who else may have it open.
        strays: Strays,
    },
    /// Start a process.
    Spawn {
        /// Its name.
        worker: WorkerId,
        /// Its place.
        slot: SlotId,
        /// Its rollout.
        generation: Generation,
    },
    /// Ask the worker to finish what it has and leave.
    Drain(WorkerId),
    /// Send SIGTERM.
    Terminate(WorkerId),
    /// Send SIGKILL.
    Kill(WorkerId),
    /// The process is gone, and nothing of its is left: let go of its channel and its page.
    ReleaseWorker(WorkerId),
    /// Tell whoever listens.
    Emit(Event),
    /// Everything has ended.
    Exit(MasterOutcome),
}

/// Whether a connection's client is still there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It was a moment ago.
    Likely,
    /// It has waited for so long that it may have given up: if it has reset the connection, the
    /// offer is refused as [`super::input::OfferRefusal::Abandoned`].
    Doubtful,
}

/// Whether a copy of a connection may lie unread where an offer of it was taken back. It keeps the
/// socket open for as long as its reader likes: a close tells the client nothing, a shutdown does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strays {
    /// It was never taken back.
    None,
    /// It was.
    Possible,
}

/// How the master ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MasterOutcome {
    /// As asked.
    Done,
    /// No worker ever became ready.
    NeverReady,
}

/// What a step asks for, in order. The shell empties and reuses it.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// An empty list.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an action behind all others.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Adds an event behind all other actions.
    pub fn emit(&mut self, event: Event) {
        self.0.push(Action::Emit(event));
    }

    /// Takes the actions out, in order, and keeps the memory.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.0.drain(..)
    }

    /// The actions, in order.
    pub fn as_slice(&self) -> &[Action] {
        &self.0
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
