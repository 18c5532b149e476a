//! `dispatchd bench fairness`: a grid on real processes, each dispatchd started by this one.

use std::path::PathBuf;

use super::args::FairnessArgs;
use super::values::word;
use super::{Misuse, fail, grid, refuse};
use crate::bench::fairness::{FairnessStudy, Stalls, run};
use crate::bench::progress::Bar;
use crate::bench::result::{MeasurementKind, Medium};
use crate::cli::exit::CliExit;
use crate::cli::term;

/// Goes through the grid and tells what was found.
pub(super) fn fairness(args: &FairnessArgs) -> CliExit {
    let study = match study(args) {
        Ok(Ok(study)) => study,
        Ok(Err(misuse)) => return refuse(&misuse),
        Err(error) => return fail(error),
    };
    if let Err(error) = grid::prepare(args.grid.output.as_deref()) {
        return fail(error);
    }
    let bar = Bar::new("rounds", 0);
    let found = run(&study, &mut |far| {
        bar.at(far.done, far.total, far.doing);
        if let Some(why) = far.rejected {
            term::complain(&format!("{} is tried again: {why}", far.doing));
        }
    });
    bar.finish();
    if args.grid.output.is_none() {
        // What is kept for a study that goes on serves nobody without a folder to go on in.
        drop(std::fs::remove_dir_all(&study.folder));
    }
    match found {
        Ok(cells) => grid::tell(&args.grid, MeasurementKind::Fairness, "measured policies", cells),
        Err(error) => fail(error),
    }
}

/// The inner error is one of the flags.
fn study(args: &FairnessArgs) -> anyhow::Result<Result<FairnessStudy, Misuse>> {
    let program = std::env::current_exe()?;
    let folder = args.grid.output.clone().unwrap_or_else(own_folder);
    let read = || {
        let medium = word("service", args.service.as_deref(), &MEDIA)?.unwrap_or(Medium::Sleep);
        let grid::GridPlan { groups, rounds, requests, seed } = grid::plan(&args.grid, medium)?;
        let stalls = if args.stall { Stalls::Tested } else { Stalls::Untested };
        Ok(FairnessStudy { program, groups, rounds, requests, seed, folder, stalls })
    };
    Ok(read())
}

const MEDIA: [(&str, Medium); 2] = [("sleep", Medium::Sleep), ("spin", Medium::Spin)];

fn own_folder() -> PathBuf {
    std::env::temp_dir().join(format!("dispatchd-fairness-{}", std::process::id()))
}
