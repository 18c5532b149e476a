//! The real world around the master: processes, shared pages, the clock, the log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::RandomState;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;

use super::accounts::{Account, Past};
use super::control::Clients;
use super::host::{CardNote, Change, Child, ControlStep, Hire, Hired, Host, Launch, SpawnFailed};
use super::member::{self, Member};
use super::names::{NameInUse, Renewal};
use super::open::{self, Taker};
use super::recipe::{Program, Recipe};
use super::reload::LastReload;
use super::telemetry::Drained;
use super::voice::Voice;
use super::{Opened, Origin, plain, refusal, telemetry};
use crate::engine::Engine;
use crate::engine::event::{Cause, Event};
use crate::engine::input::{Begins, Exit, Load, Terms};
use crate::limits::{BERTHS_MAX, ROUTE_PEEK, SPIN_MAX, TICKETS_MAX};
use crate::shm::claim::{self, Settled};
use crate::shm::handshake;
use crate::shm::layout::{Doze, LAYOUT, MAGIC, MasterPage, Order, WorkerPage};
use crate::shm::map::{MapError, Mapped, Writable};
use crate::shm::ring::{self, Full, Overrun, Ring, Words};
use crate::sys::children::{self, Ending, News};
use crate::sys::fd::{self, io_error};
use crate::sys::log_sink::LogSink;
use crate::sys::pidfd::{self, Signal};
use crate::sys::scm;
use crate::sys::signal::{self, Notice};
use crate::sys::spawn::{self, Progress, Step, Trouble};
use crate::sys::{clock, cpus, eventfd, inherited, listening, socket};
use crate::units::{
    Cpu, Errno, Generation, GiveBack, Mono, PoolId, Route, RouteBy, SeatId, Span, Ticket, WorkerId,
};
use crate::wire::link::{self, Note, Sharing};
use crate::wire::route;

/// Time after which a log that could not be written is tried again.
const LOG_RETRY: Span = Span::from_ms(100);
/// The same where its reader is gone, or its disk is full, which takes somebody to change it.
const LOG_PAUSE: Span = Span::from_s(10);

/// The world.
#[derive(Debug)]
pub(super) struct World {
    recipe: Recipe,
    page: Mapped<MasterPage, Writable>,
    memory: OwnedFd,
    signals: OwnedFd,
    /// What workers read as their standard input.
    no_input: OwnedFd,
    staff: Vec<Option<Member>>,
    /// What those that are gone have left open for others to write to.
    late_voices: Vec<Voice>,
    /// Workers whose end is not known and is not waited for: their processes' numbers and seats.
    /// Each is our child until we are told of its end, and the kernel allows only so many.
    left_behind: Vec<(u32, SeatId)>,
    last_exits: Vec<Option<String>>,
    last_reload: Option<LastReload>,
    /// The newest generation of which it was told that its program says nothing.
    unspoken: Option<Generation>,
    /// What those have done that are gone.
    past: Past,
    /// What workers could not be given, of which the operator has been told.
    refused: BTreeSet<Step>,
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

impl World {
    /// # Errors
    /// When shared memory cannot be had.
    pub(super) fn new(
        recipe: Recipe,
        signals: OwnedFd,
        no_input: OwnedFd,
        clients: Clients,
        name: NameInUse,
    ) -> Result<Self, MapError> {
        let (memory, page) = Mapped::<MasterPage, Writable>::create(c"dispatchd")?;
        page.head.magic.store(MAGIC, Relaxed);
        page.head.layout.store(LAYOUT, Relaxed);
        page.drain_ns.store(recipe.drain.as_ns(), Relaxed);
        let sink = LogSink::stderr().ok();
        let (staff, late_voices) = (Vec::new(), Vec::new());
        let (left_behind, last_exits) = (Vec::new(), Vec::new());
        let (hashers, now) = (RandomState::new(), Mono::ZERO);
        Ok(Self {
            recipe,
            page,
            memory,
            signals,
            no_input,
            staff,
            late_voices,
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
    pub(super) fn member(&self, worker: WorkerId) -> Option<&Member> {
        self.staff.get(worker.index())?.as_ref().filter(|member| member.worker == worker)
    }

    /// How the last worker of a seat ended.
    pub(super) fn last_exit(&self, seat: SeatId) -> Option<&str> {
        self.last_exits.get(seat.index())?.as_deref()
    }

    /// What became of the last reload.
    pub(super) const fn last_reload(&self) -> Option<&LastReload> {
        self.last_reload.as_ref()
    }

    /// What each process has done so far.
    pub(super) fn accounts(&mut self) -> Vec<(WorkerId, SeatId, Account)> {
        let members = self.staff.iter_mut().flatten();
        members.map(|member| (member.worker, member.seat, settle(member, &self.page))).collect()
    }

    /// What those have done that are gone.
    pub(super) const fn past(&self) -> &Past {
        &self.past
    }

    /// What makes requests alike, if that is wanted.
    pub(super) const fn classes(&self) -> Option<RouteBy> {
        self.recipe.classes
    }

    /// The CPU that workers of a seat are to be bound to.
    pub(super) fn cpu_of(&self, seat: SeatId) -> Option<u16> {
        self.recipe.placement.seat(seat.index()).cpu.map(|cpu| cpu.0)
    }

    /// The CPU that a worker is bound to.
    pub(super) fn bound_to(&self, worker: WorkerId) -> Option<u16> {
        let shown = self.member(worker)?.page.board.cpu.load(Relaxed);
        u16::try_from(shown.checked_sub(1)?).ok()
    }

    fn member_mut(&mut self, worker: WorkerId) -> Option<&mut Member> {
        self.staff.get_mut(worker.index())?.as_mut().filter(|member| member.worker == worker)
    }

    fn start(&mut self, hire: Hire) -> Result<Hired<OwnedFd>, Errno> {
        let (channel, theirs) = socket::seqpacket_pair()?;
        let (memory, page) = create_page()?;
        let bell = eventfd::create()?;
        let opened = self.open_own(hire.seat)?;
        let cpu = self.cpu_for(hire.seat);
        let none = Vec::new();
        let listeners = match self.recipe.sharing {
            Sharing::None => &none,
            Sharing::Shared => self.recipe.listeners.first().unwrap_or(&none),
            Sharing::Own => self.recipe.listeners.get(hire.seat.index()).unwrap_or(&none),
        };
        let note = Note {
            pool: PoolId(0),
            seat: hire.seat,
            worker: hire.worker,
            generation: hire.generation,
            cpu,
            listeners: listeners.len(),
            inherited: self.recipe.inherited.min(listeners.len()),
            sharing: self.recipe.sharing,
        };
        let mut fds = vec![theirs.as_fd(), self.memory.as_fd(), memory.as_fd(), bell.as_fd()];
        fds.extend(listeners.iter().map(AsFd::as_fd));
        let marks: Vec<u64> = fds.iter().map(inherited::mark_of).collect::<Result<_, _>>()?;
        handshake::give(&page, note.words(), &marks);
        let mut env = self.recipe.env.clone();
        env.push((link::VARIABLE, note.to_string()));
        let berth = &self.page.berths[hire.worker.index()];
        berth.consumed.store(0, Relaxed);
        berth.produced.store(0, Relaxed);
        berth.wakes.store(0, Relaxed);
        berth.order.store(Order::Serve as u32, Relaxed);
        let child = spawn::spawn(&spawn::Order {
            program: self.program(),
            args: &self.args(hire.seat),
            env: &env,
            env_remove: &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"],
            scheduling: self.recipe.scheduling,
            open_files: Some(self.recipe.open_files),
            stdin: self.no_input.as_fd(),
            fds: &fds,
        })?;
        let hired = Hired {
            hangup: fd::duplicate(&channel)?,
            channel,
            bell,
            process: fd::duplicate(&child.pidfd)?,
            output: fd::duplicate(&child.output)?,
            report: fd::duplicate(&child.report)?,
            listeners: opened,
        };
        self.enlist(hire, child, page);
        Ok(hired)
    }

    /// The CPU that a seat's next process is to bind itself to: what was planned at the start may
    /// be out of reach by now.
    fn cpu_for(&mut self, seat: SeatId) -> Option<Cpu> {
        let planned = self.recipe.placement.seat(seat.index()).cpu?;
        let cpu = self.recipe.placement.cpu_now(seat.index(), &cpus::inherited_mask());
        if cpu != Some(planned) && self.out_of_reach.insert(planned) {
            telemetry::cpu_out_of_reach(planned);
        }
        cpu
    }

    /// A worker could not be bound to its CPU, and serves all the same.
    fn tell_of_pin(&mut self, worker: WorkerId) {
        let errno = self.member(worker).map_or(0, |it| it.page.head.pin_errno.load(Relaxed));
        if errno != 0 && !std::mem::replace(&mut self.unpinned, true) {
            telemetry::unpinned(Errno(i32::try_from(errno).unwrap_or(0)));
        }
    }

    fn program(&self) -> spawn::Program<'_> {
        match &self.recipe.program {
            Program::BuiltIn(executable) => spawn::Program::Open(executable),
            Program::Foreign { path, .. } => spawn::Program::Path(path.as_os_str()),
        }
    }

    /// What the operator calls the workers' program.
    fn program_name(&self) -> Cow<'_, str> {
        match &self.recipe.program {
            Program::BuiltIn(_) => Cow::Borrowed("the built-in worker"),
            Program::Foreign { name, .. } => Cow::Owned(plain::bytes(name.as_bytes())),
        }
    }

    fn args(&self, seat: SeatId) -> Vec<OsString> {
        let name = match &self.recipe.program {
            Program::BuiltIn(_) => {
                let pool = &self.clients.about().name;
                format!("dispatchd: worker {} ({pool})", seat.0).into()
            }
            Program::Foreign { name, .. } => name.clone(),
        };
        [name].into_iter().chain(self.recipe.args.iter().cloned()).collect()
    }

    /// The sockets of a seat that has none yet, under `reuseport`: one that was grown.
    fn open_own(&mut self, seat: SeatId) -> Result<Vec<Opened<OwnedFd>>, Errno> {
        let listeners = &mut self.recipe.listeners;
        listeners.resize_with(listeners.len().max(seat.index() + 1), Vec::new);
        let mut opened = Vec::new();
        if listeners[seat.index()].is_empty() {
            for own in &self.recipe.own {
                let socket = socket::listen(&own.endpoint, own.options)?;
                let taker = match own.begins {
                    Begins::Client => Taker::WorkerWhenReadable,
                    Begins::Server => Taker::WorkerAtOnce,
                };
                open::tune(&socket, &own.endpoint, taker);
                listeners[seat.index()].push(fd::duplicate(&socket)?);
                let (listener, begins) = (own.listener, own.begins);
                let (seat, origin) = (Some(seat), Origin::Ours);
                opened.push(Opened { socket, listener, begins, seat, origin });
            }
        }
        Ok(opened)
    }

    fn enlist(&mut self, hire: Hire, child: spawn::Child, page: Mapped<WorkerPage, Writable>) {
        let berth = hire.worker.index();
        if self.staff.len() <= berth {
            self.staff.resize_with(berth + 1, || None);
        }
        self.staff[berth] = Some(Member::new(hire, child, page));
        self.decide_on_spinning();
    }

    /// Idle workers stay awake only while nobody else needs their CPUs.
    fn decide_on_spinning(&self) {
        let seats: BTreeSet<SeatId> = self.staff.iter().flatten().map(|each| each.seat).collect();
        let crowd = self.staff.iter().flatten().count();
        let apart = seats.len() == crowd && crowd <= self.recipe.placement.spinners;
        let most = if apart { SPIN_MAX } else { Span::ZERO };
        self.page.spin_ns.store(u32::try_from(most.as_ns()).unwrap_or(0), Relaxed);
    }

    /// A worker is about to end without having become its program.
    fn cannot_execute(&mut self, worker: WorkerId, Trouble { step, errno }: Trouble) {
        let reason = io_error(errno);
        let text = match step {
            Step::Exec => format!("{}: {reason}", self.program_name()),
            Step::Descriptors
            | Step::Group
            | Step::Scheduling
            | Step::OpenFiles
            | Step::ParentsEnd => {
                format!("it cannot put its descriptors in order: {reason}")
            }
        };
        if let Some(member) = self.member_mut(worker) {
            telemetry::not_started(member.seat, &text);
            member.not_executed = Some(text);
        }
    }

    /// What can be seen of a program that is not made for dispatchd is told, once per generation.
    fn tell_unspoken(&mut self, worker: WorkerId, now: Manner) {
        let Program::Foreign { name, .. } = &self.recipe.program else { return };
        let Some(member) = self.member(worker) else { return };
        let told = self.unspoken.is_some_and(|newest| member.generation <= newest);
        if told || member.knows_dispatchd() || member.not_executed.is_some() {
            return;
        }
        let (pid, generation) = (member.pid, member.generation);
        match now {
            Manner::Runs => {
                telemetry::unspoken(&name.to_string_lossy(), pid, &listening::ports(pid));
            }
            Manner::Ended => telemetry::ended_unspoken(&name.to_string_lossy(), pid),
        }
        self.unspoken = Some(generation);
    }

    fn set_last_exit(&mut self, seat: SeatId, text: String) {
        if self.last_exits.len() <= seat.index() {
            self.last_exits.resize(seat.index() + 1, None);
        }
        self.last_exits[seat.index()] = Some(text);
    }

    fn child_changed(&mut self, News { pid, change }: News) -> Child {
        let member = self.staff.iter_mut().flatten().find(|member| member.pid == pid);
        let Some(member) = member else {
            self.left_behind_changed(pid, change);
            return Child::Stranger;
        };
        let change = match change {
            children::Change::Stopped => Change::Stopped,
            children::Change::Continued => Change::Continued,
            children::Change::Ended(ending) => {
                member.ended(ending);
                let clean = ending == Ending::Code(0);
                Change::Ended(if clean { Exit::Clean } else { Exit::Failed })
            }
        };
        Child::Worker(member.worker, change)
    }

    /// A worker that was left behind has ended at last.
    fn left_behind_changed(&mut self, pid: u32, change: children::Change) {
        if let children::Change::Ended(ending) = change
            && let Some(at) = self.left_behind.iter().position(|(known, _)| *known == pid)
        {
            let (_, seat) = self.left_behind.swap_remove(at);
            telemetry::left_behind_ended(seat, pid, &member::how(ending));
        }
    }
}

impl Host for World {
    type Fd = OwnedFd;

    fn now(&mut self) -> Mono {
        self.now = clock::monotonic();
        self.now
    }

    fn spawn(&mut self, hire: Hire) -> Result<Hired<OwnedFd>, SpawnFailed> {
        self.start(hire).map_err(|errno| {
            let text = format!("cannot start a process: {}", io_error(errno));
            self.no_process.clone_from(&text);
            self.set_last_exit(hire.seat, text);
            SpawnFailed
        })
    }

    fn launch(&mut self, worker: WorkerId) -> Launch {
        loop {
            let Some(member) = self.member_mut(worker) else { return Launch::Over };
            match member.progress() {
                Progress::Pending => return Launch::Pending,
                Progress::Over => return Launch::Over,
                Progress::Trouble(Trouble { step, errno }) if step.is_wish() => {
                    if self.refused.insert(step) {
                        telemetry::refused(step, errno);
                    }
                }
                Progress::Trouble(trouble) => {
                    self.cannot_execute(worker, trouble);
                    return Launch::Failed;
                }
            }
        }
    }

    fn signal(&mut self, worker: WorkerId, signal: Signal) {
        if let Some(member) = self.member_mut(worker) {
            member.sent = Some(signal);
            // A process that is gone already will be reaped.
            pidfd::send(&member.process, member.pid, signal).unwrap_or_default();
            match signal {
                Signal::Terminate => {}
                Signal::Kill => pidfd::kill_group(member.pid),
            }
        }
    }

    fn child(&mut self) -> Option<Child> {
        let news = children::next()?;
        let child = self.child_changed(news);
        children::take_in(news);
        Some(child)
    }

    fn read_output(&mut self, worker: WorkerId) -> bool {
        let of_staff = self.staff.iter_mut().flatten().map(|member| &mut member.voice);
        let mut voices = of_staff.chain(&mut self.late_voices);
        voices.find(|voice| voice.worker == worker).is_some_and(Voice::read)
    }

    fn forget_output(&mut self, worker: WorkerId) {
        self.late_voices.retain(|voice| voice.worker != worker);
    }

    fn bury(&mut self, worker: WorkerId) {
        let member = self.staff.get_mut(worker.index()).and_then(Option::take);
        if let Some(mut member) = member {
            self.past.add(member.seat, settle(&mut member, &self.page));
            self.late_voices.push(member.voice);
            if member.ending.is_none() {
                self.left_behind.push((member.pid, member.seat));
            }
        }
        self.decide_on_spinning();
    }

    fn notice(&mut self) -> Option<Notice> {
        signal::take(&self.signals)
    }

    fn withdraw_listeners(&mut self) {
        let Recipe { listeners, own, files, .. } = &mut self.recipe;
        files.clear();
        listeners.clear();
        own.clear();
    }

    fn look_after_names(&mut self) -> Option<OwnedFd> {
        self.recipe.files.retain(|file| {
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

    fn tokens(
        &mut self,
        worker: WorkerId,
        max: usize,
        out: &mut Vec<Words>,
    ) -> Result<(), Overrun> {
        let Some(member) = self.member(worker) else { return Ok(()) };
        Ring::to_master(&member.page, &self.page.berths[worker.index()]).drain(max, out)
    }

    fn asks_to_leave(&mut self, worker: WorkerId) -> bool {
        let asks = |member: &Member| member.page.speech.asks_to_leave.load(Relaxed) != 0;
        self.member(worker).is_some_and(asks)
    }

    fn has_tokens(&mut self) -> bool {
        self.staff.iter().flatten().any(|member| {
            let berth = &self.page.berths[member.worker.index()];
            Ring::to_master(&member.page, berth).has_tokens()
        })
    }

    fn doze(&mut self, doze: Doze) {
        ring::doze(&self.page, doze);
    }

    fn terms(&mut self, worker: WorkerId) -> Option<Terms> {
        let head = &self.member(worker)?.page.head;
        let ours = head.magic.load(Relaxed) == MAGIC && head.layout.load(Relaxed) == LAYOUT;
        ours.then(|| Terms {
            concurrency: head.concurrency.load(Relaxed),
            connections_max: head.connections_max.load(Relaxed),
        })
    }

    fn load(&mut self, worker: WorkerId) -> Load {
        let Some(member) = self.member(worker) else { return Load::default() };
        let board = &member.page.board;
        let started = board.started.load(Relaxed);
        let finished = board.finished.load(Relaxed);
        let running = match board.busy_since_ns.load(Relaxed) {
            0 => Span::ZERO,
            since => self.now.since(Mono::from_ns(since)),
        };
        Load {
            // A worker between two stores shows one more finished than started; a lying one
            // anything.
            in_flight: u32::try_from(started.wrapping_sub(finished)).unwrap_or(0),
            connections: board.connections.load(Relaxed),
            finished,
            busy: Span::from_ns(board.busy_ns.load(Relaxed)).plus(running),
            squares: board.squares_us2.load(Relaxed).saturating_add(running.squared_us2()),
        }
    }

    fn order(&mut self, worker: WorkerId, order: Order) {
        self.page.berths[worker.index()].order.store(order as u32, Relaxed);
    }

    fn card(&mut self, ticket: Ticket, note: CardNote) {
        let Some(card) = self.page.cards.get(ticket.index()) else { return };
        match note {
            CardNote::Accepted(listener, at) => {
                card.generation.store(ticket.generation, Relaxed);
                card.listener.store(u32::from(listener.0), Relaxed);
                card.offers.store(0, Relaxed);
                card.accepted_at_ns.store(at.as_ns(), Relaxed);
            }
            CardNote::Readable(at) => card.readable_at_ns.store(at.as_ns(), Relaxed),
            CardNote::Offered(worker, at) => {
                card.owner.store(u32::from(worker.berth), Relaxed);
                card.offers.store(card.offers.load(Relaxed).wrapping_add(1), Relaxed);
                card.offered_at_ns.store(at.as_ns(), Relaxed);
            }
        }
    }

    fn give_back(&mut self, give_back: GiveBack) {
        self.page.give_back.store(give_back as u32, Relaxed);
    }

    fn errand(&mut self, worker: WorkerId, errand: Words) -> Result<(), Full> {
        let Some(member) = self.member(worker) else { return Ok(()) };
        let ring = Ring::to_worker(&self.page, worker.index(), &member.page);
        ring.map_or(Ok(()), |ring| ring.push(errand))
    }

    fn nap(&mut self, worker: WorkerId) -> Option<u64> {
        ring::napping(&self.member(worker)?.page)
    }

    fn woke(&mut self, worker: WorkerId) {
        let wakes = &self.page.berths[worker.index()].wakes;
        wakes.store(wakes.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn offer(&mut self, worker: WorkerId, ticket: Ticket) {
        if let Some(member) = self.member(worker) {
            claim::offer(&member.page, ticket);
        }
    }

    fn recall(&mut self, worker: WorkerId, ticket: Ticket) -> Settled {
        // Nobody can claim anything by a page that is gone.
        self.member(worker).map_or(Settled::Back, |member| claim::recall(&member.page, ticket))
    }

    fn has_input(&mut self, connection: &OwnedFd) -> bool {
        socket::has_input(connection.as_fd())
    }

    fn is_reset(&mut self, connection: &OwnedFd) -> bool {
        socket::is_reset(connection.as_fd())
    }

    fn route(&mut self, connection: &OwnedFd) -> Option<Route> {
        let by = self.recipe.classes?;
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

    fn control(&mut self, client: &OwnedFd, engine: &Engine) -> ControlStep {
        let clients = std::mem::take(&mut self.clients);
        let step = clients.serve(client, |clients| self.status(engine, clients));
        self.clients = clients;
        step
    }

    fn tell(&mut self, now: Mono, event: Event) {
        let worker = match event {
            Event::Starting { worker, .. }
            | Event::Ready { worker, .. }
            | Event::Unspoken { worker, .. }
            | Event::Draining { worker, .. }
            | Event::Gone { worker, .. }
            | Event::Stalled { worker, .. }
            | Event::Lied { worker, .. } => Some(worker),
            Event::Restarting { .. }
            | Event::Strength { .. }
            | Event::Hold { .. }
            | Event::AcceptPaused
            | Event::AcceptResumed
            | Event::OffersPaused
            | Event::OffersResumed
            | Event::WatchesFail
            | Event::WatchesResumed
            | Event::RolloutStarted(_)
            | Event::RolloutDone(_)
            | Event::RolloutAborted(_)
            | Event::NotGrown(_)
            | Event::NoLogFiles
            | Event::NoUpgrade
            | Event::ProcessesLacking
            | Event::ProcessesSuffice
            | Event::Stopping => None,
        };
        if let Event::Ready { worker, .. } = event {
            self.tell_of_pin(worker);
        }
        let pid = worker.and_then(|worker| self.member(worker)).map(|member| member.pid);
        let obituary = match event {
            Event::Gone { worker, seat, .. } => {
                let text = self.member(worker).map(Member::obituary);
                if let Some(text) = &text {
                    self.set_last_exit(seat, text.clone());
                }
                self.last_exit(seat).map(str::to_owned)
            }
            Event::ProcessesLacking => Some(self.no_process.clone()),
            _ => None,
        };
        LastReload::heard(&mut self.last_reload, now, event, obituary.as_deref());
        telemetry::event(event, pid, obituary.as_deref());
        match event {
            Event::Unspoken { worker, .. } => self.tell_unspoken(worker, Manner::Runs),
            Event::Gone {
                worker, cause: Cause::Died | Cause::NotReady | Cause::Detached, ..
            } => self.tell_unspoken(worker, Manner::Ended),
            _ => {}
        }
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

/// A page for a worker, and its memory.
fn create_page() -> Result<(OwnedFd, Mapped<WorkerPage, Writable>), Errno> {
    Mapped::create(c"dispatchd-worker").map_err(|error| match error {
        MapError::Kernel(errno) => errno,
        MapError::Unsealed | MapError::Size { .. } => Errno(libc::EINVAL),
    })
}

/// How a program says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    Runs,
    Ended,
}

/// What a process has done so far.
fn settle(member: &mut Member, page: &MasterPage) -> Account {
    let wakes = page.berths[member.worker.index()].wakes.load(Relaxed);
    member.account(wakes)
}

const _: () = assert!(BERTHS_MAX < u16::MAX as usize);
const _: () = assert!(
    2 * TICKETS_MAX < spawn::DESCRIPTOR_LAST.cast_unsigned(),
    "a new worker finds all descriptors of its master"
);
const _: () = assert!(scm::DESCRIPTORS_MAX == crate::limits::PARCEL_MAX);
