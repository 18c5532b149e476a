//! Rolling replacement: new workers are ready before old ones leave, no request is lost, and what
//! does not start changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use dispatchd::units::Span;
use dispatchd::wire::control::Status;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd::{self, Manner};
use crate::process;
use crate::role::{ROLE, WORD, program};
use crate::server::{Plan, Server, example};
use crate::wait::{eventually, nap};

const RELOADS: u32 = 3;

on_both! {
    reloads_under_rr_lose_nothing
    reloads_under_wrr_lose_nothing
    reloads_under_least_lose_nothing
    reloads_under_jbsq_lose_nothing
    reloads_under_shared_lose_nothing
    reloads_under_reuseport_lose_nothing
    reloads_during_a_reload_become_one
    what_no_longer_starts_changes_nothing
    a_reload_in_which_nobody_lives_and_nobody_starts_is_not_done
    a_request_that_runs_is_finished_by_the_old_worker
    a_release_that_dies_soon_after_it_is_ready_is_given_up
    a_reload_that_was_asked_for_during_one_that_fails_is_tried
    a_release_that_does_not_start_leaves_the_old_one_whole
    a_release_that_is_never_ready_leaves_the_old_one_whole
    a_release_that_fails_after_the_first_slot_leaves_the_old_one_whole
    a_release_that_fails_after_half_leaves_the_old_one_whole
    a_release_that_fails_after_half_under_shared_leaves_the_old_one_whole
}

fn reloads_under_rr_lose_nothing(backend: &str) {
    reload_under_load(backend, "rr");
}

fn reloads_under_wrr_lose_nothing(backend: &str) {
    reload_under_load(backend, "wrr");
}

fn reloads_under_least_lose_nothing(backend: &str) {
    reload_under_load(backend, "least");
}

fn reloads_under_jbsq_lose_nothing(backend: &str) {
    reload_under_load(backend, "jbsq");
}

fn reloads_under_shared_lose_nothing(backend: &str) {
    reload_under_load(backend, "shared");
}

fn reloads_under_reuseport_lose_nothing(backend: &str) {
    reload_under_load(backend, "reuseport");
}

fn reload_under_load(backend: &str, policy: &str) {
    for manner in [Manner::Close, Manner::KeepAlive(1_000)] {
        let server = Plan::on(backend).with(&format!("--policy {policy}")).start();
        let mut seen = pids(&server.status());
        let (tally, ()) = crowd::load(server.address(), 4, manner, &["/"], || {
            for generation in 2..2 + RELOADS {
                server.signal(Signal::SIGHUP);
                server.wait_for_status("the new generation serves", |status| {
                    status.generation == generation
                });
                let now = pids(&server.wait_until_whole());
                assert!(seen.is_disjoint(&now), "{policy}: {seen:?} {now:?}");
                seen.extend(now);
            }
        });
        assert_eq!(tally.errors, [""; 0], "{policy}, {manner:?}");
        assert!(50 < tally.answered, "{policy}, {manner:?}: {} answers", tally.answered);
        assert_eq!(server.status().totals.lost, 0);
    }
}

fn reloads_during_a_reload_become_one(backend: &str) {
    let program = ["sh", "-c", "sleep 0.3; exec \"$0\" serve-worker", dispatchd()];
    let server = Plan::on(backend).program(program).start();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload begins");
    for _ in 0..3 {
        server.signal(Signal::SIGHUP);
        nap(Span::from_ms(20));
    }
    server.wait_for_status("the second rollout is done", |status| status.generation == 3);
    server.wait_until_whole();
    assert_eq!(server.times_logged("reload begins"), 2);
    assert_eq!(server.status().generation, 3);
}

fn what_no_longer_starts_changes_nothing(backend: &str) {
    let plan = Plan::on(backend);
    let script = plan.dir().join("worker");
    let write = |text: String| {
        // Replaced in one go, since it may be executed meanwhile.
        let fresh = script.with_extension("new");
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &script).unwrap();
    };
    let good = format!("#!/bin/sh\nexec {}\n", example("http_worker").display());
    write(good.clone());
    let server = plan.program([script.as_os_str()]).start();
    let before = pids(&server.status());
    write("#!/bin/sh\necho broken >&2\nexit 7\n".to_owned());
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload given up");
    let status = server.wait_until_whole();
    assert_eq!((pids(&status), status.generation), (before.clone(), 1));
    answers(&server);
    write(good);
    server.signal(Signal::SIGHUP);
    server.wait_for_status("the new generation serves", |status| 1 < status.generation);
    assert!(pids(&server.wait_until_whole()).is_disjoint(&before));
    answers(&server);
}

fn a_reload_in_which_nobody_lives_and_nobody_starts_is_not_done(backend: &str) {
    let plan = Plan::on(backend);
    let broken = plan.dir().join("broken");
    let program = "[ -e \"$0\" ] && exit 9; exec \"$1\" serve-worker";
    let program = ["sh", "-c", program, broken.to_str().unwrap(), dispatchd()];
    let server = plan.program(program).start();
    fs::write(&broken, "").unwrap();
    for worker in server.status().workers {
        process::signal(worker.pid, Signal::SIGKILL);
    }
    // From the third death in a row on there is time between two attempts.
    server.wait_for_status("all slots wait for their next attempt", |status| {
        status.workers.iter().all(|worker| 4 <= worker.restarts && worker.state == "vacant")
    });
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload given up");
    assert_eq!(server.times_logged("reload done"), 0);
    fs::remove_file(&broken).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload done");
    assert_eq!(server.wait_until_whole().have, 2);
}

fn a_request_that_runs_is_finished_by_the_old_worker(backend: &str) {
    let server = Plan::on(backend).start();
    let mut slow = Client::asking(server.address(), "/sleep?ms=1500").unwrap();
    let busy = server.busy_worker();
    server.signal(Signal::SIGHUP);
    server.wait_for_status("the new generation serves", |status| status.generation == 2);
    let reply = Client::get_once(server.address(), "/whoami").unwrap();
    assert_eq!(reply.json()["generation"], 2);
    assert_eq!(slow.reply().unwrap().worker(), busy.worker);
    server.wait_until_whole();
    assert_eq!(server.status().totals.lost, 0);
}

fn answers(server: &Server) {
    for _ in 0..10 {
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
}

fn pids(status: &Status) -> BTreeSet<u32> {
    status.workers.iter().map(|worker| worker.pid).collect()
}

fn dispatchd() -> &'static str {
    env!("CARGO_BIN_EXE_dispatchd")
}

/// Workers that die soon after they are ready, once the file is there.
fn brief(backend: &str, policy: &str) -> (Server, PathBuf) {
    let plan = Plan::on(backend).with(&format!("--policy {policy}"));
    let word = plan.dir().join("word");
    let server = plan.program(program()).env(ROLE, "brief").env(WORD, word.to_str().unwrap());
    let server = server.start();
    (server, word)
}

fn a_release_that_dies_soon_after_it_is_ready_is_given_up(backend: &str) {
    for policy in ["jbsq", "shared"] {
        let (server, word) = brief(backend, policy);
        let before = server.wait_until_whole();
        fs::write(&word, "").unwrap();
        let (tally, ()) = crowd::load(server.address(), 2, Manner::Close, &["/"], || {
            server.signal(Signal::SIGHUP);
            server.wait_for_log("reload given up");
        });
        assert!(50 < tally.answered, "{policy}: {} answers", tally.answered);
        let status = server.wait_until_whole();
        assert_eq!((pids(&status), status.generation), (pids(&before), 1), "{policy}");
        assert_eq!(server.times_logged("exit code 3"), 3, "{}", server.log());
        fs::remove_file(&word).unwrap();
        server.signal(Signal::SIGHUP);
        server.wait_for_status("the mended one serves", |status| status.generation == 3);
    }
}

fn a_reload_that_was_asked_for_during_one_that_fails_is_tried(backend: &str) {
    let (server, word) = brief(backend, "jbsq");
    fs::write(&word, "").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("exit code 3");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload given up");
    fs::remove_file(&word).unwrap();
    eventually("it is tried", || (server.times_logged("reload begins") == 2).then_some(()));
    // It may have failed before it was mended.
    server.wait_for_status("it comes to an end", |status| {
        status.generation == 3 || server.times_logged("reload given up") == 2
    });
}

fn a_release_that_does_not_start_leaves_the_old_one_whole(backend: &str) {
    failing_release(backend, "jbsq", 0, "exit 7");
}

fn a_release_that_is_never_ready_leaves_the_old_one_whole(backend: &str) {
    failing_release(backend, "jbsq", 0, "exec sleep 600");
}

fn a_release_that_fails_after_the_first_slot_leaves_the_old_one_whole(backend: &str) {
    failing_release(backend, "jbsq", 1, "exit 7");
}

fn a_release_that_fails_after_half_leaves_the_old_one_whole(backend: &str) {
    failing_release(backend, "jbsq", 2, "exit 7");
}

fn a_release_that_fails_after_half_under_shared_leaves_the_old_one_whole(backend: &str) {
    failing_release(backend, "shared", 2, "exit 7");
}

/// Of a release the first `good` workers serve, and the others do `otherwise`. Under load the old
/// workers, the very processes, serve in all slots again, no new one stays, and nothing is lost.
fn failing_release(backend: &str, policy: &str, good: usize, otherwise: &str) {
    let plan = Plan::on(backend).with(&format!("--workers 4 --start-timeout 1s --policy {policy}"));
    let started = plan.dir().join("started");
    let script = format!(
        "[ -d \"$0\" ] || exec \"$1\" serve-worker
         : > \"$0/$$\"
         [ \"$(ls \"$0\" | wc -l)\" -gt {good} ] || exec \"$1\" serve-worker
         {otherwise}"
    );
    let server =
        plan.program(["sh", "-c", &script, started.to_str().unwrap(), dispatchd()]).start();
    let before = pids(&server.wait_until_whole());
    fs::create_dir(&started).unwrap();
    let (tally, ()) = crowd::load(server.address(), 2, Manner::Close, &["/"], || {
        server.signal(Signal::SIGHUP);
        server.wait_for_log("reload given up");
        server.wait_for_status("none but the old workers are there", |status| {
            status.have == 4 && pids(status) == before
        });
    });
    assert_eq!(tally.errors, [""; 0]);
    let status = server.wait_until_whole();
    assert!(status.workers.iter().all(|worker| worker.generation == 1), "{:?}", status.workers);
    assert_eq!((status.generation, status.totals.lost), (1, 0));
    let new: Vec<u32> = fs::read_dir(&started)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(new.len(), good + 3, "three failures end it");
    let alive = |pid: &&u32| process::started(**pid).is_some();
    assert_eq!(new.iter().find(alive), None, "{}", server.log());
    answers(&server);
}
