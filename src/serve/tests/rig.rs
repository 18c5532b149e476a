//! A worker, its master and the time, in the hands of a test.

use super::*;

/// A worker, its master and the time.
pub(super) struct Rig<B> {
    pub(super) server: Server<B>,
    pub(super) master: Option<FakeMaster>,
    pub(super) jumped: Span,
    pub(super) tickets: u32,
    pub(super) flow: TurnFlow,
}

impl<B: Backend<Fd = OwnedFd>> Rig<B> {
    pub(super) fn new(backend: B) -> Self {
        Self::with_listeners(backend, ListenerSharing::None, Vec::new())
    }

    pub(super) fn with_listeners(
        backend: B,
        sharing: ListenerSharing,
        listeners: Vec<OwnedFd>,
    ) -> Self {
        let (master, link) = FakeMaster::new(sharing, listeners);
        let server = Server::new(backend, link, Strength::FULL).unwrap();
        let master = Some(master);
        Self { server, master, jumped: Span::ZERO, tickets: 0, flow: TurnFlow::Continue }
    }

    pub(super) fn master(&self) -> &FakeMaster {
        self.master.as_ref().unwrap()
    }

    pub(super) fn heard(&self) -> Vec<WorkerMessage> {
        self.master().heard()
    }

    pub(super) fn now(&self) -> Mono {
        clock::monotonic().after(self.jumped)
    }

    pub(super) fn jump(&mut self, span: Span) {
        self.turn();
        self.jumped = Span::from_ns(self.jumped.as_ns() + span.as_ns());
    }

    /// A client whose connection is offered to the worker.
    pub(super) fn client(&mut self) -> (UnixStream, Ticket) {
        let (client, connection) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let ticket = self.next_ticket();
        self.master().offer(ticket, &connection.into());
        (client, ticket)
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket { index: self.tickets, generation: 1 }
    }

    /// A client that has sent something, which the worker has taken up.
    pub(super) fn client_that_sent(&mut self, bytes: &[u8]) -> (UnixStream, Ticket) {
        let (mut client, ticket) = self.client();
        client.write_all(bytes).unwrap();
        self.settle();
        (client, ticket)
    }

    pub(super) fn turn(&mut self) {
        let now = self.now();
        self.flow = self.server.turn(now).unwrap();
        if self.flow == TurnFlow::Continue {
            let short = Span::from_ms(1);
            let timeout = self.server.timeout(now).map_or(short, |timeout| timeout.min(short));
            self.server.unsubmitted = false;
            self.server.backend.wait(Some(timeout), &mut self.server.completions).unwrap();
        }
    }

    /// Turns until there is nothing to do.
    pub(super) fn settle(&mut self) {
        let end = clock::monotonic().after(PATIENCE);
        let mut quiet = 0;
        while quiet < 3 && self.flow == TurnFlow::Continue {
            assert!(clock::monotonic() < end, "the worker does not come to rest");
            self.turn();
            quiet = if self.server.completions.is_empty() { quiet + 1 } else { 0 };
        }
    }

    /// Turns until `done`.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = clock::monotonic().after(PATIENCE);
        while !done(self) {
            assert!(clock::monotonic() < end, "{what} did not happen");
            assert_eq!(self.flow, TurnFlow::Continue, "the worker ended before: {what}");
            self.turn();
        }
    }

    /// Turns until the client has read something that ends so.
    pub(super) fn read_until(&mut self, client: &mut impl Read, end: &[u8]) -> String {
        let mut got = Vec::new();
        self.until("the expected answer", |_| {
            read_some(client, &mut got);
            got.ends_with(end)
        });
        String::from_utf8(got).unwrap()
    }

    /// Turns until the client has read the end of the stream. Returns what came before.
    pub(super) fn read_to_end(&mut self, client: &mut impl Read) -> String {
        let end = clock::monotonic().after(PATIENCE);
        let mut got = Vec::new();
        let mut ended = false;
        while !ended {
            assert!(clock::monotonic() < end, "the stream does not end");
            if self.flow == TurnFlow::Continue {
                self.turn();
            }
            ended = read_some(client, &mut got);
        }
        String::from_utf8(got).unwrap()
    }

    /// Takes up so many completions in one turn, and does not carry out what it submits.
    pub(super) fn one_turn_with(&mut self, completions: usize) {
        let end = clock::monotonic().after(PATIENCE);
        while self.server.completions.len() < completions {
            assert!(clock::monotonic() < end, "nothing comes");
            self.server.backend.wait(Some(Span::ZERO), &mut self.server.completions).unwrap();
        }
        let now = self.now();
        self.flow = self.server.turn(now).unwrap();
    }

    /// Turns until the worker ends.
    pub(super) fn end(&mut self) {
        let end = clock::monotonic().after(PATIENCE);
        while self.flow == TurnFlow::Continue {
            assert!(clock::monotonic() < end, "the worker does not end");
            self.turn();
        }
        self.server.backend.quiesce(&mut self.server.completions).unwrap();
    }
}

/// Reads what there is. Tells whether the stream has ended.
pub(super) fn read_some(client: &mut impl Read, got: &mut Vec<u8>) -> bool {
    let mut room = [0; 65_536];
    loop {
        match client.read(&mut room) {
            Ok(0) => return true,
            Ok(count) => got.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the client gets {error}"),
        }
    }
}

pub(super) fn greetings(text: &str) -> usize {
    text.matches("\r\n\r\nhello from worker 3 ").count()
}

/// The master keeps a copy of what it may offer again.
pub(super) fn lent<B: Backend<Fd = OwnedFd>>(rig: &mut Rig<B>) -> (UnixStream, OwnedFd, Ticket) {
    let (client, connection) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let (kept, ticket) = (OwnedFd::from(connection), rig.next_ticket());
    rig.master().offer(ticket, &kept);
    (client, kept, ticket)
}
