//! The control socket as it is used: by many at once, by clients that read slowly or not at all,
//! and for answers that are longer than anything that the kernel takes at once.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dispatchd::limits::{CONTROL_CLIENTS_MAX, CONTROL_TIMEOUT};
use dispatchd::sys::clock::monotonic;
use dispatchd::wire::control::ControlReply;
use nix::sys::signal::Signal;

use crate::process;
use crate::role::{ROLE, program};
use crate::server::{Plan, Server};
use crate::wait::{PATIENCE, eventually, within};

on_both! {
    a_long_answer_is_whole
    clients_that_do_not_read_do_not_keep_others_out
    newcomers_do_not_cut_what_is_being_answered
    all_of_many_that_take_their_time_are_answered
    silent_clients_make_room_the_oldest_first
    a_silent_client_is_let_go_in_time
    two_hundred_that_ask_at_once_are_answered
    what_is_no_request_is_answered_and_costs_nothing
}

/// Longer than the buffers of a socket, as Linux has them by default.
const LONG: usize = 300 * 1024;
const WORKERS: u16 = 30;

/// An app of which there is much to tell.
fn eventful(backend: &str) -> Server {
    let plan = Plan::on(backend).with(&format!("--workers {WORKERS}")).program(program());
    let server = plan.env(ROLE, "noisy").start();
    for slot in 0..WORKERS {
        process::signal(server.worker(slot).pid, Signal::SIGKILL);
    }
    server.wait_for_status("all have died once, and are back", |status| {
        let told = status.workers.iter().all(|worker| worker.last_exit.is_some());
        told && status.have == status.want
    });
    server
}

const STATUS: &[u8] = b"{\"ask\":\"status\"}\n";

fn silent(server: &Server) -> UnixStream {
    let client = UnixStream::connect(server.control_path()).unwrap();
    client.set_read_timeout(Some(Duration::from_nanos(PATIENCE.as_ns()))).unwrap();
    client
}

fn asking(server: &Server) -> UnixStream {
    let mut client = silent(server);
    client.write_all(STATUS).unwrap();
    client
}

/// The whole answer, from which it follows how many workers there are.
fn is_answered(mut client: UnixStream, workers: u16) {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(workers_in(&answer), usize::from(workers));
}

/// Whether the master has let this client go.
fn is_over(client: &mut UnixStream) -> bool {
    client.set_nonblocking(true).unwrap();
    match client.read(&mut [0; 1]) {
        Ok(0) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

fn workers_in(answer: &str) -> usize {
    let Ok(ControlReply::Status(status)) = serde_json::from_str(answer) else {
        panic!("it is torn")
    };
    status.workers.len()
}

fn a_long_answer_is_whole(backend: &str) {
    let server = eventful(backend);
    let ended = server.ask(&["status", "--json"]);
    assert_eq!(ended.status.code(), Some(0));
    let answer = String::from_utf8(ended.stdout).unwrap();
    assert!(LONG < answer.len(), "{} bytes prove nothing", answer.len());
    assert_eq!(workers_in(&answer), usize::from(WORKERS));
    // Others are answered while one takes its time.
    let slow = asking(&server);
    assert_eq!(server.ask(&["status"]).status.code(), Some(0));
    is_answered(slow, WORKERS);
}

fn clients_that_do_not_read_do_not_keep_others_out(backend: &str) {
    let server = eventful(backend);
    let idle: Vec<UnixStream> = (0..CONTROL_CLIENTS_MAX).map(|_| asking(&server)).collect();
    eventually("there is a place for one more", || {
        (server.ask(&["status"]).status.code() == Some(0)).then_some(())
    });
    drop(idle);
}

fn newcomers_do_not_cut_what_is_being_answered(backend: &str) {
    let server = eventful(backend);
    let slow: Vec<UnixStream> = (0..CONTROL_CLIENTS_MAX).map(|_| asking(&server)).collect();
    let late: Vec<UnixStream> = (0..CONTROL_CLIENTS_MAX).map(|_| asking(&server)).collect();
    // The answer to the last one shows that all before it have been looked at.
    slow.into_iter().chain(late).for_each(|client| is_answered(client, WORKERS));
}

fn all_of_many_that_take_their_time_are_answered(backend: &str) {
    let server = Plan::on(backend).start();
    // More than there are places, none of which has asked when the last one comes.
    let mut clients: Vec<UnixStream> =
        (0..3 * CONTROL_CLIENTS_MAX).map(|_| silent(&server)).collect();
    for client in &mut clients {
        client.write_all(STATUS).unwrap();
    }
    clients.into_iter().for_each(|client| is_answered(client, 2));
}

fn silent_clients_make_room_the_oldest_first(backend: &str) {
    let server = Plan::on(backend).start();
    let mut clients: Vec<UnixStream> = (0..CONTROL_CLIENTS_MAX).map(|_| silent(&server)).collect();
    let ended = server.ask(&["status"]);
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(is_over(&mut clients[0]));
    let mut last = clients.pop().unwrap();
    assert!(!is_over(&mut last), "there is room without that");
    last.set_nonblocking(false).unwrap();
    last.write_all(STATUS).unwrap();
    is_answered(last, 2);
}

fn a_silent_client_is_let_go_in_time(backend: &str) {
    let server = Plan::on(backend).start();
    let began_at = monotonic();
    let mut client = silent(&server);
    let patience = CONTROL_TIMEOUT.times(10);
    within(patience, "it is let go", || is_over(&mut client).then_some(()));
    let took = monotonic().since(began_at);
    assert!(CONTROL_TIMEOUT <= took, "{took}: whoever types needs some time");
}

fn two_hundred_that_ask_at_once_are_answered(backend: &str) {
    let server = Plan::on(backend).start();
    let runtime = server.control_path().ancestors().nth(2).unwrap().to_owned();
    let ask = |_| {
        Command::new(env!("CARGO_BIN_EXE_dispatchd"))
            .args(["status", "--name", server.name()])
            .env("XDG_RUNTIME_DIR", &runtime)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let asked: Vec<Child> = (0..200).map(ask).collect();
    let codes = asked
        .into_iter()
        .map(|mut each| eventually("it is answered", || each.try_wait().unwrap()).code());
    assert_eq!(codes.filter(|code| *code == Some(0)).count(), 200);
}

fn what_is_no_request_is_answered_and_costs_nothing(backend: &str) {
    let server = Plan::on(backend).start();
    let descriptors = || process::descriptors(server.pid());
    let before = descriptors();
    for request in [&b"\n"[..], b"{}", b"{\"ask\":\"moon\"}\n", &[b'x'; 9000], b"\xff\xfe"] {
        let mut client = UnixStream::connect(server.control_path()).unwrap();
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap_or_default();
        let error = "{\"reply\":\"error\",\"message\":\"request not understood: ";
        assert!(answer.starts_with(error), "{answer:?}");
    }
    drop(UnixStream::connect(server.control_path()).unwrap());
    eventually("nothing is left of them", || (descriptors() <= before).then_some(()));
}
