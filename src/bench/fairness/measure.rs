//! One round of one cell: a fresh dispatchd, what a request costs it when nothing else is asked,
//! and then the trace.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::grid::GridGroup;
use super::super::load::{self, LoadOptions, LoadTarget};
use super::super::mix::{Mix, Service};
use super::super::outcome::TraceOutcome;
use super::super::result::{Medium, Round};
use super::super::simulate::warm_up;
use super::super::summary::summarise;
use super::super::trace::{Arrivals, Connections, Trace, TraceSpec};
use super::super::yardstick::add_idleness;
use super::server_under_test::{ServerPlan, ServerUnderTest};
use super::{FairnessError, FairnessStudy};
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

    pub(super) const fn is_rejected(&self) -> bool {
        self.round.rejected.is_some()
    }
}

/// Starts a dispatchd, measures and ends it.
pub(super) fn measure(
    study: &FairnessStudy,
    group: &GridGroup,
    policy: &str,
    trace: &Trace,
) -> Result<Measured, FairnessError> {
    let flags = flags(group, policy);
    let folder = runtime_folder();
    let plan = ServerPlan {
        program: &study.program,
        folder: &folder,
        policy,
        workers: group.workers,
        flags: &flags,
        speeds: &group.speeds,
    };
    let server = ServerUnderTest::start(&plan)?;
    let target =
        LoadTarget::parse(&format!("http://{}/", server.address)).expect("it is an address");
    let options = LoadOptions { servers: vec![server.master()], ..LoadOptions::default() };
    let bursts = bursts(group, trace.spec.seed)?;
    let run = load::replay(&bursts, &target, &options, &mut |_| {})?;
    let overhead = median_overhead(&bursts, &run.outcome);
    let run = load::replay(trace, &target, &options, &mut |_| {})?;
    let mut round = summarise(trace, &run.outcome, warm_up(trace), &run.machine);
    add_idleness(&mut round, trace, &run.outcome, group.workers as usize, overhead);
    drop(server);
    // The log of a run that went well; where it stays, the next one overwrites it.
    drop(fs::remove_dir_all(&folder));
    Ok(Measured { overhead_ns: overhead.as_ns(), round })
}

/// Bursts of two requests for each worker at a load of a twentieth: the second of each pair begins
/// when the first has ended, with nothing between them but what every request takes.
fn bursts(group: &GridGroup, seed: u64) -> Result<Trace, FairnessError> {
    let service = match group.medium {
        Medium::Spin => Service::Spin,
        Medium::Sleep | Medium::Simulated | Medium::Server => Service::Sleep,
    };
    let burst = u64::from(group.workers) * 2;
    let spec = TraceSpec {
        seed,
        mix: Mix::named("det", service, BURST_MS).expect("the mix has this name"),
        arrivals: Arrivals::Constant,
        connections: Connections::PerRequest,
        rate: BURST_LOAD * f64::from(group.workers) / BURST_MS * 1e3,
        requests: burst * BURSTS,
        ramp_s: 0.0,
    };
    let mut trace = Trace::draw(spec)?;
    for burst in trace.requests.chunks_mut(usize::try_from(burst).expect("workers are few")) {
        let at = burst[0].at;
        burst.iter_mut().for_each(|request| request.at = at);
    }
    Ok(trace)
}

const BURST_LOAD: f64 = 0.05;
const BURST_MS: f64 = 1.0;
const BURSTS: u64 = 100;

/// What a request takes of its worker beside its service, in the middle of all: from the end of
/// the one before it in its burst, at the same worker, to its own, less its service. Latency alone
/// would count the waking of client, master and worker, which nobody pays who waits in a queue,
/// and would make the bound so lax that everybody beat it (decision 010).
fn median_overhead(trace: &Trace, outcome: &TraceOutcome) -> Span {
    let mut ends: BTreeMap<(Span, u16), Vec<Span>> = BTreeMap::new();
    for (request, sample) in trace.requests.iter().zip(&outcome.samples) {
        if let Some(worker) = sample.worker.filter(|_| sample.fate.is_good()) {
            ends.entry((request.at, worker)).or_default().push(sample.done);
        }
    }
    let service = trace.requests.first().map_or(0, |request| request.service.as_ns());
    let mut all = Vec::new();
    for ends in ends.values_mut() {
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|pair| pair[1].as_ns() - pair[0].as_ns());
        all.extend(gaps.map(|gap| gap.saturating_sub(service)));
    }
    all.sort_unstable();
    Span::from_ns(all.get(all.len() / 2).copied().unwrap_or(0))
}

fn flags(group: &GridGroup, policy: &str) -> Vec<String> {
    let mut flags = Vec::new();
    if policy == "wrr" && !group.speeds.is_empty() {
        let weights: Vec<String> = group.true_weights().iter().map(u32::to_string).collect();
        flags.extend(["--weight".to_owned(), weights.join(",")]);
    }
    flags
}

/// Short, since the path of a socket is.
pub(super) fn runtime_folder() -> PathBuf {
    std::env::temp_dir().join(format!("dispatchd-bench-{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::super::super::bound;
    use super::super::super::grid::ConnectionSharing;
    use super::*;

    #[test]
    fn the_overhead_of_a_known_world_is_found() {
        let group = GridGroup {
            workers: 4,
            speeds: Vec::new(),
            mix: Mix::named("bim100", Service::Sleep, 1.0).unwrap(),
            medium: Medium::Sleep,
            load: 0.8,
            sharing: ConnectionSharing::Close,
            policies: vec!["jbsq".into()],
        };
        let trace = bursts(&group, 1).unwrap();
        let overhead = Span::from_us(70);
        let outcome = bound::replay(&trace, &[1.0; 4], overhead);
        assert_eq!(median_overhead(&trace, &outcome), overhead);
        let load = trace.requests.len() as f64 / 4.0 / (trace.length().as_ns() as f64 / 1e6);
        assert!(load < 0.052, "{load}");
    }
}
