//! What is compared, under which loads, and what design section 11 asks of each.

use super::client::Load;

/// One way to run dispatchd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// `--backend`.
    pub(crate) backend: &'static str,
    /// `--policy`.
    pub(crate) policy: &'static str,
    /// `--dispatch-on`.
    pub(crate) dispatch_on: &'static str,
    /// The program behind it.
    pub(crate) worker: Program,
}

/// The worker program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    /// The SDK's blocking worker: concurrency 1.
    OneByOne,
    /// Concurrency 64: up to sixteen offers travel together, whatever the policy.
    Batches,
}

/// A load, and how much of it makes a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// The measured connections.
    pub(crate) load: Load,
}

/// The most that a figure may be.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Goal {
    /// To be reached.
    pub(crate) target: f64,
    /// To be proud of.
    pub(crate) stretch: f64,
}

/// Every variant, in the order in which a round runs them.
pub(crate) const VARIANTS: [Variant; 8] = [
    Variant::new("uring", "rr", "connect", Program::OneByOne),
    Variant::new("uring", "jbsq", "readable", Program::OneByOne),
    Variant::new("epoll", "rr", "connect", Program::OneByOne),
    Variant::new("epoll", "jbsq", "readable", Program::OneByOne),
    Variant::new("uring", "rr", "connect", Program::Batches),
    Variant::new("uring", "jbsq", "readable", Program::Batches),
    Variant::new("epoll", "rr", "connect", Program::Batches),
    Variant::new("epoll", "jbsq", "readable", Program::Batches),
];

/// Many in flight, so that wakes and system calls are shared; two, by which io-uring.md section 3.3
/// measured low concurrency; and one, so that nothing is shared.
pub(crate) const MODES: [Mode; 3] = [
    Mode { name: "batched, 32 in flight", load: Load { connections: 20_000, window: 32 } },
    Mode { name: "two in flight", load: Load { connections: 10_000, window: 2 } },
    Mode { name: "one at a time", load: Load { connections: 10_000, window: 1 } },
];

/// Resident memory of an idle master, in KiB.
pub(crate) const MEMORY_KIB: Goal = Goal { target: 8192.0, stretch: 8192.0 };

impl Variant {
    const fn new(
        backend: &'static str,
        policy: &'static str,
        dispatch_on: &'static str,
        worker: Program,
    ) -> Self {
        Self { backend, policy, dispatch_on, worker }
    }

    /// What the table calls it.
    pub(crate) fn name(self) -> String {
        let worker = match self.worker {
            Program::OneByOne => "",
            Program::Batches => " batches",
        };
        format!("{} {} {}{worker}", self.backend, self.policy, self.dispatch_on)
    }

    /// The most that its total CPU may be, in baselines.
    pub(crate) fn ratio_goal(self, mode: Mode) -> Goal {
        let few = mode.load.window <= 2;
        let (target, stretch) = match (self.backend, self.policy, few) {
            ("uring", "rr", false) => (1.10, 1.08),
            ("uring", "rr", true) => (1.23, 1.20),
            ("uring", _, false) => (1.14, 1.10),
            ("uring", _, true) => (1.28, 1.23),
            (_, _, false) => (1.16, 1.12),
            (_, _, true) => (1.28, 1.22),
        };
        Goal { target, stretch }
    }

    /// The most system calls that its master may make per connection. An epoll master needs several
    /// by its nature; nothing is asked of it.
    pub(crate) fn syscall_goal(self, mode: Mode) -> Option<Goal> {
        match (self.backend, mode.load.window) {
            ("uring", ..=2) => Some(Goal { target: 1.0, stretch: 1.0 }),
            ("uring", _) => Some(Goal { target: 0.15, stretch: 0.12 }),
            _ => None,
        }
    }
}

impl Mode {
    /// The same with as many connections as a trial or a warm-up takes.
    pub(crate) const fn shortened(self, divisor: u32) -> Self {
        let connections = self.load.connections / divisor;
        Self { load: Load { connections, ..self.load }, ..self }
    }
}

impl Goal {
    /// How a figure stands to it.
    pub(crate) fn verdict(self, figure: f64) -> &'static str {
        if figure <= self.stretch {
            "stretch met"
        } else if figure <= self.target {
            "met"
        } else {
            "MISSED"
        }
    }
}
