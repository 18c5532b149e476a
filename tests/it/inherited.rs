//! What dispatchd takes over from whoever starts it, and must not suffer from: signals that are
//! ignored or held back, and those that come before it can hear any.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::confine::answer;
use crate::process;
use crate::role::asking_before_mkdir;
use crate::server::Plan;
use crate::shortage::{supervised, tell_of_calls};

on_both! {
    ignored_signals_are_heard
    signals_that_are_held_back_are_heard
    with_sigchld_ignored_a_broken_program_is_told
    a_signal_that_comes_too_early_waits
    a_log_that_may_not_grow_is_a_full_disk
    signals_of_no_use_yet_say_so
}

/// Operators' signals and deaths, whatever the dispositions and the mask were.
fn is_heard(plan: Plan) {
    let mut server = plan.start();
    let victim = server.worker(0).pid;
    process::signal(victim, Signal::SIGKILL);
    server.wait_for_log("worker died: killed by SIGKILL");
    server.wait_until_whole();
    server.signal(Signal::SIGTTIN);
    server.wait_for_status("a third worker is ready", |status| status.have == 3);
    server.signal(Signal::SIGHUP);
    server.wait_for_status("the next generation serves", |status| status.generation == 2);
    let worker = server.worker(0).pid;
    assert_eq!(process::signals(worker, "SigIgn") & !IGNORED_BY_WORKERS, 0);
    assert_eq!(process::signals(worker, "SigBlk"), 0);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
}

/// The built-in worker takes a closed pipe as an answer to the write.
const IGNORED_BY_WORKERS: u64 = 1 << (Signal::SIGPIPE as u64 - 1);

fn ignored_signals_are_heard(backend: &str) {
    is_heard(Plan::on(backend).through(["env", "--ignore-signal"]));
}

fn signals_that_are_held_back_are_heard(backend: &str) {
    is_heard(Plan::on(backend).through(["env", "--block-signal"]));
}

fn with_sigchld_ignored_a_broken_program_is_told(backend: &str) {
    let plan = Plan::on(backend).through(["env", "--ignore-signal=CHLD"]);
    let program = plan.dir().join("worker");
    std::fs::copy(env!("CARGO_BIN_EXE_dispatchd"), &program).unwrap();
    let server = plan.program([program.as_os_str(), "serve-worker".as_ref()]).start();
    std::fs::write(&program, "broken").unwrap_err();
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "broken").unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("reload given up");
    assert!(server.log().contains("Permission denied"), "{}", server.log());
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

/// The wrapper's part: the first thing that a master does to the world is to make a directory.
pub(crate) fn tell_of_mkdir() {
    tell_of_calls(&[libc::SYS_mkdir]);
}

fn a_signal_that_comes_too_early_waits(backend: &str) {
    let (plan, supervisor) = supervised(Plan::on(backend), asking_before_mkdir());
    let sent = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            answer(&supervisor.questions(), |asked| {
                if !sent.swap(true, SeqCst) {
                    process::signal(asked.pid, Signal::SIGHUP);
                }
                None
            });
        });
        let mut server = plan.start();
        assert!(sent.load(SeqCst));
        server.wait_for_status("it is obeyed", |status| status.generation == 2);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), Some(0));
    });
}

fn a_log_that_may_not_grow_is_a_full_disk(backend: &str) {
    /// More than the pages that dispatchd shares with its workers, which are files, too.
    const LIMIT: u64 = 64 << 20;
    let plan = Plan::on(backend);
    let path = plan.dir().join("log");
    let log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    log.set_len(LIMIT - 100).unwrap();
    let limited = format!("ulimit -f {}; exec \"$0\" \"$@\"", LIMIT / 512);
    let server = plan.through(["sh", "-c", &limited]).stderr(log).start();
    process::signal(server.worker(0).pid, Signal::SIGKILL);
    server.wait_until_whole();
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), LIMIT, "it was full");
}

fn signals_of_no_use_yet_say_so(backend: &str) {
    let server = Plan::on(backend).start();
    server.signal(Signal::SIGUSR1);
    server.wait_for_log("SIGUSR1: there is no log file to reopen");
    server.signal(Signal::SIGUSR2);
    server.wait_for_log("SIGUSR2: dispatchd cannot be replaced by a newer program while it runs");
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}
