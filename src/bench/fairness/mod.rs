//! Fairness, measured: dispatchd is started for every policy and shown the very same trace, round
//! after round, and what comes out is held against the bound for that trace. A run that is broken
//! off goes on where it was.

mod measure;
pub mod server_under_test;
pub mod stall;
mod store;

use std::path::PathBuf;

use thiserror::Error;

use self::measure::Measured;
use self::server_under_test::ServerError;
use self::store::{RoundKey, Store};
use super::grid::{ConnectionSharing, GridGroup};
use super::load::LoadError;
use super::result::Cell;
use super::simulate::warm_up;
use super::trace::{Trace, TraceSpecError};
use super::yardstick::add_bound;
use crate::limits::BENCH_TRIES;
use crate::units::Span;

pub use self::store::StoreError;

/// What is measured, and where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct FairnessStudy {
    /// The dispatchd that is started.
    pub program: PathBuf,
    /// What is compared.
    pub groups: Vec<GridGroup>,
    /// How often, with another trace each time.
    pub rounds: u32,
    /// Requests per trace.
    pub requests: u64,
    /// Seed of the first round's traces.
    pub seed: u64,
    /// Where each finished round is kept at once.
    pub folder: PathBuf,
    /// Whether workers are stopped as well, in a test of its own.
    pub stalls: Stalls,
}

/// Whether the stall test is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stalls {
    /// It is not.
    Untested,
    /// Once in each cell whose connections bring one request.
    Tested,
}

/// How far a study is.
#[derive(Clone, Copy, Debug)]
pub struct StudyProgress<'a> {
    /// Rounds of cells that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// What is under way: `bim100-sleep-close-0.8-k4 jbsq, round 2`.
    pub doing: &'a str,
    /// Why the last try does not count, if it does not.
    pub rejected: Option<&'a str>,
}

/// Why a study ends early.
#[derive(Debug, Error)]
pub enum FairnessError {
    /// There is no such trace.
    #[error(transparent)]
    Spec(#[from] TraceSpecError),
    /// The server does not come up.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The generator cannot work.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A finished round cannot be kept, or one that was kept cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Goes through the study, but for what was done before in the same folder: round by round, so that
/// what changes in the machine over the hours changes for every policy alike; every other round
/// goes through the policies backwards.
///
/// # Errors
/// What stands in the way; the rounds done until then are kept.
pub fn run(
    study: &FairnessStudy,
    observe: &mut dyn FnMut(StudyProgress<'_>),
) -> Result<Vec<Cell>, FairnessError> {
    let store = Store::open(&study.folder)?;
    let cells: usize = study.groups.iter().map(|group| group.policies.len()).sum();
    let (mut done, total) = (0, cells as u64 * u64::from(study.rounds));
    for round in 0..study.rounds {
        for group in &study.groups {
            let mut policies: Vec<&String> = group.policies.iter().collect();
            if round % 2 == 1 {
                policies.reverse();
            }
            for policy in policies {
                let key = RoundKey::new(group, policy, round);
                let mut tell = |rejected: Option<&str>| {
                    observe(StudyProgress { done, total, doing: &key.told(), rejected });
                };
                tell(None);
                let mut tries = store.load(&key)?.unwrap_or_default();
                if tries.last().is_none_or(Measured::is_rejected) {
                    tries.extend(measured(study, group, policy, &key, &mut tell)?);
                    store.save(&key, &tries)?;
                }
                done += 1;
            }
        }
    }
    if study.stalls == Stalls::Tested {
        stall_all(study, &store, &mut |doing| {
            observe(StudyProgress { done, total, doing, rejected: None });
        })?;
    }
    observe(StudyProgress { done, total, doing: "the bound of every trace", rejected: None });
    assemble(study, &store)
}

/// Makes the stall tests that were not made before.
fn stall_all(
    study: &FairnessStudy,
    store: &Store,
    tell: &mut dyn FnMut(&str),
) -> Result<(), FairnessError> {
    for group in study.groups.iter().filter(|group| group.sharing == ConnectionSharing::Close) {
        for policy in &group.policies {
            let key = RoundKey::new(group, policy, 0);
            if store.load_stall(&key)?.is_none() {
                tell(&format!("the stall test of {} {policy}", group.slug()));
                store.save_stall(&key, &stall::measure(&study.program, policy, group.workers)?)?;
            }
        }
    }
    Ok(())
}

/// Tries until a try counts, or is the last one allowed; all of them are kept.
fn measured(
    study: &FairnessStudy,
    group: &GridGroup,
    policy: &str,
    key: &RoundKey,
    tell: &mut dyn FnMut(Option<&str>),
) -> Result<Vec<Measured>, FairnessError> {
    let trace = trace_of(study, group, key.round)?;
    let mut tries = Vec::new();
    loop {
        let measured = measure::measure(study, group, policy, &trace)?;
        let rejected = measured.round.rejected.clone();
        tries.push(measured);
        match rejected {
            Some(why) if tries.len() < BENCH_TRIES => tell(Some(&why)),
            Some(_) | None => return Ok(tries),
        }
    }
}

fn trace_of(study: &FairnessStudy, group: &GridGroup, round: u32) -> Result<Trace, TraceSpecError> {
    Trace::draw(group.spec(study.seed.wrapping_add(u64::from(round)), study.requests))
}

/// Puts the kept rounds together and holds each against the bound. The overhead in the bound is
/// the least that any policy of the group showed: what this machine takes however requests are
/// dispatched. What a policy takes beyond that counts against it.
fn assemble(study: &FairnessStudy, store: &Store) -> Result<Vec<Cell>, FairnessError> {
    let mut cells = Vec::new();
    for group in &study.groups {
        let mut kept = Vec::new();
        for policy in &group.policies {
            let mut rounds = Vec::new();
            for round in 0..study.rounds {
                rounds.push(store.load(&RoundKey::new(group, policy, round))?.unwrap_or_default());
            }
            kept.push((policy, rounds));
        }
        let overhead = least_overhead(kept.iter().map(|(_, rounds)| rounds.as_slice()));
        let first = cells.len();
        for policy in &group.policies {
            let stall = store.load_stall(&RoundKey::new(group, policy, 0))?;
            cells.push(Cell { stall, ..group.cell(policy) });
        }
        for round in 0..study.rounds {
            let trace = trace_of(study, group, round)?;
            let warm_up = warm_up(&trace);
            for (at, (_, rounds)) in kept.iter().enumerate() {
                for measured in &rounds[round as usize] {
                    let mut figures = measured.round.clone();
                    add_bound(&mut figures, &trace, &group.all_speeds(), overhead, warm_up);
                    cells[first + at].rounds.push(figures);
                }
            }
        }
    }
    Ok(cells)
}

/// The least over the policies of the median over their rounds.
fn least_overhead<'a>(policies: impl Iterator<Item = &'a [Vec<Measured>]>) -> Span {
    let median = |rounds: &[Vec<Measured>]| {
        let mut all: Vec<Span> = rounds.iter().flatten().map(Measured::overhead).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    };
    policies.filter_map(median).min().unwrap_or_default()
}
