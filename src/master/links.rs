//! The shell's side of each worker process: its channel, its doorbell, the batch being packed for
//! it, and the copies that it has.

use std::collections::VecDeque;

use super::copies::SentCopies;
use crate::io::{Batch, Source, Token};
use crate::units::RingWords;

/// Everything about one worker that the engine need not know.
#[derive(Debug)]
pub(super) struct Link<F> {
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
    pub(super) fn new(channel: Source, doorbell: Source) -> Self {
        Self {
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
