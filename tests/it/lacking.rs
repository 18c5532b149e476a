//! A kernel, a sandbox or a machine in which something is missing that dispatchd would like to
//! have. What is only wished for is done without, and said; what cannot be done without is one
//! clear line.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::client::Client;
use crate::process;
use crate::role::{self, ROLE, forbidding, within_the_limit_on_locked_memory};
use crate::server::{Plan, Server, example};

on_both! {
    what_cannot_be_pinned_serves_unbound
    a_program_is_found_where_newer_calls_are_forbidden
    a_cpu_that_is_gone_is_replaced_by_another
    workers_are_scheduled_as_dispatchd_was
    under_deadline_workers_are_ordinary
    a_sandbox_that_forbids_what_is_not_needed_costs_nothing
    what_is_needed_is_named_when_it_is_forbidden
    no_proc_no_harm
    a_root_that_cannot_be_written_is_enough
    a_strict_umask_locks_nobody_out
    programs_get_the_limit_of_open_files_that_dispatchd_got
}

/// It serves, loses a worker and gets another, serves, and ends when it is told to.
fn lives_a_life(mut server: Server) {
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    let victim = server.worker(0).pid;
    process::signal(victim, Signal::SIGKILL);
    server.wait_for_log("killed by SIGKILL");
    server.wait_until_whole();
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    server.signal(Signal::SIGHUP);
    server.wait_for_status("the next generation serves", |status| status.generation == 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
}

/// A shell that prepares something and becomes the command behind it.
fn after(preparation: &str) -> Vec<String> {
    ["sh", "-c", &format!("{preparation} && exec \"$@\""), "sh"].map(String::from).to_vec()
}

#[test]
fn workers_that_cannot_have_a_ring_use_epoll_and_say_so() {
    // Enough for a ring or two of the smallest ones.
    let wrapper = [after("ulimit -l 80"), Vec::new()].concat().into_iter().map(Into::into);
    let wrapper: Vec<std::ffi::OsString> =
        wrapper.chain(within_the_limit_on_locked_memory()).collect();
    let server = Plan::on("auto").with("--workers 4").through(wrapper).start();
    // Where the kernel charges nothing for rings, there is nothing to do without.
    let charged = server.log().contains("rings: locked memory has room for those of");
    assert_eq!(server.log().contains("this worker uses epoll"), charged, "{}", server.log());
    lives_a_life(server);
}

fn what_cannot_be_pinned_serves_unbound(backend: &str) {
    let wrapper = forbidding(&[libc::SYS_sched_setaffinity], Errno::EPERM);
    let server = Plan::on(backend).through(wrapper).start();
    assert_eq!(server.times_logged("workers cannot be bound to their CPUs"), 1, "{}", server.log());
    assert!(server.status().workers.iter().all(|worker| worker.cpu.is_none()));
    let whoami = Client::get_once(server.address(), "/whoami").unwrap().text();
    assert!(whoami.contains("\"cpu\":null"), "{whoami}");
    lives_a_life(server);
}

fn a_program_is_found_where_newer_calls_are_forbidden(backend: &str) {
    let wrapper = forbidding(&[libc::SYS_faccessat2], Errno::EPERM);
    let server = Plan::on(backend).through(wrapper).program([example("http_worker")]).start();
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

fn a_cpu_that_is_gone_is_replaced_by_another(backend: &str) {
    let server = Plan::on(backend).with("--workers 2").start();
    let [first, second] = [0, 1].map(|slot| server.worker(slot).cpu.unwrap());
    assert_ne!(first, second, "this machine has one CPU: it cannot lose any");
    let mut left = CpuSet::new();
    left.set(first.into()).unwrap();
    sched_setaffinity(Pid::from_raw(server.pid().try_into().unwrap()), &left).unwrap();
    let before = server.worker(1).pid;
    process::signal(before, Signal::SIGKILL);
    let status = server.wait_for_status("another has the slot", |status| {
        status.have == 2 && status.workers.iter().all(|worker| worker.pid != before)
    });
    assert!(status.workers.iter().all(|worker| worker.cpu == Some(first)), "{status:?}");
    assert_eq!(server.times_logged("no longer in the mask"), 1, "{}", server.log());
    lives_a_life(server);
}

/// What `chrt` says of a process, and its nice value.
fn scheduling(pid: u32) -> (String, i64) {
    let said = std::process::Command::new("chrt").args(["-p", &pid.to_string()]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let policy = said.lines().filter_map(|line| line.split_once(": ")).map(|(_, value)| value);
    (policy.collect::<Vec<_>>().join(" "), process::nice(pid).unwrap())
}

fn workers_are_scheduled_as_dispatchd_was(backend: &str) {
    for (wrapper, wanted, nice) in [
        (&["nice", "-n", "5"][..], "SCHED_OTHER 0", 5),
        (&["chrt", "-b", "0"], "SCHED_BATCH 0", 0),
        (&["chrt", "-i", "0"], "SCHED_IDLE 0", 0),
        (&["chrt", "-f", "10"], "SCHED_FIFO 10", 0),
        (&["chrt", "-r", "11"], "SCHED_RR 11", 0),
        (&["chrt", "-R", "-f", "12"], "SCHED_FIFO|SCHED_RESET_ON_FORK 12", 0),
        (&["chrt", "-R", "-o", "0"], "SCHED_OTHER|SCHED_RESET_ON_FORK 0", 0),
    ] {
        let server = Plan::on(backend).through(wrapper).start();
        for slot in [0, 1] {
            let (policy, found) = scheduling(server.worker(slot).pid);
            assert!(policy.starts_with(wanted), "{wrapper:?}: {policy}");
            assert_eq!(found, nice, "{wrapper:?}");
        }
        assert_eq!(server.times_logged("scheduled"), 0, "{}", server.log());
        lives_a_life(server);
    }
}

fn under_deadline_workers_are_ordinary(backend: &str) {
    let times = ["--sched-runtime", "2000000", "--sched-deadline", "20000000"];
    let wrapper =
        ["chrt", "-d"].into_iter().chain(times).chain(["--sched-period", "20000000", "0"]);
    let server = Plan::on(backend).through(wrapper).start();
    assert!(scheduling(server.worker(0).pid).0.starts_with("SCHED_OTHER"));
    assert_eq!(server.times_logged("SCHED_DEADLINE"), 1, "{}", server.log());
    lives_a_life(server);
}

fn a_sandbox_that_forbids_what_is_not_needed_costs_nothing(backend: &str) {
    let calls = [
        libc::SYS_clone3,
        libc::SYS_close_range,
        libc::SYS_execveat,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_open,
        libc::SYS_prctl,
        libc::SYS_sched_getattr,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
        libc::SYS_timer_create,
        libc::SYS_setpgid,
    ];
    for errno in [Errno::EPERM, Errno::ENOSYS] {
        lives_a_life(Plan::on(backend).through(forbidding(&calls, errno)).start());
    }
    // Each alone, since one may hide another.
    for call in calls {
        lives_a_life(Plan::on(backend).through(forbidding(&[call], Errno::EPERM)).start());
    }
}

fn what_is_needed_is_named_when_it_is_forbidden(backend: &str) {
    let plan = || Plan::on(backend);
    let no_memory = forbidding(&[libc::SYS_memfd_create], Errno::EPERM);
    for (plan, cure) in [
        (plan().through(no_memory), "memfd_create"),
        (plan().through(after("ulimit -f 8")), "ulimit -f"),
    ] {
        let ended = plan.run();
        assert!(ended.complaint(1).contains(cure), "{}", ended.log);
    }
}

fn no_proc_no_harm(backend: &str) {
    let wrapper = ["unshare", "--mount"].map(String::from).into_iter();
    let wrapper = wrapper.chain(after("mount -t tmpfs none /proc"));
    lives_a_life(Plan::on(backend).through(wrapper).start());
}

fn a_root_that_cannot_be_written_is_enough(backend: &str) {
    let plan = Plan::on(backend);
    let dir = plan.dir().display();
    // Only the runtime directory can be written.
    let preparation = format!("mount --bind {dir} {dir} && mount -o remount,bind,ro /");
    let wrapper = ["unshare", "--mount"].map(String::from).into_iter().chain(after(&preparation));
    lives_a_life(plan.through(wrapper).start());
}

fn a_strict_umask_locks_nobody_out(backend: &str) {
    lives_a_life(Plan::on(backend).through(after("umask 0177")).start());
}

fn programs_get_the_limit_of_open_files_that_dispatchd_got(backend: &str) {
    let (soft, hard) = ("300", "600");
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard}");
    let limits_of = |pid: u32| process::limits(pid, "Max open files").unwrap();
    let pair = |soft: &str| (soft.to_owned(), hard.to_owned());

    let plan = Plan::on(backend).with("--workers 1").through(after(&limits));
    let seen = plan.dir().join("seen");
    let script =
        format!("ulimit -Sn > {}; exec {}", seen.display(), example("http_worker").display());
    let server = plan.program(["sh", "-c", &script]).start();
    assert_eq!(fs::read_to_string(&seen).unwrap().trim(), soft, "as its program starts");
    assert_eq!(limits_of(server.worker(0).pid), pair(hard), "the SDK raises it");
    assert_eq!(limits_of(server.pid()), pair(hard));
    drop(server);

    let keeper =
        Plan::on(backend).with("--workers 1").through(after(&limits)).program(role::program());
    let server = keeper.env(ROLE, "keeper").start();
    assert_eq!(limits_of(server.worker(0).pid), pair(soft));
    drop(server);

    let server = Plan::on(backend).with("--workers 1").through(after(&limits)).start();
    assert_eq!(limits_of(server.worker(0).pid), pair(hard), "so does the built-in worker");
}
