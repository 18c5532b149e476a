//! What deciding costs: a pick (design section 11 allows 50 ns at 64 workers), and the engine's
//! steps for a whole connection. They run between two waits of the master, so that with the parts
//! in `exchange.rs` their sum bounds what one core can dispatch.
//!
//! `cargo bench --bench pick`

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dispatchd::engine::action::{Action, Actions};
use dispatchd::engine::capabilities::Capabilities;
use dispatchd::engine::dispatcher::Rules;
use dispatchd::engine::dispatcher::giveback::Dispatch;
use dispatchd::engine::dispatcher::overload::Overload;
use dispatchd::engine::dispatcher::policy::{Candidates, Depth, Policy, Select};
use dispatchd::engine::input::{FirstSpeaker, Input, Message, Terms};
use dispatchd::engine::supervisor::worker::Patience;
use dispatchd::engine::{Engine, Setup};
use dispatchd::limits::{HOLD_DEFAULT, STALL_TIMEOUT};
use dispatchd::units::{ListenerId, Mono, SlotId, Span, Ticket, WorkerId};

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = pick, connection_life
}
criterion_main!(benches);

/// A pick together with the news that follows every pick, its slot's new load: a selector may do
/// its work at either, and a candidates that nothing ever changes would hide it.
fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for (name, policy) in [
        ("rr", Policy::RoundRobin),
        ("wrr", Policy::Weighted),
        ("least", Policy::Least),
        ("jbsq", Policy::Jbsq(Depth::Auto)),
    ] {
        for workers in [2, 8, 64, 256] {
            let mut candidates = candidates(workers);
            let mut selector = policy.selector();
            let mut turn = 0_u32;
            group.bench_function(BenchmarkId::new(name, format!("{workers} workers")), |bencher| {
                bencher.iter(|| {
                    let slot = selector.pick(black_box(&mut candidates), None);
                    turn = turn.wrapping_add(37);
                    if let Some(slot) = slot {
                        candidates.admit(slot, turn % 64, 1);
                    }
                    slot
                });
            });
        }
    }
    group.finish();
}

/// A candidates of unequal loads and weights in which every eighth slot is barred, so that no
/// selector is done at the first slot it looks at.
fn candidates(workers: u16) -> Candidates {
    let mut candidates = Candidates::new(usize::from(workers));
    for slot in 0..workers {
        candidates.set_weight(SlotId(slot), u32::from(slot % 3) + 1);
        if slot % 8 != 7 {
            // A multiplier without a common factor spreads the loads over the slots.
            candidates.admit(
                SlotId(slot),
                1 + u32::from(slot) * 37 % 64,
                u32::from(slot) * 11 % 128,
            );
        }
    }
    candidates
}

fn connection_life(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine, a connection's life");
    for (name, policy, first_speaker) in [
        ("rr connect", Policy::RoundRobin, FirstSpeaker::Server),
        ("jbsq readable", Policy::Jbsq(Depth::Auto), FirstSpeaker::Client),
    ] {
        for workers in [2, 64] {
            let mut app = App::ready(policy, workers);
            group.bench_function(BenchmarkId::new(name, format!("{workers} workers")), |bencher| {
                bencher.iter(|| app.serve_one(first_speaker));
            });
        }
    }
    group.finish();
}

/// An engine whose workers are all ready, and the shell's part around it.
struct App {
    engine: Engine,
    out: Actions,
    ticket: Ticket,
    now_ns: u64,
}

impl App {
    fn ready(policy: Policy, workers: usize) -> Self {
        let setup = Setup {
            rules: Rules {
                policy,
                weights: vec![1; workers],
                dispatch: Dispatch::Auto,
                classes: false,
                copies_max: HOLD_DEFAULT,
                slot_cost: 0,
                hold_max: HOLD_DEFAULT,
                overload: Overload::Hold,
                stall_timeout: STALL_TIMEOUT,
            },
            capabilities: Capabilities::FULL,
            patience: Patience { start: Span::from_s(30), drain: Span::from_s(30) },
            seed: 1,
        };
        let ticket = Ticket { index: 7, generation: 1 };
        let mut app =
            Self { engine: Engine::new(setup), out: Actions::new(), ticket, now_ns: 1_000 };
        app.engine.start(Mono::from_ns(app.now_ns), &mut app.out);
        let spawned: Vec<WorkerId> = app
            .out
            .drain()
            .filter_map(|action| match action {
                Action::Spawn { worker, .. } => Some(worker),
                _ => None,
            })
            .collect();
        assert_eq!(spawned.len(), workers, "every slot is filled at once");
        for worker in spawned {
            let terms = Terms { concurrency: 1, connections_max: 1_000 };
            app.step(Input::Hello { worker, terms });
            app.out.drain().for_each(drop);
        }
        app
    }

    /// From the accept to the close, as a blocking worker would report it: a turn of the master's
    /// that ends in an offer, and one that hears of the end. Shared by nobody, they cost the most.
    fn serve_one(&mut self, first_speaker: FirstSpeaker) {
        self.ticket.generation = self.ticket.generation.wrapping_add(1);
        let ticket = self.ticket;
        self.step(Input::Arrived { ticket, listener: ListenerId(0), first_speaker });
        if first_speaker == FirstSpeaker::Client {
            self.step(Input::Readable { ticket, route: None });
        }
        self.step(Input::Tick);
        let worker = self.offered_to().expect("an idle app takes a connection at once");
        let messages =
            [Message::Claimed { transit_us: 5 }, Message::Done { service_us: 20 }, Message::Closed];
        for message in messages {
            self.step(Input::Message { worker, ticket, message });
        }
        self.step(Input::Tick);
        let retired = self.out.drain().any(
            |action| matches!(action, Action::Retire { ticket: ended, .. } if ended == ticket),
        );
        assert!(retired, "a closed connection's ticket is freed");
    }

    fn offered_to(&mut self) -> Option<WorkerId> {
        self.out.drain().find_map(|action| match action {
            Action::Offer { to, .. } => Some(to),
            _ => None,
        })
    }

    fn step(&mut self, input: Input) {
        self.now_ns += 1_000;
        self.engine.step(Mono::from_ns(self.now_ns), input, &mut self.out);
    }
}
