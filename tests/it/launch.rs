//! Workers for which the kernel takes long to find their program: because a scanner looks at it
//! first, or a file system does not answer. Nobody waits for them. A filter has the kernel ask this
//! process before each exec, and the answer comes when a test wants.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use dispatchd::limits::TERM_TIMEOUT;
use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::confine::answer;
use crate::process;
use crate::role::asking_before_exec;
use crate::server::{Plan, Server};
use crate::shortage::{supervised, tell_of_calls};
use crate::wait::{eventually, nap};

on_both! {
    dispatch_goes_on_while_an_exec_hangs
    a_hanging_exec_keeps_neither_name_nor_ports
    an_exec_that_never_ends_is_given_up
    a_start_whose_exec_never_ends_is_given_up
    a_master_ends_while_an_exec_hangs
    a_program_that_is_gone_is_told_and_its_slot_waits
}

/// How long an exec hangs.
const LONG: Span = Span::from_s(3);

/// The execs that the kernel asks about.
struct Execs {
    /// How many it may still go on with.
    allowed: AtomicI64,
}

impl Execs {
    /// One wrapper executes dispatchd.
    const DISPATCHD: i64 = 1;
    const ALL: i64 = i64::MAX;

    fn hold(&self) {
        self.allowed.store(0, SeqCst);
    }

    fn let_go(&self) {
        self.allowed.store(Self::ALL, SeqCst);
    }

    /// Returns when the next may go on.
    fn wait(&self) {
        while self.allowed.load(SeqCst) <= 0 {
            nap(Span::from_ms(1));
        }
        self.allowed.fetch_sub(1, SeqCst);
    }
}

/// Lets everything go on even when the test fails.
struct Ender<'a>(&'a Execs);

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Runs a test with a dispatchd whose workers' execs can be held up.
fn with(plan: Plan, test: impl FnOnce(Server, &Execs)) {
    let execs = Execs { allowed: AtomicI64::new(Execs::ALL) };
    let (plan, supervisor) = supervised(plan, asking_before_exec());
    thread::scope(|scope| {
        scope.spawn(|| answers(&supervisor.questions(), &execs));
        let server = plan.start();
        let _ender = Ender(&execs);
        test(server, &execs);
    });
}

fn answers(questions: &std::os::fd::OwnedFd, execs: &Execs) {
    answer(questions, |_| {
        execs.wait();
        None
    });
}

/// The wrapper's part.
pub(crate) fn tell_of_execs() {
    tell_of_calls(&[libc::SYS_execve, libc::SYS_execveat]);
}

/// The process that waits for its exec.
fn launching(server: &Server) -> u32 {
    let is_it = |state: &str| state == "launching";
    let status = server.wait_for_status("an exec hangs", |status| {
        status.workers.iter().any(|worker| is_it(&worker.state))
    });
    status.workers.into_iter().find(|worker| is_it(&worker.state)).unwrap().pid
}

fn dispatch_goes_on_while_an_exec_hangs(backend: &str) {
    with(Plan::on(backend), |server, execs| {
        let mut silent = Client::connect(server.address()).unwrap();
        server.wait_for_status("it is watched", |status| status.hold.watched == 1);
        execs.hold();
        server.signal(Signal::SIGHUP);
        launching(&server);
        // Whoever is to become a worker has no copy of what the master closes.
        silent.finish().unwrap();
        assert_eq!(silent.read_to_end().unwrap(), b"");
        let began_at = monotonic();
        while monotonic().since(began_at) < LONG {
            assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
            nap(Span::from_ms(20));
        }
        assert_eq!(server.status().generation, 1);
        launching(&server);
        execs.let_go();
        server.wait_for_status("the rollout goes on", |status| status.generation == 2);
    });
}

fn a_hanging_exec_keeps_neither_name_nor_ports(backend: &str) {
    with(Plan::on(backend), |mut server, execs| {
        execs.hold();
        server.signal(Signal::SIGHUP);
        let hangs = launching(&server);
        // It closes them before anything else, and may not have begun yet.
        eventually("it has its channel alone", || {
            let kept = process::open_files(hangs);
            let sockets = kept.iter().filter(|file| file.starts_with("socket:"));
            let alone = sockets.collect::<BTreeSet<_>>().len() == 1;
            (alone && !kept.iter().any(|file| file.ends_with(".lock"))).then_some(())
        });
        server.signal(Signal::SIGKILL);
        assert_eq!(server.exit_code(), None);
        let plan = Plan::on(backend).named(&server);
        let next = plan.with(&format!("--listen {}", server.address())).start();
        assert_eq!(Client::get_once(next.address(), "/").unwrap().status, 200);
    });
}

fn an_exec_that_never_ends_is_given_up(backend: &str) {
    with(Plan::on(backend).with("--start-timeout 1s"), |server, execs| {
        execs.hold();
        let victim = server.worker(0).pid;
        process::signal(victim, Signal::SIGKILL);
        server.wait_for_log("worker's program was not executed in time");
        launching(&server);
        execs.let_go();
        assert_eq!(server.wait_until_whole().have, 2);
    });
}

fn a_start_whose_exec_never_ends_is_given_up(backend: &str) {
    let execs = Execs { allowed: AtomicI64::new(Execs::DISPATCHD) };
    let plan = Plan::on(backend).with("--start-timeout 1s");
    let (plan, supervisor) = supervised(plan, asking_before_exec());
    thread::scope(|scope| {
        scope.spawn(|| answers(&supervisor.questions(), &execs));
        let _ender = Ender(&execs);
        let ended = plan.run();
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        assert!(ended.log.contains("worker's program was not executed in time"), "{}", ended.log);
    });
}

fn a_master_ends_while_an_exec_hangs(backend: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        with(Plan::on(backend), |mut server, execs| {
            execs.hold();
            server.signal(Signal::SIGHUP);
            let hangs = launching(&server);
            server.signal(signal);
            let began_at = monotonic();
            assert_eq!(server.exit_code(), Some(0));
            assert!(monotonic().since(began_at) < TERM_TIMEOUT.times(5));
            assert_eq!(process::started(hangs), None, "it is gone");
        });
    }
}

fn a_program_that_is_gone_is_told_and_its_slot_waits(backend: &str) {
    let plan = Plan::on(backend).with("--workers 1");
    let program = plan.dir().join("worker");
    std::fs::copy(env!("CARGO_BIN_EXE_dispatchd"), &program).unwrap();
    let server = plan.program([program.as_os_str(), "serve-worker".as_ref()]).start();
    std::fs::remove_file(&program).unwrap();
    process::signal(server.worker(0).pid, Signal::SIGKILL);
    let reason = format!("{}: No such file or directory", program.display());
    server.wait_for_log(&format!("cannot start worker: {reason}"));
    server.wait_for_status("the reason is told", |status| {
        let told = status.workers[0].last_exit.as_ref();
        told.is_some_and(|told| told.starts_with(&reason))
    });
    std::fs::copy(env!("CARGO_BIN_EXE_dispatchd"), &program).unwrap();
    server.wait_until_whole();
}
