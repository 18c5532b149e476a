//! Resource limits, read and raised. Every parked connection is a descriptor, so the limit on open
//! files is the true limit on connections: it is raised as far as the user may before any is taken.

use std::fmt;

use nix::sys::resource;
use thiserror::Error;

use crate::sys::errno::{errno_of, io_error};
use crate::units::Errno;

/// A limit of this process, as the kernel keeps it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResourceLimit {
    /// What counts now.
    pub soft: u64,
    /// How far `soft` may be raised without privileges.
    pub hard: u64,
}

/// Which limit is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resource {
    /// Descriptors open at once (`ulimit -n`).
    OpenFiles,
    /// Bytes of locked memory (`ulimit -l`), which old kernels charge a ring to.
    LockedMemory,
    /// Processes and threads of the user (`ulimit -u`).
    Processes,
}

/// The limit on open files before and after it was raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Raised {
    /// As it was inherited; what foreign programs may want back (`select` knows 1024).
    pub before: ResourceLimit,
    /// As it is now.
    pub after: ResourceLimit,
}

/// Why a limit could not be read.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "cannot read the limit on {resource}: {}: allow prlimit64 in the sandbox",
    io_error(*.errno)
)]
pub struct RlimitError {
    /// The limit asked for.
    pub resource: Resource,
    /// The kernel's reason.
    pub errno: Errno,
}

/// Raises the soft limit on open files to the hard one, as far as that is allowed (a sandbox may
/// forbid it), and says what both were and are.
///
/// # Errors
/// The limit cannot be read.
pub fn raise_open_files() -> Result<Raised, RlimitError> {
    let before = read(Resource::OpenFiles)?;
    if before.soft < before.hard {
        set_open_files(ResourceLimit { soft: before.hard, ..before }).unwrap_or_default();
    }
    Ok(Raised { before, after: read(Resource::OpenFiles)? })
}

/// Sets this process's limit on open files. Allocates nothing: it may be called between fork and
/// exec.
///
/// # Errors
/// EPERM to raise what may only be lowered, and in a sandbox.
pub fn set_open_files(limit: ResourceLimit) -> Result<(), Errno> {
    resource::setrlimit(resource::Resource::RLIMIT_NOFILE, limit.soft, limit.hard).map_err(errno_of)
}

/// Runs `work` under a limit of 0 on locked memory, which binds whoever lacks CAP_IPC_LOCK, root
/// included.
pub fn without_locked_memory<T>(work: impl FnOnce() -> T) -> T {
    let set = |soft, hard| resource::setrlimit(resource::Resource::RLIMIT_MEMLOCK, soft, hard);
    let before = read(Resource::LockedMemory);
    let lowered = before.is_ok_and(|before| set(0, before.hard).is_ok());
    let done = work();
    if let (true, Ok(before)) = (lowered, before) {
        // What was lowered may be raised again as far as the hard limit, which is as it was.
        set(before.soft, before.hard).unwrap_or_default();
    }
    done
}

/// The limit as it is now.
///
/// # Errors
/// The kernel refuses to say.
pub fn read(resource: Resource) -> Result<ResourceLimit, RlimitError> {
    let kernels = match resource {
        Resource::OpenFiles => resource::Resource::RLIMIT_NOFILE,
        Resource::LockedMemory => resource::Resource::RLIMIT_MEMLOCK,
        Resource::Processes => resource::Resource::RLIMIT_NPROC,
    };
    resource::getrlimit(kernels)
        .map(|(soft, hard)| ResourceLimit { soft, hard })
        .map_err(|errno| RlimitError { resource, errno: errno_of(errno) })
}

impl ResourceLimit {
    /// No limit, in the kernel's words.
    pub const UNLIMITED: u64 = libc::RLIM_INFINITY;
}

impl fmt::Display for ResourceLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: u64| match value {
            Self::UNLIMITED => String::from("unlimited"),
            value => value.to_string(),
        };
        write!(f, "{} (hard {})", word(self.soft), word(self.hard))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFiles => "open files",
            Self::LockedMemory => "locked memory",
            Self::Processes => "processes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let raised = raise_open_files().unwrap();
        assert_eq!(raised.after.soft, raised.before.hard);
        assert_eq!(read(Resource::OpenFiles).unwrap(), raised.after);
    }

    #[test]
    fn no_limit_has_a_word() {
        let limit = ResourceLimit { soft: 1024, hard: ResourceLimit::UNLIMITED };
        assert_eq!(limit.to_string(), "1024 (hard unlimited)");
    }
}
