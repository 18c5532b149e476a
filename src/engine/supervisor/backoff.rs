//! How long a slot stays empty after a death: the brake on crash loops. The delay doubles with
//! each death in a row, with jitter so that slots do not restart in step, and is forgotten once a
//! worker has stayed up. It says how little is expected of the next worker: where the last one did
//! some work, a single request may have been its end, and the delay stays short (decision 020).

use super::super::members::Record;
use super::super::rng::Rng;
use crate::limits::{
    BACKOFF_FORGET, BACKOFF_MAX, BACKOFF_MIN, DEATHS_OVER_REQUESTS_MAX, NO_PROCESS_PAUSE_MAX,
};
use crate::units::{Mono, Span};

/// The restart delay of one slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backoff {
    deaths: u32,
    /// Processes that could not be had since there was one.
    no_processes: u32,
}

impl Backoff {
    /// No death yet.
    pub const DEATHLESS: Self = Self { deaths: 0, no_processes: 0 };

    /// Counts a death of a worker that was ready since `ready_since` (`None`: never), and says how
    /// long to wait. A worker that had stayed up is replaced at once.
    pub fn after_death(
        &mut self,
        now: Mono,
        ready_since: Option<Mono>,
        record: Record,
        rng: &mut Rng,
    ) -> Span {
        let stayed = ready_since.is_some_and(|since| BACKOFF_FORGET <= now.since(since));
        self.deaths = if stayed { 0 } else { self.deaths.min(deaths_max(record)) };
        let delay = self.delay();
        self.deaths = self.deaths.saturating_add(1);
        self.no_processes = 0;
        jittered(delay, rng)
    }

    /// A worker has done its work, and leaves: whatever was before does not count any more.
    pub const fn forget(&mut self) {
        *self = Self::DEATHLESS;
    }

    /// Counts a process that could not be had, and says how long to wait. It is no death: the
    /// program has done nothing wrong, and to ask costs little.
    pub fn after_no_process(&mut self, rng: &mut Rng) -> Span {
        let delay = doubled(self.no_processes).min(NO_PROCESS_PAUSE_MAX);
        self.no_processes = self.no_processes.saturating_add(1);
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

/// How many deaths in a row count at most, in view of what the last worker had done.
const fn deaths_max(record: Record) -> u32 {
    match record {
        Record::Nothing => u32::MAX,
        Record::Begun => DEATHS_OVER_REQUESTS_MAX,
        Record::Served => 1,
    }
}

/// The first delay, doubled so many times.
fn doubled(times: u32) -> Span {
    BACKOFF_MIN.times(1 << times.min(20))
}

/// Slots do not restart in step.
fn jittered(delay: Span, rng: &mut Rng) -> Span {
    Span::from_ns(delay.as_ns() + rng.below(delay.as_ns() / 4 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_limit_and_is_forgotten() {
        let (mut backoff, mut rng) = (Backoff::default(), Rng::new(1));
        let now = Mono::from_ns(1_000_000_000_000);
        let mut dies = |since| backoff.after_death(now, since, Record::Nothing, &mut rng);
        assert_eq!(dies(None), Span::ZERO);
        let mut last = Span::ZERO;
        for _ in 0..30 {
            let delay = dies(Some(now));
            assert!(last.as_ns() * 4 / 5 <= delay.as_ns(), "monotone but for its jitter");
            last = delay;
        }
        assert!(BACKOFF_MAX <= last);
        let up_for_long = Mono::from_ns(now.as_ns() - BACKOFF_FORGET.as_ns());
        assert_eq!(dies(Some(up_for_long)), Span::ZERO);
    }

    #[test]
    fn it_stays_short_where_workers_do_some_work() {
        let now = Mono::from_ns(1_000_000_000_000);
        for (record, least, most) in [
            (Record::Served, BACKOFF_MIN, Span::from_ms(63)),
            (Record::Begun, Span::from_ms(400), Span::from_ms(500)),
            (Record::Nothing, BACKOFF_MAX, Span::from_ms(12_500)),
        ] {
            let (mut backoff, mut rng) = (Backoff::default(), Rng::new(1));
            let mut dies = || backoff.after_death(now, Some(now), record, &mut rng);
            let last = (0..30).map(|_| dies()).last().unwrap();
            assert!(least <= last && last <= most, "{record:?}: {last}");
            // Whoever served has shown that the program works.
            backoff.after_death(now, Some(now), Record::Served, &mut rng);
            let next = backoff.after_death(now, Some(now), Record::Nothing, &mut rng);
            assert!(next <= Span::from_ms(125), "{record:?}: {next}");
        }
    }
}
