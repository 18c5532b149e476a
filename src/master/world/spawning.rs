//! How a worker process comes to be: what it is given, and what the master keeps of it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::super::host::{SpawnRequest, SpawnedWorker};
use super::super::open::{self, Taker};
use super::super::spec::SpecProgram;
use super::super::worker_process::WorkerProcess;
use super::super::{ListenerOrigin, Opened, telemetry};
use super::LinuxHost;
use crate::engine::input::FirstSpeaker;
use crate::link::LinkEnds;
use crate::shm::handshake;
use crate::shm::layout::WorkerPage;
use crate::shm::map::{MapError, Mapped, Writable};
use crate::sys::pidfd::{self, Signal};
use crate::sys::{cpus, eventfd, fd, inherited, socket, spawn};
use crate::units::{AppId, Cpu, Errno, SlotId};
use crate::wire::handshake::{Handshake, ListenerSharing, VARIABLE};

/// The sockets of a slot under `reuseport` that had none: what the master keeps, and the copies of
/// it that are for the slot's workers.
#[derive(Debug, Default)]
struct OwnSockets {
    opened: Vec<Opened<OwnedFd>>,
    copies: Vec<OwnedFd>,
}

impl LinuxHost {
    /// Starts a process for a slot. Where anything fails nothing is left behind: no process that
    /// nobody knows of, and no socket at which nobody listens.
    pub(super) fn start(&mut self, request: SpawnRequest) -> Result<SpawnedWorker<OwnedFd>, Errno> {
        let (channel, theirs) = socket::seqpacket_pair()?;
        let (hangup, doorbell) = (fd::duplicate(&channel)?, eventfd::create()?);
        let own = self.open_own(request.slot)?;
        let cpu = self.cpu_for(request.slot);
        let (child, page) =
            self.execute(request, cpu, &own.copies, [theirs.as_fd(), doorbell.as_fd()])?;
        let watched = watched(&child).inspect_err(|_| {
            pidfd::send(&child.pidfd, child.pid, Signal::Kill).unwrap_or_default();
        });
        let [process, output, report] = watched?;
        if !own.copies.is_empty() {
            self.spec.listeners[request.slot.index()] = own.copies;
        }
        self.keep(request, child, page);
        let listeners = own.opened;
        let ends = LinkEnds::Native { channel, hangup, doorbell };
        Ok(SpawnedWorker { ends, process, output, report, listeners })
    }

    /// Has the kernel start it, with its ends of channel and doorbell; `own` are listeners that its
    /// slot has got just now.
    fn execute(
        &self,
        request: SpawnRequest,
        cpu: Option<Cpu>,
        own: &[OwnedFd],
        [channel, doorbell]: [BorrowedFd<'_>; 2],
    ) -> Result<(spawn::Child, Mapped<WorkerPage, Writable>), Errno> {
        let (memory, page) = create_page()?;
        let listeners = if own.is_empty() { self.listeners_of(request.slot) } else { own };
        let handshake = Handshake {
            app: AppId(0),
            slot: request.slot,
            worker: request.worker,
            generation: request.generation,
            cpu,
            listeners: listeners.len(),
            inherited: self.spec.inherited.min(listeners.len()),
            sharing: self.spec.sharing,
        };
        let mut fds = vec![channel, self.pages.memory(), memory.as_fd(), doorbell];
        fds.extend(listeners.iter().map(AsFd::as_fd));
        let marks: Vec<u64> = fds.iter().map(inherited::mark_of).collect::<Result<_, _>>()?;
        handshake::give(&page, handshake.words(), &marks);
        let mut env = self.spec.env.clone();
        env.push((VARIABLE, handshake.to_string()));
        self.pages.clear_index(request.worker);
        let child = spawn::spawn(&spawn::SpawnOrder {
            program: self.program(),
            args: &self.args(request.slot),
            env: &env,
            env_remove: &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"],
            scheduling: self.spec.scheduling,
            open_files: Some(self.spec.open_files),
            stdin: self.no_input.as_fd(),
            fds: &fds,
        })?;
        Ok((child, page))
    }

    /// Listeners that the workers of a slot accept from.
    fn listeners_of(&self, slot: SlotId) -> &[OwnedFd] {
        let listeners = match self.spec.sharing {
            ListenerSharing::None => None,
            ListenerSharing::Shared => self.spec.listeners.first(),
            ListenerSharing::Own => self.spec.listeners.get(slot.index()),
        };
        listeners.map_or(&[], Vec::as_slice)
    }

    fn keep(
        &mut self,
        request: SpawnRequest,
        child: spawn::Child,
        page: Mapped<WorkerPage, Writable>,
    ) {
        self.pages.keep(request.worker, page);
        self.processes.insert(request.worker, WorkerProcess::new(request, child));
        self.decide_on_spinning();
    }

    /// The CPU that a slot's next process is to bind itself to: what was planned at the start may
    /// be out of reach by now.
    fn cpu_for(&mut self, slot: SlotId) -> Option<Cpu> {
        let planned = self.spec.placement.slot(slot.index()).cpu?;
        let cpu = self.spec.placement.cpu_now(slot.index(), &cpus::inherited_mask());
        if cpu != Some(planned) && self.out_of_reach.insert(planned) {
            telemetry::cpu_out_of_reach(planned);
        }
        cpu
    }

    fn program(&self) -> spawn::SpawnProgram<'_> {
        match &self.spec.program {
            SpecProgram::BuiltIn(executable) => spawn::SpawnProgram::Open(executable),
            SpecProgram::Foreign { path, .. } => spawn::SpawnProgram::Path(path.as_os_str()),
        }
    }

    fn args(&self, slot: SlotId) -> Vec<OsString> {
        let name = match &self.spec.program {
            SpecProgram::BuiltIn(_) => {
                let name = &self.clients.about().name;
                format!("dispatchd: worker {} ({name})", slot.0).into()
            }
            SpecProgram::Foreign { name, .. } => name.clone(),
        };
        [name].into_iter().chain(self.spec.args.iter().cloned()).collect()
    }

    /// The sockets of a slot that has none yet, under `reuseport`: one that was grown.
    fn open_own(&mut self, slot: SlotId) -> Result<OwnSockets, Errno> {
        let listeners = &mut self.spec.listeners;
        listeners.resize_with(listeners.len().max(slot.index() + 1), Vec::new);
        let mut sockets = OwnSockets::default();
        if listeners[slot.index()].is_empty() {
            for own in &self.spec.own {
                let socket = socket::listen(&own.endpoint, own.options)?;
                let taker = match own.first_speaker {
                    FirstSpeaker::Client => Taker::WorkerWhenReadable,
                    FirstSpeaker::Server => Taker::WorkerAtOnce,
                };
                open::tune(&socket, &own.endpoint, taker);
                sockets.copies.push(fd::duplicate(&socket)?);
                let (listener, first_speaker) = (own.listener, own.first_speaker);
                let (slot, origin) = (Some(slot), ListenerOrigin::Ours);
                sockets.opened.push(Opened { socket, listener, first_speaker, slot, origin });
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
