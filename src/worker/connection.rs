//! One connection in a blocking worker's hands: to read, write, give back, keep or drop.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::After;
use super::arrival::Arrival;
use super::idle::{IdleConnection, IdleStay};
use super::link::{Claimed, LinkEnd, micros};
use super::origin::ConnectionOrigin;
use crate::shm::layout::Order;
use crate::sys::clock;
use crate::sys::errno::io_error;
use crate::sys::socket::{self, Way};
use crate::units::{Errno, ListenerId, Mono, Span};
use crate::wire::message::WorkerMessage;

/// A claimed connection. Dropping it says that its answer is out and closes it;
/// [`Connection::idle`] keeps it open for the next request. The worker is borrowed meanwhile, so
/// there is one at a time.
#[derive(Debug)]
pub struct Connection<'worker> {
    link: &'worker mut LinkEnd,
    /// There until it is given back, kept or dropped.
    stream: Option<std::fs::File>,
    origin: ConnectionOrigin,
    listener: ListenerId,
    began_at: Mono,
    /// When reading and writing of this request end, if that is bounded.
    deadline: Option<Mono>,
    /// What had come by then has been looked for.
    looked_again: bool,
    credit: CreditUse,
}

/// Whether the request counts against what this worker may be offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CreditUse {
    /// It does, until its answer is out.
    Holds,
    /// It does not: it is a later one of a connection that stayed here.
    Free,
}

impl<'worker> Connection<'worker> {
    pub(super) fn arrived(link: &'worker mut LinkEnd, arrival: Arrival) -> Self {
        let (socket, origin, listener, credit) = match arrival {
            Arrival::Claimed(Claimed { ticket, socket, listener }) => {
                (socket, ConnectionOrigin::Master(ticket), listener, CreditUse::Holds)
            }
            Arrival::Accepted(socket, listener) => {
                link.opened();
                (socket, ConnectionOrigin::Listener, listener, CreditUse::Free)
            }
            Arrival::Kept(IdleConnection { socket, origin, listener, stay, since: _ }) => {
                let credit = match (stay, origin) {
                    (IdleStay::Pinned, ConnectionOrigin::Master(ticket)) => {
                        link.send(WorkerMessage::Resumed(ticket));
                        CreditUse::Holds
                    }
                    (
                        IdleStay::Loose | IdleStay::Pinned,
                        ConnectionOrigin::Master(_) | ConnectionOrigin::Listener,
                    ) => CreditUse::Free,
                };
                (socket, origin, listener, credit)
            }
        };
        let now = clock::monotonic();
        link.began(now);
        let stream = Some(socket.into());
        Self {
            link,
            stream,
            origin,
            listener,
            began_at: now,
            deadline: None,
            looked_again: false,
            credit,
        }
    }

    /// Bounds this request: from now on its reads and writes together may take so long, and then
    /// they fail with [`ErrorKind::TimedOut`]. A blocking worker serves nobody else meanwhile, and
    /// a client that sends a byte now and then would keep it for ever, however short each wait is.
    /// The next request, of this connection or another, has no deadline until it is given one; a
    /// later call takes the place of an earlier one.
    pub fn set_deadline(&mut self, patience: Duration) {
        self.deadline = Some(clock::monotonic().after(span_of(patience)));
        self.looked_again = false;
    }

    /// Ends each read and write that waits longer than this (at least a microsecond), with
    /// [`ErrorKind::WouldBlock`]. That bounds no request: [`Connection::set_deadline`] does, and
    /// as long as there is a deadline, this has no effect. It stays with the connection.
    ///
    /// # Errors
    /// When the kernel refuses the socket option.
    pub fn set_timeouts(&self, patience: Duration) -> io::Result<()> {
        socket::set_timeouts(self.stream()?, span_of(patience)).map_err(io_error)
    }

    /// Ends the connection gently, before it is dropped: tells the client that nothing more comes,
    /// and throws away what it still sends until it has ended too, for no longer than `patience`.
    /// To be called after an answer to somebody who may be sending still: a drop over unread input
    /// is a reset, which takes the answer away from whoever has not read it yet.
    pub fn finish(&mut self, patience: Duration) {
        let Ok(stream) = self.stream() else { return };
        // It fails when the client is gone, which the read tells.
        let _client_is_gone = socket::shutdown_write(stream.as_fd());
        self.set_deadline(patience);
        let mut bin = [0; 4096];
        while let Ok(1..) = self.read(&mut bin) {}
    }

    /// Gives the connection back: all that the client asked is answered, and nothing that it sent
    /// is left in a buffer of yours. dispatchd waits for the next request and offers it to whoever
    /// is free, which may be this worker; it comes as another [`Connection`]. Limits that were set
    /// on the socket stay.
    ///
    /// Returns the connection where nobody takes it back (`--dispatch connection`, or a policy
    /// under which workers accept for themselves): then serve on, or drop it.
    pub fn idle(mut self) -> Option<Self> {
        self.deadline = None;
        // A blocking worker that kept it would serve nobody else, whatever `auto` thinks best.
        self.give_back(true)
    }

    /// Whether [`Connection::idle`] would give it back. Where it would not, the answer is the
    /// connection's last for a worker that waits for no client: HTTP/1.1 then says
    /// `Connection: close`.
    pub fn goes_back(&self) -> bool {
        match self.origin {
            ConnectionOrigin::Master(_) => self.link.gives_back(true),
            ConnectionOrigin::Listener => false,
        }
    }

    /// Whether this answer has to be the connection's last, although `after` is what shall become
    /// of it: this worker is to end, and nobody takes the connection up. HTTP/1.1 then says
    /// `Connection: close`.
    pub fn is_last(&self, after: After) -> bool {
        match after {
            After::Close => true,
            After::Idle => !self.goes_back() && self.is_leaving(),
            After::Pin => self.is_leaving(),
        }
    }

    /// Gives the connection back if that is wanted; else it is to be kept.
    pub(super) fn rest(self) -> Option<IdleConnection> {
        // Read once: an order that comes in between is for the next look.
        let leaving = self.is_leaving();
        let stays = self.give_back(leaving)?;
        // Who has asked already gets its answer. Others would ask for ever.
        if leaving && !socket::has_input(stays.as_fd()) {
            return None;
        }
        stays.keep(IdleStay::Loose)
    }

    /// As [`super::Worker::ask_to_leave`], for whoever is called with each connection.
    pub fn ask_to_leave(&self) {
        self.link.ask_to_leave();
    }

    fn is_leaving(&self) -> bool {
        self.link.order() != Order::Serve
    }

    /// The connection, to be kept until its next request.
    pub(super) fn keep(mut self, stay: IdleStay) -> Option<IdleConnection> {
        let stream = self.stream.take()?;
        let service_us = self.end_request();
        match (self.origin, stay) {
            (ConnectionOrigin::Master(ticket), IdleStay::Pinned) => {
                self.link.send(WorkerMessage::Pinned(ticket));
            }
            (ConnectionOrigin::Master(ticket), IdleStay::Loose)
                if self.credit == CreditUse::Holds =>
            {
                self.link.send(WorkerMessage::Done { ticket, service_us });
            }
            (
                ConnectionOrigin::Master(_) | ConnectionOrigin::Listener,
                IdleStay::Loose | IdleStay::Pinned,
            ) => {}
        }
        let (origin, listener, since) = (self.origin, self.listener, clock::monotonic());
        Some(IdleConnection { socket: stream.into(), origin, listener, stay, since })
    }

    /// Gives the connection back, or returns it where nobody takes it.
    fn give_back(mut self, leaving: bool) -> Option<Self> {
        let ConnectionOrigin::Master(ticket) = self.origin else { return Some(self) };
        if !self.link.gives_back(leaving) {
            return Some(self);
        }
        let stream = self.stream.take()?;
        let service_us = match (self.end_request(), self.credit) {
            (service_us, CreditUse::Holds) => service_us,
            (_, CreditUse::Free) => 0,
        };
        self.link.give_back(ticket, stream.into(), service_us);
        None
    }

    /// The request is answered. Returns how long it took, in microseconds: 1 at least.
    fn end_request(&mut self) -> u32 {
        let now = clock::monotonic();
        self.link.ended(now);
        micros(now.since(self.began_at)).max(1)
    }

    /// Where it came in: the position of the listener among dispatchd's.
    pub const fn listener(&self) -> ListenerId {
        self.listener
    }

    fn stream(&self) -> io::Result<&std::fs::File> {
        self.stream.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let service_us = self.end_request();
        let told = (self.credit == CreditUse::Holds).then_some(service_us);
        self.link.let_go(self.origin.ticket(), stream.into(), told);
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(end) = self.deadline else {
            let mut stream = self.stream()?;
            return uninterrupted(|| stream.read(buffer));
        };
        let read = until(end, self.stream()?, Way::In, |fd| socket::recv_into(fd, &mut *buffer));
        match read {
            // This process may have been stopped since it looked last.
            Err(error) if error.kind() == ErrorKind::TimedOut && !self.looked_again => {
                self.looked_again = true;
                let last = socket::recv_into(self.stream()?.as_fd(), buffer);
                last.map_err(|_| ErrorKind::TimedOut.into())
            }
            read => read,
        }
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream()?;
        match self.deadline {
            None => uninterrupted(|| stream.write(bytes)),
            Some(end) => until(end, stream, Way::Out, |fd| socket::send(fd, bytes)),
        }
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

/// Begins anew what a signal's handler has interrupted: after [`Connection::set_timeouts`] the
/// kernel does not, whatever the handler asks for.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Tries what does not wait until it goes, or the time is over. That is looked at first: somebody
/// who always has a byte ready is over his time as well.
fn until(
    deadline: Mono,
    stream: &impl AsFd,
    way: Way,
    mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
) -> io::Result<usize> {
    loop {
        let left = deadline.since(clock::monotonic());
        if left == Span::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        match attempt(stream.as_fd()) {
            Err(Errno(libc::EAGAIN)) => {
                socket::wait(stream.as_fd(), way, left).map_err(io_error)?;
            }
            outcome => return outcome.map_err(io_error),
        }
    }
}

fn span_of(patience: Duration) -> Span {
    Span::from_ns(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
}
