//! What happens at the limits: of descriptors, of memory, of the hold queue, and of a log that
//! nobody reads. Nothing is lost, nothing spins, and service goes on as soon as it can.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dispatchd::limits::{PARCEL_MAX, STDERR_TAIL};
use dispatchd::sys::fd::{set_blocking, set_nonblocking};
use dispatchd::sys::{scm, socket};
use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd;
use crate::house::{House, Plan, example};
use crate::process;
use crate::role::{ROLE, program, within_limits};
use crate::shortage;
use crate::wait::{eventually, nap};

/// What starts a command that may have no more descriptors than a test can use up.
const FEW_DESCRIPTORS: [&str; 3] = ["sh", "-c", "ulimit -n 110; exec \"$0\" \"$@\""];

/// More attempts than pauses leave room for, in the second that a test looks on: 64 accepts, ten
/// times, and a few hand-overs, a hundred times. Whoever spins makes tens of thousands.
const ATTEMPTS_MAX: u64 = 3_000;

on_both! {
    accepting_pauses_without_descriptors_and_goes_on
    too_many_descriptors_in_flight_hold_connections_back_and_lose_none
    a_full_hold_queue_leaves_newcomers_in_the_kernel
    a_full_hold_queue_turns_newcomers_away_if_told_so
    nobody_reads_the_log_and_service_goes_on
    nobody_reads_what_workers_write_and_service_goes_on
    a_log_whose_reader_is_gone_wakes_nobody
    no_character_of_a_long_line_is_cut
    at_rest_nothing_spins
}

fn accepting_pauses_without_descriptors_and_goes_on(backend: &str) {
    let house = Plan::on(backend).through(FEW_DESCRIPTORS).start();
    let connect = || Client::connect(house.address()).unwrap();
    let silent: Vec<Client> = (0..120).map(|_| connect()).collect();
    house.wait_for_log("accepting paused");
    let ask = || Client::asking(house.address(), "/").unwrap();
    let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
    // Whoever wants the status is not accepted, either, and must not be tried for without end.
    let curious = UnixStream::connect(house.control_path()).unwrap();
    assert_waits_calmly(&house);
    drop(curious);
    drop(silent);
    for client in &mut waiting {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    house.wait_for_log("accepting again");
    told_once(&house, &["accepting paused", "accepting again"]);
    assert_eq!(Client::get_once(house.address(), "/").unwrap().status, 200);
    assert_eq!(house.status().totals.lost, 0);
}

/// Where there is no memory for a connection; see [`shortage`] for why it is tried on epoll alone.
#[test]
fn accepting_pauses_without_memory_and_goes_on() {
    shortage::with(Plan::on("epoll"), |house, shortage| {
        shortage.begin(libc::SYS_accept4);
        let ask = || Client::asking(house.address(), "/").unwrap();
        let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
        house.wait_for_log("accepting paused");
        let curious = UnixStream::connect(house.control_path()).unwrap();
        assert_waits_calmly(house);
        drop(curious);
        assert!(shortage.failed() < ATTEMPTS_MAX, "{} attempts were made", shortage.failed());
        for client in &mut waiting {
            assert!(client.poll_reply().is_none(), "nothing can be accepted yet");
        }
        shortage.end();
        for client in &mut waiting {
            assert_eq!(client.reply().unwrap().status, 200);
        }
        house.wait_for_log("accepting again");
        told_once(house, &["accepting paused", "accepting again"]);
        assert_eq!(Client::get_once(house.address(), "/").unwrap().status, 200);
        assert_eq!(house.status().totals.lost, 0);
    });
}

/// The kernel refuses to carry descriptors (ETOOMANYREFS) while more of their user's are on their
/// way than the sender may have open, whoever sent those, unless the sender is privileged. What two
/// tests have on their way adds up, which can prolong the wait of the one, and not end it early.
fn too_many_descriptors_in_flight_hold_connections_back_and_lose_none(backend: &str) {
    let mut few = FEW_DESCRIPTORS.map(OsString::from).to_vec();
    few.extend(within_limits());
    let house = Plan::on(backend).with("--hold 8 --overload hold").through(few).start();
    let hog = in_flight(300);
    holds_back_until(&house, || drop(hog));
    house.wait_for_log("handing over again");
    told_once(&house, &["handing over paused", "handing over again"]);
}

/// Where there is no memory for a hand-over; see [`shortage`] for why it is tried on epoll alone.
#[test]
fn handing_over_waits_for_memory_and_loses_none() {
    let plan = Plan::on("epoll").with("--hold 8 --overload hold");
    shortage::with(plan, |house, shortage| {
        shortage.begin(libc::SYS_sendmsg);
        holds_back_until(house, || {
            assert!(shortage.failed() < ATTEMPTS_MAX, "{} attempts were made", shortage.failed());
            shortage.end();
        });
    });
}

/// Where connections cannot be handed over, they wait in the hold queue and before it.
fn holds_back_until(house: &House, let_go: impl FnOnce()) {
    let ask = || Client::asking(house.address(), "/").unwrap();
    let mut waiting: Vec<Client> = (0..40).map(|_| ask()).collect();
    house.wait_for_log("hold queue full");
    assert_waits_calmly(house);
    for client in &mut waiting {
        assert!(client.poll_reply().is_none(), "nothing can be handed over yet");
    }
    let_go();
    for client in &mut waiting {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    house.wait_for_log("hold queue has room again");
    told_once(house, &["hold queue full", "hold queue has room again"]);
    let totals = house.status().totals;
    assert_eq!((totals.arrived, totals.rejected, totals.lost), (40, 0, 0));
}

/// A want that is felt again and again is one line when it begins and one when it is over.
fn told_once(house: &House, texts: &[&str]) {
    for text in texts {
        assert_eq!(house.times_logged(text), 1, "{text:?} in\n{}", house.log());
    }
}

/// So many descriptors on their way, in the name of this user, that nobody fetches.
fn in_flight(count: usize) -> (OwnedFd, OwnedFd) {
    let (near, far) = socket::seqpacket_pair().unwrap();
    let parcel = vec![near.as_fd(); PARCEL_MAX];
    for _ in 0..count.div_ceil(PARCEL_MAX) {
        scm::send_parcel(near.as_fd(), &[], &parcel).unwrap();
    }
    (near, far)
}

fn a_full_hold_queue_leaves_newcomers_in_the_kernel(backend: &str) {
    let house = Plan::on(backend).with("--hold 4 --overload hold").start();
    let mut silent = fill_hold(&house);
    let mut newcomer = Client::asking(house.address(), "/").unwrap();
    house.wait_for_log("hold queue full");
    assert_waits_calmly(&house);
    assert!(newcomer.poll_reply().is_none(), "it waits in the kernel");
    assert_eq!(house.status().totals.arrived, 4);
    drop(silent.pop());
    assert_eq!(newcomer.reply().unwrap().status, 200);
    // The others keep their places, and speak when they like.
    for client in &mut silent {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    house.wait_for_log("hold queue has room again");
}

fn a_full_hold_queue_turns_newcomers_away_if_told_so(backend: &str) {
    let house = Plan::on(backend).with("--hold 4 --overload reject").start();
    let mut silent = fill_hold(&house);
    for _ in 0..10 {
        let mut newcomer = Client::connect(house.address()).unwrap();
        assert_eq!(newcomer.read_to_end().unwrap(), b"");
    }
    assert_eq!(house.status().totals.rejected, 10);
    for client in &mut silent {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    house.wait_for_status("there is room", |status| status.hold.watched == 0);
    assert_eq!(Client::get_once(house.address(), "/").unwrap().status, 200);
}

fn assert_waits_calmly(house: &House) {
    let percent = process::cpu_percent(house.pid(), Span::from_ms(500));
    assert!(percent < 30, "the master took {percent} % of a CPU to wait");
}

fn fill_hold(house: &House) -> Vec<Client> {
    let connect = || Client::connect(house.address()).unwrap();
    let silent = (0..4).map(|_| connect()).collect();
    house.wait_for_status("the hold queue is full", |status| status.hold.watched == 4);
    silent
}

fn nobody_reads_the_log_and_service_goes_on(backend: &str) {
    let (_unread, full) = full_pipe();
    let house = Plan::on(backend).with("--log-level debug").stderr(full).start();
    let tally = crowd::rounds(house.address(), 2, 5, "/");
    assert_eq!(tally.errors, [""; 0]);
}

fn nobody_reads_what_workers_write_and_service_goes_on(backend: &str) {
    let (_unread, full) = full_pipe();
    let plan = Plan::on(backend).with("--log-level debug").stderr(full);
    let house = plan.program(program()).env(ROLE, "chatty").start();
    let tally = crowd::rounds(house.address(), 2, 5, "/");
    assert_eq!(tally.errors, [""; 0]);
    let dropped = house.status().totals.log_lines_dropped;
    assert!(0 < dropped, "what nobody reads is counted");
    assert_eq!(process::threads(house.pid()), 1);
}

fn a_log_whose_reader_is_gone_wakes_nobody(backend: &str) {
    let (reader, writer) = std::io::pipe().unwrap();
    let house = Plan::on(backend).stderr(writer).start();
    drop(reader);
    house.signal(Signal::SIGHUP);
    house.wait_for_status("there is something to log", |status| {
        status.generation == 2 && status.workers.len() == 2
    });
    eventually("all is quiet", || {
        let before = process::sleeps(house.pid());
        nap(Span::from_ms(500));
        // Ten wake-ups a second were five.
        (process::sleeps(house.pid()) - before < 4).then_some(())
    });
}

fn no_character_of_a_long_line_is_cut(backend: &str) {
    let text = format!("a{}", "\u{e4}".repeat(3 * STDERR_TAIL));
    let script = "echo \"$1\"; exec \"$0\"";
    let http_worker = example("http_worker");
    let words = ["sh", "-c", script, http_worker.to_str().unwrap(), &text];
    let house = Plan::on(backend).with("--workers 1").program(words).start();
    eventually("all of it is logged", || {
        (house.times_logged("\u{e4}") == 3 * STDERR_TAIL).then_some(())
    });
    assert_eq!(house.times_logged("\u{fffd}"), 0);
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

fn at_rest_nothing_spins(backend: &str) {
    let house = Plan::on(backend).start();
    let mut idle = Client::connect(house.address()).unwrap();
    idle.get("/").unwrap();
    let _silent = Client::connect(house.address()).unwrap();
    house.wait_for_status("both have arrived", |status| status.totals.arrived == 2);
    let pids: Vec<u32> = house.status().workers.iter().map(|one| one.pid).collect();
    eventually("all is quiet", || {
        let all = pids.iter().copied().chain([house.pid()]);
        let busiest = all.map(|pid| process::cpu_percent(pid, Span::from_ms(200))).max();
        (busiest == Some(0)).then_some(())
    });
}
