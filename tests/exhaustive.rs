//! Everything that can happen, in every order, as far as that can be counted: all sequences of
//! seven cues for one worker's life, and all sequences of a few inputs for the whole engine.

use std::collections::{BTreeMap, BTreeSet};

use dispatchd::engine::action::{Action, Actions};
use dispatchd::engine::capabilities::Capabilities;
use dispatchd::engine::dispatcher::Rules;
use dispatchd::engine::dispatcher::giveback::Dispatch;
use dispatchd::engine::dispatcher::ledger::Place;
use dispatchd::engine::dispatcher::overload::Overload;
use dispatchd::engine::dispatcher::policy::{Depth, Policy};
use dispatchd::engine::input::{Command, Exit, FirstSpeaker, Input, Message, OfferRefusal, Terms};
use dispatchd::engine::supervisor::worker::{Cue, Effect, Patience, WorkerState};
use dispatchd::engine::{Engine, Setup};
use dispatchd::limits::KILL_TIMEOUT;
use dispatchd::units::{ListenerId, Mono, Span, Ticket, WorkerId};

const PATIENCE: Patience = Patience { start: Span::from_s(1), drain: Span::from_s(1) };

const CUES: [Cue; 7] =
    [Cue::Executed, Cue::Hello, Cue::Drain, Cue::Terminate, Cue::Kill, Cue::Overdue, Cue::Exited];

/// What a life has been so far, counted apart from the state machine.
#[derive(Clone, Copy, Default)]
struct Life {
    process: bool,
    employed: bool,
    told_to_go: bool,
    killed: bool,
    /// It could not be killed, and is none of ours any more.
    left_behind: bool,
    unreleased: bool,
}

#[test]
fn every_life_of_seven_cues_is_a_lawful_one() {
    let state = WorkerState::launching(Mono::ZERO, PATIENCE);
    let lives = live_on(state, Life { process: true, ..Life::default() }, Mono::ZERO, 7);
    assert_eq!(lives, 7_u64.pow(7), "some sequence was left out");
}

/// Goes through all sequences of so many further cues; how many there were.
fn live_on(state: WorkerState, life: Life, now: Mono, left: u32) -> u64 {
    check_state(state, life, now);
    if left == 0 {
        return 1;
    }
    let later = now.after(Span::from_ms(300));
    let follow = |cue| {
        let (next, life) = check_cue(state, life, cue, now);
        live_on(next, life, later, left - 1)
    };
    CUES.into_iter().map(follow).sum()
}

fn check_state(state: WorkerState, life: Life, now: Mono) {
    let alive = match state {
        WorkerState::Reclaiming => false,
        WorkerState::Launching { .. }
        | WorkerState::Starting { .. }
        | WorkerState::Ready
        | WorkerState::Draining { .. }
        | WorkerState::Terminating { .. }
        | WorkerState::Killing { .. } => true,
    };
    assert_eq!(alive, life.process, "{state:?} is wrong about its process");
    assert_eq!(matches!(state, WorkerState::Reclaiming), life.unreleased);
    let killing = matches!(state, WorkerState::Killing { .. });
    assert_eq!(killing, alive && life.killed, "a kill is for good");
    if state.deadline().is_some() {
        let (next, _) = state.on(Cue::Overdue, now, PATIENCE).expect("a deadline is kept");
        assert_ne!(next, state, "the deadline leads nowhere");
    }
    if alive {
        let end = state.on(Cue::Exited, now, PATIENCE);
        let reclaiming = WorkerState::Reclaiming;
        assert_eq!(end, Some((reclaiming, Effect::Recall)), "a death is never missed");
        let kill = state.on(Cue::Kill, now, PATIENCE);
        let until = now.after(KILL_TIMEOUT);
        let expected = (!life.killed).then_some((WorkerState::Killing { until }, Effect::SendKill));
        assert_eq!(kill, expected);
    }
}

fn check_cue(state: WorkerState, life: Life, cue: Cue, now: Mono) -> (WorkerState, Life) {
    let Some((next, effect)) = state.on(cue, now, PATIENCE) else { return (state, life) };
    let same = next.deadline() == state.deadline();
    assert!(same || next.deadline().is_none_or(|until| now < until), "{next:?} is overdue at once");
    let mut then = life;
    match effect {
        Effect::Nothing => {
            assert_eq!(cue, Cue::Executed, "it has an effect");
            assert!(life.process && !life.employed && !life.told_to_go, "executed twice, or late");
        }
        Effect::Employ => {
            assert!(!life.employed && !life.told_to_go, "employed twice, or on the way out");
            then.employed = true;
        }
        Effect::TellDrain => {
            assert!(life.employed && !life.told_to_go);
            then.told_to_go = true;
        }
        Effect::SendTerm => {
            assert!(!life.killed, "SIGTERM after SIGKILL");
            then.told_to_go = true;
        }
        Effect::SendKill => {
            assert!(!life.killed, "killed twice");
            (then.told_to_go, then.killed) = (true, true);
        }
        Effect::Recall => {
            assert!(life.process, "what never lived has nothing to give back");
            then.left_behind = cue == Cue::Overdue;
            assert!(!then.left_behind || life.killed, "left behind alive, and not killed");
            (then.process, then.unreleased) = (false, true);
        }
    }
    (next, then)
}

const TICKETS: [Ticket; 2] =
    [Ticket { index: 0, generation: 1 }, Ticket { index: 1, generation: 1 }];

const WORDS: [Message; 8] = [
    Message::Closed,
    Message::Claimed { transit_us: 5 },
    Message::Done { service_us: 9 },
    Message::Waiting,
    Message::Idle { service_us: 9 },
    Message::Resumed,
    Message::Pinned,
    Message::Missed,
];

/// The engine, and what the shell's side of the contract allows next.
#[derive(Clone)]
struct Shell {
    engine: Engine,
    now: Mono,
    /// Tickets that have been used: the shell gives none out twice.
    used: BTreeSet<Ticket>,
    /// Recalls that are not answered.
    recalls: BTreeSet<Ticket>,
    /// What was taken back from whom, and has not been missed.
    missable: BTreeSet<(WorkerId, Ticket)>,
    running: BTreeSet<WorkerId>,
    /// Those of them that were sent SIGKILL, and when.
    killed: BTreeMap<WorkerId, Mono>,
    sweeping: bool,
}

#[test]
fn every_short_story_of_the_engine_keeps_its_laws_at_once_bound() {
    tell(Policy::RoundRobin, 1);
}

#[test]
fn every_short_story_of_the_engine_keeps_its_laws_on_credit() {
    tell(Policy::Jbsq(Depth::Fixed(1)), 1);
}

#[test]
fn every_short_story_of_the_engine_keeps_its_laws_with_several_at_once() {
    tell(Policy::Least, 2);
}

fn tell(policy: Policy, concurrency: u32) {
    let setup = Setup {
        rules: Rules {
            policy,
            weights: vec![1, 1],
            dispatch: Dispatch::Auto,
            classes: false,
            copies_max: 10,
            slot_cost: 0,
            hold_max: 2,
            overload: Overload::Hold,
            stall_timeout: Span::from_ms(20),
        },
        capabilities: Capabilities::FULL,
        patience: PATIENCE,
        seed: 1,
    };
    let mut shell = Shell {
        engine: Engine::new(setup),
        now: Mono::from_ns(1),
        used: BTreeSet::new(),
        recalls: BTreeSet::new(),
        missable: BTreeSet::new(),
        running: BTreeSet::new(),
        killed: BTreeMap::new(),
        sweeping: false,
    };
    let mut actions = Actions::new();
    shell.engine.start(shell.now, &mut actions);
    shell.obey(&mut actions);
    let terms = Terms { concurrency, connections_max: 10 };
    for index in 0..2 {
        shell.step(Input::Hello { worker: WorkerId { index, epoch: 1 }, terms });
    }
    shell.step(Input::Arrived {
        ticket: TICKETS[0],
        listener: ListenerId(0),
        first_speaker: FirstSpeaker::Server,
    });
    let stories = shell.go_on(4);
    assert!(100_000 < stories, "only {stories} stories were told");
}

impl Shell {
    /// Tells every story that goes on from here; how many there were.
    fn go_on(&self, left: u32) -> u64 {
        if left == 0 {
            return 1;
        }
        let tell_one = |(wait, input): (Span, Input)| {
            let mut next = self.clone();
            next.now = next.now.after(wait);
            next.step(input);
            next.go_on(left - 1)
        };
        self.possible().into_iter().map(tell_one).sum()
    }

    fn step(&mut self, input: Input) {
        self.note(input);
        let mut actions = Actions::new();
        let rightly = match input {
            Input::Message { worker, ticket, message: Message::Missed } => {
                self.missable.remove(&(worker, ticket)).then_some(worker)
            }
            _ => None,
        };
        let lies = |engine: &Engine| {
            rightly
                .and_then(|worker| engine.supervisor().worker(worker))
                .map(|worker| worker.violations)
        };
        let before = lies(&self.engine);
        self.engine.step(self.now, input, &mut actions);
        assert_eq!(lies(&self.engine), before, "a worker may miss what was taken back from it");
        self.obey(&mut actions);
        self.engine.check_invariants();
        if self.engine.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.engine.step(self.now, Input::Tick, &mut actions);
            self.obey(&mut actions);
            self.engine.check_invariants();
            let next = self.engine.deadline();
            assert!(next.is_none_or(|next| self.now < next), "a tick leaves {next:?} standing");
        }
    }

    /// What the shell knows of an input that it gives.
    fn note(&mut self, input: Input) {
        match input {
            Input::Arrived { ticket, .. } => {
                self.used.insert(ticket);
            }
            Input::Recalled(ticket) => {
                self.recalls.remove(&ticket);
                if let Some(Place::Offered { to, .. }) =
                    self.engine.dispatcher().ledger().place(ticket)
                {
                    self.missable.insert((to, ticket));
                }
            }
            Input::TooLate(ticket) | Input::Refused { ticket, .. } => {
                self.recalls.remove(&ticket);
            }
            Input::Exited { worker, .. } => {
                self.running.remove(&worker);
            }
            Input::ListenersClosed => self.sweeping = false,
            _ => {}
        }
    }

    /// What the shell would do; what the engine asks of it must make sense.
    fn obey(&mut self, actions: &mut Actions) {
        for action in actions.drain() {
            match action {
                Action::Recall { ticket, .. } => {
                    assert!(self.recalls.insert(ticket), "{ticket} is recalled twice");
                }
                Action::Spawn { worker, .. } => {
                    assert!(self.running.insert(worker), "{worker} is started twice");
                }
                Action::Offer { ticket, to, client: _ } => {
                    assert!(self.running.contains(&to), "{ticket} is offered to the dead {to}");
                }
                Action::ReleaseWorker(worker) => {
                    let killed_at = self.killed.get(&worker);
                    let given_up = killed_at.is_some_and(|at| at.after(KILL_TIMEOUT) <= self.now);
                    let lives = self.running.remove(&worker);
                    assert!(!lives || given_up, "{worker} is buried alive");
                }
                Action::Terminate(worker) | Action::Drain(worker) => {
                    assert!(self.running.contains(&worker), "{worker} is gone already");
                }
                Action::Kill(worker) => {
                    assert!(self.running.contains(&worker), "{worker} is gone already");
                    self.killed.insert(worker, self.now);
                }
                Action::Retire { ticket, .. } | Action::Refuse { ticket, .. } => {
                    assert_eq!(
                        self.engine.dispatcher().ledger().place(ticket),
                        None,
                        "{ticket} is in use"
                    );
                }
                Action::CloseListeners => {
                    assert!(!self.sweeping, "the listeners are closed twice");
                    self.sweeping = true;
                }
                Action::Exit(_) => {
                    assert!(self.running.is_empty(), "{:?} are left behind", self.running);
                }
                Action::Watch(_)
                | Action::Expire(_)
                | Action::Release(_)
                | Action::HandOver(_)
                | Action::GiveBack(_)
                | Action::Emit(_) => {}
            }
        }
    }

    /// Everything that can happen next, and how much later.
    fn possible(&self) -> Vec<(Span, Input)> {
        let mut inputs = vec![
            Input::Tick,
            Input::AcceptExhausted,
            Input::WatchFailed,
            Input::Command(Command::Rollout),
            Input::Command(Command::Shrink),
            Input::Command(Command::Stop),
            Input::Command(Command::StopFast),
        ];
        if self.sweeping {
            inputs.push(Input::ListenersClosed);
        }
        for worker in self.running.iter().copied() {
            inputs.push(Input::Exited { worker, exit: Exit::Failed });
            let terms = Terms { concurrency: 1, connections_max: 10 };
            inputs.push(Input::Hello { worker, terms });
            inputs.push(Input::Detached(worker));
            inputs.push(Input::AsksToLeave(worker));
        }
        inputs.extend(
            self.missable.iter().filter(|(worker, _)| self.running.contains(worker)).map(
                |(worker, ticket)| Input::Message {
                    worker: *worker,
                    ticket: *ticket,
                    message: Message::Missed,
                },
            ),
        );
        for ticket in TICKETS {
            self.possible_for(ticket, &mut inputs);
        }
        let pauses = [Span::from_us(1), Span::from_ms(11), Span::from_s(6)];
        let timed = inputs.into_iter().flat_map(|input| {
            // Only a tick is about time.
            let pauses = if input == Input::Tick { &pauses[1..] } else { &pauses[..1] };
            pauses.iter().map(move |pause| (*pause, input))
        });
        timed.collect()
    }

    fn possible_for(&self, ticket: Ticket, inputs: &mut Vec<Input>) {
        match self.engine.dispatcher().ledger().place(ticket) {
            None if !self.used.contains(&ticket) && !self.engine.supervisor().is_stopping() => {
                for first_speaker in [FirstSpeaker::Client, FirstSpeaker::Server] {
                    inputs.push(Input::Arrived { ticket, listener: ListenerId(0), first_speaker });
                }
            }
            None | Some(Place::Held) => {}
            Some(Place::Watched { .. } | Place::Parked { .. } | Place::Expiring) => {
                inputs.extend([Input::Readable { ticket, route: None }, Input::HungUp(ticket)]);
            }
            Some(Place::Offered { .. }) => {
                for why in [
                    OfferRefusal::Full,
                    OfferRefusal::TooManyInFlight,
                    OfferRefusal::Gone,
                    OfferRefusal::Abandoned,
                ] {
                    inputs.push(Input::Refused { ticket, why });
                }
                if self.recalls.contains(&ticket) {
                    inputs.extend([Input::Recalled(ticket), Input::TooLate(ticket)]);
                }
            }
            Some(Place::Delivered { .. }) => {}
        }
        // A process may say anything of what it has been given, and lies are all alike.
        for worker in self.running.iter().copied() {
            let words = if self.has(worker, ticket) { &WORDS[..] } else { &WORDS[..1] };
            inputs.extend(words.iter().map(|word| Input::Message {
                worker,
                ticket,
                message: *word,
            }));
        }
    }

    fn has(&self, worker: WorkerId, ticket: Ticket) -> bool {
        match self.engine.dispatcher().ledger().place(ticket) {
            Some(Place::Offered { to, .. } | Place::Delivered { to, .. }) => to == worker,
            Some(Place::Watched { .. } | Place::Parked { .. } | Place::Expiring | Place::Held)
            | None => false,
        }
    }
}
