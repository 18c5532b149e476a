//! Workers that stand still, idle or busy: what they have not claimed is served by others, soon.

use dispatchd::sys::clock::monotonic;
use dispatchd::units::{Mono, Span};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::{Plan, Server};
use crate::wait::{eventually, nap};

/// How long a worker stands still.
const STOP: Span = Span::from_ms(1_500);
/// No connection may wait so long: a third of the stop, and many times what it takes.
const DELAY_MAX: Span = Span::from_ms(500);
const ARRIVALS_EVERY: Span = Span::from_ms(4);

on_both! {
    a_stopped_worker_delays_nobody_under_least
    a_stopped_worker_delays_nobody_under_jbsq
    a_stopped_worker_delays_nobody_under_shared
    a_stopped_worker_gets_its_turn_again
    a_stopped_worker_keeps_no_connection_that_it_has_given_back
}

fn a_stopped_worker_delays_nobody_under_least(backend: &str) {
    stop_each(backend, "least");
}

fn a_stopped_worker_delays_nobody_under_jbsq(backend: &str) {
    stop_each(backend, "jbsq");
}

fn a_stopped_worker_delays_nobody_under_shared(backend: &str) {
    stop_each(backend, "shared");
}

fn stop_each(backend: &str, policy: &str) {
    let server = || Plan::on(backend).with(&format!("--policy {policy}")).start();
    stop_an_idle_worker(&server(), 0);
    stop_an_idle_worker(&server(), 1);
    stop_a_busy_worker(&server());
}

fn stop_an_idle_worker(server: &Server, slot: u16) {
    let worker = server.worker(slot);
    process::freeze(worker.pid);
    let worst = arrivals(server.address());
    process::signal(worker.pid, Signal::SIGCONT);
    assert!(worst < DELAY_MAX, "a connection waited {worst} for the idle worker {slot}");
}

fn stop_a_busy_worker(server: &Server) {
    let mut claimed = Client::asking(server.address(), "/sleep?ms=100").unwrap();
    let worker = server.busy_worker();
    process::freeze(worker.pid);
    let worst = arrivals(server.address());
    process::signal(worker.pid, Signal::SIGCONT);
    assert!(worst < DELAY_MAX, "a connection waited {worst} for the busy worker");
    assert_eq!(claimed.reply().unwrap().status, 200);
}

/// Clients that come at a pace for as long as the stop lasts; the longest that one waited.
fn arrivals(address: &str) -> Span {
    let began_at = monotonic();
    let mut waiting: Vec<(Mono, Client)> = Vec::new();
    let mut worst = Span::ZERO;
    while monotonic().since(began_at) < STOP {
        waiting.push((monotonic(), Client::asking(address, "/whoami").unwrap()));
        nap(ARRIVALS_EVERY);
        collect(&mut waiting, &mut worst);
    }
    // Those of the end have their time, too; the worker still stands.
    eventually("all are answered", || {
        collect(&mut waiting, &mut worst);
        let oldest = waiting.first().map(|(since, _)| monotonic().since(*since));
        oldest.is_none_or(|waited| DELAY_MAX <= waited).then_some(())
    });
    let oldest = waiting.first().map_or(Span::ZERO, |(since, _)| monotonic().since(*since));
    worst.max(oldest)
}

fn collect(waiting: &mut Vec<(Mono, Client)>, worst: &mut Span) {
    waiting.retain_mut(|(since, client)| match client.poll_reply() {
        None => true,
        Some(reply) => {
            assert_eq!(reply.unwrap().status, 200);
            *worst = monotonic().since(*since).max(*worst);
            false
        }
    });
}

fn a_stopped_worker_gets_its_turn_again(backend: &str) {
    let server = Plan::on(backend).with("--policy rr").start();
    let worker = server.worker(0);
    process::freeze(worker.pid);
    for _ in 0..10 {
        assert_eq!(Client::get_once(server.address(), "/whoami").unwrap().worker(), 1);
    }
    process::signal(worker.pid, Signal::SIGCONT);
    eventually("the worker serves again", || {
        (Client::get_once(server.address(), "/whoami").unwrap().worker() == 0).then_some(())
    });
    assert_eq!(server.worker(0).pid, worker.pid);
}

fn a_stopped_worker_keeps_no_connection_that_it_has_given_back(backend: &str) {
    let server = Plan::on(backend).with("--dispatch request").start();
    let mut idle: Vec<Client> =
        (0..10).map(|_| Client::connect(server.address()).unwrap()).collect();
    for client in &mut idle {
        assert_eq!(client.get("/whoami").unwrap().status, 200);
    }
    server.wait_for_status("all are given back", |status| status.hold.parked == 10);
    let worker = server.worker(0);
    process::freeze(worker.pid);
    for client in &mut idle {
        assert_eq!(client.get("/whoami").unwrap().worker(), 1);
    }
    process::signal(worker.pid, Signal::SIGCONT);
}
