//! Every policy serves: mixed clients, no errors, each worker has its part, and the master has one
//! thread throughout.

use std::process::Stdio;

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::process;
use crate::server::{Plan, example};
use crate::wait::nap;

on_both! {
    round_robin_serves
    weighted_serves
    least_serves
    jbsq_serves
    jbsq_of_depth_one_serves
    shared_serves
    reuseport_serves
    a_program_of_the_users_own_serves
    who_writes_without_end_delays_nobody
}

fn round_robin_serves(backend: &str) {
    serves(backend, "rr");
}

fn weighted_serves(backend: &str) {
    serves(backend, "wrr");
}

fn least_serves(backend: &str) {
    serves(backend, "least");
}

fn jbsq_serves(backend: &str) {
    serves(backend, "jbsq");
}

fn jbsq_of_depth_one_serves(backend: &str) {
    serves(backend, "jbsq:1");
}

fn shared_serves(backend: &str) {
    serves(backend, "shared");
}

fn reuseport_serves(backend: &str) {
    serves(backend, "reuseport");
}

/// 4 clients, 10 rounds of 20 requests.
fn serves(backend: &str, policy: &str) {
    let server = Plan::on(backend).with(&format!("--policy {policy}")).start();
    let (address, pid) = (server.address(), server.pid());
    let (watched, tally) = std::thread::scope(|scope| {
        let clients = scope.spawn(move || crowd::rounds(address, 4, 10, "/whoami"));
        let mut most = 0;
        while !clients.is_finished() {
            most = most.max(process::threads(pid));
            nap(Span::from_ms(5));
        }
        (most, clients.join().unwrap())
    });
    assert_eq!(tally.errors, [""; 0], "{policy}");
    assert_eq!(tally.answered, 800, "{policy}");
    assert_eq!(watched, 1, "the master has one thread");
    assert_eq!(tally.by_worker.len(), 2, "{policy}: {:?}", tally.by_worker);
    let status = server.status();
    assert_eq!((status.backend.as_str(), status.policy.as_str()), (backend, policy));
    assert_eq!(status.totals.lost, 0);
}

fn a_program_of_the_users_own_serves(backend: &str) {
    let server = Plan::on(backend).program([example("http_worker")]).start();
    let tally = crowd::rounds(server.address(), 4, 5, "/");
    assert_eq!(tally.errors, [""; 0]);
    let accepted: Vec<u64> = server.status().workers.iter().map(|one| one.accepted).collect();
    assert!(accepted.iter().all(|count| 0 < *count), "{accepted:?}");
}

/// Each worker has started something of which the output is a flood.
fn who_writes_without_end_delays_nobody(backend: &str) {
    let program = ["sh", "-c", "yes \"$0\" >&2 & exec \"$1\" serve-worker"];
    let program = program.into_iter().chain(["a line of a flood", env!("CARGO_BIN_EXE_dispatchd")]);
    let server = Plan::on(backend).program(program).stderr(Stdio::null()).start();
    let (tally, slowest) = crowd::load(server.address(), 2, Manner::Mixed, &["/"], || {
        let ask = || {
            let asked = monotonic();
            assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
            monotonic().since(asked)
        };
        (0..200).map(|_| ask()).max().unwrap()
    });
    assert_eq!(tally.errors, [""; 0]);
    assert!(slowest < Span::from_s(1), "an answer took {slowest}");
}
