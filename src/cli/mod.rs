//! The command line: what was typed becomes a call, what comes of it becomes text and an exit
//! code. Nothing behind this module prints or knows of flags.

pub mod args;
pub mod bench;
pub mod check;
pub mod config;
pub mod doctor;
pub mod exit;
mod logging;
mod report;
mod run;
mod runtime_dir;
mod sim;
mod status;
pub mod term;

use std::ffi::OsString;

use self::args::Command;
use self::exit::Exit;
use crate::sys::signal;

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    // First of all: a signal that comes before the master listens waits for it.
    let held = signal::hold();
    let command = args::parse(arguments);
    if !matches!(command, Ok(Command::Run(_))) {
        held.let_go();
    }
    match command {
        Ok(Command::Run(args)) => run::run(&args),
        Ok(Command::Check(args)) => run::check(&args),
        Ok(Command::Status(args)) => status::status(&args),
        Ok(Command::Doctor(args)) => {
            let findings = doctor::examine(&doctor::Facts::read());
            print_or_fail(&doctor::render(&findings, args.json), doctor::verdict(&findings))
        }
        Ok(Command::Sim(args)) => sim::sim(&args),
        Ok(Command::Report(args)) => report::report(&args),
        Ok(Command::Bench(args)) => bench::bench(&args),
        Ok(Command::ServeWorker) => run::serve_worker(),
        Err(said) => term::refuse(&said),
    }
}

/// Prints a result; `exit` if that works.
fn print_or_fail(text: &str, exit: Exit) -> Exit {
    match term::print(text) {
        Ok(()) => exit,
        Err(error) => {
            term::complain(&format!("cannot write the output: {error}"));
            Exit::Failed
        }
    }
}
