//! How deep `jbsq` lets a worker's queue be when the user leaves it open: deep enough to hide the
//! gap between a completion and the next start, and no deeper, since what waits at a worker cannot
//! go to another before it is recalled.

use super::policy::Depth;
use crate::limits::JBSQ_AUTO_DEPTH_MAX;
use crate::units::Span;

/// Running means of what decides the depth, in 256ths of microseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gauge {
    service: u64,
    transit: u64,
}

/// Samples that a mean remembers: long enough that a rare long request is not forgotten between
/// two of its kind.
const MEMORY: u64 = 256;

impl Gauge {
    /// Takes in the time from a claim to the end of its response.
    pub fn served(&mut self, service_us: u32) {
        blend(&mut self.service, service_us);
    }

    /// Takes in the time from an offer to an idle worker's claim: half of the gap.
    pub fn crossed(&mut self, transit_us: u32) {
        blend(&mut self.transit, transit_us);
    }

    /// From a completion to the next start, if nothing waits at the worker: there and back.
    pub const fn gap(&self) -> Span {
        Span::from_ns(self.transit * 2 * 1_000 / MEMORY)
    }

    /// The depth. Two hides the gap, and what waits behind a long request is moved when somebody is
    /// idle (decision 009), so that one is never better. Where the gap is longer than the service,
    /// as many as are served during a gap, or the workers would idle for most of the time; what
    /// waits behind them waits no longer than the gap itself.
    pub fn depth(&self, depth: Depth) -> u32 {
        match depth {
            Depth::Fixed(n) => return n,
            Depth::Auto => {}
        }
        let served_during_gap = (self.transit * 2).div_ceil(self.service.max(1));
        u32::try_from(served_during_gap)
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .clamp(2, JBSQ_AUTO_DEPTH_MAX)
    }
}

fn blend(mean: &mut u64, sample_us: u32) {
    let sample = u64::from(sample_us) * MEMORY;
    *mean = if *mean == 0 { sample } else { *mean - *mean / MEMORY + sample / MEMORY };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(service_us: u32, transit_us: u32) -> Gauge {
        let mut gauge = Gauge::default();
        gauge.served(service_us);
        gauge.crossed(transit_us);
        gauge
    }

    #[test]
    fn two_are_enough_where_requests_are_longer_than_the_gap() {
        assert_eq!(Gauge::default().depth(Depth::Auto), 2, "nothing is known yet");
        assert_eq!(gauge(2_000, 60).depth(Depth::Auto), 2);
        assert_eq!(gauge(100_000, 60).depth(Depth::Auto), 2);
        assert_eq!(gauge(2_000, 60).depth(Depth::Fixed(5)), 5);
        assert_eq!(gauge(2_000, 60).gap(), Span::from_us(120));
    }

    #[test]
    fn requests_shorter_than_the_gap_queue_deeper_up_to_a_limit() {
        assert_eq!(gauge(20, 30).depth(Depth::Auto), 4);
        assert_eq!(gauge(1, 500).depth(Depth::Auto), JBSQ_AUTO_DEPTH_MAX);
    }

    #[test]
    fn a_rare_long_request_is_not_forgotten() {
        let mut gauge = gauge(10, 30);
        for _ in 0..20 {
            gauge.served(100_000);
            for _ in 0..99 {
                gauge.served(10);
            }
        }
        assert_eq!(gauge.depth(Depth::Auto), 2, "the mean is a millisecond");
    }
}
