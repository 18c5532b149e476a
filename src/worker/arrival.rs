//! The three ways in which a blocking worker comes to a connection.

use std::os::fd::OwnedFd;

use super::idle::IdleConnection;
use super::link::Claimed;
use crate::units::ListenerId;

/// A connection to serve.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The master offered it.
    Claimed(Claimed),
    /// This worker accepted it.
    Accepted(OwnedFd, ListenerId),
    /// It has stayed here since its last request.
    Kept(IdleConnection),
}
