//! A grid in the model: what two cores cannot show, for as many workers as one likes, by the code
//! that would run there.

use thiserror::Error;

use super::grid::GridGroup;
use super::model::{self, Costs, ModelApp};
use super::quiet::Machine;
use super::result::{Cell, Round};
use super::summary::summarise;
use super::trace::{Trace, TraceSpecError};
use super::yardstick::{add_bound, add_idleness};
use crate::config::{ConfigError, Wrong, policy, words};
use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::policy::Policy;
use crate::units::Span;

/// A grid, and how it is gone through.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateStudy {
    /// What is compared.
    pub groups: Vec<GridGroup>,
    /// How often, with another trace each time.
    pub rounds: u32,
    /// Requests per trace.
    pub requests: u64,
    /// Seed of the first round's traces.
    pub seed: u64,
    /// What everything costs.
    pub costs: Costs,
}

/// Why a grid cannot be gone through.
#[derive(Debug, Error)]
pub enum StudyError {
    /// There is no such policy.
    #[error(transparent)]
    Policy(#[from] ConfigError),
    /// There is no such trace.
    #[error(transparent)]
    Spec(#[from] TraceSpecError),
}

/// Goes through the grid; `observe` is told of every cell's round that is done.
///
/// # Errors
/// A policy or a trace that cannot be.
pub fn run(study: &SimulateStudy, observe: &mut dyn FnMut(&str)) -> Result<Vec<Cell>, StudyError> {
    let mut cells = Vec::new();
    for group in &study.groups {
        let contestants: Vec<Contestant> =
            group.policies.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
        let first = cells.len();
        cells.extend(group.policies.iter().map(|name| group.cell(name)));
        for round in 0..study.rounds {
            let seed = study.seed.wrapping_add(u64::from(round));
            let trace = Trace::draw(group.spec(seed, study.requests))?;
            for (at, contestant) in contestants.iter().enumerate() {
                let figures = simulate(study, group, *contestant, &trace);
                cells[first + at].rounds.push(figures);
                observe(&format!("{} {}", group.slug(), group.policies[at]));
            }
        }
    }
    Ok(cells)
}

/// The first tenth of a trace is for warming up.
pub fn warm_up(trace: &Trace) -> Span {
    Span::from_ns(trace.length().as_ns() / 10)
}

fn simulate(
    study: &SimulateStudy,
    group: &GridGroup,
    contestant: Contestant,
    trace: &Trace,
) -> Round {
    let speeds = group.all_speeds();
    let app = ModelApp {
        policy: contestant.policy,
        dispatch: contestant.dispatch,
        classes: contestant.classes,
        weights: group.true_weights(),
        speeds: speeds.clone(),
        costs: study.costs,
        seed: trace.spec.seed,
    };
    let outcome = model::replay(trace, &app);
    let (warm_up, overhead) = (warm_up(trace), study.costs.overhead);
    let mut round = summarise(trace, &outcome, warm_up, &Machine::default());
    // Nobody sends here who could be late.
    round.lateness_us = None;
    add_bound(&mut round, trace, &speeds, overhead, warm_up);
    add_idleness(&mut round, trace, &outcome, speeds.len(), overhead);
    round
}

/// One that is compared, as the engine knows it.
#[derive(Clone, Copy, Debug)]
struct Contestant {
    policy: Policy,
    dispatch: Dispatch,
    classes: bool,
}

fn parse(name: &str) -> Result<Contestant, StudyError> {
    let named = |wrong: Wrong| wrong.given_as("--policy", name);
    let (policy, dispatch, classes) = GridGroup::flags_of(name);
    let dispatch = words::one_of(dispatch.unwrap_or("auto"), &words::DISPATCHES).map_err(named)?;
    let classes = words::one_of(classes.unwrap_or("off"), &words::CLASSES).map_err(named)?;
    let policy = policy::parse(policy).map_err(named)?;
    Ok(Contestant { policy, dispatch, classes: classes.is_some() })
}

#[cfg(test)]
mod tests {
    use super::super::grid::{Axes, ConnectionSharing};
    use super::super::result::Medium;
    use super::*;

    fn study(policies: &[&str]) -> SimulateStudy {
        let axes = Axes {
            workers: vec![2, 4],
            mixes: vec!["bim100".into()],
            medium: Medium::Simulated,
            unit_ms: 1.0,
            loads: vec![0.8],
            sharings: vec![ConnectionSharing::Close],
            speeds: Vec::new(),
            policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        };
        let groups = axes.groups().unwrap();
        SimulateStudy { groups, rounds: 2, requests: 10_000, seed: 1, costs: Costs::default() }
    }

    #[test]
    fn every_cell_has_its_rounds_and_policies_share_their_traces() {
        let mut told = 0;
        let cells = run(&study(&["rr", "jbsq:1"]), &mut |_| told += 1).unwrap();
        assert_eq!((cells.len(), told), (4, 8));
        for pair in cells.chunks(2) {
            for (rr, jbsq) in pair[0].rounds.iter().zip(&pair[1].rounds) {
                assert_eq!((rr.seed, &rr.classes[0].bound), (jbsq.seed, &jbsq.classes[0].bound));
                let p99 = |round: &Round| round.classes[0].slowdown.unwrap().p99;
                assert!(p99(jbsq) < p99(rr));
                assert_eq!(jbsq.classes[0].slowdown, jbsq.classes[0].bound);
            }
        }
    }

    #[test]
    fn an_unknown_policy_or_dispatch_is_named() {
        for wrong in ["fifo", "jbsq/all", "jbsq/auto/all"] {
            let error = run(&study(&["rr", wrong]), &mut |_| {}).unwrap_err().to_string();
            assert!(error.contains(&format!("'{wrong}'")), "{error}");
        }
    }
}
