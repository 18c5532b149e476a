//! Standard error, written without ever waiting: a pipe that nobody reads must not stop a service.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

use super::clock;
use super::errno::errno_of;
use super::fd::duplicate;
use super::socket::{self, Way};
use crate::units::{Errno, Span};

/// How standard error can be written without waiting.
#[derive(Debug)]
pub enum LogSink {
    /// A file: nobody waits for one, and whoever else writes to it goes on where we ended.
    File(OwnedFd),
    /// Opened anew, so that O_NONBLOCK is ours alone and not that of everybody who shares it.
    Own(OwnedFd),
    /// A socket: each send says that it will not wait.
    Socket(OwnedFd),
    /// Neither is possible: asked whether it is ready before each small write.
    Asked(OwnedFd),
}

impl LogSink {
    /// The sink behind descriptor 2.
    ///
    /// # Errors
    /// EBADF when standard error is closed, EMFILE.
    pub fn stderr() -> Result<Self, Errno> {
        let copy = duplicate(std::io::stderr().as_fd())?;
        let kind = fstat(&copy).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        if kind == Ok(SFlag::S_IFREG) {
            return Ok(Self::File(copy));
        }
        let own = OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open("/proc/self/fd/2");
        if let Ok(file) = own {
            return Ok(Self::Own(file.into()));
        }
        let is_socket = nix::sys::socket::getsockname::<()>(std::os::fd::AsRawFd::as_raw_fd(&copy));
        Ok(if is_socket.is_ok() { Self::Socket(copy) } else { Self::Asked(copy) })
    }

    /// Writes all of it, and waits for its reader for no longer than `patience`.
    ///
    /// # Errors
    /// EAGAIN when that has passed; whatever write says otherwise.
    pub fn write_all(&self, bytes: &[u8], patience: Span) -> Result<(), Errno> {
        let deadline = clock::monotonic().after(patience);
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno(libc::EINTR)) => {}
                Err(Errno(libc::EAGAIN)) if clock::monotonic() < deadline => {
                    let left = deadline.since(clock::monotonic());
                    socket::wait(self.fd(), Way::Out, left)?;
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(fd) | Self::Own(fd) | Self::Socket(fd) | Self::Asked(fd) => fd.as_fd(),
        }
    }

    /// Writes what can be written now and says how much that was.
    ///
    /// # Errors
    /// EAGAIN when nothing can; whatever write says otherwise.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        /// POLLOUT on a pipe promises room for so many bytes.
        const PIPE_BUF: usize = 4096;
        match self {
            Self::File(fd) | Self::Own(fd) => write(fd, bytes).map_err(errno_of),
            Self::Socket(fd) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(std::os::fd::AsRawFd::as_raw_fd(fd), bytes, flags).map_err(errno_of)
            }
            Self::Asked(fd) => {
                let mut ready = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut ready, PollTimeout::ZERO).map_err(errno_of)? {
                    0 => Err(Errno(libc::EAGAIN)),
                    _ => write(fd, &bytes[..bytes.len().min(PIPE_BUF)]).map_err(errno_of),
                }
            }
        }
    }
}
