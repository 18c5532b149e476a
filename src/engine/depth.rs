//! How deep `jbsq` lets a worker's queue be when the user leaves it open: deep enough to hide the
//! gap between a completion and the next start, and no deeper, since what waits at a worker cannot
//! go to another before it is recalled.

use super::policy::Depth;
use crate::limits::JBSQ_AUTO_DEPTH_MAX;

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

    /// The depth for `ready` workers. The rule of scheduling.md, T4, where the gap is shorter than
    /// the service: two for a pair; with more workers one if the gap is small against the service,
    /// else two. Where it is longer, as many as are served during a gap, or the workers would idle
    /// for most of the time; what waits behind them waits no longer than the gap itself.
    pub fn depth(&self, depth: Depth, ready: usize) -> u32 {
        let percent_of_service = match (depth, ready) {
            (Depth::Fixed(n), _) => return n,
            (Depth::Auto, ..=2) => 0,
            (Depth::Auto, ..=7) => 2,
            (Depth::Auto, _) => 8,
        };
        let gap = self.transit * 2;
        if gap * 100 < self.service * percent_of_service {
            return 1;
        }
        let served_during_gap = gap.div_ceil(self.service.max(1));
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
    fn the_depth_follows_the_gap() {
        assert_eq!(Gauge::default().depth(Depth::Auto, 8), 2, "nothing is known yet");
        let millis = gauge(2_000, 60);
        assert_eq!(millis.depth(Depth::Auto, 2), 2);
        assert_eq!(millis.depth(Depth::Auto, 4), 2, "120 of 2000 us is more than 2 %");
        assert_eq!(millis.depth(Depth::Auto, 8), 1, "and less than 8 %");
        assert_eq!(gauge(2_000, 300).depth(Depth::Auto, 8), 2);
        assert_eq!(millis.depth(Depth::Fixed(5), 8), 5);
    }

    #[test]
    fn requests_shorter_than_the_gap_queue_deeper_up_to_a_limit() {
        assert_eq!(gauge(20, 30).depth(Depth::Auto, 2), 4);
        assert_eq!(gauge(20, 30).depth(Depth::Auto, 8), 4);
        assert_eq!(gauge(1, 500).depth(Depth::Auto, 2), JBSQ_AUTO_DEPTH_MAX);
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
        assert_eq!(gauge.depth(Depth::Auto, 2), 2, "the mean is a millisecond");
    }
}
