//! The master's world besides sockets, faked: the clock, processes, shared pages, the operator.

use super::faults::{Lie, Sabotage, strikes};
use super::process::Claim;
use super::trace::Who;
use super::verb::Verb;
use super::workload::route_of;
use super::world::{Object, Shared, SimFd};
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::input::{Load, Terms};
use crate::link::LinkOp;
use crate::link::pages::{ConnEvent, Full, Order, Overrun, Pages, Settled, SleepState};
use crate::master::host::{
    ChangedChild, Clock, ControlStep, Descriptors, Host, Launch, Notice, Operator, OutputRead,
    Processes, Signal, Sockets, SpawnFailed, SpawnRequest, SpawnedWorker,
};
use crate::units::{GiveBack, Mono, RingWords, Route, Span, Ticket, WorkerId};
use crate::wire::message::{RingMessage, WorkerMessage};

/// The fake world around the master.
#[derive(Debug)]
pub(super) struct SimHost {
    world: Shared,
}

impl SimHost {
    pub(super) const fn new(world: Shared) -> Self {
        Self { world }
    }
}

impl Host for SimHost {
    type Pages = Self;

    fn pages(&mut self) -> &mut Self {
        self
    }
}

impl Descriptors for SimHost {
    type Fd = SimFd;
}

impl Clock for SimHost {
    fn now(&mut self) -> Mono {
        let mut world = self.world.borrow_mut();
        world.told_now = world.now;
        world.now
    }
}

impl Processes for SimHost {
    fn spawn(&mut self, request: SpawnRequest) -> Result<SpawnedWorker<SimFd>, SpawnFailed> {
        let mut world = self.world.borrow_mut();
        let process = world.start(request).ok_or(SpawnFailed)?;
        let (doorbell, kind) = (world.processes[process].doorbell, world.scenario.link);
        Ok(SpawnedWorker {
            ends: kind.ends(|op| {
                world.open(match op {
                    LinkOp::Send | LinkOp::Hangup => Object::Channel(process),
                    LinkOp::Doorbell => Object::Doorbell(doorbell),
                    LinkOp::Notice => Object::Notice(process),
                })
            }),
            process: world.open(Object::Ending(process)),
            output: world.open(Object::Output(process)),
            report: world.open(Object::Launch(process)),
            listeners: Vec::new(),
        })
    }

    fn launch(&mut self, worker: WorkerId) -> Launch {
        let world = self.world.borrow();
        let process = world.process_of(worker).map(|process| &world.processes[process]);
        match process.map(|process| process.launch) {
            Some(Launch::Pending) if process.is_some_and(|it| it.ended.is_none()) => {
                Launch::Pending
            }
            Some(Launch::Failed) => Launch::Failed,
            Some(Launch::Pending | Launch::Over) | None => Launch::Over,
        }
    }

    fn signal(&mut self, worker: WorkerId, signal: Signal) {
        let mut world = self.world.borrow_mut();
        if let Some(process) = world.process_of(worker) {
            world.signals(process, signal);
        }
    }

    fn child(&mut self) -> Option<ChangedChild> {
        self.world.borrow_mut().next_child()
    }

    fn read_output(&mut self, worker: WorkerId, at_most: usize) -> OutputRead {
        let mut world = self.world.borrow_mut();
        let Some(process) = world.process_of(worker) else { return OutputRead::Ended };
        // Some write more than is read at once.
        if at_most == 0 || world.processes[process].wrote && strikes(&mut world.rng, 300) {
            return OutputRead::More;
        }
        let process = &mut world.processes[process];
        process.wrote = false;
        match process.ended {
            None => OutputRead::Drained { bytes: 0 },
            Some(_) => OutputRead::Ended,
        }
    }

    fn release(&mut self, worker: WorkerId) {
        self.world.borrow_mut().saw_burial(worker);
    }

    fn forget_output(&mut self, _worker: WorkerId) {}
}

impl Sockets for SimHost {
    fn withdraw_listeners(&mut self) {}

    fn look_after_names(&mut self) -> Option<SimFd> {
        None
    }

    fn sweep(&mut self, listener: &SimFd) -> Option<SimFd> {
        let mut world = self.world.borrow_mut();
        let Object::Listener(listener) = listener.object else { return None };
        let connection = world.accept(listener)?;
        let now = world.now;
        world.trace.did(now, Who::Master, Verb::SweepsUp, connection as u64);
        Some(world.open(Object::Connection(connection)))
    }

    fn end_listening(&mut self, listener: &SimFd) {
        if let Object::Listener(listener) = listener.object {
            self.world.borrow_mut().listener_closes(listener);
        }
    }

    fn has_input(&mut self, connection: &SimFd) -> bool {
        let index = connection.connection();
        index.is_some_and(|index| self.world.borrow().connections[index].has_input())
    }

    fn is_reset(&mut self, connection: &SimFd) -> bool {
        let Some(index) = connection.connection() else { return false };
        let mut world = self.world.borrow_mut();
        let (now, gone) = (world.now, world.connections[index].hung_up);
        if gone {
            world.trace.did(now, Who::Master, Verb::FindsAResetOn, index as u64);
        }
        gone
    }

    fn route(&mut self, connection: &SimFd) -> Option<Route> {
        connection.connection().and_then(route_of)
    }

    fn refuse(&mut self, connection: &SimFd) {
        if let Some(index) = connection.connection() {
            self.world.borrow_mut().judge_refusal(index);
        }
    }

    fn shut_down(&mut self, connection: &SimFd) {
        if let Some(index) = connection.connection() {
            self.world.borrow_mut().judge_shutdown(index);
        }
    }
}

impl Operator for SimHost {
    fn notice(&mut self) -> Option<Notice> {
        let mut world = self.world.borrow_mut();
        let notice = world.notices.pop_front()?;
        world.saw_notice(notice);
        Some(notice)
    }

    fn control(&mut self, _client: &SimFd, _engine: &Engine) -> ControlStep {
        ControlStep::Gone
    }

    fn tell(&mut self, now: Mono, event: Event) {
        let mut world = self.world.borrow_mut();
        world.trace.told(now, event);
        world.saw_event(event);
    }

    fn flush(&mut self) -> Option<Span> {
        None
    }
}

impl Pages for SimHost {
    fn messages(
        &mut self,
        worker: WorkerId,
        max: usize,
        out: &mut Vec<RingWords>,
    ) -> Result<(), Overrun> {
        let mut world = self.world.borrow_mut();
        let Some(process) = world.process_of(worker) else { return Ok(()) };
        world.saw_reading(process);
        if world.processes[process].nature.lie == Some(Lie::Overrun)
            && world.processes[process].up
            && world.now < world.scenario.calm_from
            && world.rng.chance(1, 20)
        {
            return Err(Overrun { written: u64::MAX, read: 0 });
        }
        for _ in 0..max {
            let Some(words) = world.processes[process].messages.pop_front() else { break };
            let closed = matches!(
                RingMessage::decode(words),
                Ok(RingMessage { message: WorkerMessage::Closed(_), .. })
            );
            let lost = closed && world.sabotage == Some(Sabotage::LoseClosed);
            if lost && strikes(&mut world.rng, 100) {
                continue;
            }
            world.saw_message(process, words);
            out.push(words);
            if world.sabotage == Some(Sabotage::RepeatWord) && strikes(&mut world.rng, 20) {
                out.push(words);
            }
        }
        Ok(())
    }

    fn asks_to_leave(&mut self, worker: WorkerId) -> bool {
        let world = self.world.borrow();
        world.process_of(worker).is_some_and(|process| world.processes[process].asks_to_leave)
    }

    fn has_messages(&mut self) -> bool {
        let world = self.world.borrow();
        world
            .processes
            .iter()
            .any(|process| !process.messages.is_empty() && !process.seen.is_buried())
    }

    fn set_sleep_state(&mut self, state: SleepState) {
        self.world.borrow_mut().sleep_state = state;
    }

    fn terms(&mut self, worker: WorkerId) -> Option<Terms> {
        let world = self.world.borrow();
        let nature = world.processes[world.process_of(worker)?].nature;
        (nature.lie != Some(Lie::OtherLayout)).then_some(nature.terms)
    }

    fn load(&mut self, worker: WorkerId, _now: Mono) -> Load {
        let world = self.world.borrow();
        world.process_of(worker).map_or_else(Load::default, |process| world.processes[process].load)
    }

    fn order(&mut self, worker: WorkerId, order: Order) {
        let mut world = self.world.borrow_mut();
        if let Some(process) = world.process_of(worker) {
            world.processes[process].order = order;
            world.processes[process].seen.signalled();
        }
    }

    fn conn_record(&mut self, ticket: Ticket, event: ConnEvent) {
        let mut world = self.world.borrow_mut();
        match event {
            ConnEvent::Accepted(..) => world.ledger.opened(ticket),
            ConnEvent::Readable(_) => {}
            ConnEvent::Offered(worker, _) => world.saw_offer(ticket, worker),
        }
    }

    fn give_back(&mut self, give_back: GiveBack) {
        self.world.borrow_mut().give_back = give_back;
    }

    fn offer_entry(&mut self, worker: WorkerId, offer_entry: RingWords) -> Result<(), Full> {
        let mut world = self.world.borrow_mut();
        let (room, at) = (world.scenario.offer_entries, world.process_of(worker));
        let Some(process) = at else { return Ok(()) };
        let lost = world.sabotage == Some(Sabotage::LoseOfferEntry);
        if lost && strikes(&mut world.rng, 100) {
            return Ok(());
        }
        let now = world.now;
        let process = &mut world.processes[process];
        if room <= process.offer_entries.len() {
            return Err(Full);
        }
        process.offer_entries.push_back(offer_entry);
        process.told_at = now;
        Ok(())
    }

    fn sleep_number(&mut self, worker: WorkerId) -> Option<u64> {
        let world = self.world.borrow();
        let sleeps = world.processes[world.process_of(worker)?].sleeps;
        (sleeps & 1 == 1 && world.sabotage != Some(Sabotage::LetSleep)).then_some(sleeps)
    }

    fn woke(&mut self, worker: WorkerId) {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        world.trace.did(now, Who::Worker(worker), Verb::IsWoken, 0);
    }

    fn offer(&mut self, worker: WorkerId, ticket: Ticket) {
        let mut world = self.world.borrow_mut();
        if let Some(process) = world.process_of(worker) {
            world.processes[process].claims.insert(ticket, Claim::Open);
        }
    }

    fn recall(&mut self, worker: WorkerId, ticket: Ticket) -> Settled {
        let mut world = self.world.borrow_mut();
        let Some(process) = world.process_of(worker) else { return Settled::Back };
        let settled = match world.processes[process].claims.get(&ticket) {
            Some(Claim::Open) => Settled::Back,
            Some(Claim::Claimed) => Settled::Claimed,
            None => Settled::Forged,
        };
        let settled = match (settled, world.sabotage) {
            (Settled::Back, Some(Sabotage::RecallTooLate)) => Settled::Claimed,
            (Settled::Claimed, Some(Sabotage::RecallClaimed)) => Settled::Back,
            (settled, _) => settled,
        };
        match settled {
            Settled::Claimed => return settled,
            Settled::Back => world.saw_recall(ticket),
            Settled::Forged => world.saw_forgery(ticket),
        }
        world.processes[process].claims.remove(&ticket);
        settled
    }
}
