//! SIGTERM to workers, from whoever sends it: a service manager to the whole group, an operator to
//! one, the kernel when the master is gone. What has begun is finished.

use std::net::TcpListener;

use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server, example};
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
fn asking(server: &Server, path: &str) -> Client {
    let client = Client::asking(server.address(), path).unwrap();
    server.busy_worker();
    client
}

/// A request of which the worker has read a part: it waits for the rest.
fn asking_by_halves(server: &Server) -> Client {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    server.wait_for_status("it is read", |status| {
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
        let mut server = one(backend).start();
        let client = asking(&server, path);
        let worker = server.worker(0).pid;
        server.signal(Signal::SIGTERM);
        process::signal(worker, Signal::SIGTERM);
        is_answered(client);
        assert_eq!(server.exit_code(), Some(0));
    }
}

fn so_does_one_whose_workers_hear_it_first(backend: &str) {
    let mut server = Plan::on(backend).start();
    let clients = [(); 2].map(|()| asking(&server, "/wait?ms=400"));
    for slot in [0, 1] {
        process::signal(server.worker(slot).pid, Signal::SIGTERM);
    }
    server.signal(Signal::SIGTERM);
    clients.into_iter().for_each(is_answered);
    assert_eq!(server.exit_code(), Some(0));
}

fn a_group_of_sdk_workers_does_so_too(backend: &str) {
    let mut server = one(backend).program([example("http_worker")]).start();
    let client = asking_by_halves(&server);
    let worker = server.worker(0).pid;
    server.signal(Signal::SIGTERM);
    process::signal(worker, Signal::SIGTERM);
    server.wait_for_log("stopping");
    is_answered_by_halves(client);
    assert_eq!(server.exit_code(), Some(0));
}

fn is_replaced(server: &Server, before: u32) {
    let status = server.wait_for_status("another has its slot", |status| {
        status.have == 1 && status.workers.iter().all(|worker| worker.pid != before)
    });
    assert_eq!(status.generation, 1);
    assert_eq!(server.times_logged("died"), 0, "{}", server.log());
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

fn a_worker_that_is_terminated_finishes_and_is_replaced(backend: &str) {
    for path in ["/sleep?ms=400", "/wait?ms=400"] {
        let server = one(backend).start();
        let client = asking(&server, path);
        let worker = server.worker(0).pid;
        process::signal(worker, Signal::SIGTERM);
        is_answered(client);
        is_replaced(&server, worker);
    }
}

fn an_sdk_worker_that_is_terminated_finishes_and_is_replaced(backend: &str) {
    let server = one(backend).program([example("http_worker")]).start();
    let idle = server.worker(0).pid;
    process::signal(idle, Signal::SIGTERM);
    is_replaced(&server, idle);
    let client = asking_by_halves(&server);
    let busy = server.worker(0).pid;
    process::signal(busy, Signal::SIGTERM);
    server.wait_for_status("another is started", |status| {
        status.workers.iter().any(|worker| worker.pid != busy)
    });
    is_answered_by_halves(client);
    is_replaced(&server, busy);
}

/// The master is killed; its workers hear of it by SIGTERM and by their channels' ends.
fn kill_master(server: &mut Server) {
    server.signal(Signal::SIGKILL);
    assert_eq!(server.exit_code(), None);
}

fn all_are_gone(server: &Server) {
    eventually("its workers have ended", || server.survivors().is_empty().then_some(()));
}

fn what_has_begun_is_answered_without_a_master(backend: &str) {
    for policy in ["jbsq", "shared", "reuseport"] {
        for path in ["/sleep?ms=400", "/wait?ms=400"] {
            let mut server = one(backend).with(&format!("--policy {policy}")).start();
            let client = asking(&server, path);
            kill_master(&mut server);
            is_answered(client);
            all_are_gone(&server);
        }
    }
}

fn an_sdk_worker_answers_without_a_master(backend: &str) {
    for policy in ["jbsq", "shared", "reuseport"] {
        let plan = one(backend).with(&format!("--policy {policy}"));
        let mut server = plan.program([example("http_worker")]).start();
        let client = asking_by_halves(&server);
        kill_master(&mut server);
        is_answered_by_halves(client);
        all_are_gone(&server);
    }
}

fn without_a_master_ports_are_free_at_once(backend: &str) {
    for policy in ["shared", "reuseport"] {
        for example_name in [None, Some("http_worker")] {
            let mut plan = one(backend).with(&format!("--policy {policy}"));
            if let Some(name) = example_name {
                plan = plan.program([example(name)]);
            }
            let mut server = plan.start();
            let client = match example_name {
                None => asking(&server, "/sleep?ms=3000"),
                Some(_) => asking_by_halves(&server),
            };
            kill_master(&mut server);
            let port = within(Span::from_s(2), "the port is free", || {
                TcpListener::bind(server.address()).ok()
            });
            // It is all the successor's.
            for _ in 0..16 {
                Client::connect(server.address()).unwrap();
                port.accept().unwrap();
            }
            assert_eq!(server.survivors().len(), 1, "it has not finished yet");
            match example_name {
                None => is_answered(client),
                Some(_) => is_answered_by_halves(client),
            }
        }
    }
}

fn without_a_master_a_worker_ends_by_the_drain_timeout(backend: &str) {
    for path in ["/sleep?ms=60000", "/wait?ms=60000"] {
        let mut server = one(backend).with("--drain-timeout 1s").start();
        let _client = asking(&server, path);
        kill_master(&mut server);
        within(Span::from_s(15), "it has ended", || server.survivors().is_empty().then_some(()));
    }
}

fn who_hears_of_it_again_has_no_more_time(backend: &str) {
    let mut server = one(backend).with("--drain-timeout 1s").start();
    let _client = asking(&server, "/wait?ms=60000");
    kill_master(&mut server);
    within(Span::from_s(15), "it has ended", || {
        let workers = server.survivors();
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
        let mut server = plan.start();
        let _client = match program {
            None => asking(&server, "/sleep?ms=60000"),
            Some(_) => asking_by_halves(&server),
        };
        server.signal(Signal::SIGQUIT);
        assert_eq!(server.exit_code(), Some(0));
        // Those that do not hear SIGTERM are killed a while later.
        assert_eq!(server.times_logged("SIGKILL"), 0, "{}", server.log());
        assert_eq!(server.times_logged("SIGTERM"), 1, "{}", server.log());
    }
}

fn workers_that_end_after_so_many_requests_are_replaced_at_once(backend: &str) {
    for policy in ["jbsq", "shared"] {
        let plan = Plan::on(backend).with(&format!("--policy {policy}"));
        let server = plan.program(program()).env(ROLE, "recycled").start();
        let (tally, ()) = crowd::load(server.address(), 3, Manner::Close, &["/"], || {
            // As many deaths in a row would take minutes.
            server.wait_for_status("each has gone often", |status| {
                status.workers.iter().all(|worker| 12 <= worker.restarts)
            });
        });
        assert_eq!(tally.errors, [""; 0], "{policy}");
        assert_eq!(server.times_logged("worker died"), 0, "{}", server.log());
        assert!(24 <= server.times_logged("worker left by itself: exit code 0"));
    }
}

fn workers_that_ask_to_be_started_anew_go_when_another_is_there(backend: &str) {
    for policy in ["jbsq", "reuseport"] {
        let plan = one(backend).with(&format!("--policy {policy}"));
        let server = plan.program(program()).env(ROLE, "retiring").start();
        let (tally, ()) = crowd::load(server.address(), 3, Manner::Close, &["/"], || {
            eventually("many have gone", || {
                (12 <= server.times_logged("worker left")).then_some(())
            });
        });
        assert_eq!(tally.errors, [""; 0], "{policy}");
        assert_eq!(server.times_logged("degraded"), 0, "{}", server.log());
        assert_eq!(server.times_logged("worker died"), 0, "{}", server.log());
        assert_eq!(server.status().totals.lost, 0);
    }
}
