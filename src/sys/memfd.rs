//! Memory that is a file without a name: how two processes come to share pages. It is sealed before
//! it is shared, since a peer that could shrink it could kill us with a SIGBUS.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::errno::errno_of;
use crate::units::Errno;

/// What nobody can do any more with a memory file, not even whoever made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sealing {
    /// Change its size. A peer cannot keep others from writing, either.
    Size,
    /// Change its size, or map it to write. What had been mapped so before stays so.
    Writes,
}

/// A memory file of `len` zero bytes, close-on-exec, which is not sealed yet.
///
/// # Errors
/// EMFILE, ENFILE or ENOMEM; EFBIG where the limit on files' sizes is lower; EPERM or ENOSYS in a
/// sandbox.
pub fn create(name: &CStr, len: usize) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Some systems give no memory that could be executed (vm.memfd_noexec=2).
    let never_executed = flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let fd = match memfd_create(name, never_executed) {
        // Kernels before 6.3 do not know the flag.
        Err(nix::errno::Errno::EINVAL) => memfd_create(name, flags),
        result => result,
    };
    let fd = fd.map_err(errno_of)?;
    let len = i64::try_from(len).map_err(|_| Errno(libc::EFBIG))?;
    ftruncate(&fd, len).map_err(errno_of)?;
    Ok(fd)
}

/// Seals it, and that for ever.
///
/// # Errors
/// EPERM when it was sealed before.
pub fn seal(fd: impl AsFd, sealing: Sealing) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(sealing.seals())).map(drop).map_err(errno_of)
}

/// Whether nobody can do with it what the sealing forbids. A file that is no memory file is none.
///
/// # Errors
/// EBADF alone, which an open descriptor rules out.
pub fn is_sealed(fd: impl AsFd, sealing: Sealing) -> Result<bool, Errno> {
    match fcntl(fd, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_retain(seals).contains(sealing.seals())),
        Err(nix::errno::Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno_of(errno)),
    }
}

impl Sealing {
    const fn seals(self) -> SealFlag {
        let size = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);
        match self {
            Self::Size => size.union(SealFlag::F_SEAL_SEAL),
            Self::Writes => {
                // F_SEAL_FUTURE_WRITE, which nix does not name.
                let future_write = SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE);
                size.union(future_write).union(SealFlag::F_SEAL_SEAL)
            }
        }
    }
}
