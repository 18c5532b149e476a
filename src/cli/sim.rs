//! `dispatchd sim`: runs made-up worlds by their numbers. Nothing of this machine is touched.

use super::args::SimArgs;
use super::exit::CliExit;
use super::{print_or_fail, term};
use crate::sim::{PARKED, SimOptions, run, run_crowd};

/// Runs the seeds and prints what came of each; the first failure ends it.
pub(super) fn sim(args: &SimArgs) -> CliExit {
    let options =
        SimOptions { trace: args.trace, link: args.link, restores: true, ..SimOptions::default() };
    for offset in 0..u64::from(args.count) {
        let seed = args.seed.wrapping_add(offset);
        tell_panics(seed);
        let mut report = match args.clients {
            Some(clients) => run_crowd(seed, clients, options),
            None => run(seed, options),
        };
        if report.verdict.is_none() && !args.trace {
            report.trace.clear();
        }
        let exit = if report.verdict.is_none() { CliExit::Done } else { CliExit::Failed };
        let crowd = args.clients.map(|_| format!("{PARKED}: {}\n", report.counts[PARKED]));
        match print_or_fail(&format!("{report}{}", crowd.unwrap_or_default()), exit) {
            CliExit::Done => {}
            failed => return failed,
        }
    }
    CliExit::Done
}

/// A broken invariant panics, and a release build ends there and then: with the seed, at least.
fn tell_panics(seed: u64) {
    std::panic::set_hook(Box::new(move |panic| {
        term::complain(&format!("seed {seed}: {panic}"));
    }));
}
