//! What workers start, and where workers are started by something else: nothing that is to end
//! outlives the worker's time, and what is not concerned is left alone.

use std::fs;

use dispatchd::limits::LATE_OUTPUTS_SPARE;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::client::Client;
use crate::crowd;
use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server, example};
use crate::wait::{eventually, write_to_fifo};

on_both! {
    a_worker_behind_a_shell_is_ended_with_it
    one_that_hears_no_sigterm_is_killed_behind_its_shell
    one_that_has_lost_its_shell_leaves_the_others_their_port
    one_that_hangs_without_a_master_ends_by_sigterm
    a_helper_of_a_worker_that_is_killed_is_killed
    a_helper_survives_a_reload_and_a_crash
    what_a_helper_says_after_a_reload_is_logged
    helpers_without_number_cost_a_bounded_number_of_descriptors
}

/// A process, which is another one once its number is taken anew.
struct Process {
    pid: u32,
    started: u64,
}

impl Process {
    /// The only child of a worker.
    fn child_of(worker: u32) -> Self {
        eventually("the worker has a child", || {
            let [pid] = process::children(worker)[..] else { return None };
            Some(Self { pid, started: process::started(pid)? })
        })
    }

    fn is_alive(&self) -> bool {
        process::started(self.pid) == Some(self.started)
    }

    fn ends(&self) {
        eventually("it ends", || (!self.is_alive()).then_some(()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            process::signal(self.pid, Signal::SIGKILL);
        }
    }
}

/// A worker that plays this part, behind a shell that does not become it.
fn behind_a_shell(backend: &str, prelude: &str) -> Server {
    let script = format!("{prelude} \"$0\" \"$@\"; exit $?");
    let words = ["sh", "-c", &script].map(Into::into).into_iter().chain(program());
    let plan = Plan::on(backend).with("--workers 1 --drain-timeout 100ms");
    plan.program(words).env(ROLE, "stubborn").start()
}

/// A worker that has started a helper, which takes its time.
fn with_a_helper(backend: &str) -> Plan {
    let script = "sleep 3600 & exec \"$0\"";
    let words = ["sh", "-c", script].map(Into::into).into_iter();
    let words = words.chain([example("http_worker").into_os_string()]);
    Plan::on(backend).with("--workers 1").program(words)
}

fn a_worker_behind_a_shell_is_ended_with_it(backend: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = behind_a_shell(backend, "");
        let worker = Process::child_of(server.worker(0).pid);
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0));
        worker.ends();
    }
}

fn one_that_hears_no_sigterm_is_killed_behind_its_shell(backend: &str) {
    let mut server = behind_a_shell(backend, "trap '' TERM;");
    let worker = Process::child_of(server.worker(0).pid);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.times_logged("killed by SIGKILL"), 1, "{}", server.log());
    worker.ends();
}

fn one_that_has_lost_its_shell_leaves_the_others_their_port(backend: &str) {
    for policy in ["shared", "reuseport"] {
        let words = ["sh", "-c", "\"$0\"; exit $?"].map(Into::into).into_iter();
        let words = words.chain([example("http_worker").into_os_string()]);
        let server = Plan::on(backend).with(&format!("--policy {policy}")).program(words).start();
        let [killed, terminated] = [0, 1].map(|slot| server.worker(slot).pid);
        let [first, second] = [killed, terminated].map(Process::child_of);
        process::signal(second.pid, Signal::SIGSTOP);
        process::signal(second.pid, Signal::SIGTERM);
        for shell in [killed, terminated] {
            process::signal(shell, Signal::SIGKILL);
        }
        server.wait_for_status("others have their slots", |status| {
            let others = |pid| ![killed, terminated].contains(&pid);
            status.have == 2 && status.workers.iter().all(|worker| others(worker.pid))
        });
        process::signal(second.pid, Signal::SIGCONT);
        first.ends();
        second.ends();
        let tally = crowd::rounds(server.address(), 2, 5, "/");
        assert_eq!(tally.errors, [""; 0], "{policy}: {}", server.log());
    }
}

fn one_that_hangs_without_a_master_ends_by_sigterm(backend: &str) {
    let mut server = behind_a_shell(backend, "");
    let worker = Process::child_of(server.worker(0).pid);
    server.signal(Signal::SIGKILL);
    assert_eq!(server.exit_code(), None);
    // The kernel closes a ring, and what it holds, some time after its process.
    eventually("it ends", || {
        let is_alive = worker.is_alive();
        if is_alive {
            process::signal(worker.pid, Signal::SIGTERM);
        }
        (!is_alive).then_some(())
    });
}

fn a_helper_of_a_worker_that_is_killed_is_killed(backend: &str) {
    let mut server = with_a_helper(backend).start();
    let helper = Process::child_of(server.worker(0).pid);
    assert!(helper.is_alive());
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
    helper.ends();
}

fn a_helper_survives_a_reload_and_a_crash(backend: &str) {
    let server = with_a_helper(backend).start();
    let of_first = Process::child_of(server.worker(0).pid);
    server.signal(Signal::SIGHUP);
    is_replaced_by(&server, 2);
    let second = server.worker(0).pid;
    let of_second = Process::child_of(second);
    process::signal(second, Signal::SIGKILL);
    server.wait_for_status("the next one serves", |status| {
        status.have == 1 && status.workers.iter().all(|worker| worker.pid != second)
    });
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert!(of_first.is_alive() && of_second.is_alive());
    let _of_third = Process::child_of(server.worker(0).pid);
}

/// Waits until the worker of this generation serves alone.
fn is_replaced_by(server: &Server, generation: u32) {
    server.wait_for_status("the worker is replaced", |status| {
        (status.have, status.workers.len(), status.generation) == (1, 1, generation)
    });
}

/// The first worker's waits for a word, says what it is, and leaves it in a file.
fn what_a_helper_says_after_a_reload_is_logged(backend: &str) {
    let helper = "read word < $DIR/in; echo heard $word; echo $word > $DIR/out";
    let script = format!("mkdir $DIR/first && ({helper}) & exec \"$0\"");
    let words = ["sh", "-c", &script].map(Into::into).into_iter();
    let plan = Plan::on(backend)
        .with("--workers 1")
        .program(words.chain([example("http_worker").into_os_string()]));
    let dir = plan.dir().to_owned();
    mkfifo(&dir.join("in"), Mode::S_IRWXU).unwrap();
    let server = plan.env("DIR", dir.to_str().unwrap()).start();
    server.signal(Signal::SIGHUP);
    is_replaced_by(&server, 2);
    write_to_fifo(&dir.join("in"), "a word\n");
    eventually("its work is done", || {
        (fs::read_to_string(dir.join("out")).ok()? == "a word\n").then_some(())
    });
    server.wait_for_log("heard a word");
}

fn helpers_without_number_cost_a_bounded_number_of_descriptors(backend: &str) {
    const RELOADS: usize = 3 * LATE_OUTPUTS_SPARE;
    let mut server = with_a_helper(backend).start();
    let before = process::descriptors(server.pid());
    let mut helpers = Vec::new();
    for generation in (2..).take(RELOADS) {
        helpers.push(Process::child_of(server.worker(0).pid));
        server.signal(Signal::SIGHUP);
        is_replaced_by(&server, generation);
    }
    // One to wait and one to read, for each that is kept.
    let most = before + 2 * (1 + LATE_OUTPUTS_SPARE);
    eventually("the oldest are let go", || {
        (process::descriptors(server.pid()) <= most).then_some(())
    });
    assert!(helpers.iter().all(Process::is_alive));
    drop(helpers);
    eventually("no output is left", || {
        (process::descriptors(server.pid()) <= before).then_some(())
    });
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
}
