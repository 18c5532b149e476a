//! `dispatchd bench`: measurements, each of which prints a table or JSON, and leaves its results in
//! a folder if it is told to.

pub mod args;
mod fairness;
mod grid;
mod load;
mod plan;
mod simulate;
mod table;
mod values;

use thiserror::Error;

use self::args::{BenchArgs, Measurement};
use super::exit::CliExit;
use super::term;
use crate::bench::mix::MixError;
use crate::bench::trace::TraceSpecError;
use crate::config::ConfigError;

/// Measures what the arguments say.
pub(super) fn bench(args: &BenchArgs) -> CliExit {
    match &args.measurement {
        Measurement::Load(args) => load::load(args),
        Measurement::Simulate(args) => simulate::simulate(args),
        Measurement::Fairness(args) => fairness::fairness(args),
    }
}

/// Why a measurement is refused before anything is measured.
#[derive(Debug, Error)]
pub(super) enum Misuse {
    /// A value is not one of those allowed.
    #[error(transparent)]
    Value(#[from] ConfigError),
    /// A mix is none.
    #[error("{name} '{value}' is not valid")]
    Mix {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        source: MixError,
    },
    /// What was asked for cannot be drawn.
    #[error(transparent)]
    Spec(#[from] TraceSpecError),
    /// A flag that changes nothing.
    #[error("{name} has no effect with {other}: leave one of them out")]
    Unused {
        /// The flag.
        name: String,
        /// What makes it useless.
        other: String,
    },
    /// A warm-up or a ramp that leaves nothing to be measured.
    #[error(
        "--{name} '{value}' leaves nothing of the run to be measured; shorten it or lengthen \
             the run"
    )]
    TooLong {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: String,
    },
}

/// Refuses what makes no sense.
fn refuse(misuse: &Misuse) -> CliExit {
    term::complain(&term::told(misuse));
    CliExit::Usage
}

/// Says why a measurement failed.
fn fail(error: impl Into<anyhow::Error>) -> CliExit {
    term::complain(&term::told(error.into().as_ref()));
    CliExit::Failed
}
