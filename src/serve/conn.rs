//! One connection of the built-in worker: its conversation, its operations in flight, and the
//! phase of its life, which says what a completion or a deadline means for it.

use super::credit::Standing;
use super::http::HttpRequest;
use super::http1::Http1Connection;
use crate::io::{Source, Token};
use crate::units::Mono;

/// An open connection.
#[derive(Debug)]
pub(super) struct ServeConn {
    /// The socket, in the backend's keeping.
    pub(super) source: Source,
    pub(super) standing: Standing,
    pub(super) http1: Http1Connection,
    pub(super) phase: ServePhase,
    /// The receive in flight. It has the input meanwhile.
    pub(super) recv: Option<Token>,
    pub(super) send: Option<Leaving>,
    /// No receive has ended yet.
    pub(super) fresh: bool,
    /// The time for the request has run out while new bytes of it had just come.
    pub(super) late: bool,
}

/// A send in flight. It has the output meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) token: Token,
    /// Bytes of the output that are out.
    pub(super) from: usize,
}

/// How the end of a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    /// Bytes that still may come.
    pub(super) left: usize,
    /// Bytes of the answer that had not arrived at the last look.
    pub(super) unsent: usize,
    /// When it was last fewer than before.
    pub(super) moved_at: Mono,
}

/// Where a connection stands in its life.
#[derive(Debug)]
pub(super) enum ServePhase {
    /// Requests come and are answered.
    Serving,
    /// The answer to this request comes when its time is there.
    Parked(HttpRequest),
    /// It was idle for too long; the end of its receive tells whether something has come after all.
    Retiring,
    /// The request took too long; it is said so when the receive has ended.
    Overdue,
    /// The last answer is out; what still comes is thrown away.
    Lingering(Linger),
    /// It was, for a while; when the receive has ended, it is looked whether the answer arrived.
    Ebbing(Linger),
    /// It is closed as soon as the backend has let go of it.
    Doomed,
}

impl ServeConn {
    /// A connection of which nothing has been read.
    pub(super) fn new(source: Source, standing: Standing) -> Self {
        Self {
            source,
            standing,
            http1: Http1Connection::new(),
            phase: ServePhase::Serving,
            recv: None,
            send: None,
            fresh: true,
            late: false,
        }
    }

    /// Whether nothing of a request has come, nothing is being received, and of an answer nothing
    /// is left but what is leaving.
    pub(super) fn is_between_requests(&self) -> bool {
        let open = matches!(self.phase, ServePhase::Serving | ServePhase::Retiring);
        open && self.recv.is_none() && self.http1.wants_input() && self.http1.is_idle()
    }

    /// Whether requests can be taken out of the input and answered.
    pub(super) const fn is_at_rest(&self) -> bool {
        matches!(self.phase, ServePhase::Serving) && self.recv.is_none() && self.send.is_none()
    }
}
