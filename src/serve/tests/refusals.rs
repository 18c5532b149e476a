//! What the built-in worker does with requests that it does not serve, and with clients that send
//! more than they should, on both backends.

use std::net::TcpListener;

use super::*;
use crate::limits::{HTTP_BLANK_LINES_MAX, HTTP_HEAD_MAX, HTTP_LINGER};

on_both_backends! {
    no_way_out_gives_head_a_body
    what_is_sound_and_not_served_leaves_the_connection_open
    every_refusal_is_a_request_and_counts_once
    late_bytes_take_nothing_of_a_long_answer
    late_bytes_take_nothing_of_an_answer_in_pieces
    who_takes_nothing_of_a_long_answer_is_let_go
    empty_lines_are_counted_though_connections_go_back
}

/// The head of the one answer, behind which nothing comes.
fn head_alone(text: &str) -> &str {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "", "{text}");
    head
}

fn no_way_out_gives_head_a_body(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400"),
        ("HEAD / HTTP/1.1\nHost: a\n\n", "400"),
        ("HEAD\t/ HTTP/1.1\r\n\r\n", "400"),
        ("HEAD / HTTP/3.0\r\n\r\n", "505"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", "501"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", "413"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", "400"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", "417"),
        ("\r\n\r\n\r\n\r\n\r\nHEAD / HTTP/1.1\r\n", "400"),
        ("\nHEAD / HTTP/1.1\r\n", "400"),
    ] {
        let (mut client, _) = rig.client_that_sent(request.as_bytes());
        let text = rig.read_to_end(&mut client);
        assert!(head_alone(&text).starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}");
    }
    let (mut long, _) = rig.client_that_sent(b"HEAD / HTTP/1.1\r\nX: ");
    long.write_all(&[b'x'; HTTP_HEAD_MAX]).unwrap();
    assert!(head_alone(&rig.read_to_end(&mut long)).contains(" 431 "));

    // Those that come to no end. What may become HEAD has no body either, and nothing missing.
    let begun = ["H", "HEAD", "HEAD /", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"];
    for begun in begun {
        let (mut client, _) = rig.client_that_sent(begun.as_bytes());
        rig.jump(HTTP_REQUEST_TIMEOUT);
        let text = rig.read_to_end(&mut client);
        let head = head_alone(&text);
        assert!(head.starts_with("HTTP/1.1 408 "), "{begun}: {head}");
        let is_known = begun.starts_with("HEAD ");
        assert_eq!(!head.contains("Content-Length: 0\r\n"), is_known, "{begun}: {head}");
    }
}

fn what_is_sound_and_not_served_leaves_the_connection_open(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, _) = rig.client_that_sent(b"");
    // A body that reads like a request is dropped, and the next request begins behind it.
    let body = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let fields = format!("Host: a\r\nContent-Length: {}", body.len());
    for (line, status) in [
        ("POST /none", "404 Not Found"),
        ("POST /whoami", "405 Method Not Allowed"),
        ("POST /sleep?ms=soon", "400 Bad Request"),
        ("BREW /", "501 Not Implemented"),
        ("OPTIONS *", "204 No Content"),
    ] {
        let request = format!("{line} HTTP/1.1\r\n{fields}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).unwrap();
        client.write_all(GET).unwrap();
        let text = rig.read_until(&mut client, b")\n");
        assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{line}: {text}");
        assert!(!text.contains("Connection: close"), "{line}: {text}");
    }
    rig.settle();
    assert_eq!(rig.master().board(), (10, 10, 1));
    client.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rig.read_to_end(&mut client).contains("Connection: close"));
}

fn every_refusal_is_a_request_and_counts_once(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let mut count = 0;
    for request in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx",
        &[GET, b"BAD\r\n\r\n", GET].concat(),
    ] {
        count += 1 + u64::from(request.starts_with(GET));
        let (mut client, _) = rig.client_that_sent(request);
        rig.read_to_end(&mut client);
        drop(client);
        rig.settle();
        assert_eq!(rig.master().board(), (count, count, 0), "{}", request.escape_ascii());
    }
    // So does one that comes to no end, in its head or in its body.
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx";
    for begun in [&GET[..9], post] {
        let (mut client, _) = rig.client_that_sent(begun);
        assert_eq!(rig.master().board(), (count, count, 1));
        rig.jump(HTTP_REQUEST_TIMEOUT);
        assert!(rig.read_to_end(&mut client).contains(" 408 "));
        drop(client);
        rig.settle();
        count += 1;
        assert_eq!(rig.master().board(), (count, count, 0));
    }
    // Who leaves before that has asked for nothing.
    drop(rig.client_that_sent(&GET[..9]));
    rig.settle();
    assert_eq!(rig.master().board(), (count, count, 0));
}

/// A client that has asked so over TCP, where a reset takes what has not arrived, when all of its
/// answers are in the kernel.
fn long_answer<B: Backend<Fd = OwnedFd>>(rig: &mut Rig<B>, requests: &[u8]) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (connection, ticket) = (listener.accept().unwrap().0, rig.next_ticket());
    rig.master().offer(ticket, &connection.into());
    client.set_nonblocking(true).unwrap();
    client.write_all(requests).unwrap();
    rig.heard();
    rig.until("the first answer's last byte is in the kernel", |rig| {
        rig.heard().iter().any(|message| matches!(message, WorkerMessage::Done { .. }))
    });
    rig.settle();
    client
}

fn late_bytes_take_nothing_of_a_long_answer(backend: impl Backend<Fd = OwnedFd>) {
    const LENGTH: usize = 400_000;
    let mut rig = Rig::new(backend);
    let long = format!("GET /bytes?n={LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = long.replace("Host", "Connection: close\r\nHost");
    // However long it takes the client to look: some of the answer has not even arrived, and be the
    // last one short.
    for (requests, seconds) in
        [(last.as_bytes(), 0), (last.as_bytes(), 20), (&[long.as_bytes(), CLOSE].concat(), 5)]
    {
        let mut client = long_answer(&mut rig, requests);
        for _ in 0..seconds {
            rig.jump(HTTP_LINGER);
            rig.settle();
        }
        client.write_all(GET).unwrap();
        rig.settle();
        let text = rig.read_to_end(&mut client);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let (filler, rest) = body.split_at(LENGTH);
        assert!(filler.bytes().all(|byte| byte == b'x'), "{seconds} s later");
        assert_eq!(rest.ends_with(")\n"), requests.ends_with(CLOSE), "{rest}");
        drop(client);
        rig.settle();
        assert_eq!(rig.master().board().2, 0);
    }
}

fn late_bytes_take_nothing_of_an_answer_in_pieces(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    // It is short, and does not go at once all the same.
    let (mut client, connection) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    socket::shrink_send_buffer(&connection).unwrap();
    let ticket = rig.next_ticket();
    rig.master().offer(ticket, &connection.into());
    let get = b"GET /bytes?n=16000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(get).unwrap();
    rig.settle();
    client.write_all(GET).unwrap();
    // Without a reset at its end.
    assert!(rig.read_to_end(&mut client).ends_with(&"x".repeat(16_000)));
}

fn who_takes_nothing_of_a_long_answer_is_let_go(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let get = b"GET /bytes?n=400000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let _client = long_answer(&mut rig, get);
    let least = HTTP_WRITE_TIMEOUT.as_ns() / HTTP_LINGER.as_ns();
    let looks = (1..100 * least).find(|_| {
        rig.jump(HTTP_LINGER);
        rig.settle();
        rig.master().board().2 == 0
    });
    // From the last look that found some more of it gone, which the kernel decides.
    assert!(looks.is_some_and(|looks| least <= looks), "{looks:?}");
    assert!(matches!(rig.heard()[..], [WorkerMessage::Closed(_)]));
}

fn empty_lines_are_counted_though_connections_go_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, _kept, ticket) = lent(&mut rig);
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    rig.heard();
    let offer = |rig: &mut Rig<_>| {
        rig.master().offer_again(ticket);
        rig.settle();
        rig.heard()
    };
    client.write_all(b"\r\n").unwrap();
    let messages = offer(&mut rig);
    assert!(
        matches!(messages[..], [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(_)]),
        "it stays: {messages:?}"
    );
    for _ in 1..HTTP_BLANK_LINES_MAX {
        client.write_all(b"\r\n").unwrap();
        rig.settle();
    }
    assert_eq!(rig.heard(), []);
    // A request ends the count, and its answer gives the connection back.
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [WorkerMessage::Resumed(_), WorkerMessage::Idle { .. }]));
    client.write_all(b"\r\n").unwrap();
    offer(&mut rig);
    // It is idle, and a worker that leaves closes nothing that is.
    rig.master().drain();
    rig.settle();
    assert_eq!(rig.heard(), [WorkerMessage::Idle { ticket, service_us: 0 }]);
    assert!(!read_some(&mut client, &mut Vec::new()), "the master has it still");
    rig.end();
}
