//! Who does not accept any more holds no listener: a client that nobody will serve is refused and
//! not kept waiting, whoever comes next has the address at once and for itself, and what had come
//! in before is answered.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use dispatchd::wire::control::Status;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::{Plan, Server, example};
use crate::wait::eventually;

on_both! {
    who_stops_in_a_long_request_refuses_and_makes_room_for_a_successor
    who_stops_while_a_program_reads_refuses_and_makes_room_for_a_successor
    what_was_accepted_before_a_stop_is_answered
    a_worker_that_is_replaced_lets_its_listeners_go
    what_was_inherited_goes_on_listening
    what_was_inherited_outlives_a_master_that_is_killed
}

const KERNEL_POLICIES: [&str; 2] = ["shared", "reuseport"];

fn who_stops_in_a_long_request_refuses_and_makes_room_for_a_successor(backend: &str) {
    for policy in KERNEL_POLICIES {
        let mut server = Plan::on(backend).with(&format!("--policy {policy}")).start();
        let mut long = Client::asking(server.address(), "/sleep?ms=6000").unwrap();
        server.busy_worker();
        server.signal(Signal::SIGTERM);
        refuses(server.address());
        assert!(long.poll_reply().is_none(), "{policy}: it was over before");
        succeed(&server, backend, policy);
        assert_eq!(long.reply().unwrap().status, 200, "{policy}");
        assert_eq!(server.exit_code(), Some(0));
    }
}

fn who_stops_while_a_program_reads_refuses_and_makes_room_for_a_successor(backend: &str) {
    for policy in KERNEL_POLICIES {
        let plan = Plan::on(backend).with(&format!("--policy {policy}"));
        let mut server = plan.program([example("http_worker")]).start();
        let half = half_a_request(&server);
        server.signal(Signal::SIGTERM);
        refuses(server.address());
        succeed(&server, backend, policy);
        assert!(!server.has_ended(), "{policy}");
        assert_eq!(finish(half), 200, "{policy}");
        assert_eq!(server.exit_code(), Some(0));
    }
}

/// Another dispatchd has the address at once, and for itself.
fn succeed(server: &Server, backend: &str, policy: &str) {
    let flags = format!("--policy {policy} --listen {}", server.address());
    let successor = Plan::on(backend).with(&flags).start();
    let its_workers = pids(&successor.status());
    for _ in 0..40 {
        let who = Client::get_once(server.address(), "/whoami").unwrap().json();
        let pid = u32::try_from(who["pid"].as_u64().unwrap()).unwrap();
        assert!(its_workers.contains(&pid), "{policy}: {pid} is none of {its_workers:?}");
    }
}

/// A request that lasts as long as we want.
fn half_a_request(server: &Server) -> Client {
    let mut half = Client::connect(server.address()).unwrap();
    half.send(b"GET / HTTP/1.1\r\n").unwrap();
    server.wait_for_status("a worker has it", |status| {
        status.workers.iter().any(|worker| worker.connections == 1)
    });
    half
}

fn finish(mut half: Client) -> u16 {
    half.send(b"Host: here\r\n\r\n").unwrap();
    half.reply().unwrap().status
}

/// As soon as it stops, nobody waits for what does not come.
fn refuses(address: &str) {
    let error = eventually("nobody listens", || Client::connect(address).err());
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn what_was_accepted_before_a_stop_is_answered(backend: &str) {
    for policy in KERNEL_POLICIES {
        let mut server = Plan::on(backend).with(&format!("--policy {policy}")).start();
        let ask = |path| Client::asking(server.address(), path).unwrap();
        // All workers are held up, and the rest waits in the kernel.
        let mut clients: Vec<Client> = (0..20).map(|_| ask("/sleep?ms=200")).collect();
        clients.extend((0..20).map(|_| ask("/")));
        server.signal(Signal::SIGTERM);
        for client in &mut clients {
            assert_eq!(client.reply().unwrap().status, 200, "{policy}");
        }
        assert_eq!(server.exit_code(), Some(0));
    }
}

fn a_worker_that_is_replaced_lets_its_listeners_go(backend: &str) {
    for policy in KERNEL_POLICIES {
        let server = Plan::on(backend).with(&format!("--policy {policy} --workers 1")).start();
        let (half, old) = (half_a_request(&server), server.worker(0).pid);
        assert!(has_listener(old), "{policy}");
        server.signal(Signal::SIGHUP);
        server.wait_for_status("the new generation serves", |status| status.generation == 2);
        eventually("the old worker has no listener", || (!has_listener(old)).then_some(()));
        assert!(pids(&server.status()).contains(&old), "{policy}: it has its request");
        assert_eq!(Client::get_once(server.address(), "/whoami").unwrap().json()["generation"], 2);
        assert_eq!(finish(half), 200, "{policy}");
        server.wait_until_whole();
    }
}

/// A dispatchd under `shared` that was given this listener.
fn inheriting(backend: &str, listener: &TcpListener) -> Server {
    let third = ["sh", "-c", "exec 3<&0 </dev/null \"$0\" \"$@\""];
    let plan = Plan::on(backend).with("--policy shared").through(third).env("LISTEN_FDS", "1");
    plan.stdin(OwnedFd::from(listener.try_clone().unwrap())).start()
}

fn what_was_inherited_outlives_a_master_that_is_killed(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut server = inheriting(backend, &listener);
    server.signal(Signal::SIGKILL);
    assert_eq!(server.exit_code(), None);
    eventually("its workers have ended", || server.survivors().is_empty().then_some(()));
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_, peer) = eventually("it comes here", || listener.accept().ok());
    assert_eq!(peer, client.local_addr().unwrap());
}

fn what_was_inherited_goes_on_listening(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut server = inheriting(backend, &listener);
    let half = half_a_request(&server);
    let workers = pids(&server.status());
    server.signal(Signal::SIGTERM);
    eventually("whoever stops has let it go", || {
        let all = workers.iter().chain([&server.pid()]).any(|pid| has_listener(*pid));
        (!all).then_some(())
    });
    assert!(!server.has_ended());
    // Whoever gave it takes the next one.
    let client = TcpStream::connect(address).unwrap();
    let (_, peer) = eventually("it comes here", || listener.accept().ok());
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(finish(half), 200);
    assert_eq!(server.exit_code(), Some(0));
}

/// Whether one of a process's descriptors is a TCP socket that listens.
fn has_listener(pid: u32) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mut listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(3) == Some(&"0A")).then(|| format!("socket:[{}]", fields[9]))
    });
    let open = process::open_files(pid);
    listening.any(|socket| open.contains(&socket))
}

fn pids(status: &Status) -> Vec<u32> {
    status.workers.iter().map(|worker| worker.pid).collect()
}
