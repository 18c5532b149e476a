//! How workers are started: their program, what it is given, and which sockets it gets copies of.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use crate::config::placement::Placement;
use crate::engine::input::FirstSpeaker;
use crate::sys::executable::Executable;
use crate::sys::rlimit::ResourceLimit;
use crate::sys::scheduling::Scheduling;
use crate::sys::socket::{Endpoint, ListenOptions};
use crate::sys::socket_file::SocketFile;
use crate::units::{ListenerId, RouteBy, Span};
use crate::wire::handshake::ListenerSharing;

/// What workers are made of.
#[derive(Debug)]
pub(super) struct WorkerSpec {
    pub(super) program: SpecProgram,
    /// Arguments behind the program's name.
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) placement: Placement,
    pub(super) sharing: ListenerSharing,
    /// What makes requests alike, if that is wanted.
    pub(super) classes: Option<RouteBy>,
    /// How long workers may take to finish.
    pub(super) drain: Span,
    /// How dispatchd was scheduled when it started, where workers do not inherit that.
    pub(super) scheduling: Option<Scheduling>,
    /// The limit on open files that dispatchd was started with.
    pub(super) open_files: ResourceLimit,
    /// So many of the first listeners dispatchd was given itself.
    pub(super) inherited: usize,
    /// Listeners that workers accept from: one list for all, or one per slot.
    pub(super) listeners: Vec<Vec<OwnedFd>>,
    /// Under `reuseport`, what each slot has a socket for.
    pub(super) own: Vec<OwnListener>,
    /// The names that unix listeners have in the file system.
    pub(super) files: Vec<SocketFile>,
}

/// What workers run.
#[derive(Debug)]
pub(super) enum SpecProgram {
    /// This very program.
    BuiltIn(Executable),
    /// Another one.
    Foreign {
        /// Its file.
        path: OsString,
        /// As the operator calls it.
        name: OsString,
    },
}

/// A listener of which every slot has a socket of its own.
#[derive(Clone, Debug)]
pub(super) struct OwnListener {
    pub(super) endpoint: Endpoint,
    pub(super) options: ListenOptions,
    pub(super) listener: ListenerId,
    pub(super) first_speaker: FirstSpeaker,
}
