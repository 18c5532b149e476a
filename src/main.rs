//! The program: everything it can do is in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dispatchd::cli::run(std::env::args_os()).into()
}
