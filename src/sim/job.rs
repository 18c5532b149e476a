//! A connection that a simulated process has begun with.

use crate::units::{Mono, Ticket};

#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) connection: usize,
    pub(super) copy: usize,
    /// `None`: the process accepted it itself.
    pub(super) ticket: Option<Ticket>,
    /// Since when its request runs.
    pub(super) since: Mono,
    pub(super) stage: ServiceStage,
    /// Requests that it has read and not answered.
    pub(super) requests: u32,
    /// It will not be given back.
    pub(super) pinned: bool,
}

/// How far a connection's service got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ServiceStage {
    /// The first request runs.
    First,
    /// Its client owes bytes.
    Owing,
    /// It was answered and lives on.
    Idle,
    /// A later request runs.
    Later,
}

impl Job {
    pub(super) const fn new(
        connection: usize,
        copy: usize,
        ticket: Option<Ticket>,
        since: Mono,
        requests: u32,
    ) -> Self {
        let stage = ServiceStage::First;
        Self { connection, copy, ticket, since, stage, requests, pinned: false }
    }
}
