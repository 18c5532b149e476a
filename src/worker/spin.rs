//! Whether to stay awake for a moment. To wake a process on another CPU costs whoever wakes it more
//! than a request, and it more time than many; an idle worker that is likely to be told something
//! very soon had better wait for that with open eyes. How soon it was told lately is the guess, and
//! how long its waking took says how much the wait may cost.

use crate::units::Span;

/// What is known of pauses and of waking up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spinner {
    /// How long it took until there was something to do, a running mean.
    pause: Span,
    /// From an offer to its claim by a worker that slept, a running mean.
    waking: Span,
}

/// Samples that the means remember.
const MEMORY: u64 = 8;
/// A pause counts as so many times what may be spun at most: one long one does not make up for many
/// short ones.
const PAUSE_MAX: u64 = 8;
/// A wait may cost so many times what a waking does: it takes the time of two processes, and while
/// one is awake the other need not fall asleep either.
const WAKINGS: u64 = 4;

impl Spinner {
    /// Nothing is known: it sleeps.
    pub(super) const UNTRIED: Self = Self { pause: Span::from_s(1), waking: Span::ZERO };

    /// How long to stay awake, of `most`.
    pub(super) fn for_how_long(self, most: Span) -> Span {
        let most = most.min(self.waking.times(WAKINGS));
        if self.pause <= most { most } else { Span::ZERO }
    }

    /// There was something to do after so long.
    pub(super) fn paused(&mut self, pause: Span, most: Span) {
        let limit = most.times(PAUSE_MAX);
        blend(&mut self.pause, pause, limit);
    }

    /// It took so long to wake up.
    pub(super) fn woke(&mut self, waking: Span, most: Span) {
        blend(&mut self.waking, waking, most);
    }
}

fn blend(mean: &mut Span, sample: Span, limit: Span) {
    let (before, sample) = ((*mean).min(limit).as_ns(), sample.min(limit).as_ns());
    *mean = Span::from_ns(before - before / MEMORY + sample / MEMORY);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Span = Span::from_us(150);

    fn sleeper(waking_us: u64) -> Spinner {
        let mut spin = Spinner::UNTRIED;
        (0..50).for_each(|_| spin.woke(Span::from_us(waking_us), MOST));
        spin
    }

    /// After how many pauses like this it changes its mind.
    fn until(spin: &mut Spinner, pause_us: u64, wanted: bool) -> Option<u32> {
        (1..1_000).find(|_| {
            spin.paused(Span::from_us(pause_us), MOST);
            (spin.for_how_long(MOST) != Span::ZERO) == wanted
        })
    }

    #[test]
    fn it_is_tried_while_pauses_are_short_against_a_waking() {
        let mut spin = sleeper(30);
        assert_eq!(spin.for_how_long(MOST), Span::ZERO, "nothing is known of pauses");
        assert!(until(&mut spin, 80, true).is_some_and(|count| count < 50));
        assert!(spin.for_how_long(MOST) <= Span::from_us(120));
        spin.paused(Span::from_s(9), MOST);
        assert!(until(&mut spin, 5, true).is_some_and(|count| count < 16), "once is no rule");
        assert!(until(&mut spin, 500, false).is_some_and(|count| count < 8));
        assert_eq!(until(&mut spin, 130, true), None);
        assert_eq!(until(&mut sleeper(4), 20, true), None, "waking up is cheap here");
        assert!(until(&mut sleeper(900), 140, true).is_some());
        assert_eq!(until(&mut sleeper(900), 160, true), None, "that is the bound");
    }

    #[test]
    fn who_may_not_spin_does_not() {
        let mut spin = sleeper(30);
        (0..100).for_each(|_| spin.paused(Span::from_us(1), MOST));
        assert_eq!(spin.for_how_long(Span::ZERO), Span::ZERO);
        spin.woke(Span::from_us(30), Span::ZERO);
        assert_eq!(spin.for_how_long(MOST), Span::ZERO);
    }
}
