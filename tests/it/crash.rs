//! Workers that are killed: only what they had begun with is lost, and they come back.

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use dispatchd::wire::control::Status;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server};

on_both! {
    killed_workers_under_rr_lose_only_what_they_had_begun
    killed_workers_under_least_lose_only_what_they_had_begun
    killed_workers_under_jbsq_lose_only_what_they_had_begun
    what_a_killed_worker_had_not_read_is_served_by_others_under_rr
    what_a_killed_worker_had_not_read_is_served_by_others_under_least
    what_a_killed_worker_had_not_read_is_served_by_others_under_jbsq
    the_queue_of_a_killed_workers_own_socket_is_served_by_others
    a_crash_loop_is_slowed_down_and_told
    requests_that_kill_cost_themselves_and_hold_nobody_up
    requests_that_kill_whatever_comes_are_slowed_down_a_little
}

fn killed_workers_under_rr_lose_only_what_they_had_begun(backend: &str) {
    kill_under_load(backend, "rr");
}

fn killed_workers_under_least_lose_only_what_they_had_begun(backend: &str) {
    kill_under_load(backend, "least");
}

fn killed_workers_under_jbsq_lose_only_what_they_had_begun(backend: &str) {
    kill_under_load(backend, "jbsq");
}

fn kill_under_load(backend: &str, policy: &str) {
    const KILLS: u32 = 6;
    let server = Plan::on(backend).with(&format!("--policy {policy}")).start();
    let paths = ["/", "/", "/", "/sleep?ms=5"];
    let (tally, lost) = crowd::load(server.address(), 4, Manner::Close, &paths, || {
        for kill in 0..KILLS {
            let victim = server.worker(u16::try_from(kill % 2).unwrap());
            process::signal(victim.pid, Signal::SIGKILL);
            server.wait_for_status("the worker is back", |status| {
                restarts(status) == kill + 1 && status.have == 2
            });
        }
        server.status().totals.lost
    });
    assert!(100 < tally.answered, "{policy}: {} answers", tally.answered);
    let errors = tally.errors.len();
    assert!(errors as u64 <= lost, "{policy}: {errors} errors, the master knows of {lost}");
    // A worker runs one request, beside one that is being answered and one that it just claimed.
    assert!(lost <= 3 * u64::from(KILLS), "{policy}: {lost} lost with {KILLS} workers");
    let exits = server.status().workers;
    let told = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("SIGKILL"));
    assert!(exits.iter().all(|worker| told(&worker.last_exit)), "{exits:?}");
}

fn restarts(status: &Status) -> u32 {
    let mut slots: Vec<_> = status.workers.iter().map(|one| (one.worker, one.restarts)).collect();
    slots.dedup();
    slots.iter().map(|(_, restarts)| restarts).sum()
}

fn what_a_killed_worker_had_not_read_is_served_by_others_under_rr(backend: &str) {
    kill_with_unread(&Plan::on(backend).with("--policy rr").start());
}

fn what_a_killed_worker_had_not_read_is_served_by_others_under_least(backend: &str) {
    kill_with_unread(&Plan::on(backend).with("--policy least").start());
}

fn what_a_killed_worker_had_not_read_is_served_by_others_under_jbsq(backend: &str) {
    kill_with_unread(&Plan::on(backend).with("--policy jbsq:2").start());
}

/// One worker sleeps with connections in its channel, or none if the policy takes them back.
fn kill_with_unread(server: &Server) {
    let mut begun = Client::asking(server.address(), "/sleep?ms=60000").unwrap();
    let busy = server.busy_worker();
    let ask = || Client::asking(server.address(), "/whoami").unwrap();
    let mut others: Vec<Client> = (0..20).map(|_| ask()).collect();
    server.wait_for_status("all have arrived", |status| status.totals.arrived == 21);
    process::signal(busy.pid, Signal::SIGKILL);
    for client in &mut others {
        let reply = client.reply().unwrap();
        assert_ne!(reply.json()["pid"], busy.pid);
    }
    begun.reply().unwrap_err();
    let status = server.wait_until_whole();
    assert_eq!((status.totals.lost, restarts(&status)), (1, 1));
}

fn the_queue_of_a_killed_workers_own_socket_is_served_by_others(backend: &str) {
    let server = Plan::on(backend).with("--policy reuseport").start();
    let mut begun = Client::asking(server.address(), "/sleep?ms=60000").unwrap();
    let busy = server.busy_worker();
    let ask = || Client::asking(server.address(), "/whoami").unwrap();
    // About half of these wait in the socket of the worker that sleeps.
    let mut others: Vec<Client> = (0..40).map(|_| ask()).collect();
    process::signal(busy.pid, Signal::SIGKILL);
    for client in &mut others {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    begun.reply().unwrap_err();
    server.wait_until_whole();
}

fn a_crash_loop_is_slowed_down_and_told(backend: &str) {
    let plan = Plan::on(backend);
    let fails = plan.dir().join("fails");
    let program = "[ -e \"$0\" ] && echo oops >&2 && exit 9; exec \"$1\" serve-worker";
    let server = env!("CARGO_BIN_EXE_dispatchd");
    let program = ["sh", "-c", program, fails.to_str().unwrap(), server];
    let server = plan.program(program).start();
    std::fs::write(&fails, "").unwrap();
    process::signal(server.worker(0).pid, Signal::SIGKILL);
    let status = server.wait_for_status("it was tried again", |status| 5 <= restarts(status));
    assert_eq!((status.have, status.want), (1, 2));
    let last = status.workers.iter().find_map(|one| one.last_exit.clone()).unwrap();
    assert!(last.contains("exit code 9") && last.contains("oops"), "{last}");
    assert!(server.log().contains("degraded: fewer workers ready than wanted"));
    Client::get_once(server.address(), "/").unwrap();
    std::fs::remove_file(&fails).unwrap();
    server.wait_until_whole();
}

fn poison(server: &Server, times: u32) {
    for _ in 0..times {
        let mut client = Client::asking(server.address(), "/poison").unwrap();
        client.reply().unwrap_err();
    }
}

fn fragile(backend: &str, policy: &str) -> Server {
    let plan = Plan::on(backend).with(&format!("--policy {policy}"));
    plan.program(program()).env(ROLE, "fragile").start()
}

fn requests_that_kill_cost_themselves_and_hold_nobody_up(backend: &str) {
    const TIMES: u32 = 24;
    for policy in ["jbsq", "shared"] {
        let server = fragile(backend, policy);
        let (tally, took) = crowd::load(server.address(), 2, Manner::Close, &["/"], || {
            let began_at = monotonic();
            poison(&server, TIMES);
            monotonic().since(began_at)
        });
        // As many crashes of a program that does nothing would take half a minute.
        assert!(took < Span::from_s(15), "{policy}: {took}");
        assert_eq!(tally.errors, [""; 0], "{policy}");
        assert_eq!(restarts(&server.wait_until_whole()), TIMES);
    }
}

fn requests_that_kill_whatever_comes_are_slowed_down_a_little(backend: &str) {
    const TIMES: u32 = 20;
    let server = fragile(backend, "jbsq");
    let began_at = monotonic();
    poison(&server, TIMES);
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    let took = monotonic().since(began_at);
    // Ten in each slot: 0, 50, 100 and 200 ms, then 400 ms each, and a quarter more at most.
    assert!(Span::from_ms(1_000) < took && took < Span::from_s(60), "{took}");
}
