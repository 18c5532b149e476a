//! What the master is to do, in values that are valid by construction or by [`Config::checked`]:
//! nothing behind this module asks again whether a flag makes sense. It knows no files, flags or
//! variables of a system; `cli::config` turns what the user gave into these types.

pub mod error;
pub mod listen;
pub mod placement;
pub mod policy;
pub mod words;
pub mod wrong;

use std::ffi::OsString;

use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::overload::Overload;
use crate::engine::dispatcher::policy::{Binder, Policy};
use crate::limits::LISTENERS_MAX;
use crate::units::{Cpu, RouteBy, Span};

pub use error::ConfigError;
pub use listen::{DispatchOn, ListenAddr, Listener};
pub use wrong::Wrong;

/// Everything that a user can decide about one dispatchd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Tells several dispatchds of one user apart: 1 to 64 of `a-z0-9_-`.
    pub name: String,
    /// Sockets to open, in the order given; empty only when some are inherited.
    pub listeners: Vec<Listener>,
    /// Sockets inherited through `LISTEN_FDS`; they come before [`Config::listeners`].
    pub inherited: u16,
    /// When a connection of an inherited socket is handed over.
    pub dispatch_on: DispatchOn,
    /// How many workers.
    pub workers: WorkerCount,
    /// Who gets a connection, and when.
    pub policy: Policy,
    /// What is dispatched: connections, or each of their requests.
    pub dispatch: Dispatch,
    /// What tells short requests from long ones, if short ones are to go first.
    pub classes: Option<RouteBy>,
    /// The workers' shares.
    pub weights: Weights,
    /// How the master talks to the kernel.
    pub backend: BackendChoice,
    /// Which CPUs the workers are bound to.
    pub pin: Pin,
    /// Whether idle workers stay awake for a moment.
    pub spin: Spin,
    /// What happens to a connection for which there is no room.
    pub overload: Overload,
    /// Connections that may wait in the master, 1 to `HOLD_MAX`.
    pub hold_max: u32,
    /// Time for a worker to become ready.
    pub start_timeout: Span,
    /// Time for a worker to finish what is running; zero cuts it off at once.
    pub drain_timeout: Span,
    /// Connections that wait in the kernel, per listener; none: as many as the system allows.
    pub backlog: Option<u32>,
    /// Who may connect to the unix sockets.
    pub socket_access: SocketAccess,
    /// What the workers run; none: the built-in HTTP server.
    pub program: Option<Program>,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// This configuration, if its parts go together.
    ///
    /// # Errors
    /// Weights without a policy that uses them, `reuseport` with sockets that cannot be opened
    /// once per worker, access to unix sockets where none is opened, too many listeners, or two
    /// on one address.
    pub fn checked(self) -> Result<Self, ConfigError> {
        self.check_weights()?;
        self.check_reuseport()?;
        self.check_socket_access()?;
        if self.dispatch == Dispatch::Request && !self.policy.spreads() {
            return Err(ConfigError::RequestsUnderPolicy { policy: policy::name(self.policy) });
        }
        if self.classes.is_some() && !matches!(self.policy.binder(), Binder::OnCredit(_)) {
            return Err(ConfigError::ClassesUnderPolicy { policy: policy::name(self.policy) });
        }
        let count = self.listeners.len() + usize::from(self.inherited);
        if count > LISTENERS_MAX {
            return Err(ConfigError::TooManyListeners { count });
        }
        for (index, later) in self.listeners.iter().enumerate() {
            let earlier = self.listeners.iter().take(index);
            if let Some(earlier) = earlier.into_iter().find(|one| one.addr.overlaps(&later.addr)) {
                return Err(ConfigError::ListenTwice {
                    earlier: earlier.addr.clone(),
                    later: later.addr.clone(),
                });
            }
        }
        Ok(self)
    }

    fn check_weights(&self) -> Result<(), ConfigError> {
        let weighing = match self.policy {
            Policy::Weighted | Policy::Least => true,
            Policy::RoundRobin | Policy::Jbsq(_) | Policy::Shared | Policy::Reuseport => false,
        };
        if weighing || self.weights == Weights::Equal {
            return Ok(());
        }
        let weights = words::weights_text(&self.weights);
        Err(ConfigError::WeightUnused { weights, policy: policy::name(self.policy) })
    }

    fn check_socket_access(&self) -> Result<(), ConfigError> {
        let unix = self.listeners.iter().any(|listener| listener.addr.is_unix());
        let SocketAccess { mode, user, group } = self.socket_access;
        match (unix, mode, user.or(group)) {
            (true, _, _) | (false, None, None) => Ok(()),
            (false, Some(_), _) => Err(ConfigError::NoUnixSocket { flag: "--socket-mode" }),
            (false, None, Some(_)) => Err(ConfigError::NoUnixSocket { flag: "--socket-owner" }),
        }
    }

    fn check_reuseport(&self) -> Result<(), ConfigError> {
        match self.policy {
            Policy::Reuseport => {}
            Policy::RoundRobin
            | Policy::Weighted
            | Policy::Least
            | Policy::Jbsq(_)
            | Policy::Shared => return Ok(()),
        }
        if self.inherited > 0 {
            return Err(ConfigError::ReuseportInherited { count: self.inherited });
        }
        let unix = self.listeners.iter().find(|listener| listener.addr.is_unix());
        unix.map_or(Ok(()), |listener| {
            Err(ConfigError::ReuseportUnix { addr: listener.addr.clone() })
        })
    }
}

/// Who may connect to the unix sockets; what is not said is as for any new file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SocketAccess {
    /// Permission bits, 0 to 0o777.
    pub mode: Option<u32>,
    /// The number of the user that owns them.
    pub user: Option<u32>,
    /// The number of the group that owns them.
    pub group: Option<u32>,
}

/// How many workers an app has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerCount {
    /// As many as this process has CPUs, by its mask and its quota.
    Auto,
    /// 1 to `SLOTS_MAX`.
    Exactly(u16),
}

/// The shares that workers have under a policy that weighs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Weights {
    /// All the same.
    Equal,
    /// As strong as their CPUs.
    Auto,
    /// By slot, each 1 to `WEIGHT_MAX`; slots beyond the list have 1.
    Given(Vec<u32>),
}

/// How the master is to talk to the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BackendChoice {
    /// `io_uring` if it works here, else epoll.
    Auto,
    /// `io_uring`, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// Which CPUs the workers are bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pin {
    /// One CPU of the inherited mask for each worker.
    Auto,
    /// None: the kernel moves workers about.
    None,
    /// These, one for each worker, over again when there are more workers.
    List(Vec<Cpu>),
}

/// Whether an idle worker stays awake for a moment before it sleeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spin {
    /// Where that is likely to save a wake-up, and nobody else needs the CPU.
    Auto,
    /// Never.
    Off,
}

/// The command that each worker runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// The program, looked up in `PATH` when it has no slash; never empty.
    pub path: OsString,
    /// What it is called with.
    pub args: Vec<OsString>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    /// The least important messages that are still written.
    pub level: LogLevel,
    /// Their shape.
    pub format: LogFormat,
}

/// Importance of a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    /// Nothing is logged.
    Off,
    /// Something failed.
    Error,
    /// Something will fail, or is not as it should be.
    Warn,
    /// Starts, ends, decisions.
    Info,
    /// Every worker event.
    Debug,
    /// Every connection.
    Trace,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Text with colour on a terminal, without it elsewhere.
    Auto,
    /// Lines to read.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatcher::policy::Depth;
    use crate::limits::{DRAIN_TIMEOUT, HOLD_DEFAULT, START_TIMEOUT};

    fn config(policy: Policy, weights: Weights, listen: &[&str], inherited: u16) -> Config {
        let listeners = listen
            .iter()
            .map(|given| listen::parse(given, DispatchOn::Readable, |_| None).unwrap())
            .collect();
        Config {
            name: String::from("default"),
            listeners,
            inherited,
            dispatch_on: DispatchOn::Readable,
            workers: WorkerCount::Auto,
            policy,
            weights,
            backend: BackendChoice::Auto,
            pin: Pin::Auto,
            spin: Spin::Auto,
            dispatch: Dispatch::Auto,
            classes: None,
            overload: Overload::Hold,
            hold_max: HOLD_DEFAULT,
            start_timeout: START_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            backlog: None,
            socket_access: SocketAccess::default(),
            program: None,
            log: Log { level: LogLevel::Info, format: LogFormat::Auto },
        }
    }

    fn refusal(policy: Policy, weights: Weights, listen: &[&str], inherited: u16) -> String {
        config(policy, weights, listen, inherited).checked().unwrap_err().to_string()
    }

    #[test]
    fn weights_need_a_policy_that_weighs() {
        for policy in [Policy::Weighted, Policy::Least] {
            for weights in [Weights::Equal, Weights::Auto, Weights::Given(vec![3, 1])] {
                config(policy, weights, &[":1"], 0).checked().unwrap();
            }
        }
        let jbsq = Policy::Jbsq(Depth::Fixed(2));
        assert_eq!(
            refusal(jbsq, Weights::Given(vec![3, 1]), &[":1"], 0),
            "--weight '3,1' has no effect under --policy 'jbsq:2': weights are used by wrr and \
             least; choose one of them or leave out --weight"
        );
        for policy in [Policy::RoundRobin, Policy::Shared, Policy::Reuseport] {
            refusal(policy, Weights::Auto, &[":1"], 0);
            config(policy, Weights::Equal, &[":1"], 0).checked().unwrap();
        }
    }

    #[test]
    fn reuseport_needs_sockets_of_its_own() {
        assert_eq!(
            refusal(Policy::Reuseport, Weights::Equal, &[":1", "unix:/a"], 0),
            "--policy 'reuseport' cannot serve --listen 'unix:/a': unix sockets have no \
             SO_REUSEPORT; use --policy shared, or a TCP address"
        );
        assert_eq!(
            refusal(Policy::Reuseport, Weights::Equal, &[], 2),
            "--policy 'reuseport' cannot serve the 2 sockets of LISTEN_FDS: each worker must \
             open its own; use --policy shared, or --listen without LISTEN_FDS"
        );
    }

    #[test]
    fn an_address_is_listened_on_once() {
        let of = |listen: &[&str]| refusal(Policy::Shared, Weights::Equal, listen, 0);
        assert_eq!(
            of(&["127.0.0.1:80", "[::1]:80", "127.0.0.1:80,connect"]),
            "--listen '127.0.0.1:80' is given twice; leave one out"
        );
        assert_eq!(
            of(&["127.0.0.1:80", ":80"]),
            "--listen '0.0.0.0:80' overlaps --listen '127.0.0.1:80': one of them covers the \
             other; leave one out"
        );
        assert_eq!(of(&["unix:a", "unix:a"]), "--listen 'unix:a' is given twice; leave one out");
        let apart = ["127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:80", "[::]:80", "unix:a", "unix:b"];
        config(Policy::Shared, Weights::Equal, &apart, 1).checked().unwrap();
    }

    #[test]
    fn inherited_listeners_count() {
        let text = refusal(Policy::Shared, Weights::Equal, &[":1"], 64);
        assert_eq!(text, "65 listeners, inherited ones included: at most 64 are allowed");
        config(Policy::Shared, Weights::Equal, &[":1"], 63).checked().unwrap();
    }
}
