//! How a program becomes a worker, and how it does not: a link is taken up once, by the process
//! that it was given to, and a variable that somebody made up or handed on costs nobody a
//! descriptor.

use std::process::Command;

use crate::client::Client;
use crate::role::{ROLE, program};
use crate::server::Plan;

on_both! {
    a_link_is_taken_up_once_and_by_one_process
    what_a_program_before_it_took_up_is_gone
    what_is_not_what_was_given_is_named
    a_note_that_somebody_changed_is_refused
}

fn a_link_is_taken_up_once_and_by_one_process(backend: &str) {
    let server = Plan::on(backend).with("--workers 1").program(program()).env(ROLE, "once").start();
    let told = Client::get_once(server.address(), "/").unwrap().text();
    let (again, another) = told.split_once("another: ").unwrap();
    let pid = server.worker(0).pid;
    assert!(again.contains(&format!("process {pid} has taken up the link")), "{again}");
    assert!(another.contains("descriptor 3 of DISPATCHD_LINK is not"), "{another}");
}

fn what_a_program_before_it_took_up_is_gone(backend: &str) {
    // The shell has what it was given, and so has whatever it starts.
    let log = refused(backend, "", "IT_ROLE=taker \"$0\" \"$@\"; exec \"$0\" \"$@\"");
    assert!(log.contains("has taken up the link to dispatchd: take it up once"), "{log}");
}

fn what_is_not_what_was_given_is_named(backend: &str) {
    let cases = [
        ("exec 3</dev/null", "descriptor 3 of DISPATCHD_LINK is not the channel that"),
        ("exec 4</dev/null", "descriptor 4 of DISPATCHD_LINK is not the master's page that"),
        ("exec 5</dev/null", "descriptor 5 of DISPATCHD_LINK is not the worker's page that"),
        ("exec 6</dev/null", "descriptor 6 of DISPATCHD_LINK is not the doorbell that"),
        ("exec 7</dev/null", "descriptor 7 of DISPATCHD_LINK is not the listener that"),
        ("exec 6<&-", "descriptor 6 of DISPATCHD_LINK is not open"),
        // Of the right kind, and another.
        ("exec 9<&7 7<&8 8<&9", "descriptor 7 of DISPATCHD_LINK is not the listener that"),
        ("exec 4<&5", "descriptor 4 of DISPATCHD_LINK is not the master's page that"),
    ];
    let flags = "--policy shared --listen 127.0.0.1:0 --listen 127.0.0.1:0";
    for (change, said) in cases {
        let log = refused(backend, flags, &format!("{change}; exec \"$0\" \"$@\""));
        assert!(log.contains(said), "{change}: {log}");
    }
}

fn a_note_that_somebody_changed_is_refused(backend: &str) {
    for change in ["seat=0/seat=1", "epoch=1/epoch=7", "generation=1/generation=2"] {
        let forged = format!("\"$(echo $DISPATCHD_LINK | sed s/{change}/)\"");
        let script = format!("export DISPATCHD_LINK={forged}; exec \"$0\" \"$@\"");
        let log = refused(backend, "", &script);
        assert!(log.contains("is not what dispatchd gave to this process"), "{change}: {log}");
    }
}

/// What is logged of workers that a shell starts, none of which becomes ready.
fn refused(backend: &str, flags: &str, script: &str) -> String {
    let mut words = ["sh", "-c", script].map(Into::into).to_vec();
    words.extend(program());
    let plan = Plan::on(backend).with("--workers 1").with(flags).program(words);
    let ended = plan.env(ROLE, "imposter").run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    ended.log
}

/// A program that is no worker, and whose environment says that it is.
#[test]
fn a_variable_that_somebody_made_up_takes_nothing_away() {
    let notes = [
        "v=2 pool=0 seat=0 berth=0 epoch=1 generation=1 listeners=0 inherited=0 sharing=none",
        "v=2 pool=0 seat=0 berth=0 epoch=1 generation=1 listeners=4 inherited=0 sharing=shared",
    ];
    for note in notes {
        let words = program();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(ROLE, "bystander").env("DISPATCHD_LINK", note);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("descriptor 3 of DISPATCHD_LINK is not the channel"), "{said}");
    }
}
