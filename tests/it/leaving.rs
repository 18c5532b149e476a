//! SIGTERM to workers, from whoever sends it: a service manager to the whole group, an operator to
//! one, the kernel when the master is gone. What has begun is finished.

use std::net::TcpListener;

use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::house::{House, Plan, example};
use crate::process;
use crate::role::{ROLE, program};
use crate::wait::{eventually, within};

on_both! {
    a_group_that_is_terminated_answers_what_it_has_begun
    so_does_one_whose_workers_hear_it_first
    a_group_of_sdk_workers_does_so_too
    a_worker_that_is_terminated_finishes_and_is_replaced
    an_sdk_worker_that_is_terminated_finishes_and_is_replaced
    what_has_begun_is_answered_without_a_master
    an_sdk_worker_answers_without_a_master
    without_a_master_ports_are_free_at_once
    without_a_master_a_worker_ends_by_the_drain_timeout
    who_hears_of_it_again_has_no_more_time
    quit_ends_workers_at_once
    workers_that_end_after_so_many_requests_are_replaced_at_once
    workers_that_ask_to_be_started_anew_go_when_another_is_there
}

/// One worker, so that it is known who has the request.
fn one(backend: &str) -> Plan {
    Plan::on(backend).with("--workers 1")
}

/// A request that is being served, and ends by itself.
fn asking(house: &House, path: &str) -> Client {
    let client = Client::asking(house.address(), path).unwrap();
    house.busy_worker();
    client
}

/// A request of which the worker has read a part: it waits for the rest.
fn asking_by_halves(house: &House) -> Client {
    let mut client = Client::connect(house.address()).unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    house.wait_for_status("it is read", |status| {
        status.workers.iter().any(|worker| 0 < worker.connections)
    });
    client
}

fn is_answered_by_halves(mut client: Client) {
    client.send(b"Connection: close\r\n\r\n").unwrap();
    assert_eq!(client.reply().unwrap().status, 200);
    client.end().unwrap();
}

fn is_answered(mut client: Client) {
    assert_eq!(client.reply().unwrap().status, 200);
    client.end().unwrap();
}

fn a_group_that_is_terminated_answers_what_it_has_begun(backend: &str) {
    for path in ["/sleep?ms=400", "/wait?ms=400"] {
        let mut house = one(backend).start();
        let client = asking(&house, path);
        let worker = house.worker(0).pid;
        house.signal(Signal::SIGTERM);
        process::signal(worker, Signal::SIGTERM);
        is_answered(client);
        assert_eq!(house.exit_code(), Some(0));
    }
}

fn so_does_one_whose_workers_hear_it_first(backend: &str) {
    let mut house = Plan::on(backend).start();
    let clients = [(); 2].map(|()| asking(&house, "/wait?ms=400"));
    for slot in [0, 1] {
        process::signal(house.worker(slot).pid, Signal::SIGTERM);
    }
    house.signal(Signal::SIGTERM);
    clients.into_iter().for_each(is_answered);
    assert_eq!(house.exit_code(), Some(0));
}

fn a_group_of_sdk_workers_does_so_too(backend: &str) {
    let mut house = one(backend).program([example("http_worker")]).start();
    let client = asking_by_halves(&house);
    let worker = house.worker(0).pid;
    house.signal(Signal::SIGTERM);
    process::signal(worker, Signal::SIGTERM);
    house.wait_for_log("stopping");
    is_answered_by_halves(client);
    assert_eq!(house.exit_code(), Some(0));
}

fn is_replaced(house: &House, before: u32) {
    let status = house.wait_for_status("another has its slot", |status| {
        status.have == 1 && status.workers.iter().all(|worker| worker.pid != before)
    });
    assert_eq!(status.generation, 1);
    assert_eq!(house.times_logged("died"), 0, "{}", house.log());
    assert_eq!(Client::get_once(house.address(), "/").unwrap().status, 200);
}

fn a_worker_that_is_terminated_finishes_and_is_replaced(backend: &str) {
    for path in ["/sleep?ms=400", "/wait?ms=400"] {
        let house = one(backend).start();
        let client = asking(&house, path);
        let worker = house.worker(0).pid;
        process::signal(worker, Signal::SIGTERM);
        is_answered(client);
        is_replaced(&house, worker);
    }
}

fn an_sdk_worker_that_is_terminated_finishes_and_is_replaced(backend: &str) {
    let house = one(backend).program([example("http_worker")]).start();
    let idle = house.worker(0).pid;
    process::signal(idle, Signal::SIGTERM);
    is_replaced(&house, idle);
    let client = asking_by_halves(&house);
    let busy = house.worker(0).pid;
    process::signal(busy, Signal::SIGTERM);
    house.wait_for_status("another is started", |status| {
        status.workers.iter().any(|worker| worker.pid != busy)
    });
    is_answered_by_halves(client);
    is_replaced(&house, busy);
}

/// The master is killed; its workers hear of it by SIGTERM and by their channels' ends.
fn kill_master(house: &mut House) {
    house.signal(Signal::SIGKILL);
    assert_eq!(house.exit_code(), None);
}

fn all_are_gone(house: &House) {
    eventually("its workers have ended", || house.survivors().is_empty().then_some(()));
}

fn what_has_begun_is_answered_without_a_master(backend: &str) {
    for policy in ["jbsq", "shared", "reuseport"] {
        for path in ["/sleep?ms=400", "/wait?ms=400"] {
            let mut house = one(backend).with(&format!("--policy {policy}")).start();
            let client = asking(&house, path);
            kill_master(&mut house);
            is_answered(client);
            all_are_gone(&house);
        }
    }
}

fn an_sdk_worker_answers_without_a_master(backend: &str) {
    for policy in ["jbsq", "shared", "reuseport"] {
        let plan = one(backend).with(&format!("--policy {policy}"));
        let mut house = plan.program([example("http_worker")]).start();
        let client = asking_by_halves(&house);
        kill_master(&mut house);
        is_answered_by_halves(client);
        all_are_gone(&house);
    }
}

fn without_a_master_ports_are_free_at_once(backend: &str) {
    for policy in ["shared", "reuseport"] {
        for example_name in [None, Some("http_worker")] {
            let mut plan = one(backend).with(&format!("--policy {policy}"));
            if let Some(name) = example_name {
                plan = plan.program([example(name)]);
            }
            let mut house = plan.start();
            let client = match example_name {
                None => asking(&house, "/sleep?ms=3000"),
                Some(_) => asking_by_halves(&house),
            };
            kill_master(&mut house);
            let port = within(Span::from_s(2), "the port is free", || {
                TcpListener::bind(house.address()).ok()
            });
            // It is all the successor's.
            for _ in 0..16 {
                Client::connect(house.address()).unwrap();
                port.accept().unwrap();
            }
            assert_eq!(house.survivors().len(), 1, "it has not finished yet");
            match example_name {
                None => is_answered(client),
                Some(_) => is_answered_by_halves(client),
            }
        }
    }
}

fn without_a_master_a_worker_ends_by_the_drain_timeout(backend: &str) {
    for path in ["/sleep?ms=60000", "/wait?ms=60000"] {
        let mut house = one(backend).with("--drain-timeout 1s").start();
        let _client = asking(&house, path);
        kill_master(&mut house);
        within(Span::from_s(15), "it has ended", || house.survivors().is_empty().then_some(()));
    }
}

fn who_hears_of_it_again_has_no_more_time(backend: &str) {
    let mut house = one(backend).with("--drain-timeout 1s").start();
    let _client = asking(&house, "/wait?ms=60000");
    kill_master(&mut house);
    within(Span::from_s(15), "it has ended", || {
        let workers = house.survivors();
        workers.iter().for_each(|worker| process::signal(*worker, Signal::SIGTERM));
        workers.is_empty().then_some(())
    });
}

fn quit_ends_workers_at_once(backend: &str) {
    for program in [None, Some("http_worker")] {
        let mut plan = one(backend).with("--drain-timeout 60s");
        if let Some(name) = program {
            plan = plan.program([example(name)]);
        }
        let mut house = plan.start();
        let _client = match program {
            None => asking(&house, "/sleep?ms=60000"),
            Some(_) => asking_by_halves(&house),
        };
        house.signal(Signal::SIGQUIT);
        assert_eq!(house.exit_code(), Some(0));
        // Those that do not hear SIGTERM are killed a while later.
        assert_eq!(house.times_logged("SIGKILL"), 0, "{}", house.log());
        assert_eq!(house.times_logged("SIGTERM"), 1, "{}", house.log());
    }
}

fn workers_that_end_after_so_many_requests_are_replaced_at_once(backend: &str) {
    for policy in ["jbsq", "shared"] {
        let plan = Plan::on(backend).with(&format!("--policy {policy}"));
        let house = plan.program(program()).env(ROLE, "recycled").start();
        let (tally, ()) = crowd::load(house.address(), 3, Manner::Close, &["/"], || {
            // As many deaths in a row would take minutes.
            house.wait_for_status("each has gone often", |status| {
                status.workers.iter().all(|worker| 12 <= worker.restarts)
            });
        });
        assert_eq!(tally.errors, [""; 0], "{policy}");
        assert_eq!(house.times_logged("worker died"), 0, "{}", house.log());
        assert!(24 <= house.times_logged("worker left by itself: exit code 0"));
    }
}

fn workers_that_ask_to_be_started_anew_go_when_another_is_there(backend: &str) {
    for policy in ["jbsq", "reuseport"] {
        let plan = one(backend).with(&format!("--policy {policy}"));
        let house = plan.program(program()).env(ROLE, "retiring").start();
        let (tally, ()) = crowd::load(house.address(), 3, Manner::Close, &["/"], || {
            eventually("many have gone", || {
                (12 <= house.times_logged("worker left")).then_some(())
            });
        });
        assert_eq!(tally.errors, [""; 0], "{policy}");
        assert_eq!(house.times_logged("degraded"), 0, "{}", house.log());
        assert_eq!(house.times_logged("worker died"), 0, "{}", house.log());
        assert_eq!(house.status().totals.lost, 0);
    }
}
