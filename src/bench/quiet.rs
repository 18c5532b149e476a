//! Whether the machine was left to the measurement: how much of its CPU time went to others, and
//! how much to the server. A neighbour that compiles makes any policy look bad, and the one that
//! was measured meanwhile the worst.

mod listeners;

use std::collections::BTreeMap;
use std::fs;

use crate::limits::BENCH_FOREIGN_RUN_MIN;
use crate::sys::cpus;
use crate::sys::socket::Endpoint;
use crate::sys::{clock, process};
use crate::units::{Cpu, Mono, Span};

/// What the machine did during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Share of the time of the allowed CPUs that went neither to the generator nor to the server,
    /// with what the hypervisor stole; none where the server's processes are unknown, or the run
    /// was too short to tell. Interrupts that wake an idle CPU are nobody's and count here: some
    /// 4 us for each request to a worker that sleeps in between.
    pub foreign_cpu: Option<f64>,
    /// CPU time of the server's processes.
    pub server_cpu: Option<Span>,
}

/// A measurement under way.
#[derive(Clone, Debug)]
pub struct Watch {
    cpus: Vec<Cpu>,
    /// The server's first processes, whose children are found anew each time.
    servers: Option<Vec<u32>>,
    start: CpuReading,
}

/// The processes that serve an endpoint: those given, or those that listen there. None where they
/// cannot be found: on another machine, or those of another user.
pub fn servers(given: &[u32], endpoint: &Endpoint) -> Option<Vec<u32>> {
    if given.is_empty() {
        return Some(listeners::of(endpoint)).filter(|found| !found.is_empty());
    }
    Some(given.to_vec())
}

impl Watch {
    /// Begins; `servers` as [`servers`] has them.
    pub fn begin(servers: Option<Vec<u32>>) -> Self {
        let cpus = cpus::inherited_mask();
        let start = CpuReading::take(&cpus, servers.as_deref());
        Self { cpus, servers, start }
    }

    /// Ends, and says what happened since.
    pub fn end(self) -> Machine {
        let end = CpuReading::take(&self.cpus, self.servers.as_deref());
        end.since(&self.start, self.cpus.len())
    }
}

/// All that is counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct CpuReading {
    at: Mono,
    /// Of the allowed CPUs together; none where the kernel does not tell.
    idle: Option<Idle>,
    own: Span,
    /// None where one of the processes cannot be read.
    server: Option<ProcessFamily>,
}

/// What CPUs did not do, and what was taken from them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Idle {
    idle: Span,
    stolen: Span,
}

/// CPU time of processes and their descendants.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct ProcessFamily {
    alive: BTreeMap<u32, Span>,
    /// Time of the children that were waited for.
    reaped: Span,
}

/// What a line of `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stat {
    parent: u32,
    reaped: Span,
}

/// The kernel's clock tick as programs see it; 100 a second wherever Rust runs on Linux.
const TICK: Span = Span::from_ms(10);

impl CpuReading {
    fn take(cpus: &[Cpu], servers: Option<&[u32]>) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            at: clock::monotonic(),
            idle: idle_of(&stat, cpus),
            own: clock::process_cpu(std::process::id()).unwrap_or_default(),
            server: servers.and_then(ProcessFamily::of),
        }
    }

    fn since(&self, start: &Self, cpus: usize) -> Machine {
        let less = |end: Span, start: Span| end.as_ns().saturating_sub(start.as_ns()) as f64;
        let server = self.server.as_ref().zip(start.server.as_ref());
        let server_cpu = server.map(|(end, start)| end.since(start));
        let run = self.at.since(start.at);
        let whole = run.as_ns() as f64 * cpus as f64;
        let foreign = |(after, before): (Idle, Idle)| {
            let busy = whole - less(after.idle, before.idle);
            let ours = less(self.own, start.own) + server_cpu?.as_ns() as f64;
            // What is stolen while one of ours runs is in its account on some machines.
            let stolen = less(after.stolen, before.stolen);
            let told = BENCH_FOREIGN_RUN_MIN <= run && 0 < cpus;
            told.then(|| ((busy - ours).max(stolen) / whole).clamp(0.0, 1.0))
        };
        Machine { foreign_cpu: self.idle.zip(start.idle).and_then(foreign), server_cpu }
    }
}

impl ProcessFamily {
    /// The processes and all that descend from them.
    fn of(roots: &[u32]) -> Option<Self> {
        let stats: BTreeMap<u32, Stat> = process::all()
            .into_iter()
            .filter_map(|pid| {
                let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some((pid, parse_stat(&text)?))
            })
            .collect();
        let mut family = Self::default();
        let mut waiting = roots.to_vec();
        while let Some(pid) = waiting.pop() {
            let (Some(stat), Ok(used)) = (stats.get(&pid), clock::process_cpu(pid)) else {
                // A child may be gone in between, a root may not.
                if roots.contains(&pid) {
                    return None;
                }
                continue;
            };
            if family.alive.insert(pid, used).is_none() {
                family.reaped = Span::from_ns(family.reaped.as_ns() + stat.reaped.as_ns());
                let children = stats.iter().filter(|(_, child)| child.parent == pid);
                waiting.extend(children.map(|(child, _)| *child));
            }
        }
        Some(family)
    }

    /// What was used since `start`. Those who have ended meanwhile are in the time of the reaped,
    /// with what they had used before.
    fn since(&self, start: &Self) -> Span {
        let used: u64 = self
            .alive
            .iter()
            .map(|(pid, used)| used.as_ns() - start.alive.get(pid).map_or(0, |used| used.as_ns()))
            .sum();
        let gone = start.alive.iter().filter(|(pid, _)| !self.alive.contains_key(pid));
        let before: u64 = gone.map(|(_, used)| used.as_ns()).sum();
        let reaped = self.reaped.as_ns().saturating_sub(start.reaped.as_ns());
        Span::from_ns(used + reaped.saturating_sub(before))
    }
}

/// The idle and the stolen time of CPUs, from `/proc/stat`.
fn idle_of(stat: &str, cpus: &[Cpu]) -> Option<Idle> {
    let mut sum = Idle::default();
    for cpu in cpus {
        let label = format!("cpu{} ", cpu.0);
        let line = stat.lines().find_map(|line| line.strip_prefix(&label))?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let ticks: Vec<u64> = line.split_whitespace().map_while(|text| text.parse().ok()).collect();
        let &[_, _, _, idle, waiting, _, _, stolen, ..] = ticks.as_slice() else { return None };
        let add = |span: Span, ticks| Span::from_ns(span.as_ns() + TICK.times(ticks).as_ns());
        sum = Idle { idle: add(sum.idle, idle + waiting), stolen: add(sum.stolen, stolen) };
    }
    Some(sum)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name stands in parentheses and may hold anything, parentheses included.
    let (_, behind) = text.rsplit_once(')')?;
    let words: Vec<&str> = behind.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let reaped = TICK.times(number(13)? + number(14)?);
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, reaped })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const STAT: &str = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 40 5 6 7 8 0 0\n\
                        cpu1 1 0 0 100 0 0 0 2 0 0\nintr 1 2\n";

    #[test]
    fn the_allowed_cpus_alone_count() {
        let sum = |idle, stolen| Some(Idle { idle: TICK.times(idle), stolen: TICK.times(stolen) });
        assert_eq!(idle_of(STAT, &[Cpu(0)]), sum(45, 8));
        assert_eq!(idle_of(STAT, &[Cpu(0), Cpu(1)]), sum(145, 10));
        assert_eq!(idle_of(STAT, &[Cpu(2)]), None);
        assert_eq!(idle_of("cpu0 1 2 3 4\n", &[Cpu(0)]), None);
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 9\n";
        assert_eq!(parse_stat(text), Some(Stat { parent: 3, reaped: TICK.times(150) }));
        assert_eq!(parse_stat("7 (a) S 3"), None);
    }

    fn reading(
        at_s: u64,
        idle_s: u64,
        stolen_s: u64,
        own_s: u64,
        server: Option<u64>,
    ) -> CpuReading {
        let family = |s| ProcessFamily { alive: [(7, Span::from_s(s))].into(), reaped: Span::ZERO };
        CpuReading {
            at: Mono::from_ns(Span::from_s(at_s).as_ns()),
            idle: Some(Idle { idle: Span::from_s(idle_s), stolen: Span::from_s(stolen_s) }),
            own: Span::from_s(own_s),
            server: server.map(family),
        }
    }

    #[test]
    fn what_nobody_of_ours_used_is_foreign() {
        let start = reading(100, 50, 5, 3, Some(8));
        for (end, foreign) in [
            // Ten seconds of two CPUs: 12 idle, 3 the generator's, 4 the server's, 1 left.
            (reading(110, 62, 5, 6, Some(12)), Some(0.05)),
            (reading(110, 63, 5, 6, Some(12)), Some(0.0)),
            // More ours than busy: the kernel rounds.
            (reading(110, 70, 5, 6, Some(12)), Some(0.0)),
            // Stolen time is foreign wherever it was counted.
            (reading(110, 63, 7, 6, Some(12)), Some(0.1)),
            (reading(110, 62, 5, 6, None), None),
        ] {
            let machine = end.since(&start, 2);
            assert_eq!(machine.foreign_cpu, foreign);
            assert_eq!(machine.server_cpu, foreign.map(|_| Span::from_s(4)));
        }
        assert_eq!(reading(100, 50, 5, 3, Some(8)).since(&start, 2).foreign_cpu, None);
    }

    #[test]
    fn children_that_end_are_counted_once() {
        let family = |alive: &[(u32, u64)], reaped| ProcessFamily {
            alive: alive.iter().map(|(pid, s)| (*pid, Span::from_s(*s))).collect(),
            reaped: Span::from_s(reaped),
        };
        let start = family(&[(1, 10), (2, 20)], 5);
        for (end, used) in [
            (family(&[(1, 11), (2, 22)], 5), 3),
            (family(&[(1, 11), (2, 22), (3, 4)], 5), 7),
            // The second ends with 21 s and is waited for: one of them is new.
            (family(&[(1, 11)], 26), 2),
            (family(&[(1, 11)], 5), 1),
        ] {
            assert_eq!(end.since(&start), Span::from_s(used));
        }
    }

    #[test]
    fn a_child_belongs_to_its_parent() {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let family = ProcessFamily::of(&[std::process::id()]).unwrap();
        assert!(family.alive.contains_key(&child.id()));
        assert!(ProcessFamily::of(&[child.id()]).unwrap().alive.len() == 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ProcessFamily::of(&[child.id()]), None);
        let machine = Watch::begin(Some(vec![std::process::id()])).end();
        assert!(machine.server_cpu.is_some() && machine.foreign_cpu.is_none(), "{machine:?}");
    }
}
