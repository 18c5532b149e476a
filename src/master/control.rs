//! The control socket: where it lies, and how a client is answered, on either side.
//! A client can be slow, silent or hostile; it costs a bounded buffer and nothing else.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::host::ControlStep;
use crate::limits::{
    CONTROL_ANSWER_MAX, CONTROL_REQUEST_MAX, CONTROL_RETRY, CONTROL_TIMEOUT, UNIX_PATH_MAX,
};
use crate::sys::clock;
use crate::sys::errno::io_error;
use crate::sys::process;
use crate::sys::socket::{self, Endpoint, Way};
use crate::sys::socket_file::SocketFileError;
use crate::units::{Errno, Mono, Span};
use crate::wire::control::{ControlReply, ControlRequest, Status};

/// What never changes in a status.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) backend: String,
    pub(super) backend_reason: String,
    pub(super) listeners: Vec<String>,
    pub(super) started_at: Mono,
}

/// The answering side.
#[derive(Debug, Default)]
pub(super) struct Clients {
    about: About,
}

impl Clients {
    pub(super) const fn new(about: About) -> Self {
        Self { about }
    }

    pub(super) const fn about(&self) -> &About {
        &self.about
    }

    /// Reads one request and finds its answer. A request is one line in one piece: clients are
    /// ours, and a line that small is never torn on a local socket.
    pub(super) fn serve(
        &self,
        client: &OwnedFd,
        status: impl FnOnce(&Self) -> Status,
    ) -> ControlStep {
        let mut request = Vec::with_capacity(CONTROL_REQUEST_MAX);
        let reply = match socket::recv(client.as_fd(), &mut request) {
            Ok(0) => return ControlStep::Gone,
            Ok(_) => answer(&request, || status(self)),
            Err(Errno(libc::EAGAIN)) => return ControlStep::Again,
            Err(_) => return ControlStep::Gone,
        };
        let mut line = serde_json::to_vec(&reply).unwrap_or_default();
        line.push(b'\n');
        ControlStep::Answer(line)
    }
}

fn answer(request: &[u8], status: impl FnOnce() -> Status) -> ControlReply {
    match serde_json::from_slice(request) {
        Ok(ControlRequest::Status) => ControlReply::Status(Box::new(status())),
        Err(error) => ControlReply::Error { message: format!("request not understood: {error}") },
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another master has this name.
    #[error(
        "another dispatchd runs under the name '{name}': stop it, or give this one another --name"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// The path does not fit into an address.
    #[error(
        "the control socket would be {}, a path of {} bytes, where the kernel takes \
         {UNIX_PATH_MAX}: set XDG_RUNTIME_DIR to a shorter one, or choose a shorter --name",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// Where.
        path: PathBuf,
    },
    /// The directory cannot be made.
    #[error("cannot make the control directory {}: {why}; set XDG_RUNTIME_DIR to a directory \
             that can be written", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The directory belongs to somebody else, or others may write to it.
    #[error(
        "the control directory {} must be this user's, and writable by nobody else: mend or remove \
         it, or set XDG_RUNTIME_DIR", path.display()
    )]
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// The name cannot be made our own.
    #[error(
        "cannot lock {}: {}; set XDG_RUNTIME_DIR to a directory of a local file system",
        path.display(), io_error(*.errno)
    )]
    Lock {
        /// The file of the lock.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The socket cannot be opened.
    #[error("cannot open the control socket: {0}")]
    Listen(SocketFileError),
}

impl From<SocketFileError> for ControlError {
    fn from(error: SocketFileError) -> Self {
        Self::Listen(error)
    }
}

/// Who may write to `/run`.
const ROOT: u32 = 0;

/// Where the control socket of this name lies: `$XDG_RUNTIME_DIR/dispatchd`, else `/run/dispatchd`
/// for root, else `/tmp/dispatchd-UID`.
pub fn socket_path(runtime_dir: Option<&Path>, name: &str) -> PathBuf {
    let uid = process::effective_uid();
    let directory = match runtime_dir {
        Some(directory) if directory.is_absolute() => directory.join("dispatchd"),
        Some(_) | None if uid == ROOT => PathBuf::from("/run/dispatchd"),
        Some(_) | None => PathBuf::from(format!("/tmp/dispatchd-{uid}")),
    };
    directory.join(format!("{name}.sock"))
}

/// Whether a control socket can have this path.
///
/// # Errors
/// When it is too long.
pub fn check_path(path: &Path) -> Result<(), ControlError> {
    if path.as_os_str().len() <= UNIX_PATH_MAX {
        Ok(())
    } else {
        Err(ControlError::TooLong { path: path.to_owned() })
    }
}

/// Asks the master behind this socket how it is: its answer, one line of JSON.
///
/// # Errors
/// NotFound or ConnectionRefused when nobody listens there, TimedOut when the master does not
/// answer in time, UnexpectedEof when its answer is cut.
pub fn ask(path: &Path) -> io::Result<String> {
    let deadline = clock::monotonic().after(CONTROL_TIMEOUT);
    let stream = connect(path, deadline)?;
    let mut request = serde_json::to_vec(&ControlRequest::Status)?;
    request.push(b'\n');
    // So little fits into the buffer of a new socket.
    socket::send(stream.as_fd(), &request).map_err(io_error)?;
    let mut answer = Vec::new();
    while answer.last() != Some(&b'\n') {
        answer.reserve(READ);
        match socket::recv(stream.as_fd(), &mut answer) {
            Ok(0) => return Err(cut(answer.len())),
            Ok(_) if CONTROL_ANSWER_MAX < answer.len() => return Err(cut(CONTROL_ANSWER_MAX)),
            Ok(_) => {}
            Err(Errno(libc::EAGAIN)) => {
                let left = left_until(deadline)?;
                socket::wait(stream.as_fd(), Way::In, left).map_err(io_error)?;
            }
            Err(errno) => return Err(io_error(errno)),
        }
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

fn cut(bytes: usize) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("its answer is cut after {bytes} bytes"))
}

/// Bytes of an answer that are asked for at once.
const READ: usize = 64 * 1024;

fn connect(path: &Path, deadline: Mono) -> io::Result<OwnedFd> {
    loop {
        match socket::connect(&Endpoint::Unix(path.to_owned())) {
            Err(Errno(libc::EAGAIN)) => clock::sleep(left_until(deadline)?.min(CONTROL_RETRY)),
            connected => return connected.map_err(io_error),
        }
    }
}

fn left_until(deadline: Mono) -> io::Result<Span> {
    match deadline.since(clock::monotonic()) {
        Span::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
