//! `dispatchd status --watch`: the same picture again and again, until somebody has seen enough or
//! the master is gone.

use std::os::fd::{AsFd, OwnedFd};

use super::{StatusFailure, shown};
use crate::cli::config::StatusPlan;
use crate::cli::exit::CliExit;
use crate::cli::term::{self, OutputReader};
use crate::sys::clock;
use crate::sys::errno::io_error;
use crate::sys::signal;
use crate::sys::socket::{self, Way};
use crate::units::Span;

/// Shows the picture every so often.
pub(super) fn watch(plan: &StatusPlan, every: Span) -> CliExit {
    match go_on(plan, every) {
        Ok(exit) => exit,
        Err(no) => no.tell(),
    }
}

fn go_on(plan: &StatusPlan, every: Span) -> Result<CliExit, StatusFailure> {
    let signals = signal::listen_for_the_end().map_err(|errno| {
        StatusFailure::failed(format!("cannot listen to signals: {}", io_error(errno)))
    })?;
    let mut first = true;
    loop {
        let text = shown(plan, term::columns())?;
        // Elsewhere than on a terminal a blank line tells two pictures apart; JSON has its own.
        let apart = if first || plan.json || term::is_terminal() { "" } else { "\n" };
        match draw(plan, &format!("{apart}{text}"))? {
            OutputReader::There => first = false,
            OutputReader::Gone => return Ok(CliExit::Done),
        }
        if ends_within(&signals, every) {
            return Ok(CliExit::Done);
        }
    }
}

fn draw(plan: &StatusPlan, text: &str) -> Result<OutputReader, StatusFailure> {
    let drawn = if plan.json { term::write_on(text) } else { term::redraw(text) };
    drawn.map_err(|error| StatusFailure::failed(format!("cannot write the output: {error}")))
}

/// Waits for so long, or until a signal says that it is enough.
fn ends_within(signals: &OwnedFd, span: Span) -> bool {
    let deadline = clock::monotonic().after(span);
    loop {
        if signal::take(signals).is_some() {
            return true;
        }
        match deadline.since(clock::monotonic()) {
            Span::ZERO => return false,
            // It may return early, and is looked at again.
            left => socket::wait(signals.as_fd(), Way::In, left).unwrap_or_default(),
        }
    }
}
