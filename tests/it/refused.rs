//! Processes that the kernel does not give: a control group that is full, a user who has too
//! many. Whoever has started serves, and the rest follows. A filter has the kernel ask this process
//! before each clone; see [`shortage`](crate::shortage).

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;

use dispatchd::limits::START_DEATHS_MAX;
use dispatchd::units::Span;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::confine::answer;
use crate::process;
use crate::role::{asking_before_clone, forbidding};
use crate::server::{Plan, Server};
use crate::shortage::{supervised, tell_of_calls};

on_both! {
    those_that_have_started_serve_and_the_rest_follows
    a_start_without_a_single_process_ends_with_its_reason
    a_rollout_without_processes_changes_nothing
}

const CLONES: [libc::c_long; 2] = [libc::SYS_clone3, libc::SYS_clone];

/// The wrapper's part.
pub(crate) fn tell_of_clones() {
    tell_of_calls(&CLONES);
}

/// How many processes may still be started.
struct Room(AtomicI64);

impl Room {
    fn verdict(&self) -> Option<Errno> {
        (self.0.fetch_sub(1, SeqCst) <= 0).then_some(Errno::EAGAIN)
    }

    fn ends(&self) {
        self.0.store(0, SeqCst);
    }

    fn comes_back(&self) {
        self.0.store(i64::MAX, SeqCst);
    }
}

/// Runs a test with a dispatchd that can have so many processes at first.
fn with(plan: Plan, first: i64, test: impl FnOnce(Server, &Room)) {
    let room = Room(AtomicI64::new(first));
    let (plan, supervisor) = supervised(plan, asking_before_clone());
    thread::scope(|scope| {
        scope.spawn(|| answer(&supervisor.questions(), |_| room.verdict()));
        test(plan.launch(), &room);
    });
}

fn those_that_have_started_serve_and_the_rest_follows(backend: &str) {
    with(Plan::on(backend).with("--workers 4"), 2, |mut server, room| {
        // More tries than deaths of a program would end the start.
        let status = server.wait_for_status("two serve", |status| {
            status.have == 2 && room.0.load(SeqCst) < -2 * i64::from(START_DEATHS_MAX)
        });
        server.addresses = status.listeners;
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        let reason = "cannot start a process: Resource temporarily unavailable";
        assert_eq!(server.times_logged(reason), 1, "{}", server.log());
        let vacant = status.workers.iter().find(|worker| worker.state == "vacant").unwrap();
        assert!(vacant.last_exit.as_ref().is_some_and(|text| text.starts_with(reason)));
        let share = process::cpu_percent(server.pid(), Span::from_ms(500));
        assert!(share < 20, "the master takes {share} % of a CPU");
        room.comes_back();
        server.wait_for_status("all serve", |status| status.have == 4);
        server.wait_for_log("every worker has a process again");
        assert_eq!((server.times_logged(reason), server.times_logged("died")), (1, 0));
    });
}

fn a_start_without_a_single_process_ends_with_its_reason(backend: &str) {
    let plan = Plan::on(backend).with("--start-timeout 700ms");
    let ended = plan.through(forbidding(&CLONES, Errno::EAGAIN)).run();
    assert!(ended.complaint(1).contains("no worker became ready"), "{}", ended.log);
    let reason = "cannot start a process: Resource temporarily unavailable";
    assert_eq!(ended.log.matches(reason).count(), 1, "{}", ended.log);
    assert!(Span::from_ms(700) <= ended.after && ended.after < Span::from_s(10));
}

fn a_rollout_without_processes_changes_nothing(backend: &str) {
    with(Plan::on(backend), i64::MAX, |server, room| {
        let before = server.wait_until_whole();
        room.ends();
        server.signal(Signal::SIGHUP);
        server.wait_for_log("reload given up");
        let after = server.wait_until_whole();
        let pids = |status: &dispatchd::wire::control::Status| -> Vec<u32> {
            status.workers.iter().map(|worker| worker.pid).collect()
        };
        assert_eq!((pids(&after), after.generation), (pids(&before), 1));
        room.comes_back();
        server.signal(Signal::SIGHUP);
        server.wait_for_status("the next one is done", |status| status.generation == 3);
    });
}
