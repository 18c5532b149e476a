//! Locks that one process has at a time. The kernel lets go of one when its process ends, however
//! it ends. The file stays: whoever removed it would let two in, each with a file of its own.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::errno::{errno_from_io, errno_of};
use crate::units::Errno;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Flock<File>,
}

impl Lock {
    /// Whether its file is still where it was, so that it keeps others out.
    pub fn is_there(&self) -> bool {
        // The number of a file that is open is nobody else's.
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        let held = self.file.metadata().map(|held| (held.dev(), held.ino()));
        found.is_ok_and(|found| held.is_ok_and(|held| found == held))
    }
}

/// Takes the lock whose file this is, which is made if need be; `None` when somebody else has it.
///
/// # Errors
/// What open and flock say.
pub fn take(path: &Path) -> Result<Option<Lock>, Errno> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| errno_from_io(&error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { path: path.to_owned(), file })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, other)) => Err(errno_of(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path).unwrap().expect("it is free");
        assert!(take(&path).unwrap().is_none());
        assert!(held.is_there());
        drop(held);
        assert!(path.exists());
        assert!(take(&path).unwrap().is_some());
        assert_eq!(take(folder.path()).unwrap_err(), Errno(libc::EISDIR));
    }

    #[test]
    fn it_is_noticed_when_its_file_is_gone_or_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path).unwrap().expect("it is free");
        fs::remove_file(&path).unwrap();
        assert!(!held.is_there());
        let other = take(&path).unwrap().expect("it is another one");
        assert!(other.is_there() && !held.is_there());
    }
}
