//! Starts that cannot succeed: each says why in one line, with the right exit code, and leaves
//! nothing behind; and the start that goes on without io_uring.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use dispatchd::limits::HELLO_EXPECTED;
use dispatchd::units::Span;
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::role::{ROLE, program, without_io_uring};
use crate::server::{Plan, Server, example};

on_both! {
    a_port_in_use_is_refused
    a_socket_file_in_a_missing_directory_is_refused
    a_missing_program_is_refused
    a_program_is_looked_for_in_path
    a_program_that_cannot_be_executed_is_told
    a_program_that_exits_at_once_is_told_with_its_last_words
    a_program_that_never_speaks_is_not_waited_for_for_ever
    a_server_that_is_no_worker_is_told_within_seconds
    a_server_that_a_program_starts_is_found
    a_program_that_ends_without_a_word_is_told
    a_worker_that_takes_long_is_no_stranger
    a_second_start_under_one_name_is_refused
    a_stale_socket_file_is_no_obstacle
    too_few_descriptors_are_told
}

fn a_port_in_use_is_refused(backend: &str) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Plan::on(backend).with(&format!("--listen {address}")).run();
    let said = ended.complaint(1);
    assert!(said.starts_with(&format!("cannot listen on {address}: Address already in use")));
    assert!(said.contains("choose another --listen"), "{said}");
}

fn a_socket_file_in_a_missing_directory_is_refused(backend: &str) {
    let ended = Plan::on(backend).with("--listen unix:/nowhere/at/all.sock").run();
    let said = ended.complaint(1);
    let expected = "cannot listen on unix:/nowhere/at/all.sock: No such file or directory";
    assert!(said.starts_with(expected), "{said}");
}

fn a_missing_program_is_refused(backend: &str) {
    for (name, words) in [
        ("no-such-program-anywhere", "no such program in PATH: name its path"),
        ("/no/such/program", "no such program: check its path"),
        ("./no-such-program", "no such program: check its path"),
        ("/etc/passwd", "Permission denied (os error 13): make it executable"),
        ("/", "it is not a regular file"),
    ] {
        let ended = Plan::on(backend).program([name]).run();
        assert!(ended.complaint(1).starts_with(&format!("cannot run {name}: {words}")));
    }
}

/// As a shell does: what cannot be executed is passed over.
fn a_program_is_looked_for_in_path(backend: &str) {
    let plan = Plan::on(backend);
    for (directory, mode) in [("first", 0o644), ("second", 0o755)] {
        let directory = plan.dir().join(directory);
        std::fs::create_dir(&directory).unwrap();
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", example("echo_worker").display());
        std::fs::write(directory.join("my-worker"), script).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.join("my-worker"), mode).unwrap();
    }
    let dir = plan.dir().display().to_string();
    let path = format!("{dir}/nowhere:{dir}/first:{dir}/second:/usr/bin:/bin");
    let server = plan.env("PATH", &path).program(["my-worker"]).start();
    let mut client = Client::connect(server.address()).unwrap();
    client.send(b"hello").unwrap();
    assert_eq!(client.read_exactly(5).unwrap(), b"hello");
}

fn a_program_that_cannot_be_executed_is_told(backend: &str) {
    let plan = Plan::on(backend);
    let path = plan.dir().join("script");
    std::fs::write(&path, "#!/no/such/shell\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended = plan.program([path.as_os_str()]).run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let reason = format!("{}: No such file or directory", path.display());
    assert!(ended.log.contains(&reason), "{}", ended.log);
}

fn a_program_that_exits_at_once_is_told_with_its_last_words(backend: &str) {
    let script = "echo starting; echo the disk is on fire >&2; exit 3";
    let ended = Plan::on(backend).program(["sh", "-c", script]).run();
    assert!(ended.complaint(1).contains("no worker became ready"), "{}", ended.log);
    // Whatever writes to that file goes on where another ended.
    let first = ended.log.lines().next().unwrap();
    assert!(first.contains(" INFO dispatchd "), "{}", ended.log);
    assert!(ended.log.lines().last().unwrap().contains("no worker became ready"), "{}", ended.log);
    let reason = ended.log.lines().find(|line| line.contains("worker died"));
    let reason = reason.unwrap_or_else(|| panic!("{}", ended.log));
    assert!(reason.contains("exit code 3") && reason.contains("the disk is on fire"), "{reason}");
}

fn a_program_that_never_speaks_is_not_waited_for_for_ever(backend: &str) {
    let ended = Plan::on(backend).with("--start-timeout 300ms").program(["sleep", "600"]).run();
    assert!(ended.complaint(1).contains("no worker became ready"), "{}", ended.log);
    assert!(ended.log.contains("worker was not ready in time"), "{}", ended.log);
    assert!(Span::from_ms(300) <= ended.after && ended.after < Span::from_s(10));
}

/// What is told of a program that is no worker.
const NOT_SPOKEN: &str = "has not spoken: a worker must use the dispatchd SDK (README.md, \
                          \"A worker of your own\"); it listens on port";

fn a_server_that_is_no_worker_is_told_within_seconds(backend: &str) {
    let server = Plan::on(backend).program(program()).env(ROLE, "outsider").launch();
    let pid = told_of_a_server(&server);
    let program = std::env::current_exe().unwrap();
    let line = format!("{} (pid {pid}) {NOT_SPOKEN}", program.display());
    assert!(server.log().contains(&line), "{}", server.log());
}

fn a_server_that_a_program_starts_is_found(backend: &str) {
    let script = "\"$@\" & child=$!; trap \"kill $child\" TERM; wait";
    let words = ["sh", "-c", script, "sh"].into_iter().map(OsString::from).chain(program());
    let server =
        Plan::on(backend).with("--workers 1").program(words).env(ROLE, "outsider").launch();
    told_of_a_server(&server);
    assert!(server.log().contains("sh (pid "), "{}", server.log());
}

/// Waits until it is told, once, of a server with its port. Returns the number of its process.
fn told_of_a_server(server: &Server) -> u32 {
    server.wait_for_log(NOT_SPOKEN);
    let workers = server.status().workers;
    let log = server.log();
    let line = log.lines().find(|line| line.contains(NOT_SPOKEN)).unwrap();
    let port = line.split_once("on port ").unwrap().1.strip_suffix(" itself").unwrap();
    assert!(log.contains(&format!(" port {port} worker=")), "{log}");
    let pid = |line: &str| line.split_once("(pid ")?.1.split_once(')')?.0.parse().ok();
    let pid = pid(line).unwrap();
    assert!(workers.iter().any(|worker| worker.pid == pid), "{log}");
    server.signal(Signal::SIGQUIT);
    server.wait_for_log("worker left");
    assert_eq!(server.times_logged("has not spoken"), 1, "{}", server.log());
    pid
}

fn a_program_that_ends_without_a_word_is_told(backend: &str) {
    let ended = Plan::on(backend).program(["sh", "-c", "exit 3"]).run();
    assert_eq!(ended.code, Some(1));
    let line = "had not spoken: a worker must use the dispatchd SDK";
    assert_eq!(ended.log.matches(line).count(), 1, "{}", ended.log);
}

fn a_worker_that_takes_long_is_no_stranger(backend: &str) {
    let plan = Plan::on(backend).with("--start-timeout 4s").program(program()).env(ROLE, "slow");
    let ended = plan.run();
    assert_eq!(ended.code, Some(1));
    assert!(HELLO_EXPECTED < ended.after, "{}", ended.after);
    assert!(!ended.log.contains("not spoken"), "{}", ended.log);
}

fn a_second_start_under_one_name_is_refused(backend: &str) {
    let first = Plan::on(backend).start();
    let second = Plan::on(backend).named(&first).run();
    let said = second.complaint(1);
    assert!(said.contains(first.name()) && said.contains("--name"), "{said}");
    assert_eq!(Client::get_once(first.address(), "/").unwrap().status, 200);
    first.status();
}

fn a_stale_socket_file_is_no_obstacle(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("--listen unix:{}", path.display());
    let server = Plan::on(backend).with(&listen).start();
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    let ended = Plan::on(backend).with(&listen).run();
    assert!(ended.complaint(1).contains("somebody listens there"), "one that lives is kept");
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
}

fn too_few_descriptors_are_told(backend: &str) {
    let few = ["sh", "-c", "ulimit -n 70; exec \"$0\" \"$@\""];
    let ended = Plan::on(backend).through(few).run();
    let said = ended.complaint(1);
    assert!(said.contains("70 open files are too few for 2 workers"), "{said}");
    assert!(said.contains("ulimit -n"), "{said}");
}

#[test]
fn a_worker_without_a_master_says_how_to_start_it() {
    let program = std::process::Command::new(example("echo_worker")).output().unwrap();
    assert!(!program.status.success());
    let said = String::from_utf8_lossy(&program.stderr);
    assert!(said.contains("dispatchd -- PROGRAM"), "{said}");
}

#[test]
fn without_io_uring_auto_says_why_and_serves_on_epoll() {
    let server = Plan::on("auto").through(without_io_uring()).start();
    assert_eq!(server.status().backend, "epoll");
    assert!(banner(&server).contains("backend epoll (no io_uring: forbidden by a seccomp filter"));
    for _ in 0..20 {
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
}

#[test]
fn without_io_uring_there_is_no_uring() {
    let ended = Plan::on("uring").through(without_io_uring()).run();
    let said = ended.complaint(1);
    assert!(said.starts_with("io_uring cannot be used: forbidden by a seccomp filter"), "{said}");
    assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
}

#[test]
fn auto_takes_io_uring_where_it_may_and_says_so() {
    let server = Plan::on("auto").start();
    let status = server.status();
    assert!(banner(&server).contains(&status.backend_reason), "{}", server.log());
    assert!(banner(&server).contains(&format!("backend {}", status.backend)));
}

/// The line that names the backend.
fn banner(server: &Server) -> String {
    let log = server.log();
    log.lines().find(|line| line.contains(" backend ")).unwrap().to_owned()
}
