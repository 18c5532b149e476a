//! The fake kernel: a clock that moves only when somebody waits, an agenda of what will happen,
//! and sockets as counted copies. Backend and host are two views of this one world.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::faults::{Sabotage, between, strikes};
use super::process::{Process, ProcessId};
use super::shadow::ShadowLedger;
use super::trace::{RunTrace, Who};
use super::verb::Verb;
use super::workload::Scenario;
use crate::engine::rng::Rng;
use crate::link::pages::SleepState;
use crate::master::host::{Launch, Notice};
use crate::units::{GiveBack, Mono, Span, Ticket, WorkerId};

/// A world that backend and host share.
pub(super) type Shared = Rc<RefCell<World>>;

/// Everything there is outside the master.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Mono,
    /// The time that the master read last.
    pub(super) told_now: Mono,
    pub(super) rng: Rng,
    pub(super) scenario: Scenario,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) trace: RunTrace,
    /// What is wrong; the first finding counts.
    pub(super) verdict: Option<String>,
    agenda: BTreeMap<(Mono, u64), Happening>,
    serial: u64,
    desk: Desk,
    copies: Vec<Replica>,
    /// Copies of connections that the master has.
    pub(super) in_master: usize,
    pub(super) connections: Vec<SimConnection>,
    pub(super) processes: Vec<Process>,
    pub(super) listeners: Vec<SimListener>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) sleep_state: SleepState,
    /// What the master's page says of connections that have been answered.
    pub(super) give_back: GiveBack,
    /// All doorbells that ever were.
    pub(super) doorbells: Vec<SimEventfd>,
    /// Objects that may have become ready since the backend last looked.
    pub(super) stirred: Vec<Object>,
    pub(super) ledger: ShadowLedger,
    pub(super) jumped_at: Mono,
    /// Accepts that landed though they were cancelled.
    pub(super) landed: usize,
    /// Whether a master lives here, whose doings are judged; on a stage none does.
    pub(super) judges_master: bool,
    /// Copies that are watched again and again: the port closes them, and nobody else does.
    pub(super) standing: BTreeSet<usize>,
}

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Object {
    Connection(usize),
    Listener(usize),
    /// The master's end of a process's channel.
    Channel(ProcessId),
    Ending(ProcessId),
    Launch(ProcessId),
    Output(ProcessId),
    Doorbell(usize),
    /// A process's word that it is ready, where it says nothing else.
    Notice(ProcessId),
    Signals,
}

/// Who has a copy of a descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// The master, or an operation of its backend.
    Master,
    /// A message that nobody has read.
    Channel(ProcessId),
    Process(ProcessId),
    Nobody,
}

/// A descriptor in the fake kernel: one copy of an object. Dropping it closes the copy.
pub struct SimFd {
    copy: usize,
    pub(super) object: Object,
    desk: Desk,
}

type Desk = Rc<RefCell<Vec<usize>>>;

#[derive(Clone, Copy, Debug)]
struct Replica {
    object: Object,
    holder: Holder,
}

/// A client's connection, seen from above.
#[derive(Clone, Debug)]
pub(super) struct SimConnection {
    pub(super) listener: usize,
    /// Requests that the client has sent.
    pub(super) asked: u32,
    /// Those of them that a process has read.
    pub(super) taken: u32,
    pub(super) answered: u32,
    /// When the last request was sent.
    pub(super) asked_at: Mono,
    pub(super) hung_up: bool,
    /// One side has shut it down.
    pub(super) shut: bool,
    /// The master lets it go for its silence.
    pub(super) let_go: bool,
    /// The master has told its client that too many wait.
    pub(super) refused: bool,
    /// It was on its way to a worker with what it asks for.
    pub(super) let_in: bool,
    pub(super) copies: u32,
    pub(super) accepted: Option<Mono>,
    /// Since when the master has been watching it: since it was accepted, or given back.
    pub(super) watched_since: Mono,
    /// The master watches it for its next request.
    pub(super) parked: bool,
    pub(super) ticket: Option<Ticket>,
    /// The master has been told that it is readable.
    pub(super) told: bool,
    /// The process that has begun with it, and not given it back.
    pub(super) owner: Option<ProcessId>,
    /// A liar had to do with it: it may be lost.
    pub(super) tainted: bool,
    pub(super) ended: Option<Verb>,
}

/// An eventfd that nobody reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SimEventfd {
    /// It was rung, and nobody has been told of that.
    pub(super) rung: bool,
    /// It cannot be rung any more.
    pub(super) full: bool,
}

/// A listening socket.
#[derive(Clone, Debug)]
pub(super) struct SimListener {
    pub(super) backlog: VecDeque<usize>,
    /// The master has it open.
    pub(super) open: bool,
    /// The slot whose worker accepts from it too.
    pub(super) slot: Option<usize>,
}

/// What will happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Connects(usize),
    Sends(usize),
    HangsUp(usize),
    Boots(ProcessId),
    Looks(ProcessId),
    Works(ProcessId, usize),
    Stops(ProcessId, Option<Span>),
    Continues(ProcessId),
    Lies(ProcessId),
    Writes(ProcessId),
    Dies(ProcessId, bool),
    BecomesReapable(ProcessId),
    Detaches(ProcessId),
    AsksToLeave(ProcessId),
    FillsDoorbell(ProcessId),
    Executes(ProcessId, Span),
    FailsToExecute(ProcessId),
    Orders(Notice),
    Jumps(Span),
    CalmsDown,
}

impl World {
    pub(super) fn new(scenario: Scenario, rng: Rng, trace: RunTrace) -> Self {
        let by_slot =
            scenario.setup.rules.policy == crate::engine::dispatcher::policy::Policy::Reuseport;
        let listener = |slot| SimListener::new(by_slot.then_some(slot));
        let listeners = (0..scenario.listeners.len()).map(listener).collect();
        let mut world = Self {
            now: Mono::from_ns(1_000),
            told_now: Mono::ZERO,
            rng,
            scenario,
            sabotage: None,
            trace,
            verdict: None,
            agenda: BTreeMap::new(),
            serial: 0,
            desk: Desk::default(),
            copies: Vec::new(),
            in_master: 0,
            connections: Vec::new(),
            processes: Vec::new(),
            listeners,
            notices: VecDeque::new(),
            sleep_state: SleepState::Awake,
            give_back: GiveBack::Never,
            doorbells: Vec::new(),
            stirred: Vec::new(),
            ledger: ShadowLedger::default(),
            jumped_at: Mono::ZERO,
            landed: 0,
            judges_master: true,
            standing: BTreeSet::new(),
        };
        world.write_agenda();
        world
    }

    fn write_agenda(&mut self) {
        for index in 0..self.scenario.clients.len() {
            let client = self.scenario.clients[index];
            let listeners = self.listeners.len() as u64;
            let listener =
                usize::try_from(self.rng.below(listeners)).expect("there are few listeners");
            self.dials(listener);
            self.plan(client.connects, Happening::Connects(index));
            if let Some(at) = client.sends {
                self.plan(at, Happening::Sends(index));
            }
            if let Some(at) = client.hangs_up {
                self.plan(at, Happening::HangsUp(index));
            }
        }
        for (at, notice) in self.scenario.orders.clone() {
            self.plan(at, Happening::Orders(notice));
        }
        let calm_from = self.scenario.calm_from;
        self.plan(calm_from, Happening::CalmsDown);
        for _ in 0..self.scenario.faults.jumps {
            let at = Mono::from_ns(self.rng.below(calm_from.as_ns()));
            let leap = between(&mut self.rng, Span::from_ms(5), Span::from_s(3));
            self.plan(at, Happening::Jumps(leap));
        }
    }

    /// Puts something on the agenda; what is planned for one instant happens in the order of
    /// planning.
    pub(super) fn plan(&mut self, at: Mono, happening: Happening) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), happening);
    }

    pub(super) fn plan_in(&mut self, after: Span, happening: Happening) {
        self.plan(self.now.after(after), happening);
    }

    pub(super) fn next_happening(&self) -> Option<Mono> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets everything happen that is due.
    pub(super) fn live(&mut self) {
        self.settle();
        while let Some(entry) = self.agenda.first_entry() {
            if self.now < entry.key().0 {
                break;
            }
            let happening = entry.remove();
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connects(connection) => self.connects(connection),
            Happening::Sends(connection) => self.sends(connection),
            Happening::HangsUp(connection) => self.hangs_up(connection),
            Happening::Boots(process) => self.boots(process),
            Happening::Looks(process) => self.looks(process),
            Happening::Works(process, connection) => self.works(process, connection),
            Happening::Stops(process, length) => self.stops(process, length),
            Happening::Continues(process) => self.continues(process),
            Happening::Lies(process) => self.lies(process),
            Happening::Writes(process) => self.writes(process),
            Happening::Dies(process, clean) => self.dies(process, clean),
            Happening::BecomesReapable(process) => self.becomes_reapable(process),
            Happening::Detaches(process) => self.detaches(process),
            Happening::AsksToLeave(process) => self.asks_to_leave(process),
            Happening::FillsDoorbell(process) => self.fills_doorbell(process),
            Happening::Executes(process, boot) => self.executes(process, boot),
            Happening::FailsToExecute(process) => self.fails_to_execute(process),
            Happening::Orders(notice) => {
                self.trace.did(self.now, Who::Operator, Verb::Orders, notice as u64);
                self.notices.push_back(notice);
                self.stir(Object::Signals);
            }
            Happening::Jumps(leap) => {
                self.trace.did(self.now, Who::Kernel, Verb::LeapsAheadByUs, leap.as_us());
                self.now = self.now.after(leap);
                self.jumped_at = self.now;
            }
            Happening::CalmsDown => self.calms_down(),
        }
    }

    /// Whether faults of this rate strike now: only in their time.
    pub(super) fn strikes(&mut self, per_mille: u64) -> bool {
        let active = self.scenario.faults_from <= self.now && self.now < self.scenario.calm_from;
        active && strikes(&mut self.rng, per_mille)
    }

    /// Whether a process that starts now has a flaw of this rate.
    pub(super) fn ails(&mut self, per_mille: u64) -> bool {
        self.now < self.scenario.calm_from && strikes(&mut self.rng, per_mille)
    }

    /// How late a completion comes.
    pub(super) fn lateness(&mut self) -> Span {
        let faults = &self.scenario.faults;
        let (late, most) = (faults.late, faults.late_max);
        if self.strikes(late) { between(&mut self.rng, Span::ZERO, most) } else { Span::ZERO }
    }

    pub(super) fn stir(&mut self, object: Object) {
        self.stirred.push(object);
    }

    /// The master did what it must not.
    pub(super) fn fail(&mut self, text: String) {
        if self.judges_master {
            self.verdict.get_or_insert(text);
        }
    }

    /// The fake kernel itself did what none may do.
    pub(super) fn breaks(&mut self, text: String) {
        self.verdict.get_or_insert(text);
    }

    /// A new doorbell.
    pub(super) fn hangs_doorbell(&mut self) -> usize {
        self.doorbells.push(SimEventfd::default());
        self.doorbells.len() - 1
    }

    /// Somebody rings. Whether that is to be heard: not when it has filled the doorbell.
    pub(super) fn rings(&mut self, doorbell: usize) -> bool {
        let filled = |doorbell: &SimEventfd| doorbell.full;
        let silenced = match self.sabotage {
            Some(Sabotage::ShareDoorbell) => self.doorbells.iter().any(filled),
            Some(_) | None => filled(&self.doorbells[doorbell]),
        };
        if !silenced {
            self.doorbells[doorbell].rung = true;
            self.stir(Object::Doorbell(doorbell));
        }
        !self.doorbells[doorbell].full
    }

    /// Somebody writes as much into a doorbell as goes, which is heard, for the last time.
    pub(super) fn fills(&mut self, doorbell: usize) {
        self.doorbells[doorbell] = SimEventfd { rung: true, full: true };
        self.stir(Object::Doorbell(doorbell));
    }

    /// A client that will connect to this listener.
    pub(super) fn dials(&mut self, listener: usize) -> usize {
        self.connections.push(SimConnection::new(listener));
        self.connections.len() - 1
    }

    fn connects(&mut self, index: usize) {
        let listener = self.connections[index].listener;
        self.trace.did(self.now, Who::Client, Verb::Connects, index as u64);
        if !self.listeners[listener].open {
            return self.end(index, Verb::FindsNobodyListening);
        }
        self.listeners[listener].backlog.push_back(index);
        self.stir(Object::Listener(listener));
        self.wake_acceptors(listener);
    }

    fn sends(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let over = connection.ended.is_some() || connection.shut;
        if !over && !connection.hung_up {
            connection.asked += 1;
            connection.asked_at = self.now;
            self.trace.did(self.now, Who::Client, Verb::Sends, index as u64);
            self.stir(Object::Connection(index));
        }
    }

    /// A client has its answers. It may have more to ask.
    pub(super) fn is_answered(&mut self, index: usize, answers: u32) {
        self.connections[index].answered += answers;
        let Some(client) = self.scenario.clients.get(index).copied() else { return };
        if self.connections[index].asked < client.requests {
            let pause = between(&mut self.rng, Span::ZERO, client.thinks);
            self.plan_in(pause, Happening::Sends(index));
        }
    }

    fn hangs_up(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.ended.is_none() {
            connection.hung_up = true;
            self.trace.did(self.now, Who::Client, Verb::HangsUp, index as u64);
            self.stir(Object::Connection(index));
        }
    }

    fn calms_down(&mut self) {
        self.trace.did(self.now, Who::Kernel, Verb::CalmsDown, 0);
        for process in 0..self.processes.len() {
            self.continues(process);
            self.empties_doorbell(process);
        }
    }

    /// Accepts the first connection of a backlog.
    pub(super) fn accept(&mut self, listener: usize) -> Option<usize> {
        let index = self.listeners[listener].backlog.pop_front()?;
        self.connections[index].accepted = Some(self.now);
        // The master counts from what its clock said, which it may have read before a leap.
        let leapt = self.told_now < self.jumped_at;
        self.connections[index].watched_since = if leapt { self.told_now } else { self.now };
        Some(index)
    }

    pub(super) fn is_readable(&self, object: Object) -> bool {
        match object {
            Object::Connection(index) => {
                let connection = &self.connections[index];
                connection.has_input() || connection.hung_up || connection.shut
            }
            Object::Ending(process) => self.processes[process].shows_its_end(),
            Object::Output(process) => {
                self.processes[process].ended.is_some() || self.processes[process].wrote
            }
            Object::Launch(process) => {
                let process = &self.processes[process];
                process.ended.is_some() || process.launch != Launch::Pending
            }
            Object::Signals => !self.notices.is_empty(),
            Object::Listener(listener) => !self.listeners[listener].backlog.is_empty(),
            Object::Doorbell(doorbell) => self.doorbells[doorbell].rung,
            Object::Channel(process) => self.has_no_reader(process),
            Object::Notice(process) => self.processes[process].notified,
        }
    }

    /// A new copy of an object's descriptor.
    pub(super) fn copy(&mut self, object: Object, holder: Holder) -> usize {
        if let Object::Connection(index) = object {
            self.connections[index].copies += 1;
        }
        self.copies.push(Replica { object, holder: Holder::Nobody });
        let copy = self.copies.len() - 1;
        self.move_copy(copy, holder);
        copy
    }

    /// A descriptor for the master.
    pub(super) fn open(&mut self, object: Object) -> SimFd {
        let copy = self.copy(object, Holder::Master);
        self.descriptor(copy)
    }

    /// The descriptor of a copy that comes to the master.
    pub(super) fn descriptor(&mut self, copy: usize) -> SimFd {
        self.move_copy(copy, Holder::Master);
        SimFd { copy, object: self.copies[copy].object, desk: Rc::clone(&self.desk) }
    }

    pub(super) fn connection_of(&self, copy: usize) -> usize {
        match self.copies[copy].object {
            Object::Connection(index) => index,
            other => unreachable!("{other:?} is no connection"),
        }
    }

    pub(super) fn move_copy(&mut self, copy: usize, holder: Holder) {
        let Replica { object, holder: before } = self.copies[copy];
        if let Object::Connection(_) = object {
            self.in_master -= usize::from(before == Holder::Master);
            self.in_master += usize::from(holder == Holder::Master);
        }
        self.copies[copy].holder = holder;
    }

    /// What the master has a copy of, as often as it has one.
    pub(super) fn open_in_master(&self) -> impl Iterator<Item = Object> + '_ {
        self.copies.iter().filter(|copy| copy.holder == Holder::Master).map(|copy| copy.object)
    }

    /// Every open copy.
    pub(super) fn open_copies(&self) -> impl Iterator<Item = (Object, Holder)> + '_ {
        let open = self.copies.iter().filter(|copy| copy.holder != Holder::Nobody);
        open.map(|copy| (copy.object, copy.holder))
    }

    /// Closes what the master has dropped since.
    pub(super) fn settle(&mut self) {
        let dropped = std::mem::take(&mut *self.desk.borrow_mut());
        for copy in dropped {
            if self.standing.remove(&copy) && self.judges_master {
                self.breaks("a standing watch's descriptor is closed behind its back".to_owned());
            }
            self.close(copy);
        }
    }

    pub(super) fn close(&mut self, copy: usize) {
        let Replica { object, holder } = self.copies[copy];
        if holder == Holder::Nobody {
            return self.breaks(format!("a descriptor of {object:?} is closed twice"));
        }
        self.move_copy(copy, Holder::Nobody);
        match object {
            Object::Connection(index) => {
                self.connections[index].copies -= 1;
                if self.connections[index].copies == 0 {
                    self.judge_end(index, holder);
                }
            }
            Object::Listener(_) if self.is_open(object) => {}
            Object::Listener(listener) => self.listener_closes(listener),
            Object::Channel(_) if self.is_open(object) => {}
            Object::Channel(process) => self.channel_closes(process),
            Object::Ending(_)
            | Object::Launch(_)
            | Object::Output(_)
            | Object::Doorbell(_)
            | Object::Notice(_)
            | Object::Signals => {}
        }
    }

    /// Whether nobody can read a process's channel any more.
    pub(super) fn has_no_reader(&self, process: ProcessId) -> bool {
        let process = &self.processes[process];
        process.ended.is_some() || process.detached
    }

    /// Whether anybody has it open; what is dropped and not settled yet is closed.
    fn is_open(&self, object: Object) -> bool {
        let dropped = self.desk.borrow();
        let mut copies = self.copies.iter().enumerate();
        copies.any(|(copy, each)| {
            each.object == object && each.holder != Holder::Nobody && !dropped.contains(&copy)
        })
    }

    /// A connection has ended, and rightly so.
    pub(super) fn end(&mut self, index: usize, how: Verb) {
        self.trace.did(self.now, Who::Kernel, how, index as u64);
        self.connections[index].ended = Some(how);
    }

    pub(super) fn process_of(&self, id: WorkerId) -> Option<ProcessId> {
        // The youngest first: an index is used again and again.
        self.processes.iter().rposition(|process| process.id == id)
    }
}

impl SimListener {
    /// `slot`: whose worker accepts from it too.
    pub(super) const fn new(slot: Option<usize>) -> Self {
        Self { backlog: VecDeque::new(), open: true, slot }
    }
}

impl SimConnection {
    /// Whether there is something to read.
    pub(super) const fn has_input(&self) -> bool {
        self.taken < self.asked
    }

    /// Reads all that is there. Returns how many requests.
    pub(super) fn take_input(&mut self) -> u32 {
        let requests = self.asked - self.taken;
        self.taken = self.asked;
        requests
    }

    const fn new(listener: usize) -> Self {
        Self {
            listener,
            asked: 0,
            taken: 0,
            answered: 0,
            asked_at: Mono::ZERO,
            hung_up: false,
            shut: false,
            let_go: false,
            refused: false,
            let_in: false,
            copies: 0,
            accepted: None,
            watched_since: Mono::ZERO,
            parked: false,
            ticket: None,
            told: false,
            owner: None,
            tainted: false,
            ended: None,
        }
    }
}

impl SimFd {
    /// Which copy it is: none has the number of another.
    pub const fn number(&self) -> usize {
        self.copy
    }

    /// The connection that it stands for; `None` for a descriptor of anything else.
    pub(super) const fn connection(&self) -> Option<usize> {
        match self.object {
            Object::Connection(index) => Some(index),
            Object::Listener(_)
            | Object::Channel(_)
            | Object::Ending(_)
            | Object::Launch(_)
            | Object::Output(_)
            | Object::Doorbell(_)
            | Object::Notice(_)
            | Object::Signals => None,
        }
    }

    /// Which copy it is.
    pub(super) const fn copy(&self) -> usize {
        self.copy
    }

    /// Gives the copy up without closing it: it goes where the kernel puts it.
    pub(super) fn into_copy(mut self) -> usize {
        // An empty desk takes the drop.
        self.desk = Desk::default();
        self.copy
    }
}

impl Drop for SimFd {
    fn drop(&mut self) {
        self.desk.borrow_mut().push(self.copy);
    }
}

impl fmt::Debug for SimFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFd({} of {:?})", self.copy, self.object)
    }
}
