//! Outputs of workers that are gone. What a worker started may go on with its work and write to the
//! worker's output, and would be killed by SIGPIPE if nobody read that: after a reload, say. So it
//! is read to its end, within bounds.

use std::collections::VecDeque;

use super::Master;
use super::host::{Host, OutputRead};
use crate::io::{Backend, Token};
use crate::limits::{LATE_OUTPUT_MAX, LATE_OUTPUTS_SPARE, OUTPUT_AT_DEATH};
use crate::units::{Mono, WorkerId};

/// Those that are still read, the oldest first.
#[derive(Debug, Default)]
pub(super) struct LateOutputs {
    outputs: VecDeque<Late>,
}

#[derive(Debug)]
struct Late {
    worker: WorkerId,
    /// How it is waited for; not at all while the kernel refuses that.
    wait: Option<Token>,
    until: Mono,
}

impl LateOutputs {
    /// When the next one is let go, if its end does not come before.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.outputs.front().map(|late| late.until)
    }

    /// Remembers how one is waited for. False when it is not read any more.
    pub(super) fn waits(&mut self, worker: WorkerId, token: Option<Token>) -> bool {
        let late = self.outputs.iter_mut().find(|late| late.worker == worker);
        late.map(|late| late.wait = token).is_some()
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Goes on with reading what a worker that is gone has left open, and makes room for that.
    pub(super) fn keep_output(&mut self, worker: WorkerId, wait: Option<Token>) {
        let until = self.now.after(LATE_OUTPUT_MAX);
        self.late.outputs.push_back(Late { worker, wait, until });
        let last = self.host.read_output(worker, OUTPUT_AT_DEATH);
        if last == OutputRead::Ended {
            self.let_output_go(self.late.outputs.len() - 1);
        } else if self.engine.supervisor().slots().count() + LATE_OUTPUTS_SPARE
            < self.late.outputs.len()
        {
            self.let_output_go(0);
        }
    }

    /// The end of one has come.
    pub(super) fn late_output_ended(&mut self, worker: WorkerId) {
        if let Some(at) = self.late.outputs.iter().position(|late| late.worker == worker) {
            self.let_output_go(at);
        }
    }

    /// Lets go of those that have been read for long enough.
    pub(super) fn let_late_outputs_go(&mut self) {
        while self.late.deadline().is_some_and(|until| until <= self.now) {
            self.let_output_go(0);
        }
    }

    fn let_output_go(&mut self, at: usize) {
        let Some(late) = self.late.outputs.remove(at) else { return };
        self.host.forget_output(late.worker);
        if let Some(wait) = late.wait {
            self.backend.cancel(wait);
        }
    }
}
