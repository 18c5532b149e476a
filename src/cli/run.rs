//! `dispatchd [run]`, `dispatchd check`, and the built-in worker that the master starts.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use super::args::{CheckArgs, RunArgs};
use super::config::{self, Effective, Surroundings};
use super::exit::Exit;
use super::runtime_dir::{self, socket_path};
use super::{check, logging, print_or_fail, term};
use crate::engine::action::Outcome;
use crate::master::{check_path, start};
use crate::serve;
use crate::sys::fd::adopt_inherited;
use crate::sys::spawn::FIRST_FD;

/// How the master tells this program that it is a worker.
pub(super) const SERVE_WORKER: &str = "serve-worker";

/// Runs a master in the foreground.
pub(super) fn run(args: &RunArgs) -> Exit {
    let around = Surroundings::read();
    let inherited = inherited_sockets(around.inherited);
    let Effective { config, placement } = match config::effective(args, &around) {
        Ok(effective) => effective,
        Err(error) => return refuse(&error),
    };
    logging::start(config.log);
    let surroundings = start::Surroundings {
        runtime_dir: runtime_dir::given(),
        inherited,
        built_in: OsString::from(SERVE_WORKER),
    };
    match start::run(&config, placement, surroundings) {
        Ok(Outcome::Done) => Exit::Done,
        Ok(Outcome::NeverReady) => {
            term::complain("no worker became ready: see the lines above for why");
            Exit::Failed
        }
        Err(error) => {
            term::complain(&format!("{:#}", anyhow::Error::new(error)));
            Exit::Failed
        }
    }
}

/// Says what `run` would do.
pub(super) fn check(args: &CheckArgs) -> Exit {
    match config::effective(&args.run, &Surroundings::read()) {
        Ok(effective) => match check_path(&socket_path(&effective.config.name)) {
            Ok(()) => print_or_fail(&check::render(&effective, args.json), Exit::Done),
            Err(error) => {
                term::complain(&error.to_string());
                Exit::Failed
            }
        },
        Err(error) => refuse(&error),
    }
}

/// Is the built-in worker.
pub(super) fn serve_worker() -> Exit {
    match serve::run(term::complain) {
        Ok(()) => Exit::Done,
        Err(error) => {
            term::complain(&format!("worker: {:#}", anyhow::Error::new(error)));
            Exit::Failed
        }
    }
}

fn refuse(error: &crate::config::ConfigError) -> Exit {
    term::complain(&error.to_string());
    Exit::Usage
}

/// Takes over the sockets of `LISTEN_FDS`: before anything else is opened, since a number at which
/// nothing was open would be that of something else afterwards.
fn inherited_sockets(count: u16) -> Vec<Option<OwnedFd>> {
    (FIRST_FD..FIRST_FD + i32::from(count)).map(|raw| adopt_inherited(raw).ok()).collect()
}
