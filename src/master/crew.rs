//! The shell's side of each worker process: its channel, its doorbell, the parcel being packed for
//! it, and the copies that it has.

use std::collections::VecDeque;

use super::copies::Copies;
use crate::io::{Parcel, Source, Token};
use crate::units::WorkerId;
use crate::wire::errand::Words;

/// Everything about one worker that the engine need not know.
#[derive(Debug)]
pub(super) struct Hand<F> {
    pub(super) worker: WorkerId,
    pub(super) channel: Source,
    /// What it wakes the master by: its own, so that none can silence another's.
    pub(super) bell: Source,
    /// The watches on its way to its program, on its output and on its channel's end, while they
    /// last.
    pub(super) report: Option<Token>,
    pub(super) output: Option<Token>,
    pub(super) hangup: Option<Token>,
    /// Offers that travel together; sent when full or at the end of the turn.
    pub(super) packed: Option<Parcel<F>>,
    pub(super) copies: Copies,
    /// Errands that found the ring full, in order; they go before any other, and nothing is offered
    /// meanwhile. No more than there were copies.
    pub(super) unsent: VecDeque<Words>,
    /// Errands were written that it may not have been woken for.
    pub(super) wants_bell: bool,
    /// It has asked to leave, and the engine knows.
    pub(super) asked_to_leave: bool,
    /// The nap that it was last woken from.
    pub(super) woken: Option<u64>,
}

impl<F> Hand<F> {
    pub(super) fn new(worker: WorkerId, channel: Source, bell: Source) -> Self {
        Self {
            worker,
            channel,
            bell,
            report: None,
            output: None,
            hangup: None,
            packed: None,
            copies: Copies::default(),
            unsent: VecDeque::new(),
            wants_bell: false,
            asked_to_leave: false,
            woken: None,
        }
    }
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

    /// All workers.
    pub(super) fn hands(&mut self) -> impl Iterator<Item = &mut Hand<F>> {
        self.0.iter_mut().flatten()
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
