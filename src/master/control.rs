//! The control socket: where it lies, that there is one per name, and how a client is answered.
//! A client can be slow, silent or hostile; it costs a bounded buffer and nothing else.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::host::ControlStep;
use crate::limits::{CONTROL_REQUEST_MAX, CONTROL_TIMEOUT};
use crate::sys::fd::io_error;
use crate::sys::process;
use crate::sys::socket::{self, Endpoint, ListenOptions};
use crate::units::{Errno, Mono};
use crate::wire::control::{Reply, Request, Status};

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

    /// Reads one request and answers it. A request is one line in one piece: clients are ours, and
    /// a line that small is never torn on a local socket.
    pub(super) fn serve(
        &self,
        client: &OwnedFd,
        status: impl FnOnce(&Self) -> Status,
    ) -> ControlStep {
        let mut request = Vec::with_capacity(CONTROL_REQUEST_MAX);
        let reply = match socket::recv(client.as_fd(), &mut request) {
            Ok(0) => return ControlStep::Finished,
            Ok(_) => answer(&request, || status(self)),
            Err(Errno(libc::EAGAIN)) => return ControlStep::Again,
            Err(_) => return ControlStep::Finished,
        };
        let mut line = serde_json::to_vec(&reply).unwrap_or_default();
        line.push(b'\n');
        // What does not fit into the socket's buffer is cut: the client sees a torn line.
        socket::send(client.as_fd(), &line).unwrap_or_default();
        ControlStep::Finished
    }
}

fn answer(request: &[u8], status: impl FnOnce() -> Status) -> Reply {
    match serde_json::from_slice(request) {
        Ok(Request::Status) => Reply::Status(Box::new(status())),
        Err(error) => Reply::Error { message: format!("request not understood: {error}") },
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
    /// The directory cannot be made.
    #[error("cannot make the control directory {}: {source}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory belongs to somebody else, or others may write to it.
    #[error("the control directory {path:?} is not ours alone: remove it, or set XDG_RUNTIME_DIR")]
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// The socket cannot be opened.
    #[error("cannot open the control socket {path:?}: {}", io_error(*.errno))]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
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

/// Asks the master behind this socket how it is: its answer, one line of JSON.
///
/// # Errors
/// Nobody listens there, or does not answer in time.
pub fn ask(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    let patience = Some(Duration::from_nanos(CONTROL_TIMEOUT.as_ns()));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut request = serde_json::to_string(&Request::Status)?;
    request.push('\n');
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// The socket file of a master; gone with it.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the next start removes a stale one.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Opens the control socket of this name.
///
/// # Errors
/// When the name is taken or the file system refuses.
pub(super) fn open(path: &Path, name: &str) -> Result<(OwnedFd, SocketFile), ControlError> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    own_directory(directory)?;
    if UnixStream::connect(path).is_ok() {
        return Err(ControlError::Taken { name: name.to_owned() });
    }
    drop(std::fs::remove_file(path));
    let options = ListenOptions { backlog: 16, reuse_port: false };
    let endpoint = Endpoint::Unix(path.to_owned());
    let listen = |errno| ControlError::Listen { path: path.to_owned(), errno };
    let socket = socket::listen(&endpoint, options).map_err(listen)?;
    Ok((socket, SocketFile(path.to_owned())))
}

/// Makes the directory, for its owner alone; one that is there must be just so.
fn own_directory(path: &Path) -> Result<(), ControlError> {
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => return Err(ControlError::Directory { path: path.to_owned(), source }),
    }
    let facts = std::fs::symlink_metadata(path)
        .map_err(|source| ControlError::Directory { path: path.to_owned(), source })?;
    let ours = facts.uid() == process::effective_uid();
    if ours && facts.is_dir() && facts.permissions().mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(ControlError::Foreign { path: path.to_owned() })
    }
}
