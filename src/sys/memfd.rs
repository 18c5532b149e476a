//! Memory that is a file without a name: how two processes come to share pages. The size is sealed
//! at once, since a peer that could shrink it could kill us with a SIGBUS.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::fd::errno_of;
use crate::units::Errno;

/// A memory file of `len` zero bytes, close-on-exec, whose size is sealed.
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
    add_seals(&fd, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)?;
    Ok(fd)
}

/// Allows no further writable mapping, and no further seal: what has been mapped writable by now
/// stays so. The peer can only read.
///
/// # Errors
/// EPERM when it was sealed before.
pub fn seal_writes(fd: &OwnedFd) -> Result<(), Errno> {
    // F_SEAL_FUTURE_WRITE, which nix does not name.
    let future_write = SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE);
    add_seals(fd, future_write | SealFlag::F_SEAL_SEAL)
}

/// Allows no further seal: the peer cannot keep us from reading.
///
/// # Errors
/// EPERM when it was sealed before.
pub fn seal_seals(fd: &OwnedFd) -> Result<(), Errno> {
    add_seals(fd, SealFlag::F_SEAL_SEAL)
}

fn add_seals(fd: &OwnedFd, seals: SealFlag) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals)).map(drop).map_err(errno_of)
}
