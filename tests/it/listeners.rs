//! Where connections come in: addresses of every kind at once, sockets that were inherited, and
//! who speaks first.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::crowd;
use crate::role::{ROLE, program};
use crate::server::{Plan, example};
use crate::wait::eventually;

on_both! {
    addresses_of_every_kind_serve_at_once
    every_kind_is_served_by_workers_that_accept_for_themselves
    an_interface_can_be_named
    inherited_sockets_serve
    what_is_inherited_must_be_a_listener
    what_was_to_be_inherited_must_be_there
    a_server_that_speaks_first_is_handed_silent_clients
    one_listener_can_differ_from_the_others
    silent_clients_take_no_credit
    a_socket_file_serves_again_after_a_restart
    a_port_that_is_shared_with_another_is_told
}

fn addresses_of_every_kind_serve_at_once(backend: &str) {
    serve_on_all(Plan::on(backend));
}

fn every_kind_is_served_by_workers_that_accept_for_themselves(backend: &str) {
    serve_on_all(Plan::on(backend).with("--policy shared"));
}

fn serve_on_all(plan: Plan) {
    let unix = plan.dir().join("app.sock").display().to_string();
    let mut flags = format!("--listen 127.0.0.1:0 --listen 127.0.0.2:0 --listen unix:{unix}");
    // Some containers have no IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        flags.push_str(" --listen [::1]:0");
    }
    let server = plan.with(&flags).start();
    assert_eq!(server.addresses.len(), flags.matches("--listen").count());
    for address in &server.addresses {
        assert!(server.log().contains(&format!("listening on {address}")), "{}", server.log());
        assert!(!address.ends_with(":0"), "the port is the bound one");
        let tally = crowd::rounds(address, 2, 2, "/");
        assert_eq!(tally.errors, [""; 0], "{address}");
    }
}

fn an_interface_can_be_named(backend: &str) {
    let prepare = "ip link set lo up; ip address add fe80::7/64 dev lo nodad; exec \"$0\" \"$@\"";
    let plan = Plan::on(backend).through(["unshare", "--net", "sh", "-c", prepare]);
    let server = plan.with("--listen [fe80::7%lo]:0").start();
    // In a network of its own the loopback is the first.
    assert!(server.address().starts_with("[fe80::7%1]:"), "{}", server.address());
    let nowhere = Plan::on(backend).with("--listen [fe80::7%4294967295]:0").run();
    assert!(nowhere.complaint(1).contains("no interface has the number behind %"));
}

fn inherited_sockets_serve(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let third = ["sh", "-c", "exec 3<&0 </dev/null \"$0\" \"$@\""];
    let plan = Plan::on(backend).through(third).env("LISTEN_FDS", "1");
    let server = plan.stdin(OwnedFd::from(listener)).start();
    assert_eq!(server.addresses, [address]);
    let tally = crowd::rounds(server.address(), 2, 2, "/");
    assert_eq!(tally.errors, [""; 0]);
}

fn what_is_inherited_must_be_a_listener(backend: &str) {
    let third = ["sh", "-c", "exec 3</dev/null \"$0\" \"$@\""];
    let ended = Plan::on(backend).through(third).env("LISTEN_FDS", "1").run();
    let said = ended.complaint(1);
    assert!(said.contains("descriptor 3 of LISTEN_FDS is not a listening socket"), "{said}");
}

fn what_was_to_be_inherited_must_be_there(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = ["sh", "-c", "exec 3<&0 </dev/null \"$0\" \"$@\""];
    let plan = Plan::on(backend).through(third).env("LISTEN_FDS", "3");
    let ended = plan.stdin(OwnedFd::from(listener)).run();
    let said = ended.complaint(1);
    assert!(said.contains("descriptor 4 of LISTEN_FDS is not open"), "{said}");
}

fn a_server_that_speaks_first_is_handed_silent_clients(backend: &str) {
    let plan = Plan::on(backend).with("--dispatch-on connect").program(program());
    let server = plan.env(ROLE, "greeter").start();
    for _ in 0..10 {
        let mut client = Client::connect(server.address()).unwrap();
        client.finish().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"220 at your service\r\n");
    }
}

fn one_listener_can_differ_from_the_others(backend: &str) {
    let plan = Plan::on(backend).with("--listen 127.0.0.1:0,connect --listen 127.0.0.1:0");
    let server = plan.program([example("echo_worker")]).start();
    let mut waiting = Client::connect(&server.addresses[1]).unwrap();
    server.wait_for_status("it is watched", |status| status.hold.watched == 1);
    let mut at_once = Client::connect(&server.addresses[0]).unwrap();
    server.wait_for_status("one was handed over", |status| {
        status.workers.iter().map(|worker| worker.accepted).sum::<u64>() == 1
    });
    for client in [&mut at_once, &mut waiting] {
        client.send(b"hello").unwrap();
        client.finish().unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"hello");
    }
}

fn silent_clients_take_no_credit(backend: &str) {
    let server = Plan::on(backend).with("--workers 1 --policy jbsq:1").start();
    let connect = || Client::connect(server.address()).unwrap();
    let mut silent: Vec<Client> = (0..50).map(|_| connect()).collect();
    server.wait_for_status("all are watched", |status| status.hold.watched == 50);
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert_eq!(server.worker(0).accepted, 1);
    assert_eq!(silent[49].get("/").unwrap().status, 200);
}

fn a_socket_file_serves_again_after_a_restart(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("--listen unix:{}/app.sock", dir.path().display());
    for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGKILL, Signal::SIGTERM] {
        let mut server = Plan::on(backend).with(&listen).start();
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        server.signal(signal);
        server.exit_code();
        // The kernel takes a killed process's ring, and with it the socket, apart a little later.
        eventually("nobody listens", || Client::connect(server.address()).err());
    }
}

fn a_port_that_is_shared_with_another_is_told(backend: &str) {
    let told = |address: &str| format!("WARN another process listens on {address}, too");
    let mut first = Plan::on(backend).with("--policy reuseport").start();
    let address = first.address().to_owned();
    let plan = || Plan::on(backend).with(&format!("--policy reuseport --listen {address}"));
    let second = plan().start();
    assert_eq!(first.times_logged("another process"), 0, "its own sockets are no other's");
    assert_eq!(second.times_logged(&told(&address)), 1, "{}", second.log());
    drop(second);
    // The kernel takes a killed process's ring, and with it the sockets, apart a little later.
    eventually("nobody else takes connections", || Client::get_once(&address, "/").ok());
    // What a predecessor leaves behind is no other listener.
    first.signal(Signal::SIGTERM);
    assert_eq!(first.exit_code(), Some(0));
    let successor = plan().start();
    assert_eq!(successor.times_logged("another process"), 0, "{}", successor.log());
}
