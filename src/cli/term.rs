//! The only place that prints. A reader who left (`dispatchd status | head -1`) has what it wanted,
//! so a broken pipe is success; a macro that prints would panic instead.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::cli::exit::Exit;

/// Writes text to the standard output; a reader who is gone is no error.
///
/// # Errors
/// The output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    write(&mut io::stdout().lock(), text)
}

/// Writes one line, `dispatchd: ...`, to the standard error. That nobody can be told is nothing
/// that anybody could be told.
pub fn complain(text: &str) {
    let line = format!("dispatchd: {}\n", text.trim_end());
    write(&mut io::stderr().lock(), &line).unwrap_or_default();
}

/// Prints what the parser of the command line has to say: help and version to the standard
/// output, complaints to the standard error.
pub fn refuse(said: &clap::Error) -> Exit {
    // Clap chooses the stream and, by asking whether it is a terminal, the colours.
    match (said.print(), said.use_stderr()) {
        (_, true) => Exit::Usage,
        (Ok(()), false) => Exit::Done,
        (Err(error), false) if error.kind() == ErrorKind::BrokenPipe => Exit::Done,
        (Err(_), false) => Exit::Failed,
    }
}

/// Whether a person reads the standard error.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
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
        write(&mut Failing(ErrorKind::BrokenPipe), "x").unwrap();
        let error = write(&mut Failing(ErrorKind::StorageFull), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
