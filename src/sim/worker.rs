//! Workers as small state machines behind a fake channel, with the faults that real ones have:
//! they are slow, stop, crash anywhere, lie, and do not listen.

use super::faults::{CRASHES, Crash, LIES, Lie, Sabotage, between, pick, strikes};
use super::job::{Job, ServiceStage};
use super::process::{Claim, Nature, Process, ProcessId};
use super::trace::Who;
use super::verb::Verb;
use super::workload::{Concurrency, length_of};
use super::world::{Happening, Holder, Object, World};
use crate::engine::input::{Exit, Terms};
use crate::limits::{MESSAGE_RING, MESSAGE_RING_DOORBELL};
use crate::link::pages::{Order, SleepState};
use crate::master::host::{ChangedChild, Launch, Notice, ProcessChange, Signal, SpawnRequest};
use crate::units::{AppId, RingWords, Span};
use crate::wire::batch::{BatchKind, Header, tickets};
use crate::wire::message::{RingMessage, WorkerMessage};
use crate::wire::offer::OfferEntry;

impl World {
    /// Starts a process, or fails to.
    pub(super) fn start(&mut self, request: SpawnRequest) -> Option<ProcessId> {
        if self.strikes(self.scenario.faults.spawn_fails) {
            self.trace.did(self.now, Who::Worker(request.worker), Verb::CannotBeStartedAtSlot, 0);
            return None;
        }
        let mut nature = self.draw_nature();
        if self.now < self.scenario.faults_from {
            // Faults come once the app is up.
            nature.crash = nature.crash.filter(|crash| *crash != Crash::BeforeHello);
            let spoken = [Lie::ImpossibleTerms, Lie::OtherLayout];
            nature.lie = nature.lie.filter(|lie| !spoken.contains(lie));
            nature.mute = false;
        }
        self.suits_the_link(&mut nature);
        let process = self.processes.len();
        let doorbell = self.hangs_doorbell();
        self.processes.push(Process::new(request, doorbell, nature, self.now));
        self.did(process, Verb::StartsAtSlot, u64::from(request.slot.0));
        let boot = self.launches(process);
        if self.ails(self.scenario.faults.stop) {
            let when = between(&mut self.rng, boot, Span::from_ms(1_500));
            let forever = self.rng.chance(1, 3);
            let length = between(&mut self.rng, Span::from_ms(1), Span::from_ms(600));
            self.plan_in(when, Happening::Stops(process, (!forever).then_some(length)));
        }
        if self.rng.chance(1, 8) {
            self.plan_in(boot, Happening::Writes(process));
        }
        if self.ails(self.scenario.faults.detach) {
            let when = between(&mut self.rng, boot, Span::from_ms(1_500));
            self.plan_in(when, Happening::Detaches(process));
        }
        if self.ails(self.scenario.faults.sigterm) {
            let when = between(&mut self.rng, boot, Span::from_ms(1_500));
            self.plan_in(when, Happening::AsksToLeave(process));
        }
        if 1 < request.generation.0 && self.strikes(self.scenario.faults.bad_release) {
            let moment = between(&mut self.rng, Span::ZERO, Span::from_ms(5));
            self.plan_in(boot.plus(moment), Happening::Dies(process, false));
        }
        if self.ails(self.scenario.faults.fill_doorbell) {
            let when = between(&mut self.rng, boot, Span::from_ms(1_500));
            self.plan_in(when, Happening::FillsDoorbell(process));
        }
        Some(process)
    }

    fn draw_nature(&mut self) -> Nature {
        let faults = self.scenario.faults.clone();
        let concurrency = match self.scenario.concurrency {
            Concurrency::Same(concurrency) => concurrency,
            Concurrency::Mixed => pick(&mut self.rng, &[1, 1, 3, 8]),
        };
        let slow = self.ails(faults.slow);
        let patience = if slow { Span::from_ms(25) } else { Span::from_us(60) };
        let connections_max = self.scenario.connections_max;
        Nature {
            terms: Terms { concurrency, connections_max },
            latency: between(&mut self.rng, Span::from_us(5), patience),
            service: self.scenario.service,
            crash: self.ails(faults.crash).then(|| pick(&mut self.rng, &CRASHES)),
            lie: self.ails(faults.lie).then(|| pick(&mut self.rng, &LIES)),
            mute: self.ails(faults.mute),
            obeys_drain: !self.ails(faults.deaf_to_drain),
            obeys_term: !self.ails(faults.deaf_to_term),
            dies_when_killed: !self.ails(faults.unkillable),
        }
    }

    /// A worker does what its link lets it do.
    fn suits_the_link(&self, nature: &mut Nature) {
        let lies: &[Lie] = match (self.scenario.has_channels(), self.scenario.tells_endings()) {
            (true, true) => return,
            (true, false) => &[
                Lie::BadMessage,
                Lie::DoubleHello,
                Lie::StaleTicket,
                Lie::OthersTicket,
                Lie::NeverClaims,
            ],
            (false, _) => &[],
        };
        nature.lie = nature.lie.filter(|lie| lies.contains(lie));
        // It acknowledges before it reads.
        nature.crash = nature.crash.filter(|crash| *crash != Crash::Unsaid);
    }

    pub(super) fn did(&mut self, process: ProcessId, verb: Verb, number: u64) {
        let id = self.processes[process].id;
        self.trace.did(self.now, Who::Worker(id), verb, number);
    }

    /// Whether it can do anything at the moment.
    pub(super) fn runs(&self, process: ProcessId) -> bool {
        self.processes[process].runs()
    }

    pub(super) fn boots(&mut self, process: ProcessId) {
        if self.processes[process].ended.is_some() {
            return;
        }
        if !self.runs(process) || self.processes[process].launch == Launch::Pending {
            // It goes on with that when it is continued, or when it has become its program.
            return;
        }
        self.processes[process].up = true;
        self.did(process, Verb::SaysHello, 0);
        if self.processes[process].nature.lie == Some(Lie::ImpossibleTerms) {
            let bad =
                Terms { concurrency: pick(&mut self.rng, &[0, u32::MAX]), connections_max: 9 };
            self.processes[process].nature.terms = bad;
        }
        if self.scenario.has_channels() {
            self.sends_message(process, WorkerMessage::Hello);
        } else {
            self.processes[process].notified = true;
            self.stir(Object::Notice(process));
        }
        if self.processes[process].nature.lie.is_some() {
            self.plan_in(Span::from_ms(1), Happening::Lies(process));
        }
        self.look_soon(process);
    }

    /// Lets it look at its channel after its latency.
    pub(super) fn look_soon(&mut self, process: ProcessId) {
        let this = &mut self.processes[process];
        if !this.looking && this.ended.is_none() && this.up {
            this.looking = true;
            let latency = this.nature.latency;
            self.plan_in(latency, Happening::Looks(process));
        }
    }

    /// A connection waits at a listener that workers accept from as well.
    pub(super) fn wake_acceptors(&mut self, listener: usize) {
        if !self.scenario.is_kernel() {
            return;
        }
        for process in 0..self.processes.len() {
            if self.accepts_from(process, listener) {
                self.look_soon(process);
            }
        }
    }

    fn accepts_from(&self, process: ProcessId, listener: usize) -> bool {
        let this = &self.processes[process];
        let slot = self.listeners[listener].slot;
        this.ended.is_none() && this.up && slot.is_none_or(|slot| slot == this.slot)
    }

    /// Takes in what there is, as far as it goes.
    pub(super) fn looks(&mut self, process: ProcessId) {
        let this = &mut self.processes[process];
        this.looking = false;
        this.sleeps += this.sleeps & 1;
        while self.runs(process) && self.processes[process].up {
            self.runs_offer_entries(process);
            if self.claims_next(process) || self.receives_next(process) {
                continue;
            }
            if self.leaves_if_told(process) || !self.accepts_next(process) {
                break;
            }
        }
        // One that is stopped goes to sleep when it goes on.
        self.processes[process].sleeps |= 1;
    }

    /// Does what the master has written.
    fn runs_offer_entries(&mut self, process: ProcessId) {
        while let Some(words) = self.processes[process].offer_entries.pop_front() {
            let Ok(offer_entry) = OfferEntry::decode(words) else {
                let id = self.processes[process].id;
                return self.fail(format!("worker {id} was told {words:?}"));
            };
            let (OfferEntry::Offer(ticket) | OfferEntry::Forget(ticket)) = offer_entry;
            // The message with the descriptor may not have been read.
            while !self.processes[process].copies.contains_key(&ticket) {
                if !self.opens_message(process) {
                    break;
                }
            }
            match offer_entry {
                OfferEntry::Offer(ticket) => self.processes[process].inbox.push_back(ticket),
                OfferEntry::Forget(ticket) => {
                    if let Some(copy) = self.processes[process].copies.remove(&ticket) {
                        self.close(copy);
                    }
                }
            }
        }
    }

    /// Begins with something that it has received.
    fn claims_next(&mut self, process: ProcessId) -> bool {
        let this = &self.processes[process];
        // Whoever only acknowledges does that at once.
        let can = this.has_credit() || !self.scenario.tells_endings();
        if this.nature.lie == Some(Lie::NeverClaims) || !can {
            return false;
        }
        let Some(ticket) = self.processes[process].inbox.pop_front() else { return false };
        let this = &mut self.processes[process];
        let open = this.claims.get(&ticket) == Some(&Claim::Open)
            || self.sabotage == Some(Sabotage::ClaimRecalled);
        let Some(copy) = (if open { this.copies.remove(&ticket) } else { None }) else {
            self.did(process, Verb::MissesIndex, u64::from(ticket.index));
            self.sends_message(process, WorkerMessage::Missed(ticket));
            return true;
        };
        let connection = self.connection_of(copy);
        self.processes[process].claims.insert(ticket, Claim::Claimed);
        self.did(process, Verb::Claims, connection as u64);
        let requests = self.begins(process, connection);
        if self.processes[process].nature.crash == Some(Crash::Unsaid) {
            self.close(copy);
            self.dies(process, false);
            return true;
        }
        let transit_us = u32::try_from(self.rng.below(200)).unwrap_or(0);
        self.sends_message(process, WorkerMessage::Claimed { ticket, transit_us });
        // Nothing more is said of what only has to be acknowledged.
        let ticket = Some(ticket).filter(|_| self.scenario.tells_endings());
        self.works_on(process, Job::new(connection, copy, ticket, self.now, requests));
        if self.processes[process].nature.crash == Some(Crash::Claimed) {
            self.dies(process, false);
        }
        true
    }

    fn works_on(&mut self, process: ProcessId, job: Job) {
        let this = &mut self.processes[process];
        this.has_begun = true;
        this.running += 1;
        this.load.in_flight += 1;
        this.load.connections += 1;
        this.jobs.push(job);
        let most = this.nature.service;
        let service = between(&mut self.rng, Span::from_us(20), most);
        let service = service.times(length_of(job.connection));
        self.plan_in(service, Happening::Works(process, job.connection));
        if self.processes[process].nature.crash == Some(Crash::InService) {
            let halfway = Span::from_ns(service.as_ns() / 2);
            self.plan_in(halfway, Happening::Dies(process, false));
        }
    }

    /// Reads one message; whoever reads it first has it.
    fn receives_next(&mut self, process: ProcessId) -> bool {
        let greedy = self.scenario.greedy;
        let at_once = !self.scenario.tells_endings();
        let this = &mut self.processes[process];
        let wants = at_once && this.inbox.is_empty()
            || greedy && 1 < this.nature.terms.concurrency
            || this.has_credit() && this.inbox.is_empty()
            || this.nature.lie == Some(Lie::NeverClaims) && this.inbox.is_empty();
        if !wants {
            return false;
        }
        match this.channel.front() {
            None => return false,
            Some(message) if !message.copies.is_empty() => {
                if this.nature.crash == Some(Crash::Unread) {
                    self.dies(process, false);
                    return true;
                }
            }
            Some(_) => {}
        }
        self.opens_message(process)
    }

    /// Takes in one message, if there is any.
    fn opens_message(&mut self, process: ProcessId) -> bool {
        let Some(message) = self.processes[process].channel.pop_front() else { return false };
        let opened = Header::decode(&message.words, message.copies.len());
        let Ok((Header { kind, .. }, words)) = opened else {
            self.fail(format!(
                "worker {} was sent {:?}",
                self.processes[process].id, message.words
            ));
            return false;
        };
        match kind {
            BatchKind::Look => return true,
            BatchKind::Offer => {}
        }
        for (ticket, copy) in tickets(words).zip(message.copies) {
            self.receives(process, copy);
            let this = &mut self.processes[process];
            this.inbox.push_back(ticket);
            if let Some(old) = this.copies.insert(ticket, copy) {
                self.close(old);
            }
        }
        if self.processes[process].nature.crash == Some(Crash::Received) {
            self.dies(process, false);
        }
        true
    }

    /// Accepts a connection itself, under a kernel policy.
    fn accepts_next(&mut self, process: ProcessId) -> bool {
        let this = &self.processes[process];
        if !self.scenario.is_kernel() || !this.has_credit() || this.order != Order::Serve {
            return false;
        }
        let waits = |listener: &usize| {
            self.accepts_from(process, *listener) && !self.listeners[*listener].backlog.is_empty()
        };
        let Some(listener) = (0..self.listeners.len()).find(waits) else { return false };
        let Some(connection) = self.accept(listener) else { return false };
        self.did(process, Verb::Accepts, connection as u64);
        let copy = self.copy(Object::Connection(connection), Holder::Process(process));
        let requests = self.begins(process, connection);
        self.works_on(process, Job::new(connection, copy, None, self.now, requests));
        true
    }

    /// Finishes, if it was told to and has nothing left to do.
    fn leaves_if_told(&mut self, process: ProcessId) -> bool {
        let this = &self.processes[process];
        if this.order == Order::Serve || !this.nature.obeys_drain {
            return false;
        }
        if this.nature.crash == Some(Crash::Draining) {
            self.dies(process, false);
            return true;
        }
        if !this.inbox.is_empty() || this.jobs.iter().any(|job| job.stage != ServiceStage::Idle) {
            return true;
        }
        while let Some(job) = self.processes[process].jobs.pop() {
            match job.ticket {
                Some(ticket) if self.is_to_go_back(process, &job) => {
                    self.gives_back(process, job, ticket, 0);
                }
                Some(_) | None => self.closes(process, job),
            }
        }
        self.dies(process, true);
        true
    }

    pub(super) fn sends_message(&mut self, process: ProcessId, message: WorkerMessage) {
        let words = RingMessage { app: AppId(0), message }.encode();
        self.pushes(process, words);
    }

    pub(super) fn pushes(&mut self, process: ProcessId, words: RingWords) {
        let this = &mut self.processes[process];
        this.messages.push_back(words);
        let urgent = matches!(
            RingMessage::decode(words),
            Ok(RingMessage { message: WorkerMessage::Idle { .. }, .. })
        );
        let rings = match self.sleep_state {
            SleepState::Awake => false,
            SleepState::Content => urgent || MESSAGE_RING_DOORBELL <= this.messages.len(),
            SleepState::Waiting => true,
        };
        let (now, doorbell) = (self.now, this.doorbell);
        if rings && self.rings(doorbell) {
            self.processes[process].unheard_since.get_or_insert(now);
        }
    }

    /// It writes so much into its doorbell that nobody can ring it any more.
    pub(super) fn fills_doorbell(&mut self, process: ProcessId) {
        if self.runs(process) && self.now < self.scenario.calm_from {
            self.did(process, Verb::FillsItsDoorbell, 0);
            self.fills(self.processes[process].doorbell);
        }
    }

    /// It can be heard again, and is: whatever it has said meanwhile waits.
    pub(super) fn empties_doorbell(&mut self, process: ProcessId) {
        let Process { doorbell, ended, .. } = self.processes[process];
        if std::mem::take(&mut self.doorbells[doorbell].full) && ended.is_none() {
            self.rings(doorbell);
        }
    }

    pub(super) fn writes(&mut self, process: ProcessId) {
        if self.processes[process].ended.is_none() {
            self.processes[process].wrote = true;
            self.did(process, Verb::Writes, 0);
            self.stir(Object::Output(process));
        }
    }

    pub(super) fn stops(&mut self, process: ProcessId, length: Option<Span>) {
        if !self.runs(process) || self.scenario.calm_from <= self.now {
            return;
        }
        self.did(process, Verb::IsStopped, 0);
        self.processes[process].stopped_since = Some(self.now);
        // One that hangs in the kernel does as little, and nobody is told.
        if self.rng.chance(2, 3) {
            self.tells_of(process, ProcessChange::Stopped);
        }
        if let Some(length) = length {
            self.plan_in(length, Happening::Continues(process));
        }
    }

    pub(super) fn continues(&mut self, process: ProcessId) {
        let this = &mut self.processes[process];
        if this.ended.is_some() || this.dying || this.stopped_since.take().is_none() {
            return;
        }
        let (up, term) = (this.up, std::mem::take(&mut this.term_pending));
        self.did(process, Verb::IsContinued, 0);
        self.tells_of(process, ProcessChange::Continued);
        if term && self.processes[process].nature.obeys_term {
            return self.dies(process, false);
        }
        if up {
            self.look_soon(process);
        } else if !self.processes[process].nature.mute {
            self.plan_in(Span::from_us(100), Happening::Boots(process));
        }
    }

    fn tells_of(&mut self, process: ProcessId, change: ProcessChange) {
        self.processes[process].change = Some(change);
        self.tells_parent();
    }

    /// It closes its channel, and hangs.
    pub(super) fn detaches(&mut self, process: ProcessId) {
        let launched = self.processes[process].launch == Launch::Over;
        if !launched || !self.runs(process) || self.scenario.calm_from <= self.now {
            return;
        }
        self.did(process, Verb::ClosesItsChannel, 0);
        self.processes[process].detached = true;
        self.lose_unread(process);
        self.stir(Object::Channel(process));
    }

    /// SIGTERM from somebody else, which a worker's handler passes on; some end instead, between
    /// two requests.
    pub(super) fn asks_to_leave(&mut self, process: ProcessId) {
        if !self.runs(process) || !self.processes[process].up || !self.scenario.has_channels() {
            return;
        }
        let this = &self.processes[process];
        if process % 2 == 1 && this.jobs.is_empty() && 0 < this.load.finished {
            self.did(process, Verb::LetsItselfBeStartedAnew, 0);
            return self.dies(process, true);
        }
        self.did(process, Verb::AsksToLeave, 0);
        self.processes[process].asks_to_leave = true;
        self.rings(self.processes[process].doorbell);
    }

    /// SIGCHLD; several are one.
    fn tells_parent(&mut self) {
        if !self.notices.contains(&Notice::Children) {
            self.notices.push_back(Notice::Children);
        }
        self.stir(Object::Signals);
    }

    /// The tracer of a process that has ended lets go of it; now and then nobody is told.
    pub(super) fn becomes_reapable(&mut self, process: ProcessId) {
        self.did(process, Verb::IsLetGoOfByItsTracer, 0);
        if self.rng.chance(2, 3) {
            self.tells_parent();
        }
    }

    /// What `waitid` says, one thing at a time.
    pub(super) fn next_child(&mut self) -> Option<ChangedChild> {
        let now = self.now;
        let is_new = |process: &Process| {
            process.change.is_some() || process.reapable_from.is_some_and(|from| from <= now)
        };
        let process = self.processes.iter_mut().find(|process| is_new(process))?;
        let change = match process.change.take() {
            Some(change) => change,
            None => {
                process.reapable_from = None;
                process.seen.ended(now);
                let clean = process.ended == Some(true);
                ProcessChange::Ended(if clean { Exit::Clean } else { Exit::Failed })
            }
        };
        let known = !process.seen.is_buried();
        Some(if known { ChangedChild::Worker(process.id, change) } else { ChangedChild::Stranger })
    }

    pub(super) fn signals(&mut self, process: ProcessId, signal: Signal) {
        self.did(process, Verb::GetsSignal, signal as u64);
        let soon = between(&mut self.rng, Span::from_us(10), Span::from_ms(2));
        let calm = self.scenario.calm_from <= self.now;
        let has_channels = self.scenario.has_channels();
        let this = &mut self.processes[process];
        this.seen.signalled();
        if signal == Signal::Kill && this.stopped_since.is_some() {
            this.seen.killed_while_stopped();
        }
        if signal == Signal::Terminate && this.launch == Launch::Pending {
            let id = this.id;
            self.fail(format!("worker {id} is sent SIGTERM, and no program is there to hear it"));
            return;
        }
        match signal {
            Signal::Kill if calm || this.nature.dies_when_killed => {
                self.plan_in(soon, Happening::Dies(process, false));
            }
            Signal::Kill => {
                this.dying = true;
                self.did(process, Verb::DoesNotDie, 0);
                let long = between(&mut self.rng, Span::from_s(1), Span::from_s(20));
                self.plan_in(long, Happening::Dies(process, false));
            }
            Signal::Terminate if this.dying => {}
            // That is all that it is told.
            Signal::Terminate if !has_channels && this.nature.obeys_drain && this.up => {
                this.order = Order::Drain;
                self.look_soon(process);
            }
            Signal::Terminate if this.stopped_since.is_some() => this.term_pending = true,
            Signal::Terminate if this.nature.obeys_term => {
                self.plan_in(soon, Happening::Dies(process, false));
            }
            Signal::Terminate => {}
        }
    }

    /// Its end: the kernel closes what it had.
    pub(super) fn dies(&mut self, process: ProcessId, clean: bool) {
        if self.processes[process].ended.is_some() {
            return;
        }
        self.did(process, if clean { Verb::Leaves } else { Verb::Dies }, 0);
        self.processes[process].ended = Some(clean);
        // What found its ring full was never said.
        self.processes[process].messages.truncate(MESSAGE_RING);
        for copy in std::mem::take(&mut self.processes[process].copies).into_values() {
            self.close(copy);
        }
        for job in std::mem::take(&mut self.processes[process].jobs) {
            self.close(job.copy);
        }
        self.stir(Object::Ending(process));
        self.stir(Object::Output(process));
        self.stir(Object::Channel(process));
        self.stir(Object::Launch(process));
        self.lose_unread(process);
        self.is_to_be_reaped(process);
    }

    /// A process that has ended tells its parent, at once or when a debugger lets go of it.
    fn is_to_be_reaped(&mut self, process: ProcessId) {
        self.processes[process].change = None;
        if self.sabotage == Some(Sabotage::SwallowDeath) && strikes(&mut self.rng, 200) {
            self.processes[process].swallowed = true;
            return;
        }
        if self.ails(self.scenario.faults.reaped_late) {
            let pause = between(&mut self.rng, Span::ZERO, Span::from_ms(500));
            self.did(process, Verb::IsHeldByATracerForUs, pause.as_us());
            self.processes[process].reapable_from = Some(self.now.after(pause));
            self.plan_in(pause, Happening::BecomesReapable(process));
        } else {
            self.processes[process].reapable_from = Some(self.now);
            self.tells_parent();
        }
    }

    /// The master has closed its end: an orphan leaves.
    pub(super) fn channel_closes(&mut self, process: ProcessId) {
        if self.processes[process].ended.is_none() && !self.processes[process].dying {
            let id = self.processes[process].id;
            self.fail(format!("the channel of worker {id} is closed, and it lives"));
        }
    }

    /// What is in the channel of a process that has ended is closed with it.
    fn lose_unread(&mut self, process: ProcessId) {
        for message in std::mem::take(&mut self.processes[process].channel) {
            for copy in message.copies {
                self.close(copy);
            }
        }
    }
}
