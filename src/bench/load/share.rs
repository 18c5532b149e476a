//! A trace cut into shares, one per thread: whole connections, so that no two threads ever speak
//! on one, each request with the one that follows it on its connection.

use crate::bench::trace::Trace;

/// What one thread sends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Share {
    /// In the order of their intended times.
    pub(super) steps: Vec<ShareStep>,
    /// Connections, numbered from 0.
    pub(super) connections: usize,
}

/// One request of a share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ShareStep {
    /// Its position in the trace.
    pub(super) request: u32,
    /// The share's number of its connection.
    pub(super) connection: u32,
    /// The share's step that follows on the same connection, or [`NONE`].
    pub(super) next: u32,
}

/// No step: a trace has fewer requests.
pub(super) const NONE: u32 = u32::MAX;

/// Deals the connections out to so many threads.
pub(super) fn deal(trace: &Trace, threads: u32) -> Vec<Share> {
    let mut shares = vec![Share::default(); threads as usize];
    for (request, place) in (0..).zip(&trace.requests) {
        let share = &mut shares[(place.connection % threads) as usize];
        let connection = place.connection / threads;
        share.connections = share.connections.max(connection as usize + 1);
        share.steps.push(ShareStep { request, connection, next: NONE });
    }
    for share in &mut shares {
        let mut following = vec![NONE; share.connections];
        for (index, step) in share.steps.iter_mut().enumerate().rev() {
            let index = u32::try_from(index).expect("a trace has fewer requests");
            step.next = std::mem::replace(&mut following[step.connection as usize], index);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::mix::{Mix, Service};
    use crate::bench::trace::{Arrivals, Connections, TraceSpec};

    #[test]
    fn every_request_is_in_one_share_behind_the_one_before_it() {
        let trace = Trace::draw(TraceSpec {
            seed: 3,
            mix: Mix::named("bim10", Service::Sleep, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections: Connections::KeepAlive { requests: 4.0, think_ms: 5.0 },
            rate: 1_000.0,
            requests: 2_000,
            ramp_s: 0.0,
        })
        .unwrap();
        for threads in [1, 3] {
            let shares = deal(&trace, threads);
            let mut seen = vec![false; trace.requests.len()];
            for share in &shares {
                assert!(share.steps.is_sorted_by_key(|step| step.request));
                let mut led_to = vec![false; share.steps.len()];
                for step in &share.steps {
                    assert!(!std::mem::replace(&mut seen[step.request as usize], true));
                    let Some(next) = share.steps.get(step.next as usize) else { continue };
                    let of = |step: &ShareStep| trace.requests[step.request as usize].connection;
                    assert_eq!(of(next), of(step));
                    assert!(step.request < next.request);
                    led_to[step.next as usize] = true;
                }
                let firsts = led_to.iter().filter(|is| !**is).count();
                assert_eq!(firsts, share.connections, "each connection has one first request");
            }
            assert!(seen.iter().all(|is| *is));
        }
    }
}
