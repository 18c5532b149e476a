//! One connection in a blocking worker's hands: read it, write it, give it back or drop it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::link::{Claimed, Link, micros};
use crate::sys::{clock, socket};
use crate::units::{Errno, ListenerId, Mono, Span, Ticket};
use crate::wire::token::Say;

/// A claimed connection. Dropping it says that its answer is out and closes it;
/// [`Connection::idle`] keeps it open for the next request. The worker is borrowed meanwhile, so
/// there is one at a time.
#[derive(Debug)]
pub struct Connection<'worker> {
    link: &'worker mut Link,
    /// There until it is given back or dropped.
    stream: Option<std::fs::File>,
    origin: Origin,
    listener: ListenerId,
    began_at: Mono,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The master offered it, and may still have a copy.
    Master(Ticket),
    /// This worker accepted it itself.
    Listener,
}

impl<'worker> Connection<'worker> {
    /// A connection that is claimed already.
    pub(super) fn claimed(link: &'worker mut Link, claimed: Claimed) -> Self {
        let origin = Origin::Master(claimed.ticket);
        Self::new(link, claimed.socket, origin, claimed.listener, clock::monotonic())
    }

    pub(super) fn accepted(link: &'worker mut Link, socket: OwnedFd, listener: ListenerId) -> Self {
        link.opened();
        Self::new(link, socket, Origin::Listener, listener, clock::monotonic())
    }

    fn new(
        link: &'worker mut Link,
        socket: OwnedFd,
        origin: Origin,
        listener: ListenerId,
        now: Mono,
    ) -> Self {
        link.began(now);
        Self { link, stream: Some(socket.into()), origin, listener, began_at: now }
    }

    /// Ends reads and writes that wait longer than this (at least a microsecond): a blocking worker
    /// serves nobody else meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses the socket option.
    pub fn set_timeouts(&self, patience: Duration) -> io::Result<()> {
        let span = Span::from_ns(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        socket::set_timeouts(self.stream()?, span)
            .map_err(|Errno(errno)| io::Error::from_raw_os_error(errno))
    }

    /// Gives the connection back: all that the client asked is answered, and nothing that it sent
    /// is left in a buffer of yours. dispatchd waits for the next request and offers it to whoever
    /// is free, which may be this worker; it comes as another [`Connection`]. Limits that were set
    /// on the socket stay.
    ///
    /// Returns the connection where nobody takes it back (`--dispatch connection`, or a policy
    /// under which workers accept for themselves): then serve on, or drop it.
    pub fn idle(mut self) -> Option<Self> {
        let Origin::Master(ticket) = self.origin else { return Some(self) };
        // A blocking worker that kept it would serve nobody else, whatever `auto` thinks best.
        if !self.link.gives_back(true) {
            return Some(self);
        }
        let stream = self.stream.take()?;
        let now = clock::monotonic();
        self.link.ended(now);
        self.link.keep_copy(ticket, stream.into());
        let service_us = micros(now.since(self.began_at)).max(1);
        self.link.say(Say::Idle { ticket, service_us });
        None
    }

    /// Where it came in: the position of the listener among dispatchd's.
    pub const fn listener(&self) -> ListenerId {
        self.listener
    }

    fn stream(&self) -> io::Result<&std::fs::File> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let now = clock::monotonic();
        self.link.ended(now);
        self.link.closed();
        match self.origin {
            Origin::Master(ticket) => {
                // Without it our close sends no FIN while the master still has a copy. It fails
                // when the client is gone, and then there is nobody to tell.
                socket::shutdown(stream.as_fd()).unwrap_or_default();
                drop(stream);
                let service_us = micros(now.since(self.began_at));
                self.link.say_all(&[Say::Done { ticket, service_us }, Say::Closed(ticket)]);
            }
            Origin::Listener => {}
        }
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream()?.read(buffer)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Connection<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_ref().expect("whoever has the connection has not given it back").as_fd()
    }
}
