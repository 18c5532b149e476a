//! The exit codes: scripts and service managers decide by them, so they are few and never change
//! their meaning.

use std::process::ExitCode;

/// How dispatchd ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum CliExit {
    /// 0: what was asked for is done.
    Done,
    /// 1: it failed: a port in use, a program that never became ready, a problem found by `doctor`.
    Failed,
    /// 2: the command line, a variable or the configuration is wrong; nothing was started.
    Usage,
    /// 3: no dispatchd runs under that name.
    NotRunning,
    /// 5: it took longer than allowed.
    TimedOut,
}

impl CliExit {
    /// The number that the parent process sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::TimedOut => 5,
        }
    }
}

impl From<CliExit> for ExitCode {
    fn from(exit: CliExit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_scripts_know() {
        let all = [
            CliExit::Done,
            CliExit::Failed,
            CliExit::Usage,
            CliExit::NotRunning,
            CliExit::TimedOut,
        ];
        assert_eq!(all.map(CliExit::code), [0, 1, 2, 3, 5]);
    }
}
