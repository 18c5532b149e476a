//! The built-in worker against real sockets, on both backends, with a master that is part of the
//! test and a clock that jumps.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::server::{Flow, Server};
use super::strength::Strength;
use crate::io::Backend;
use crate::io::epoll::Epoll;
use crate::io::uring::Uring;
use crate::limits::{
    CLAIMS_PER_TURN, HTTP_BODY_MAX, HTTP_DRAIN_IDLE, HTTP_IDLE_TIMEOUT, HTTP_REQUEST_TIMEOUT,
    HTTP_WRITE_TIMEOUT, QUICK_STREAK,
};
use crate::sys::socket::{self, Endpoint, ListenOptions};
use crate::sys::{clock, fd};
use crate::units::{GiveBack, Mono, Span, Ticket};
use crate::wire::errand::Errand;
use crate::wire::link::Sharing;
use crate::wire::token::Say;
use crate::worker::fake_master::FakeMaster;

macro_rules! on_both_backends {
    ($($name:ident)*) => {
        mod on_epoll {
            $(#[test] fn $name() { super::$name(super::Epoll::new().unwrap()); })*
        }
        mod on_uring {
            $(#[test] fn $name() {
                // Where the ring is forbidden there is nothing to test.
                if let Ok(ring) = super::Uring::new() { super::$name(ring); }
            })*
        }
    };
}

mod refusals;

on_both_backends! {
    requests_on_one_connection_are_answered_in_order
    head_and_close_are_honoured
    the_credit_goes_back_after_the_answer
    a_slow_client_gives_the_credit_back_meanwhile
    a_silent_client_gives_the_credit_back_at_once
    one_connection_is_taken_at_a_time
    many_slow_clients_do_not_delay_a_neighbour
    a_slow_reader_does_not_delay_a_neighbour
    who_does_not_take_its_answer_holds_no_credit
    a_request_that_takes_too_long_is_told_so
    a_refusal_reaches_a_client_that_still_sends
    an_idle_connection_is_closed_quietly
    a_client_that_takes_nothing_is_let_go
    waits_run_side_by_side
    earlier_answers_leave_before_a_slow_request_begins
    draining_answers_what_comes_and_ends
    draining_takes_what_the_channel_holds
    an_order_that_comes_in_the_middle_of_a_turn_is_seen
    a_dead_master_ends_the_worker_after_its_work
    a_connection_ends_for_the_client_though_the_master_has_a_copy
    what_was_taken_back_is_not_touched
    own_listeners_are_accepted_from_until_the_drain
    a_connection_goes_back_after_each_answer_and_comes_again_by_its_name
    what_is_half_read_or_still_leaving_does_not_go_back
    what_is_given_back_belongs_to_another_until_it_is_claimed_again
    a_worker_that_leaves_gives_its_idle_connections_back
    quick_requests_are_taken_up_together
    a_forgotten_connection_is_closed_here_and_nowhere_else
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PATIENCE: Span = Span::from_s(10);

/// A worker, its master and the time.
struct Rig<B> {
    server: Server<B>,
    master: Option<FakeMaster>,
    jumped: Span,
    tickets: u32,
    flow: Flow,
}

impl<B: Backend<Fd = OwnedFd>> Rig<B> {
    fn new(backend: B) -> Self {
        Self::with_listeners(backend, Sharing::None, Vec::new())
    }

    fn with_listeners(backend: B, sharing: Sharing, listeners: Vec<OwnedFd>) -> Self {
        let (master, link) = FakeMaster::new(sharing, listeners);
        let server = Server::new(backend, link, Strength::FULL).unwrap();
        let master = Some(master);
        Self { server, master, jumped: Span::ZERO, tickets: 0, flow: Flow::Continue }
    }

    fn master(&self) -> &FakeMaster {
        self.master.as_ref().unwrap()
    }

    fn heard(&self) -> Vec<Say> {
        self.master().heard()
    }

    fn now(&self) -> Mono {
        clock::monotonic().after(self.jumped)
    }

    fn jump(&mut self, span: Span) {
        self.turn();
        self.jumped = Span::from_ns(self.jumped.as_ns() + span.as_ns());
    }

    /// A client whose connection is offered to the worker.
    fn client(&mut self) -> (UnixStream, Ticket) {
        let (client, connection) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let ticket = self.next_ticket();
        self.master().offer(ticket, &connection.into());
        (client, ticket)
    }

    fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket { slot: self.tickets, generation: 1 }
    }

    /// A client that has sent something, which the worker has taken up.
    fn client_that_sent(&mut self, bytes: &[u8]) -> (UnixStream, Ticket) {
        let (mut client, ticket) = self.client();
        client.write_all(bytes).unwrap();
        self.settle();
        (client, ticket)
    }

    fn turn(&mut self) {
        let now = self.now();
        self.flow = self.server.turn(now).unwrap();
        if self.flow == Flow::Continue {
            let short = Span::from_ms(1);
            let timeout = self.server.timeout(now).map_or(short, |timeout| timeout.min(short));
            self.server.unsubmitted = false;
            self.server.backend.wait(Some(timeout), &mut self.server.completions).unwrap();
        }
    }

    /// Turns until there is nothing to do.
    fn settle(&mut self) {
        let end = clock::monotonic().after(PATIENCE);
        let mut quiet = 0;
        while quiet < 3 && self.flow == Flow::Continue {
            assert!(clock::monotonic() < end, "the worker does not come to rest");
            self.turn();
            quiet = if self.server.completions.is_empty() { quiet + 1 } else { 0 };
        }
    }

    /// Turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = clock::monotonic().after(PATIENCE);
        while !done(self) {
            assert!(clock::monotonic() < end, "{what} did not happen");
            assert_eq!(self.flow, Flow::Continue, "the worker ended before: {what}");
            self.turn();
        }
    }

    /// Turns until the client has read something that ends so.
    fn read_until(&mut self, client: &mut impl Read, end: &[u8]) -> String {
        let mut got = Vec::new();
        self.until("the expected answer", |_| {
            read_some(client, &mut got);
            got.ends_with(end)
        });
        String::from_utf8(got).unwrap()
    }

    /// Turns until the client has read the end of the stream. Returns what came before.
    fn read_to_end(&mut self, client: &mut impl Read) -> String {
        let end = clock::monotonic().after(PATIENCE);
        let mut got = Vec::new();
        let mut ended = false;
        while !ended {
            assert!(clock::monotonic() < end, "the stream does not end");
            if self.flow == Flow::Continue {
                self.turn();
            }
            ended = read_some(client, &mut got);
        }
        String::from_utf8(got).unwrap()
    }

    /// Takes up so many completions in one turn, and does not carry out what it submits.
    fn one_turn_with(&mut self, completions: usize) {
        let end = clock::monotonic().after(PATIENCE);
        while self.server.completions.len() < completions {
            assert!(clock::monotonic() < end, "nothing comes");
            self.server.backend.wait(Some(Span::ZERO), &mut self.server.completions).unwrap();
        }
        let now = self.now();
        self.flow = self.server.turn(now).unwrap();
    }

    /// Turns until the worker ends.
    fn end(&mut self) {
        let end = clock::monotonic().after(PATIENCE);
        while self.flow == Flow::Continue {
            assert!(clock::monotonic() < end, "the worker does not end");
            self.turn();
        }
        self.server.backend.quiesce(&mut self.server.completions).unwrap();
    }
}

/// Reads what there is. Tells whether the stream has ended.
fn read_some(client: &mut impl Read, got: &mut Vec<u8>) -> bool {
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

fn greetings(text: &str) -> usize {
    text.matches("\r\n\r\nhello from worker 3 ").count()
}

fn requests_on_one_connection_are_answered_in_order(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, _) = rig.client_that_sent(GET);
    assert_eq!(greetings(&rig.read_until(&mut client, b")\n")), 1);
    client.write_all(GET).unwrap();
    assert_eq!(greetings(&rig.read_until(&mut client, b")\n")), 1);

    let echo = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let healthz = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let burn = b"GET /burn?ms=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(&[GET, echo, burn, healthz].concat()).unwrap();
    let text = rig.read_until(&mut client, b"\r\n\r\nok\n");
    let places: Vec<_> =
        ["hello", "abc", "burn", "\nok\n"].iter().map(|part| text.find(part).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(rig.master().board(), (6, 6, 1));

    client.write_all(&GET.repeat(300)).unwrap();
    let mut got = Vec::new();
    rig.until("three hundred answers", |_| {
        read_some(&mut client, &mut got);
        greetings(&String::from_utf8_lossy(&got)) == 300
    });
}

fn head_and_close_are_honoured(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let head = b"HEAD /whoami HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, _) = rig.client_that_sent(head);
    assert!(rig.read_until(&mut client, b"\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(CLOSE).unwrap();
    let text = rig.read_to_end(&mut client);
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(rig.master().board(), (2, 2, 0));
}

fn the_credit_goes_back_after_the_answer(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, ticket) = rig.client_that_sent(GET);
    let says = rig.heard();
    assert!(matches!(says[0], Say::Claimed { ticket: claimed, .. } if claimed == ticket));
    assert!(matches!(says[1], Say::Done { ticket: done, .. } if done == ticket));
    assert_eq!(says.len(), 2);
    client.write_all(CLOSE).unwrap();
    rig.read_to_end(&mut client);
    rig.settle();
    assert_eq!(rig.heard(), [Say::Closed(ticket)]);

    let (client, ticket) =
        rig.client_that_sent(b"GET /bytes?n=9000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Claimed { .. }, Say::Waiting(_)]), "most of it is not out");
    drop(client);
    rig.settle();
    assert_eq!(rig.heard(), [Say::Closed(ticket)]);
}

fn a_slow_client_gives_the_credit_back_meanwhile(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, ticket) = rig.client_that_sent(&GET[..9]);
    assert!(
        matches!(rig.heard()[..], [Say::Claimed { .. }, Say::Waiting(waits)] if waits == ticket)
    );
    client.write_all(&GET[9..12]).unwrap();
    rig.settle();
    assert_eq!(rig.heard(), []);
    client.write_all(&GET[12..]).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Resumed(resumed), Say::Done { .. }] if resumed == ticket));
}

fn a_silent_client_gives_the_credit_back_at_once(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut silent, ticket) = rig.client_that_sent(b"");
    assert!(
        matches!(rig.heard()[..], [Say::Claimed { .. }, Say::Waiting(waits)] if waits == ticket)
    );
    let (mut client, _) = rig.client_that_sent(GET);
    rig.read_until(&mut client, b")\n");
    silent.write_all(b"\r\n").unwrap();
    rig.settle();
    silent.write_all(GET).unwrap();
    rig.read_until(&mut silent, b")\n");
}

fn one_connection_is_taken_at_a_time(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    let claims =
        |says: Vec<Say>| says.iter().filter(|say| matches!(say, Say::Claimed { .. })).count();
    let mut claimed = 0;
    for turn in 0..100 {
        let now = rig.now();
        rig.server.turn(now).unwrap();
        let fresh = claims(rig.heard());
        assert!(fresh <= 1, "{fresh} in turn {turn}");
        claimed += fresh;
        let completions = &mut rig.server.completions;
        rig.server.backend.wait(Some(Span::ZERO), completions).unwrap();
    }
    assert_eq!(claimed, clients.len());
}

fn many_slow_clients_do_not_delay_a_neighbour(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let mut slow = Vec::new();
    for _ in 0..300 {
        slow.push(rig.client_that_sent(b"G").0);
    }
    let (mut neighbour, _) = rig.client_that_sent(GET);
    rig.read_until(&mut neighbour, b")\n");
    let start = clock::monotonic();
    for byte in &GET[1..] {
        for client in &mut slow {
            client.write_all(&[*byte]).unwrap();
        }
        neighbour.write_all(GET).unwrap();
        rig.read_until(&mut neighbour, b")\n");
    }
    assert!(clock::monotonic().since(start) < Span::from_s(10));
    for client in &mut slow {
        rig.read_until(client, b")\n");
    }
}

fn a_slow_reader_does_not_delay_a_neighbour(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut reader, ticket) =
        rig.client_that_sent(b"GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut neighbour, _) = rig.client_that_sent(GET);
    rig.read_until(&mut neighbour, b")\n");
    rig.heard();
    let mut got = Vec::new();
    rig.until("the whole answer", |_| {
        read_some(&mut reader, &mut got);
        3_000_000 <= got.len()
            && got.ends_with(b"x")
            && got.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4 + 3_000_000
                == got.len()
    });
    rig.settle();
    assert!(matches!(rig.heard()[..], [Say::Done { ticket: done, .. }] if done == ticket));
    reader.write_all(GET).unwrap();
    rig.read_until(&mut reader, b")\n");
}

fn who_does_not_take_its_answer_holds_no_credit(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut reader, ticket) =
        rig.client_that_sent(b"GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let says = rig.heard();
    assert!(
        matches!(says[..], [Say::Claimed { .. }, Say::Waiting(waits)] if waits == ticket),
        "{says:?}"
    );
    let mut got = Vec::new();
    rig.until("the whole answer", |_| {
        read_some(&mut reader, &mut got);
        3_000_000 < got.len()
    });
    rig.settle();
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Done { ticket: done, .. }] if done == ticket), "{says:?}");
    // It is a connection like any other.
    reader.write_all(GET).unwrap();
    rig.read_until(&mut reader, b")\n");
}

fn a_request_that_takes_too_long_is_told_so(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, ticket) = rig.client_that_sent(&GET[..5]);
    rig.jump(Span::from_ns(HTTP_REQUEST_TIMEOUT.as_ns() - Span::from_s(1).as_ns()));
    client.write_all(&GET[5..9]).unwrap();
    rig.settle();
    assert!(!read_some(&mut client, &mut Vec::new()), "it is not over yet");
    rig.jump(Span::from_s(1));
    let text = rig.read_to_end(&mut client);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    drop(client);
    rig.settle();
    let says = rig.heard();
    assert!(matches!(says[1..], [Say::Waiting(_), Say::Closed(closed)] if closed == ticket));
}

fn a_refusal_reaches_a_client_that_still_sends(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let length = HTTP_BODY_MAX + 1;
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let (mut client, ticket) = rig.client_that_sent(head.as_bytes());
    let body = vec![b'x'; length];
    let mut sent = 0;
    rig.until("sending of the body", |_| {
        match client.write(&body[sent..]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        sent == length
    });
    let text = rig.read_to_end(&mut client);
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert_eq!(rig.master().board().2, 1, "it is open until the client has ended, too");
    drop(client);
    rig.settle();
    assert_eq!(rig.heard().last(), Some(&Say::Closed(ticket)));
}

fn an_idle_connection_is_closed_quietly(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, _) = rig.client_that_sent(GET);
    let (mut blank, _) = rig.client_that_sent(&[GET, b"\r\n"].concat());
    let (mut late, _) = rig.client_that_sent(GET);
    rig.read_until(&mut client, b")\n");
    rig.read_until(&mut blank, b")\n");
    rig.read_until(&mut late, b")\n");
    rig.jump(HTTP_IDLE_TIMEOUT);
    late.write_all(GET).unwrap();
    assert_eq!(rig.read_to_end(&mut client), "");
    assert_eq!(rig.read_to_end(&mut blank), "");
    rig.read_until(&mut late, b")\n");
}

fn a_client_that_takes_nothing_is_let_go(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, ticket) =
        rig.client_that_sent(b"GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.jump(HTTP_WRITE_TIMEOUT);
    rig.settle();
    assert_eq!(rig.heard().last(), Some(&Say::Closed(ticket)));
    let mut got = Vec::new();
    assert!(read_some(&mut client, &mut got) && got.len() < 3_000_000);
}

fn waits_run_side_by_side(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let wait = b"GET /wait?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<_> = (0..3).map(|_| rig.client_that_sent(wait).0).collect();
    let (mut neighbour, _) = rig.client_that_sent(GET);
    rig.read_until(&mut neighbour, b")\n");
    assert_eq!(rig.master().board(), (4, 1, 4));
    rig.jump(Span::from_s(20));
    for client in &mut clients {
        assert!(rig.read_until(client, b"}\n").contains("\"did\":\"wait\""));
    }
    assert_eq!(rig.master().board(), (4, 4, 4));
}

fn earlier_answers_leave_before_a_slow_request_begins(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut quick, _) = rig.client_that_sent(GET);
    let (mut slow, _) = rig.client_that_sent(GET);
    rig.read_until(&mut quick, b")\n");
    rig.read_until(&mut slow, b")\n");
    quick.write_all(GET).unwrap();
    slow.write_all(&[b"GET /sleep?ms=1 HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat()).unwrap();
    rig.one_turn_with(2);
    assert_eq!(rig.master().board().0, 4, "both began in this turn");
    let mut got = Vec::new();
    read_some(&mut quick, &mut got);
    assert_eq!(greetings(&String::from_utf8_lossy(&got)), 1);
    assert_eq!(greetings(&rig.read_until(&mut slow, b")\n")), 1);

    // On one connection, too.
    rig.settle();
    quick.write_all(&[GET, b"GET /sleep?ms=1 HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).unwrap();
    rig.one_turn_with(1);
    assert_eq!(rig.master().board().0, 6, "the slow one has not begun");
    assert_eq!(greetings(&rig.read_until(&mut quick, b"}\n")), 1);
}

fn draining_answers_what_comes_and_ends(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut asks, _) = rig.client_that_sent(GET);
    let (mut idle, _) = rig.client_that_sent(GET);
    rig.read_until(&mut asks, b")\n");
    rig.read_until(&mut idle, b")\n");
    rig.master().drain();
    rig.settle();
    asks.write_all(GET).unwrap();
    let text = rig.read_to_end(&mut asks);
    assert!(greetings(&text) == 1 && text.contains("Connection: close"), "{text}");
    drop(asks);
    rig.settle();
    assert_eq!((rig.flow, rig.master().board().2), (Flow::Continue, 1));
    rig.jump(HTTP_DRAIN_IDLE);
    assert_eq!(rig.read_to_end(&mut idle), "");
    rig.end();
    assert_eq!(rig.master().board(), (3, 3, 0));
}

fn an_order_that_comes_in_the_middle_of_a_turn_is_seen(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    // The wake-up by itself, and one that is read on the way to something else: the order may be
    // newer than the look at it with which the turn began.
    for errand in [None, Some(Errand::Forget(Ticket { slot: 9, generation: 1 }))] {
        rig.settle();
        rig.master().look();
        match errand {
            Some(errand) => rig.master().errand(errand),
            None => rig.until("it is woken", |rig| !rig.server.completions.is_empty()),
        }
        let now = rig.now();
        rig.server.turn(now).unwrap();
        assert_eq!(rig.server.timeout(now), Some(Span::ZERO), "it would sleep: {errand:?}");
    }
}

fn draining_takes_what_the_channel_holds(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    // The order is seen before the bell that the offers ring.
    rig.settle();
    let mut clients: Vec<_> = (0..5)
        .map(|_| {
            let (mut client, _) = rig.client();
            client.write_all(GET).unwrap();
            client
        })
        .collect();
    rig.master().drain();
    for client in &mut clients {
        assert_eq!(greetings(&rig.read_to_end(client)), 1);
    }
    drop(clients);
    rig.end();
}

fn a_dead_master_ends_the_worker_after_its_work(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let wait = b"GET /wait?ms=5000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, _) = rig.client_that_sent(wait);
    rig.master = None;
    rig.settle();
    assert_eq!(rig.flow, Flow::Continue);
    rig.jump(Span::from_s(5));
    assert!(rig.read_to_end(&mut client).ends_with("}\n"));
    drop(client);
    rig.end();
}

fn a_connection_ends_for_the_client_though_the_master_has_a_copy(
    backend: impl Backend<Fd = OwnedFd>,
) {
    let mut rig = Rig::new(backend);
    let (mut client, connection) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let kept = OwnedFd::from(connection);
    let ticket = rig.next_ticket();
    rig.master().offer(ticket, &kept);
    client.write_all(CLOSE).unwrap();
    assert_eq!(greetings(&rig.read_to_end(&mut client)), 1);
    assert!(socket::poll_ready_now(kept.as_fd()).is_some());
}

fn what_was_taken_back_is_not_touched(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, connection) = UnixStream::pair().unwrap();
    let kept = OwnedFd::from(connection);
    let ticket = rig.next_ticket();
    client.write_all(GET).unwrap();
    rig.master().offer(ticket, &kept);
    assert!(rig.master().recall(ticket));
    rig.settle();
    assert_eq!(rig.heard(), vec![Say::Missed(ticket)]);
    assert_eq!(rig.master().board(), (0, 0, 0));
    // Whoever is offered it next finds it whole, and can answer.
    let mut bytes = vec![0; GET.len()];
    let mut next = UnixStream::from(kept);
    next.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, GET);
    next.write_all(b"yes").unwrap();
    client.read_exact(&mut bytes[..3]).unwrap();
    assert_eq!(bytes[..3], *b"yes");
}

/// The master keeps a copy of what it may offer again.
fn lent<B: Backend<Fd = OwnedFd>>(rig: &mut Rig<B>) -> (UnixStream, OwnedFd, Ticket) {
    let (client, connection) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let (kept, ticket) = (OwnedFd::from(connection), rig.next_ticket());
    rig.master().offer(ticket, &kept);
    (client, kept, ticket)
}

fn a_connection_goes_back_after_each_answer_and_comes_again_by_its_name(
    backend: impl Backend<Fd = OwnedFd>,
) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, _kept, ticket) = lent(&mut rig);
    for round in 1..=3 {
        client.write_all(GET).unwrap();
        if 1 < round {
            rig.settle();
            assert_eq!(rig.heard(), [], "it is not ours to read");
            rig.master().offer_again(ticket);
        }
        assert_eq!(greetings(&rig.read_until(&mut client, b")\n")), 1);
        rig.settle();
        let says = rig.heard();
        let [Say::Claimed { .. }, Say::Idle { ticket: idle, service_us }] = says[..] else {
            panic!("{says:?}");
        };
        assert_eq!((idle, 0 < service_us), (ticket, true));
        assert_eq!(rig.master().board(), (round, round, 0));
    }
    // Once the master wants to keep connections where they are, this one stays.
    rig.master().wants_back(GiveBack::WhenLeaving);
    client.write_all(GET).unwrap();
    rig.master().offer_again(ticket);
    rig.read_until(&mut client, b")\n");
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [Say::Claimed { .. }, Say::Done { .. }]));
}

fn what_is_half_read_or_still_leaving_does_not_go_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, _kept, ticket) = lent(&mut rig);
    // The beginning of a second request came with the first: its rest belongs here.
    client.write_all(&[GET, &GET[..9]].concat()).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [Say::Claimed { .. }, Say::Done { .. }]));
    client.write_all(&GET[9..]).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert_eq!(rig.heard(), [Say::Idle { ticket, service_us: 0 }]);

    let (mut slow, _kept, _) = lent(&mut rig);
    slow.write_all(b"GET /bytes?n=9000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    rig.settle();
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Claimed { .. }, Say::Waiting(_)]), "most of it is not out");
    let mut got = Vec::new();
    rig.until("the whole answer", |_| {
        read_some(&mut slow, &mut got);
        9_000_000 < got.len()
    });
    rig.settle();
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Idle { .. }]), "{says:?}");
}

fn what_is_given_back_belongs_to_another_until_it_is_claimed_again(
    backend: impl Backend<Fd = OwnedFd>,
) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, kept, ticket) = lent(&mut rig);
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    rig.heard();
    // An errand that is late is no claim.
    rig.master().errand(Errand::Offer(ticket));
    client.write_all(b"for another").unwrap();
    rig.settle();
    assert_eq!(rig.heard(), [Say::Missed(ticket)]);
    let mut bytes = [0; 11];
    UnixStream::from(kept).read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"for another");
}

fn a_worker_that_leaves_gives_its_idle_connections_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::WhenLeaving);
    let (mut idle, _kept, ticket) = lent(&mut rig);
    idle.write_all(GET).unwrap();
    rig.read_until(&mut idle, b")\n");
    let (mut waiting, _kept, other) = lent(&mut rig);
    waiting.write_all(b"GET /wait?ms=20 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    rig.settle();
    rig.heard();
    rig.master().drain();
    let text = rig.read_until(&mut waiting, b"}\n");
    assert!(!text.contains("Connection: close"), "another goes on with it: {text}");
    rig.end();
    let says = rig.heard();
    assert!(matches!(says[..], [Say::Idle { .. }, Say::Idle { .. }]), "{says:?}");
    assert!(says.contains(&Say::Idle { ticket, service_us: 0 }));
    assert!(says.iter().any(|say| matches!(say, Say::Idle { ticket, .. } if *ticket == other)));
    let mut got = Vec::new();
    assert!(!read_some(&mut idle, &mut got), "the master has it still");
}

fn quick_requests_are_taken_up_together(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut busy, _) = rig.client_that_sent(b"");
    for _ in 0..QUICK_STREAK.div_ceil(64) {
        busy.write_all(&GET.repeat(64)).unwrap();
        let mut got = Vec::new();
        rig.until("sixty-four answers", |_| {
            read_some(&mut busy, &mut got);
            greetings(&String::from_utf8_lossy(&got)) == 64
        });
    }
    rig.settle();
    rig.heard();
    let clients: Vec<_> = (0..CLAIMS_PER_TURN + 4).map(|_| rig.client()).collect();
    rig.one_turn_with(1);
    assert_eq!(rig.heard().len(), CLAIMS_PER_TURN, "of {}", clients.len());
}

fn a_forgotten_connection_is_closed_here_and_nowhere_else(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, kept, ticket) = lent(&mut rig);
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    rig.heard();
    rig.master().errand(Errand::Forget(ticket));
    rig.settle();
    client.write_all(GET).unwrap();
    assert!(!read_some(&mut client, &mut Vec::new()), "the master has a copy");
    // The only copy is the master's now: its end is the end.
    drop(kept);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(rig.heard(), []);
}

fn own_listeners_are_accepted_from_until_the_drain(backend: impl Backend<Fd = OwnedFd>) {
    let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let options = ListenOptions { backlog: 16, reuse_port: false };
    let listener = socket::listen(&endpoint, options).unwrap();
    let Ok(Endpoint::Tcp(address)) = socket::local_endpoint(&listener) else {
        panic!("it has an address");
    };
    let others = fd::duplicate(&listener).unwrap();
    let mut rig = Rig::with_listeners(backend, Sharing::Own, vec![listener]);
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..3).map(|_| connect()).collect();
    for client in &mut clients {
        client.write_all(GET).unwrap();
        assert_eq!(greetings(&rig.read_until(client, b")\n")), 1);
    }
    rig.master().drain();
    rig.settle();
    let mut stranger = connect();
    stranger.write_all(GET).unwrap();
    rig.settle();
    assert!(!read_some(&mut stranger, &mut Vec::new()), "it is for another worker");
    drop((clients, others));
    TcpStream::connect(address).expect_err("this one has let its copy go");
    rig.end();
    assert_eq!((rig.master().board(), rig.heard()), ((3, 3, 0), vec![]));
}
