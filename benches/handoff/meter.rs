//! What processes have used so far, from /proc. The scheduler's own account is exact to the
//! nanosecond for a task that is not running, and on one core, while we read, no other runs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use dispatchd::sys::clock;
use dispatchd::units::Cpu;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time, kernel threads that work for it included.
    pub(crate) cpu_ns: u64,
    /// Times that it left the CPU.
    pub(crate) switches: u64,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) total_kib: u64,
    /// Its own: heap and stack.
    pub(crate) anonymous_kib: u64,
    /// The program and its libraries.
    pub(crate) file_kib: u64,
    /// The pages that it shares with its workers.
    pub(crate) shared_kib: u64,
}

/// What a CPU has done, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    busy: u64,
    all: u64,
}

/// What the process has used so far.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let mut sum = Usage::default();
    let tasks = format!("/proc/{pid}/task");
    for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
        let folder = task?.path();
        let account = read(folder.join("schedstat"))?;
        let cpu_ns = account.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
        sum.cpu_ns += cpu_ns.context("schedstat begins with a number")?;
        sum.switches += switches(&read(folder.join("status"))?);
    }
    Ok(sum)
}

/// What this process has used so far; its running thread is in no account yet.
pub(crate) fn own_usage() -> Result<Usage> {
    let switches = switches(&read(PathBuf::from("/proc/self/status"))?);
    Ok(Usage { cpu_ns: clock::thread_cpu().as_ns(), switches })
}

/// Threads of the process.
pub(crate) fn threads(pid: u32) -> Result<u64> {
    Ok(field(&read(PathBuf::from(format!("/proc/{pid}/status")))?, "Threads:"))
}

/// The memory that the process has now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = read(PathBuf::from(format!("/proc/{pid}/status")))?;
    Ok(Memory {
        total_kib: field(&status, "VmRSS:"),
        anonymous_kib: field(&status, "RssAnon:"),
        file_kib: field(&status, "RssFile:"),
        shared_kib: field(&status, "RssShmem:"),
    })
}

/// What the CPU has done so far.
pub(crate) fn ticks(cpu: Cpu) -> Result<Ticks> {
    let stat = read(PathBuf::from("/proc/stat"))?;
    let label = format!("cpu{} ", cpu.0);
    let line = stat.lines().find_map(|line| line.strip_prefix(&label)).context("no such CPU")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
    let columns: Vec<u64> =
        line.split_whitespace().take(8).filter_map(|text| text.parse().ok()).collect();
    let all = columns.iter().sum();
    let idle: u64 = columns.iter().skip(3).take(2).sum();
    Ok(Ticks { busy: all - idle, all })
}

impl Ticks {
    /// The busy part of the time since `earlier`.
    pub(crate) fn busy_since(self, earlier: Self) -> f64 {
        (self.busy - earlier.busy) as f64 / (self.all - earlier.all).max(1) as f64
    }
}

impl Usage {
    /// What was used since `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self { cpu_ns: self.cpu_ns - earlier.cpu_ns, switches: self.switches - earlier.switches }
    }
}

fn switches(status: &str) -> u64 {
    field(status, "voluntary_ctxt_switches:") + field(status, "nonvoluntary_ctxt_switches:")
}

/// The number behind a label of /proc/PID/status; 0 where the kernel does not tell.
fn field(status: &str, label: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(label));
    value.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn read(path: PathBuf) -> Result<String> {
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
