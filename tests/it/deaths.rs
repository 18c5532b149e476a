//! The ends of processes: each is taken, whoever holds the process, whatever the kernel refuses to
//! watch, and whosever child it was.

use std::ffi::OsString;

use dispatchd::limits::START_TIMEOUT;
use dispatchd::units::Span;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::client::Client;
use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server};
use crate::shortage;
use crate::wait::eventually;

on_both! {
    a_killed_worker_is_replaced_while_a_debugger_holds_it
    the_end_of_a_traced_worker_is_told_once_its_debugger_lets_go
    a_master_ends_while_a_debugger_holds_its_workers
    a_worker_that_cannot_be_killed_is_left_behind
    a_master_ends_without_a_worker_that_cannot_be_killed
    a_worker_that_closes_its_channel_and_hangs_is_replaced
    one_that_closes_its_channel_before_it_is_ready_is_told
    strangers_are_reaped
    the_first_process_of_a_container_reaps_its_orphans
}

/// A process that this thread traces, as `gdb` and `strace -f` do.
struct Traced(Pid);

impl Traced {
    fn attach(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        ptrace::seize(pid, ptrace::Options::empty()).unwrap();
        Self(pid)
    }

    /// Holds it in the middle of its end, so that SIGKILL does not end it: as a disk does that does
    /// not answer, or a control group that is frozen.
    fn immortal(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).unwrap();
        Self(pid)
    }

    /// Lets it end after all.
    fn release(self) {
        assert!(matches!(waitpid(self.0, None), Ok(WaitStatus::PtraceEvent(..))));
        ptrace::cont(self.0, None).unwrap();
        self.let_go();
    }

    /// Takes note of its end, as a debugger does sooner or later: its parent learns of it then.
    fn let_go(self) {
        match waitpid(self.0, None) {
            Ok(_) | Err(Errno::ECHILD) => {}
            Err(errno) => panic!("cannot wait for {}: {errno}", self.0),
        }
    }
}

fn kill(pid: u32) {
    process::signal(pid, Signal::SIGKILL);
}

fn a_killed_worker_is_replaced_while_a_debugger_holds_it(backend: &str) {
    let server = Plan::on(backend).with("--workers 1").start();
    let victim = server.worker(0).pid;
    let traced = Traced::attach(victim);
    kill(victim);
    server.wait_for_status("another worker serves", |status| {
        status.have == 1 && status.workers.iter().all(|worker| worker.pid != victim)
    });
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert!(server.log().contains("a debugger holds it"), "{}", server.log());
    assert!(process::is_zombie(victim), "it is still held");
    traced.let_go();
    server.wait_for_log("a worker that was given up has ended: killed by SIGKILL");
    eventually("it is reaped", || (!process::is_zombie(victim)).then_some(()));
}

fn the_end_of_a_traced_worker_is_told_once_its_debugger_lets_go(backend: &str) {
    let server = Plan::on(backend).with("--workers 1").start();
    let victim = server.worker(0).pid;
    let traced = Traced::attach(victim);
    kill(victim);
    traced.let_go();
    server.wait_for_status("another worker serves", |status| {
        let text = status.workers.iter().find_map(|worker| worker.last_exit.clone());
        status.have == 1 && text.is_some_and(|text| text.contains("SIGKILL"))
    });
}

fn a_master_ends_while_a_debugger_holds_its_workers(backend: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = Plan::on(backend).start();
        let traced = [0, 1].map(|slot| Traced::attach(server.worker(slot).pid));
        for Traced(pid) in &traced {
            kill(pid.as_raw().unsigned_abs());
        }
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(0));
        traced.into_iter().for_each(Traced::let_go);
    }
}

/// A worker that ignores SIGTERM, so that it takes SIGKILL to end it.
fn deaf() -> Vec<OsString> {
    let deaf = "trap '' TERM; exec \"$0\" serve-worker";
    ["sh", "-c", deaf, env!("CARGO_BIN_EXE_dispatchd")].map(Into::into).into()
}

fn a_worker_that_cannot_be_killed_is_left_behind(backend: &str) {
    let plan = Plan::on(backend).with("--workers 1 --drain-timeout 0s");
    let server = plan.program(deaf()).start();
    let victim = server.worker(0).pid;
    let traced = Traced::immortal(victim);
    server.signal(Signal::SIGHUP);
    let status = server.wait_for_status("it is given up", |status| status.totals.left_behind == 1);
    assert_eq!((status.have, status.workers.len()), (1, 1));
    assert!(server.log().contains("cannot be killed and is left behind"), "{}", server.log());
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert!(process::started(victim).is_some(), "it is there still");
    traced.release();
    // How depends on whether it drained before it was killed.
    server.wait_for_log("a worker that was given up has ended");
}

fn a_master_ends_without_a_worker_that_cannot_be_killed(backend: &str) {
    let mut server = Plan::on(backend).with("--workers 1").program(deaf()).start();
    let traced = Traced::immortal(server.worker(0).pid);
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
    traced.release();
}

fn a_worker_that_closes_its_channel_and_hangs_is_replaced(backend: &str) {
    // Who hangs and has lost its master ends by the drain timeout.
    let plan = Plan::on(backend).with("--workers 1 --drain-timeout 1s");
    let server = plan.program(program()).env(ROLE, "detached").start();
    let victim = server.worker(0).pid;
    // One request has it close everything.
    let mut asking = Client::asking(server.address(), "/").unwrap();
    server.wait_for_log("worker replaced, it closed its channel to dispatchd");
    server.wait_for_status("another worker serves", |status| {
        status.have == 1 && status.workers.iter().all(|worker| worker.pid != victim)
    });
    // What it had begun with is lost with it; nobody waits for it in vain.
    asking.reply().unwrap_err();
}

fn one_that_closes_its_channel_before_it_is_ready_is_told(backend: &str) {
    let closes = "exec 3>&- 4>&- 5>&- 6>&-; exec sleep 600";
    let ended = Plan::on(backend).program(["sh", "-c", closes]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("it closed its channel to dispatchd"), "{}", ended.log);
    assert!(ended.after < START_TIMEOUT, "{}", ended.after);
}

/// Children that were there before dispatchd took the process over.
fn strangers_are_reaped(backend: &str) {
    let strangers = "for i in 1 2 3; do sleep 0.1 & done; exec \"$0\" \"$@\"";
    let server = Plan::on(backend).through(["sh", "-c", strangers]).start();
    eventually("the strangers have ended", || {
        let names = process::children(server.pid()).into_iter().map(process::name);
        names.flatten().all(|name| name != "sleep").then_some(())
    });
    assert_eq!(zombies(server.pid()), 0);
}

fn the_first_process_of_a_container_reaps_its_orphans(backend: &str) {
    let worker = "(for i in 1 2 3 4 5; do (sleep 0.2 &) ; done); exec \"$0\" serve-worker";
    let program = ["sh", "-c", worker, env!("CARGO_BIN_EXE_dispatchd")];
    let server = Plan::on(backend).program(program).in_container().start();
    assert_eq!(server.status().pid, 1, "the master is the first process of its container");
    let master =
        eventually("it is seen from outside", || process::children(server.pid()).first().copied());
    eventually("the orphans have ended", || (process::children(master).len() == 2).then_some(()));
    assert_eq!(zombies(master), 0);
    end_container(server, master);
}

/// What is promised of signals holds for the first process, too, for which the kernel ignores those
/// that nobody takes.
fn end_container(mut server: Server, master: u32) {
    process::signal(master, Signal::SIGTTIN);
    server.wait_for_status("a third worker is ready", |status| status.have == 3);
    process::signal(master, Signal::SIGHUP);
    server.wait_for_status("the next generation serves", |status| status.generation == 2);
    process::signal(master, Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
}

fn zombies(parent: u32) -> usize {
    process::children(parent).into_iter().filter(|pid| process::is_zombie(*pid)).count()
}

/// No watch can be set, for want of places: what happens is noticed all the same, and nothing
/// spins. See [`shortage`] for why it is tried on epoll alone.
#[test]
fn what_cannot_be_watched_is_noticed_all_the_same() {
    shortage::with(Plan::on("epoll"), |server, shortage| {
        let (victim, before) = (server.worker(0).pid, server.status());
        shortage.begin(libc::SYS_epoll_ctl);
        // Its successor has a set of its own, and so cannot be ready yet.
        kill(victim);
        server.wait_for_status("the death is noticed", |status| status.have == 1);
        server.signal(Signal::SIGTTOU);
        server.wait_for_status("the signal is noticed", |status| status.want == 1);
        let share = process::cpu_percent(server.pid(), Span::from_ms(500));
        assert!(share < 60, "the master takes {share} % of a CPU");
        assert!(0 < shortage.failed());
        shortage.end();
        let after = server.wait_until_whole();
        assert_eq!((before.have, after.have), (2, 1));
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        let told = server.times_logged("the kernel refuses to watch descriptors");
        assert_eq!(told, 1);
        server.wait_for_log("the kernel watches all descriptors again");
    });
}
