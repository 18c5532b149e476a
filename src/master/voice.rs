//! What a worker writes to its standard output and error: whole lines go to the log, and the last
//! bytes are kept to say why it died. What it started may write on when it is gone.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::telemetry;
use crate::limits::STDERR_TAIL;
use crate::sys::fd;
use crate::units::{Errno, SeatId, WorkerId};

/// The output of one worker.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) worker: WorkerId,
    seat: SeatId,
    output: OwnedFd,
    tail: VecDeque<u8>,
    /// The beginning of a line of which the end has not come.
    line: Vec<u8>,
}

impl Voice {
    pub(super) const fn new(worker: WorkerId, seat: SeatId, output: OwnedFd) -> Self {
        Self { worker, seat, output, tail: VecDeque::new(), line: Vec::new() }
    }

    /// Takes in what there is; false at the end.
    pub(super) fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // Bounded, so that one that writes without end does not hold up the rest.
        for _ in 0..16 {
            match fd::read(&self.output, &mut buffer) {
                Ok(0) => {
                    self.ended();
                    return false;
                }
                Ok(count) => self.wrote(&buffer[..count]),
                Err(Errno(libc::EAGAIN)) => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Its last lines, in one.
    pub(super) fn last_words(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let words = String::from_utf8_lossy(&tail);
        let last: Vec<&str> = words.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().filter(|line| !line.is_empty()).collect();
        last.join(" | ")
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(STDERR_TAIL);
        self.tail.drain(..surplus);
        for byte in bytes {
            if *byte == b'\n' {
                self.tell(self.line.len());
                continue;
            }
            self.line.push(*byte);
            if STDERR_TAIL <= self.line.len() {
                self.tell(self.line.len());
            }
        }
    }

    fn ended(&mut self) {
        if !self.line.is_empty() {
            self.tell(self.line.len());
        }
    }

    /// Logs the beginning of what has come of a line, up to there.
    fn tell(&mut self, end: usize) {
        telemetry::worker_line(self.seat, &String::from_utf8_lossy(&self.line[..end]));
        self.line.drain(..end);
    }
}
