//! The shell's side of each worker process: its channel, and the parcel being packed for it.

use crate::io::{Parcel, Source, Token};
use crate::units::WorkerId;

/// Everything about one worker that the engine need not know.
#[derive(Debug)]
pub(super) struct Hand<F> {
    pub(super) worker: WorkerId,
    pub(super) channel: Source,
    pub(super) output: Option<Token>,
    /// Offers that travel together; sent when full or at the end of the turn.
    pub(super) packed: Option<Parcel<F>>,
}

/// All workers, by berth.
#[derive(Debug)]
pub(super) struct Crew<F>(Vec<Option<Hand<F>>>);

impl<F> Crew<F> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Berths, with or without a worker.
    pub(super) const fn berths(&self) -> usize {
        self.0.len()
    }

    /// The name of a berth's worker.
    pub(super) fn name(&self, berth: usize) -> Option<WorkerId> {
        self.0.get(berth)?.as_ref().map(|hand| hand.worker)
    }

    pub(super) fn enlist(&mut self, hand: Hand<F>) {
        let berth = hand.worker.index();
        if self.0.len() <= berth {
            self.0.resize_with(berth + 1, || None);
        }
        self.0[berth] = Some(hand);
    }

    pub(super) fn discharge(&mut self, worker: WorkerId) -> Option<Hand<F>> {
        self.hand(worker)?;
        self.0[worker.index()].take()
    }

    pub(super) fn hand(&mut self, worker: WorkerId) -> Option<&mut Hand<F>> {
        self.0.get_mut(worker.index())?.as_mut().filter(|hand| hand.worker == worker)
    }
}
