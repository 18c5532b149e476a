//! Connections made by us: begun without waiting, since a listener whose queue is full would hold
//! up whoever connects, and a generator that is held up sends the wrong load.
#![expect(unsafe_code, reason = "nix has addresses of the internet only with more of itself")]

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{AddressFamily, UnixAddr, setsockopt};

use super::{Endpoint, Sockaddr, sockaddr_v4, sockaddr_v6, stream_socket};
use crate::sys::errno::{errno_of, last_errno};
use crate::units::Errno;

/// Begins a connection and returns at once. The socket is blocking and close-on-exec, and may
/// still be connecting: what is sent or received waits until it is, or says why it is not.
///
/// # Errors
/// EAGAIN when the queue of a unix listener is full, ECONNREFUSED and ENOENT when nobody listens at
/// a path, EADDRNOTAVAIL when no port is left, EMFILE and ENFILE when no descriptor is.
pub fn connect(endpoint: &Endpoint) -> Result<OwnedFd, Errno> {
    let fd = match endpoint {
        Endpoint::Tcp(SocketAddr::V4(address)) => {
            begin(stream_socket(AddressFamily::Inet)?, &sockaddr_v4(address))?
        }
        Endpoint::Tcp(SocketAddr::V6(address)) => {
            begin(stream_socket(AddressFamily::Inet6)?, &sockaddr_v6(address))?
        }
        Endpoint::Unix(path) => {
            let fd = stream_socket(AddressFamily::Unix)?;
            let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
                Some(name) => UnixAddr::new_abstract(name),
                None => UnixAddr::new(path),
            };
            let address = address.map_err(errno_of)?;
            nix::sys::socket::connect(fd.as_raw_fd(), &address).map_err(errno_of)?;
            fd
        }
    };
    // A new socket has no other status flag, so that there is nothing to read first.
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty())).map_err(errno_of)?;
    Ok(fd)
}

/// Closing the connection resets it: what is unsent is dropped, and no port is kept for a minute.
///
/// # Errors
/// None that an open socket can have.
pub fn set_abrupt_close(stream: impl AsFd) -> Result<(), Errno> {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, Linger, &now).map_err(errno_of)
}

fn begin<A: Sockaddr>(fd: OwnedFd, address: &A) -> Result<OwnedFd, Errno> {
    let length = libc::socklen_t::try_from(size_of::<A>()).expect("an address has few bytes");
    // SAFETY: `address` is one of the kernel's own structs, whole and alive for the call, and the
    // length is its own.
    let code = unsafe { libc::connect(fd.as_raw_fd(), ptr::from_ref(address).cast(), length) };
    match if code < 0 { last_errno() } else { Errno(0) } {
        // An interrupted connect goes on by itself, like one in progress.
        Errno(0 | libc::EINPROGRESS | libc::EINTR) => Ok(fd),
        errno => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::super::*;
    use super::*;

    fn hears(client: &OwnedFd, server: &OwnedFd) {
        assert_eq!(send(client.as_fd(), b"hello"), Ok(5));
        let mut buffer = Vec::with_capacity(8);
        while poll_ready_now(server.as_fd()).is_none() {}
        assert_eq!(recv(server.as_fd(), &mut buffer), Ok(5));
    }

    #[test]
    fn connections_of_every_family_are_blocking_and_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("@dispatchd-connect-{}", std::process::id());
        for endpoint in [
            Endpoint::Tcp("127.0.0.1:0".parse().unwrap()),
            Endpoint::Tcp("[::1]:0".parse().unwrap()),
            Endpoint::Unix(folder.path().join("socket")),
            Endpoint::Unix(PathBuf::from(name)),
        ] {
            let listener =
                listen(&endpoint, ListenOptions { backlog: 8, reuse_port: false }).unwrap();
            let client = connect(&local_endpoint(&listener).unwrap()).unwrap();
            assert_eq!(crate::sys::fd::is_nonblocking(&client), Ok(false));
            while poll_ready_now(listener.as_fd()).is_none() {}
            hears(&client, &accept(listener.as_fd()).unwrap());
        }
    }

    #[test]
    fn where_nobody_listens_the_first_word_says_so() {
        let gone = listen(
            &Endpoint::Tcp("127.0.0.1:0".parse().unwrap()),
            ListenOptions { backlog: 1, reuse_port: false },
        )
        .unwrap();
        let endpoint = local_endpoint(&gone).unwrap();
        drop(gone);
        let refused = match connect(&endpoint) {
            Ok(client) => {
                while poll_ready_now(client.as_fd()).is_none() {}
                send(client.as_fd(), b"x").unwrap_err()
            }
            Err(errno) => errno,
        };
        assert_eq!(refused, Errno(libc::ECONNREFUSED));
        let nowhere = Endpoint::Unix("/nowhere/at/all".into());
        assert_eq!(connect(&nowhere).unwrap_err(), Errno(libc::ENOENT));
    }

    #[test]
    fn a_full_queue_is_an_answer_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let endpoint = Endpoint::Unix(path);
        let mut waiting = Vec::new();
        let errno = loop {
            match connect(&endpoint) {
                Ok(client) => waiting.push(client),
                Err(errno) => break errno,
            }
        };
        assert_eq!(errno, Errno(libc::EAGAIN));
        assert!(!waiting.is_empty());
    }

    #[test]
    fn an_abrupt_close_is_a_reset() {
        let listener = listen(
            &Endpoint::Tcp("127.0.0.1:0".parse().unwrap()),
            ListenOptions { backlog: 8, reuse_port: false },
        )
        .unwrap();
        let client = connect(&local_endpoint(&listener).unwrap()).unwrap();
        while poll_ready_now(listener.as_fd()).is_none() {}
        let server = accept(listener.as_fd()).unwrap();
        hears(&client, &server);
        set_abrupt_close(&client).unwrap();
        drop(client);
        while poll_ready_now(server.as_fd()).is_none() {}
        let heard = recv(server.as_fd(), &mut Vec::with_capacity(8));
        assert_eq!(heard, Err(Errno(libc::ECONNRESET)));
    }
}
