//! The only place that prints. A reader who left (`dispatchd status | head -1`) has what it wanted,
//! so a broken pipe is success; a macro that prints would panic instead.

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::cli::exit::Exit;
use crate::master::plain;

/// Writes text to the standard output; a reader who is gone is no error.
///
/// # Errors
/// The output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    write(&mut io::stdout().lock(), text.as_bytes())
}

/// Writes one line, `dispatchd: ...`, to the standard error. That nobody can be told is nothing
/// that anybody could be told.
pub fn complain(text: &str) {
    write(&mut io::stderr().lock(), complaint(text).as_bytes()).unwrap_or_default();
}

/// The line in which something is complained of.
pub fn complaint(text: &str) -> String {
    format!("dispatchd: {}\n", plain::text(text.trim_end()))
}

/// An error with all that lies behind it: no text says what its source says.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Prints what the parser of the command line has to say: help and version to the standard
/// output, complaints to the standard error.
pub fn refuse(said: &clap::Error) -> Exit {
    match (print_said(said), said.use_stderr()) {
        (_, true) => Exit::Usage,
        (Ok(()), false) => Exit::Done,
        (Err(error), false) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        (Err(_), false) => Exit::Failed,
    }
}

fn print_said(said: &clap::Error) -> io::Result<()> {
    let text = without_colours(&said.render().ansi().to_string());
    let shown: String = text.lines().map(|line| plain::text(line) + "\n").collect();
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
    fn only_a_broken_pipe_is_quiet() {
        write(&mut Failing(ErrorKind::BrokenPipe), b"x").unwrap();
        let error = write(&mut Failing(ErrorKind::StorageFull), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
