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
mod value;

use std::ffi::OsString;

use self::args::CliCommand;
use self::exit::CliExit;
use crate::sys::signal;

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> CliExit {
    // First of all: a signal that comes before the master listens waits for it.
    let held = signal::hold();
    let command = args::parse(arguments);
    if !matches!(command, Ok(CliCommand::Run(_))) {
        held.let_go();
    }
    match command {
        Ok(CliCommand::Run(args)) => run::run(&args),
        Ok(CliCommand::Check(args)) => run::check(&args),
        Ok(CliCommand::Status(args)) => status::status(&args),
        Ok(CliCommand::Doctor(args)) => {
            let findings = doctor::examine(&doctor::Facts::read());
            print_or_fail(&doctor::render(&findings, args.json), doctor::verdict(&findings))
        }
        Ok(CliCommand::Sim(args)) => sim::sim(&args),
        Ok(CliCommand::Report(args)) => report::report(&args),
        Ok(CliCommand::Bench(args)) => bench::bench(&args),
        Ok(CliCommand::ServeWorker) => run::serve_worker(),
        Err(said) => term::refuse(&said),
    }
}

/// Prints a result; `exit` if that works.
fn print_or_fail(text: &str, exit: CliExit) -> CliExit {
    match term::print(text) {
        Ok(()) => exit,
        Err(error) => {
            term::complain(&format!("cannot write the output: {error}"));
            CliExit::Failed
        }
    }
}
