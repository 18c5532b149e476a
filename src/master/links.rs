//! The shell's side of each worker process: its channel, its doorbell, the batch being packed for
//! it, and the copies that it has.

use std::collections::VecDeque;

use super::copies::SentCopies;
use crate::io::{Batch, Source, Token};
use crate::units::{RingWords, WorkerId};

/// Everything about one worker that the engine need not know.
#[derive(Debug)]
pub(super) struct Link<F> {
    pub(super) worker: WorkerId,
    pub(super) channel: Source,
    /// What it wakes the master by: its own, so that none can silence another's.
    pub(super) doorbell: Source,
    /// The watches on its way to its program, on its output and on its channel's end, while they
    /// last.
    pub(super) report: Option<Token>,
    pub(super) output: Option<Token>,
    pub(super) hangup: Option<Token>,
    /// Offers that travel together; sent when full or at the end of the turn.
    pub(super) packed: Option<Batch<F>>,
    pub(super) copies: SentCopies,
    /// Offer entries that found the ring full, in order; they go before any other, and nothing is
    /// offered meanwhile. No more than there were copies.
    pub(super) unsent: VecDeque<RingWords>,
    /// Offer entries were written that it may not have been woken for.
    pub(super) wants_doorbell: bool,
    /// It has asked to leave, and the engine knows.
    pub(super) asked_to_leave: bool,
    /// The sleep that it was last woken from.
    pub(super) woken: Option<u64>,
}

impl<F> Link<F> {
    pub(super) fn new(worker: WorkerId, channel: Source, doorbell: Source) -> Self {
        Self {
            worker,
            channel,
            doorbell,
            report: None,
            output: None,
            hangup: None,
            packed: None,
            copies: SentCopies::default(),
            unsent: VecDeque::new(),
            wants_doorbell: false,
            asked_to_leave: false,
            woken: None,
        }
    }
}

/// All workers, by index.
#[derive(Debug)]
pub(super) struct Links<F>(Vec<Option<Link<F>>>);

impl<F> Links<F> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Indices, with or without a worker.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the worker at an index.
    pub(super) fn worker_at(&self, index: usize) -> Option<WorkerId> {
        self.0.get(index)?.as_ref().map(|link| link.worker)
    }

    /// All workers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link<F>> {
        self.0.iter_mut().flatten()
    }

    pub(super) fn insert(&mut self, link: Link<F>) {
        let index = link.worker.index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(link);
    }

    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Link<F>> {
        self.get_mut(worker)?;
        self.0[worker.index()].take()
    }

    pub(super) fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Link<F>> {
        self.0.get_mut(worker.index())?.as_mut().filter(|link| link.worker == worker)
    }
}
