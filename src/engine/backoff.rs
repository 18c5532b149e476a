//! How long a seat stays empty after a death: the brake on crash loops. The delay doubles with
//! each death in a row, with jitter so that seats do not restart in step, and is forgotten once a
//! worker has stayed up.

use super::rng::Rng;
use crate::limits::{BACKOFF_FORGET, BACKOFF_MAX, BACKOFF_MIN, REFUSED_PAUSE_MAX};
use crate::units::{Mono, Span};

/// The restart delay of one seat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backoff {
    deaths: u32,
    /// Processes that could not be had since there was one.
    refusals: u32,
}

impl Backoff {
    /// No death yet.
    pub const DEATHLESS: Self = Self { deaths: 0, refusals: 0 };

    /// Counts a death of a worker that was ready since `ready_since` (`None`: never), and says how
    /// long to wait. A worker that had stayed up is replaced at once.
    pub fn after_death(&mut self, now: Mono, ready_since: Option<Mono>, rng: &mut Rng) -> Span {
        match ready_since {
            Some(since) if BACKOFF_FORGET <= now.since(since) => self.deaths = 0,
            Some(_) | None => {}
        }
        let delay = self.delay();
        self.deaths = self.deaths.saturating_add(1);
        self.refusals = 0;
        jittered(delay, rng)
    }

    /// A worker has done its work, and leaves: whatever was before does not count any more.
    pub const fn forget(&mut self) {
        *self = Self::DEATHLESS;
    }

    /// Counts a process that could not be had, and says how long to wait. It is no death: the
    /// program has done nothing wrong, and to ask costs little.
    pub fn after_refusal(&mut self, rng: &mut Rng) -> Span {
        let delay = doubled(self.refusals).min(REFUSED_PAUSE_MAX);
        self.refusals = self.refusals.saturating_add(1);
        jittered(delay, rng)
    }

    /// Deaths in a row.
    pub const fn deaths(&self) -> u32 {
        self.deaths
    }

    fn delay(&self) -> Span {
        match self.deaths {
            0 => Span::ZERO,
            deaths => doubled(deaths - 1).min(BACKOFF_MAX),
        }
    }
}

/// The first delay, doubled so many times.
fn doubled(times: u32) -> Span {
    BACKOFF_MIN.times(1 << times.min(20))
}

/// Seats do not restart in step.
fn jittered(delay: Span, rng: &mut Rng) -> Span {
    Span::from_ns(delay.as_ns() + rng.below(delay.as_ns() / 4 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_limit_and_is_forgotten() {
        let mut backoff = Backoff::default();
        let mut rng = Rng::new(1);
        let now = Mono::from_ns(1_000_000_000_000);
        assert_eq!(backoff.after_death(now, None, &mut rng), Span::ZERO);
        let mut last = Span::ZERO;
        for _ in 0..30 {
            let floor = backoff.delay();
            assert!(last <= floor, "monotone until reset");
            let delay = backoff.after_death(now, Some(now), &mut rng);
            assert!(floor <= delay);
            last = floor;
        }
        assert_eq!(last, BACKOFF_MAX);
        let up_for_long = Mono::from_ns(now.as_ns() - BACKOFF_FORGET.as_ns());
        assert_eq!(backoff.after_death(now, Some(up_for_long), &mut rng), Span::ZERO);
    }
}
