//! The real world around the master: processes, shared pages, the clock, the log.

mod spawning;
mod telling;

use std::collections::BTreeSet;
use std::hash::RandomState;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use super::accounts::{Account, Past};
use super::control::Clients;
use super::host::{
    ChangedChild, Clock, ControlStep, Descriptors, Host, Launch, Operator, OutputRead,
    ProcessChange, Processes, Sockets, SpawnFailed, SpawnRequest, SpawnedWorker,
};
use super::names::{NameInUse, Renewal};
use super::output::Output;
use super::reload::LastReload;
use super::spec::WorkerSpec;
use super::telemetry::Drained;
use super::worker_process::{self, WorkerProcess};
use super::{refusal, telemetry};
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::input::{Exit, Load};
use crate::engine::workers::Workers;
use crate::limits::{LOG_PAUSE, LOG_RETRY, ROUTE_PEEK, SPIN_MAX, TICKETS_MAX, WORKERS_MAX};
use crate::link::pages::{MappedPages, Pages};
use crate::shm::layout::MAGIC;
use crate::shm::map::MapError;
use crate::sys::children::{self, ChildNews, Ending};
use crate::sys::errno::io_error;
use crate::sys::log_sink::LogSink;
use crate::sys::pidfd::{self, Signal};
use crate::sys::scm;
use crate::sys::signal::{self, Notice};
use crate::sys::spawn::{self, SpawnProgress, SpawnStep, Trouble};
use crate::sys::{clock, socket};
use crate::units::{Cpu, Generation, Mono, Route, RouteBy, SlotId, Span, WorkerId};
use crate::wire::route;

/// The world.
#[derive(Debug)]
pub(super) struct LinuxHost {
    spec: WorkerSpec,
    pages: MappedPages,
    signals: OwnedFd,
    /// What workers read as their standard input.
    no_input: OwnedFd,
    processes: Workers<WorkerProcess>,
    /// What those that are gone have left open for others to write to.
    late_outputs: Vec<Output>,
    /// Workers whose end is not known and is not waited for: their processes' numbers and slots.
    /// Each is our child until we are told of its end, and the kernel allows only so many.
    left_behind: Vec<(u32, SlotId)>,
    last_exits: Vec<Option<String>>,
    last_reload: Option<LastReload>,
    /// The newest generation of which it was told that its program says nothing.
    unspoken: Option<Generation>,
    /// What those have done that are gone.
    past: Past,
    /// What workers could not be given, of which the operator has been told.
    refused: BTreeSet<SpawnStep>,
    /// CPUs of the plan that are out of reach, and whether a worker could not be bound to its own,
    /// of which the operator has been told.
    out_of_reach: BTreeSet<Cpu>,
    unpinned: bool,
    /// Why a process could last not be started.
    no_process: String,
    clients: Clients,
    sink: Option<LogSink>,
    /// The log is not written before then.
    log_at: Mono,
    /// Nobody outside can tell which routes share a number.
    hashers: RandomState,
    /// The time of this turn.
    now: Mono,
    /// Whether it is known that the name is not our own any more, and cannot be.
    has_lost_name: bool,
    /// Free again when all of this has ended.
    name: NameInUse,
}

impl LinuxHost {
    /// # Errors
    /// When shared memory cannot be had.
    pub(super) fn new(
        spec: WorkerSpec,
        signals: OwnedFd,
        no_input: OwnedFd,
        clients: Clients,
        name: NameInUse,
    ) -> Result<Self, MapError> {
        let pages = MappedPages::new(spec.drain)?;
        let sink = LogSink::stderr().ok();
        let (processes, late_outputs) = (Workers::new(), Vec::new());
        let (left_behind, last_exits) = (Vec::new(), Vec::new());
        let (hashers, now) = (RandomState::new(), Mono::ZERO);
        Ok(Self {
            spec,
            pages,
            signals,
            no_input,
            processes,
            late_outputs,
            left_behind,
            last_exits,
            last_reload: None,
            unspoken: None,
            past: Past::default(),
            refused: BTreeSet::new(),
            out_of_reach: BTreeSet::new(),
            unpinned: false,
            no_process: String::new(),
            clients,
            sink,
            log_at: Mono::ZERO,
            hashers,
            now,
            has_lost_name: false,
            name,
        })
    }

    /// The process of a worker.
    pub(super) fn process(&self, worker: WorkerId) -> Option<&WorkerProcess> {
        self.processes.get(worker)
    }

    /// How the last worker of a slot ended.
    pub(super) fn last_exit(&self, slot: SlotId) -> Option<&str> {
        self.last_exits.get(slot.index())?.as_deref()
    }

    /// What became of the last reload.
    pub(super) const fn last_reload(&self) -> Option<&LastReload> {
        self.last_reload.as_ref()
    }

    /// What each process has done so far.
    pub(super) fn accounts(&mut self) -> Vec<(WorkerId, SlotId, Account)> {
        let processes = self.processes.iter_mut();
        processes
            .map(|(worker, process)| {
                (worker, process.slot, account_of(worker, process, &self.pages))
            })
            .collect()
    }

    /// What those have done that are gone.
    pub(super) const fn past(&self) -> &Past {
        &self.past
    }

    /// What makes requests alike, if that is wanted.
    pub(super) const fn classes(&self) -> Option<RouteBy> {
        self.spec.classes
    }

    /// The CPU that workers of a slot are to be bound to.
    pub(super) fn cpu_of(&self, slot: SlotId) -> Option<u16> {
        self.spec.placement.slot(slot.index()).cpu.map(|cpu| cpu.0)
    }

    /// The CPU that a worker is bound to.
    pub(super) fn bound_to(&self, worker: WorkerId) -> Option<u16> {
        let shown = self.pages.of(worker)?.board.cpu.load(Relaxed);
        u16::try_from(shown.checked_sub(1)?).ok()
    }

    /// How loaded a worker is, as its page says.
    pub(super) fn load_of(&mut self, worker: WorkerId) -> Load {
        self.pages.load(worker, self.now)
    }

    /// Whether a worker's program has taken up its link, as every program does that is made for
    /// dispatchd.
    fn knows_dispatchd(&self, worker: WorkerId) -> bool {
        self.pages.of(worker).is_some_and(|page| page.head.magic.load(Relaxed) == MAGIC)
    }

    fn process_mut(&mut self, worker: WorkerId) -> Option<&mut WorkerProcess> {
        self.processes.get_mut(worker)
    }

    /// Idle workers stay awake only while nobody else needs their CPUs.
    fn decide_on_spinning(&self) {
        let slots: BTreeSet<SlotId> = self.processes.iter().map(|(_, each)| each.slot).collect();
        let crowd = self.processes.iter().count();
        let apart = slots.len() == crowd && crowd <= self.spec.placement.spinners;
        let most = if apart { SPIN_MAX } else { Span::ZERO };
        self.pages.set_spin(most);
    }

    fn child_changed(&mut self, ChildNews { pid, change }: ChildNews) -> ChangedChild {
        let process = self.processes.iter_mut().find(|(_, process)| process.pid == pid);
        let Some((worker, process)) = process else {
            self.left_behind_changed(pid, change);
            return ChangedChild::Stranger;
        };
        let change = match change {
            children::ChildChange::Stopped => ProcessChange::Stopped,
            children::ChildChange::Continued => ProcessChange::Continued,
            children::ChildChange::Ended(ending) => {
                process.ended(ending);
                let clean = ending == Ending::Code(0);
                ProcessChange::Ended(if clean { Exit::Clean } else { Exit::Failed })
            }
        };
        ChangedChild::Worker(worker, change)
    }

    /// A worker that was left behind has ended at last.
    fn left_behind_changed(&mut self, pid: u32, change: children::ChildChange) {
        if let children::ChildChange::Ended(ending) = change
            && let Some(at) = self.left_behind.iter().position(|(known, _)| *known == pid)
        {
            let (_, slot) = self.left_behind.swap_remove(at);
            telemetry::left_behind_ended(slot, pid, &worker_process::how(ending));
        }
    }
}

impl Host for LinuxHost {
    type Pages = MappedPages;

    fn pages(&mut self) -> &mut MappedPages {
        &mut self.pages
    }
}

impl Descriptors for LinuxHost {
    type Fd = OwnedFd;
}

impl Clock for LinuxHost {
    fn now(&mut self) -> Mono {
        self.now = clock::monotonic();
        self.now
    }
}

impl Processes for LinuxHost {
    fn spawn(&mut self, request: SpawnRequest) -> Result<SpawnedWorker<OwnedFd>, SpawnFailed> {
        self.start(request).map_err(|errno| {
            let text = format!("cannot start a process: {}", io_error(errno));
            self.no_process.clone_from(&text);
            self.set_last_exit(request.slot, text);
            SpawnFailed
        })
    }

    fn launch(&mut self, worker: WorkerId) -> Launch {
        loop {
            let Some(process) = self.process_mut(worker) else { return Launch::Over };
            match process.progress() {
                SpawnProgress::Pending => return Launch::Pending,
                SpawnProgress::Over => return Launch::Over,
                SpawnProgress::Trouble(Trouble { step, errno }) if step.is_wish() => {
                    if self.refused.insert(step) {
                        telemetry::refused(step, errno);
                    }
                }
                SpawnProgress::Trouble(trouble) => {
                    self.cannot_execute(worker, trouble);
                    return Launch::Failed;
                }
            }
        }
    }

    fn signal(&mut self, worker: WorkerId, signal: Signal) {
        if let Some(process) = self.process_mut(worker) {
            process.sent = Some(signal);
            // A process that is gone already will be reaped.
            pidfd::send(&process.pidfd, process.pid, signal).unwrap_or_default();
            match signal {
                Signal::Terminate => {}
                Signal::Kill => pidfd::kill_group(process.pid),
            }
        }
    }

    fn child(&mut self) -> Option<ChangedChild> {
        let news = children::next()?;
        let child = self.child_changed(news);
        children::take_in(news);
        Some(child)
    }

    fn read_output(&mut self, worker: WorkerId, at_most: usize) -> OutputRead {
        let of_processes = self.processes.iter_mut().map(|(_, process)| &mut process.output);
        let mut outputs = of_processes.chain(&mut self.late_outputs);
        let output = outputs.find(|output| output.worker == worker);
        output.map_or(OutputRead::Ended, |output| output.read(at_most))
    }

    fn release(&mut self, worker: WorkerId) {
        if let Some(mut process) = self.processes.remove(worker) {
            self.past.add(process.slot, account_of(worker, &mut process, &self.pages));
            self.pages.remove(worker);
            self.late_outputs.push(process.output);
            if process.ending.is_none() {
                self.left_behind.push((process.pid, process.slot));
            }
        }
        self.decide_on_spinning();
    }

    fn forget_output(&mut self, worker: WorkerId) {
        if let Some(at) = self.late_outputs.iter().position(|output| output.worker == worker) {
            self.late_outputs.remove(at).end();
        }
    }
}

impl Sockets for LinuxHost {
    fn withdraw_listeners(&mut self) {
        let WorkerSpec { listeners, own, files, .. } = &mut self.spec;
        files.clear();
        listeners.clear();
        own.clear();
    }

    fn look_after_names(&mut self) -> Option<OwnedFd> {
        self.spec.files.retain(|file| {
            let is_there = file.is_there();
            if !is_there {
                telemetry::listener_swept_away(file.path());
            }
            is_there
        });
        let renewal = self.name.renew();
        match &renewal {
            Ok(Renewal::Nothing) => {}
            Ok(Renewal::Lock | Renewal::Socket(_)) => {
                self.has_lost_name = false;
                telemetry::name_made_anew(self.name.path());
            }
            Err(error) => {
                if !std::mem::replace(&mut self.has_lost_name, true) {
                    telemetry::name_lost(error);
                }
            }
        }
        match renewal {
            Ok(Renewal::Socket(socket)) => Some(socket),
            Ok(Renewal::Nothing | Renewal::Lock) | Err(_) => None,
        }
    }

    fn sweep(&mut self, listener: &OwnedFd) -> Option<OwnedFd> {
        socket::accept(listener.as_fd()).ok()
    }

    fn end_listening(&mut self, listener: &OwnedFd) {
        // It fails when it does not listen, and that is what is wanted.
        socket::shutdown(listener.as_fd()).unwrap_or_default();
    }

    fn has_input(&mut self, connection: &OwnedFd) -> bool {
        socket::has_input(connection.as_fd())
    }

    fn is_reset(&mut self, connection: &OwnedFd) -> bool {
        socket::is_reset(connection.as_fd())
    }

    fn route(&mut self, connection: &OwnedFd) -> Option<Route> {
        let by = self.spec.classes?;
        let mut buffer = [0; ROUTE_PEEK];
        route::of(socket::peek(connection.as_fd(), &mut buffer), by, &self.hashers)
    }

    fn refuse(&mut self, connection: &OwnedFd) {
        refusal::tell(connection.as_fd());
    }

    fn shut_down(&mut self, connection: &OwnedFd) {
        // It fails when the client is gone, and then there is nobody to tell.
        socket::shutdown(connection.as_fd()).unwrap_or_default();
    }
}

impl Operator for LinuxHost {
    fn notice(&mut self) -> Option<Notice> {
        signal::take(&self.signals)
    }

    fn control(&mut self, client: &OwnedFd, engine: &Engine) -> ControlStep {
        let clients = std::mem::take(&mut self.clients);
        let step = clients.serve(client, |clients| self.status(engine, clients));
        self.clients = clients;
        step
    }

    fn tell(&mut self, now: Mono, event: Event) {
        let pid = event.worker().and_then(|worker| self.process(worker)).map(|process| process.pid);
        let reason = self.take_note(now, event);
        telemetry::event(event, pid, reason.as_deref());
    }

    fn flush(&mut self) -> Option<Span> {
        let sink = self.sink.as_ref()?;
        if self.now < self.log_at {
            return Some(self.log_at.since(self.now));
        }
        match telemetry::drain_to(sink) {
            Drained::Wholly => None,
            Drained::AsFarAsItGoes => Some(LOG_RETRY),
            Drained::Broken => {
                self.log_at = self.now.after(LOG_PAUSE);
                Some(LOG_PAUSE)
            }
        }
    }
}

/// What a process has done so far.
fn account_of(worker: WorkerId, process: &mut WorkerProcess, pages: &MappedPages) -> Account {
    pages.of(worker).map_or(process.account, |page| process.account(page, pages.wakes(worker)))
}

const _: () = assert!(WORKERS_MAX < u16::MAX as usize);
const _: () = assert!(
    2 * TICKETS_MAX < spawn::DESCRIPTOR_LAST.cast_unsigned(),
    "a new worker finds all descriptors of its master"
);
const _: () = assert!(scm::DESCRIPTORS_MAX == crate::limits::BATCH_MAX);
