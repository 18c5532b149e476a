//! Requests of one connection dispatched each for itself, with real processes: who answers, and
//! what becomes of connections between two requests.

use std::cell::RefCell;

use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::{Plan, Server, example};
use crate::wait::nap;

/// The built-in worker with few descriptors, of which it keeps some for itself.
const FEW_DESCRIPTORS: [&str; 4] =
    ["sh", "-c", "ulimit -n 60; exec \"$0\" serve-worker", env!("CARGO_BIN_EXE_dispatchd")];

on_both! {
    nothing_waits_behind_another_connections_request
    an_idle_connection_survives_the_worker_that_served_it
    an_idle_connection_survives_a_reload
    who_hangs_up_between_two_requests_bothers_no_worker
    long_requests_are_spread_by_themselves_and_short_ones_are_not
    more_connections_than_a_worker_can_hold_are_served_by_all
    a_worker_of_your_own_gives_connections_back
    a_worker_that_is_called_serves_many_connections_that_stay_with_it
    pipelined_requests_are_answered_in_order
    empty_lines_are_limited_however_often_they_come
}

fn spreading(backend: &str) -> Plan {
    Plan::on(backend).with("--workers 2 --dispatch request")
}

/// A client that has asked once, and whose connection is parked.
fn parked(server: &Server) -> Client {
    let parked = server.status().hold.parked;
    let mut client = Client::connect(server.address()).unwrap();
    assert_eq!(client.get("/").unwrap().status, 200);
    server.wait_for_status("the connection is parked", |status| parked < status.hold.parked);
    client
}

fn nothing_waits_behind_another_connections_request(backend: &str) {
    let server = spreading(backend).start();
    let mut quick: Vec<Client> = (0..4).map(|_| parked(&server)).collect();
    let mut slow = Client::asking(server.address(), "/sleep?ms=1500").unwrap();
    let busy = server.busy_worker().worker;
    for _ in 0..5 {
        for client in &mut quick {
            assert_ne!(client.get("/whoami").unwrap().worker(), busy);
        }
    }
    assert!(slow.poll_reply().is_none(), "it should have taken longer than all of them");
    assert_eq!(slow.reply().unwrap().status, 200);
    assert_eq!(process::threads(server.pid()), 1);
}

fn an_idle_connection_survives_the_worker_that_served_it(backend: &str) {
    let server = spreading(backend).start();
    let mut clients: Vec<Client> = (0..6).map(|_| parked(&server)).collect();
    for slot in [0, 1] {
        // Who has its answer may be a moment ahead of who says that it is out.
        server.wait_for_status("all are parked", |status| status.hold.parked == 6);
        let victim = server.worker(slot).pid;
        process::signal(victim, Signal::SIGKILL);
        server.wait_for_status("the dead worker is replaced", |status| {
            status.have == 2 && status.workers.iter().all(|worker| worker.pid != victim)
        });
        for client in &mut clients {
            assert_eq!(client.get("/").unwrap().status, 200);
        }
    }
    assert_eq!(server.status().totals.lost, 0);
}

fn an_idle_connection_survives_a_reload(backend: &str) {
    // Under `auto` they are at their workers, who give them back when they leave.
    for dispatch in ["request", "auto"] {
        let server = Plan::on(backend).with(&format!("--workers 2 --dispatch {dispatch}")).start();
        let mut clients: Vec<Client> =
            (0..6).map(|_| Client::connect(server.address()).unwrap()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").unwrap().status, 200);
        }
        server.signal(Signal::SIGHUP);
        server.wait_for_status("the new workers serve alone", |status| {
            status.generation == 2 && status.workers.iter().all(|each| each.generation == 2)
        });
        for client in &mut clients {
            let reply = client.get("/").unwrap();
            assert!(!reply.closes(), "under {dispatch}");
        }
        assert_eq!(server.status().totals.closed, 0);
    }
}

fn who_hangs_up_between_two_requests_bothers_no_worker(backend: &str) {
    let server = spreading(backend).start();
    let clients: Vec<Client> = (0..5).map(|_| parked(&server)).collect();
    let before = server.status();
    drop(clients);
    let after = server.wait_for_status("all have left", |status| status.totals.closed == 5);
    let taken = |workers: &[dispatchd::wire::control::WorkerStatus]| {
        workers.iter().map(|worker| worker.accepted).sum::<u64>()
    };
    assert_eq!(taken(&after.workers), taken(&before.workers));
    assert_eq!(after.hold.parked, 0);
}

fn long_requests_are_spread_by_themselves_and_short_ones_are_not(backend: &str) {
    let server = Plan::on(backend).with("--workers 2").start();
    let clients: Vec<Client> = (0..4).map(|_| Client::connect(server.address()).unwrap()).collect();
    let clients = RefCell::new(clients);
    let ask = |path: &str| {
        for client in clients.borrow_mut().iter_mut() {
            assert_eq!(client.get(path).unwrap().status, 200);
        }
    };
    server.wait_for_status("short ones stay where they are", |status| {
        ask("/");
        !status.spreads_requests
    });
    server.wait_for_status("long requests are spread", |status| {
        ask("/sleep?ms=2");
        status.spreads_requests && 0 < status.totals.given_back
    });
    server.wait_for_status("short ones stay where they are", |status| {
        (0..50).for_each(|_| ask("/"));
        !status.spreads_requests
    });
}

fn more_connections_than_a_worker_can_hold_are_served_by_all(backend: &str) {
    let server =
        Plan::on(backend).with("--workers 3 --dispatch request").program(FEW_DESCRIPTORS).start();
    let mut clients: Vec<Client> =
        (0..100).map(|_| Client::connect(server.address()).unwrap()).collect();
    for _ in 0..6 {
        for client in &mut clients {
            assert_eq!(client.get("/").unwrap().status, 200);
        }
    }
    let status = server.status();
    assert_eq!((status.totals.lost, status.totals.closed), (0, 0));
    for worker in &status.workers {
        let open = std::fs::read_dir(format!("/proc/{}/fd", worker.pid)).unwrap().count();
        assert!(open <= 60, "worker {} has {open} files open", worker.worker);
    }
    // All three together have room for fewer than the 100: what comes again has been forgotten.
    assert_eq!(status.workers.iter().map(|worker| worker.accepted).sum::<u64>(), 600);
}

fn a_worker_of_your_own_gives_connections_back(backend: &str) {
    for name in ["keep_alive_worker", "callback_worker"] {
        let server = spreading(backend).program([example(name)]).start();
        let mut client = Client::connect(server.address()).unwrap();
        for _ in 0..5 {
            assert!(client.get("/").unwrap().text().starts_with(&format!("hello from {name} ")));
        }
        server.wait_for_status("it is given back", |status| status.totals.given_back == 5);
        // A blocking worker that kept connections could serve no second one.
        let mut others: Vec<Client> =
            (0..4).map(|_| Client::connect(server.address()).unwrap()).collect();
        for other in &mut others {
            assert_eq!(other.get("/").unwrap().status, 200);
        }
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}

fn a_worker_that_is_called_serves_many_connections_that_stay_with_it(backend: &str) {
    for (flags, kept) in [
        ("--workers 2 --dispatch connection", true),
        ("--workers 2 --policy shared", true),
        ("--workers 2 --dispatch auto", false),
    ] {
        let server = Plan::on(backend).with(flags).program([example("callback_worker")]).start();
        let mut clients: Vec<Client> =
            (0..6).map(|_| Client::connect(server.address()).unwrap()).collect();
        for _ in 0..3 {
            for client in &mut clients {
                assert_eq!(client.get("/").unwrap().status, 200, "{flags}");
            }
        }
        server.signal(Signal::SIGHUP);
        server.wait_for_status("the new workers serve alone", |status| {
            status.generation == 2 && status.workers.iter().all(|each| each.generation == 2)
        });
        // What nobody takes back ends with its worker, between two requests.
        for client in &mut clients {
            let answered = client.get("/").is_ok_and(|reply| reply.status == 200);
            assert_eq!(answered, !kept, "{flags}");
        }
    }
}

fn pipelined_requests_are_answered_in_order(backend: &str) {
    let server = spreading(backend).start();
    let mut client = Client::connect(server.address()).unwrap();
    for round in 0..20 {
        let pause = Span::from_ms(round % 3);
        let bytes: Vec<u8> = (0..5)
            .flat_map(|number| {
                let body = format!("{round}-{number}");
                let length = body.len();
                format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
                    .into_bytes()
            })
            .collect();
        let (first, second) = bytes.split_at(bytes.len() * 2 / 5);
        client.send(first).unwrap();
        nap(pause);
        client.send(second).unwrap();
        for number in 0..5 {
            assert_eq!(client.reply().unwrap().text(), format!("{round}-{number}"));
        }
    }
}

fn empty_lines_are_limited_however_often_they_come(backend: &str) {
    let server = spreading(backend).start();
    let mut client = parked(&server);
    for _ in 0..4 {
        client.send(b"\r\n").unwrap();
        nap(Span::from_ms(20));
    }
    assert_eq!(client.get("/").unwrap().status, 200);
    for _ in 0..5 {
        client.send(b"\r\n").unwrap();
        nap(Span::from_ms(20));
    }
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.closes()), (400, true));
}
