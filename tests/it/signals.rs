//! The operator's signals: graceful and fast ends, one worker more or less, what becomes of workers
//! whose master is gone, and of those that hear what is meant for it.

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server, example};
use crate::wait::eventually;

on_both! {
    term_finishes_what_runs_and_refuses_the_rest
    int_ends_gracefully_too
    idle_keep_alive_connections_do_not_hold_up_the_end
    the_drain_deadline_ends_what_does_not_finish
    a_second_int_is_fast
    quit_is_fast
    one_worker_more_and_one_less
    a_grown_slot_accepts_for_itself_under_reuseport
    workers_end_when_their_master_is_killed
    a_worker_that_ignores_sigterm_is_killed
    what_is_meant_for_the_master_does_nothing_to_workers
    what_a_worker_executes_has_its_signals_at_default
}

/// Less than any drain deadline in these tests.
const FAST: Span = Span::from_s(10);

fn term_finishes_what_runs_and_refuses_the_rest(backend: &str) {
    let mut server = Plan::on(backend).start();
    let mut running: Vec<Client> = ["/sleep?ms=1000", "/wait?ms=1000", "/whoami", "/whoami"]
        .map(|path| Client::asking(server.address(), path).unwrap())
        .into();
    server.wait_for_status("all have arrived", |status| status.totals.arrived == 4);
    server.busy_worker();
    server.signal(Signal::SIGTERM);
    eventually("newcomers are refused", || Client::connect(server.address()).err());
    for client in &mut running {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.survivors(), [0; 0]);
}

fn int_ends_gracefully_too(backend: &str) {
    let mut server = Plan::on(backend).start();
    let mut running = Client::asking(server.address(), "/sleep?ms=500").unwrap();
    server.busy_worker();
    server.signal(Signal::SIGINT);
    assert_eq!(running.reply().unwrap().status, 200);
    assert_eq!(server.exit_code(), Some(0));
}

fn idle_keep_alive_connections_do_not_hold_up_the_end(backend: &str) {
    let mut server = Plan::on(backend).with("--drain-timeout 60s").start();
    let mut idle = Client::connect(server.address()).unwrap();
    idle.get("/").unwrap();
    let silent = Client::connect(server.address()).unwrap();
    server.wait_for_status("both have arrived", |status| status.totals.arrived == 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    drop(silent);
}

fn the_drain_deadline_ends_what_does_not_finish(backend: &str) {
    let mut server = Plan::on(backend).with("--drain-timeout 300ms").start();
    let mut running = begin_for_ever(&server);
    let began_at = monotonic();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    let took = monotonic().since(began_at);
    assert!(Span::from_ms(300) <= took && took < FAST, "{took}");
    running.reply().unwrap_err();
}

fn a_second_int_is_fast(backend: &str) {
    let mut server = Plan::on(backend).with("--drain-timeout 60s").start();
    let _running = begin_for_ever(&server);
    server.signal(Signal::SIGINT);
    server.wait_for_log("stopping");
    let began_at = monotonic();
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit_code(), Some(0));
    let took = monotonic().since(began_at);
    assert!(took < FAST, "{took}");
}

fn quit_is_fast(backend: &str) {
    let mut server = Plan::on(backend).with("--drain-timeout 60s").start();
    let _running = begin_for_ever(&server);
    let began_at = monotonic();
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
    let took = monotonic().since(began_at);
    assert!(took < FAST, "{took}");
}

fn begin_for_ever(server: &Server) -> Client {
    let client = Client::asking(server.address(), "/sleep?ms=60000").unwrap();
    server.busy_worker();
    client
}

fn one_worker_more_and_one_less(backend: &str) {
    let server = Plan::on(backend).start();
    server.signal(Signal::SIGTTIN);
    let status = server.wait_for_status("a third worker is ready", |status| status.have == 3);
    assert_eq!(status.want, 3);
    let third = eventually("the third serves", || {
        let reply = Client::get_once(server.address(), "/whoami").unwrap();
        let _busy = Client::asking(server.address(), "/sleep?ms=50").unwrap();
        (reply.worker() == 2).then_some(reply.json()["pid"].as_u64().unwrap())
    });
    server.signal(Signal::SIGTTOU);
    server.wait_for_status("it has left", |status| {
        let here = status.workers.iter().any(|worker| u64::from(worker.pid) == third);
        status.want == 2 && status.have == 2 && !here
    });
    server.signal(Signal::SIGTTOU);
    server.wait_for_status("one is left", |status| status.want == 1);
    server.signal(Signal::SIGTTOU);
    let status = server.wait_until_whole();
    assert_eq!((status.have, status.want), (1, 1), "the last one stays");
    Client::get_once(server.address(), "/").unwrap();
}

fn a_grown_slot_accepts_for_itself_under_reuseport(backend: &str) {
    let server = Plan::on(backend).with("--policy reuseport").start();
    server.signal(Signal::SIGTTIN);
    server.wait_for_status("a third worker is ready", |status| status.have == 3);
    eventually("the third serves", || {
        let reply = Client::get_once(server.address(), "/whoami").unwrap();
        (reply.worker() == 2).then_some(())
    });
}

fn workers_end_when_their_master_is_killed(backend: &str) {
    let mut server = Plan::on(backend).start();
    let mut idle = Client::connect(server.address()).unwrap();
    idle.get("/").unwrap();
    assert_eq!(server.survivors().len(), 2);
    server.signal(Signal::SIGKILL);
    assert_eq!(server.exit_code(), None);
    eventually("the workers have ended", || server.survivors().is_empty().then_some(()));
}

fn a_worker_that_ignores_sigterm_is_killed(backend: &str) {
    let mut deaf = ["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""].map(Into::into).to_vec();
    deaf.extend(program());
    let plan = Plan::on(backend).with("--drain-timeout 100ms").program(deaf);
    let mut server = plan.env(ROLE, "stubborn").start();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.survivors(), [0; 0]);
    assert!(server.log().contains("killed by SIGKILL"), "the log says so");
}

const MEANT_FOR_THE_MASTER: [Signal; 5] =
    [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTTIN, Signal::SIGTTOU];

fn what_is_meant_for_the_master_does_nothing_to_workers(backend: &str) {
    for program in [None, Some("http_worker")] {
        let mut plan = Plan::on(backend).with("--workers 1");
        if let Some(name) = program {
            plan = plan.program([example(name)]);
        }
        let server = plan.start();
        let worker = server.worker(0).pid;
        for signal in MEANT_FOR_THE_MASTER {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
            server.wait_for_status("a part of it is read", |status| {
                status.workers.iter().any(|worker| 0 < worker.connections)
            });
            process::signal(worker, signal);
            client.send(b"Connection: close\r\n\r\n").unwrap();
            assert_eq!(client.reply().unwrap().status, 200, "{program:?}, {signal}");
        }
        assert_eq!(server.worker(0).pid, worker);
        assert_eq!(server.status().generation, 1);
    }
}

fn what_a_worker_executes_has_its_signals_at_default(backend: &str) {
    let plan = Plan::on(backend).with("--workers 1").program(program());
    let mut server = plan.env(ROLE, "parent").start();
    let worker = server.worker(0).pid;
    let child = eventually("it has executed something", || {
        let [child] = process::children(worker)[..] else { return None };
        (process::name(child)? == "sleep").then_some(child)
    });
    let meant = MEANT_FOR_THE_MASTER.iter().fold(0, |set, signal| set | 1 << (*signal as u64 - 1));
    assert_eq!(process::signals(worker, "SigCgt") & meant, meant);
    for set in ["SigIgn", "SigCgt", "SigBlk"] {
        assert_eq!(process::signals(child, set) & meant, 0, "{set}");
    }
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
}
