//! The command line as scripts use it: exit codes, streams, and one line for each wrong value that
//! names the flag, the value and what is allowed.

use std::process::{Command, Output};

use dispatchd::limits::{NAME_MAX, UNIX_PATH_MAX};
use serde_json::Value;

use crate::server::Plan;

/// A wrong value for every flag, and what its complaint must say besides flag and value.
const WRONG: [(&str, &str, &str); 30] = [
    ("--listen", "nowhere", "unix:PATH"),
    ("--listen", "127.0.0.1:99999", "65535"),
    ("--listen", "[fe80::7]:80", "[fe80::7%eth0]:80"),
    ("--listen", "[fe80::7%nowhere0]:80", "no interface 'nowhere0'"),
    ("--listen", "[::ffff:127.0.0.1]:80", "write 127.0.0.1:80"),
    ("--dispatch-on", "never", "readable, connect"),
    ("--backlog", "0", "1 to 65535"),
    ("--workers", "0", "1 to 256"),
    ("--workers", "-1", "1 to 256"),
    ("--workers", "many", "auto"),
    ("--pin", "2-1", "auto, none"),
    ("--pin", "x", "auto, none"),
    ("--spin", "on", "auto, off"),
    ("--backend", "kqueue", "auto, uring, epoll"),
    ("--dispatch", "requests", "auto, request, connection"),
    ("--classes", "paths", "off, path, target"),
    ("--socket-mode", "888", "octal"),
    ("--socket-owner", ":", "USER:GROUP"),
    ("--policy", "random", "jbsq"),
    ("--policy", "jbsq:0", "jbsq"),
    ("--policy", "jbsq:65", "jbsq"),
    ("--weight", "3:1", "1 to 1000"),
    ("--weight", "0", "1 to 1000"),
    ("--hold", "1k", "1 to 65536"),
    ("--overload", "drop", "hold, reject"),
    ("--name", "A/b", "a-z"),
    ("--start-timeout", "soon", "30s"),
    ("--drain-timeout", "2days", "30s"),
    ("--log-level", "loud", "off, error, warn, info, debug, trace"),
    ("--log-format", "xml", "auto, text, json"),
];

#[test]
fn every_wrong_value_is_refused_with_flag_value_and_what_is_allowed() {
    for (flag, value, allowed) in WRONG {
        for command in [&[][..], &["run"], &["check"]] {
            let ended = dispatchd(command.iter().chain([&flag, &value]), &[]);
            refused(&ended, &[flag, value, allowed]);
        }
    }
}

#[test]
fn every_wrong_variable_is_refused_by_its_name() {
    for (flag, value, allowed) in WRONG {
        let name = flag[2..].to_ascii_uppercase().replace('-', "_");
        let variable = format!("DISPATCHD_{name}");
        let ended = dispatchd(["check"], &[(&variable, value)]);
        refused(&ended, &[&variable, value, allowed]);
    }
}

#[test]
fn a_number_of_inherited_sockets_that_is_none_is_refused_by_its_name() {
    for value in ["1x", "-1", "+1", "99999999999"] {
        for command in [&["check"][..], &["run"]] {
            let ended = dispatchd(command, &[("LISTEN_FDS", value)]);
            refused(&ended, &["LISTEN_FDS", value, "a number of sockets"]);
        }
        let another = [("LISTEN_FDS", value), ("LISTEN_PID", "1")];
        text(&dispatchd(["check"], &another));
    }
}

#[test]
fn a_control_path_that_is_too_long_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let name = "n".repeat(NAME_MAX);
    let fits = UNIX_PATH_MAX - "/dispatchd/.sock".len() - NAME_MAX;
    let room = fits - dir.path().as_os_str().len() - 1;
    for (length, code) in [(room, 0), (room + 1, 1)] {
        let runtime = dir.path().join("r".repeat(length));
        let around = [("XDG_RUNTIME_DIR", runtime.to_str().unwrap())];
        let check = dispatchd(["check", "--name", &name], &around);
        assert_eq!(check.status.code(), Some(code), "{check:?}");
        if code == 1 {
            let run = dispatchd(["--name", &name, "--listen", "127.0.0.1:0"], &around);
            let status = dispatchd(["status", "--name", &name], &around);
            for ended in [check, run, status] {
                assert_eq!(ended.status.code(), Some(1), "{ended:?}");
                let said = String::from_utf8_lossy(&ended.stderr);
                for part in ["a path of 108 bytes", "107", "XDG_RUNTIME_DIR", "--name"] {
                    assert!(said.contains(part), "{part}: {said}");
                }
            }
            assert!(!runtime.exists());
        }
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (line, parts) in [
        ("--policy rr --weight 3,1", ["--weight", "3,1", "wrr"]),
        ("--policy wrr --workers 2 --weight 1,2,3", ["--weight", "--workers", "2"]),
        ("--policy reuseport --listen unix:/tmp/x", ["reuseport", "unix:/tmp/x", "shared"]),
        ("--listen :9 --listen :9", ["--listen", ":9", "twice"]),
        ("--pin 1000", ["--pin", "1000", "allowed"]),
        ("--wrokers 2", ["--wrokers", "--workers", "help"]),
        ("status --name A/b", ["--name", "A/b", "a-z"]),
        ("status --watch 0", ["--watch", "'0'", "seconds from 0.1 to 3600"]),
        ("status --watch 1m", ["--watch", "1m", "seconds from 0.1 to 3600"]),
    ] {
        let ended = dispatchd(line.split(' '), &[]);
        assert_eq!(ended.status.code(), Some(2), "{line}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn a_policy_can_come_from_the_environment_and_the_flag_wins() {
    for (line, variables, policy) in [
        ("check", &[("DISPATCHD_POLICY", "least")][..], "least"),
        ("check --policy rr", &[("DISPATCHD_POLICY", "least")], "rr"),
        ("check", &[("NODE_CLUSTER_SCHED_POLICY", "rr")], "rr"),
        ("check", &[("NODE_CLUSTER_SCHED_POLICY", "none")], "shared"),
        ("check", &[("NODE_CLUSTER_SCHED_POLICY", "rr"), ("DISPATCHD_POLICY", "least")], "least"),
    ] {
        let ended = dispatchd(line.split(' ').chain(["--json"]), variables);
        assert_eq!(json(&ended)["policy"], policy, "{line} {variables:?}");
    }
}

#[test]
fn help_and_version_are_printed_for_people() {
    let help = text(&dispatchd(["--help"], &[]));
    for word in ["Usage", "Examples", "Listening", "Workers", "Scheduling", "Exit codes"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for flag in WRONG.map(|(flag, ..)| flag) {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    let version = text(&dispatchd(["--version"], &[]));
    assert_eq!(version, format!("dispatchd {}\n", env!("CARGO_PKG_VERSION")));
    for line in ["status", "check", "doctor", "sim", "bench", "bench load"] {
        let words = line.split(' ').chain(["--help"]);
        assert!(text(&dispatchd(words, &[])).contains("Usage"), "{line}");
    }
}

#[test]
fn check_says_what_would_run_and_runs_nothing() {
    let line = "check --workers 2 --policy wrr --weight 3,1 --listen 127.0.0.1:1";
    assert!(text(&dispatchd(line.split(' '), &[])).contains("weight 3"));
    let plan = json(&dispatchd(line.split(' ').chain(["--json"]), &[]));
    assert_eq!(plan["listen"][0]["addr"], "127.0.0.1:1");
    assert_eq!(plan["plan"]["workers"][0]["weight"], 3);
}

#[test]
fn check_looks_for_the_program() {
    let known = text(&dispatchd(["check", "--", "sh", "-c", "true"], &[]));
    assert!(known.contains("program        sh -c true"), "{known}");
    for name in ["/missing", "no-such-program-anywhere"] {
        let ended = dispatchd(["check", "--json", "--", name], &[]);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("dispatchd: cannot run {name}: no such program")));
        assert!(said.contains("path") && ended.stdout.is_empty(), "{said}");
    }
}

#[test]
fn doctor_tells_people_and_programs_the_same() {
    let people = dispatchd(["doctor"], &[]);
    let programs = dispatchd(["doctor", "--json"], &[]);
    assert_eq!(people.status.code(), programs.status.code());
    assert!(matches!(people.status.code(), Some(0 | 1)));
    let findings: Value = serde_json::from_slice(&programs.stdout).unwrap();
    let said = String::from_utf8_lossy(&people.stdout);
    for subject in ["kernel", "io_uring", "net.core.somaxconn"] {
        assert!(findings.to_string().contains(subject), "{subject}: {findings}");
        assert!(said.contains(subject), "{subject}: {said}");
    }
}

#[test]
fn doctor_notices_that_files_are_too_small_for_what_is_shared() {
    let script = "ulimit -f 64; exec \"$0\" doctor";
    let ended = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_dispatchd")]).output();
    let ended = ended.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
}

#[test]
fn status_of_nobody_is_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().to_str().unwrap();
    for line in ["status --name nobody", "status --json --name nobody"] {
        let ended = dispatchd(line.split(' '), &[("XDG_RUNTIME_DIR", runtime)]);
        assert_eq!(ended.status.code(), Some(3));
        let said = String::from_utf8_lossy(&ended.stderr);
        let at = format!("{runtime}/dispatchd/nobody.sock");
        assert!(["'nobody'", &at, "XDG_RUNTIME_DIR"].iter().all(|part| said.contains(part)));
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn status_tells_people_and_programs_the_same() {
    let server = Plan::on("auto").with("--policy rr").start();
    let around = [("XDG_RUNTIME_DIR", server.dir().to_str().unwrap())];
    let status = json(&dispatchd(["status", "--json", "--name", server.name()], &around));
    let said = text(&dispatchd(["status", "--name", server.name()], &around));
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    for worker in workers {
        let pid = worker["pid"].to_string();
        assert!(said.lines().any(|line| line.contains(&pid) && line.contains("ready")), "{said}");
    }
    for key in ["worker", "state", "cpu", "generation", "connections", "in_flight", "accepted"] {
        assert!(workers[0].get(key).is_some(), "{key}: {status}");
    }
    for part in
        [server.address(), "policy     rr", status["backend"].as_str().unwrap(), server.name()]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_log_for_programs_is_one_object_per_line() {
    let server = Plan::on("auto").with("--log-format json").start();
    server.wait_for_log("worker ready");
    let log = server.log();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(log.contains(&format!("listening on {}", server.address())));
}

fn dispatchd(
    words: impl IntoIterator<Item = impl AsRef<str>>,
    variables: &[(&str, &str)],
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
    command.args(words.into_iter().map(|word| word.as_ref().to_owned()));
    command.envs(variables.iter().copied()).output().unwrap()
}

/// Refused as a usage error, in one line with all these parts, and nothing else was said.
#[track_caller]
fn refused(ended: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(ended.stdout.is_empty());
}

/// What was printed by a command that succeeded.
#[track_caller]
fn text(ended: &Output) -> String {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    String::from_utf8(ended.stdout.clone()).unwrap()
}

#[track_caller]
fn json(ended: &Output) -> Value {
    serde_json::from_str(&text(ended)).unwrap()
}
