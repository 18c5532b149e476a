//! The only place that prints. A reader who left (`dispatchd status | head -1`) has what it wanted,
//! so a broken pipe is success; a macro that prints would panic instead.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::cli::exit::CliExit;
use crate::master::escape;
use crate::sys::terminal::{self, Size};

/// Writes text to the standard output; a reader who is gone is no error.
///
/// # Errors
/// The output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    write(&mut io::stdout().lock(), text.as_bytes())
}

/// Whether anybody reads what is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutputReader {
    /// As far as is known.
    There,
    /// The reader has left: a broken pipe.
    Gone,
}

/// Writes a picture that takes the place of the one before: over it on a terminal, below it
/// elsewhere.
///
/// # Errors
/// The output cannot be written for another reason than that nobody reads it.
pub fn redraw(text: &str) -> io::Result<OutputReader> {
    match size() {
        Some(size) => write_on(&over_the_last(text, size)),
        None => write_on(text),
    }
}

/// Writes text to the standard output, and says whether to go on.
///
/// # Errors
/// The output cannot be written for another reason than that nobody reads it.
pub fn write_on(text: &str) -> io::Result<OutputReader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(OutputReader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(OutputReader::Gone),
        Err(error) => Err(error),
    }
}

/// Columns that text may have: 80, or as many more as `COLUMNS` or the terminal says.
pub fn columns() -> usize {
    let said = std::env::var_os("COLUMNS").and_then(|text| text.to_str()?.parse().ok());
    let seen = || size().map(|size| usize::from(size.columns));
    said.or_else(seen).unwrap_or(COLUMNS_MIN).clamp(COLUMNS_MIN, COLUMNS_MAX)
}

/// Whether the standard output is a terminal that says how large it is.
pub fn is_terminal() -> bool {
    size().is_some()
}

const COLUMNS_MIN: usize = 80;
const COLUMNS_MAX: usize = 1_000;

fn size() -> Option<Size> {
    terminal::size(io::stdout())
}

/// From the top left, with what is right of each line and below the last cleared, and no more than
/// fits.
fn over_the_last(text: &str, size: Size) -> String {
    let lines = text.lines().take(usize::from(size.rows.max(2) - 1));
    let lines: String = lines.map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// Writes one line, `dispatchd: ...`, to the standard error. That nobody can be told is nothing
/// that anybody could be told.
pub fn complain(text: &str) {
    write(&mut io::stderr().lock(), complaint(text).as_bytes()).unwrap_or_default();
}

/// The line in which something is complained of.
pub fn complaint(text: &str) -> String {
    format!("dispatchd: {}\n", escape::text(text.trim_end()))
}

/// An error with all that lies behind it: no text says what its source says.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Prints what the parser of the command line has to say: help and version to the standard
/// output, complaints to the standard error.
pub fn refuse(said: &clap::Error) -> CliExit {
    match (print_said(said), said.use_stderr()) {
        (_, true) => CliExit::Usage,
        (Ok(()), false) => CliExit::Done,
        (Err(error), false) if error.kind() == ErrorKind::BrokenPipe => CliExit::Done,
        (Err(_), false) => CliExit::Failed,
    }
}

fn print_said(said: &clap::Error) -> io::Result<()> {
    let text = without_colours(&said.render().ansi().to_string());
    let shown: String = text.lines().map(|line| escape::text(line) + "\n").collect();
    if shown.trim_end() == text.trim_end() {
        // Clap chooses the stream and, by asking whether it is a terminal, the colours.
        return said.print();
    }
    if said.use_stderr() {
        write(&mut io::stderr().lock(), shown.as_bytes())
    } else {
        print(&shown)
    }
}

/// The text without the codes of colours.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let behind = piece.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == ';');
        match behind.strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => plain.extend(["\x1b[", piece]),
        }
    }
    plain
}

/// Whether a person reads the standard error.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn write(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    match to.write_all(text).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_picture_is_drawn_over_the_last_and_no_longer_than_the_terminal() {
        let size = Size { rows: 3, columns: 80 };
        assert_eq!(over_the_last("a\nb\nc\n", size), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn only_a_broken_pipe_is_quiet() {
        write(&mut Failing(ErrorKind::BrokenPipe), b"x").unwrap();
        let error = write(&mut Failing(ErrorKind::StorageFull), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
