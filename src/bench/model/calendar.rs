//! What will happen, in order of time; what is planned for one instant happens in the order of
//! planning, so that a run is the same every time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::units::Span;

/// Plans by time.
#[derive(Debug)]
pub(super) struct Calendar<T> {
    plans: BinaryHeap<Reverse<(Span, u64, T)>>,
    planned: u64,
}

impl<T: Ord> Calendar<T> {
    pub(super) const fn new() -> Self {
        Self { plans: BinaryHeap::new(), planned: 0 }
    }

    pub(super) fn plan(&mut self, at: Span, what: T) {
        self.planned += 1;
        self.plans.push(Reverse((at, self.planned, what)));
    }

    pub(super) fn next_at(&self) -> Option<Span> {
        self.plans.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes out what is planned for `now` or earlier.
    pub(super) fn take(&mut self, now: Span) -> Option<T> {
        if now < self.next_at()? {
            return None;
        }
        self.plans.pop().map(|Reverse((_, _, what))| what)
    }
}
