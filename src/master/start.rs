//! From a valid configuration to a running master: everything that can be refused is refused here,
//! before the first worker is started.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::budget::Budget;
use super::control::{self, About, Clients, ControlError};
use super::names::{self, ControlSocket};
use super::open::{self, OpenError, OpenSockets};
use super::spec::{SpecProgram, WorkerSpec};
use super::telemetry;
use super::world::LinuxHost;
use super::{ListenerOrigin, Master, Opened, StartupDescriptors};
use crate::config::placement::Placement;
use crate::config::{BackendChoice, Config, policy};
use crate::engine::Setup;
use crate::engine::action::MasterOutcome;
use crate::engine::capabilities::Capabilities;
use crate::engine::dispatcher::Rules;
use crate::engine::dispatcher::policy::{Lack, Policy, Unsupported};
use crate::engine::supervisor::worker::Patience;
use crate::io::probe::{self, Choice, Chosen, ProbeError, Wanted};
use crate::limits::STALL_TIMEOUT;
use crate::link::LinkKind;
use crate::shm::map::MapError;
use crate::sys::errno::io_error;
use crate::sys::executable::Executable;
use crate::sys::fd;
use crate::sys::program::{self, ProgramError};
use crate::sys::rlimit::{self, Raised, ResourceLimit, RlimitError};
use crate::sys::scheduling::{SchedPolicy, Scheduling};
use crate::sys::socket_file::SocketFile;
use crate::sys::{clock, signal, title};
use crate::units::{Errno, SlotId};
use crate::wire::handshake::ListenerSharing;

/// What comes from outside the configuration.
#[derive(Debug)]
pub struct StartSurroundings {
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
        workers: u64,
        /// What would do.
        needed: u64,
    },
    /// Shared memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What is made of descriptors, or the signals.
    #[error("cannot {what}: {}", io_error(*.errno))]
    Kernel {
        /// The failed action.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// The policy.
    #[error("--policy {} does not work here: {}", policy::name(*.policy), why(.unsupported))]
    Policy {
        /// What was asked for.
        policy: Policy,
        /// What is in the way.
        unsupported: Unsupported,
    },
    /// The program of the workers.
    #[error(transparent)]
    Program(#[from] ProgramError),
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
    surroundings: StartSurroundings,
) -> Result<MasterOutcome, StartError> {
    let capabilities = LinkKind::Native.capabilities();
    check_policy(config.policy, capabilities)?;
    let Raised { before, after } = rlimit::raise_open_files()?;
    let budget = Budget {
        open_files: after.soft,
        workers: placement.slots.len() as u64,
        listeners: config.listeners.len() as u64 + u64::from(config.inherited),
        policy: config.policy,
    };
    check_open_files(budget)?;
    let runs = what_runs(config, surroundings.built_in)?;
    let path = control::socket_path(surroundings.runtime_dir.as_deref(), &config.name);
    let ControlSocket { socket: control, name } = names::open(&path, &config.name)?;
    // Where it cannot be, `ps` shows the command line.
    title::set_title(&format!("dispatchd: master ({})", config.name)).unwrap_or_default();
    let signals = kernel("listen to signals", signal::listen())?;
    let choice = probe::choose(match config.backend {
        BackendChoice::Auto => Wanted::Auto,
        BackendChoice::Uring => Wanted::Uring,
        BackendChoice::Epoll => Wanted::Epoll,
    })?;
    let OpenSockets { sockets, files } =
        open::listeners(config, surroundings.inherited, placement.slots.len())?;
    let about = About {
        name: config.name.clone(),
        backend: choice.to_string(),
        backend_reason: choice.reason.clone(),
        listeners: open::addresses(&sockets),
        started_at: clock::monotonic(),
    };
    say_hello(config, &placement, &about, after.soft);
    let setup = setup(config, &placement, budget, capabilities);
    let spec = spec(
        config,
        Ingredients {
            backend: &choice,
            runs,
            placement,
            sockets: &sockets,
            files,
            open_files: before,
        },
    )?;
    let startup = StartupDescriptors {
        listeners: sockets,
        signals: kernel("copy a descriptor", fd::duplicate(&signals))?,
        control: Some(control),
    };
    let no_input = kernel("open /dev/null", fd::no_input())?;
    let world = LinuxHost::new(spec, signals, no_input, Clients::new(about), name)?;
    let ended = match choice.backend {
        Chosen::Uring(ring) => Master::new(setup, startup, ring, world).run(),
        Chosen::Epoll(epoll) => Master::new(setup, startup, epoll, world).run(),
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

/// A policy asks for what the workers' links may not be able to do.
fn check_policy(policy: Policy, capabilities: Capabilities) -> Result<(), StartError> {
    policy
        .supported_by(capabilities)
        .map_err(|unsupported| StartError::Policy { policy, unsupported })
}

/// What is in the way of a policy, and what to do about it.
fn why(unsupported: &Unsupported) -> String {
    let lacks = match unsupported.lacks {
        Lack::HandingOver => "connections cannot be handed to these workers",
        Lack::Accepting => "these workers accept no connections",
    };
    match unsupported.nearest {
        Some(nearest) => {
            format!("{lacks}; use --policy {}, which comes nearest", policy::name(nearest))
        }
        None => format!("{lacks}; leave --policy and --listen out"),
    }
}

fn check_open_files(budget: Budget) -> Result<(), StartError> {
    let Budget { open_files, workers, .. } = budget;
    let needed = budget.needed();
    if open_files < needed {
        return Err(StartError::OpenFiles { open_files, workers, needed });
    }
    Ok(())
}

fn setup(
    config: &Config,
    placement: &Placement,
    budget: Budget,
    capabilities: Capabilities,
) -> Setup {
    let rules = Rules {
        policy: config.policy,
        weights: placement.slots.iter().map(|slot| slot.weight).collect(),
        dispatch: config.dispatch,
        classes: config.classes.is_some(),
        hold_max: config.hold_max,
        copies_max: budget.copies_max(),
        slot_cost: budget.slot_cost(),
        overload: config.overload,
        stall_timeout: STALL_TIMEOUT,
    };
    let patience = Patience { start: config.start_timeout, drain: config.drain_timeout };
    Setup { rules, capabilities, patience, seed: clock::monotonic().as_ns() }
}

/// What does not come from the configuration, for [`spec`].
struct Ingredients<'a> {
    backend: &'a Choice,
    /// What workers run, and with which arguments.
    runs: (SpecProgram, Vec<OsString>),
    placement: Placement,
    sockets: &'a [Opened<OwnedFd>],
    files: Vec<SocketFile>,
    open_files: ResourceLimit,
}

fn spec(config: &Config, from: Ingredients<'_>) -> Result<WorkerSpec, StartError> {
    let Ingredients { backend, runs: (program, args), placement, sockets, files, open_files } =
        from;
    let sharing = match config.policy {
        Policy::Shared => ListenerSharing::Shared,
        Policy::Reuseport => ListenerSharing::Own,
        Policy::RoundRobin | Policy::Weighted | Policy::Least | Policy::Jbsq(_) => {
            ListenerSharing::None
        }
    };
    let mut listeners: Vec<Vec<OwnedFd>> = Vec::new();
    for opened in sockets.iter().filter(|_| sharing != ListenerSharing::None) {
        let slot = opened.slot.map_or(0, SlotId::index);
        listeners.resize_with(listeners.len().max(slot + 1), Vec::new);
        let copy = kernel("copy a listener", fd::duplicate(opened.socket.as_fd()))?;
        listeners[slot].push(copy);
    }
    let inherited =
        sockets.iter().filter(|opened| opened.origin == ListenerOrigin::Inherited).count();
    let own = sockets
        .iter()
        .filter(|opened| opened.slot == Some(SlotId(0)))
        .map(|opened| open::own_listener(config, opened))
        .collect::<Result<_, _>>()?;
    Ok(WorkerSpec {
        program,
        args,
        env: vec![("DISPATCHD_BACKEND", String::from(for_workers(backend)))],
        placement,
        sharing,
        classes: config.classes,
        drain: config.drain_timeout,
        scheduling: give_way(),
        open_files,
        inherited,
        listeners,
        own,
        files,
    })
}

/// What workers run, and with which arguments.
fn what_runs(
    config: &Config,
    built_in: OsString,
) -> Result<(SpecProgram, Vec<OsString>), StartError> {
    match &config.program {
        Some(program) => {
            let (path, name) = (program::find(&program.path)?, program.path.clone());
            Ok((SpecProgram::Foreign { path, name }, program.args.clone()))
        }
        None => {
            let own = kernel("open this program's own file", Executable::own())?;
            Ok((SpecProgram::BuiltIn(own), vec![built_in]))
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
        SchedPolicy::Other => {
            ours.as_batch().enter().ok()?;
            Some(ours)
        }
        SchedPolicy::Deadline => {
            telemetry::no_deadline_for_workers();
            let plain = Scheduling::plain();
            // Without one of these the kernel forbids it to have children.
            ours.for_itself_alone().enter().or_else(|_| plain.as_batch().enter()).ok()?;
            Some(plain)
        }
        SchedPolicy::Special => ours.is_for_itself_alone().then_some(ours),
    }
}

fn say_hello(config: &Config, placement: &Placement, about: &About, open_files: u64) {
    let version = env!("CARGO_PKG_VERSION");
    telemetry::banner(&format!("dispatchd {version} '{}' pid {}", about.name, std::process::id()));
    telemetry::banner(&format!("backend {} ({})", about.backend, about.backend_reason));
    telemetry::banner(&format!("policy {}", policy::name(config.policy)));
    telemetry::banner(&format!("workers {}, open files {open_files}", placement.slots.len()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::capabilities::Accepter;
    use crate::engine::dispatcher::policy::Depth;

    #[test]
    fn a_policy_that_a_link_cannot_serve_is_refused_with_the_reason_and_the_nearest() {
        let jbsq = Policy::Jbsq(Depth::Auto);
        let text = |policy, accepter| {
            let capabilities = Capabilities { accepter, ..Capabilities::FULL };
            check_policy(policy, capabilities).map_err(|error| error.to_string())
        };
        assert_eq!(text(jbsq, Accepter::Either), Ok(()));
        let reason = "--policy jbsq does not work here: connections cannot be handed to these \
                      workers; use --policy shared, which comes nearest";
        assert_eq!(text(jbsq, Accepter::Workers), Err(String::from(reason)));
        assert_eq!(text(Policy::Shared, Accepter::Workers), Ok(()));
        let reason = "--policy shared does not work here: these workers accept no connections; \
                      leave --policy and --listen out";
        assert_eq!(text(Policy::Shared, Accepter::Nobody), Err(String::from(reason)));
    }
}
