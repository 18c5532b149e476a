//! The examples, which people take for models: each is a small HTTP/1.1 server that nobody can talk
//! into a second request or out of its patience.

use std::thread;

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::server::{Plan, Server, example};
use crate::wait::{eventually, nap};

/// Those that answer many requests per connection.
const LASTING: [&str; 2] = ["keep_alive_worker", "callback_worker"];
/// Those that read requests to their end.
const WHOLE: [&str; 3] = ["keep_alive_worker", "callback_worker", "http_worker"];
const ALL: [&str; 4] = ["keep_alive_worker", "callback_worker", "http_worker", "hello_worker"];

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

on_both! {
    a_body_in_a_second_segment_is_no_second_request
    what_came_behind_a_request_is_not_lost
    the_shapes_of_smuggling_are_refused
    head_and_close_and_the_old_version_are_honoured
    where_nobody_takes_connections_back_the_answer_says_that_it_is_the_last
    keep_alive_clients_meet_neither_errors_nor_resets
    what_is_echoed_is_what_was_sent_whoever_else_stays
}

fn server(backend: &str, name: &str) -> Server {
    Plan::on(backend).with("--dispatch request").program([example(name)]).start()
}

/// A body that reads like a request, in pieces of which each begins one.
fn bodies() -> [(String, Vec<String>); 2] {
    let length = GET.len();
    [
        (format!("Content-Length: {length}"), vec![GET.to_owned()]),
        (
            "Transfer-Encoding: chunked".to_owned(),
            vec![
                format!("{length:x};a=b\r\n"),
                GET.to_owned(),
                format!("\r\n{length:x}\r\n{GET}\r\n0\r\n"),
                "GET: / HTTP/1.1\r\n\r\n".to_owned(),
            ],
        ),
    ]
}

fn a_body_in_a_second_segment_is_no_second_request(backend: &str) {
    for name in ALL {
        let server = server(backend, name);
        for (framing, pieces) in bodies() {
            let mut client = Client::connect(server.address()).unwrap();
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
            client.send(head.as_bytes()).unwrap();
            for piece in &pieces {
                nap(Span::from_ms(20));
                client.send(piece.as_bytes()).unwrap();
            }
            assert_eq!(client.reply().unwrap().status, 200, "{name} {framing}");
            client.finish().unwrap();
            let more = client.read_to_end().unwrap();
            assert_eq!(String::from_utf8_lossy(&more), "", "{name} {framing}");
        }
    }
    // Who waits for a word before the body is told to go on.
    for name in WHOLE {
        let server = server(backend, name);
        let mut client = Client::connect(server.address()).unwrap();
        let fields = format!("Content-Length: {}\r\nExpect: 100-continue", GET.len());
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(client.reply_head().unwrap().status, 100, "{name}");
        client.send(GET.as_bytes()).unwrap();
        assert_eq!(client.reply().unwrap().status, 200, "{name}");
    }
}

fn what_came_behind_a_request_is_not_lost(backend: &str) {
    for name in LASTING {
        let server = server(backend, name);
        let mut client = Client::connect(server.address()).unwrap();
        let posts = bodies().map(|(framing, pieces)| {
            format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{}\r\n", pieces.concat())
        });
        let all = [GET, &posts[0], &posts[1], GET].concat().repeat(5);
        for length in [all.len(), 37] {
            for piece in all.as_bytes().chunks(length) {
                client.send(piece).unwrap();
            }
            for _ in 0..20 {
                assert_eq!(client.reply().unwrap().status, 200, "{name}");
            }
        }
        assert_eq!(client.get("/").unwrap().status, 200);
        client.finish().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"", "{name}");
    }
}

fn the_shapes_of_smuggling_are_refused(backend: &str) {
    for name in WHOLE {
        let server = server(backend, name);
        let post = |fields: &str, body: &str| {
            format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
        };
        let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
        for (request, status) in [
            (post("Content-Length: 5\r\nContent-Length: 5", "12345"), 400),
            (post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400),
            (post("Content-Length: +5", "12345"), 400),
            (post("Content-Length: 5,5", "12345"), 400),
            (post("Content-Length:", "12345"), 400),
            (post("Content-Length: 99999999999999999999", ""), 413),
            (post("Content-Length : 5", "12345"), 400),
            (post("X: y\nContent-Length: 5", "12345"), 400),
            (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 501),
            (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ""), 400),
            (chunked("\r\n"), 400),
            (chunked("+5\r\n12345\r\n0\r\n\r\n"), 400),
            (chunked("5 \r\n12345\r\n0\r\n\r\n"), 400),
            (chunked("5\n12345\r\n0\r\n\r\n"), 400),
            (chunked("5;a\n12345\r\n0\r\n\r\n"), 400),
            (chunked("4\r\n12345\r\n0\r\n\r\n"), 400),
            (chunked("ffffffffffffffff\r\n"), 413),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
            ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 501),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
        ] {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(request.as_bytes()).unwrap();
            client.send(GET.as_bytes()).unwrap();
            let reply = client.reply().unwrap();
            assert_eq!((reply.status, reply.closes()), (status, true), "{name}: {request:.99}");
            client.finish().unwrap();
            assert_eq!(client.read_to_end().unwrap(), b"", "{name}: {request:.99}");
        }
    }
}

fn head_and_close_and_the_old_version_are_honoured(backend: &str) {
    for name in ALL {
        let server = server(backend, name);
        let whole = Client::get_once(server.address(), "/").unwrap();
        assert!(whole.closes(), "{name}");
        for request in [
            "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "HEAD / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ] {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(request.as_bytes()).unwrap();
            let reply = client.reply_head().unwrap();
            assert_eq!((reply.status, reply.closes()), (200, true), "{name} {request}");
            assert_eq!(reply.field("content-length"), whole.field("content-length"), "{name}");
            let body: &[u8] = if request.starts_with("HEAD") { b"" } else { &whole.body };
            assert_eq!(client.read_to_end().unwrap().len(), body.len(), "{name} {request}");
        }
    }
    for name in LASTING {
        let server = server(backend, name);
        let mut client = Client::connect(server.address()).unwrap();
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(!client.reply_head().unwrap().closes(), "{name}");
        // Had there been a body, this answer would not be read.
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}

fn where_nobody_takes_connections_back_the_answer_says_that_it_is_the_last(backend: &str) {
    for flags in ["--dispatch connection", "--policy shared"] {
        let plan = Plan::on(backend).with(flags).program([example("keep_alive_worker")]);
        let server = plan.start();
        let tally = crowd::rounds(server.address(), 4, 5, "/");
        assert_eq!(tally.errors, [""; 0], "{flags}");
    }
}

fn keep_alive_clients_meet_neither_errors_nor_resets(backend: &str) {
    for name in ALL {
        // As anybody would start it.
        let server = Plan::on(backend).program([example(name)]).start();
        let manner = Manner::KeepAlive(20);
        let (tally, ()) = crowd::load(server.address(), 8, manner, &["/"], || {
            let served = |server: &Server| -> u64 {
                server.status().workers.iter().map(|worker| worker.requests).sum()
            };
            eventually("a thousand are served", || (1_000 <= served(&server)).then_some(()));
        });
        assert_eq!(tally.errors, [""; 0], "{name}");
        assert!(1_000 <= tally.answered, "{name}: {}", tally.answered);
    }
}

fn what_is_echoed_is_what_was_sent_whoever_else_stays(backend: &str) {
    let server = server(backend, "echo_worker");
    let connect = || Client::connect(server.address()).unwrap();
    let mut clients: Vec<Client> = (0..6).map(|_| connect()).collect();
    for word in [b"hello", b"again"] {
        for client in &mut clients {
            client.send(word).unwrap();
            assert_eq!(client.read_exactly(word.len()).unwrap(), word);
        }
    }
}

/// One test for all at once, since it takes as long as their patience.
#[test]
fn two_slow_clients_do_not_keep_others_out() {
    let servers: Vec<(Server, &str)> = ["uring", "epoll"]
        .into_iter()
        .flat_map(|backend| ALL.map(|name| (server(backend, name), name)))
        .collect();
    let mut slow: Vec<Client> = Vec::new();
    for (server, _) in &servers {
        for _ in 0..2 {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(b"G").unwrap();
            slow.push(client);
        }
        server.wait_for_status("both workers are busy", |status| {
            status.workers.iter().all(|worker| 0 < worker.connections)
        });
    }
    thread::scope(|scope| {
        let asking: Vec<_> = servers
            .iter()
            .map(|(server, name)| (server.address(), *name))
            .map(|(address, name)| {
                scope.spawn(move || {
                    let began_at = monotonic();
                    let status = Client::get_once(address, "/").map(|reply| reply.status);
                    (status.ok(), monotonic().since(began_at), name)
                })
            })
            .collect();
        while !asking.iter().all(thread::ScopedJoinHandle::is_finished) {
            for client in &mut slow {
                // Whoever was told to be gone is.
                drop(client.send(b"E"));
            }
            nap(Span::from_s(1));
        }
        for (status, took, name) in asking.into_iter().map(|one| one.join().unwrap()) {
            assert_eq!(status, Some(200), "{name}");
            assert!(took < Span::from_s(12), "{name}: it waited {took}");
        }
    });
}
