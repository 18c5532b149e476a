//! Waiting for events: everything that a test waits for has a deadline, and says what was missing
//! when it passes. Deadlines are generous, since they cost nothing as long as nothing is wrong.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// How long anything may take that is to happen soon, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Span = Span::from_s(20);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none in time.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// Asks until there is an answer, for so long.
///
/// # Panics
/// When there is none in time.
pub(crate) fn within<T>(patience: Span, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = monotonic().after(patience);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(monotonic() < deadline, "in {patience} it did not happen that {what}");
        nap(Span::from_ms(2));
    }
}

/// What is written piece by piece, and is not waited for for ever.
pub(crate) struct Lines<R> {
    from: R,
    read: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    pub(crate) fn of(from: R) -> Self {
        let flags = OFlag::from_bits_retain(fcntl(&from, FcntlArg::F_GETFL).unwrap());
        fcntl(&from, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
        Self { from, read: Vec::new() }
    }

    /// The next line that is wanted; what comes before it is forgotten.
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(what, || {
            self.read_on();
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                if wanted(line.trim_end()) {
                    return Some(line.trim_end().to_owned());
                }
            }
            None
        })
    }

    fn read_on(&mut self) {
        let mut buffer = [0; 64 * 1024];
        match self.from.read(&mut buffer) {
            Ok(count) => self.read.extend_from_slice(&buffer[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}

/// Writes to a FIFO once somebody reads it.
pub(crate) fn write_to_fifo(path: &Path, text: &str) {
    let open = || OpenOptions::new().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let mut fifo = eventually("somebody reads", || open().ok());
    fifo.write_all(text.as_bytes()).unwrap();
}

/// Waits between two questions, or between two arrivals.
#[expect(clippy::disallowed_methods, reason = "the pace of a client; nothing relies on its length")]
pub(crate) fn nap(span: Span) {
    std::thread::sleep(std::time::Duration::from_nanos(span.as_ns()));
}
