//! What happens at the limits: of descriptors, of memory, of the hold queue, and of a log that
//! nobody reads. Nothing is lost, nothing spins, and service goes on as soon as it can.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use dispatchd::limits::{BATCH_MAX, STDERR_TAIL};
use dispatchd::sys::fd::{set_blocking, set_nonblocking};
use dispatchd::sys::{scm, socket};
use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd;
use crate::process;
use crate::role::{HOARD_UNTIL, ROLE, program, within_limits};
use crate::server::{Plan, Server, example};
use crate::shortage;
use crate::wait::{eventually, nap};

/// What starts a command that may have no more descriptors than a test can use up.
const FEW_DESCRIPTORS: [&str; 3] = ["sh", "-c", "ulimit -n 131; exec \"$0\" \"$@\""];

/// The program whose workers are built in.
const BUILT_IN: &str = env!("CARGO_BIN_EXE_dispatchd");

/// More attempts than pauses leave room for, in the second that a test looks on: 64 accepts, ten
/// times, and a few hand-overs, a hundred times. Whoever spins makes tens of thousands.
const ATTEMPTS_MAX: u64 = 3_000;

on_both! {
    accepting_pauses_without_descriptors_and_goes_on
    too_many_descriptors_in_flight_hold_connections_back_and_lose_none
    a_full_hold_queue_leaves_newcomers_in_the_kernel
    who_asks_when_too_many_ask_is_refused_if_told_so
    who_says_nothing_keeps_nobody_from_asking
    who_speaks_something_else_than_http_is_refused_without_words
    nobody_reads_the_log_and_service_goes_on
    nobody_reads_what_workers_write_and_service_goes_on
    nobody_reads_the_last_line_and_the_master_ends
    a_log_whose_reader_is_gone_wakes_nobody
    no_character_of_a_long_line_is_cut
    at_rest_nothing_spins
    workers_are_added_only_as_far_as_descriptors_reach
    a_start_that_fails_half_way_leaves_nothing_behind
    blocking_workers_that_accept_for_themselves_pause_without_descriptors
    built_in_workers_that_accept_for_themselves_pause_without_descriptors
}

fn workers_are_added_only_as_far_as_descriptors_reach(backend: &str) {
    let few = ["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\""];
    for policy in ["jbsq", "shared", "reuseport"] {
        let plan = Plan::on(backend).with(&format!("--policy {policy}")).through(few);
        let server = plan.with("--listen 127.0.0.1:0 --listen 127.0.0.1:0").start();
        while server.times_logged("no worker is added") == 0 {
            let wanted = server.status().want;
            server.signal(Signal::SIGTTIN);
            server.wait_for_status("it is added or refused", |status| {
                status.have == status.want
                    && (wanted < status.want || 0 < server.times_logged("no worker is added"))
            });
        }
        assert!(server.log().contains("ulimit -n"), "{}", server.log());
        // What is left is enough for a reload, and for connections meanwhile.
        server.signal(Signal::SIGHUP);
        server.wait_for_status("all are replaced", |status| status.generation == 2);
        let mut clients: Vec<_> =
            (0..16).map(|_| Client::connect(server.address()).unwrap()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").unwrap().status, 200);
        }
        assert_eq!(server.times_logged("accepting paused"), 0, "{}", server.log());
        assert_eq!(server.times_logged("cannot start a process"), 0, "{}", server.log());
    }
}

/// Wherever it fails: there are descriptors for the first call, for the first two, and so on.
fn a_start_that_fails_half_way_leaves_nothing_behind(backend: &str) {
    for policy in ["jbsq", "reuseport"] {
        let server = Plan::on(backend).with(&format!("--policy {policy} --workers 1")).start();
        // The start has asked for the status. A turn or two later the master has let go of that.
        for times in 1..=2 {
            server.signal(Signal::SIGUSR1);
            eventually("a turn is over", || {
                (server.times_logged("SIGUSR1") == times).then_some(())
            });
        }
        let belongings = || (process::open_files(server.pid()), process::children(server.pid()));
        let (before, all) =
            (belongings(), process::limits(server.pid(), "Max open files").unwrap());
        let mut failed = 0;
        loop {
            let room = process::free_descriptor(server.pid(), failed);
            process::limit_open_files(server.pid(), &room.to_string());
            server.signal(Signal::SIGTTIN);
            let fails = eventually("a second worker is started, or not", || {
                let fails = failed < server.times_logged("workers are missing");
                (fails || server.times_logged("worker ready") == 2).then_some(fails)
            });
            if !fails {
                break;
            }
            failed += 1;
            server.signal(Signal::SIGTTOU);
            eventually("it is given up", || {
                let times = server.times_logged("every worker has a process again");
                (times == failed).then_some(())
            });
            process::limit_open_files(server.pid(), &all.0);
            eventually("nothing is left of it", || (belongings() == before).then_some(()));
            assert_eq!(server.times_logged("worker ready"), 1, "the second try went no further");
        }
        // The channel alone has two ends, which come into being together.
        assert!(7 < failed, "{failed} places to fail at");
    }
}

fn accepting_pauses_without_descriptors_and_goes_on(backend: &str) {
    let server = Plan::on(backend).through(FEW_DESCRIPTORS).start();
    let connect = || Client::connect(server.address()).unwrap();
    let silent: Vec<Client> = (0..120).map(|_| connect()).collect();
    server.wait_for_log("accepting paused");
    let ask = || Client::asking(server.address(), "/").unwrap();
    let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
    // Whoever wants the status is not accepted, either, and must not be tried for without end.
    let curious = UnixStream::connect(server.control_path()).unwrap();
    assert_waits_calmly(&server);
    drop(curious);
    drop(silent);
    for client in &mut waiting {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    server.wait_for_log("accepting again");
    told_once(&server, &["accepting paused", "accepting again"]);
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert_eq!(server.status().totals.lost, 0);
}

/// Where there is no memory for a connection; see [`shortage`] for why it is tried on epoll alone.
#[test]
fn accepting_pauses_without_memory_and_goes_on() {
    shortage::with(Plan::on("epoll"), |server, shortage| {
        shortage.begin(libc::SYS_accept4);
        let ask = || Client::asking(server.address(), "/").unwrap();
        let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
        server.wait_for_log("accepting paused");
        let curious = UnixStream::connect(server.control_path()).unwrap();
        assert_waits_calmly(server);
        drop(curious);
        assert!(shortage.failed() < ATTEMPTS_MAX, "{} attempts were made", shortage.failed());
        for client in &mut waiting {
            assert!(client.poll_reply().is_none(), "nothing can be accepted yet");
        }
        shortage.end();
        for client in &mut waiting {
            assert_eq!(client.reply().unwrap().status, 200);
        }
        server.wait_for_log("accepting again");
        told_once(server, &["accepting paused", "accepting again"]);
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        assert_eq!(server.status().totals.lost, 0);
    });
}

/// The kernel refuses to carry descriptors (ETOOMANYREFS) while more of their user's are on their
/// way than the sender may have open, whoever sent those, unless the sender is privileged. What two
/// tests have on their way adds up, which can prolong the wait of the one, and not end it early.
fn too_many_descriptors_in_flight_hold_connections_back_and_lose_none(backend: &str) {
    let mut few = FEW_DESCRIPTORS.map(OsString::from).to_vec();
    few.extend(within_limits());
    let server = Plan::on(backend).with("--hold 8 --overload hold").through(few).start();
    let hog = in_flight(300);
    holds_back_until(&server, || drop(hog));
    server.wait_for_log("handing over again");
    told_once(&server, &["handing over paused", "handing over again"]);
}

/// Where there is no memory for a hand-over; see [`shortage`] for why it is tried on epoll alone.
#[test]
fn handing_over_waits_for_memory_and_loses_none() {
    let plan = Plan::on("epoll").with("--hold 8 --overload hold");
    shortage::with(plan, |server, shortage| {
        shortage.begin(libc::SYS_sendmsg);
        holds_back_until(server, || {
            assert!(shortage.failed() < ATTEMPTS_MAX, "{} attempts were made", shortage.failed());
            shortage.end();
        });
    });
}

/// A connection that no worker could be sent is, once a worker has claimed it, that worker's alone.
#[test]
fn what_could_not_be_handed_over_leaves_no_descriptor_behind() {
    shortage::with(Plan::on("epoll").with("--policy rr"), |server, shortage| {
        let before = process::descriptors(server.pid());
        shortage.begin(libc::SYS_sendmsg);
        let ask = || {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
            client
        };
        let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
        server.wait_for_status("all wait", |status| status.hold.held + status.hold.offered == 20);
        let failed = shortage.failed();
        eventually("all are refused", || (failed + 10 < shortage.failed()).then_some(()));
        shortage.end();
        for client in &mut waiting {
            assert_eq!(client.reply().unwrap().status, 200);
        }
        assert_eq!(server.status().totals.closed, 0, "they stay with their workers");
        eventually("the master has none of them", || {
            (process::descriptors(server.pid()) <= before).then_some(())
        });
    });
}

/// Where connections cannot be handed over, they wait in the hold queue and before it.
fn holds_back_until(server: &Server, let_go: impl FnOnce()) {
    let ask = || Client::asking(server.address(), "/").unwrap();
    let mut waiting: Vec<Client> = (0..40).map(|_| ask()).collect();
    server.wait_for_log("hold queue full");
    assert_waits_calmly(server);
    for client in &mut waiting {
        assert!(client.poll_reply().is_none(), "nothing can be handed over yet");
    }
    let_go();
    for client in &mut waiting {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    server.wait_for_log("hold queue has room again");
    told_once(server, &["hold queue full", "hold queue has room again"]);
    let totals = server.status().totals;
    assert_eq!((totals.arrived, totals.rejected, totals.lost), (40, 0, 0));
}

/// A want that is felt again and again is one line when it begins and one when it is over.
fn told_once(server: &Server, texts: &[&str]) {
    for text in texts {
        assert_eq!(server.times_logged(text), 1, "{text:?} in\n{}", server.log());
    }
}

/// So many descriptors on their way, in the name of this user, that nobody fetches.
fn in_flight(count: usize) -> (OwnedFd, OwnedFd) {
    let (near, far) = socket::seqpacket_pair().unwrap();
    let batch = vec![near.as_fd(); BATCH_MAX];
    for _ in 0..count.div_ceil(BATCH_MAX) {
        scm::send_batch(near.as_fd(), &[], &batch).unwrap();
    }
    (near, far)
}

fn a_full_hold_queue_leaves_newcomers_in_the_kernel(backend: &str) {
    let server = Plan::on(backend).with("--hold 4 --overload hold").start();
    let mut silent = fill_hold(&server);
    let mut newcomer = Client::asking(server.address(), "/").unwrap();
    server.wait_for_log("hold queue full");
    assert_waits_calmly(&server);
    assert!(newcomer.poll_reply().is_none(), "it waits in the kernel");
    assert_eq!(server.status().totals.arrived, 4);
    drop(silent.pop());
    assert_eq!(newcomer.reply().unwrap().status, 200);
    // The others keep their places, and speak when they like.
    for client in &mut silent {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    server.wait_for_log("hold queue has room again");
}

/// One worker, which somebody has stopped, and four requests that wait for it; no more may.
fn crowded(plan: Plan, request: &[u8]) -> (Server, Vec<Client>) {
    let server = plan.with("--workers 1 --hold 4 --overload reject").start();
    process::signal(server.worker(0).pid, Signal::SIGSTOP);
    server.wait_for_status("it is stopped", |status| status.have == 0);
    let ask = || {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(request).unwrap();
        client
    };
    let waiting = (0..4).map(|_| ask()).collect();
    server.wait_for_status("the hold queue is full", |status| status.hold.held == 4);
    (server, waiting)
}

fn who_asks_when_too_many_ask_is_refused_if_told_so(backend: &str) {
    let get = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    let long = "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 30000\r\n\r\n";
    let long = [long.as_bytes(), &[b'x'; 30_000]].concat();
    for flags in ["--dispatch request", "--dispatch connection"] {
        let (server, mut waiting) = crowded(Plan::on(backend).with(flags), get);
        for request in [&get[..], b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n", &long].repeat(4) {
            let mut newcomer = Client::connect(server.address()).unwrap();
            newcomer.send(request).unwrap();
            let reply = newcomer.reply().unwrap();
            assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
            assert!(reply.closes());
            newcomer.end().unwrap();
        }
        assert_eq!(server.status().totals.rejected, 12);
        server.wait_for_log("hold queue full");
        process::signal(server.status().workers[0].pid, Signal::SIGCONT);
        for client in &mut waiting {
            assert_eq!(client.reply().unwrap().status, 200);
        }
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
}

fn who_says_nothing_keeps_nobody_from_asking(backend: &str) {
    let server = Plan::on(backend).with("--hold 4 --overload reject").start();
    let connect = || Client::connect(server.address()).unwrap();
    let mut silent: Vec<Client> = (0..20).map(|_| connect()).collect();
    server.wait_for_status("all have arrived", |status| status.totals.arrived == 20);
    for _ in 0..10 {
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
    // Soon they make room, the oldest first.
    let status =
        server.wait_for_status("there is room", |status| status.hold.watched < status.hold.limit);
    for client in &mut silent[..20 - status.hold.watched as usize] {
        assert_eq!(client.read_to_end().unwrap(), b"");
    }
}

fn who_speaks_something_else_than_http_is_refused_without_words(backend: &str) {
    let plan = || Plan::on(backend).program([example("echo_worker")]);
    let (server, mut waiting) = crowded(plan(), b"hello");
    for (words, answer) in [(&b"ehlo\n"[..], ""), (b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ")] {
        let mut newcomer = Client::connect(server.address()).unwrap();
        newcomer.send(words).unwrap();
        let told = newcomer.read_to_end().unwrap();
        assert!(told.starts_with(answer.as_bytes()) && told.is_empty() == answer.is_empty());
    }
    process::signal(server.status().workers[0].pid, Signal::SIGCONT);
    for client in &mut waiting {
        client.finish().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"hello");
    }
}

fn assert_waits_calmly(server: &Server) {
    let percent = process::cpu_percent(server.pid(), Span::from_ms(500));
    assert!(percent < 30, "the master took {percent} % of a CPU to wait");
}

fn fill_hold(server: &Server) -> Vec<Client> {
    let connect = || Client::connect(server.address()).unwrap();
    let silent = (0..4).map(|_| connect()).collect();
    server.wait_for_status("the hold queue is full", |status| status.hold.watched == 4);
    silent
}

fn nobody_reads_the_log_and_service_goes_on(backend: &str) {
    let (_unread, full) = full_pipe();
    let server = Plan::on(backend).with("--log-level debug").stderr(full).start();
    let tally = crowd::rounds(server.address(), 2, 5, "/");
    assert_eq!(tally.errors, [""; 0]);
}

fn nobody_reads_what_workers_write_and_service_goes_on(backend: &str) {
    let (_unread, full) = full_pipe();
    let plan = Plan::on(backend).with("--log-level debug").stderr(full);
    let server = plan.program(program()).env(ROLE, "chatty").start();
    let tally = crowd::rounds(server.address(), 2, 5, "/");
    assert_eq!(tally.errors, [""; 0]);
    let dropped = server.status().totals.log_lines_dropped;
    assert!(0 < dropped, "what nobody reads is counted");
    assert_eq!(process::threads(server.pid()), 1);
}

fn nobody_reads_the_last_line_and_the_master_ends(backend: &str) {
    let (_unread, full) = full_pipe();
    let ended = Plan::on(backend).with("--listen unix:/nowhere/at/all.sock").stderr(full).run();
    assert_eq!(ended.code, Some(1));
}

fn a_log_whose_reader_is_gone_wakes_nobody(backend: &str) {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Plan::on(backend).stderr(writer).start();
    drop(reader);
    server.signal(Signal::SIGHUP);
    server.wait_for_status("there is something to log", |status| {
        status.generation == 2 && status.workers.len() == 2
    });
    let sleeps_in = |span| {
        let before = process::sleeps(server.pid());
        nap(span);
        process::sleeps(server.pid()) - before
    };
    eventually("all is quiet", || (sleeps_in(Span::from_ms(500)) < 4).then_some(()));
    // Ten wake-ups a second were thirty.
    assert!(sleeps_in(Span::from_s(3)) < 8);
}

fn no_character_of_a_long_line_is_cut(backend: &str) {
    let text = format!("a{}", "\u{e4}".repeat(3 * STDERR_TAIL));
    let script = "echo \"$1\"; exec \"$0\"";
    let http_worker = example("http_worker");
    let words = ["sh", "-c", script, http_worker.to_str().unwrap(), &text];
    let server = Plan::on(backend).with("--workers 1").program(words).start();
    eventually("all of it is logged", || {
        (server.times_logged("\u{e4}") == 3 * STDERR_TAIL).then_some(())
    });
    assert_eq!(server.times_logged("\u{fffd}"), 0);
}

/// A pipe that takes no further byte, and its unread end.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    set_nonblocking(&writer).unwrap();
    for piece in [4096, 1] {
        while writer.write(&vec![b'.'; piece]).is_ok() {}
    }
    set_blocking(&writer).unwrap();
    (reader, writer)
}

fn blocking_workers_that_accept_for_themselves_pause_without_descriptors(backend: &str) {
    for policy in ["shared", "reuseport"] {
        let (plan, let_go) = hoarding(backend, policy);
        let server = plan.start();
        let mut waiting: Vec<Client> =
            (0..4).map(|_| Client::asking(server.address(), "/").unwrap()).collect();
        assert_pauses(server.worker(0).pid);
        for client in &mut waiting {
            assert!(client.poll_reply().is_none(), "{policy}: nothing can be accepted yet");
        }
        File::create(let_go).unwrap();
        for client in &mut waiting {
            assert_eq!(client.reply().unwrap().status, 200, "{policy}");
        }
    }
}

/// One blocking worker that has used up all its descriptors, and the file that has it let go.
fn hoarding(backend: &str, policy: &str) -> (Plan, PathBuf) {
    let mut few = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""].map(OsString::from).to_vec();
    few.extend(program());
    let plan = Plan::on(backend).with(&format!("--workers 1 --policy {policy}")).program(few);
    let let_go = plan.dir().join("let-go");
    let plan = plan.env(ROLE, "hoarder").env(HOARD_UNTIL, let_go.to_str().unwrap());
    (plan, let_go)
}

fn built_in_workers_that_accept_for_themselves_pause_without_descriptors(backend: &str) {
    let few = ["sh", "-c", "ulimit -n 64; exec \"$0\" serve-worker", BUILT_IN];
    for policy in ["shared", "reuseport"] {
        let flags = format!("--workers 1 --policy {policy}");
        let server = Plan::on(backend).with(&flags).program(few).start();
        let connect = || Client::connect(server.address()).unwrap();
        let mut served = Vec::new();
        let mut waiting = loop {
            let mut client = connect();
            client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
            match client.reply_within(Span::from_ms(500)) {
                Some(reply) => assert_eq!(reply.unwrap().status, 200),
                None => break client,
            }
            served.push(client);
            assert!(served.len() < 64, "{policy}: there are descriptors for no more");
        };
        assert_pauses(server.worker(0).pid);
        drop(served);
        assert_eq!(waiting.reply().unwrap().status, 200, "{policy}");
    }
}

fn assert_pauses(pid: u32) {
    let percent = process::cpu_percent(pid, Span::from_ms(500));
    assert!(percent < 30, "the worker took {percent} % of a CPU to wait");
}

fn at_rest_nothing_spins(backend: &str) {
    let server = Plan::on(backend).start();
    let mut idle = Client::connect(server.address()).unwrap();
    idle.get("/").unwrap();
    let _silent = Client::connect(server.address()).unwrap();
    server.wait_for_status("both have arrived", |status| status.totals.arrived == 2);
    let pids: Vec<u32> = server.status().workers.iter().map(|one| one.pid).collect();
    eventually("all is quiet", || {
        let all = pids.iter().copied().chain([server.pid()]);
        let busiest = all.map(|pid| process::cpu_percent(pid, Span::from_ms(200))).max();
        (busiest == Some(0)).then_some(())
    });
}
