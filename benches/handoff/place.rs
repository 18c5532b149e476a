//! Where and how everything runs: on one CPU, and as batch processes. The scheduler lets a woken
//! ordinary process interrupt its waker when it sees fit; between processes on one core that turns
//! some loads into a switch per message and leaves others alone, which measures the scheduler's
//! mood. A woken batch process waits until the running one sleeps, so that batches are batches, and
//! the baseline is the cheapest that it can be.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use dispatchd::sys::{affinity, cpus};
use dispatchd::units::Cpu;

/// A scheduling class.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Class {
    /// `SCHED_BATCH`: a wake-up interrupts nobody.
    Batch,
    /// `SCHED_OTHER`: what processes usually are.
    Other,
}

/// Pins this process to the CPU, or to the last one allowed; all that it starts inherits the mask.
pub(crate) fn pin(wanted: Option<u16>) -> Result<Cpu> {
    let last = cpus::inherited_mask().last().copied().context("no CPU is allowed")?;
    let cpu = wanted.map_or(last, Cpu);
    affinity::pin_current(cpu)?;
    Ok(cpu)
}

/// Starts this program again in the class, by `chrt`, with `mark` behind its arguments; returns
/// only when that fails, or when the class is the one wanted.
pub(crate) fn change_class(wanted: Class, mark: &str) -> Result<()> {
    if class() == Some(wanted) {
        return Ok(());
    }
    let mut command = Command::new("chrt");
    command.args([wanted.flag(), "0"]).arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg(mark);
    let error = command.exec();
    Err(error).context("cannot run chrt (package util-linux): add --class other")
}

/// The class of this process; `None` if it is neither.
pub(crate) fn class() -> Option<Class> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything. Behind it the policy is the 39th field: see
    // proc_pid_stat(5), which calls it (41).
    let (_, fields) = stat.rsplit_once(") ")?;
    match fields.split_whitespace().nth(38)? {
        "0" => Some(Class::Other),
        "3" => Some(Class::Batch),
        _ => None,
    }
}

impl Class {
    /// What tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Batch => "SCHED_BATCH",
            Self::Other => "SCHED_OTHER",
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Batch => "--batch",
            Self::Other => "--other",
        }
    }
}
