//! Workers that have written something. Their output is read after all that has come in a turn, so
//! many bytes in each and whoever wrote first goes first: one that writes without end waits for its
//! pipe to be emptied, and no connection waits for that.

use std::collections::VecDeque;

use super::Master;
use super::host::{Host, OutputRead};
use super::tags::Purpose;
use crate::io::Backend;
use crate::limits::OUTPUT_PER_TURN;
use crate::units::WorkerId;

/// Outputs with something to read, in the order of their turns.
#[derive(Debug)]
pub(super) struct PendingOutputs<F>(VecDeque<(WorkerId, F)>);

impl<F> PendingOutputs<F> {
    pub(super) fn has_any(&self) -> bool {
        !self.0.is_empty()
    }
}

impl<F> Default for PendingOutputs<F> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// A worker, or what it started, has written something or closed its output.
    pub(super) fn has_written(&mut self, worker: WorkerId, fd: B::Fd) {
        self.is_not_waited_for(worker);
        self.pending_outputs.0.push_back((worker, fd));
    }

    /// Reads what this turn's budget allows, each output once.
    pub(super) fn read_outputs(&mut self) {
        let mut budget = OUTPUT_PER_TURN;
        for _ in 0..self.pending_outputs.0.len() {
            let Some((worker, fd)) = self.pending_outputs.0.pop_front() else { return };
            match self.host.read_output(worker, budget) {
                OutputRead::Drained { bytes } => {
                    budget -= bytes;
                    self.watch_for(Purpose::Output(worker), fd);
                }
                OutputRead::More => {
                    self.pending_outputs.0.push_back((worker, fd));
                    return;
                }
                OutputRead::Ended => self.late_output_ended(worker),
            }
        }
    }

    fn is_not_waited_for(&mut self, worker: WorkerId) {
        match self.watches.get_mut(worker) {
            Some(watches) => watches.output = None,
            None => {
                self.late.waits(worker, None);
            }
        }
    }
}
