//! The port over the fake kernel. It keeps the eight laws of [`crate::io`] to the message, and
//! nothing but the message: completions come late and shuffled, accepts land after their cancel.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;

use super::faults::{Sabotage, errno, exhaustion, strikes, watch_failure};
use super::process::{ProcessId, SimMessage};
use super::trace::Who;
use super::verb::Verb;
use super::world::{Holder, Object, Shared, SimFd, World};
use crate::io::arena::Arena;
use crate::io::{
    Backend, Batch, Completion, Op, OpKind, Outcome, Ready, Role, Source, Tag, Token, WatchKind,
};
use crate::units::{Errno, Mono, Span};
use crate::wire::batch::tickets;

/// Waits in a row without any result and without time to speak of: whoever does that spins.
const IDLE_WAITS_MAX: u32 = 200;
/// A wait as short as this is none.
const NO_WAIT: Span = Span::from_us(50);

/// The fake kernel's port: see [`Backend`].
#[derive(Debug)]
pub struct SimBackend {
    world: Shared,
    operations: Arena<SimOperation>,
    sources: Arena<SimFd>,
    /// Submitted, and not begun.
    queue: VecDeque<Token>,
    /// Operations that wait for an object.
    waiting: BTreeMap<Object, VecDeque<Token>>,
    /// Results, by the time of their delivery; the second part of the key shuffles.
    ripe: BTreeMap<(Mono, u64, u64), Completion<SimFd>>,
    /// Accepts whose cancel has not reached them yet.
    doomed: BTreeMap<(Mono, u64), Token>,
    serial: u64,
    idle_waits: u32,
}

#[derive(Debug)]
struct SimOperation {
    tag: Tag,
    work: SimWork,
    /// The long-lived descriptor that it names.
    source: Option<Source>,
    /// The connection that is watched.
    watches: Option<usize>,
    /// When it last had something to tell: what comes later is told later.
    told_at: Option<Mono>,
}

#[derive(Debug)]
enum SimWork {
    Queued(Op<SimFd>),
    Accept(usize),
    Readable(SimFd),
    Ring(usize),
    /// Its result is on the way.
    Over,
}

impl Backend for SimBackend {
    type Fd = SimFd;

    fn adopt(&mut self, fd: SimFd, _role: Role) -> Source {
        self.sources.insert(fd).source()
    }

    fn release(&mut self, source: Source) -> SimFd {
        // What was submitted before is carried out before.
        self.begin_queued();
        let fd = self.sources.remove(source.key()).expect("a source is released once");
        let (operations, waiting) = (&self.operations, self.waiting.entry(fd.object).or_default());
        let names_it = |token: &Token| {
            operations.occupant(token.key()).is_some_and(|each| each.source == Some(source))
        };
        let (ended, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(waiting).into_iter().partition(names_it);
        *waiting = others;
        for token in ended {
            self.withdraw(token);
        }
        if self.plants(Sabotage::LeakSource) {
            let another = self.world.borrow_mut().open(fd.object);
            fd.into_copy();
            return another;
        }
        fd
    }

    fn submit(&mut self, op: Op<SimFd>, tag: Tag) -> Token {
        let kind = kind_of(&op);
        let watches = match &op {
            Op::Readable { fd: SimFd { object: Object::Connection(index), .. }, .. } => {
                Some(*index)
            }
            _ => None,
        };
        let source = source_of(&op);
        let operation =
            SimOperation { tag, work: SimWork::Queued(op), source, watches, told_at: None };
        let key = self.operations.insert(operation);
        self.queue.push_back(key.token(kind));
        if self.world.borrow().scenario.eager {
            self.begin_queued();
        }
        key.token(kind)
    }

    fn cancel(&mut self, token: Token) {
        self.begin_queued();
        let Some(operation) = self.operations.occupant_mut(token.key()) else { return };
        let object = match &operation.work {
            SimWork::Accept(listener) => Object::Listener(*listener),
            SimWork::Readable(fd) => fd.object,
            SimWork::Ring(doorbell) => Object::Doorbell(*doorbell),
            SimWork::Over if token.kind() == OpKind::Accept => {
                // It has landed, or soon will have.
                self.world.borrow_mut().landed += 1;
                return;
            }
            SimWork::Queued(_) | SimWork::Over => return,
        };
        if token.kind() == OpKind::Accept && self.world.borrow_mut().rng.chance(1, 2) {
            return self.doom(token);
        }
        if let Some(tokens) = self.waiting.get_mut(&object) {
            tokens.retain(|waiting| *waiting != token);
        }
        self.withdraw(token);
    }

    fn expire(&mut self, token: Token) -> bool {
        self.begin_queued();
        let Some(operation) = self.operations.occupant(token.key()) else { return false };
        let Some(index) = operation.watches else { return false };
        let waits = matches!(operation.work, SimWork::Readable(_));
        let mut world = self.world.borrow_mut();
        world.judge_expiry(index);
        // One that has just become readable is not shut down any more.
        let silent = waits && !world.connections[index].has_input();
        if silent {
            world.connections[index].let_go = true;
            world.connections[index].shut = true;
            world.stir(Object::Connection(index));
        }
        silent
    }

    fn wait(&mut self, timeout: Option<Span>, out: &mut Vec<Completion<SimFd>>) -> io::Result<()> {
        self.begin_queued();
        self.world.borrow_mut().check_descriptors(|| self.untold());
        let end = timeout.map(|span| self.world.borrow().now.after(span));
        loop {
            self.world.borrow_mut().live();
            self.serve_stirred();
            self.withdraw_doomed();
            let now = self.world.borrow().now;
            if self.rouses(now) || end.is_some_and(|end| end <= now) {
                let delivered = self.deliver(out);
                let mut world = self.world.borrow_mut();
                let brief = timeout.is_some_and(|span| span <= NO_WAIT);
                self.idle_waits = if delivered || !brief { 0 } else { self.idle_waits + 1 };
                if self.idle_waits == IDLE_WAITS_MAX {
                    world.fail("the master spins".to_owned());
                }
                // A turn costs time; a wait ends a little late.
                let overrun = world.rng.below(30_000);
                world.now = world.now.after(Span::from_ns(overrun));
                return Ok(());
            }
            let later = (Bound::Excluded((now, u64::MAX, u64::MAX)), Bound::Unbounded);
            let next_result = self.ripe.range(later).next().map(|((at, _, _), _)| *at);
            let doom = self.doomed.first_key_value().map(|((at, _), _)| *at);
            let mut world = self.world.borrow_mut();
            let next = [world.next_happening(), next_result, doom, end].into_iter().flatten().min();
            let Some(next) = next else {
                world.fail("the master sleeps, and nothing will ever wake it".to_owned());
                return Err(io::Error::other("nothing will ever happen"));
            };
            world.now = world.now.max(next);
        }
    }

    fn quiesce(&mut self, out: &mut Vec<Completion<SimFd>>) -> io::Result<()> {
        self.begin_queued();
        self.world.borrow_mut().standing.clear();
        for (_, tokens) in std::mem::take(&mut self.waiting) {
            for token in tokens {
                self.withdraw(token);
            }
        }
        let leftover = std::mem::take(&mut self.ripe);
        for (_, completion) in leftover {
            if completion.last {
                self.operations.remove(completion.token.key());
            }
            out.push(completion);
        }
        let unfinished = self.operations.count();
        if 0 < unfinished && self.world.borrow().sabotage.is_none() {
            self.world.borrow_mut().breaks(format!("{unfinished} operations never ended"));
        }
        Ok(())
    }
}

impl SimBackend {
    pub(super) const fn new(world: Shared) -> Self {
        Self {
            world,
            operations: Arena::new(),
            sources: Arena::new(),
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            ripe: BTreeMap::new(),
            doomed: BTreeMap::new(),
            serial: 0,
            idle_waits: 0,
        }
    }

    fn begin_queued(&mut self) {
        while let Some(token) = self.queue.pop_front() {
            let Some(operation) = self.operations.occupant_mut(token.key()) else { continue };
            match std::mem::replace(&mut operation.work, SimWork::Over) {
                SimWork::Queued(op) => self.begin(token, op),
                other => operation.work = other,
            }
        }
    }

    fn begin(&mut self, token: Token, op: Op<SimFd>) {
        match op {
            Op::Accept { listener } => match self.object_of(listener) {
                Some(Object::Listener(listener)) => {
                    self.wait_for(token, Object::Listener(listener), SimWork::Accept(listener));
                }
                _ => self.finish(token, Outcome::Accepted(Err(errno::ECANCELED))),
            },
            Op::Readable { fd, watch } => {
                if watch == WatchKind::Standing {
                    self.world.borrow_mut().standing.insert(fd.copy());
                }
                self.begin_watch(token, fd);
            }
            Op::Ring { doorbell } => match (self.object_of(doorbell), self.watch_failure(None)) {
                (Some(Object::Doorbell(doorbell)), None) => {
                    self.wait_for(token, Object::Doorbell(doorbell), SimWork::Ring(doorbell));
                }
                (Some(_), Some(errno)) => self.finish(token, Outcome::Rang(Err(errno))),
                _ => self.finish(token, Outcome::Rang(Err(errno::ECANCELED))),
            },
            Op::Handoff { channel, batch } => {
                let result = self.hand_off(channel, &batch);
                self.finish(token, Outcome::HandedOff(batch, result));
            }
            Op::Recv { buffer, .. } => {
                self.finish(token, Outcome::Received(buffer, Err(errno::ECANCELED)));
            }
            Op::Send { buffer, .. } => {
                self.finish(token, Outcome::Sent(buffer, Err(errno::ECANCELED)));
            }
            Op::Close { fd } => {
                if self.plants(Sabotage::LeakClose) {
                    fd.into_copy();
                } else {
                    self.world.borrow_mut().standing.remove(&fd.copy());
                    drop(fd);
                }
                self.finish(token, Outcome::Closed);
            }
        }
    }

    fn begin_watch(&mut self, token: Token, fd: SimFd) {
        match self.watch_failure(Some(fd.object)) {
            None => {
                let object = fd.object;
                self.wait_for(token, object, SimWork::Readable(fd));
            }
            Some(errno) => self.finish(token, Outcome::Readable(fd, Err(errno))),
        }
    }

    /// A cancel that takes its time: a connection may come first.
    fn doom(&mut self, token: Token) {
        let mut world = self.world.borrow_mut();
        let pause = Span::from_us(world.rng.below(2_000));
        self.serial += 1;
        self.doomed.insert((world.now.after(pause), self.serial), token);
    }

    /// Ends what was cancelled a while ago.
    fn withdraw_doomed(&mut self) {
        let now = self.world.borrow().now;
        while let Some(entry) = self.doomed.first_entry() {
            if now < entry.key().0 {
                return;
            }
            let token = entry.remove();
            for tokens in self.waiting.values_mut() {
                tokens.retain(|waiting| *waiting != token);
            }
            self.withdraw(token);
        }
    }

    /// Why the kernel does not keep a watch, if it does not. What can be told at once is told.
    fn watch_failure(&self, object: Option<Object>) -> Option<Errno> {
        let mut world = self.world.borrow_mut();
        let rate = world.scenario.faults.watch_fails;
        if object.is_some_and(|object| world.is_readable(object)) || !world.strikes(rate) {
            return None;
        }
        let errno = watch_failure(&mut world.rng);
        let (at, number) = (world.now, u64::try_from(errno.0).unwrap_or(0));
        world.trace.did(at, Who::Kernel, Verb::FailsToWatch, number);
        Some(errno)
    }

    fn plants(&self, sabotage: Sabotage) -> bool {
        self.world.borrow().sabotage == Some(sabotage)
    }

    fn wait_for(&mut self, token: Token, object: Object, work: SimWork) {
        if let Some(operation) = self.operations.occupant_mut(token.key()) {
            operation.work = work;
        }
        self.waiting.entry(object).or_default().push_back(token);
        let mut world = self.world.borrow_mut();
        if world.is_readable(object) {
            world.stir(object);
        }
    }

    fn object_of(&self, source: Source) -> Option<Object> {
        self.sources.occupant(source.key()).map(|fd| fd.object)
    }

    /// Ends what waits for objects that something has happened to.
    fn serve_stirred(&mut self) {
        let stirred = std::mem::take(&mut self.world.borrow_mut().stirred);
        for object in stirred {
            match object {
                Object::Listener(listener) => self.accept_waiting(listener),
                Object::Doorbell(doorbell) => self.ring(doorbell),
                Object::Connection(_)
                | Object::Ending(_)
                | Object::Launch(_)
                | Object::Output(_)
                | Object::Channel(_)
                | Object::Notice(_)
                | Object::Signals => self.tell_readable(object),
            }
        }
    }

    fn accept_waiting(&mut self, listener: usize) {
        let object = Object::Listener(listener);
        while self.world.borrow().is_readable(object) {
            let Some(token) = self.waiting.get_mut(&object).and_then(VecDeque::pop_front) else {
                return;
            };
            let result = self.accept(listener);
            if self.doomed.values().any(|doomed| *doomed == token) {
                let mut world = self.world.borrow_mut();
                let at = world.now;
                world.landed += 1;
                world.trace.did(at, Who::Kernel, Verb::AcceptsAfterTheCancel, listener as u64);
            }
            self.finish(token, Outcome::Accepted(result));
        }
    }

    fn accept(&self, listener: usize) -> Result<SimFd, Errno> {
        let mut world = self.world.borrow_mut();
        let exhausted = world.scenario.faults.exhausted;
        if world.strikes(exhausted) {
            let errno = exhaustion(&mut world.rng);
            let at = world.now;
            let number = u64::try_from(errno.0).unwrap_or(0);
            world.trace.did(at, Who::Kernel, Verb::FailsToAccept, number);
            return Err(errno);
        }
        match world.accept(listener) {
            Some(connection) => {
                let at = world.now;
                world.trace.did(at, Who::Kernel, Verb::Accepts, connection as u64);
                Ok(world.open(Object::Connection(connection)))
            }
            None => Err(errno::ECANCELED),
        }
    }

    /// A ring that nobody waits for is heard by whoever waits next.
    fn ring(&mut self, doorbell: usize) {
        let tokens = self.waiting.get(&Object::Doorbell(doorbell)).cloned().unwrap_or_default();
        if tokens.is_empty()
            || !std::mem::take(&mut self.world.borrow_mut().doorbells[doorbell].rung)
        {
            return;
        }
        for token in tokens {
            self.tell(token, false, Outcome::Rang(Ok(())));
        }
    }

    fn tell_readable(&mut self, object: Object) {
        if !self.world.borrow().is_readable(object) {
            return;
        }
        for token in self.waiting.remove(&object).unwrap_or_default() {
            let Some(operation) = self.operations.occupant_mut(token.key()) else { continue };
            let SimWork::Readable(fd) = std::mem::replace(&mut operation.work, SimWork::Over)
            else {
                continue;
            };
            let swallowed = match object {
                Object::Connection(_) => self.plants(Sabotage::SwallowReadable),
                _ => false,
            };
            if swallowed && strikes(&mut self.world.borrow_mut().rng, 200) {
                fd.into_copy();
                continue;
            }
            let result = self.readiness(object);
            self.finish(token, Outcome::Readable(fd, result));
        }
    }

    /// A connection that ended without a byte may be told as readable, as ended or as an error.
    fn readiness(&self, object: Object) -> Result<Ready, Errno> {
        let mut world = self.world.borrow_mut();
        match object {
            Object::Connection(index) => {
                let connection = &mut world.connections[index];
                let over = connection.hung_up || connection.shut;
                let gone = over && !connection.has_input();
                match world.rng.below(3) {
                    0 if gone => Err(errno::ECONNRESET),
                    1 if over => Ok(Ready::Ended),
                    _ => Ok(Ready::Input),
                }
            }
            _ => Ok(Ready::Input),
        }
    }

    /// Ends an operation that is cancelled.
    fn withdraw(&mut self, token: Token) {
        let Some(operation) = self.operations.occupant_mut(token.key()) else { return };
        let outcome = match std::mem::replace(&mut operation.work, SimWork::Over) {
            SimWork::Accept(_) => Outcome::Accepted(Err(errno::ECANCELED)),
            SimWork::Readable(fd) => Outcome::Readable(fd, Err(errno::ECANCELED)),
            SimWork::Ring(_) => Outcome::Rang(Err(errno::ECANCELED)),
            other @ (SimWork::Queued(_) | SimWork::Over) => {
                operation.work = other;
                return;
            }
        };
        self.finish(token, outcome);
    }

    fn finish(&mut self, token: Token, outcome: Outcome<SimFd>) {
        if let Some(operation) = self.operations.occupant_mut(token.key()) {
            operation.work = SimWork::Over;
        }
        self.tell(token, true, outcome);
    }

    fn tell(&mut self, token: Token, last: bool, outcome: Outcome<SimFd>) {
        let Some(operation) = self.operations.occupant_mut(token.key()) else { return };
        let completion = Completion { token, tag: operation.tag, last, outcome };
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let soonest = operation.told_at.map_or(now, |at| at.after(Span::from_ns(1)));
        // What ends no wait is told at the end of the wait that carries it out.
        let late = if is_quiet(&completion) { Span::ZERO } else { world.lateness() };
        let at = now.after(late).max(soonest);
        operation.told_at = Some(at);
        self.serial += 1;
        let shuffle = world.rng.next_u64();
        self.ripe.insert((at, shuffle, self.serial), completion);
    }

    /// Whether what is ripe ends a wait.
    fn rouses(&self, now: Mono) -> bool {
        let mut ripe = self.ripe.range(..=(now, u64::MAX, u64::MAX)).map(|(_, ripe)| ripe);
        let Some(first) = ripe.next() else { return false };
        let pending = self.operations.count();
        !is_quiet(first)
            || ripe.any(|each| !is_quiet(each))
            || pending == self.ripe.len() && self.ripe.values().all(is_quiet)
    }

    /// Descriptors of connections that come with what the master has not been told yet: it cannot
    /// have closed them.
    fn untold(&self) -> usize {
        let count = |completion: &Completion<SimFd>| match &completion.outcome {
            Outcome::Accepted(Ok(_)) => 1,
            Outcome::HandedOff(batch, _) => batch.fds.len(),
            // It is watched, and counts.
            Outcome::Readable(..)
            | Outcome::Accepted(Err(_))
            | Outcome::Rang(_)
            | Outcome::Received(..)
            | Outcome::Sent(..)
            | Outcome::Closed => 0,
        };
        self.ripe.values().map(count).sum()
    }

    /// Delivers what is ripe; true if there was anything.
    fn deliver(&mut self, out: &mut Vec<Completion<SimFd>>) -> bool {
        let now = self.world.borrow().now;
        let mut delivered = false;
        while let Some(entry) = self.ripe.first_entry() {
            if now < entry.key().0 {
                break;
            }
            let completion = entry.remove();
            if completion.last {
                self.operations.remove(completion.token.key());
            }
            self.world.borrow_mut().saw_completion(&completion.outcome);
            out.push(completion);
            delivered = true;
        }
        delivered
    }

    fn hand_off(&self, channel: Source, batch: &Batch<SimFd>) -> Result<(), Errno> {
        let Some(Object::Channel(process)) = self.object_of(channel) else {
            return Err(errno::ECANCELED);
        };
        let mut world = self.world.borrow_mut();
        world.saw_batch(process, batch);
        if let Some(errno) = world.refusal(process, batch) {
            let number = u64::try_from(errno.0).unwrap_or(0);
            let at = world.now;
            world.trace.did(at, Who::Kernel, Verb::RefusesAParcel, number);
            return Err(errno);
        }
        world.post_message(process, batch);
        Ok(())
    }
}

impl World {
    /// Why a message does not go out.
    fn refusal(&mut self, process: ProcessId, batch: &Batch<SimFd>) -> Option<Errno> {
        if self.has_no_reader(process) {
            return Some(errno::EPIPE);
        }
        let full = self.scenario.channel <= self.processes[process].channel.len();
        if batch.fds.is_empty() {
            return full.then_some(errno::EAGAIN);
        }
        if self.strikes(self.scenario.faults.too_many_refs) {
            return Some(errno::ETOOMANYREFS);
        }
        (full || self.strikes(self.scenario.faults.again)).then_some(errno::EAGAIN)
    }

    /// The kernel puts copies of a batch's descriptors into a channel.
    fn post_message(&mut self, process: ProcessId, batch: &Batch<SimFd>) {
        self.ledger.sent(tickets(&batch.words[1..]));
        let copies = batch.fds.iter().map(|fd| self.copy(fd.object, Holder::Channel(process)));
        let copies = copies.collect();
        let message = SimMessage { words: batch.words.clone(), copies };
        self.processes[process].channel.push_back(message);
        self.look_soon(process);
    }
}

/// Whether this ends a wait only if nothing else is pending.
const fn is_quiet(completion: &Completion<SimFd>) -> bool {
    matches!(completion.outcome, Outcome::HandedOff(_, Ok(())) | Outcome::Closed)
}

const fn source_of(op: &Op<SimFd>) -> Option<Source> {
    match op {
        Op::Accept { listener: source }
        | Op::Ring { doorbell: source }
        | Op::Handoff { channel: source, .. }
        | Op::Recv { stream: source, .. }
        | Op::Send { stream: source, .. } => Some(*source),
        Op::Readable { .. } | Op::Close { .. } => None,
    }
}

const fn kind_of(op: &Op<SimFd>) -> OpKind {
    match op {
        Op::Accept { .. } => OpKind::Accept,
        Op::Readable { .. } => OpKind::Readable,
        Op::Ring { .. } => OpKind::Ring,
        Op::Handoff { .. } => OpKind::Handoff,
        Op::Recv { .. } => OpKind::Recv,
        Op::Send { .. } => OpKind::Send,
        Op::Close { .. } => OpKind::Close,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::trace::RunTrace;
    use super::super::workload::Scenario;
    use super::*;
    use crate::engine::rng::Rng;
    use crate::master::host::{Processes, SpawnRequest};
    use crate::sim::host::SimHost;
    use crate::units::{Generation, SlotId, Ticket, WorkerId};

    /// A world without an agenda of its own but for its clients, and a port to it.
    fn world(seed: u64) -> (Shared, SimBackend) {
        let mut rng = Rng::new(seed);
        let mut scenario = Scenario::draw(&mut rng);
        scenario.faults.late = 500;
        scenario.faults_from = Mono::ZERO;
        let world = World::new(scenario, rng, RunTrace::new(false));
        let shared = Rc::new(RefCell::new(world));
        (Rc::clone(&shared), SimBackend::new(shared))
    }

    /// Submits and cancels at random while the kernel fails as it does in a run, which it never
    /// does on a stage: every operation must end exactly once, and quiesce must leave none.
    fn disturb(seed: u64) {
        let (world, mut backend) = world(seed);
        let mut rng = Rng::new(seed ^ 7);
        let request = SpawnRequest {
            worker: WorkerId { index: 0, epoch: 1 },
            slot: SlotId(0),
            generation: Generation(1),
        };
        let mut host = SimHost::new(Rc::clone(&world));
        let spawned = (0..100).find_map(|_| host.spawn(request).ok()).expect("one of them starts");
        drop(spawned);
        let channel = world.borrow_mut().open(Object::Channel(0));
        let channel = backend.adopt(channel, Role::Channel);
        let socket = world.borrow_mut().open(Object::Listener(0));
        let listener = backend.adopt(socket, Role::Listener);
        let (mut pending, mut connections, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..300_u32 {
            let tag = Tag(u64::from(turn));
            let op = match (rng.below(4), connections.pop()) {
                (0, Some(fd)) => Op::Readable { fd, watch: WatchKind::Standing },
                (1, Some(fd)) => Op::Close { fd },
                (2, Some(fd)) => {
                    let mut batch = Batch::new(0);
                    batch.push(Ticket { index: turn, generation: 1 }, fd);
                    Op::Handoff { channel, batch }
                }
                (_, held) => {
                    connections.extend(held);
                    Op::Accept { listener }
                }
            };
            pending.push((backend.submit(op, tag), tag));
            if rng.chance(1, 5) {
                let (victim, _) = super::super::faults::pick(&mut rng, &pending);
                backend.cancel(victim);
            }
            if rng.chance(1, 3) {
                backend.wait(Some(Span::from_ms(3)), &mut out).expect("the world goes on");
            }
            take_in(&mut out, &mut pending, &mut connections);
        }
        backend.quiesce(&mut out).expect("the world comes to rest");
        take_in(&mut out, &mut pending, &mut connections);
        assert_eq!(pending, [], "seed {seed}: some operations never ended");
        assert_eq!(backend.operations.count(), 0);
    }

    fn take_in(
        out: &mut Vec<Completion<SimFd>>,
        pending: &mut Vec<(Token, Tag)>,
        connections: &mut Vec<SimFd>,
    ) {
        for Completion { token, tag, last, outcome } in out.drain(..) {
            assert!(last, "none of these is told more than once");
            let position = pending.iter().position(|each| *each == (token, tag));
            pending.swap_remove(position.expect("it was submitted, and has not ended before"));
            match outcome {
                Outcome::Accepted(Ok(fd)) | Outcome::Readable(fd, _) => connections.push(fd),
                Outcome::HandedOff(batch, _) => connections.extend(batch.fds),
                _ => {}
            }
        }
    }

    #[test]
    fn every_operation_ends_exactly_once_whatever_fails() {
        (0..40).for_each(disturb);
    }
}
