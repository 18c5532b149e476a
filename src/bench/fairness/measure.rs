//! One round of one cell: a fresh dispatchd, what a request costs it when nothing else is asked,
//! and then the trace.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::grid::Group;
use super::super::load::{self, Options, Target};
use super::super::mix::{Mix, Service};
use super::super::outcome::Outcome;
use super::super::result::{Medium, Round};
use super::super::simulate::warm_up;
use super::super::summary::summarise;
use super::super::trace::{Arrivals, Connections, Recipe, Trace};
use super::super::yardstick::add_idleness;
use super::house::{House, Plan};
use super::{FairnessError, Study};
use crate::units::Span;

/// What one try found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Measured {
    /// What a request cost this policy beside its service, at a load near nothing.
    overhead_ns: u64,
    /// Everything but the bound.
    pub(super) round: Round,
}

impl Measured {
    pub(super) const fn overhead(&self) -> Span {
        Span::from_ns(self.overhead_ns)
    }
}

/// Starts a dispatchd, measures and ends it.
pub(super) fn measure(
    study: &Study,
    group: &Group,
    policy: &str,
    trace: &Trace,
) -> Result<Measured, FairnessError> {
    let flags = flags(group, policy);
    let folder = runtime_folder();
    let plan = Plan {
        program: &study.program,
        folder: &folder,
        policy,
        workers: group.workers,
        flags: &flags,
    };
    let house = House::start(&plan)?;
    let target = Target::parse(&format!("http://{}/", house.address)).expect("it is an address");
    let options = Options { servers: vec![house.master()], ..Options::default() };
    let quiet = quiet_trace(group, trace.recipe.seed)?;
    let run = load::replay(&quiet, &target, &options, &mut |_| {})?;
    let overhead = median_overhead(&quiet, &run.outcome);
    let run = load::replay(trace, &target, &options, &mut |_| {})?;
    let mut round = summarise(trace, &run.outcome, warm_up(trace), &run.machine);
    add_idleness(&mut round, trace, &run.outcome, group.workers as usize, overhead);
    Ok(Measured { overhead_ns: overhead.as_ns(), round })
}

/// The same share of short connections and workers, at a load of a twentieth.
fn quiet_trace(group: &Group, seed: u64) -> Result<Trace, FairnessError> {
    let service = match group.medium {
        Medium::Spin => Service::Spin,
        Medium::Sleep | Medium::Simulated | Medium::Server => Service::Sleep,
    };
    let recipe = Recipe {
        seed,
        mix: Mix::named("det", service, QUIET_MS).expect("the mix has this name"),
        arrivals: Arrivals::Poisson,
        connections: Connections::PerRequest,
        rate: QUIET_LOAD * f64::from(group.workers) / QUIET_MS * 1e3,
        requests: QUIET_REQUESTS,
        ramp_s: 0.0,
    };
    Ok(Trace::draw(recipe)?)
}

const QUIET_LOAD: f64 = 0.05;
const QUIET_MS: f64 = 1.0;
const QUIET_REQUESTS: u64 = 300;

/// What a request takes beside its service, in the middle of all.
fn median_overhead(trace: &Trace, outcome: &Outcome) -> Span {
    let pairs = trace.requests.iter().zip(&outcome.samples);
    let mut all: Vec<u64> = pairs
        .filter(|(_, sample)| sample.fate.is_good())
        .map(|(request, sample)| {
            sample.done.as_ns().saturating_sub(request.at.plus(request.service).as_ns())
        })
        .collect();
    all.sort_unstable();
    Span::from_ns(all.get(all.len() / 2).copied().unwrap_or(0))
}

fn flags(group: &Group, policy: &str) -> Vec<String> {
    let mut flags = Vec::new();
    if policy == "wrr" && !group.speeds.is_empty() {
        let weights: Vec<String> = group.true_weights().iter().map(u32::to_string).collect();
        flags.extend(["--weight".to_owned(), weights.join(",")]);
    }
    flags
}

/// Short, since the path of a socket is.
fn runtime_folder() -> PathBuf {
    std::env::temp_dir().join(format!("dispatchd-bench-{}", std::process::id()))
}
