//! The judge: what must be true of every run. It sees what passes the ports (offers, answers,
//! words, deaths) and what becomes of each socket, and keeps books of its own (`super::shadow`).

use std::collections::BTreeMap;

use super::faults::{Faults, errno};
use super::job::Job;
use super::process::{Claim, Process, ProcessId};
use super::shadow::ShadowEntry;
use super::trace::Who;
use super::verb::Verb;
use super::workload::{Client, LENGTH_MAX};
use super::world::{Holder, Object, SimConnection, SimFd, World};
use crate::engine::Engine;
use crate::engine::capabilities::OfferKind;
use crate::engine::dispatcher::Counters;
use crate::engine::dispatcher::demand::Class;
use crate::engine::dispatcher::overload::Overload;
use crate::engine::dispatcher::policy::{Binder, Depth, Rebinds};
use crate::engine::input::FirstSpeaker;
use crate::engine::supervisor::worker::WorkerState;
use crate::io::{Batch, Outcome};
use crate::limits::{
    CONCURRENCY_MAX, JBSQ_AUTO_DEPTH_MAX, KILL_TIMEOUT, PARKED_AFTER, RECALL_AFTER,
    RECALL_DOUBLINGS_MAX, SILENT_AFTER, SILENT_AFTER_FULL, TERM_TIMEOUT, VIOLATIONS_MAX,
};
use crate::master::host::Notice;
use crate::units::{RingWords, Span, Ticket, WorkerId};
use crate::wire::batch::tickets;
use crate::wire::message::{RingMessage, WorkerMessage};
use crate::wire::offer::OfferEntry;

/// An offer may lie so long at one worker, beyond the time after which it is recalled and the
/// lateness of completions.
const UNCLAIMED_MAX: Span = Span::from_ms(20);
/// Time to take back what a dead worker left.
const RECLAIM_MAX: Span = Span::from_ms(500);
/// Time after which a claimed connection's copy must have left the master.
const COPY_MAX: Span = Span::from_ms(20);
/// Time to wake a worker for an offer entry, and the master for a word.
const WAKING_MAX: Span = Span::from_ms(1);
/// How late a stop may end beyond its patience.
const STOP_SLACK: Span = Span::from_s(3);
/// Time in which an undisturbed app serves a client.
const SERVICE_MAX: Span = Span::from_s(2);

// What passes the ports.
impl World {
    pub(super) fn saw_offer(&mut self, ticket: Ticket, worker: WorkerId) {
        let Some(process) = self.process_of(worker) else {
            return self.fail(format!("ticket {ticket} is offered to {worker}, who is nobody"));
        };
        let (seen, terms) = (self.processes[process].seen, self.processes[process].nature.terms);
        if !seen.serves(self.now) {
            self.fail(format!("ticket {ticket} is offered to {worker}, who is not ready"));
        }
        // What is resumed in this very turn may come on top.
        let now = self.now;
        let counts = |entry: &&ShadowEntry| {
            entry.claimed_at.is_none() || entry.holds && entry.resumed_at != Some(now)
        };
        let outstanding = self.ledger.of(worker).filter(counts).count();
        let depth = match self.scenario.setup.rules.policy.binder() {
            Binder::AtOnce | Binder::Kernel => u32::MAX,
            Binder::OnCredit(Depth::Auto) => JBSQ_AUTO_DEPTH_MAX,
            Binder::OnCredit(Depth::Fixed(depth)) => depth,
        };
        if depth.saturating_add(terms.concurrency - 1) as usize <= outstanding {
            self.fail(format!("{worker} is offered {ticket} beyond its credit: {outstanding}"));
        }
        if terms.connections_max as usize <= self.ledger.of(worker).count() {
            self.fail(format!("{worker} is offered {ticket} beyond its connections"));
        }
        let lied = self.ledger.lies.contains(&(ticket, worker));
        if let Some(other) = self.ledger.set_with(ticket, Some(worker)) {
            self.fail(format!("{ticket} is offered to {worker}: {other} has it"));
        }
        let entry = self.ledger.entries.entry(ticket).or_default();
        entry.offered_at = now;
        if let Some(connection) = entry.connection {
            self.connections[connection].tainted |= lied;
            self.connections[connection].let_in = true;
        }
    }

    /// A batch goes out: which ticket is which connection.
    pub(super) fn saw_batch(&mut self, process: ProcessId, batch: &Batch<SimFd>) {
        let worker = self.processes[process].id;
        for (ticket, fd) in tickets(&batch.words[1..]).zip(&batch.fds) {
            let Object::Connection(connection) = fd.object else {
                self.fail(format!("{fd:?} is handed over"));
                continue;
            };
            let lied = self.ledger.lies.contains(&(ticket, worker));
            if let Some(entry) = self.ledger.entries.get_mut(&ticket) {
                entry.connection = Some(connection);
            }
            self.connections[connection].let_in = true;
            self.connections[connection].tainted |= lied;
            if *self.connections[connection].ticket.get_or_insert(ticket) != ticket {
                self.fail(format!("connection {connection} has two tickets, {ticket} is one"));
            }
            self.trace.did(self.now, Who::Worker(worker), Verb::IsSent, connection as u64);
        }
    }

    /// A result reaches the master.
    pub(super) fn saw_completion(&mut self, outcome: &Outcome<SimFd>) {
        match outcome {
            // It is the watch that has failed, and nothing is told of the connection.
            Outcome::Readable(_, Err(errno)) if *errno != errno::ECONNRESET => {}
            Outcome::Readable(SimFd { object: Object::Connection(index), .. }, _) => {
                let connection = &mut self.connections[*index];
                (connection.told, connection.let_in) = (true, false);
                self.ledger.waiting += u32::from(std::mem::take(&mut connection.parked));
            }
            Outcome::Readable(SimFd { object: Object::Ending(process), .. }, Ok(_)) => {
                let now = self.now;
                self.processes[*process].seen.ended(now);
            }
            Outcome::Readable(SimFd { object: Object::Notice(process), .. }, Ok(_)) => {
                self.processes[*process].seen.ready = true;
            }
            Outcome::Accepted(Ok(_)) => self.ledger.waiting += 1,
            Outcome::Accepted(Err(_))
            | Outcome::Readable(..)
            | Outcome::Rang(_)
            | Outcome::HandedOff(..)
            | Outcome::Received(..)
            | Outcome::Sent(..)
            | Outcome::Closed => {}
        }
    }

    /// The master looks for what a worker has said: soon after it rang, whatever others did to
    /// their doorbells.
    pub(super) fn saw_reading(&mut self, process: ProcessId) {
        let Some(since) = self.processes[process].unheard_since.take() else { return };
        let Faults { late_max, watch_fails, .. } = self.scenario.faults;
        let patience = WAKING_MAX.as_ns() + 3 * late_max.as_ns();
        let waited = self.now.since(since.max(self.jumped_at));
        // Who could not be listened to is not heard before that is tried again.
        if watch_fails == 0 && patience < waited.as_ns() {
            let id = self.processes[process].id;
            self.fail(format!("{id} rang and was not heard for {waited}"));
        }
    }

    /// The master reads a message.
    pub(super) fn saw_message(&mut self, process: ProcessId, words: RingWords) {
        let Ok(RingMessage { message, .. }) = RingMessage::decode(words) else { return };
        let worker = self.processes[process].id;
        // The master counts from what its clock said at the turn's beginning.
        let (ticket, now, told_now) = (ticket_of(message), self.now, self.told_now);
        let entry = ticket.and_then(|ticket| self.ledger.entries.get_mut(&ticket));
        let entry = entry.filter(|entry| entry.with == Some(worker));
        match (message, entry) {
            (WorkerMessage::Hello, _) => {
                let nature = self.processes[process].nature;
                let sane = (1..=CONCURRENCY_MAX).contains(&nature.terms.concurrency);
                let known = nature.lie != Some(super::faults::Lie::OtherLayout);
                self.processes[process].seen.ready |= sane && known;
            }
            (WorkerMessage::Missed(_), _) => {
                self.ledger.late = RECALL_DOUBLINGS_MAX.min(self.ledger.late + 1);
            }
            (_, None) => {}
            (WorkerMessage::Claimed { .. }, Some(entry)) if entry.claimed_at.is_none() => {
                (entry.claimed_at, entry.holds) = (Some(now), true);
                self.ledger.late = 0;
                if let (false, Some(ticket)) = (self.scenario.tells_endings(), ticket) {
                    self.ledger.remove(ticket);
                }
            }
            (_, Some(entry)) if entry.claimed_at.is_none() => {}
            (WorkerMessage::Claimed { .. }, Some(_)) => {}
            (
                WorkerMessage::Done { .. } | WorkerMessage::Waiting(_) | WorkerMessage::Pinned(_),
                Some(entry),
            ) => {
                entry.holds = false;
            }
            (WorkerMessage::Resumed(_), Some(entry)) => {
                (entry.holds, entry.resumed_at) = (true, Some(now));
            }
            (WorkerMessage::Idle { .. }, Some(entry)) => {
                (entry.claimed_at, entry.holds) = (None, false);
                entry.returned = true;
                let connection = entry.connection;
                if let Some(ticket) = ticket {
                    self.ledger.set_with(ticket, None);
                }
                if let Some(connection) = connection {
                    let connection = &mut self.connections[connection];
                    (connection.watched_since, connection.parked) = (told_now, true);
                    connection.told = false;
                }
            }
            (WorkerMessage::Closed(_), Some(_)) => {
                if let Some(ticket) = ticket {
                    self.ledger.remove(ticket);
                }
            }
        }
    }

    pub(super) fn saw_burial(&mut self, worker: WorkerId) {
        if let Some(process) = self.process_of(worker) {
            self.processes[process].seen.buried = true;
            match &self.processes[process] {
                Process { ended: None, .. } => self.is_left_behind(process),
                it if it.dying || it.shows_its_end() => {}
                _ => self.fail(format!("worker {worker} is buried, and nobody said that it ended")),
            }
            let begun = self.connections.iter().enumerate();
            let begun = begun.filter(|(_, each)| each.owner == Some(process) && !each.tainted);
            self.ledger.orphans.extend(begun.map(|(index, _)| (index, self.now)));
        }
        let left: Vec<Ticket> = self.ledger.tickets_of(worker).collect();
        for ticket in left {
            self.ledger.remove(ticket);
        }
    }

    /// A process is given up that lives: only one that cannot be killed, and not before its time.
    /// Where the master has no copies of what it had begun with, nobody can tell the clients.
    fn is_left_behind(&mut self, process: ProcessId) {
        let id = self.processes[process].id;
        if !self.processes[process].dying {
            self.fail(format!("worker {id} is buried alive"));
        }
        self.trace.did(self.now, Who::Worker(id), Verb::IsLeftBehind, 0);
        let lends = self.scenario.lends();
        for connection in self.connections.iter_mut().filter(|_| !lends) {
            connection.tainted |= connection.owner == Some(process);
        }
        if !self.scenario.tells_endings() {
            self.has_strays_for_good(process);
        }
    }

    /// Whoever is left behind keeps what was sent to it, whoever is sent that next. Where workers
    /// do not say when a connection ends, nobody in the master can end it for its client.
    fn has_strays_for_good(&mut self, process: ProcessId) {
        let theirs = [Holder::Channel(process), Holder::Process(process)];
        let strays: Vec<Object> = self
            .open_copies()
            .filter(|(_, holder)| theirs.contains(holder))
            .map(|(object, _)| object)
            .collect();
        for stray in strays {
            if let Object::Connection(index) = stray {
                self.connections[index].tainted = true;
            }
        }
    }

    /// An offer is taken back.
    pub(super) fn saw_recall(&mut self, ticket: Ticket) {
        self.ledger.back(ticket);
    }

    /// A worker has forged the word that settles whose an offer is: it may have begun with it.
    pub(super) fn saw_forgery(&mut self, ticket: Ticket) {
        let entry = self.ledger.entries.get(&ticket);
        if let Some(connection) = entry.and_then(|entry| entry.connection) {
            self.connections[connection].tainted = true;
        }
        self.ledger.back(ticket);
    }

    pub(super) fn saw_notice(&mut self, notice: Notice) {
        let stopping = self.ledger.stop_at.is_some();
        let fast = match notice {
            Notice::Terminate => false,
            Notice::Interrupt => stopping,
            Notice::Quit => true,
            Notice::Reload
            | Notice::Reopen
            | Notice::Upgrade
            | Notice::OneMore
            | Notice::OneLess
            | Notice::Children => return,
        };
        self.ledger.stop_at.get_or_insert(self.told_now);
        // Nobody has anything to finish in an app that never served.
        if fast || !self.ledger.ever_ready {
            self.ledger.fast_at.get_or_insert(self.told_now);
        }
    }
}

// What becomes of each socket.
impl World {
    /// A process has read a message with this connection in it. That says nothing of whose it is.
    pub(super) fn receives(&mut self, process: ProcessId, copy: usize) {
        self.move_copy(copy, Holder::Process(process));
        let index = self.connection_of(copy);
        let id = self.processes[process].id;
        self.trace.did(self.now, Who::Worker(id), Verb::Receives, index as u64);
    }

    /// A process is about to read what has come on a connection. Returns how many requests.
    pub(super) fn begins(&mut self, process: ProcessId, index: usize) -> u32 {
        let connection = &mut self.connections[index];
        let requests = connection.take_input();
        if let Some(other) = connection.owner.replace(process)
            && !connection.tainted
        {
            self.fail(format!("connection {index} is begun by processes {other} and {process}"));
        }
        requests
    }

    /// A process answers requests: its own, and each once.
    pub(super) fn judge_answer(&mut self, process: ProcessId, index: usize, answers: u32) {
        let connection = &self.connections[index];
        let known = connection.answered + answers <= connection.taken;
        if !connection.tainted && (connection.owner != Some(process) || !known) {
            self.fail(format!("process {process} answers {index}: {connection:?}"));
        }
        self.is_answered(index, answers);
    }

    /// The last copy of a connection is closed.
    pub(super) fn judge_end(&mut self, index: usize, by: Holder) {
        if !self.judges_master {
            return self.end(index, Verb::IsClosed);
        }
        let connection = &self.connections[index];
        let excused = connection.hung_up || connection.tainted;
        let rightly = match by {
            Holder::Process(process) if connection.owner == Some(process) => {
                match self.processes[process].ended {
                    None => Ok(Verb::IsClosedByItsWorker),
                    Some(_) => Ok(Verb::DiesWithItsWorker),
                }
            }
            // What was taken back lies on where it had been sent.
            Holder::Process(_) => self.may_close(index).ok_or(Verb::WasLostAtAWorker),
            Holder::Channel(_) => self.may_close(index).ok_or(Verb::WasLostInAChannel),
            Holder::Master => self.may_close(index).ok_or(Verb::WasDroppedByTheMaster),
            Holder::Nobody => Err(Verb::WasClosedByNobody),
        };
        match rightly {
            Ok(how) => self.end(index, how),
            Err(_) if excused => self.end(index, Verb::Ends),
            Err(how) => {
                self.end(index, how);
                self.fail(format!("connection {index} {how}"));
            }
        }
    }

    /// Why the master may close a connection.
    fn may_close(&self, index: usize) -> Option<Verb> {
        let connection = &self.connections[index];
        if connection.owner.is_some() {
            Some(Verb::HasHadItsService)
        } else if connection.let_go {
            Some(Verb::IsLetGoInSilence)
        } else if self.is_ending() {
            Some(Verb::IsClosedAtTheEnd)
        } else if connection.refused {
            Some(Verb::IsRejected)
        } else {
            None
        }
    }

    /// The master refuses a connection: one that asks, was never on its way to a worker with that,
    /// and finds others that ask too.
    pub(super) fn judge_refusal(&mut self, index: usize) {
        let hold_max = self.scenario.setup.rules.hold_max as usize;
        let rejects = self.scenario.setup.rules.overload == Overload::Reject;
        let connection = &self.connections[index];
        let is_new = connection.owner.is_none() && !connection.let_in;
        let asks = connection.ended.is_none() && self.asks(connection);
        // What a liar had to do with, nobody can judge.
        let excused = connection.tainted;
        if !(excused || rejects && is_new && asks && hold_max < self.askers()) {
            self.fail(format!("connection {index} is refused, of {}", self.askers()));
        }
        self.connections[index].refused = true;
        self.trace.did(self.now, Who::Master, Verb::Refuses, index as u64);
    }

    /// Connections that ask for a worker, wherever they are, and those that may: what a liar has
    /// begun with may wait in the master all the same.
    fn askers(&self) -> usize {
        let waits = |each: &&SimConnection| {
            let left = each.ended.is_some() || each.refused;
            let waits = each.owner.is_none() || each.tainted;
            !left && each.accepted.is_some() && waits && self.asks(each)
        };
        self.connections.iter().filter(waits).count()
    }

    fn asks(&self, connection: &SimConnection) -> bool {
        connection.told || self.scenario.listeners[connection.listener] == FirstSpeaker::Server
    }

    /// Whether what waits may be closed: patience has ended.
    fn is_ending(&self) -> bool {
        let drain = self.scenario.setup.patience.drain;
        let ledger = &self.ledger;
        ledger.over
            || ledger.fast_at.is_some()
            || ledger.stop_at.is_some_and(|at| at.after(drain) <= self.now)
    }

    /// The master shuts a connection down, since copies of it may lie about: none that a worker
    /// serves.
    pub(super) fn judge_shutdown(&mut self, index: usize) {
        let connection = &self.connections[index];
        let serves = |process: ProcessId| {
            let process = &self.processes[process];
            process.ended.is_none()
                && !process.dying
                && process.jobs.iter().any(|job| job.connection == index)
        };
        if !connection.tainted && connection.owner.is_some_and(serves) {
            self.fail(format!("connection {index} is shut down, and a worker serves it"));
        }
        self.connections[index].shut = true;
    }

    /// The master shuts a connection down for its silence.
    pub(super) fn judge_expiry(&mut self, index: usize) {
        let connection = &self.connections[index];
        let silence = self.now.since(connection.watched_since);
        let full = self.scenario.setup.rules.copies_max as usize <= self.in_master
            || !connection.parked && self.scenario.setup.rules.hold_max <= self.ledger.waiting;
        let patience = match (full, connection.parked) {
            (true, _) => SILENT_AFTER_FULL,
            (false, true) => PARKED_AFTER,
            (false, false) => SILENT_AFTER,
        };
        let long = patience <= silence || self.ledger.stop_at.is_some();
        if connection.told || !long {
            self.fail(format!("connection {index} is let go after {silence}"));
        }
        self.trace.did(self.now, Who::Master, Verb::LetsGoOf, index as u64);
    }

    /// The master closes a listener for good.
    pub(super) fn listener_closes(&mut self, listener: usize) {
        self.listeners[listener].open = false;
        let left = std::mem::take(&mut self.listeners[listener].backlog);
        // Where the master can hand nothing on, nobody is there for it at a stop.
        let is_ours = self.scenario.has_channels();
        if !left.is_empty() && !self.is_ending() && is_ours {
            self.fail(format!("connections {left:?} are left in a backlog"));
        }
        for index in left {
            self.end(index, Verb::IsLeftInTheBacklog);
        }
    }
}

// What must hold after every turn, and at the end.
impl World {
    pub(super) fn check_turn(&mut self, engine: &Engine) {
        engine.check_invariants();
        self.check_deadlines(engine);
        self.check_hold(engine);
        self.check_unclaimed();
        self.check_copies();
        self.ledger.reckoned = Some(engine.dispatcher().copies());
        self.watch_classes(engine);
        self.check_ends();
        self.check_sleepers();
        self.check_counts(engine);
    }

    /// Each end in the master's hands counts under its own name, and no more often than there was
    /// one.
    fn check_counts(&mut self, engine: &Engine) {
        let Counters { hung_up, rejected, expired, .. } = engine.dispatcher().counters();
        let count = |is_it: fn(&SimConnection) -> bool| {
            self.connections.iter().filter(|connection| is_it(connection)).count() as u64
        };
        let left = count(|connection| connection.hung_up);
        let let_go = count(|connection| connection.let_go);
        let turned_away = count(|connection| connection.refused);
        // What waits at the end is let go of without having been shut down before.
        let stays = self.ledger.stop_at.is_none();
        if left < hung_up || turned_away < rejected || stays && let_go < expired {
            self.fail(format!(
                "{hung_up} of {left} hung up, {rejected} of {turned_away} were rejected, {expired} \
                 of {let_go} expired"
            ));
        }
    }

    /// Whether long requests were ever held back: else their ways are not tried.
    fn watch_classes(&mut self, engine: &Engine) {
        let held = engine.dispatcher().ledger().held_of(Class::Long);
        let before = std::mem::replace(&mut self.ledger.holds_long, 0 < held);
        if 0 < held && !before {
            self.trace.did(self.now, Who::Master, Verb::HoldsALongRequest, held.into());
        }
    }

    /// Nobody sleeps over an offer that it was told of and not woken for, and nobody has more
    /// descriptors than it has room for.
    fn check_sleepers(&mut self) {
        let patience = WAKING_MAX.as_ns() + 3 * self.scenario.faults.late_max.as_ns();
        let mut running = self.processes.iter().filter(|process| process.runs());
        let fault = running.find_map(|process| {
            let id = process.id;
            let offer = |words| matches!(OfferEntry::decode(words), Ok(OfferEntry::Offer(_)));
            let told = process.offer_entries.iter().copied().any(offer);
            let asleep = process.sleeps & 1 == 1 && process.channel.is_empty();
            let told_at = process.told_at.max(self.jumped_at);
            let sleeps = asleep && patience < self.now.since(told_at).as_ns();
            let room = process.nature.terms.connections_max as usize;
            if told && sleeps && !process.looking {
                Some(format!("{id} sleeps over an offer"))
            } else if room < process.descriptors() && process.nature.lie.is_none() {
                Some(format!("{id} has {} descriptors, and room for {room}", process.descriptors()))
            } else {
                None
            }
        });
        if let Some(text) = fault {
            self.fail(text);
        }
    }

    fn check_deadlines(&mut self, engine: &Engine) {
        // The engine has seen this time: what was due then was to be done.
        let seen = self.told_now;
        if let Some(deadline) = engine.deadline().filter(|deadline| *deadline <= seen) {
            self.fail(format!("a deadline of {deadline:?} is left standing at {seen:?}"));
        }
        if let Some(stop_at) = self.ledger.stop_at.filter(|_| !self.ledger.over) {
            let patience = match self.ledger.fast_at {
                Some(_) => Span::ZERO,
                None => self.scenario.setup.patience.drain,
            };
            let since = self.ledger.fast_at.unwrap_or(stop_at).max(self.jumped_at);
            let limit = since.after(patience).after(TERM_TIMEOUT).after(STOP_SLACK);
            let dying = self.processes.iter().any(|process| process.dying);
            let limit = if dying { limit.after(KILL_TIMEOUT) } else { limit };
            if limit < self.now {
                self.fail("the stop takes for ever".to_owned());
            }
        }
        let mut reclaiming = BTreeMap::new();
        for (id, worker) in engine.supervisor().workers() {
            if worker.violations >= VIOLATIONS_MAX
                && !matches!(worker.state, WorkerState::Killing { .. } | WorkerState::Reclaiming)
            {
                self.fail(format!("{id} lied {} times and lives", worker.violations));
            }
            if matches!(worker.state, WorkerState::Reclaiming) {
                let since = self.ledger.reclaiming.get(&id).copied().unwrap_or(self.now);
                reclaiming.insert(id, since);
                if RECLAIM_MAX < self.now.since(since.max(self.jumped_at)) {
                    self.fail(format!("{id} is never buried"));
                }
            }
        }
        self.ledger.reclaiming = reclaiming;
    }

    fn check_hold(&mut self, engine: &Engine) {
        let ledger = engine.dispatcher().ledger();
        self.ledger.waiting = ledger.watched() + ledger.expiring() + ledger.held();
        if self.ledger.stop_at.is_some() {
            return;
        }
        let waiting = match self.scenario.setup.rules.overload {
            Overload::Hold => ledger.watched() + ledger.held(),
            Overload::Reject => ledger.held(),
        };
        let entries = self.ledger.entries.values();
        let returned = entries.filter(|entry| entry.returned && entry.with.is_none()).count();
        // Each listener may have one accept more in flight than there is room; and what lands
        // after its cancel has no room at all.
        let surplus = self.listeners.len() + self.landed;
        if self.scenario.setup.rules.hold_max as usize + returned + surplus < waiting as usize {
            self.fail(format!("{waiting} connections wait, of which {returned} came back"));
        }
    }

    /// Under policies that bind again, no offer lies about for long, stopped worker or not.
    fn check_unclaimed(&mut self) {
        let rebinds = self.scenario.setup.rules.policy.rebinds() == Rebinds::Always;
        if !rebinds || self.scenario.setup.capabilities.offers == OfferKind::Final {
            return;
        }
        let patience = RECALL_AFTER.times(1 << self.ledger.late).plus(UNCLAIMED_MAX);
        let limit = patience.as_ns() + 3 * self.scenario.faults.late_max.as_ns();
        let lying = self.ledger.entries.iter().find_map(|(ticket, entry)| {
            let worker = entry.with.filter(|_| entry.claimed_at.is_none())?;
            let process = &self.processes[self.process_of(worker)?];
            let waited = self.now.since(entry.offered_at.max(self.jumped_at));
            let open = process.claims.get(ticket) == Some(&Claim::Open);
            (open && limit < waited.as_ns()).then_some((*ticket, worker, waited))
        });
        if let Some((ticket, worker, waited)) = lying {
            self.fail(format!("the offer of {ticket} lies unclaimed at {worker} for {waited}"));
        }
    }

    /// A client whose worker has died learns of it, wherever copies of its connection lie.
    fn check_ends(&mut self) {
        let limit = COPY_MAX.as_ns() + 3 * self.scenario.faults.late_max.as_ns();
        let Self { now, jumped_at, connections, ledger, .. } = self;
        ledger.orphans.retain(|(index, _)| {
            let connection = &connections[*index];
            0 < connection.copies && !connection.shut
        });
        let forgotten = ledger
            .orphans
            .iter()
            .find(|(_, since)| limit < now.since((*since).max(*jumped_at)).as_ns());
        if let Some((index, _)) = forgotten {
            let text = format!("the client of connection {index} waits for an end in vain");
            self.fail(text);
        }
    }

    /// No copy of a connection stays in the master once it is claimed, unless another one lies
    /// where an offer of it was taken back.
    fn check_copies(&mut self) {
        if self.scenario.lends() {
            return;
        }
        let overdue = self.ledger.entries.iter().find_map(|(ticket, entry)| {
            let claimed_at = entry.claimed_at.filter(|_| !entry.astray)?.max(self.jumped_at);
            let connection = entry.connection?;
            let late = COPY_MAX < self.now.since(claimed_at);
            let kept = late
                && self.open_in_master().any(|object| object == Object::Connection(connection));
            kept.then_some((*ticket, connection))
        });
        if let Some((ticket, connection)) = overdue {
            self.fail(format!(
                "the master keeps a copy of {connection} ({ticket}), claimed long ago"
            ));
        }
    }

    /// The master has no more descriptors of connections than it reckons with when it accepts, but
    /// for those that come with what it has not been told yet. What it closes is closed.
    pub(super) fn check_descriptors(&mut self, untold: impl FnOnce() -> usize) {
        let Some(reckoned) = self.ledger.reckoned.take() else { return };
        self.settle();
        let (have, untold) = (self.in_master, untold());
        if reckoned as usize + untold < have {
            self.fail(format!(
                "the master has {have} descriptors of connections and reckons with {reckoned}, and \
                 {untold} are untold"
            ));
        }
    }

    /// After the faults: the app is whole, and everybody who asked has been served.
    pub(super) fn check_recovery(&mut self, engine: &Engine) {
        let (have, want) = engine.supervisor().strength();
        if have != want {
            self.fail(format!("{have} of {want} workers are ready, long after the last fault"));
        }
        if let Some(release) = self.ledger.rollout {
            self.fail(format!("release {} is rolled out for ever", release.0));
        }
        self.check_given_up();
        let serving = self.processes.iter().filter(|process| {
            process.ended.is_none()
                && process.seen.serves(self.now)
                && process.stopped_since.is_none()
        });
        let serving = serving.count();
        if serving < usize::from(want) {
            self.fail(format!("{serving} processes serve where {want} should"));
        }
        // Where all wait for few workers, the last waits for all that the others want.
        let open = |(each, _): &(&SimConnection, &Client)| each.ended.is_none();
        let clients = self.connections.iter().zip(&self.scenario.clients).filter(open);
        let wanted = clients.map(|(each, client)| client.requests.saturating_sub(each.answered));
        let wanted = u64::from(wanted.sum::<u32>());
        let work = self.scenario.service.times(LENGTH_MAX).times(wanted);
        let patience = SERVICE_MAX.plus(Span::from_ns(work.as_ns() / u64::from(want.max(1))));
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            let asks = connection.answered < connection.asked && !connection.hung_up;
            let long = patience < self.now.since(connection.asked_at);
            // What a liar read, and gave back unanswered, nobody can answer any more.
            let stolen = connection.tainted && (connection.parked || !connection.has_input());
            let over = connection.ended.is_some() || connection.shut || stolen;
            if asks && long && !over {
                self.fail(format!("connection {index} is not served: {connection:?}"));
            }
        }
        self.check_accounts(engine);
    }

    /// What the engine believes to be with workers is there.
    fn check_accounts(&mut self, engine: &Engine) {
        let unread = |kind: fn(WorkerMessage) -> bool| {
            let heard = self.processes.iter().filter(|process| !process.seen.is_buried());
            heard
                .flat_map(|process| &process.messages)
                .filter_map(|words| RingMessage::decode(*words).ok())
                .filter(|each| kind(each.message))
                .count()
        };
        // A liar may go on with what it has given away.
        let known = self.processes.iter().enumerate();
        let known = known.filter(|(_, process)| !process.seen.is_buried());
        let begun = known.flat_map(|(id, process)| process.jobs.iter().map(move |job| (id, job)));
        let has = |(id, job): &(ProcessId, &Job)| {
            let connection = &self.connections[job.connection];
            let given_away = connection.tainted && connection.parked;
            job.ticket.is_some() && connection.owner == Some(*id) && !given_away
        };
        let begun = begun.filter(has).count();
        let closed = unread(|message| matches!(message, WorkerMessage::Closed(_)));
        let idle = unread(|message| matches!(message, WorkerMessage::Idle { .. }));
        let claimed = unread(|message| matches!(message, WorkerMessage::Claimed { .. }));
        let there = (begun + closed + idle).saturating_sub(claimed);
        let believed = engine.dispatcher().ledger().delivered() as usize;
        if believed != there {
            self.fail(format!("{believed} connections are believed with workers, {there} are"));
        }
    }

    /// After the end nothing is left.
    pub(super) fn check_end(&mut self) {
        self.standing.clear();
        self.settle();
        let left_behind = |holder: Holder| match holder {
            Holder::Process(process) | Holder::Channel(process) => self.processes[process].dying,
            Holder::Master | Holder::Nobody => false,
        };
        let open = self.open_copies().find(|(_, holder)| !left_behind(*holder));
        if let Some((object, holder)) = open {
            self.fail(format!("{object:?} is open at the end, with {holder:?}"));
        }
        let outlives = |process: &&Process| process.ended.is_none() && !process.dying;
        if let Some(process) = self.processes.iter().find(outlives) {
            let id = process.id;
            self.fail(format!("worker {id} outlives its master"));
        }
        let lost = self.connections.iter().position(|connection| {
            connection.accepted.is_some() && connection.ended.is_none() && connection.copies == 0
        });
        if let Some(index) = lost {
            self.fail(format!("connection {index} has no end"));
        }
    }
}

const fn ticket_of(message: WorkerMessage) -> Option<Ticket> {
    match message {
        WorkerMessage::Hello => None,
        WorkerMessage::Claimed { ticket, .. }
        | WorkerMessage::Done { ticket, .. }
        | WorkerMessage::Idle { ticket, .. }
        | WorkerMessage::Waiting(ticket)
        | WorkerMessage::Resumed(ticket)
        | WorkerMessage::Pinned(ticket)
        | WorkerMessage::Closed(ticket)
        | WorkerMessage::Missed(ticket) => Some(ticket),
    }
}
