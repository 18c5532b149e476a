//! The built-in worker: an HTTP/1.1 server that executes one request at a time, so that k workers
//! are k servers, while slow clients cost it nothing. It is an ordinary user of the SDK's link,
//! and runs over either backend.

mod arrivals;
mod buffers;
mod conn;
mod credit;
pub mod http;
mod http1;
mod intake;
mod server;
mod strength;
#[cfg(test)]
mod tests;
mod timers;
mod traffic;
mod work;

use std::io;

use self::server::Server;
use self::strength::Strength;
use crate::io::probe::{self, Chosen, ProbeError, Wanted};
use crate::sys::errno::io_error;
use crate::sys::{clock, signal, title};
use crate::units::Errno;
use crate::wire::handshake::ListenerSharing;
use crate::worker::{LinkEnd, LinkError};

pub use self::strength::SPEEDS_VARIABLE;

/// Name of the environment variable that says which backend the worker uses.
pub const BACKEND_VARIABLE: &str = "DISPATCHD_BACKEND";

/// Why the built-in worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The link to the master is missing or broken.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The variable names no backend.
    #[error("{BACKEND_VARIABLE} is `{0}`: auto, uring and epoll are known")]
    Backend(String),
    /// The variable holds no speeds.
    #[error("{SPEEDS_VARIABLE} is `{0}`: numbers from 0.001 to 1000 with commas between")]
    Speeds(String),
    /// The backend does not work here.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The process could not be prepared.
    #[error("cannot prepare the process: {}", io_error(*.0))]
    Prepare(Errno),
    /// The channel or a listener cannot be waited for.
    #[error("cannot watch the channel to the master")]
    Watch(#[source] io::Error),
    /// The backend has failed.
    #[error("cannot wait for connections")]
    Wait(#[source] io::Error),
}

/// Serves until the master wants this process to leave, or is gone. What its operator should know
/// it says in a line.
///
/// # Errors
/// When the process was not started by dispatchd, cannot be prepared, or loses its link.
pub fn run(say: impl Fn(&str)) -> Result<(), ServeError> {
    let mut link = LinkEnd::from_env()?;
    link.raise_nofile();
    // Executed by its descriptor it has the name of a number; it works by any.
    title::set_name(&format!("dispatchd-w{}", link.handshake().slot.0)).unwrap_or_default();
    link.pin();
    // Without it answers of `/wait` come up to 50 us later.
    clock::set_timer_slack_ns(1).unwrap_or_default();
    signal::ignore_pipe().map_err(ServeError::Prepare)?;
    let strength = Strength::of(link.handshake().slot)?;
    let wanted = wanted_backend(link.handshake().sharing)?;
    let choice = probe::choose(wanted)?;
    if let (Wanted::Auto, Chosen::Epoll(_)) = (wanted, &choice.backend) {
        say(&format!("this worker uses epoll: {}", choice.reason));
    }
    link.hello(1)?;
    match choice.backend {
        Chosen::Uring(backend) => Server::new(backend, link, strength)?.run(),
        Chosen::Epoll(backend) => Server::new(backend, link, strength)?.run(),
    }
}

/// The backend that the master wants. Under a shared listener it is always epoll: the kernel wakes
/// one idle worker, and never a stopped one, through epoll's exclusive wait alone.
fn wanted_backend(sharing: ListenerSharing) -> Result<Wanted, ServeError> {
    #[expect(clippy::disallowed_methods, reason = "the master speaks to its worker through it")]
    let text = std::env::var(BACKEND_VARIABLE).unwrap_or_default();
    let wanted = match text.as_str() {
        "" | "auto" => Wanted::Auto,
        "uring" => Wanted::Uring,
        "epoll" => Wanted::Epoll,
        _ => return Err(ServeError::Backend(text)),
    };
    Ok(match sharing {
        ListenerSharing::Shared => Wanted::Epoll,
        ListenerSharing::Own | ListenerSharing::None => wanted,
    })
}
