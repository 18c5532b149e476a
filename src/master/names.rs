//! What a master has in the file system: its name, which is a lock, and the sockets' files. Whoever
//! cleans up a directory for temporary files does not ask whose they are. Then the control socket
//! could not be found any more, and a second master would run under the same name. So the master
//! looks at them now and then, and when it is told to look at files anyway.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Master;
use super::control::{ControlError, check_path};
use super::host::Host;
use crate::io::Backend;
use crate::limits::{CONTROL_BACKLOG, NAMES_EVERY};
use crate::sys::lock::{self, Lock};
use crate::sys::process;
use crate::sys::socket_file::{self, Access, SocketFile};

/// The control socket of a master, and the name that it is for.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) socket: OwnedFd,
    pub(super) name: NameInUse,
}

/// A name that nobody else can have for as long as this lasts. The lock goes last.
#[derive(Debug)]
pub(super) struct NameInUse {
    name: String,
    path: PathBuf,
    /// The control socket's; none while it cannot be made anew.
    file: Option<SocketFile>,
    lock: Lock,
}

/// What had to be made anew.
#[derive(Debug)]
pub(super) enum Renewal {
    Nothing,
    /// The lock's file alone.
    Lock,
    /// The control socket, which is this one from now on.
    Socket(OwnedFd),
}

/// Opens the control socket of this name.
///
/// # Errors
/// When the name is taken or the file system refuses.
pub(super) fn open(path: &Path, name: &str) -> Result<ControlSocket, ControlError> {
    let lock = take(path, name)?;
    let (socket, file) = socket_file::listen(path, CONTROL_BACKLOG, Access::PRIVATE)?;
    let (name, path) = (name.to_owned(), path.to_owned());
    Ok(ControlSocket { socket, name: NameInUse { name, path, file: Some(file), lock } })
}

fn take(path: &Path, name: &str) -> Result<Lock, ControlError> {
    check_path(path)?;
    own_directory(path.parent().unwrap_or_else(|| Path::new("/")))?;
    lock::take(&path.with_extension("lock"))
        .map_err(|errno| ControlError::Lock { path: path.with_extension("lock"), errno })?
        .ok_or_else(|| ControlError::Taken { name: name.to_owned() })
}

impl NameInUse {
    /// Where the control socket is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes anew what somebody has removed. It waits for nobody.
    ///
    /// # Errors
    /// When the name was taken meanwhile, or the file system refuses.
    pub(super) fn renew(&mut self) -> Result<Renewal, ControlError> {
        let had_lock = self.lock.is_there();
        if !had_lock {
            self.lock = take(&self.path, &self.name)?;
        }
        match (&self.file, had_lock) {
            (Some(file), true) if file.is_there() => return Ok(Renewal::Nothing),
            (Some(file), false) if file.is_there() => return Ok(Renewal::Lock),
            (Some(_) | None, _) => {}
        }
        // Before there is another one in its place.
        self.file = None;
        let (socket, file) =
            socket_file::listen_at_once(&self.path, CONTROL_BACKLOG, Access::PRIVATE)?;
        self.file = Some(file);
        Ok(Renewal::Socket(socket))
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Looks after the names, if it is time to.
    pub(super) fn look_after_names(&mut self) {
        if self.names_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.names_at = Some(self.now.after(NAMES_EVERY));
        if let Some(socket) = self.host.look_after_names() {
            self.move_control(socket);
        }
    }

    /// Has them looked after in this turn.
    pub(super) fn names_are_due(&mut self) {
        self.names_at = self.names_at.map(|_| self.now);
    }
}

/// Makes the directory, for its owner alone; one that is there must be just so.
fn own_directory(path: &Path) -> Result<(), ControlError> {
    make_directory(path).map_err(|why| ControlError::Directory { path: path.to_owned(), why })?;
    let facts = fs::symlink_metadata(path)
        .map_err(|why| ControlError::Directory { path: path.to_owned(), why })?;
    let ours = facts.uid() == process::effective_uid();
    if ours && facts.is_dir() && facts.permissions().mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(ControlError::Foreign { path: path.to_owned() })
    }
}

/// The directory, and those that it lies in, each for its owner alone whatever the umask says.
fn make_directory(path: &Path) -> io::Result<()> {
    const PRIVATE: u32 = 0o700;
    match fs::DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_directory(path.parent().ok_or(error)?)?;
            make_directory(path)
        }
        Err(error) => Err(error),
    }
}
