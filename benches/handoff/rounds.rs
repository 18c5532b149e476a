//! The run: every contestant in every round under both loads, each measured against the baseline of
//! its own round, so that what changes on the machine meanwhile changes both.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dispatchd::sys::clock;
use dispatchd::units::{Cpu, Span};

use super::client;
use super::contestant::Contestant;
use super::meter::{self, Memory, Usage};
use super::variant::{MODES, Mode, VARIANTS, Variant};

/// Time for the servers to finish with the last connections before their accounts are read.
const SETTLE: Span = Span::from_ms(2);
/// The part of a round's connections that warms up.
const WARM_UP: u32 = 5;

/// How much is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    rounds: u32,
    /// What the numbers of connections are divided by.
    divisor: u32,
}

/// What one contestant used for one mode of one round, per connection.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Sample {
    /// Total CPU in baselines of the same round.
    pub(crate) ratio: f64,
    /// By the clock.
    pub(crate) per_second: f64,
    /// CPU of client, master and worker together.
    pub(crate) total_us: f64,
    /// CPU of the client.
    pub(crate) client_us: f64,
    /// CPU of the master.
    pub(crate) master_us: f64,
    /// CPU of the worker.
    pub(crate) worker_us: f64,
    /// Times that any of the three left the CPU.
    pub(crate) switches: f64,
    /// The part of the wall time that is in `total_us`; the rest was idle or somebody else's.
    pub(crate) accounted: f64,
}

/// One line of the table: a contestant under a load.
#[derive(Debug)]
pub(crate) struct Row {
    /// What runs; `None` is the baseline.
    pub(crate) variant: Option<Variant>,
    /// Under which load.
    pub(crate) mode: Mode,
    /// One per round.
    pub(crate) samples: Vec<Sample>,
    /// System calls of the master per connection, where perf could count them.
    pub(crate) syscalls: Option<f64>,
}

/// The memory of an idle master, before its first connection and after its last.
#[derive(Debug)]
pub(crate) struct Resident {
    /// Whose.
    pub(crate) variant: Variant,
    /// Just ready.
    pub(crate) fresh: Memory,
    /// After the run.
    pub(crate) used: Memory,
}

/// All that a run found.
#[derive(Debug)]
pub(crate) struct Results {
    /// Where it ran.
    pub(crate) cpu: Cpu,
    /// Rounds.
    pub(crate) rounds: u32,
    /// By mode, then by contestant, the baseline first.
    pub(crate) rows: Vec<Row>,
    /// By contestant.
    pub(crate) residents: Vec<Resident>,
    /// CPU of the core that went to strangers during the rounds, as a part of the time.
    pub(crate) foreign: f64,
    /// Variants that did not start, and why.
    pub(crate) left_out: Vec<String>,
}

/// A contestant, and what it had before the first connection.
struct Entrant {
    variant: Option<Variant>,
    contestant: Contestant,
    fresh: Option<Memory>,
}

/// What was used for some connections.
struct Cost {
    wall_ns: u64,
    client: Usage,
    master: Usage,
    worker: Usage,
}

impl Plan {
    /// So many rounds; for a trial, few and short ones.
    pub(crate) const fn new(rounds: u32, quick: bool) -> Self {
        if quick { Self { rounds: 2, divisor: 20 } } else { Self { rounds, divisor: 1 } }
    }
}

/// Runs all of it on this CPU.
pub(crate) fn run(plan: &Plan, cpu: Cpu) -> Result<Results> {
    let mut left_out = Vec::new();
    let entrants = enter(cpu, &mut left_out)?;
    let modes = MODES.map(|mode| mode.shortened(plan.divisor));
    let mut rows = empty_rows(&entrants, &modes);
    for mode in modes {
        for entrant in &entrants {
            client::run(entrant.contestant.address, mode.shortened(WARM_UP).load)?;
        }
    }
    let foreign = foreign_during(cpu, &entrants, || {
        (0..plan.rounds).try_for_each(|_| round(&entrants, &modes, &mut rows))
    })?;
    count_syscalls(&entrants, &mut rows);
    let residents = residents(&entrants)?;
    Ok(Results { cpu, rounds: plan.rounds, rows, residents, foreign, left_out })
}

/// Starts the baseline and every variant that this machine can run.
fn enter(cpu: Cpu, left_out: &mut Vec<String>) -> Result<Vec<Entrant>> {
    let baseline = Contestant::self_accepting().context("cannot start the baseline")?;
    let mut entrants = vec![Entrant { variant: None, contestant: baseline, fresh: None }];
    for variant in VARIANTS {
        match Contestant::dispatchd(variant, cpu) {
            Ok(contestant) => {
                let fresh = contestant.master.map(meter::memory).transpose()?;
                entrants.push(Entrant { variant: Some(variant), contestant, fresh });
            }
            Err(error) => left_out.push(format!("{}: {error:#}", variant.name())),
        }
    }
    Ok(entrants)
}

fn empty_rows(entrants: &[Entrant], modes: &[Mode]) -> Vec<Row> {
    let lines = modes.iter().flat_map(|mode| entrants.iter().map(move |entrant| (mode, entrant)));
    lines
        .map(|(mode, entrant)| Row {
            variant: entrant.variant,
            mode: *mode,
            samples: Vec::new(),
            syscalls: None,
        })
        .collect()
}

/// One round: the rows in their order, so that each mode begins with its baseline.
fn round(entrants: &[Entrant], modes: &[Mode], rows: &mut [Row]) -> Result<()> {
    for (mode, rows) in modes.iter().zip(rows.chunks_mut(entrants.len())) {
        let mut baseline_ns = None;
        for (entrant, row) in entrants.iter().zip(rows) {
            let cost = measure(&entrant.contestant, *mode)
                .with_context(|| format!("{}, {}", row.name(), mode.name))?;
            let baseline_ns = *baseline_ns.get_or_insert_with(|| cost.total_ns());
            row.samples.push(cost.sample(mode.load.connections, baseline_ns));
        }
    }
    Ok(())
}

/// Runs the mode's connections and reads all accounts around them.
fn measure(contestant: &Contestant, mode: Mode) -> Result<Cost> {
    let read_master = || contestant.master.map_or(Ok(Usage::default()), meter::usage);
    let (master, worker) = (read_master()?, meter::usage(contestant.worker)?);
    let client = meter::own_usage()?;
    let start = clock::monotonic();
    client::run(contestant.address, mode.load)?;
    let wall_ns = clock::monotonic().since(start).as_ns();
    let client = meter::own_usage()?.since(client);
    clock::sleep(SETTLE);
    if let Some(master) = contestant.master {
        ensure!(meter::threads(master)? == 1, "the master has grown threads");
    }
    Ok(Cost {
        wall_ns,
        client,
        master: read_master()?.since(master),
        worker: meter::usage(contestant.worker)?.since(worker),
    })
}

/// The part of the core's time that went to none of our processes while `work` ran.
fn foreign_during(
    cpu: Cpu,
    entrants: &[Entrant],
    work: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let ours = || -> Result<u64> {
        let pids = entrants.iter().flat_map(|entrant| entrant.contestant.pids());
        let others: u64 = pids.map(|pid| Ok(meter::usage(pid)?.cpu_ns)).sum::<Result<u64>>()?;
        Ok(others + clock::thread_cpu().as_ns())
    };
    let (ours_before, ticks, start) = (ours()?, meter::ticks(cpu)?, clock::monotonic());
    work()?;
    let wall_ns = clock::monotonic().since(start).as_ns();
    let busy = meter::ticks(cpu)?.busy_since(ticks);
    Ok((busy - (ours()? - ours_before) as f64 / wall_ns as f64).max(0.0))
}

/// Counts what the masters ask of the kernel, in a run of its own: counting costs time.
fn count_syscalls(entrants: &[Entrant], rows: &mut [Row]) {
    for (index, row) in rows.iter_mut().enumerate() {
        let contestant = &entrants[index % entrants.len()].contestant;
        row.syscalls = contestant.master.and_then(|master| {
            let calls = perf_count(master, contestant, row.mode)?;
            Some(calls as f64 / f64::from(row.mode.load.connections))
        });
    }
}

/// System calls of a process while the client runs once more; `None` where perf does not work.
fn perf_count(pid: u32, contestant: &Contestant, mode: Mode) -> Option<u64> {
    let report = tempfile::NamedTempFile::new().ok()?;
    let counted = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "-o"])
        .arg(report.path())
        .arg("--")
        .arg(std::env::current_exe().ok()?)
        .args(["client", &contestant.address.to_string()])
        .args([mode.load.connections.to_string(), mode.load.window.to_string()])
        .output()
        .ok()?;
    let text = std::fs::read_to_string(report.path()).ok()?;
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    let count = line.split(',').next()?.parse().ok()?;
    counted.status.success().then_some(count)
}

fn residents(entrants: &[Entrant]) -> Result<Vec<Resident>> {
    let mut found = Vec::new();
    for entrant in entrants {
        if let (Some(variant), Some(fresh), Some(master)) =
            (entrant.variant, entrant.fresh, entrant.contestant.master)
        {
            found.push(Resident { variant, fresh, used: meter::memory(master)? });
        }
    }
    Ok(found)
}

impl Row {
    /// What the table calls it.
    pub(crate) fn name(&self) -> String {
        self.variant.map_or_else(|| String::from("accepts for itself"), Variant::name)
    }
}

impl Cost {
    const fn total_ns(&self) -> u64 {
        self.client.cpu_ns + self.master.cpu_ns + self.worker.cpu_ns
    }

    fn sample(&self, connections: u32, baseline_ns: u64) -> Sample {
        let connections = f64::from(connections);
        let us = |ns: u64| ns as f64 / 1000.0 / connections;
        let switches = self.client.switches + self.master.switches + self.worker.switches;
        Sample {
            ratio: self.total_ns() as f64 / baseline_ns as f64,
            per_second: connections / (self.wall_ns as f64 / 1e9),
            total_us: us(self.total_ns()),
            client_us: us(self.client.cpu_ns),
            master_us: us(self.master.cpu_ns),
            worker_us: us(self.worker.cpu_ns),
            switches: switches as f64 / connections,
            accounted: self.total_ns() as f64 / self.wall_ns as f64,
        }
    }
}
