//! A process that was stopped for a while, as `docker pause` or a virtual machine's snapshot does
//! it, and goes on when a deadline has passed: what came meanwhile came in time.

use dispatchd::limits::HTTP_REQUEST_TIMEOUT;
use dispatchd::sys::clock::monotonic;
use dispatchd::units::{Mono, Span};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::Plan;
use crate::wait::nap;

on_both! {
    a_master_that_was_stopped_serves_whoever_has_asked
    a_worker_that_was_stopped_answers_whoever_has_asked
}

/// How long a client may be silent once dispatchd is to stop, and a bit.
const SILENT_AFTER_STOP: Span = Span::from_ms(700);

/// Lets time pass for a process that is stopped.
fn pass_until(end: Mono) {
    while monotonic() < end {
        nap(Span::from_ms(5));
    }
}

fn a_master_that_was_stopped_serves_whoever_has_asked(backend: &str) {
    const EACH: usize = 20;
    let mut server = Plan::on(backend).with("--dispatch request").start();
    let address = server.address().to_owned();
    let mut clients: Vec<_> = (0..2 * EACH).map(|_| Client::connect(&address).unwrap()).collect();
    for client in &mut clients[..EACH] {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    server.wait_for_status("half of them are parked and half are silent", |status| {
        status.hold.parked as usize == EACH && status.hold.watched as usize == EACH
    });
    // Somebody is served, or the end would come at once.
    let running = Client::asking(&address, "/wait?ms=3000").unwrap();
    server.busy_worker();
    server.signal(Signal::SIGTERM);
    server.wait_for_log("stopping");
    let stopped_at = monotonic();
    process::freeze(server.pid());
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    }
    pass_until(stopped_at.after(SILENT_AFTER_STOP));
    server.signal(Signal::SIGCONT);
    for mut client in clients.into_iter().chain([running]) {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(server.exit_code(), Some(0));
}

fn a_worker_that_was_stopped_answers_whoever_has_asked(backend: &str) {
    const CLIENTS: u32 = 20;
    let server = Plan::on(backend).with("--workers 1").start();
    let connect = |_| {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        client
    };
    let began_at = monotonic();
    let mut clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    server.wait_for_status("all have begun", |status| status.workers[0].connections == CLIENTS);
    let worker = server.worker(0).pid;
    process::freeze(worker);
    for client in &mut clients {
        client.send(b"Connection: close\r\n\r\n").unwrap();
    }
    pass_until(began_at.after(HTTP_REQUEST_TIMEOUT).after(Span::from_s(1)));
    process::signal(worker, Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
}
