//! `dispatchd [run]`, `dispatchd check`, and the built-in worker that the master starts.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use super::args::{CheckArgs, RunArgs};
use super::config::{self, CliSurroundings, Effective};
use super::exit::CliExit;
use super::runtime_dir::{self, socket_path};
use super::{check, logging, print_or_fail, term};
use crate::engine::action::MasterOutcome;
use crate::master::{check_path, start};
use crate::serve;
use crate::sys::fd::adopt_inherited;
use crate::sys::program;
use crate::sys::spawn::FIRST_FD;

/// How the master tells this program that it is a worker.
pub(super) const SERVE_WORKER: &str = "serve-worker";

/// Runs a master in the foreground.
pub(super) fn run(args: &RunArgs) -> CliExit {
    let around = CliSurroundings::read();
    let inherited = inherited_sockets(around.inherited);
    let Effective { config, placement } = match config::effective(args, &around) {
        Ok(effective) => effective,
        Err(error) => {
            logging::last_word(config::log_format(args), &term::told(&error));
            return CliExit::Usage;
        }
    };
    logging::start(config.log);
    let fail = |text: &str| {
        logging::last_word(config.log.format, text);
        CliExit::Failed
    };
    let surroundings = start::StartSurroundings {
        runtime_dir: runtime_dir::given(),
        inherited,
        built_in: OsString::from(SERVE_WORKER),
    };
    match start::run(&config, placement, surroundings) {
        Ok(MasterOutcome::Done) => CliExit::Done,
        Ok(MasterOutcome::NeverReady) => {
            fail("no worker became ready: see the lines above for why")
        }
        Err(error) => fail(&term::told(&error)),
    }
}

/// Says what `run` would do.
pub(super) fn check(args: &CheckArgs) -> CliExit {
    let effective = match config::effective(&args.run, &CliSurroundings::read()) {
        Ok(effective) => effective,
        Err(error) => {
            term::complain(&term::told(&error));
            return CliExit::Usage;
        }
    };
    if let Err(error) = check_path(&socket_path(&effective.config.name)) {
        term::complain(&term::told(&error));
        return CliExit::Failed;
    }
    if let Some(Err(error)) = effective.config.program.as_ref().map(|one| program::find(&one.path))
    {
        term::complain(&term::told(&error));
        return CliExit::Failed;
    }
    print_or_fail(&check::render(&effective, args.json), CliExit::Done)
}

/// Is the built-in worker.
pub(super) fn serve_worker() -> CliExit {
    match serve::run(term::complain) {
        Ok(()) => CliExit::Done,
        Err(error) => {
            term::complain(&format!("worker: {}", term::told(&error)));
            CliExit::Failed
        }
    }
}

/// Takes over the sockets of `LISTEN_FDS`: before anything else is opened, since a number at which
/// nothing was open would be that of something else afterwards.
fn inherited_sockets(count: u16) -> Vec<Option<OwnedFd>> {
    (FIRST_FD..FIRST_FD + i32::from(count)).map(|raw| adopt_inherited(raw).ok()).collect()
}
