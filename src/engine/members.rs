//! What the two halves of the engine tell each other, and all of it: the supervisor knows processes
//! and no connection, the dispatcher connections and no process. A process that connections may be
//! given to is a *member* to the dispatcher.

use super::capabilities::Capabilities;
use super::input::Terms;
use crate::units::{SlotId, WorkerId};

/// What the supervisor has decided about members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemberChange {
    /// There is a new process, and it may say something.
    Joined {
        /// Who.
        worker: WorkerId,
        /// Where it is to serve.
        slot: SlotId,
    },
    /// What goes to its slot goes to this member from now on; whoever had that has been retired.
    Employed {
        /// Who.
        worker: WorkerId,
        /// What it can take.
        terms: Terms,
        /// What its link can do.
        capabilities: Capabilities,
    },
    /// It is given nothing more, and keeps what it has.
    Retired(WorkerId),
    /// It claims nothing until it is resumed: what it has not claimed goes to others.
    Suspended(WorkerId),
    /// It goes on.
    Resumed(WorkerId),
    /// Nothing reaches it any more: what it has not claimed is to be taken back.
    Unreachable(WorkerId),
    /// Its process is gone. Once it is known of each of its connections whether it had begun with
    /// it, that is reported as [`MemberReport::Settled`].
    Dead(WorkerId),
    /// There are so many slots.
    Slots(usize),
    /// No connection is accepted any more.
    Closed,
    /// Nobody will be there for what waits: it ends.
    Abandoned,
}

/// What the dispatcher has noticed of a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemberReport {
    /// It said what no honest worker says.
    Lied(WorkerId),
    /// It has left offers lying for too long, and does nothing.
    Stalled(WorkerId),
    /// Nobody holds the other end of its channel.
    Unreachable(WorkerId),
    /// It has done more than was known.
    Advanced {
        /// Who.
        worker: WorkerId,
        /// What it has done by now.
        record: Record,
    },
    /// A dead member has nothing any more.
    Settled {
        /// Who.
        worker: WorkerId,
        /// Offers that came back from it.
        recovered: u32,
        /// Connections that ended with it.
        lost: u32,
    },
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Record {
    /// Nothing: perhaps it cannot.
    #[default]
    Nothing,
    /// It has begun with requests, and answered none.
    Begun,
    /// It has answered requests.
    Served,
}

/// What is in the way of a stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backlog {
    /// Connections that wait for a worker.
    pub held: u32,
    /// Connections that nobody has begun with, those included.
    pub waiting: u32,
    /// Offers that are not claimed.
    pub offered: u32,
}
