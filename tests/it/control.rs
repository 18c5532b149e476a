//! The control socket as it is used: by clients that read slowly, or not at all, and for answers
//! that are longer than anything that the kernel takes at once.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use dispatchd::limits::CONTROL_CLIENTS_MAX;
use dispatchd::wire::control::Reply;
use nix::sys::signal::Signal;

use crate::house::{House, Plan};
use crate::process;
use crate::role::{ROLE, program};
use crate::wait::eventually;

on_both! {
    a_long_answer_is_whole
    clients_that_do_not_read_do_not_keep_others_out
    what_is_no_request_is_answered_and_costs_nothing
}

/// Longer than the buffers of a socket, as Linux has them by default.
const LONG: usize = 300 * 1024;
const WORKERS: u16 = 30;

/// A pool of which there is much to tell.
fn eventful(backend: &str) -> House {
    let plan = Plan::on(backend).with(&format!("--workers {WORKERS}")).program(program());
    let house = plan.env(ROLE, "noisy").start();
    for seat in 0..WORKERS {
        process::signal(house.worker(seat).pid, Signal::SIGKILL);
    }
    house.wait_for_status("all have died once, and are back", |status| {
        let told = status.workers.iter().all(|worker| worker.last_exit.is_some());
        told && status.have == status.want
    });
    house
}

fn asking(house: &House) -> UnixStream {
    let mut client = UnixStream::connect(house.control_path()).unwrap();
    client.write_all(b"{\"ask\":\"status\"}\n").unwrap();
    client
}

fn workers_in(answer: &str) -> usize {
    let Ok(Reply::Status(status)) = serde_json::from_str(answer) else { panic!("it is torn") };
    status.workers.len()
}

fn a_long_answer_is_whole(backend: &str) {
    let house = eventful(backend);
    let ended = house.ask(&["status", "--json"]);
    assert_eq!(ended.status.code(), Some(0));
    let answer = String::from_utf8(ended.stdout).unwrap();
    assert!(LONG < answer.len(), "{} bytes prove nothing", answer.len());
    assert_eq!(workers_in(&answer), usize::from(WORKERS));
    // Others are answered while one takes its time.
    let mut slow = asking(&house);
    assert_eq!(house.ask(&["status"]).status.code(), Some(0));
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(workers_in(&answer), usize::from(WORKERS));
}

fn clients_that_do_not_read_do_not_keep_others_out(backend: &str) {
    let house = eventful(backend);
    let idle: Vec<UnixStream> = (0..CONTROL_CLIENTS_MAX).map(|_| asking(&house)).collect();
    eventually("there is a place for one more", || {
        (house.ask(&["status"]).status.code() == Some(0)).then_some(())
    });
    drop(idle);
}

fn what_is_no_request_is_answered_and_costs_nothing(backend: &str) {
    let house = Plan::on(backend).start();
    let descriptors = || process::descriptors(house.pid());
    let before = descriptors();
    for request in [&b"\n"[..], b"{}", b"{\"ask\":\"moon\"}\n", &[b'x'; 9000], b"\xff\xfe"] {
        let mut client = UnixStream::connect(house.control_path()).unwrap();
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap_or_default();
        let error = "{\"reply\":\"error\",\"message\":\"request not understood: ";
        assert!(answer.starts_with(error), "{answer:?}");
    }
    drop(UnixStream::connect(house.control_path()).unwrap());
    eventually("nothing is left of them", || (descriptors() <= before).then_some(()));
}
