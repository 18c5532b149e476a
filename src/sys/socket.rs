//! Sockets: listening ones, channels between processes, and the calls that a connection needs
//! where no ring is used. Every descriptor made here is close-on-exec.
#![expect(unsafe_code, reason = "socket options and reads into spare room go through libc")]

mod connect;

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::sockopt::{PeerCredentials, ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, getsockopt, setsockopt,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

use crate::sys::errno::{errno_from_io, errno_of, last_errno};
use crate::sys::fd::{adopt, duplicate};
use crate::units::{Errno, Span};

pub use self::connect::{connect, set_abrupt_close};

/// What the kernel says of a path that is too long.
pub const NAME_TOO_LONG: Errno = Errno(libc::ENAMETOOLONG);

/// Where a socket listens.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Endpoint {
    /// An IPv4 or IPv6 address and a port.
    Tcp(SocketAddr),
    /// A path in the file system, or `@name` for an abstract one, or nothing for an unnamed one.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a socket listens.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.
    pub backlog: u32,
    /// Several sockets on one port, among which the kernel chooses. TCP alone.
    pub reuse_port: bool,
}

/// What kind of address a socket has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SocketFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Unix.
    Unix,
    /// Anything else.
    Other,
}

/// A listening socket, non-blocking. IPv6 ones take IPv6 alone, so that both can be had together.
///
/// # Errors
/// EADDRINUSE, EACCES and what else bind and listen say; EOPNOTSUPP for a unix socket with
/// `reuse_port`; ENAMETOOLONG for a path that does not fit.
pub fn listen(endpoint: &Endpoint, options: ListenOptions) -> Result<OwnedFd, Errno> {
    let fd = match endpoint {
        Endpoint::Tcp(address) => bound(address, options)?,
        Endpoint::Unix(_) if options.reuse_port => return Err(Errno(libc::EOPNOTSUPP)),
        Endpoint::Unix(path) => bind_unix(path, None)?,
    };
    begin_listening(&fd, options.backlog)?;
    Ok(fd)
}

/// A unix socket that has a path, or `@name` for an abstract one, and does not listen yet,
/// non-blocking. Its file has these permission bits, as far as an access list of its directory
/// leaves them, and by default those of any new file. Meanwhile the process has another umask,
/// which other threads would feel.
///
/// # Errors
/// EADDRINUSE when anything has the name, ENAMETOOLONG, and what else bind says.
pub fn bind_unix(path: &Path, mode: Option<u32>) -> Result<OwnedFd, Errno> {
    let fd = stream_socket(AddressFamily::Unix)?;
    let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(path),
    };
    let address = address.map_err(errno_of)?;
    let bind = || nix::sys::socket::bind(fd.as_raw_fd(), &address).map_err(errno_of);
    match mode {
        None => bind()?,
        Some(mode) => {
            // The kernel makes the file with the bits of the socket itself, less the umask.
            fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(errno_of)?;
            let before = umask(Mode::empty());
            let bound = bind();
            umask(before);
            bound?;
        }
    }
    Ok(fd)
}

/// Whether some process has the socket whose file this is. Nobody notices: a connect by a socket of
/// another type is refused before it is told to anybody, and only where there is somebody.
///
/// # Errors
/// ENOENT when there is no file, EACCES when it may not be connected to.
pub fn has_owner(path: &Path) -> Result<bool, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let probe = nix::sys::socket::socket(AddressFamily::Unix, SockType::Datagram, flags, None);
    let address = UnixAddr::new(path).map_err(errno_of)?;
    match nix::sys::socket::connect(probe.map_err(errno_of)?.as_raw_fd(), &address) {
        Ok(()) | Err(nix::errno::Errno::EPROTOTYPE) => Ok(true),
        Err(nix::errno::Errno::ECONNREFUSED) => Ok(false),
        Err(errno) => Err(errno_of(errno)),
    }
}

/// Whether nobody listens on an address, not even somebody who would share it. It cannot be had by
/// anybody else for as long as that takes.
///
/// # Errors
/// What else bind says: EACCES, EADDRNOTAVAIL.
pub fn is_free(address: &SocketAddr) -> Result<bool, Errno> {
    match bound(address, ListenOptions { backlog: 0, reuse_port: false }) {
        Ok(_) => Ok(true),
        Err(Errno(libc::EADDRINUSE)) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A TCP socket that has its address, and does not listen yet.
fn bound(address: &SocketAddr, options: ListenOptions) -> Result<OwnedFd, Errno> {
    match address {
        SocketAddr::V4(address) => {
            let fd = tcp_socket(AddressFamily::Inet, options)?;
            bind(&fd, &sockaddr_v4(address))?;
            Ok(fd)
        }
        SocketAddr::V6(address) => {
            let fd = tcp_socket(AddressFamily::Inet6, options)?;
            set_flag(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
            bind(&fd, &sockaddr_v6(address))?;
            Ok(fd)
        }
    }
}

/// Has a socket that is bound listen.
///
/// # Errors
/// EADDRINUSE, EOPNOTSUPP.
pub fn begin_listening(fd: &OwnedFd, backlog: u32) -> Result<(), Errno> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let backlog = Backlog::new(backlog).unwrap_or(Backlog::MAXCONN);
    nix::sys::socket::listen(fd, backlog).map_err(errno_of)
}

/// Where the socket is bound: the port that the kernel chose, for port 0.
///
/// # Errors
/// ENOTSOCK, or EAFNOSUPPORT when it is neither IP nor unix.
pub fn local_endpoint(fd: impl AsFd) -> Result<Endpoint, Errno> {
    let fd = fd.as_fd();
    match family(fd)? {
        SocketFamily::V4 | SocketFamily::V6 => {
            // The standard library parses what nix leaves out; it wants a descriptor of its own.
            let listener = std::net::TcpListener::from(duplicate(fd)?);
            let address = listener.local_addr().map_err(|error| errno_from_io(&error))?;
            return Ok(Endpoint::Tcp(address));
        }
        SocketFamily::Other => return Err(Errno(libc::EAFNOSUPPORT)),
        SocketFamily::Unix => {}
    }
    let unix: UnixAddr = nix::sys::socket::getsockname(fd.as_raw_fd()).map_err(errno_of)?;
    let name = match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => path.to_path_buf(),
        (None, Some(name)) => PathBuf::from(format!("@{}", String::from_utf8_lossy(name))),
        (None, None) => PathBuf::new(),
    };
    Ok(Endpoint::Unix(name))
}

/// What kind of address the socket has.
///
/// # Errors
/// ENOTSOCK.
pub fn family(fd: impl AsFd) -> Result<SocketFamily, Errno> {
    let domain = option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    Ok(match domain {
        libc::AF_INET => SocketFamily::V4,
        libc::AF_INET6 => SocketFamily::V6,
        libc::AF_UNIX => SocketFamily::Unix,
        _ => SocketFamily::Other,
    })
}

/// Whether connections can be accepted from it: a stream socket that listens.
///
/// # Errors
/// ENOTSOCK.
pub fn is_listening(fd: impl AsFd) -> Result<bool, Errno> {
    let fd = fd.as_fd();
    let accepts = option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 0;
    Ok(accepts && option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM)
}

/// Whether it is one end of a channel, as [`seqpacket_pair`] makes them.
///
/// # Errors
/// ENOTSOCK.
pub fn is_channel(fd: impl AsFd) -> Result<bool, Errno> {
    let fd = fd.as_fd();
    let listens = option(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 0;
    let kind = option(fd, libc::SOL_SOCKET, libc::SO_TYPE)?;
    Ok(!listens && kind == libc::SOCK_SEQPACKET && family(fd)? == SocketFamily::Unix)
}

/// The process that made this channel ([`seqpacket_pair`]), as this process sees it.
///
/// # Errors
/// ENOTSOCK.
pub fn maker(channel: &OwnedFd) -> Result<Pid, Errno> {
    let credentials = getsockopt(channel, PeerCredentials);
    credentials.map(|them| Pid::from_raw(them.pid())).map_err(errno_of)
}

/// Takes one connection, close-on-exec and blocking. EINTR and connections that were gone before
/// they were taken (ECONNABORTED) are stepped over.
///
/// # Errors
/// EAGAIN when there is none and the listener does not wait; EMFILE, ENFILE, ENOBUFS and ENOMEM
/// leave the connection in the queue.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    loop {
        match nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(raw) => return Ok(adopt(raw)),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno_of(errno)),
        }
    }
}

/// Ends the conversation in both directions, for every copy of the descriptor.
///
/// # Errors
/// ENOTCONN when it had ended already.
pub fn shutdown(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both)
        .map_err(errno_of)
}

/// Ends the conversation in our direction: the peer reads the end, and may still send.
///
/// # Errors
/// ENOTCONN when it had ended already.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)
        .map_err(errno_of)
}

/// What a descriptor that can be read without waiting has to offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ready {
    /// Something to read.
    Input,
    /// Its peer has ended its side, or everything. Whether something is left to read before that,
    /// [`has_input`] tells.
    Ended,
}

impl Ready {
    /// What `poll` asks for.
    pub const INTEREST: i16 = libc::POLLIN | libc::POLLRDHUP;

    /// What `poll` answers: bits of its own, which are epoll's too.
    pub const fn from_events(events: i32) -> Self {
        const ENDED: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
        if events & ENDED == 0 { Self::Input } else { Self::Ended }
    }
}

/// What could be read without waiting: bytes, the end of the stream, or an error.
pub fn poll_ready_now(fd: BorrowedFd<'_>) -> Option<Ready> {
    let mut fds = [PollFd::new(fd, PollFlags::from_bits_retain(Ready::INTEREST))];
    loop {
        match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => return None,
            Ok(_) => {
                // The one bit that nix has no name for is POLLRDHUP.
                let known = fds[0].revents().map(|events| events.bits().into());
                return Some(known.map_or(Ready::Ended, Ready::from_events));
            }
            Err(nix::errno::Errno::EINTR) => {}
            // Only a lack of kernel memory is left: whoever asked waits for an event instead.
            Err(_) => return None,
        }
    }
}

/// Whether the other end has reset the connection. One that has only ended its side may still wait
/// for an answer, or care for what its request does.
pub fn is_reset(fd: BorrowedFd<'_>) -> bool {
    // What went wrong is told whether it is asked for or not.
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let errors = |fd: &PollFd<'_>| fd.revents().is_some_and(|it| it.contains(PollFlags::POLLERR));
    nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| 0 < count) && errors(&fds[0])
}

/// What a stream is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Reading.
    In,
    /// Writing.
    Out,
}

/// Waits until a read or a write would not wait, no longer than `patience`. Whether it would, the
/// next try tells: this may return early.
///
/// # Errors
/// ENOMEM.
pub fn wait(stream: BorrowedFd<'_>, way: Way, patience: Span) -> Result<(), Errno> {
    let interest = match way {
        Way::In => PollFlags::POLLIN,
        Way::Out => PollFlags::POLLOUT,
    };
    let timeout = PollTimeout::try_from(patience.as_ms_ceil()).unwrap_or(PollTimeout::MAX);
    match nix::poll::poll(&mut [PollFd::new(stream, interest)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno_of(errno)),
    }
}

/// Whether there are bytes to read; they stay.
pub fn has_input(socket: BorrowedFd<'_>) -> bool {
    !peek(socket, &mut [0]).is_empty()
}

/// The first bytes that a read would get, as far as they fit; they stay. None where there are none.
pub fn peek<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> &'a [u8] {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let count = nix::sys::socket::recv(socket.as_raw_fd(), buffer, flags).unwrap_or(0);
    &buffer[..count]
}

/// Both ends of a SOCK_SEQPACKET channel, blocking.
///
/// # Errors
/// EMFILE, ENFILE or ENOMEM.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    nix::sys::socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(errno_of)
}

/// Appends what there is to the spare capacity of `buffer`, without waiting; 0 is the end.
///
/// # Errors
/// EAGAIN when there is nothing, ECONNRESET and what else recv says.
///
/// # Panics
/// When `buffer` has no spare capacity, because 0 would look like the end of the stream.
pub fn recv(stream: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    let spare = buffer.spare_capacity_mut();
    assert!(!spare.is_empty(), "a read needs room");
    let (place, room) = (spare.as_mut_ptr(), spare.len());
    loop {
        // SAFETY: `place` points at `room` bytes that belong to the buffer and may be written.
        let got = unsafe { libc::recv(stream.as_raw_fd(), place.cast(), room, libc::MSG_DONTWAIT) };
        if let Ok(bytes) = usize::try_from(got) {
            let length = buffer.len() + bytes;
            // SAFETY: the kernel has written `bytes` bytes behind the old length, and no more
            // than `room`, so that the new length is within the capacity and initialised.
            unsafe { buffer.set_len(length) };
            return Ok(bytes);
        }
        match last_errno() {
            Errno(libc::EINTR) => {}
            errno => return Err(errno),
        }
    }
}

/// Reads what there is into `buffer`, without waiting; 0 is the end.
///
/// # Errors
/// EAGAIN when there is nothing, ECONNRESET and what else recv says.
pub fn recv_into(stream: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match nix::sys::socket::recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Err(nix::errno::Errno::EINTR) => {}
            answer => return answer.map_err(errno_of),
        }
    }
}

/// Writes as much of `bytes` as goes without waiting.
///
/// # Errors
/// EAGAIN when nothing goes, EPIPE (without a signal) or ECONNRESET when the peer is gone.
pub fn send(stream: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match nix::sys::socket::send(stream.as_raw_fd(), bytes, flags) {
            Err(nix::errno::Errno::EINTR) => {}
            answer => return answer.map_err(errno_of),
        }
    }
}

/// Bytes that were written and have not arrived: that the peer's kernel has not acknowledged, and
/// on a unix socket that nobody has read.
///
/// # Errors
/// ENOTTY when it is no socket, EINVAL when it listens.
pub fn unsent(stream: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: i32 = 0;
    // SAFETY: the request writes one int, and `count` is one that outlives the call.
    let code = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if code < 0 { Err(last_errno()) } else { Ok(usize::try_from(count).unwrap_or(0)) }
}

/// Sends small answers at once instead of waiting for more of them.
///
/// # Errors
/// EOPNOTSUPP when it is not TCP.
pub fn set_nodelay(stream: impl AsFd) -> Result<(), Errno> {
    set_flag(stream, libc::IPPROTO_TCP, libc::TCP_NODELAY)
}

/// Keeps a connection out of the queue of a listener until its client has sent something, for a
/// second at most.
///
/// # Errors
/// EOPNOTSUPP when it is not TCP.
pub fn set_defer_accept(listener: impl AsFd) -> Result<(), Errno> {
    set_flag(listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT)
}

/// Ends blocking reads and writes that wait longer than `span`, which is rounded to microseconds.
///
/// # Errors
/// EDOM when the span is longer than the kernel can count.
pub fn set_timeouts(stream: impl AsFd, span: Span) -> Result<(), Errno> {
    let microseconds = i64::try_from(span.as_us().max(1)).map_err(|_| Errno(libc::EDOM))?;
    let time = TimeVal::microseconds(microseconds);
    setsockopt(&stream, ReceiveTimeout, &time).map_err(errno_of)?;
    setsockopt(&stream, SendTimeout, &time).map_err(errno_of)
}

/// Makes the kernel take no more than a few kilobytes at once.
#[cfg(test)]
pub(crate) fn shrink_send_buffer(stream: impl AsFd) -> Result<(), Errno> {
    setsockopt(&stream, nix::sys::socket::sockopt::SndBuf, &1).map_err(errno_of)
}

fn tcp_socket(family: AddressFamily, options: ListenOptions) -> Result<OwnedFd, Errno> {
    let fd = stream_socket(family)?;
    set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    if options.reuse_port {
        set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    Ok(fd)
}

fn stream_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    nix::sys::socket::socket(family, SockType::Stream, flags, None).map_err(errno_of)
}

/// An address as the kernel takes it: one of the structs of this file, and no other.
trait Sockaddr {}
impl Sockaddr for libc::sockaddr_in {}
impl Sockaddr for libc::sockaddr_in6 {}

#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const fn sockaddr_v4(address: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

#[expect(clippy::cast_possible_truncation, reason = "address families are small numbers")]
const fn sockaddr_v6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

fn bind<A: Sockaddr>(fd: &OwnedFd, address: &A) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(size_of::<A>()).expect("an address has few bytes");
    // SAFETY: `address` is one of the kernel's own structs, whole and alive for the call, and the
    // length is its own.
    let code = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(address).cast(), length) };
    if code < 0 { Err(last_errno()) } else { Ok(()) }
}

fn set_flag(fd: impl AsFd, level: i32, name: i32) -> Result<(), Errno> {
    let on: i32 = 1;
    // SAFETY: the option is an int, `on` is one that outlives the call, and the length is its own.
    let code = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const on).cast(), INT_LENGTH)
    };
    if code < 0 { Err(last_errno()) } else { Ok(()) }
}

fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32, Errno> {
    let mut value: i32 = 0;
    let mut length = INT_LENGTH;
    // SAFETY: the option is an int, `value` has room for one, and `length` says so.
    let code = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    if code < 0 { Err(last_errno()) } else { Ok(value) }
}

#[expect(clippy::cast_possible_truncation, reason = "an int has four bytes")]
const INT_LENGTH: libc::socklen_t = size_of::<i32>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;

    const OPTIONS: ListenOptions = ListenOptions { backlog: 16, reuse_port: false };

    fn address(listener: &OwnedFd) -> SocketAddr {
        match local_endpoint(listener).unwrap() {
            Endpoint::Tcp(address) => address,
            Endpoint::Unix(path) => panic!("not TCP but {path:?}"),
        }
    }

    #[test]
    fn a_reset_is_told_from_an_end() {
        let listener = listen(&Endpoint::Tcp("127.0.0.1:0".parse().unwrap()), OPTIONS).unwrap();
        let accepted = || {
            let mut client = TcpStream::connect(address(&listener)).unwrap();
            client.write_all(b"hello").unwrap();
            (client, accept(listener.as_fd()).unwrap())
        };
        let (client, connection) = accepted();
        assert!(!is_reset(connection.as_fd()));
        client.shutdown(std::net::Shutdown::Write).unwrap();
        wait(connection.as_fd(), Way::In, Span::from_s(10)).unwrap();
        assert!(!is_reset(connection.as_fd()), "it may wait for an answer");
        let (client, connection) = accepted();
        drop(client);
        wait(connection.as_fd(), Way::In, Span::from_s(10)).unwrap();
        assert!(!is_reset(connection.as_fd()), "nobody can tell it from the former");
        let (client, connection) = accepted();
        send(connection.as_fd(), b"unread").unwrap();
        wait_for_bytes(&client);
        drop(client);
        wait_until(|| is_reset(connection.as_fd()));
    }

    fn wait_for_bytes(client: &TcpStream) {
        client.peek(&mut [0]).unwrap();
    }

    /// Over the loopback a packet is there when its call returns, as a rule.
    fn wait_until(mut is_so: impl FnMut() -> bool) {
        let end = crate::sys::clock::monotonic().after(Span::from_s(10));
        while !is_so() {
            assert!(crate::sys::clock::monotonic() < end, "it never happens");
        }
    }

    #[test]
    fn tcp_listeners_accept_close_on_exec_blocking_connections() {
        for (text, kind) in [("127.0.0.1:0", SocketFamily::V4), ("[::1]:0", SocketFamily::V6)] {
            let listener = listen(&Endpoint::Tcp(text.parse().unwrap()), OPTIONS).unwrap();
            assert_eq!(family(&listener), Ok(kind));
            assert_eq!(is_listening(&listener), Ok(true));
            assert_eq!(crate::sys::fd::is_nonblocking(&listener), Ok(true));
            assert_eq!(accept(listener.as_fd()).unwrap_err(), Errno(libc::EAGAIN));
            let mut client = TcpStream::connect(address(&listener)).unwrap();
            let connection = accept(listener.as_fd()).unwrap();
            assert_eq!(crate::sys::fd::is_nonblocking(&connection), Ok(false));
            assert_eq!(is_listening(&connection), Ok(false));
            assert_eq!(set_nodelay(&connection), Ok(()));
            assert_eq!(poll_ready_now(connection.as_fd()), None);
            client.write_all(b"hello").unwrap();
            let mut buffer = Vec::with_capacity(64);
            while poll_ready_now(connection.as_fd()).is_none() {}
            assert!(has_input(connection.as_fd()));
            assert_eq!(peek(connection.as_fd(), &mut [0; 4]), b"hell");
            assert_eq!(recv(connection.as_fd(), &mut buffer), Ok(5));
            assert_eq!(recv(connection.as_fd(), &mut buffer), Err(Errno(libc::EAGAIN)));
            client.write_all(b"again").unwrap();
            assert_eq!(wait(connection.as_fd(), Way::In, Span::from_s(10)), Ok(()));
            let mut again = [0; 8];
            assert_eq!(recv_into(connection.as_fd(), &mut again), Ok(5));
            assert_eq!(recv_into(connection.as_fd(), &mut again), Err(Errno(libc::EAGAIN)));
            assert_eq!(wait(connection.as_fd(), Way::In, Span::from_ms(1)), Ok(()));
            assert_eq!(wait(connection.as_fd(), Way::Out, Span::from_s(10)), Ok(()));
            assert_eq!(send(connection.as_fd(), &buffer), Ok(5));
            while unsent(connection.as_fd()) != Ok(0) {}
            shutdown(connection.as_fd()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "hello");
        }
    }

    #[test]
    fn two_sockets_share_a_port_only_when_both_say_so() {
        let shared = ListenOptions { reuse_port: true, ..OPTIONS };
        let first = listen(&Endpoint::Tcp("127.0.0.1:0".parse().unwrap()), shared).unwrap();
        let endpoint = local_endpoint(&first).unwrap();
        drop(listen(&endpoint, shared).unwrap());
        assert_eq!(is_free(&address(&first)), Ok(false));
        assert_eq!(listen(&endpoint, OPTIONS).unwrap_err(), Errno(libc::EADDRINUSE));
        // What is left of connections is nobody who listens.
        let (free, _client) = (address(&first), TcpStream::connect(address(&first)).unwrap());
        let _connection = accept(first.as_fd()).unwrap();
        drop(first);
        assert_eq!(is_free(&free), Ok(true));
    }

    #[test]
    fn unix_listeners_live_at_a_path_and_leave_it_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let endpoint = Endpoint::Unix(path.clone());
        let listener = listen(&endpoint, OPTIONS).unwrap();
        assert_eq!(local_endpoint(&listener), Ok(endpoint.clone()));
        assert_eq!(family(&listener), Ok(SocketFamily::Unix));
        let _client = UnixStream::connect(&path).unwrap();
        assert_eq!(listen(&endpoint, OPTIONS).unwrap_err(), Errno(libc::EADDRINUSE));
        drop(listener);
        assert!(path.exists());
        let shared = ListenOptions { reuse_port: true, ..OPTIONS };
        assert_eq!(listen(&endpoint, shared).unwrap_err(), Errno(libc::EOPNOTSUPP));
    }

    #[test]
    fn a_plain_file_is_no_socket() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(family(file.as_file()), Err(Errno(libc::ENOTSOCK)));
    }

    #[test]
    fn the_end_of_a_stream_is_readable_and_a_full_one_says_so() {
        let (a, b) = UnixStream::pair().unwrap();
        let chunk = vec![0; 65_536];
        let full = loop {
            match send(a.as_fd(), &chunk) {
                Ok(_) => {}
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno(libc::EAGAIN));
        assert!(unsent(a.as_fd()).is_ok_and(|count| 65_536 < count), "nobody reads");
        let (c, d) = UnixStream::pair().unwrap();
        drop(d);
        assert_eq!(poll_ready_now(c.as_fd()), Some(Ready::Ended));
        assert!(!has_input(c.as_fd()) && peek(c.as_fd(), &mut [0; 4]).is_empty());
        assert_eq!(recv(c.as_fd(), &mut Vec::with_capacity(1)), Ok(0));
        assert_eq!(send(c.as_fd(), b"x"), Err(Errno(libc::EPIPE)));
        drop(b);
    }
}
