//! The sockets that a master starts with: inherited or opened, with the names that they have.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::spec::OwnListener;
use super::{ListenerOrigin, Opened, telemetry};
use crate::config::{Config, DispatchOn, ListenAddr, SocketAccess};
use crate::engine::dispatcher::policy::Policy;
use crate::engine::input::FirstSpeaker;
use crate::limits::{BACKLOG_DEFAULT, LISTEN_PAUSE, LISTEN_TRIES, SLOTS_MAX};
use crate::sys::errno::io_error;
use crate::sys::fd;
use crate::sys::socket::{self, Endpoint, ListenOptions};
use crate::sys::socket_file::{self, Access, SocketFile, SocketFileError};
use crate::sys::{clock, spawn};
use crate::units::{Errno, ListenerId, SlotId};

/// What a master listens on.
#[derive(Debug)]
pub(super) struct OpenSockets {
    pub(super) sockets: Vec<Opened<OwnedFd>>,
    /// Those of unix sockets.
    pub(super) files: Vec<SocketFile>,
}

/// Why a master cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address cannot be had.
    #[error("cannot listen on {endpoint}: {}{}", io_error(*.errno), cure(*.errno))]
    Address {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        errno: Errno,
    },
    /// The file of a unix socket cannot be had.
    #[error(transparent)]
    File(#[from] SocketFileError),
    /// An inherited descriptor is no listening socket.
    #[error("descriptor {number} of LISTEN_FDS is {what}: check the socket unit")]
    Inherited {
        /// Which one.
        number: usize,
        /// What it is instead.
        what: &'static str,
    },
    /// An open socket does not say where it listens.
    #[error("cannot ask a listener for its address: {}", io_error(*.0))]
    Unknown(Errno),
}

/// Inherited sockets first, then those of the configuration; under `reuseport` one set per slot.
pub(super) fn listeners(
    config: &Config,
    inherited: Vec<Option<OwnedFd>>,
    slots: usize,
) -> Result<OpenSockets, OpenError> {
    let SocketAccess { mode, user, group } = config.socket_access;
    let access = Access { mode, user, group };
    let mut open = OpenSockets { sockets: Vec::new(), files: Vec::new() };
    for (index, socket) in inherited.into_iter().enumerate() {
        let socket = take_over(socket, index)?;
        let entry = entry(socket, index, config.dispatch_on, None);
        open.sockets.push(Opened { origin: ListenerOrigin::Inherited, ..entry });
    }
    let first = open.sockets.len();
    for (index, listener) in config.listeners.iter().enumerate() {
        let (dispatch_on, index) = (listener.dispatch_on, first + index);
        match &listener.addr {
            ListenAddr::Unix(path) => {
                let backlog = listen_options(config).backlog;
                let (socket, file) = socket_file::listen(path, backlog, access)?;
                open.sockets.push(entry(socket, index, dispatch_on, None));
                open.files.push(file);
            }
            ListenAddr::Tcp(address) => {
                let shared = config.policy == Policy::Reuseport && is_shared(address);
                let mut endpoint = Endpoint::Tcp(*address);
                for slot in 0..listening_slots(config.policy, slots) {
                    let socket = open_tcp(config, &endpoint, dispatch_on)?;
                    // The second socket of a reuseport group must have the port that the first
                    // was given.
                    endpoint = socket::local_endpoint(&socket).unwrap_or(endpoint);
                    let slot = (config.policy == Policy::Reuseport).then(|| slot_id(slot));
                    open.sockets.push(entry(socket, index, dispatch_on, slot));
                }
                if shared {
                    telemetry::shared(&endpoint);
                }
            }
        }
    }
    Ok(open)
}

fn take_over(socket: Option<OwnedFd>, index: usize) -> Result<OwnedFd, OpenError> {
    let number = spawn::FIRST_FD as usize + index;
    let wrong = |what| OpenError::Inherited { number, what };
    let socket = socket.ok_or_else(|| wrong("not open"))?;
    let listening = socket::is_listening(&socket).unwrap_or(false);
    if !listening || fd::set_nonblocking(&socket).is_err() {
        return Err(wrong("not a listening socket"));
    }
    Ok(socket)
}

/// Under `reuseport` one socket per slot; those of slots that grow later are opened with them.
const fn listening_slots(policy: Policy, slots: usize) -> usize {
    match policy {
        Policy::Reuseport => slots,
        Policy::RoundRobin
        | Policy::Weighted
        | Policy::Least
        | Policy::Jbsq(_)
        | Policy::Shared => 1,
    }
}

fn open_tcp(
    config: &Config,
    endpoint: &Endpoint,
    dispatch_on: DispatchOn,
) -> Result<OwnedFd, OpenError> {
    let socket = listen_patiently(endpoint, listen_options(config))
        .map_err(|errno| OpenError::Address { endpoint: endpoint.clone(), errno })?;
    tune(&socket, endpoint, taker(config.policy, dispatch_on));
    Ok(socket)
}

/// Who takes the connections of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taker {
    /// The master, who watches each until it is worth a worker.
    Master,
    /// Workers; the client speaks first.
    WorkerWhenReadable,
    /// Workers, as soon as there is a connection.
    WorkerAtOnce,
}

const fn taker(policy: Policy, dispatch_on: DispatchOn) -> Taker {
    match (policy, dispatch_on) {
        (Policy::Shared | Policy::Reuseport, DispatchOn::Readable) => Taker::WorkerWhenReadable,
        (Policy::Shared | Policy::Reuseport, DispatchOn::Connect) => Taker::WorkerAtOnce,
        (Policy::RoundRobin | Policy::Weighted | Policy::Least | Policy::Jbsq(_), _) => {
            Taker::Master
        }
    }
}

/// Sets what makes a TCP listener better and is not needed for its service.
pub(super) fn tune(socket: &OwnedFd, endpoint: &Endpoint, taker: Taker) {
    if let Endpoint::Unix(_) = endpoint {
        return;
    }
    // Connections inherit it: an answer in two pieces must not wait for the client's
    // acknowledgement of the first.
    socket::set_nodelay(socket).unwrap_or_default();
    match taker {
        // What a worker has accepted dies with it, so it shall accept what it can begin with.
        Taker::WorkerWhenReadable => socket::set_defer_accept(socket).unwrap_or_default(),
        Taker::Master | Taker::WorkerAtOnce => {}
    }
}

fn listen_options(config: &Config) -> ListenOptions {
    ListenOptions {
        backlog: config.backlog.unwrap_or(BACKLOG_DEFAULT),
        reuse_port: config.policy == Policy::Reuseport,
    }
}

/// The kernel closes the ring of a master that was killed, and with it its listeners, some time
/// after the process is gone; so a busy address is tried again for a moment.
fn listen_patiently(endpoint: &Endpoint, options: ListenOptions) -> Result<OwnedFd, Errno> {
    for _ in 0..LISTEN_TRIES {
        match socket::listen(endpoint, options) {
            Err(Errno(libc::EADDRINUSE)) => clock::sleep(LISTEN_PAUSE),
            result => return result,
        }
    }
    socket::listen(endpoint, options)
}

/// Whether another process listens on an address and would share it: then the kernel lets us listen
/// there, too, and nothing else shows that half of the clients go elsewhere. A predecessor's
/// listeners may take a moment to go.
fn is_shared(address: &SocketAddr) -> bool {
    let is_taken = || socket::is_free(address) == Ok(false);
    for _ in 0..LISTEN_TRIES {
        if !is_taken() {
            return false;
        }
        clock::sleep(LISTEN_PAUSE);
    }
    is_taken()
}

fn entry(
    socket: OwnedFd,
    index: usize,
    dispatch_on: DispatchOn,
    slot: Option<SlotId>,
) -> Opened<OwnedFd> {
    let listener = ListenerId(u16::try_from(index).expect("listeners are limited"));
    let first_speaker = match dispatch_on {
        DispatchOn::Readable => FirstSpeaker::Client,
        DispatchOn::Connect => FirstSpeaker::Server,
    };
    Opened { socket, listener, first_speaker, slot, origin: ListenerOrigin::Ours }
}

fn slot_id(index: usize) -> SlotId {
    SlotId(u16::try_from(index.min(SLOTS_MAX)).expect("slots are limited"))
}

/// What a slot that is grown later needs a socket for.
pub(super) fn own_listener(
    config: &Config,
    opened: &Opened<OwnedFd>,
) -> Result<OwnListener, OpenError> {
    let endpoint = socket::local_endpoint(&opened.socket).map_err(OpenError::Unknown)?;
    let (listener, first_speaker) = (opened.listener, opened.first_speaker);
    Ok(OwnListener { endpoint, options: listen_options(config), listener, first_speaker })
}

/// Where it listens, for people.
pub(super) fn addresses(sockets: &[Opened<OwnedFd>]) -> Vec<String> {
    let mut texts: Vec<String> = sockets
        .iter()
        .filter_map(|opened| socket::local_endpoint(&opened.socket).ok())
        .map(|endpoint| endpoint.to_string())
        .collect();
    texts.dedup();
    texts
}

/// What helps against the errors that users meet.
fn cure(errno: Errno) -> &'static str {
    match errno.0 {
        libc::EADDRINUSE => ": stop whoever listens there (`ss -ltnp`), or choose another --listen",
        libc::EACCES => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        libc::EADDRNOTAVAIL => ": no interface of this machine has that address",
        libc::ENODEV => ": no interface has the number behind % (`ip link` shows them)",
        _ => "",
    }
}
