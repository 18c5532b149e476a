//! What happens at the limits: of descriptors, of the hold queue, and of a log that nobody reads.
//! Nothing is lost, nothing spins, and service goes on as soon as it can.

use std::io::Write;

use dispatchd::sys::fd::{set_blocking, set_nonblocking};
use dispatchd::units::Span;

use crate::client::Client;
use crate::crowd;
use crate::house::{House, Plan};
use crate::process;
use crate::role::{ROLE, program};
use crate::wait::eventually;

on_both! {
    accepting_pauses_without_descriptors_and_goes_on
    a_full_hold_queue_leaves_newcomers_in_the_kernel
    a_full_hold_queue_turns_newcomers_away_if_told_so
    nobody_reads_the_log_and_service_goes_on
    nobody_reads_what_workers_write_and_service_goes_on
    at_rest_nothing_spins
}

fn accepting_pauses_without_descriptors_and_goes_on(backend: &str) {
    let few = ["sh", "-c", "ulimit -n 110; exec \"$0\" \"$@\""];
    let house = Plan::on(backend).through(few).start();
    let connect = || Client::connect(house.address()).unwrap();
    let silent: Vec<Client> = (0..120).map(|_| connect()).collect();
    house.wait_for_log("accepting paused");
    let ask = || Client::asking(house.address(), "/").unwrap();
    let mut waiting: Vec<Client> = (0..20).map(|_| ask()).collect();
    let percent = process::cpu_percent(house.pid(), Span::from_ms(500));
    assert!(percent < 30, "the master took {percent} % of a CPU to wait");
    drop(silent);
    for client in &mut waiting {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    house.wait_for_log("accepting again");
    assert_eq!(Client::get_once(house.address(), "/").unwrap().status, 200);
}

fn a_full_hold_queue_leaves_newcomers_in_the_kernel(backend: &str) {
    let house = Plan::on(backend).with("--hold 4 --overload hold").start();
    let mut silent = fill_hold(&house);
    let mut newcomer = Client::asking(house.address(), "/").unwrap();
    house.wait_for_log("hold queue full");
    let percent = process::cpu_percent(house.pid(), Span::from_ms(500));
    assert!(percent < 30, "the master took {percent} % of a CPU to wait");
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
