//! `dispatchd sim`: runs made-up worlds by their numbers. Nothing of this machine is touched.

use super::args::SimArgs;
use super::exit::Exit;
use super::{print_or_fail, term};
use crate::sim::{Options, PARKED, run, run_crowd};

/// Runs the seeds and prints what came of each; the first failure ends it.
pub(super) fn sim(args: &SimArgs) -> Exit {
    let options = Options { trace: args.trace, restores: true, ..Options::default() };
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
        let exit = if report.verdict.is_none() { Exit::Done } else { Exit::Failed };
        let crowd = args.clients.map(|_| format!("{PARKED}: {}\n", report.counts[PARKED]));
        match print_or_fail(&format!("{report}{}", crowd.unwrap_or_default()), exit) {
            Exit::Done => {}
            failed => return failed,
        }
    }
    Exit::Done
}

/// A broken invariant panics, and a release build ends there and then: with the seed, at least.
fn tell_panics(seed: u64) {
    std::panic::set_hook(Box::new(move |panic| {
        term::complain(&format!("seed {seed}: {panic}"));
    }));
}
