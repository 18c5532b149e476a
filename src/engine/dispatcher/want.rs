//! Wants that come and go: no room, no descriptors, no memory. Under load each may begin and end a
//! hundred times a second; whoever reads the log wants to know once that it began, and once that it
//! has stayed away.

use crate::limits::WANT_OVER_AFTER;
use crate::units::Mono;

/// Whether something is wanting, as far as has been told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Want {
    felt_at: Option<Mono>,
}

impl Want {
    /// It is felt now; true when that is to be told.
    pub(super) const fn is_felt(&mut self, now: Mono) -> bool {
        self.felt_at.replace(now).is_none()
    }

    /// It is not felt now; true when it has not been for so long that its end is to be told.
    pub(super) fn is_over(&mut self, now: Mono) -> bool {
        let over = self.deadline().is_some_and(|at| at <= now);
        if over {
            self.felt_at = None;
        }
        over
    }

    /// When it will be over if it is not felt again.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.felt_at.map(|at| at.after(WANT_OVER_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_is_told_once_and_its_end_once() {
        let mut want = Want::default();
        let mut now = Mono::from_ns(5);
        let mut told = 0;
        for _ in 0..100 {
            told += u32::from(want.is_felt(now));
            now = Mono::from_ns(now.after(WANT_OVER_AFTER).as_ns() - 1);
            assert!(!want.is_over(now), "it was felt a moment ago");
        }
        assert_eq!(told, 1);
        now = now.after(WANT_OVER_AFTER);
        assert!(want.is_over(now));
        assert!(!want.is_over(now), "its end is told already");
        assert_eq!(want.deadline(), None);
        assert!(want.is_felt(now));
    }
}
