//! What is wrong with a configuration, in one line that names the flag, the value, what is
//! allowed and, where there is one, the cure. The user reads nothing else of ours.

use thiserror::Error;

use crate::config::listen::ListenAddr;
use crate::config::wrong::Wrong;
use crate::limits::LISTENERS_MAX;
use crate::units::Cpu;

/// Bytes of a wrong value that are repeated to the user; the rest is theirs to remember.
const SHOWN_MAX: usize = 120;

impl Wrong {
    /// The error about `value`, given as `name` (`--policy`, `DISPATCHD_POLICY`).
    pub fn given_as(self, name: impl Into<String>, value: &str) -> ConfigError {
        ConfigError::Value { name: name.into(), value: shown(value), wrong: self }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ConfigError {
    /// A value is not one of those allowed.
    #[error("{name} '{value}' is not valid; allowed: {}{}", .wrong.allowed, cure(.wrong))]
    Value {
        /// The flag or variable.
        name: String,
        /// What was given, printable.
        value: String,
        /// What is allowed instead.
        wrong: Wrong,
    },
    /// Weights, and a policy that ignores them.
    #[error(
        "--weight '{weights}' has no effect under --policy '{policy}': weights are used by wrr \
         and least; choose one of them or leave out --weight"
    )]
    WeightUnused {
        /// The weights.
        weights: String,
        /// The policy.
        policy: String,
    },
    /// Requests dispatched each for itself, and a policy that cannot.
    #[error(
        "--dispatch request has no use under --policy '{policy}': spread by it, requests wait \
         longer than on a connection of their own; choose jbsq or least, or leave out --dispatch"
    )]
    RequestsUnderPolicy {
        /// The policy.
        policy: String,
    },
    /// Classes, and a policy that holds nothing back.
    #[error(
        "--classes has no use under --policy '{policy}', which binds requests as they come; choose \
         jbsq, or leave out --classes"
    )]
    ClassesUnderPolicy {
        /// The policy.
        policy: String,
    },
    /// More weights than workers.
    #[error(
        "--weight names {weights} workers, and there are {workers} (--workers); give at most \
         {workers} weights or more workers"
    )]
    MoreWeights {
        /// Weights given.
        weights: usize,
        /// Workers planned.
        workers: usize,
    },
    /// `reuseport` on a unix socket.
    #[error(
        "--policy 'reuseport' cannot serve --listen '{addr}': unix sockets have no SO_REUSEPORT; \
         use --policy shared, or a TCP address"
    )]
    ReuseportUnix {
        /// The socket.
        addr: ListenAddr,
    },
    /// `reuseport` on inherited sockets.
    #[error(
        "--policy 'reuseport' cannot serve the {count} sockets of LISTEN_FDS: each worker must \
         open its own; use --policy shared, or --listen without LISTEN_FDS"
    )]
    ReuseportInherited {
        /// How many sockets were inherited.
        count: u16,
    },
    /// Access to unix sockets, and none to open.
    #[error(
        "{flag} has no effect: no --listen names a unix socket; add --listen unix:PATH, or leave \
         {flag} out"
    )]
    NoUnixSocket {
        /// The flag.
        flag: &'static str,
    },
    /// More listeners than the tables hold.
    #[error("{count} listeners, inherited ones included: at most {LISTENERS_MAX} are allowed")]
    TooManyListeners {
        /// How many there would be.
        count: usize,
    },
    /// Two listeners that cannot both be bound.
    #[error("--listen {}; leave one out", twice(.earlier, .later))]
    ListenTwice {
        /// The one given first.
        earlier: ListenAddr,
        /// The one that is too much.
        later: ListenAddr,
    },
    /// A CPU that this process may not use.
    #[error(
        "--pin names CPU {cpu}, which this process may not use; allowed: {mask} (see taskset -p, \
         or the cpuset of the container)"
    )]
    PinOutside {
        /// The CPU named.
        cpu: Cpu,
        /// The CPUs of the inherited mask, as text.
        mask: String,
    },
}

fn cure(wrong: &Wrong) -> String {
    wrong.cure.as_ref().map_or_else(String::new, |cure| format!("; {cure}"))
}

fn twice(earlier: &ListenAddr, later: &ListenAddr) -> String {
    if earlier == later {
        return format!("'{later}' is given twice");
    }
    format!("'{later}' overlaps --listen '{earlier}': one of them covers the other")
}

/// The value on one line, whatever it holds.
fn shown(value: &str) -> String {
    let escaped: String = value.chars().flat_map(char::escape_debug).collect();
    if escaped.len() <= SHOWN_MAX {
        return escaped.replace("\\'", "'").replace("\\\"", "\"");
    }
    let cut: String = escaped.chars().take(SHOWN_MAX).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_breaks_the_line() {
        let text = Wrong::new("a").or("do b").given_as("--x", "1\n2\u{1b}'").to_string();
        assert_eq!(text, "--x '1\\n2\\u{1b}'' is not valid; allowed: a; do b");
        let long = Wrong::new("a").given_as("--x", &"y".repeat(10_000)).to_string();
        assert_eq!(long.len(), "--x '...' is not valid; allowed: a".len() + SHOWN_MAX);
    }
}
