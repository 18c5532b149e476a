//! `dispatchd bench simulate`: a grid in the model, by the engine that the master has.

use super::args::SimulateArgs;
use super::values::time;
use super::{Misuse, fail, grid, refuse};
use crate::bench::model::Costs;
use crate::bench::progress::Bar;
use crate::bench::result::{MeasurementKind, Medium};
use crate::bench::simulate::{SimulateStudy, run};
use crate::cli::exit::CliExit;
use crate::units::Span;

/// Goes through the grid and tells what was found.
pub(super) fn simulate(args: &SimulateArgs) -> CliExit {
    let study = match study(args) {
        Ok(study) => study,
        Err(misuse) => return refuse(&misuse),
    };
    if let Err(error) = grid::prepare(args.grid.output.as_deref()) {
        return fail(error);
    }
    let cells: usize = study.groups.iter().map(|group| group.policies.len()).sum();
    let bar = Bar::new("rounds", cells as u64 * u64::from(study.rounds));
    let found = run(&study, &mut |doing| bar.step(doing));
    bar.finish();
    match found {
        Ok(cells) => {
            grid::tell(&args.grid, MeasurementKind::Simulation, "simulated policies", cells)
        }
        Err(error) => fail(error),
    }
}

fn study(args: &SimulateArgs) -> Result<SimulateStudy, Misuse> {
    let grid::GridPlan { groups, rounds, requests, seed } =
        grid::plan(&args.grid, Medium::Simulated)?;
    let cost = |flag: &str, given: &Option<String>, default| {
        Ok::<_, Misuse>(time(flag, given.as_deref(), Span::ZERO)?.unwrap_or(default))
    };
    let costs = Costs {
        handoff: cost("handoff", &args.handoff, HANDOFF_DEFAULT)?,
        notice: cost("notice", &args.notice, NOTICE_DEFAULT)?,
        overhead: cost("overhead", &args.overhead, OVERHEAD_DEFAULT)?,
    };
    Ok(SimulateStudy { groups, rounds, requests, seed, costs })
}

/// About what this costs across two virtual CPUs that sleep: see `docs/decisions/010`.
const HANDOFF_DEFAULT: Span = Span::from_us(40);
const NOTICE_DEFAULT: Span = Span::from_us(30);
const OVERHEAD_DEFAULT: Span = Span::from_us(60);
