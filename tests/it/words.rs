//! What others say (what workers write, names, paths, arguments) is shown and not obeyed: no byte
//! of it reaches the operator's terminal as a command, and in a log for programs every line is
//! JSON.

use std::process::Command;

use serde_json::Value;

use crate::crowd;
use crate::role::{ROLE, program};
use crate::server::{Ended, Plan, assert_says_nothing_twice};
use crate::wait::{Lines, eventually};

/// Sets a title, overwrites the line, turns it around, and is no UTF-8.
const HOSTILE: &str = r"\033]0;owned\007 1\r2 \302\233m \342\200\256 \377";
/// What is shown of it.
const SHOWN: &str = r"\x1b]0;owned\x07 1\r2 \u{9b}m \u{202e} \xff";

/// A file name that does the same, and what is shown of it.
const NAME: &str = "a\x1b]0;owned\x07\u{202e}b";
const NAME_SHOWN: &str = r"a\x1b]0;owned\x07\u{202e}b";

on_both! {
    what_a_worker_writes_is_spelled_out
    what_a_listener_is_called_is_spelled_out
    a_log_for_programs_is_json_to_its_last_line
    a_log_for_programs_tells_of_lost_lines_in_json
}

fn what_a_worker_writes_is_spelled_out(backend: &str) {
    let script = format!(r"printf '{HOSTILE}\n'; printf 'ends as on Windows\r\n'; exit 3");
    let ended = Plan::on(backend).program(["sh", "-c", &script]).run();
    assert!(ended.complaint(1).contains("no worker became ready"), "{}", ended.log);
    let last = format!("exit code 3; last output: {SHOWN} | ends as on Windows");
    assert_is_plain(&ended.log);
    for part in [&format!("{SHOWN} "), &last] {
        let line = ended.log.lines().find(|line| line.contains(part.trim_end()));
        assert!(line.is_some(), "{part} is not in\n{}", ended.log);
    }
}

fn what_a_listener_is_called_is_spelled_out(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("unix:{}/{NAME}", dir.path().display());
    let shown = format!("unix:{}/{NAME_SHOWN}", dir.path().display());
    let server = Plan::on(backend).with(&format!("--listen {listen}")).start();
    let told = String::from_utf8(server.ask(&["status"]).stdout).unwrap();
    let json = String::from_utf8(server.ask(&["status", "--json"]).stdout).unwrap();
    assert_is_plain(&json);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["listeners"][0], listen, "programs are told the name");
    for text in [&server.log(), &told] {
        assert!(text.contains(&format!("on {shown}")), "{text}");
        assert_is_plain(text);
    }
    let ended = Plan::on(backend).with(&format!("--listen {listen}")).run();
    assert!(ended.complaint(1).contains(&shown), "{}", ended.log);
    assert_is_plain(&ended.log);
}

#[test]
fn what_was_typed_is_spelled_out() {
    let odd = format!("--{NAME}");
    let runtime_dir = tempfile::tempdir().unwrap();
    for (line, code) in [
        (&["check", &odd][..], 2),
        (&["check", "--listen", NAME], 2),
        (&["--backend", "epoll", "--listen", "127.0.0.1:0", "--", NAME], 1),
        (&["check", "--listen", &format!("unix:/{NAME}")], 0),
        (&["check", "--json", "--listen", &format!("unix:/{NAME}")], 0),
        (&["report", NAME], 1),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
        let ended = command.args(line).env("XDG_RUNTIME_DIR", runtime_dir.path()).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{line:?}");
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        let spelled = if line.contains(&"--json") { "\\u202eb" } else { "\\u{202e}b" };
        assert!(said.contains(spelled), "{line:?}: {said}");
        assert_is_plain(&said);
    }
}

fn a_log_for_programs_is_json_to_its_last_line(backend: &str) {
    let json = |flags: &str| Plan::on(backend).with("--log-format json").with(flags);
    let script = format!(r"printf '{HOSTILE}\n'; exit 3");
    let ended = json("--log-level debug").program(["sh", "-c", &script]).run();
    let messages = messages(&ended, 1);
    assert!(messages.contains(&SHOWN.to_owned()), "{}", ended.log);
    assert!(messages.last().unwrap().starts_with("no worker became ready"), "{}", ended.log);

    let first = json("--policy rr").start();
    let ended = json(&format!("--listen {}", first.address())).run();
    assert!(last_message(&ended, 1).starts_with("cannot listen on"), "{}", ended.log);
    let ended = json("--log-level off").named(&first).run();
    assert!(last_message(&ended, 1).starts_with("another dispatchd runs"), "{}", ended.log);
    let ended = json("--workers none").run();
    assert!(last_message(&ended, 2).starts_with("--workers 'none'"), "{}", ended.log);
}

fn a_log_for_programs_tells_of_lost_lines_in_json(backend: &str) {
    let (reader, writer) = std::io::pipe().unwrap();
    let plan = Plan::on(backend).with("--log-format json --log-level debug").stderr(writer);
    let server = plan.program(program()).env(ROLE, "chatty").start();
    eventually("lines are lost", || {
        assert_eq!(crowd::rounds(server.address(), 2, 5, "/").errors, [""; 0]);
        (0 < server.status().totals.log_lines_dropped).then_some(())
    });
    let is_notice = |line: &str| message(line).contains("log lines dropped");
    let notice = Lines::of(reader).find("that is told", is_notice);
    assert!(message(&notice).ends_with("nobody read them"));
}

/// What it said in JSON until it ended so.
#[track_caller]
fn messages(ended: &Ended, code: i32) -> Vec<String> {
    assert_eq!(ended.code, Some(code), "{}", ended.log);
    assert_is_plain(&ended.log);
    ended.log.lines().map(message).collect()
}

#[track_caller]
fn last_message(ended: &Ended, code: i32) -> String {
    let last = messages(ended, code).pop().unwrap();
    assert_says_nothing_twice(&last);
    last
}

#[track_caller]
fn message(line: &str) -> String {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    assert!(object["level"].is_string() && object["timestamp"].is_string(), "{line}");
    object["message"].as_str().unwrap().to_owned()
}

/// Nothing of it is obeyed by a terminal, and all of it was UTF-8.
#[track_caller]
fn assert_is_plain(text: &str) {
    let obeyed = |sign: char| sign.is_control() && sign != '\n' || sign == '\u{202e}';
    assert!(!text.contains(obeyed) && !text.contains('\u{fffd}'), "{text:?}");
}
