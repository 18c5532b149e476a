//! The open-loop generator: it sends each request of a trace at its intended time, whether or not
//! the earlier ones are answered, and counts latency from then. A generator that waits for answers
//! before it sends the next request measures its own patience.

pub mod answer;
mod runner;
mod scribe;
mod share;
pub mod target;

use std::io;
use std::os::fd::OwnedFd;
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender};
use thiserror::Error;

use self::runner::{Count, Orders, Runner};
use self::scribe::Scribe;
use self::share::Share;
use super::outcome::{Fate, Sample, TraceOutcome};
use super::quiet::{self, Machine};
use super::trace::Trace;
use crate::io::Backend;
use crate::io::probe::{self, Chosen, ProbeError, Wanted};
use crate::limits::BENCH_TIMEOUT;
use crate::sys::affinity::{self, PinError};
use crate::sys::errno::io_error;
use crate::sys::{clock, rlimit};
use crate::units::{Cpu, Errno, Mono, Span};

pub use self::target::LoadTarget;

/// How a trace is replayed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadOptions {
    /// A request that is not answered so long after it was sent is given up.
    pub timeout: Span,
    /// Threads that share the trace's connections; at least 1.
    pub threads: u32,
    /// CPUs that the threads are pinned to, in turn; empty for none.
    pub cpus: Vec<Cpu>,
    /// How the generator talks to the kernel.
    pub backend: Wanted,
    /// How it waits for the next intended time.
    pub pace: SendPace,
    /// The server's processes, whose children are found; empty to look for who listens.
    pub servers: Vec<u32>,
}

/// How the generator waits for the next intended time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SendPace {
    /// It sleeps, and is late by what waking takes, some 50 us: the CPU is left to the server.
    #[default]
    Sleep,
    /// It spins, for machines with a CPU to spare.
    Spin,
}

/// What came of a replay, and around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// A sample for each request.
    pub outcome: TraceOutcome,
    /// From when the samples' times count.
    pub start: Mono,
    /// What the machine did meanwhile.
    pub machine: Machine,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RunProgress {
    /// Requests whose fate is known.
    pub done: u64,
    /// Those of them that were not answered well.
    pub errors: u64,
    /// All requests.
    pub total: u64,
}

/// Why there was no run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The name is unknown.
    #[error("cannot find the host '{host}'")]
    Name {
        /// Which.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("cannot connect to {target} (is the server up?)")]
    Unreachable {
        /// Where.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The generator cannot be where it should.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// There is no way to the kernel.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The kernel refused a preparation.
    #[error("cannot prepare the generator: {}", io_error(*.0))]
    Prepare(Errno),
    /// The backend has failed.
    #[error("cannot wait for answers")]
    Wait(#[source] io::Error),
}

/// Sends the trace to the target, each request at its time, and waits for the answers. `observe` is
/// told about ten times a second how far it is, outside of the threads that send.
///
/// # Errors
/// Nobody can be reached before the first request, or the generator cannot work. What goes wrong
/// with a request later is that request's fate.
pub fn replay(
    trace: &Trace,
    target: &LoadTarget,
    options: &LoadOptions,
    observe: &mut dyn FnMut(RunProgress),
) -> Result<Run, LoadError> {
    let endpoint = target.resolve()?;
    // Each connection is a descriptor; where the limit cannot be raised, it shows in the fates.
    let _as_it_is = rlimit::raise_open_files();
    let shares = share::deal(trace, options.threads.max(1));
    let scribe = Scribe::new(&trace.spec.mix, target.authority());
    let servers = quiet::servers(&options.servers, &endpoint);
    let (signs, news) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut starts = Vec::new();
        for (index, share) in shares.iter().enumerate() {
            let (start, started) = crossbeam_channel::bounded(1);
            let cpus = &options.cpus;
            let station = Station {
                index,
                cpu: (!cpus.is_empty()).then(|| cpus[index % cpus.len()]),
                backend: options.backend,
                signs: signs.clone(),
                started,
            };
            let orders = Orders {
                trace,
                share,
                endpoint: &endpoint,
                scribe: scribe.clone(),
                timeout: options.timeout,
                pace: options.pace,
            };
            threads.push(scope.spawn(move || station.work(orders)));
            starts.push(start);
        }
        drop(signs);
        let watch = start(starts, &news, servers);
        follow(&news, trace.requests.len() as u64, observe);
        let (machine, start) =
            watch.map_or_else(Default::default, |(watch, start)| (watch.end(), start));
        let outcome = gather(trace, &shares, threads)?;
        Ok(Run { outcome, start, machine })
    })
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            timeout: BENCH_TIMEOUT,
            threads: 1,
            cpus: Vec::new(),
            backend: Wanted::Auto,
            pace: SendPace::Sleep,
            servers: Vec::new(),
        }
    }
}

impl LoadError {
    fn unreachable(target: String, errno: Errno) -> Self {
        Self::Unreachable { target, source: io_error(errno) }
    }
}

/// What a thread says.
enum Sign {
    /// It can begin.
    Ready,
    /// It cannot go on.
    Failed,
    /// It is so far.
    Count(usize, Count),
}

/// A thread's place before it begins.
struct Station {
    index: usize,
    cpu: Option<Cpu>,
    backend: Wanted,
    signs: Sender<Sign>,
    started: Receiver<Mono>,
}

/// From the word to the first intended time: all threads have woken by then.
const HEAD_START: Span = Span::from_ms(5);

impl Station {
    /// Prepares, waits for the word, and sends its share.
    fn work(&self, orders: Orders<'_>) -> Result<Vec<Sample>, LoadError> {
        let result = self.try_work(orders);
        if result.is_err() {
            self.say(Sign::Failed);
        }
        result
    }

    fn try_work(&self, orders: Orders<'_>) -> Result<Vec<Sample>, LoadError> {
        if let Some(cpu) = self.cpu {
            affinity::pin_current(cpu)?;
        }
        clock::set_timer_slack_ns(1).map_err(LoadError::Prepare)?;
        match probe::choose(self.backend)?.backend {
            Chosen::Uring(backend) => self.send(Runner::new(backend, orders)),
            Chosen::Epoll(backend) => self.send(Runner::new(backend, orders)),
        }
    }

    fn send<B: Backend<Fd = OwnedFd>>(
        &self,
        runner: Runner<'_, B>,
    ) -> Result<Vec<Sample>, LoadError> {
        self.say(Sign::Ready);
        // Without a word another thread has failed, and nothing is to be sent.
        let Ok(start) = self.started.recv() else { return Ok(Vec::new()) };
        runner.run(start, |count| self.say(Sign::Count(self.index, count)))
    }

    fn say(&self, sign: Sign) {
        // Whoever listens is there until all threads have ended.
        let _is_heard = self.signs.send(sign);
    }
}

/// Gives the word when all threads are ready; when one cannot be, the others end for want of it.
fn start(
    starts: Vec<Sender<Mono>>,
    news: &Receiver<Sign>,
    servers: Option<Vec<u32>>,
) -> Option<(quiet::Watch, Mono)> {
    for _ in &starts {
        match news.recv() {
            Ok(Sign::Ready | Sign::Count(..)) => {}
            Ok(Sign::Failed) | Err(_) => return None,
        }
    }
    let watch = quiet::Watch::begin(servers);
    let at = clock::monotonic().after(HEAD_START);
    for start in starts {
        start.send(at).ok()?;
    }
    Some((watch, at))
}

/// Listens until all threads have ended.
fn follow(news: &Receiver<Sign>, total: u64, observe: &mut dyn FnMut(RunProgress)) {
    let mut counts: Vec<Count> = Vec::new();
    for sign in news {
        let Sign::Count(index, count) = sign else { continue };
        if counts.len() <= index {
            counts.resize(index + 1, Count::default());
        }
        counts[index] = count;
        let (done, errors) =
            counts.iter().fold((0, 0), |sum, one| (sum.0 + one.done, sum.1 + one.errors));
        observe(RunProgress { done, errors, total });
    }
}

/// Puts the threads' samples in the order of the trace.
fn gather(
    trace: &Trace,
    shares: &[Share],
    threads: Vec<ScopedJoinHandle<'_, Result<Vec<Sample>, LoadError>>>,
) -> Result<TraceOutcome, LoadError> {
    let unsent = Sample { sent: Span::ZERO, done: Span::ZERO, worker: None, fate: Fate::Unsent };
    let mut samples = vec![unsent; trace.requests.len()];
    for (share, thread) in shares.iter().zip(threads) {
        let found = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        for (step, sample) in share.steps.iter().zip(found) {
            samples[step.request as usize] = sample;
        }
    }
    Ok(TraceOutcome { samples })
}
