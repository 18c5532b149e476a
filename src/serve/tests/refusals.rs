//! What the built-in worker does with requests that it does not serve, and with clients that send
//! more than they should, on both backends.

use super::*;

on_both_backends! {
    no_way_out_gives_head_a_body
    what_is_sound_and_not_served_leaves_the_connection_open
    every_refusal_is_a_request_and_counts_once
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
    let says = offer(&mut rig);
    assert!(matches!(says[..], [Say::Claimed { .. }, Say::Waiting(_)]), "it stays: {says:?}");
    for _ in 1..HTTP_BLANK_LINES_MAX {
        client.write_all(b"\r\n").unwrap();
        rig.settle();
    }
    assert_eq!(rig.heard(), []);
    // A request ends the count, and its answer gives the connection back.
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [Say::Resumed(_), Say::Idle { .. }]));
    client.write_all(b"\r\n").unwrap();
    offer(&mut rig);
    // It is idle, and a worker that leaves closes nothing that is.
    rig.master().drain();
    rig.settle();
    assert_eq!(rig.heard(), [Say::Idle { ticket, service_us: 0 }]);
    assert!(!read_some(&mut client, &mut Vec::new()), "the master has it still");
    rig.end();
}
