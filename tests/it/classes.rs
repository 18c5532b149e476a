//! Short requests before long ones, with real processes that have to learn which is which.

use crate::client::Client;
use crate::server::{Plan, Server};

on_both! {
    short_requests_do_not_wait_for_long_ones
    what_is_no_http_is_served_as_ever
}

const LONG: &str = "/sleep?ms=400";
const SHORT: &str = "/sleep?ms=1";

/// Two workers, under whom both routes were used until one of them is known to be long.
fn informed(backend: &str) -> Server {
    let flags = "--workers 2 --dispatch request --classes target";
    let server = Plan::on(backend).with(flags).start();
    server.wait_for_status("one route is known to be long", |status| {
        for path in [LONG, SHORT, SHORT, SHORT, SHORT] {
            assert_eq!(Client::get_once(server.address(), path).unwrap().status, 200);
        }
        (status.classes.routes, status.classes.long_routes) == (2, 1)
    });
    server
}

fn short_requests_do_not_wait_for_long_ones(backend: &str) {
    let server = informed(backend);
    assert_eq!(server.status().classes.reserved, 1);
    let mut long: Vec<Client> =
        (0..3).map(|_| Client::asking(server.address(), LONG).unwrap()).collect();
    let busy = server.busy_worker().worker;
    server.wait_for_status("two of the long ones wait", |status| status.classes.held_long == 2);
    let mut short = Client::connect(server.address()).unwrap();
    for _ in 0..30 {
        assert_ne!(short.get("/whoami").unwrap().worker(), busy);
    }
    let still_held = server.status().classes.held_long;
    assert!(0 < still_held, "three long ones on one worker take 1.2 s");
    for client in &mut long {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(server.status().classes.held_long, 0);
}

fn what_is_no_http_is_served_as_ever(backend: &str) {
    let server = informed(backend);
    let mut client = Client::connect(server.address()).unwrap();
    client.send(b"GET /whoa").unwrap();
    server.wait_for_status("its worker waits for the rest", |status| {
        status.workers.iter().any(|worker| 0 < worker.connections)
    });
    client.send(b"mi HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    assert_eq!(client.reply().unwrap().status, 200);
    let mut strange = Client::connect(server.address()).unwrap();
    strange.send(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(strange.reply().unwrap().status, 400);
}
