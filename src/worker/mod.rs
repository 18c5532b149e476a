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
//! It serves one connection at a time, so that whoever is slow keeps others out:
//! [`Connection::set_deadline`] bounds a request. And what is closed while its client is still
//! sending may take the answer with it: [`Connection::finish`] first.
//!
//! One whose protocol has several requests per connection gives the connection back after each
//! answer, instead of waiting for the next: `connection.idle()`. dispatchd waits for it, and offers
//! it to whoever is free, so that no request waits behind another connection's long one. The same
//! with a callback, where connections that nobody takes back are waited for beside the others:
//!
//! ```no_run
//! # use dispatchd::worker::{After, Connection, Worker};
//! # fn answer(connection: &mut Connection<'_>) -> std::io::Result<After> { Ok(After::Idle) }
//! # fn main() -> Result<(), dispatchd::worker::WorkerError> {
//! Worker::from_env()?.serve(|connection| answer(connection)) // one request; idle, pin or close
//! # }
//! ```
//!
//! A program with a loop of its own uses [`LinkEnd`] instead, as the built-in server does. What
//! HTTP/1.1 asks of a worker, `examples/http/mod.rs` shows.

mod adoption;
mod arrival;
mod connection;
mod copies;
#[cfg(test)]
pub(crate) mod fake_master;
mod idle;
mod intake;
mod link;
mod origin;
mod spin;

use std::fmt;
use std::io;

pub use self::connection::Connection;
use self::idle::IdleStay;
use self::intake::WorkerIntake;
pub use self::link::{Claimed, Delivery, LinkEnd, LinkError};
pub use crate::shm::layout::Order;
use crate::sys::errno::io_error;
use crate::units::{Cpu, Errno, Generation, SlotId};

/// A worker that serves one connection at a time, blocking.
#[derive(Debug)]
pub struct Worker {
    link: LinkEnd,
    intake: WorkerIntake,
}

/// What becomes of a connection when its request is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum After {
    /// It waits for its next request, which may be another worker's: nothing that its client has
    /// sent is left in a buffer, and nothing about it has to be remembered.
    Idle,
    /// It waits for its next request here, and nowhere else: what it needs is in this process (TLS,
    /// a WebSocket, a transaction). When its client leaves it comes once more, to read the end.
    Pin,
    /// It ends.
    Close,
}

/// Why a worker cannot go on.
#[derive(thiserror::Error)]
pub enum WorkerError {
    /// The link to the master is missing or broken.
    #[error(transparent)]
    Link(#[from] LinkError),
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
    /// Takes up the link that dispatchd left in the environment, raises the limit of open files as
    /// far as it goes, binds the process to its CPU, and says that it is ready. From then on
    /// SIGTERM is a request to leave, and SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN and SIGTTOU, which are
    /// meant for dispatchd itself, do nothing; each unless the program handles or ignores it
    /// already. What the program executes has them at their default.
    ///
    /// That succeeds once in a process. It belongs to the beginning of `main`: as long as there is
    /// one thread, the variable that tells of the link is taken away, so that no program which is
    /// started from here takes itself for a worker. Later it stays, and such a program is refused.
    ///
    /// # Errors
    /// When the program was not started by dispatchd, or by another version of it; when it has
    /// taken up its link before; when descriptors run out.
    pub fn from_env() -> Result<Self, WorkerError> {
        Self::builder().from_env()
    }

    /// [`Worker::from_env`] with something left out.
    pub const fn builder() -> Builder {
        Builder { raises_nofile: true }
    }

    /// The next connection; `None` when this worker shall end: it was told to, or its master is
    /// gone. Waits.
    ///
    /// # Errors
    /// When the link breaks.
    pub fn next_connection(&mut self) -> Result<Option<Connection<'_>>, WorkerError> {
        let arrival = self.intake.next(&mut self.link)?;
        Ok(arrival.map(|arrival| Connection::arrived(&mut self.link, arrival)))
    }

    /// Serves until this worker shall end: calls `answer` for each request, which reads it off the
    /// connection, answers it, and says what becomes of the connection afterwards. Where nobody
    /// takes a connection back (`--dispatch connection`, or `auto` at the moment) it stays here
    /// until its next request, and others are served meanwhile. An error of `answer` is the
    /// client's, and ends its connection.
    ///
    /// # Errors
    /// When the link breaks.
    pub fn serve(
        &mut self,
        mut answer: impl FnMut(&mut Connection<'_>) -> io::Result<After>,
    ) -> Result<(), WorkerError> {
        while let Some(arrival) = self.intake.next(&mut self.link)? {
            let mut connection = Connection::arrived(&mut self.link, arrival);
            let kept = match answer(&mut connection) {
                Ok(After::Idle) => connection.rest(),
                Ok(After::Pin) => connection.keep(IdleStay::Pinned),
                Ok(After::Close) | Err(_) => {
                    drop(connection);
                    None
                }
            };
            if let Some(kept) = kept {
                self.intake.keep(&mut self.link, kept).map_err(WorkerError::Wait)?;
            }
        }
        Ok(())
    }

    /// Asks for leave, so that this program is started anew, say after so many requests: dispatchd
    /// starts another worker, and when that is ready [`Worker::next_connection`] returns `None`
    /// here. Until then connections come as before. Who just ends, with exit code 0 between two
    /// connections, is replaced at once as well, but leaves its slot empty meanwhile.
    pub fn ask_to_leave(&self) {
        self.link.ask_to_leave();
    }

    /// Who this worker is.
    pub fn identity(&self) -> WorkerIdentity {
        WorkerIdentity::of(&self.link)
    }
}

/// What [`Worker::from_env`] does, and what of it is to be left out.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    raises_nofile: bool,
}

impl Builder {
    /// Keeps the soft limit of open files that dispatchd was started with, instead of raising it to
    /// the hard one: for programs that call `select`, which knows 1,024. It bounds the connections
    /// that this worker can have.
    #[must_use]
    pub const fn keep_nofile(self) -> Self {
        Self { raises_nofile: false }
    }

    /// As [`Worker::from_env`].
    ///
    /// # Errors
    /// The same.
    pub fn from_env(self) -> Result<Worker, WorkerError> {
        let mut link = LinkEnd::from_env()?;
        if self.raises_nofile {
            link.raise_nofile();
        }
        link.pin();
        let intake = WorkerIntake::new(&mut link).map_err(WorkerError::Wait)?;
        link.hello(1)?;
        Ok(Worker { link, intake })
    }
}

/// Who a worker is, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkerIdentity {
    /// Its place.
    pub slot: SlotId,
    /// Its process.
    pub pid: u32,
    /// The CPU that it is bound to, if any.
    pub cpu: Option<Cpu>,
    /// Its rollout.
    pub generation: Generation,
}

impl WorkerIdentity {
    /// Who this process is by its link.
    pub fn of(link: &LinkEnd) -> Self {
        let handshake = link.handshake();
        Self {
            slot: handshake.slot,
            pid: std::process::id(),
            cpu: link.cpu(),
            generation: handshake.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{Shutdown, TcpListener};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::fake_master::FakeMaster;
    use super::*;
    use crate::limits::MESSAGE_RING;
    use crate::sys::{clock, overheard};
    use crate::units::{GiveBack, Span, Ticket};
    use crate::wire::handshake::ListenerSharing;
    use crate::wire::message::WorkerMessage;

    fn client() -> (UnixStream, OwnedFd) {
        let (client, connection) = UnixStream::pair().unwrap();
        // An end that does not come fails the test.
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (client, connection.into())
    }

    #[test]
    fn a_blocking_worker_gives_a_connection_back_and_gets_it_again() {
        let (master, mut link) = FakeMaster::new(ListenerSharing::None, Vec::new());
        let intake = WorkerIntake::new(&mut link).unwrap();
        let mut worker = Worker { link, intake };
        let ticket = Ticket { index: 1, generation: 1 };
        let (mut served, copy) = client();
        master.offer(ticket, &copy);
        let connection = worker.next_connection().unwrap().unwrap();
        assert!(connection.idle().is_some_and(|kept| kept.listener().0 == 0), "nobody lends here");
        assert_eq!(master.board(), (1, 1, 0));
        master.heard();

        master.wants_back(GiveBack::WhenLeaving);
        let again = Ticket { index: 2, generation: 1 };
        let (mut lent, copy) = client();
        master.offer(again, &copy);
        for round in 0..2 {
            let mut connection = worker.next_connection().unwrap().unwrap();
            connection.write_all(b"hello").unwrap();
            assert!(connection.idle().is_none());
            lent.read_exact(&mut [0; 5]).unwrap();
            let messages = master.heard();
            let [WorkerMessage::Claimed { .. }, WorkerMessage::Idle { ticket, service_us }] =
                messages[..]
            else {
                panic!("{messages:?} in round {round}");
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
    fn a_request_ends_at_its_deadline_whatever_its_client_does() {
        let patience = Duration::from_millis(50);
        let late = |error: &io::Error| error.kind() == ErrorKind::TimedOut;
        let (master, mut worker) = worker();
        let (mut drips, copy) = client();
        master.offer(Ticket { index: 1, generation: 1 }, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        std::thread::scope(|scope| {
            // One byte after the other, without an end: each read gets something at once.
            let dripping = scope.spawn(move || while drips.write_all(b"x").is_ok() {});
            connection.set_deadline(patience);
            let began_at = clock::monotonic();
            let ended = std::iter::repeat_with(|| connection.read(&mut [0]))
                .take_while(|_| clock::monotonic().since(began_at) < Span::from_s(10))
                .find_map(Result::err);
            assert!(ended.as_ref().is_some_and(late), "{ended:?}");
            assert!(Span::from_ms(50) <= clock::monotonic().since(began_at));
            drop(copy);
            drop(connection);
            dripping.join().unwrap();
        });

        let (_silent, copy) = client();
        master.offer(Ticket { index: 2, generation: 1 }, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        // It is one for both directions.
        connection.set_deadline(patience);
        assert!(late(&connection.read(&mut [0]).unwrap_err()));
        assert!(late(&connection.write(b"x").unwrap_err()));
        connection.set_deadline(patience);
        connection.write_all(b"x").unwrap();
        assert!(late(&connection.write_all(&vec![0; 64 << 20]).unwrap_err()));
    }

    #[test]
    fn what_came_before_the_deadline_is_read_after_it_and_nothing_else() {
        let (master, mut worker) = worker();
        let (mut asks, copy) = client();
        master.offer(Ticket { index: 1, generation: 1 }, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.set_deadline(Duration::ZERO);
        asks.write_all(b"came in time").unwrap();
        assert_eq!(connection.read(&mut [0; 4]).unwrap(), 4);
        let late = connection.read(&mut [0; 4]).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_deadline_ends_with_its_request() {
        let (master, mut worker) = worker();
        let ((mut asks, copy), ticket) = (client(), Ticket { index: 1, generation: 1 });
        master.offer(ticket, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.set_deadline(Duration::ZERO);
        assert_eq!(connection.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(!connection.goes_back());
        let mut connection = connection.idle().expect("nobody takes it back");
        connection.write_all(b"once").unwrap();
        master.wants_back(GiveBack::Always);
        connection.set_deadline(Duration::ZERO);
        assert!(connection.goes_back());
        assert!(connection.idle().is_none());
        master.offer_again(ticket);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.write_all(b"more").unwrap();
        asks.read_exact(&mut [0; 8]).unwrap();
    }

    #[test]
    fn a_signal_that_is_handled_ends_no_read() {
        overheard::overhear();
        let (master, mut worker) = worker();
        let ((mut asks, copy), ticket) = (client(), Ticket { index: 1, generation: 1 });
        master.offer(ticket, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.set_timeouts(Duration::from_secs(60)).unwrap();
        let disturb = overheard::disturbance();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..20 {
                    disturb();
                    clock::sleep(Span::from_ms(2));
                }
                asks.write_all(b"x").unwrap();
            });
            assert_eq!(connection.read(&mut [0]).unwrap(), 1);
        });
    }

    #[test]
    fn who_is_sending_still_gets_the_answer_and_the_end() {
        let (master, mut worker) = worker();
        let ((mut asks, copy), ticket) = (client(), Ticket { index: 1, generation: 1 });
        master.offer(ticket, &copy);
        asks.write_all(&[b'x'; 10_000]).unwrap();
        asks.shutdown(Shutdown::Write).unwrap();
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.write_all(b"no").unwrap();
        connection.finish(Duration::from_secs(10));
        drop((connection, copy));
        let mut answer = String::new();
        asks.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "no");

        // Who does not end is not waited for for ever.
        let ((_stays, copy), ticket) = (client(), Ticket { index: 2, generation: 1 });
        master.offer(ticket, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.finish(Duration::from_millis(20));
    }

    /// What two clients ask of a worker that serves by callback, one after the other: who, and a
    /// byte, which is the answer too. `p` pins and `c` closes the connection, `o` has the master
    /// offer the second one again, and `q` has it tell the worker to leave. Returns what the worker
    /// has said.
    fn served(gives: GiveBack, script: &'static [(usize, u8)]) -> Vec<WorkerMessage> {
        let (master, mut link) = FakeMaster::new(ListenerSharing::None, Vec::new());
        master.wants_back(gives);
        let tickets = [0, 1].map(|index| Ticket { index, generation: 1 });
        let (mut clients, copies): (Vec<_>, Vec<_>) = tickets.map(|_| client()).into_iter().unzip();
        for (ticket, copy) in tickets.iter().zip(&copies) {
            master.offer(*ticket, copy);
        }
        let intake = WorkerIntake::new(&mut link).unwrap();
        let mut worker = Worker { link, intake };
        let clients = std::thread::scope(|scope| {
            let asking = scope.spawn(move || {
                for (who, byte) in script {
                    clients[*who].write_all(&[*byte]).unwrap();
                    let mut answer = [0];
                    clients[*who].read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [*byte]);
                }
                clients
            });
            let ended = worker.serve(|connection| {
                let mut byte = [0];
                connection.read_exact(&mut byte)?;
                match byte {
                    [b'o'] => master.offer_again(tickets[1]),
                    [b'q'] => master.drain(),
                    _ => {}
                }
                connection.write_all(&byte)?;
                Ok(match byte {
                    [b'p' | b'o'] => After::Pin,
                    [b'c'] => After::Close,
                    _ => After::Idle,
                })
            });
            ended.unwrap();
            asking.join().unwrap()
        });
        let messages = master.heard();
        drop((clients, copies));
        messages
    }

    fn count(messages: &[WorkerMessage], wanted: impl Fn(&WorkerMessage) -> bool) -> usize {
        messages.iter().filter(|message| wanted(message)).count()
    }

    #[test]
    fn connections_that_nobody_takes_back_are_served_beside_each_other() {
        let script = &[(0, b'a'), (1, b'a'), (0, b'b'), (1, b'b'), (0, b'c'), (1, b'q')];
        let messages = served(GiveBack::Never, script);
        assert_eq!(
            count(&messages, |message| matches!(message, WorkerMessage::Done { .. })),
            2,
            "once for each"
        );
        assert_eq!(count(&messages, |message| matches!(message, WorkerMessage::Closed(_))), 2);
    }

    /// A worker that serves by callback, and its master, under which nobody takes connections back.
    fn worker() -> (FakeMaster, Worker) {
        let (master, mut link) = FakeMaster::new(ListenerSharing::None, Vec::new());
        master.wants_back(GiveBack::Never);
        let intake = WorkerIntake::new(&mut link).unwrap();
        (master, Worker { link, intake })
    }

    #[test]
    fn those_that_are_kept_do_not_keep_others_out_however_busy_they_are() {
        let (master, mut worker) = worker();
        // More than are served in one turn, each with more to ask than is answered here.
        let tickets = (0..70).map(|index| Ticket { index, generation: 1 });
        let busy: Vec<_> = tickets.map(|ticket| (ticket, client())).collect();
        for (ticket, (client, copy)) in &busy {
            (&*client).write_all(&[b'a'; 100]).unwrap();
            master.offer(*ticket, copy);
        }
        let ((other, copy), ticket) = (client(), Ticket { index: 70, generation: 1 });
        (&other).write_all(b"z").unwrap();
        let (mut requests, mut came_at) = (0, None);
        let ended = worker.serve(|connection| {
            requests += 1;
            if requests == 300 {
                master.offer(ticket, &copy);
            }
            let mut byte = [0];
            connection.read_exact(&mut byte)?;
            if byte == *b"z" {
                came_at = Some(requests);
                master.drain();
            }
            let over = came_at.is_some() || 2_000 < requests;
            Ok(if over { After::Close } else { After::Idle })
        });
        ended.unwrap();
        assert!(came_at.is_some_and(|at| at < 310), "offered at 300, served at {came_at:?}");
    }

    #[test]
    fn who_leaves_answers_what_was_asked_and_nothing_more() {
        let (master, mut worker) = worker();
        let clients = [0, 1].map(|index| (Ticket { index, generation: 1 }, client()));
        for (ticket, (client, copy)) in &clients {
            (&*client).write_all(&ticket.index.to_le_bytes()[..1]).unwrap();
            master.offer(*ticket, copy);
        }
        let mut requests = 0;
        let ended = worker.serve(|connection| {
            let mut who = [0];
            connection.read_exact(&mut who)?;
            requests += 1;
            if requests == 10 {
                master.drain();
            }
            let leaving = 10 <= requests;
            assert_eq!(connection.is_last(After::Idle), leaving);
            assert!(requests < 100, "it would be kept for ever");
            // While one is served the other asks again, if it still can.
            let other = 1 - who[0];
            let _gone = (&clients[usize::from(other)].1.0).write_all(&[other]);
            Ok(After::Idle)
        });
        ended.unwrap();
        assert!((10..20).contains(&requests), "{requests}");
        assert_eq!(
            count(&master.heard(), |message| matches!(message, WorkerMessage::Closed(_))),
            2
        );
    }

    #[test]
    fn who_leaves_has_said_everything_before() {
        let (master, link) = FakeMaster::apart(ListenerSharing::None, Vec::new());
        master.drain();
        std::thread::scope(|scope| {
            let leaving = scope.spawn(|| {
                let mut link = link();
                let lost = Ticket { index: 9, generation: 1 };
                (0..=MESSAGE_RING).for_each(|_| link.send(WorkerMessage::Missed(lost)));
                let intake = WorkerIntake::new(&mut link).unwrap();
                Worker { link, intake }.next_connection().unwrap().is_none()
            });
            while !master.sees_nap() {
                assert!(!leaving.is_finished(), "one word has not been said");
                std::thread::yield_now();
            }
            let mut heard = 0;
            while heard <= MESSAGE_RING {
                heard += master.heard().len();
            }
            assert!(leaving.join().unwrap());
        });
    }

    #[test]
    fn a_client_that_leaves_between_two_requests_is_no_request() {
        let (master, mut worker) = worker();
        let clients = [0, 1].map(|index| (Ticket { index, generation: 1 }, client()));
        for (ticket, (client, copy)) in &clients {
            (&*client).write_all(b"a").unwrap();
            master.offer(*ticket, copy);
        }
        let [(_, (first, copy)), (_, (second, other_copy))] = clients;
        let mut gone = Some((first, copy));
        let mut requests = 0;
        let ended = worker.serve(|connection| {
            requests += 1;
            connection.read_exact(&mut [0])?;
            match requests {
                1 => {}
                2 => {
                    gone = None;
                    (&second).write_all(b"a").unwrap();
                }
                _ => master.drain(),
            }
            Ok(After::Idle)
        });
        ended.unwrap();
        assert_eq!((requests, master.board()), (3, (3, 3, 0)));
        drop((gone, second, other_copy));
    }

    #[test]
    fn who_leaves_gives_back_what_it_has_kept() {
        let messages = served(GiveBack::WhenLeaving, &[(0, b'a'), (1, b'b'), (0, b'a'), (1, b'q')]);
        assert_eq!(
            count(&messages, |message| matches!(
                message,
                WorkerMessage::Idle { service_us: 0, .. }
            )),
            2
        );
        assert_eq!(count(&messages, |message| matches!(message, WorkerMessage::Closed(_))), 0);
    }

    #[test]
    fn what_is_pinned_stays_and_takes_its_credit_up_for_each_request() {
        let script = &[(0, b'p'), (1, b'a'), (0, b'o'), (1, b'q'), (0, b'c')];
        let messages = served(GiveBack::Always, script);
        let [
            WorkerMessage::Claimed { .. },
            WorkerMessage::Pinned(pinned),
            WorkerMessage::Claimed { .. },
            WorkerMessage::Idle { ticket: other, .. },
            WorkerMessage::Resumed(resumed),
            WorkerMessage::Pinned(_),
            WorkerMessage::Claimed { .. },
            WorkerMessage::Idle { .. },
            WorkerMessage::Resumed(_),
            WorkerMessage::Done { .. },
            WorkerMessage::Closed(closed),
        ] = messages[..]
        else {
            panic!("{messages:?}")
        };
        assert_eq!((pinned, pinned, pinned.index), (resumed, closed, 0));
        assert_eq!(other.index, 1);
    }

    #[test]
    fn listeners_and_their_copies_take_room_from_connections() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap().into();
        let [without, with] = [Vec::new(), vec![listener(), listener()]].map(|listeners| {
            let (master, mut link) = FakeMaster::new(ListenerSharing::Shared, listeners);
            link.raise_nofile();
            link.hello(1).unwrap();
            master.connections_max()
        });
        assert_eq!(without - with, 4);
    }

    #[test]
    fn a_blocking_worker_leaves_alone_what_was_taken_back() {
        let (master, mut link) = FakeMaster::new(ListenerSharing::None, Vec::new());
        let intake = WorkerIntake::new(&mut link).unwrap();
        let mut worker = Worker { link, intake };
        let [gone, ours] = [1, 2].map(|index| Ticket { index, generation: 1 });
        let ((mut another, kept), (mut served, copy)) = (client(), client());
        master.offer(gone, &kept);
        assert!(master.recall(gone));
        master.offer(ours, &copy);
        let mut connection = worker.next_connection().unwrap().unwrap();
        connection.write_all(b"hello").unwrap();
        drop(connection);
        let mut heard = master.heard().into_iter();
        assert_eq!(heard.next(), Some(WorkerMessage::Missed(gone)));
        assert!(
            matches!(heard.next(), Some(WorkerMessage::Claimed { ticket, .. }) if ticket == ours)
        );
        // The end reaches the client although the master has a copy, and only this one.
        let mut answer = String::new();
        served.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        UnixStream::from(kept).write_all(b"!").unwrap();
        another.read_exact(&mut [0]).unwrap();
    }
}
