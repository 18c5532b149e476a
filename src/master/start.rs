//! From a valid configuration to a running master: everything that can be refused is refused here,
//! before the first worker is started.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::control::{self, About, Clients, ControlError, ControlSocket};
use super::open::{self, OpenError, OpenSockets};
use super::telemetry;
use super::world::{Program, Recipe, World};
use super::{Master, Opened, Posts};
use crate::config::placement::Placement;
use crate::config::{BackendChoice, Config, policy};
use crate::engine::Setup;
use crate::engine::action::Outcome;
use crate::engine::policy::Policy;
use crate::engine::worker::Patience;
use crate::io::probe::{self, Choice, Chosen, ProbeError, Wanted};
use crate::limits::{MASTER_SPARE_DESCRIPTORS, STALL_TIMEOUT};
use crate::shm::map::MapError;
use crate::sys::executable::Executable;
use crate::sys::fd::{self, io_error};
use crate::sys::rlimit::{self, Limit, Raised, RlimitError};
use crate::sys::scheduling::{Policy as Scheduled, Scheduling};
use crate::sys::socket_file::SocketFile;
use crate::sys::{clock, eventfd, signal};
use crate::units::{Errno, SeatId};
use crate::wire::link::Sharing;

/// Descriptors that each worker costs the master: its channel, and its process and output twice.
const DESCRIPTORS_PER_WORKER: u64 = 5;
/// Descriptors that the output of one that is gone costs it: to wait for it, and to read it.
const DESCRIPTORS_PER_LATE_OUTPUT: u64 = 2;

/// What comes from outside the configuration.
#[derive(Debug)]
pub struct Surroundings {
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// Sockets inherited through `LISTEN_FDS`; none for a number at which nothing is open.
    pub inherited: Vec<Option<OwnedFd>>,
    /// How this program is told that it is a worker, which it is where no other is named.
    pub built_in: OsString,
}

/// Why a master did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No backend.
    #[error(transparent)]
    Backend(#[from] ProbeError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] OpenError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The limit of open files.
    #[error(transparent)]
    Rlimit(#[from] RlimitError),
    /// The limit of open files is too low.
    #[error(
        "{open_files} open files are too few for {workers} workers: raise `ulimit -n` to \
         {needed} or more"
    )]
    OpenFiles {
        /// The limit.
        open_files: u64,
        /// Wanted workers.
        workers: usize,
        /// What would do.
        needed: u64,
    },
    /// Shared memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A bell or the signals.
    #[error("cannot {what}: {}", io_error(*.errno))]
    Kernel {
        /// The failed action.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The program of the workers.
    #[error("cannot run {}: no such program in PATH", program.display())]
    NoProgram {
        /// Its name.
        program: PathBuf,
    },
    /// The ring or the epoll set became unusable.
    #[error("cannot wait for events")]
    Wait(#[source] std::io::Error),
}

/// Runs a master until everything has ended.
///
/// # Errors
/// When it cannot start, or the kernel stops answering.
pub fn run(
    config: &Config,
    placement: Placement,
    surroundings: Surroundings,
) -> Result<Outcome, StartError> {
    let Raised { before, after } = check_open_files(placement.seats.len())?;
    let path = control::socket_path(surroundings.runtime_dir.as_deref(), &config.name);
    // The name is free again when all of this has ended.
    let ControlSocket { socket: control, name: _name } = control::open(&path, &config.name)?;
    let signals = kernel("listen to signals", signal::listen())?;
    let choice = probe::choose(match config.backend {
        BackendChoice::Auto => Wanted::Auto,
        BackendChoice::Uring => Wanted::Uring,
        BackendChoice::Epoll => Wanted::Epoll,
    })?;
    let OpenSockets { sockets, files } =
        open::listeners(config, surroundings.inherited, placement.seats.len())?;
    let about = About {
        name: config.name.clone(),
        backend: choice.to_string(),
        backend_reason: choice.reason.clone(),
        listeners: open::addresses(&sockets),
        started_at: clock::monotonic(),
    };
    say_hello(config, &placement, &about, after.soft);
    let setup = setup(config, &placement, after.soft);
    let recipe = recipe(
        config,
        Ingredients {
            backend: &choice,
            built_in: surroundings.built_in,
            placement,
            sockets: &sockets,
            files,
            open_files: before,
        },
    )?;
    let bell = kernel("make an eventfd", eventfd::create())?;
    let posts = Posts {
        listeners: sockets,
        bell: kernel("copy a descriptor", fd::duplicate(&bell))?,
        signals: kernel("copy a descriptor", fd::duplicate(&signals))?,
        control: Some(control),
    };
    let no_input = kernel("open /dev/null", fd::no_input())?;
    let world = World::new(recipe, bell, signals, no_input, Clients::new(about))?;
    let ended = match choice.backend {
        Chosen::Uring(ring) => Master::new(setup, posts, ring, world).run(),
        Chosen::Epoll(epoll) => Master::new(setup, posts, epoll, world).run(),
    };
    ended.map_err(StartError::Wait)
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.backend {
            Chosen::Uring(_) => "uring",
            Chosen::Epoll(_) => "epoll",
        })
    }
}

fn check_open_files(workers: usize) -> Result<Raised, StartError> {
    let raised = rlimit::raise_open_files()?;
    let open_files = raised.after.soft;
    let needed = u64::from(MASTER_SPARE_DESCRIPTORS) + DESCRIPTORS_PER_WORKER * workers as u64 + 1;
    if open_files < needed {
        return Err(StartError::OpenFiles { open_files, workers, needed });
    }
    Ok(raised)
}

/// Descriptors that are left for connections; while workers are replaced there are twice as many,
/// and the outputs of those that are gone.
fn copies_max(open_files: u64, workers: usize) -> u32 {
    let per_seat = 2 * DESCRIPTORS_PER_WORKER + DESCRIPTORS_PER_LATE_OUTPUT;
    let others = u64::from(MASTER_SPARE_DESCRIPTORS) + per_seat * workers as u64;
    u32::try_from(open_files.saturating_sub(others)).unwrap_or(u32::MAX).max(1)
}

fn setup(config: &Config, placement: &Placement, open_files: u64) -> Setup {
    Setup {
        dispatch: config.dispatch,
        classes: config.classes.is_some(),
        copies_max: copies_max(open_files, placement.seats.len()),
        policy: config.policy,
        weights: placement.seats.iter().map(|seat| seat.weight).collect(),
        hold_max: config.hold_max,
        overload: config.overload,
        patience: Patience { start: config.start_timeout, drain: config.drain_timeout },
        stall_timeout: STALL_TIMEOUT,
        seed: clock::monotonic().as_ns(),
    }
}

/// What does not come from the configuration, for [`recipe`].
struct Ingredients<'a> {
    backend: &'a Choice,
    built_in: OsString,
    placement: Placement,
    sockets: &'a [Opened<OwnedFd>],
    files: Vec<SocketFile>,
    open_files: Limit,
}

fn recipe(config: &Config, from: Ingredients<'_>) -> Result<Recipe, StartError> {
    let Ingredients { backend, built_in, placement, sockets, files, open_files } = from;
    let (program, args) = program(config, built_in)?;
    let sharing = match config.policy {
        Policy::Shared => Sharing::Shared,
        Policy::Reuseport => Sharing::Own,
        Policy::RoundRobin | Policy::Weighted | Policy::Least | Policy::Jbsq(_) => Sharing::None,
    };
    let mut listeners: Vec<Vec<OwnedFd>> = Vec::new();
    for opened in sockets.iter().filter(|_| sharing != Sharing::None) {
        let seat = opened.seat.map_or(0, SeatId::index);
        listeners.resize_with(listeners.len().max(seat + 1), Vec::new);
        let copy = kernel("copy a listener", fd::duplicate(opened.socket.as_fd()))?;
        listeners[seat].push(copy);
    }
    let own = sockets
        .iter()
        .filter(|opened| opened.seat == Some(SeatId(0)))
        .map(|opened| open::own_listener(config, opened))
        .collect::<Result<_, _>>()?;
    Ok(Recipe {
        program,
        args,
        env: vec![("DISPATCHD_BACKEND", String::from(for_workers(backend)))],
        placement,
        sharing,
        classes: config.classes,
        drain: config.drain_timeout,
        scheduling: give_way(),
        open_files,
        listeners,
        own,
        files,
    })
}

/// What workers run, and with which arguments.
fn program(config: &Config, built_in: OsString) -> Result<(Program, Vec<OsString>), StartError> {
    match &config.program {
        Some(program) => {
            let (path, name) = (find_program(program)?, program.path.clone());
            Ok((Program::Foreign { path, name }, program.args.clone()))
        }
        None => {
            let own = kernel("open this program's own file", Executable::own())?;
            Ok((Program::BuiltIn(own), vec![built_in]))
        }
    }
}

/// The backend that built-in workers are to try: what one process can have, the sixtieth may not.
const fn for_workers(choice: &Choice) -> &'static str {
    match choice.backend {
        Chosen::Uring(_) => "auto",
        Chosen::Epoll(_) => "epoll",
    }
}

/// Lets the master run when a CPU is free and not at the cost of whoever works (decision 007), and
/// says how workers are to be scheduled, where that is not what they inherit: as dispatchd was. A
/// sandbox that forbids it costs throughput alone.
fn give_way() -> Option<Scheduling> {
    let ours = Scheduling::current().ok()?;
    match ours.policy() {
        Scheduled::Other => {
            ours.as_batch().enter().ok()?;
            Some(ours)
        }
        Scheduled::Deadline => {
            telemetry::no_deadline_for_workers();
            let plain = Scheduling::plain();
            // Without one of these the kernel forbids it to have children.
            ours.for_itself_alone().enter().or_else(|_| plain.as_batch().enter()).ok()?;
            Some(plain)
        }
        Scheduled::Special => ours.is_for_itself_alone().then_some(ours),
    }
}

/// The program as exec will find it, so that a missing one is refused before anything is started.
fn find_program(program: &crate::config::Program) -> Result<OsString, StartError> {
    let path = PathBuf::from(&program.path);
    let missing = || StartError::NoProgram { program: path.clone() };
    if path.components().count() > 1 {
        return if path.is_file() { Ok(program.path.clone()) } else { Err(missing()) };
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories)
        .map(|directory| directory.join(&path))
        .find(|candidate| candidate.is_file())
        .map(Into::into)
        .ok_or_else(missing)
}

fn say_hello(config: &Config, placement: &Placement, about: &About, open_files: u64) {
    let version = env!("CARGO_PKG_VERSION");
    telemetry::banner(&format!("dispatchd {version} '{}' pid {}", about.name, std::process::id()));
    telemetry::banner(&format!("backend {} ({})", about.backend, about.backend_reason));
    telemetry::banner(&format!("policy {}", policy::name(config.policy)));
    telemetry::banner(&format!("workers {}, open files {open_files}", placement.seats.len()));
    for line in &placement.reasoning {
        telemetry::banner(line);
    }
    for address in &about.listeners {
        telemetry::banner(&format!("listening on {address}"));
    }
}

fn kernel<T>(what: &'static str, result: Result<T, Errno>) -> Result<T, StartError> {
    result.map_err(|errno| StartError::Kernel { what, errno })
}
