//! Whoever means harm: clients that drip bytes or send anything, and workers that lie. Each can
//! spoil what is its own, and nothing else.

use dispatchd::sys::clock::monotonic;
use dispatchd::sys::rlimit::raise_open_files;
use dispatchd::units::Span;

use crate::client::Client;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server};
use crate::wait::{eventually, nap, within};

on_both! {
    a_thousand_dripping_clients_do_not_delay_a_neighbour
    garbage_is_refused_and_hurts_nobody
    a_worker_that_talks_nonsense_is_replaced
    a_worker_whose_ring_is_impossible_is_replaced
    a_worker_that_speaks_of_strangers_is_replaced
    a_worker_that_mistakes_the_generation_is_replaced
    a_worker_that_returns_a_credit_twice_is_replaced
    a_worker_that_fills_or_empties_its_doorbell_silences_no_other
}

fn a_thousand_dripping_clients_do_not_delay_a_neighbour(backend: &str) {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: slow\r\n";
    raise_open_files().unwrap();
    let server = Plan::on(backend).start();
    let connect = || Client::connect(server.address()).unwrap();
    let mut dripping: Vec<Client> = (0..1_000).map(|_| connect()).collect();
    let mut worst = Span::ZERO;
    for byte in &REQUEST[..12] {
        for client in &mut dripping {
            client.send(&[*byte]).unwrap();
        }
        for _ in 0..5 {
            let began_at = monotonic();
            assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
            worst = worst.max(monotonic().since(began_at));
        }
    }
    assert!(worst < Span::from_s(2), "a neighbour waited {worst}");
    let open: u32 = server.status().workers.iter().map(|worker| worker.connections).sum();
    assert!(1_000 <= open, "{open} of them are open");
    // They are slow, and not wrong.
    for client in dripping.iter_mut().take(5) {
        client.send(&REQUEST[12..]).unwrap();
        client.send(b"\r\n").unwrap();
        assert_eq!(client.reply().unwrap().status, 200);
    }
}

fn garbage_is_refused_and_hurts_nobody(backend: &str) {
    let server = Plan::on(backend).start();
    let mut neighbour = Client::connect(server.address()).unwrap();
    neighbour.get("/").unwrap();
    // A small generator of its own makes every run the same.
    let mut state = 42_u64;
    for _ in 0..200 {
        let mut bytes = vec![0; 200];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_le_bytes()[7];
        }
        let mut client = Client::connect(server.address()).unwrap();
        client.send(&bytes).unwrap();
        client.send(b"\r\n\r\n").unwrap();
        let reply = client.reply().unwrap();
        assert!((400..600).contains(&reply.status), "{}", reply.status);
    }
    assert_eq!(neighbour.get("/").unwrap().status, 200);
    let status = server.status();
    assert_eq!(status.totals.lost, 0);
    assert!(status.workers.iter().all(|worker| worker.restarts == 0));
}

fn a_worker_that_talks_nonsense_is_replaced(backend: &str) {
    assert_eq!(errors_beside_a_liar(backend, "nonsense"), 0);
}

fn a_worker_whose_ring_is_impossible_is_replaced(backend: &str) {
    assert_eq!(errors_beside_a_liar(backend, "overrun"), 0);
}

fn a_worker_that_speaks_of_strangers_is_replaced(backend: &str) {
    assert_eq!(errors_beside_a_liar(backend, "stranger"), 0);
}

fn a_worker_that_mistakes_the_generation_is_replaced(backend: &str) {
    // What it did not claim goes to others.
    assert_eq!(errors_beside_a_liar(backend, "stale"), 0);
}

fn a_worker_that_returns_a_credit_twice_is_replaced(backend: &str) {
    assert_eq!(errors_beside_a_liar(backend, "twice"), 0);
}

fn a_worker_that_fills_or_empties_its_doorbell_silences_no_other(backend: &str) {
    for lie in ["filler", "thief"] {
        let plan =
            Plan::on(backend).with("--policy jbsq:1 --dispatch connection --drain-timeout 1s");
        let server = plan.program(program()).env(ROLE, lie).start();
        // It keeps one of them; all others wait for what its neighbour says, when the time that the
        // master gives to offers is long over.
        let ask = |_| Client::asking(server.address(), "/sleep?ms=40").unwrap();
        let mut waiting: Vec<Client> = (0..12).map(ask).collect();
        eventually(&format!("the neighbour of a {lie} is heard"), || {
            waiting.retain_mut(|client| client.poll_reply().is_none());
            (waiting.len() == 1).then_some(())
        });
    }
}

/// Failed requests until two liars in a row were replaced.
fn errors_beside_a_liar(backend: &str, lie: &str) -> usize {
    let server = Plan::on(backend).with("--policy rr").program(program()).env(ROLE, lie).start();
    let mut errors = 0;
    within(Span::from_s(60), "two liars are replaced", || {
        errors += usize::from(!ask(&server));
        (2 <= server.times_logged("worker replaced, it broke the protocol")).then_some(())
    });
    assert!(server.log().contains("worker broke the protocol"), "each lie is counted");
    assert_eq!(server.worker(1).restarts, 0, "an honest one stays");
    errors
}

/// One test for both backends at once, since it takes as long as the master's patience.
#[test]
fn a_worker_that_never_claims_is_replaced_and_delays_nobody() {
    // Without its master it ends by that.
    let plan = |backend| Plan::on(backend).with("--drain-timeout 1s");
    let deaf = |backend| plan(backend).program(program()).env(ROLE, "deaf").start();
    let servers = ["uring", "epoll"].map(deaf);
    within(Span::from_s(60), "both are replaced", || {
        for server in &servers {
            assert!(ask(server), "what it did not claim goes to others");
        }
        let is_replaced =
            |server: &Server| 0 < server.times_logged("worker replaced, it took no connections");
        servers.iter().all(is_replaced).then_some(())
    });
    for server in &servers {
        assert!(server.log().contains("worker does not take its connections"));
    }
}

/// One request, and whether it was answered.
fn ask(server: &Server) -> bool {
    let began_at = monotonic();
    let reply = Client::get_once(server.address(), "/");
    let took = monotonic().since(began_at);
    assert!(took < Span::from_s(5), "a request waited {took}");
    nap(Span::from_ms(3));
    reply.is_ok_and(|reply| reply.status == 200)
}
