//! Files of unix sockets: who may take a path, who may connect to it, and who removes it. The
//! kernel leaves the file behind when its socket is gone, and refuses the path from then on.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, Flock, FlockArg};
use nix::unistd::{Gid, Uid, fchownat};
use thiserror::Error;

use super::clock;
use super::errno::{errno_from_io, errno_of, io_error};
use super::process;
use super::socket;
use crate::limits::{
    SOCKET_CLOSE_PATIENCE, SOCKET_CLOSE_PAUSE, SOCKET_LOCK_PATIENCE, SOCKET_LOCK_PAUSE,
};
use crate::units::{Errno, Span};

/// The file of a socket that listens; removed with this value, if it is still the same file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// What tells a file from a later one of its name.
type FileIdentity = (u64, u64);

/// Who may connect: what is not said is as for any new file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The number of the user that owns the file.
    pub user: Option<u32>,
    /// The number of the group that owns the file.
    pub group: Option<u32>,
}

/// Why a path cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on unix:{}: {why}", path.display())]
pub struct SocketFileError {
    path: PathBuf,
    why: PathObstacle,
}

#[derive(Debug, Error)]
enum PathObstacle {
    #[error("somebody listens there: stop them (`ss -xap` shows who), or choose another path")]
    InUse,
    #[error(
        "a socket of user {user} is there, at which nobody listens: remove it, or choose another \
         path"
    )]
    Foreign { user: u32 },
    #[error(
        "a socket of user {user} is there, which this process may not connect to, so that it \
         cannot tell whether somebody listens: remove it, or choose another path"
    )]
    Closed { user: u32 },
    #[error("{kind} is there: remove it, or choose another path")]
    NoSocket { kind: &'static str },
    #[error(
        "somebody has put another file in its place: choose a directory that only you and root \
         can write to"
    )]
    Replaced,
    #[error("another process keeps the directory locked: stop it, or choose another directory")]
    Locked,
    #[error("{}: a socket file needs a directory that can be written", io_error(*.0))]
    Directory(Errno),
    #[error("cannot give it to {owner}: {}: that takes CAP_CHOWN", io_error(*.errno))]
    Owner { owner: String, errno: Errno },
    #[error(
        "cannot give it the mode {mode:04o}, which the access list of its directory cuts: {}: \
         mount /proc, or choose another directory",
        io_error(*.errno)
    )]
    Mode { mode: u32, errno: Errno },
    #[error("{}", io_error(*.0))]
    Kernel(Errno),
}

/// A socket that listens at `path`. The file of one of ours at which nobody listens is replaced;
/// whatever else is there stays.
///
/// # Errors
/// Somebody listens there; something else is there, or somebody else's; the directory cannot be
/// written; the file cannot be given away.
pub fn listen(
    path: &Path,
    backlog: u32,
    access: Access,
) -> Result<(OwnedFd, SocketFile), SocketFileError> {
    let deadline = clock::monotonic().after(SOCKET_CLOSE_PATIENCE);
    loop {
        match try_to_listen(path, backlog, access, SOCKET_LOCK_PATIENCE) {
            Err(PathObstacle::InUse) if clock::monotonic() < deadline => {
                clock::sleep(SOCKET_CLOSE_PAUSE);
            }
            tried => return tried.map_err(|why| SocketFileError { path: path.to_owned(), why }),
        }
    }
}

/// The same, without waiting for anybody.
///
/// # Errors
/// As above, and where others are busy in the same directory.
pub fn listen_at_once(
    path: &Path,
    backlog: u32,
    access: Access,
) -> Result<(OwnedFd, SocketFile), SocketFileError> {
    let tried = try_to_listen(path, backlog, access, Span::ZERO);
    tried.map_err(|why| SocketFileError { path: path.to_owned(), why })
}

fn try_to_listen(
    path: &Path,
    backlog: u32,
    access: Access,
    patience: Span,
) -> Result<(OwnedFd, SocketFile), PathObstacle> {
    // Of two that find the same old file one would remove the other's new one.
    let _lock = lock_directory(path, patience)?;
    make_room(path, access)?;
    let socket = socket::bind_unix(path, access.mode);
    let socket = socket.map_err(PathObstacle::of_bind)?;
    let (held, found) = hold(path)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&found) };
    access.give(&held, &found)?;
    // Nobody can connect before it is said who may.
    socket::begin_listening(&socket, backlog).map_err(PathObstacle::Kernel)?;
    Ok((socket, file))
}

impl SocketFile {
    /// Where it is, or was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there, so that the socket is found by it.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            // Nothing is lost if it stays: whoever comes next replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Access {
    /// For its owner alone.
    pub const PRIVATE: Self = Self { mode: Some(0o600), user: None, group: None };

    /// Acts on the file that is held, whatever its name leads to by now: whoever owns the directory
    /// may have put a link there, to a file that is root's.
    fn give(self, held: &File, found: &Metadata) -> Result<(), PathObstacle> {
        let owned = self.user.is_some() || self.group.is_some();
        let mode = self.mode.filter(|mode| found.mode() & 0o777 != *mode);
        if (owned || mode.is_some()) && !is_one_socket(found) {
            return Err(PathObstacle::Replaced);
        }
        if owned {
            let (user, group) = (self.user.map(Uid::from_raw), self.group.map(Gid::from_raw));
            fchownat(held, "", user, group, AtFlags::AT_EMPTY_PATH).map_err(|errno| {
                let number = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
                let owner = format!("{}:{}", number(self.user), number(self.group));
                PathObstacle::Owner { owner, errno: errno_of(errno) }
            })?;
        }
        // The access list of its directory took some away.
        mode.map_or(Ok(()), |mode| set_mode(held, mode))
    }
}

/// The file of this name itself, to be acted upon, though nothing can be read from it.
fn hold(path: &Path) -> Result<(File, Metadata), PathObstacle> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let held = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let held = held.map_err(|error| PathObstacle::of(&error))?;
    let found = held.metadata().map_err(|error| PathObstacle::of(&error))?;
    Ok((held, found))
}

/// Whether it is a socket, under no second name elsewhere.
fn is_one_socket(found: &Metadata) -> bool {
    found.file_type().is_socket() && found.nlink() <= 1
}

/// Before Linux 6.6 the only call that takes such a descriptor is one by its name in /proc.
fn set_mode(held: &File, mode: u32) -> Result<(), PathObstacle> {
    let name = format!("/proc/self/fd/{}", held.as_raw_fd());
    fs::set_permissions(name, Permissions::from_mode(mode))
        .map_err(|error| PathObstacle::Mode { mode, errno: errno_from_io(&error) })
}

impl PathObstacle {
    fn of(error: &io::Error) -> Self {
        Self::Kernel(errno_from_io(error))
    }

    const fn of_bind(errno: Errno) -> Self {
        match errno.0 {
            libc::EADDRINUSE => Self::InUse,
            libc::EACCES | libc::EROFS | libc::EPERM => Self::Directory(errno),
            _ => Self::Kernel(errno),
        }
    }
}

/// Keeps out others who look at files in the same directory. One that cannot be read is left
/// unlocked: few could write to it.
fn lock_directory(path: &Path, patience: Span) -> Result<Option<Flock<File>>, PathObstacle> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    // A pipe would be waited for.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(parent);
    let Ok(mut directory) = directory else { return Ok(None) };
    let deadline = clock::monotonic().after(patience);
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((again, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => {
                directory = again;
            }
            // Some file systems have no locks.
            Err(_) => return Ok(None),
        }
        if deadline <= clock::monotonic() {
            return Err(PathObstacle::Locked);
        }
        clock::sleep(SOCKET_LOCK_PAUSE);
    }
}

/// Removes a file that one of ours left behind.
fn make_room(path: &Path, access: Access) -> Result<(), PathObstacle> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(PathObstacle::of(&error)),
    };
    if let Some(kind) = not_a_socket(&found) {
        return Err(PathObstacle::NoSocket { kind });
    }
    match socket::has_owner(path) {
        Ok(false) => remove(path, &found, access),
        Ok(true) => Err(PathObstacle::InUse),
        Err(Errno(libc::EACCES)) => Err(PathObstacle::Closed { user: found.uid() }),
        Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(PathObstacle::Kernel(errno)),
    }
}

fn remove(path: &Path, found: &Metadata, access: Access) -> Result<(), PathObstacle> {
    let user = found.uid();
    if user != process::effective_uid() && Some(user) != access.user {
        return Err(PathObstacle::Foreign { user });
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PathObstacle::of_bind(errno_from_io(&error))),
    }
}

fn not_a_socket(found: &Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    if kind.is_socket() {
        None
    } else if kind.is_file() {
        Some("a regular file")
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else {
        Some("a pipe or a device")
    }
}

fn identity(found: &Metadata) -> FileIdentity {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::sync::Barrier;

    use super::*;

    fn refusal(path: &Path) -> String {
        let text = listen(path, 8, Access::default()).unwrap_err().to_string();
        let head = format!("cannot listen on unix:{}: ", path.display());
        text.strip_prefix(&head).expect(&text).to_owned()
    }

    #[test]
    fn what_a_killed_process_left_is_replaced_and_goes_with_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let (socket, file) = listen(&path, 8, Access::default()).unwrap();
        UnixStream::connect(&path).unwrap();
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_socket, file) = listen(&path, 8, Access::default()).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn whatever_else_is_there_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _live = UnixListener::bind(at("live")).unwrap();
        assert!(refusal(&at("live")).starts_with("somebody listens there"));
        let _other = UnixDatagram::bind(at("datagram")).unwrap();
        assert!(refusal(&at("datagram")).starts_with("somebody listens there"));
        fs::write(at("file"), "precious").unwrap();
        assert!(refusal(&at("file")).starts_with("a regular file is there"));
        fs::create_dir(at("directory")).unwrap();
        assert!(refusal(&at("directory")).starts_with("a directory is there"));
        symlink(at("nowhere"), at("link")).unwrap();
        assert!(refusal(&at("link")).starts_with("a symbolic link is there"));
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refusal(&at("pipe")).starts_with("a pipe or a device is there"));
        assert!(refusal(&at("no/such")).starts_with("No such file or directory"));
        assert_eq!(fs::read(at("file")).unwrap(), b"precious");
    }

    #[test]
    fn a_listener_is_not_bothered_by_those_who_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (socket, _file) = listen(&path, 0, Access::default()).unwrap();
        assert!(refusal(&path).starts_with("somebody listens there"));
        assert_eq!(socket::accept(socket.as_fd()).unwrap_err(), Errno(libc::EAGAIN));
        let _client = UnixStream::connect(&path).unwrap();
        assert!(refusal(&path).starts_with("somebody listens there"), "its queue is full");
    }

    #[test]
    fn of_many_that_want_an_old_path_one_gets_it_and_keeps_it() {
        const MANY: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        for round in 0..5 {
            let path = folder.path().join(round.to_string());
            drop(UnixListener::bind(&path).unwrap());
            let barrier = Barrier::new(MANY);
            let tries = std::thread::scope(|scope| {
                let one = || {
                    barrier.wait();
                    listen(&path, 8, Access::default())
                };
                let all: Vec<_> = (0..MANY).map(|_| scope.spawn(one)).collect();
                all.into_iter().filter_map(|each| each.join().unwrap().ok()).collect::<Vec<_>>()
            });
            assert_eq!(tries.len(), 1);
            let client = UnixStream::connect(&path).unwrap();
            assert!(socket::accept(tries[0].0.as_fd()).is_ok(), "{client:?}");
        }
    }

    #[test]
    fn a_directory_that_is_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refusal(&pipe.join("socket")).starts_with("Not a directory"));
    }

    #[test]
    fn a_link_that_somebody_puts_in_its_place_leads_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (path, victim, link) = (at("socket"), at("victim"), at("link"));
        fs::write(&victim, "root's").unwrap();
        let metadata = || fs::symlink_metadata(&victim).unwrap();
        let before = (metadata().mode(), metadata().uid());
        let (access, ended) = (
            Access { mode: Some(0o666), user: Some(12_345), group: None },
            std::sync::atomic::AtomicBool::new(false),
        );
        let is_over = || ended.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over() {
                    symlink(&victim, &link).unwrap();
                    while fs::symlink_metadata(&path).is_err() && !is_over() {}
                    fs::rename(&link, &path).unwrap();
                    while fs::symlink_metadata(&path).is_ok() && !is_over() {}
                }
            });
            for _ in 0..500 {
                let _made_or_not = listen(&path, 8, access);
                let _there_or_not = fs::remove_file(&path);
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!((metadata().mode(), metadata().uid()), before);
    }

    #[test]
    fn access_is_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let (user, group) = (process::effective_uid(), nix::unistd::getegid().as_raw());
        for mode in [0o600, 0o666, 0o770] {
            let path = folder.path().join(format!("{mode:o}"));
            let access = Access { mode: Some(mode), user: Some(user), group: Some(group) };
            let _kept = listen(&path, 8, access).unwrap();
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode);
            assert_eq!((found.uid(), found.gid()), (user, group));
        }
    }
}
