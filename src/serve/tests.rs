//! The built-in worker against real sockets, on both backends, with a master that is part of the
//! test and a clock that jumps.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::server::{Server, TurnFlow};
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
use crate::wire::handshake::ListenerSharing;
use crate::wire::message::WorkerMessage;
use crate::wire::offer::OfferEntry;
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

mod leaving;
mod lent;
mod refusals;
mod rig;

use self::rig::{Rig, greetings, lent, read_some};

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
    a_connection_ends_for_the_client_though_the_master_has_a_copy
    quick_requests_are_taken_up_together
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PATIENCE: Span = Span::from_s(10);

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
    let messages = rig.heard();
    assert!(
        matches!(messages[0], WorkerMessage::Claimed { ticket: claimed, .. } if claimed == ticket)
    );
    assert!(matches!(messages[1], WorkerMessage::Done { ticket: done, .. } if done == ticket));
    assert_eq!(messages.len(), 2);
    client.write_all(CLOSE).unwrap();
    rig.read_to_end(&mut client);
    rig.settle();
    assert_eq!(rig.heard(), [WorkerMessage::Closed(ticket)]);

    let (client, ticket) =
        rig.client_that_sent(b"GET /bytes?n=9000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let messages = rig.heard();
    assert!(
        matches!(messages[..], [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(_)]),
        "most of it is not out"
    );
    drop(client);
    rig.settle();
    assert_eq!(rig.heard(), [WorkerMessage::Closed(ticket)]);
}

fn a_slow_client_gives_the_credit_back_meanwhile(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, ticket) = rig.client_that_sent(&GET[..9]);
    assert!(matches!(
        rig.heard()[..],
        [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(waits)] if waits == ticket
    ));
    client.write_all(&GET[9..12]).unwrap();
    rig.settle();
    assert_eq!(rig.heard(), []);
    client.write_all(&GET[12..]).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    let messages = rig.heard();
    assert!(matches!(
        messages[..],
        [WorkerMessage::Resumed(resumed), WorkerMessage::Done { .. }] if resumed == ticket
    ));
}

fn a_silent_client_gives_the_credit_back_at_once(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut silent, ticket) = rig.client_that_sent(b"");
    assert!(matches!(
        rig.heard()[..],
        [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(waits)] if waits == ticket
    ));
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
    let claims = |messages: Vec<WorkerMessage>| {
        messages.iter().filter(|message| matches!(message, WorkerMessage::Claimed { .. })).count()
    };
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
    assert!(
        matches!(rig.heard()[..], [WorkerMessage::Done { ticket: done, .. }] if done == ticket)
    );
    reader.write_all(GET).unwrap();
    rig.read_until(&mut reader, b")\n");
}

fn who_does_not_take_its_answer_holds_no_credit(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut reader, ticket) =
        rig.client_that_sent(b"GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let messages = rig.heard();
    assert!(
        matches!(
            messages[..],
            [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(waits)] if waits == ticket
        ),
        "{messages:?}"
    );
    let mut got = Vec::new();
    rig.until("the whole answer", |_| {
        read_some(&mut reader, &mut got);
        3_000_000 < got.len()
    });
    rig.settle();
    let messages = rig.heard();
    assert!(
        matches!(messages[..], [WorkerMessage::Done { ticket: done, .. }] if done == ticket),
        "{messages:?}"
    );
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
    let messages = rig.heard();
    assert!(matches!(
        messages[1..],
        [WorkerMessage::Waiting(_), WorkerMessage::Closed(closed)] if closed == ticket
    ));
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
    assert_eq!(rig.heard().last(), Some(&WorkerMessage::Closed(ticket)));
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
    assert_eq!(rig.heard().last(), Some(&WorkerMessage::Closed(ticket)));
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
