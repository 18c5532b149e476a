//! The built-in server over the wire: framing, methods and refusals, byte for byte where it
//! matters, through the whole way that a connection takes.

use std::fmt::Write as _;

use dispatchd::units::Span;

use crate::client::{Client, Reply};
use crate::server::Plan;
use crate::wait::nap;

on_both! {
    clients_that_read_nothing_keep_nobody_waiting
    every_path_answers
    head_has_the_head_alone
    bodies_come_back_from_echo_in_either_framing
    expect_is_met_before_the_body
    pipelined_requests_are_answered_in_order
    a_large_answer_arrives_whole
    late_bytes_take_nothing_of_a_long_answer
    the_old_version_closes
    a_newer_minor_version_is_served
    what_is_sound_and_not_served_leaves_the_connection_open
    what_is_wrong_is_told_and_ends_the_connection
}

fn every_path_answers(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    for path in ["/", "/whoami", "/healthz", "/burn?ms=1", "/sleep?ms=1", "/wait?ms=1"] {
        let reply = client.get(path).unwrap();
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.closes() && !reply.body.is_empty(), "{path}");
    }
    let status = server.status();
    let who = client.get("/whoami").unwrap();
    let worker = &status.workers[usize::from(who.worker())];
    let who = who.json();
    assert_eq!(who["pid"], worker.pid);
    assert_eq!(who["generation"], 1);
    assert_eq!(who["cpu"].as_u64(), worker.cpu.map(u64::from));
}

fn head_has_the_head_alone(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    for path in ["/", "/whoami", "/bytes?n=5"] {
        let whole = client.get(path).unwrap();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let head = client.reply_head().unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.field("content-length"), whole.field("content-length"), "{path}");
    }
    // Had there been a body, this answer would not be read.
    assert_eq!(client.get("/healthz").unwrap().text(), "ok\n");
    // Nor has a refusal one, whether or not the head could be read.
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD / HTTP/1.1\r\nX : y\r\n\r\n", 400),
        ("HEAD / HTTP/2.0\r\n\r\n", 505),
    ] {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(request.as_bytes()).unwrap();
        assert_eq!(client.reply_head().unwrap().status, status, "{request:?}");
        client.end().unwrap();
    }
}

fn bodies_come_back_from_echo_in_either_framing(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    let fixed = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(fixed).unwrap();
    assert_eq!(client.reply().unwrap().text(), "hello");
    let head = b"PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for piece in
        [head, b"5\r\nhello\r\n".as_slice(), b"7 ; x=y;z=\"\\\"\"\r\n, world", b"\r\n0\r\n\r\n"]
    {
        client.send(piece).unwrap();
    }
    assert_eq!(client.reply().unwrap().text(), "hello, world");
    let body = "0123456789".repeat(100_000);
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head.as_bytes()).unwrap();
    client.send(body.as_bytes()).unwrap();
    assert!(client.reply().unwrap().text() == body, "a megabyte comes back as it was");
}

fn expect_is_met_before_the_body(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    let head =
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.send(head).unwrap();
    assert_eq!(client.reply_head().unwrap().status, 100);
    client.send(b"ok").unwrap();
    assert_eq!(client.reply().unwrap().text(), "ok");
}

fn pipelined_requests_are_answered_in_order(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    let mut requests = String::new();
    for number in 0..100 {
        let body = number.to_string();
        let length = body.len();
        write!(
            requests,
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    }
    client.send(requests.as_bytes()).unwrap();
    for number in 0..100 {
        assert_eq!(client.reply().unwrap().text(), number.to_string());
    }
}

fn a_large_answer_arrives_whole(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    assert_eq!(client.get("/bytes?n=3000000").unwrap().body.len(), 3_000_000);
    assert_eq!(client.get("/bytes?n=0").unwrap().body, b"");
}

fn late_bytes_take_nothing_of_a_long_answer(backend: &str) {
    // Whether or not the master has a copy, which puts the reset off.
    for dispatch in ["connection", "request"] {
        let server = Plan::on(backend).with(&format!("--dispatch {dispatch}")).start();
        for _ in 0..5 {
            let mut client = Client::asking(server.address(), "/bytes?n=1000000").unwrap();
            let head = client.reply_head().unwrap();
            assert_eq!((head.status, head.closes()), (200, true));
            nap(Span::from_ms(50));
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            nap(Span::from_ms(50));
            assert_eq!(client.read_to_end().unwrap().len(), 1_000_000, "{dispatch}");
        }
    }
}

fn the_old_version_closes(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.closes()), (200, true));
    assert_eq!(client.read_to_end().unwrap(), b"");
}

fn what_is_wrong_is_told_and_ends_the_connection(backend: &str) {
    let server = Plan::on(backend).start();
    let long = "x".repeat(20_000);
    let other_protocol = "a".repeat(33);
    let mut sent = 0;
    let many = (0..100).fold(String::new(), |text, n| text + &format!("F{n}: x\r\n"));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n".to_owned(), 413),
        (smuggled("Content-Length: 5\r\nContent-Length: 6"), 400),
        (smuggled("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        (smuggled("Content-Length: +5"), 400),
        (smuggled("Transfer-Encoding: chunked, chunked"), 400),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx"
                .to_owned(),
            400,
        ),
        (smuggled("Transfer-Encoding: gzip"), 501),
        (smuggled("Content-Length : 5"), 400),
        (smuggled("Transfer-Encoding: chunked\r\n folded"), 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        // Nobody waits for more of what is no HTTP, and be it a line.
        ("SSH-2.0-x\r\n".to_owned(), 400),
        ("GET / HTTP/3.0\r\n".to_owned(), 505),
        (other_protocol, 501),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let reply = refusal(server.address(), &request);
        assert_eq!((reply.status, reply.closes()), (status, true), "{}", request.escape_debug());
        assert!(!reply.text().is_empty(), "the client is told why");
        sent += 1;
    }
    server.wait_for_status("each of them is counted as a request", |status| {
        status.workers.iter().map(|worker| worker.requests).sum::<u64>() == sent
    });
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

fn what_is_sound_and_not_served_leaves_the_connection_open(backend: &str) {
    // Whether the connection stays with its worker or goes back between two requests.
    for dispatch in ["connection", "request"] {
        let server = Plan::on(backend).with(&format!("--dispatch {dispatch}")).start();
        let mut client = Client::connect(server.address()).unwrap();
        for (line, status, allow) in [
            ("POST /nowhere", 404, None),
            ("DELETE /nowhere", 404, None),
            ("POST /whoami", 405, Some("GET, HEAD, OPTIONS")),
            ("PATCH /", 405, Some("GET, HEAD, POST, OPTIONS")),
            ("GET /echo", 405, Some("POST, PUT, OPTIONS")),
            ("POST /sleep?ms=soon", 400, None),
            ("GET /bytes", 400, None),
            ("BREW /", 501, None),
            ("OPTIONS /burn", 204, Some("GET, HEAD, POST, OPTIONS")),
            ("OPTIONS *", 204, Some("GET, HEAD, POST, PUT, OPTIONS")),
        ] {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            for piece in [head.as_str(), "12\r\nGET / HTTP/1.1\r\n\r\n", "\r\n0\r\n\r\n"] {
                client.send(piece.as_bytes()).unwrap();
            }
            let reply = client.reply().unwrap();
            let told = (reply.status, reply.field("allow"), reply.closes());
            assert_eq!(told, (status, allow, false), "{line}");
            assert_eq!(reply.body.is_empty(), status == 204, "{line}");
            assert_eq!(reply.field("content-length").is_none(), status == 204, "{line}");
        }
        assert_eq!(client.get("/healthz").unwrap().text(), "ok\n");
    }
}

fn a_newer_minor_version_is_served(backend: &str) {
    let server = Plan::on(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    for minor in 2..=9 {
        let request = format!("GET /healthz HTTP/1.{minor}\r\nHost: a\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.closes()), (200, false), "{request}");
    }
}

/// One test for both backends at once, since it takes as long as the server's patience.
#[test]
fn a_request_that_does_not_end_is_told_so() {
    let servers = ["uring", "epoll"].map(|backend| Plan::on(backend).start());
    let mut clients = servers.each_ref().map(|server| {
        let begun: [&[u8]; 2] = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"HEAD /"];
        begun.map(|begun| {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(begun).unwrap();
            client
        })
    });
    for [get, head] in &mut clients {
        let reply = get.reply().unwrap();
        assert_eq!((reply.status, reply.closes(), reply.body.is_empty()), (408, true, false));
        assert_eq!(head.reply_head().unwrap().status, 408);
        head.end().unwrap();
    }
}

fn smuggled(fields: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The one answer to a request that is refused, after which nothing follows.
fn refusal(address: &str, request: &str) -> Reply {
    let mut client = Client::connect(address).unwrap();
    client.send(request.as_bytes()).unwrap();
    let reply = client.reply().unwrap();
    if 400 <= reply.status && reply.closes() {
        client.finish().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"", "{}", request.escape_debug());
    }
    reply
}

fn clients_that_read_nothing_keep_nobody_waiting(backend: &str) {
    // Twice as many as there are credits, each with more than the kernel takes.
    let server = Plan::on(backend).with("--policy jbsq:2").start();
    let ask = || Client::asking(server.address(), "/bytes?n=200000000").unwrap();
    let deaf: Vec<Client> = (0..8).map(|_| ask()).collect();
    server.wait_for_status("all are served", |status| {
        status.workers.iter().map(|worker| worker.connections).sum::<u32>() == 8
    });
    for _ in 0..20 {
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
    drop(deaf);
    server.wait_for_status("they are let go", |status| {
        status.workers.iter().all(|worker| worker.connections == 0)
    });
}
