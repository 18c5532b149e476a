//! What a worker writes to its standard output and error: whole lines go to the log, and the last
//! bytes are kept to say why it died. What it started may write on when it is gone.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::host::OutputRead;
use super::{escape, telemetry};
use crate::limits::{LAST_LINES_MAX, STDERR_TAIL};
use crate::sys::fd;
use crate::units::{Errno, SlotId, WorkerId};

/// The output of one worker.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) worker: WorkerId,
    slot: SlotId,
    pipe: OwnedFd,
    tail: VecDeque<u8>,
    /// The beginning of a line of which the end has not come.
    line: Vec<u8>,
}

impl Output {
    pub(super) const fn new(worker: WorkerId, slot: SlotId, pipe: OwnedFd) -> Self {
        Self { worker, slot, pipe, tail: VecDeque::new(), line: Vec::new() }
    }

    /// Takes in what there is, and no more than so many bytes.
    pub(super) fn read(&mut self, at_most: usize) -> OutputRead {
        let mut buffer = [0; 4096];
        let mut bytes = 0;
        while bytes < at_most {
            let room = buffer.len().min(at_most - bytes);
            match fd::read(&self.pipe, &mut buffer[..room]) {
                Err(Errno(libc::EAGAIN)) => return OutputRead::Drained { bytes },
                Ok(0) | Err(_) => {
                    self.end();
                    return OutputRead::Ended;
                }
                Ok(count) => {
                    self.wrote(&buffer[..count]);
                    bytes += count;
                }
            }
        }
        OutputRead::More
    }

    /// Its last lines, in one.
    pub(super) fn last_lines(&self) -> String {
        let is_cut = STDERR_TAIL <= self.tail.len();
        let rest = |byte: &&u8| is_cut && is_within_character(**byte);
        let tail: Vec<u8> = self.tail.iter().skip_while(rest).copied().collect();
        let lines = tail.strip_suffix(b"\n").unwrap_or(&tail).rsplit(|byte| *byte == b'\n');
        let lines: Vec<&[u8]> = lines.take(LAST_LINES_MAX).map(end_of_line_off).collect();
        let lines = lines.into_iter().rev().filter(|line| !line.is_empty());
        lines.map(escape::bytes).collect::<Vec<_>>().join(" | ")
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.tail.extend(&bytes[bytes.len().saturating_sub(STDERR_TAIL)..]);
        let surplus = self.tail.len().saturating_sub(STDERR_TAIL);
        self.tail.drain(..surplus);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                None => self.add(part),
                Some(text) => {
                    self.add(text);
                    self.tell(self.line.len());
                }
            }
        }
    }

    /// Adds to the line. One that has no end is told in parts.
    fn add(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = (STDERR_TAIL - self.line.len()).min(rest.len());
            self.line.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
            if STDERR_TAIL <= self.line.len() {
                self.tell(whole_characters(&self.line));
            }
        }
    }

    /// Nothing more is read: a line that has not ended will not.
    pub(super) fn end(&mut self) {
        if !self.line.is_empty() {
            self.tell(self.line.len());
        }
    }

    /// Logs the beginning of what has come of a line, up to there.
    fn tell(&mut self, end: usize) {
        telemetry::worker_line(self.slot, end_of_line_off(&self.line[..end]));
        self.line.drain(..end);
    }
}

/// Lines may end as Windows ends them.
fn end_of_line_off(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The length of a line without the beginning of a character at its end.
fn whole_characters(line: &[u8]) -> usize {
    let rest = line.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => line.len() - rest.len(),
        Ok(_) | Err(_) => line.len(),
    }
}

/// Whether a byte can only follow another one of its character.
const fn is_within_character(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_cut() {
        for text in ["a\u{e4}", "a\u{20ac}", "a\u{1f980}"] {
            for end in 2..text.len() {
                assert_eq!(whole_characters(&text.as_bytes()[..end]), 1, "{text} at {end}");
            }
            assert_eq!(whole_characters(text.as_bytes()), text.len());
        }
        // What is no beginning of anything is not waited for.
        for bytes in [&b""[..], b"a", b"a\xff", b"a\x80", b"\xc3(", b"a\xf8\x88", b"\xff\xe2\x82a"]
        {
            assert_eq!(whole_characters(bytes), bytes.len(), "{bytes:?}");
        }
        assert_eq!(whole_characters(b"\xff\xe2\x82"), 1);
    }

    #[test]
    fn what_is_read_keeps_to_the_budget_and_the_rest_is_there() {
        let (read, write) = std::io::pipe().unwrap();
        fd::set_nonblocking(&read).unwrap();
        let mut output = Output::new(WorkerId { index: 0, epoch: 1 }, SlotId(0), read.into());
        let mut writer = &write;
        std::io::Write::write_all(&mut writer, &[b'a'; 10_000]).unwrap();
        assert_eq!(output.read(4_000), OutputRead::More);
        assert_eq!(output.read(4_000), OutputRead::More);
        assert_eq!(output.read(4_000), OutputRead::Drained { bytes: 2_000 });
        drop(write);
        assert_eq!(output.read(0), OutputRead::More, "nothing is known without a look");
        assert_eq!(output.read(4_000), OutputRead::Ended);
    }

    #[test]
    fn last_lines_begin_with_a_character() {
        let mut output =
            Output::new(WorkerId { index: 0, epoch: 1 }, SlotId(0), fd::no_input().unwrap());
        output.wrote(&[b"a", "\u{e4}".repeat(STDERR_TAIL).as_bytes()].concat());
        output.wrote(b"!");
        assert_eq!(output.last_lines().trim_matches('\u{e4}'), "!");
        assert_eq!(output.last_lines().len(), STDERR_TAIL - 1);
    }
}
