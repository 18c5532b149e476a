//! The production master over a world that is made up from a number. The same seed gives the same
//! run to the last bit, so whatever goes wrong once in a million runs can be looked at for as long
//! as it takes: `dispatchd sim --seed N --trace`.
//!
//! Nothing of the master is faked: engine, tickets, links and loop are those that serve. Kernel,
//! processes, clients, operator and clock are the world's, which is as hostile as its laws allow.

mod backend;
mod checker;
mod digest;
mod faults;
mod host;
mod job;
mod launch;
mod lies;
mod process;
mod service;
mod shadow;
pub mod stage;
mod supervision;
mod trace;
mod verb;
mod worker;
mod workload;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use self::backend::SimBackend;
pub use self::faults::Sabotage;
use self::host::SimHost;
use self::trace::RunTrace;
use self::workload::Scenario;
use self::world::{Object, Shared, World};
use crate::engine::Engine;
use crate::engine::rng::Rng;
use crate::link::LinkKind;
use crate::master::{ListenerOrigin, Master, Opened, StartupDescriptors};
use crate::units::{ListenerId, Mono, SlotId, Span};

/// How a run is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimOptions {
    /// Keep every line of the trace, not only the last ones.
    pub trace: bool,
    /// Over which links the workers are spoken to.
    pub link: LinkKind,
    /// A bug to plant.
    pub sabotage: Option<Sabotage>,
    /// At random turns the engine is replaced by its own restored snapshot; the run must be the
    /// same with it and without.
    pub restores: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct SimReport {
    /// The seed.
    pub seed: u64,
    /// Of everything that happened, in order.
    pub hash: u64,
    /// Turns of the master.
    pub turns: u64,
    /// How long it took, by the world's own clock.
    pub took: Span,
    /// What was wrong; `None` when nothing was.
    pub verdict: Option<String>,
    /// The trace, or its last lines.
    pub trace: Vec<String>,
    /// What the run was about: the app's setup and the mix of faults.
    pub scenario: String,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What a report's counts call the most connections that were parked at once.
pub const PARKED: &str = "parked at once";

/// Turns after which a run is given up, for each thousand clients: none takes a tenth of that.
const TURNS_MAX: u64 = 200_000;

type SimMaster = Master<SimBackend, SimHost>;

/// Runs the world of a seed from its beginning to its end.
pub fn run(seed: u64, options: SimOptions) -> SimReport {
    let mut rng = Rng::new(seed);
    let scenario = Scenario::draw(&mut rng).over(options.link);
    run_in(seed, rng, scenario, options)
}

/// Runs a world of so many clients, whose connections are all parked at once; nothing is at fault.
/// What costs time for each connection is looked at now and then only.
pub fn run_crowd(seed: u64, clients: u32, options: SimOptions) -> SimReport {
    let mut rng = Rng::new(seed);
    let scenario = Scenario::crowd(&mut rng, clients);
    run_in(seed, rng, scenario, options)
}

fn run_in(seed: u64, rng: Rng, scenario: Scenario, options: SimOptions) -> SimReport {
    let described = scenario.to_string();
    let mut world = World::new(scenario, rng, RunTrace::new(options.trace));
    world.sabotage = options.sabotage;
    let world: Shared = Rc::new(RefCell::new(world));
    let (mut turns, mut parked) = (0, 0);
    // Broken invariants panic; the trace that led there is worth more than the panic.
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&world, options, &mut turns, &mut parked)));
    let mut verdict = outcome.err().map(|panic| describe(panic.as_ref()));
    let (mut hash, mut took, mut trace, mut counts) = Default::default();
    if let Ok(mut world) = world.try_borrow_mut() {
        verdict = verdict.or_else(|| world.verdict.take());
        (hash, took) = (world.trace.hash(), world.now.since(Mono::ZERO));
        (trace, counts) = (world.trace.lines(), world.trace.counts());
    }
    counts.insert(PARKED, parked);
    SimReport { seed, hash, turns, took, verdict, trace, scenario: described, counts }
}

fn live(world: &Shared, options: SimOptions, turns: &mut u64, parked: &mut u64) {
    let mut master = build(world);
    let clients = world.borrow().scenario.clients.len() as u64;
    // Each look is at every connection: it must not cost more than all the rest.
    let every = (clients / 1_000).pow(2).max(1);
    let (mut examinations, mut pokes) = appointments(&world.borrow().scenario);
    master.start();
    while master.outcome().is_none() && world.borrow().verdict.is_none() {
        *turns += 1;
        let now = world.borrow().now;
        let next = [examinations.last(), pokes.last()].into_iter().flatten().min();
        let at_most = next.map(|at| at.since(now));
        if master.turn(at_most).is_err() {
            break;
        }
        let mut world = world.borrow_mut();
        *parked = u64::from(master.engine().dispatcher().ledger().parked()).max(*parked);
        if master.outcome().is_none() && turns.is_multiple_of(every) {
            world.check_turn(master.engine());
        }
        pokes.pop_if(|at| *at <= world.now);
        if examinations.pop_if(|at| *at <= world.now).is_some() {
            world.check_recovery(master.engine());
        }
        if TURNS_MAX * every.isqrt() < *turns {
            world.fail("the run takes for ever".to_owned());
        }
        if world.rng.chance(1, 50) && options.restores && turns.is_multiple_of(every) {
            let restored = Engine::restore(master.engine().snapshot());
            *master.engine_mut() = restored;
        }
    }
    world.borrow_mut().ledger.over = true;
    if master.close().is_err() {
        world.borrow_mut().fail("the port does not come to rest".to_owned());
    }
    drop(master);
    world.borrow_mut().check_end();
}

/// When the app is examined, the last time first: after its recovery, and before its end. And
/// when the master is woken for nothing, so that it reads what workers said before the calm: a
/// master that has all it wants may leave that unread for long.
fn appointments(scenario: &Scenario) -> (Vec<Mono>, Vec<Mono>) {
    let Some(first) = scenario.examined_at else { return Default::default() };
    let examinations = vec![first.after(Span::from_ms(4_900)), first];
    (examinations, vec![scenario.calm_from.after(Span::from_s(1))])
}

fn build(world: &Shared) -> SimMaster {
    let (setup, startup) = {
        let mut world = world.borrow_mut();
        let first_speaker = world.scenario.listeners.clone();
        let listeners = (0..first_speaker.len())
            .map(|index| Opened {
                socket: world.open(Object::Listener(index)),
                listener: ListenerId(u16::try_from(index).expect("there are few listeners")),
                first_speaker: first_speaker[index],
                slot: world.listeners[index]
                    .slot
                    .map(|slot| SlotId(u16::try_from(slot).expect("there are few slots"))),
                origin: ListenerOrigin::Ours,
            })
            .collect();
        let signals = world.open(Object::Signals);
        (world.scenario.setup.clone(), StartupDescriptors { listeners, signals, control: None })
    };
    Master::new(setup, startup, SimBackend::new(Rc::clone(world)), SimHost::new(Rc::clone(world)))
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Self { seed, turns, took, hash, .. } = self;
        match &self.verdict {
            None => writeln!(f, "seed {seed}: good, {turns} turns in {took}, hash {hash:016x}"),
            Some(verdict) => {
                writeln!(f, "{}", self.scenario)?;
                writeln!(f, "seed {seed}: FAILED after {took}: {verdict}")?;
                writeln!(f, "to see it all: dispatchd sim --seed {seed} --trace")
            }
        }
    }
}
