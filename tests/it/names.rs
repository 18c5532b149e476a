//! Names: that of a dispatchd, which one has at a time, and those that its sockets have in the file
//! system, which are its own for exactly as long.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use dispatchd::limits::CONTROL_TIMEOUT;
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::socket::{Endpoint, connect};
use dispatchd::units::{Errno, Span};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::{Plan, Server};
use crate::wait::{eventually, within};

on_both! {
    of_four_starts_under_one_name_one_runs
    the_name_of_a_killed_one_is_free_at_once
    the_end_of_one_leaves_the_socket_of_its_successor
    what_was_swept_away_is_made_anew
    it_is_so_without_anybody_telling
    the_file_of_a_listener_that_was_swept_away_is_told_of
    a_master_that_is_stopped_keeps_its_name_and_nobody_waiting
    a_socket_file_goes_with_its_listener
    what_is_not_ours_is_not_replaced
    a_socket_file_has_the_access_that_it_was_given
    no_umask_is_in_the_way
    a_socket_that_may_not_be_asked_is_not_said_to_be_in_use
}

fn of_four_starts_under_one_name_one_runs(backend: &str) {
    for _ in 0..10 {
        let first = Plan::on(backend).with("--workers 1").launch();
        let others = [(); 3].map(|()| Plan::on(backend).with("--workers 1").named(&first).launch());
        let mut servers: Vec<Server> = [first].into_iter().chain(others).collect();
        let mut ends: Vec<usize> = Vec::new();
        eventually("three of them give up", || {
            for (index, server) in servers.iter_mut().enumerate() {
                if !ends.contains(&index) && server.has_ended() {
                    ends.push(index);
                }
            }
            assert!(ends.len() < 4, "none of them runs");
            (ends.len() == 3).then_some(())
        });
        let name = servers[0].name().to_owned();
        for (index, server) in servers.iter_mut().enumerate() {
            if ends.contains(&index) {
                assert_eq!(server.exit_code(), Some(1));
                let said = server.log();
                assert!(said.contains(&format!("another dispatchd runs under the name '{name}'")));
            }
        }
        let one = servers.iter().enumerate().find(|(index, _)| !ends.contains(index)).unwrap().1;
        let pid = eventually("the one can be asked", || one.try_status()).pid;
        assert_eq!(pid, one.pid());
        one.wait_until_whole();
    }
}

fn the_name_of_a_killed_one_is_free_at_once(backend: &str) {
    let mut last = Plan::on(backend).start();
    for _ in 0..10 {
        last.signal(Signal::SIGKILL);
        assert_eq!(last.exit_code(), None);
        let next = Plan::on(backend).named(&last).start();
        assert_eq!(next.status().pid, next.pid());
        last = next;
    }
}

fn the_end_of_one_leaves_the_socket_of_its_successor(backend: &str) {
    let mut first = Plan::on(backend).start();
    // As those do who clean up a directory for temporary files.
    fs::remove_file(first.control_path()).unwrap();
    fs::remove_file(first.control_path().with_extension("lock")).unwrap();
    let second = Plan::on(backend).named(&first).start();
    first.signal(Signal::SIGUSR1);
    first.wait_for_log("cannot be made anew: another dispatchd runs under the name");
    first.signal(Signal::SIGTERM);
    assert_eq!(first.exit_code(), Some(0));
    assert_eq!(second.status().pid, second.pid());
}

/// Whatever of its files is removed, it can be asked, and nobody else has its name.
fn what_was_swept_away_is_made_anew(backend: &str) {
    let server = Plan::on(backend).start();
    let (socket, lock) = (server.control_path(), server.control_path().with_extension("lock"));
    let removals: [fn(&Path) -> io::Result<()>; 3] = [
        |socket| fs::remove_file(socket),
        |socket| fs::remove_file(socket.with_extension("lock")),
        |socket| fs::remove_dir_all(socket.parent().unwrap()),
    ];
    for (times, remove) in (1..).zip(removals) {
        remove(&socket).unwrap();
        server.signal(Signal::SIGUSR1);
        eventually("it is told", || (server.times_logged("made anew") == times).then_some(()));
        assert!(lock.exists());
        assert_eq!(server.ask(&["status"]).status.code(), Some(0));
        assert!(Plan::on(backend).named(&server).run().complaint(1).contains("under the name"));
        // Nothing is wrong, and nothing is told.
        server.signal(Signal::SIGUSR1);
        eventually("it has looked", || (server.times_logged("SIGUSR1") == 2 * times).then_some(()));
    }
    assert_eq!(server.times_logged("made anew"), 3);
}

fn it_is_so_without_anybody_telling(backend: &str) {
    let mut server = Plan::on(backend).start();
    fs::remove_dir_all(server.control_path().parent().unwrap()).unwrap();
    // It looks every ten seconds.
    within(Span::from_s(100), "it can be asked", || server.try_status());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.control_path().exists());
}

fn the_file_of_a_listener_that_was_swept_away_is_told_of(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let mut server = listening_on(backend, &path).start();
    fs::remove_file(&path).unwrap();
    let words = format!("the file of the listener unix:{} was removed", path.display());
    for _ in 0..2 {
        server.signal(Signal::SIGUSR1);
        server.wait_for_log(&words);
    }
    fs::write(&path, "another's").unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.times_logged(&words), 1);
    assert!(path.exists());
}

fn a_master_that_is_stopped_keeps_its_name_and_nobody_waiting(backend: &str) {
    let server = Plan::on(backend).start();
    process::freeze(server.pid());
    let began_at = monotonic();
    assert!(Plan::on(backend).named(&server).run().complaint(1).contains("under the name"));
    let mut waiting = Vec::new();
    let full = loop {
        match connect(&Endpoint::Unix(server.control_path())) {
            Ok(client) => waiting.push(client),
            Err(errno) => break errno,
        }
    };
    assert_eq!(full, Errno(libc::EAGAIN));
    assert!(Plan::on(backend).named(&server).run().complaint(1).contains("under the name"));
    assert!(monotonic().since(began_at) < CONTROL_TIMEOUT, "a lock is no matter of waiting");
    let ended = server.ask(&["status"]);
    assert_eq!(ended.status.code(), Some(5));
    let took = monotonic().since(began_at);
    assert!(CONTROL_TIMEOUT <= took && took < CONTROL_TIMEOUT.times(10), "{took}");
    process::signal(server.pid(), Signal::SIGCONT);
    drop(waiting);
    assert_eq!(server.ask(&["status"]).status.code(), Some(0));
}

fn listening_on(backend: &str, path: &Path) -> Plan {
    Plan::on(backend).with(&format!("--listen unix:{}", path.display()))
}

fn a_socket_file_goes_with_its_listener(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGKILL] {
        let mut server = listening_on(backend, &path).start();
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        server.signal(signal);
        server.exit_code();
        assert_eq!(path.exists(), signal == Signal::SIGKILL, "{signal}");
    }
    // One that finishes what it has begun with has left its name to the next.
    let mut server = listening_on(backend, &path).start();
    let mut running = Client::asking(server.address(), "/wait?ms=1000").unwrap();
    server.busy_worker();
    server.signal(Signal::SIGTERM);
    let successor = eventually("the name is free", || {
        (!path.exists()).then(|| listening_on(backend, &path).start())
    });
    assert_eq!(running.reply().unwrap().status, 200);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(Client::get_once(successor.address(), "/").unwrap().status, 200);
}

fn what_is_not_ours_is_not_replaced(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(at("nowhere"), at("link")).unwrap();
    drop(UnixListener::bind(at("foreign")).unwrap());
    nix::unistd::chown(&at("foreign"), Some(65_534.into()), None).unwrap();
    let _live = UnixListener::bind(at("live")).unwrap();
    for (name, words) in [
        ("file", "a regular file is there"),
        ("directory", "a directory is there"),
        ("link", "a symbolic link is there"),
        ("foreign", "a socket of user 65534 is there, at which nobody listens"),
        ("live", "somebody listens there"),
    ] {
        let ended = listening_on(backend, &at(name)).run();
        let expected = format!("cannot listen on unix:{}: {words}", at(name).display());
        assert!(ended.complaint(1).starts_with(&expected), "{}", ended.log);
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name} is still there");
    }
}

fn a_socket_file_has_the_access_that_it_was_given(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let flags = "--socket-mode 0620 --socket-owner 65534:65533";
    let mut server = listening_on(backend, &path).with(flags).start();
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o620);
    assert_eq!((found.uid(), found.gid()), (65_534, 65_533));
    server.signal(Signal::SIGKILL);
    server.exit_code();
    // What is left of it is ours to replace.
    let server = listening_on(backend, &path).with(flags).start();
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

fn a_socket_that_may_not_be_asked_is_not_said_to_be_in_use(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    drop(UnixListener::bind(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root is above permissions, unless it may not be.
    let wrapper = ["setpriv", "--bounding-set", "-dac_override"];
    let ended = listening_on(backend, &path).through(wrapper).run();
    let expected = "a socket of user 0 is there, which this process may not connect to";
    assert!(ended.complaint(1).contains(expected), "{}", ended.log);
}

fn no_umask_is_in_the_way(backend: &str) {
    for umask in ["000", "177", "777"] {
        let masked = format!("umask {umask}; exec \"$0\" \"$@\"");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let plan = listening_on(backend, &path).with("--socket-mode 600");
        let server = plan.through(["sh", "-c", &masked]).start();
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600, "{umask}");
        assert_eq!(mode(&server.control_path()), 0o600, "{umask}");
        assert_eq!(mode(server.control_path().parent().unwrap()), 0o700, "{umask}");
    }
}
