//! How a worker process comes to be: what it is given, and what the master keeps of it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use super::super::host::{Hire, Hired};
use super::super::member::Member;
use super::super::open::{self, Taker};
use super::super::recipe::Program;
use super::super::{Opened, Origin, telemetry};
use super::World;
use crate::engine::input::Begins;
use crate::shm::handshake;
use crate::shm::layout::{Order, WorkerPage};
use crate::shm::map::{MapError, Mapped, Writable};
use crate::sys::pidfd::{self, Signal};
use crate::sys::{cpus, eventfd, fd, inherited, socket, spawn};
use crate::units::{Cpu, Errno, PoolId, SeatId, WorkerId};
use crate::wire::link::{self, Note, Sharing};

/// The sockets of a seat under `reuseport` that had none: what the master keeps, and the copies of
/// it that are for the seat's workers.
#[derive(Debug, Default)]
struct OwnSockets {
    opened: Vec<Opened<OwnedFd>>,
    copies: Vec<OwnedFd>,
}

impl World {
    /// Starts a process for a seat. Where anything fails nothing is left behind: no process that
    /// nobody knows of, and no socket at which nobody listens.
    pub(super) fn start(&mut self, hire: Hire) -> Result<Hired<OwnedFd>, Errno> {
        let (channel, theirs) = socket::seqpacket_pair()?;
        let (hangup, bell) = (fd::duplicate(&channel)?, eventfd::create()?);
        let own = self.open_own(hire.seat)?;
        let cpu = self.cpu_for(hire.seat);
        let (child, page) = self.execute(hire, cpu, &own.copies, [theirs.as_fd(), bell.as_fd()])?;
        let watched = watched(&child).inspect_err(|_| {
            pidfd::send(&child.pidfd, child.pid, Signal::Kill).unwrap_or_default();
        });
        let [process, output, report] = watched?;
        if !own.copies.is_empty() {
            self.recipe.listeners[hire.seat.index()] = own.copies;
        }
        self.enlist(hire, child, page);
        let listeners = own.opened;
        Ok(Hired { channel, hangup, bell, process, output, report, listeners })
    }

    /// Has the kernel start it, with its ends of channel and doorbell; `own` are listeners that its
    /// seat has got just now.
    fn execute(
        &self,
        hire: Hire,
        cpu: Option<Cpu>,
        own: &[OwnedFd],
        [channel, bell]: [BorrowedFd<'_>; 2],
    ) -> Result<(spawn::Child, Mapped<WorkerPage, Writable>), Errno> {
        let (memory, page) = create_page()?;
        let listeners = if own.is_empty() { self.listeners_of(hire.seat) } else { own };
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
        let mut fds = vec![channel, self.memory.as_fd(), memory.as_fd(), bell];
        fds.extend(listeners.iter().map(AsFd::as_fd));
        let marks: Vec<u64> = fds.iter().map(inherited::mark_of).collect::<Result<_, _>>()?;
        handshake::give(&page, note.words(), &marks);
        let mut env = self.recipe.env.clone();
        env.push((link::VARIABLE, note.to_string()));
        self.clear_berth(hire.worker);
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
        Ok((child, page))
    }

    /// Listeners that the workers of a seat accept from.
    fn listeners_of(&self, seat: SeatId) -> &[OwnedFd] {
        let listeners = match self.recipe.sharing {
            Sharing::None => None,
            Sharing::Shared => self.recipe.listeners.first(),
            Sharing::Own => self.recipe.listeners.get(seat.index()),
        };
        listeners.map_or(&[], Vec::as_slice)
    }

    /// Whoever had it before has left marks there.
    fn clear_berth(&self, worker: WorkerId) {
        let berth = &self.page.berths[worker.index()];
        berth.consumed.store(0, Relaxed);
        berth.produced.store(0, Relaxed);
        berth.wakes.store(0, Relaxed);
        berth.order.store(Order::Serve as u32, Relaxed);
    }

    fn enlist(&mut self, hire: Hire, child: spawn::Child, page: Mapped<WorkerPage, Writable>) {
        let berth = hire.worker.index();
        if self.staff.len() <= berth {
            self.staff.resize_with(berth + 1, || None);
        }
        self.staff[berth] = Some(Member::new(hire, child, page));
        self.decide_on_spinning();
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

    fn program(&self) -> spawn::Program<'_> {
        match &self.recipe.program {
            Program::BuiltIn(executable) => spawn::Program::Open(executable),
            Program::Foreign { path, .. } => spawn::Program::Path(path.as_os_str()),
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
    fn open_own(&mut self, seat: SeatId) -> Result<OwnSockets, Errno> {
        let listeners = &mut self.recipe.listeners;
        listeners.resize_with(listeners.len().max(seat.index() + 1), Vec::new);
        let mut sockets = OwnSockets::default();
        if listeners[seat.index()].is_empty() {
            for own in &self.recipe.own {
                let socket = socket::listen(&own.endpoint, own.options)?;
                let taker = match own.begins {
                    Begins::Client => Taker::WorkerWhenReadable,
                    Begins::Server => Taker::WorkerAtOnce,
                };
                open::tune(&socket, &own.endpoint, taker);
                sockets.copies.push(fd::duplicate(&socket)?);
                let (listener, begins) = (own.listener, own.begins);
                let (seat, origin) = (Some(seat), Origin::Ours);
                sockets.opened.push(Opened { socket, listener, begins, seat, origin });
            }
        }
        Ok(sockets)
    }
}

/// Copies of what the master waits for: its process, its output, its report.
fn watched(child: &spawn::Child) -> Result<[OwnedFd; 3], Errno> {
    Ok([fd::duplicate(&child.pidfd)?, fd::duplicate(&child.output)?, fd::duplicate(&child.report)?])
}

/// A page for a worker, and its memory.
fn create_page() -> Result<(OwnedFd, Mapped<WorkerPage, Writable>), Errno> {
    Mapped::create(c"dispatchd-worker").map_err(|error| match error {
        MapError::Kernel(errno) => errno,
        MapError::Unsealed | MapError::Size { .. } => Errno(libc::EINVAL),
    })
}
