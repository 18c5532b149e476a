//! The stall test: workers are stopped in turn while requests keep coming, and whoever was not yet
//! begun with should not notice. A worker in a long garbage collection looks the same.

use std::path::Path;
use std::thread;

use super::super::load::{self, LoadOptions, LoadTarget};
use super::super::mix::{Mix, Service};
use super::super::outcome::{TraceOutcome, us};
use super::super::result::Stall;
use super::super::trace::{Arrivals, Connections, Trace, TraceSpec};
use super::FairnessError;
use super::measure::runtime_folder;
use super::server_under_test::{ServerPlan, ServerUnderTest};
use crate::sys::clock::{monotonic, sleep};
use crate::sys::process;
use crate::units::{Mono, Span};

/// Stops each worker of a dispatchd under this policy several times, and counts who waited for it.
///
/// # Errors
/// The server does not come up, or the generator cannot work.
pub fn measure(program: &Path, policy: &str, workers: u32) -> Result<Stall, FairnessError> {
    let folder = runtime_folder();
    let plan = ServerPlan { program, folder: &folder, policy, workers, flags: &[], speeds: &[] };
    let server = ServerUnderTest::start(&plan)?;
    let target =
        LoadTarget::parse(&format!("http://{}/", server.address)).expect("it is an address");
    let options = LoadOptions { servers: vec![server.master()], ..LoadOptions::default() };
    let trace = trace()?;
    thread::scope(|scope| {
        let stopping = scope.spawn(|| stop_in_turn(&server.workers));
        let run = load::replay(&trace, &target, &options, &mut |_| {});
        let stops = stopping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let run = run?;
        Ok(count(&trace, &run.outcome, run.start, &stops))
    })
}

const STOPS: u64 = 20;
const STOPPED_FOR: Span = Span::from_ms(300);
const FROM_STOP_TO_STOP: Span = Span::from_ms(600);
/// Requests come so often.
const EVERY: Span = Span::from_ms(4);
/// Whoever waits longer than this has noticed.
const NOTICED: Span = Span::from_ms(30);

fn trace() -> Result<Trace, FairnessError> {
    let requests = FROM_STOP_TO_STOP.times(STOPS + 1).as_ns() / EVERY.as_ns();
    let spec = TraceSpec {
        seed: 1,
        mix: Mix::named("det", Service::Sleep, 1.0).expect("the mix has this name"),
        arrivals: Arrivals::Constant,
        connections: Connections::PerRequest,
        rate: 1e9 / EVERY.as_ns() as f64,
        requests,
        ramp_s: 0.0,
    };
    Ok(Trace::draw(spec)?)
}

/// When a worker was stopped, and its number.
type Stop = (Mono, u16);

fn stop_in_turn(pids: &[u32]) -> Vec<Stop> {
    let mut stops = Vec::new();
    for (number, pid) in (0..).zip(pids).cycle().take(usize::try_from(STOPS).unwrap_or(0)) {
        sleep(Span::from_ns(FROM_STOP_TO_STOP.as_ns() - STOPPED_FOR.as_ns()));
        stops.push((monotonic(), number));
        // A worker that is gone has nothing to be stopped: the delays tell.
        let _ = process::stop(*pid);
        sleep(STOPPED_FOR);
        let _ = process::resume(*pid);
    }
    stops
}

/// A stopped worker finishes late what it had begun, one request at most: that one is excused.
fn count(trace: &Trace, outcome: &TraceOutcome, start: Mono, stops: &[Stop]) -> Stall {
    let mut stall = Stall { stops: stops.len() as u64, ..Stall::default() };
    let mut excuses: Vec<Stop> = stops.to_vec();
    for (request, sample) in trace.requests.iter().zip(&outcome.samples) {
        stall.requests += 1;
        let wait = Span::from_ns(
            sample.done.as_ns().saturating_sub(request.at.plus(request.service).as_ns()),
        );
        if wait <= NOTICED && sample.fate.is_good() {
            continue;
        }
        let (sent, done) = (start.after(sample.sent), start.after(sample.done));
        let begun =
            |(at, worker): &Stop| sample.worker == Some(*worker) && sent <= *at && *at <= done;
        if let Some(excuse) = excuses.iter().position(begun) {
            excuses.swap_remove(excuse);
            stall.excused += 1;
            continue;
        }
        stall.delayed += 1;
        stall.worst_ms = stall.worst_ms.max(us(wait) / 1e3);
    }
    stall
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::{Fate, Sample};
    use super::*;

    #[test]
    fn one_request_that_had_begun_is_excused_and_no_other() {
        let mut trace = trace().unwrap();
        trace.requests.truncate(4);
        let start = Mono::from_ns(1_000_000_000);
        let sample = |at: Span, wait_ms: u64, worker| Sample {
            sent: at,
            done: at.plus(Span::from_ms(1 + wait_ms)),
            worker: Some(worker),
            fate: Fate::Answered,
        };
        let at: Vec<Span> = trace.requests.iter().map(|request| request.at).collect();
        let samples = vec![
            sample(at[0], 299, 1),
            sample(at[1], 295, 1),
            sample(at[2], 200, 0),
            sample(at[3], 30, 0),
        ];
        let stops = [(start.after(at[1]), 1)];
        let stall = count(&trace, &TraceOutcome { samples }, start, &stops);
        assert_eq!((stall.stops, stall.requests), (1, 4));
        assert_eq!((stall.excused, stall.delayed), (1, 2));
        assert!((stall.worst_ms - 295.0).abs() < 1e-9);
    }
}
