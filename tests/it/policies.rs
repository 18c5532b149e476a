//! What tells the policies apart: shares and their order, and the way around a busy worker.

use dispatchd::limits::RECALL_AFTER;
use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;

use crate::client::Client;
use crate::server::{Plan, Server};
use crate::wait::eventually;

on_both! {
    rotation_is_even
    weights_are_kept_exactly_and_interleaved
    least_goes_around_a_busy_worker
    jbsq_goes_around_a_busy_worker
    jbsq_of_depth_one_goes_around_a_busy_worker
    shared_goes_around_a_busy_worker
    what_waits_behind_one_credit_is_served_when_it_returns
}

fn rotation_is_even(backend: &str) {
    let server = Plan::on(backend).with("--policy rr").start();
    for workers in stretches(&server, 4) {
        assert_eq!(count(&workers, 0), STRETCH / 2, "{workers:?}");
        assert!(workers.windows(2).all(|pair| pair[0] != pair[1]), "{workers:?}");
    }
}

fn weights_are_kept_exactly_and_interleaved(backend: &str) {
    let server = Plan::on(backend).with("--policy wrr --weight 3,1").start();
    let stretches = stretches(&server, 6);
    let first: usize = stretches.iter().map(|workers| count(workers, 0)).sum();
    assert!(first.abs_diff(3_000) <= 30, "{first} of 4000 went to weight 3");
    for workers in stretches {
        let runs_of_4 = workers.windows(4).filter(|run| run.iter().all(|one| *one == run[0]));
        assert_eq!(runs_of_4.count(), 0, "they are interleaved: {workers:?}");
    }
}

/// Connections of a stretch.
const STRETCH: usize = 400;

/// Who answered 4,000 connections that came one after the other, in stretches without disturbance.
/// A worker that a busy machine lets oversleep has its offers taken back and misses its turn for a
/// while; what is counted then is the machine. `share` is slot 0's part of eight turns.
fn stretches(server: &Server, share: usize) -> Vec<Vec<u16>> {
    let ask = || Client::get_once(server.address(), "/whoami").unwrap().worker();
    let mut stretches = Vec::new();
    for _ in 0..200 {
        eventually("all take their turns", || {
            let turns: Vec<u16> = (0..8).map(|_| ask()).collect();
            (count(&turns, 0) == share).then_some(())
        });
        let recalled = server.status().totals.recalled;
        let workers: Vec<u16> = (0..STRETCH).map(|_| ask()).collect();
        if server.status().totals.recalled == recalled {
            stretches.push(workers);
        }
        if stretches.len() * STRETCH == 4_000 {
            return stretches;
        }
    }
    panic!("this machine is too busy for {STRETCH} turns without a pause");
}

fn count(workers: &[u16], slot: u16) -> usize {
    workers.iter().filter(|worker| **worker == slot).count()
}

fn least_goes_around_a_busy_worker(backend: &str) {
    goes_around(backend, "least");
}

fn jbsq_goes_around_a_busy_worker(backend: &str) {
    goes_around(backend, "jbsq");
}

fn jbsq_of_depth_one_goes_around_a_busy_worker(backend: &str) {
    goes_around(backend, "jbsq:1");
}

fn shared_goes_around_a_busy_worker(backend: &str) {
    goes_around(backend, "shared");
}

fn goes_around(backend: &str, policy: &str) {
    let server = Plan::on(backend).with(&format!("--policy {policy}")).start();
    let mut slow = Client::asking(server.address(), "/sleep?ms=3000").unwrap();
    let busy = server.busy_worker();
    let began_at = monotonic();
    for _ in 0..30 {
        let reply = Client::get_once(server.address(), "/whoami").unwrap();
        assert_ne!(reply.worker(), busy.worker);
    }
    let took = monotonic().since(began_at);
    assert!(took < Span::from_ms(2_500), "it waited for the busy worker: {took}");
    assert_eq!(slow.reply().unwrap().worker(), busy.worker);
}

fn what_waits_behind_one_credit_is_served_when_it_returns(backend: &str) {
    let server = Plan::on(backend).with("--policy jbsq:1 --workers 1").start();
    let ask = || Client::asking(server.address(), "/sleep?ms=20").unwrap();
    let began_at = monotonic();
    let mut clients: Vec<Client> = (0..20).map(|_| ask()).collect();
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let took = monotonic().since(began_at);
    assert!(Span::from_ms(20 * 20) <= took, "two ran at once: {took}");
    assert!(took < Span::from_ms(20 * 20).times(4).max(RECALL_AFTER), "{took}");
}
