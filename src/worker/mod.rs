//! The SDK: what a program links to be a worker of dispatchd. A blocking program needs three
//! lines:
//!
//! ```no_run
//! # fn serve(connection: &mut dispatchd::worker::Connection<'_>) -> std::io::Result<()> { Ok(()) }
//! # fn main() -> Result<(), dispatchd::worker::WorkerError> {
//! let mut worker = dispatchd::worker::Worker::from_env()?;
//! while let Some(mut connection) = worker.next_connection()? {
//!     drop(serve(&mut connection)); // reads and writes; dropping closes
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One whose protocol has several requests per connection gives the connection back after each
//! answer, instead of waiting for the next: `connection.idle()`. dispatchd waits for it, and offers
//! it to whoever is free, so that no request waits behind another connection's long one.
//!
//! A program with a loop of its own uses [`Link`] instead, as the built-in server does.

mod connection;
mod copies;
#[cfg(test)]
pub(crate) mod fake_master;
mod intake;
mod link;

use std::fmt;

pub use self::connection::Connection;
use self::intake::{Arrival, Intake};
pub use self::link::{Claimed, Delivery, Link, LinkError};
pub use crate::shm::layout::Order;
use crate::sys::affinity::PinError;
use crate::sys::fd::io_error;
use crate::units::{Cpu, Errno, Generation, SeatId};
use crate::wire::link::Note;

/// A worker that serves one connection at a time, blocking.
#[derive(Debug)]
pub struct Worker {
    link: Link,
    intake: Intake,
}

/// Why a worker cannot go on.
#[derive(thiserror::Error)]
pub enum WorkerError {
    /// The link to the master is missing or broken.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It could not be bound to the CPU that it was given.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Waiting for connections failed.
    #[error("cannot wait for connections: {}", io_error(*.0))]
    Wait(Errno),
}

impl fmt::Debug for WorkerError {
    /// The text for people: a `main` that returns this error prints it this way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Worker {
    /// Takes up the link that dispatchd left in the environment, binds the process to its CPU, and
    /// says that it is ready.
    ///
    /// # Errors
    /// When the program was not started by dispatchd, or by another version of it; when it cannot
    /// be bound; when descriptors run out.
    pub fn from_env() -> Result<Self, WorkerError> {
        let mut link = Link::from_env()?;
        link.pin()?;
        let intake = Intake::new(&mut link).map_err(WorkerError::Wait)?;
        link.hello(1)?;
        Ok(Self { link, intake })
    }

    /// The next connection; `None` when this worker shall end: it was told to, or its master is
    /// gone. Waits.
    ///
    /// # Errors
    /// When the link breaks.
    pub fn next_connection(&mut self) -> Result<Option<Connection<'_>>, WorkerError> {
        match self.intake.next(&mut self.link)? {
            Some(Arrival::Claimed(claimed)) => {
                Ok(Some(Connection::claimed(&mut self.link, claimed)))
            }
            Some(Arrival::Accepted(socket, listener)) => {
                Ok(Some(Connection::accepted(&mut self.link, socket, listener)))
            }
            None => Ok(None),
        }
    }

    /// Who this worker is.
    pub fn identity(&self) -> Identity {
        Identity::of(self.link.note())
    }
}

/// Who a worker is, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its place.
    pub seat: SeatId,
    /// Its process.
    pub pid: u32,
    /// The CPU it is bound to.
    pub cpu: Option<Cpu>,
    /// Its rollout.
    pub generation: Generation,
}

impl Identity {
    /// Who this process is by its note.
    pub fn of(note: &Note) -> Self {
        Self {
            seat: note.seat,
            pid: std::process::id(),
            cpu: note.cpu,
            generation: note.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::fake_master::FakeMaster;
    use super::*;
    use crate::units::{GiveBack, Ticket};
    use crate::wire::link::Sharing;
    use crate::wire::token::Say;

    fn client() -> (UnixStream, OwnedFd) {
        let (client, connection) = UnixStream::pair().unwrap();
        // An end that does not come fails the test.
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (client, connection.into())
    }

    #[test]
    fn a_blocking_worker_gives_a_connection_back_and_gets_it_again() {
        let (master, mut link) = FakeMaster::new(Sharing::None, Vec::new());
        let intake = Intake::new(&mut link).unwrap();
        let mut worker = Worker { link, intake };
        let ticket = Ticket { slot: 1, generation: 1 };
        let (mut served, copy) = client();
        master.offer(ticket, &copy);
        let connection = worker.next_connection().unwrap().unwrap();
        assert!(connection.idle().is_some_and(|kept| kept.listener().0 == 0), "nobody lends here");
        assert_eq!(master.board(), (1, 1, 0));
        master.heard();

        master.wants_back(GiveBack::WhenLeaving);
        let again = Ticket { slot: 2, generation: 1 };
        let (mut lent, copy) = client();
        master.offer(again, &copy);
        for round in 0..2 {
            let mut connection = worker.next_connection().unwrap().unwrap();
            connection.write_all(b"hello").unwrap();
            assert!(connection.idle().is_none());
            lent.read_exact(&mut [0; 5]).unwrap();
            let says = master.heard();
            let [Say::Claimed { .. }, Say::Idle { ticket, service_us }] = says[..] else {
                panic!("{says:?} in round {round}");
            };
            assert_eq!((ticket, 0 < service_us), (again, true));
            master.offer_again(again);
        }
        // The one that was kept has ended with its drop, the lent one has not.
        assert_eq!(served.read(&mut [0]).unwrap(), 0);
        lent.set_nonblocking(true).unwrap();
        lent.read(&mut [0]).unwrap_err();
    }

    #[test]
    fn a_blocking_worker_leaves_alone_what_was_taken_back() {
        let (master, mut link) = FakeMaster::new(Sharing::None, Vec::new());
        let intake = Intake::new(&mut link).unwrap();
        let mut worker = Worker { link, intake };
        let [gone, ours] = [1, 2].map(|slot| Ticket { slot, generation: 1 });
        let ((mut another, kept), (mut served, copy)) = (client(), client());
        master.offer(gone, &kept);
        assert!(master.recall(gone));
        master.offer(ours, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.write_all(b"hello").unwrap();
        drop(connection);
        let mut heard = master.heard().into_iter();
        assert_eq!(heard.next(), Some(Say::Missed(gone)));
        assert!(matches!(heard.next(), Some(Say::Claimed { ticket, .. }) if ticket == ours));
        // The end reaches the client although the master has a copy, and only this one.
        let mut answer = String::new();
        served.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        UnixStream::from(kept).write_all(b"!").unwrap();
        another.read_exact(&mut [0]).unwrap();
    }
}
