//! The file that this process runs, opened once at the start: what a worker without a program of
//! its own becomes, even if another file has taken its name since, and even without /proc.

#![expect(unsafe_code, reason = "nix does not read the auxiliary vector")]

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::errno::errno_of;
use crate::units::Errno;

/// A program, as an open file.
#[derive(Debug)]
pub struct Executable {
    file: OwnedFd,
    path: OsString,
}

impl Executable {
    /// The program of this process.
    ///
    /// # Errors
    /// ENOENT without /proc and once the file that was executed has lost its name.
    pub fn own() -> Result<Self, Errno> {
        let by_name = started_as();
        let paths = [Some(OsString::from("/proc/self/exe")), by_name];
        let mut why = Errno(libc::ENOENT);
        for path in paths.into_iter().flatten() {
            match open(path.as_os_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
                Ok(file) => return Ok(Self { file, path }),
                Err(errno) => why = errno_of(errno),
            }
        }
        Err(why)
    }

    /// A name of it.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }

    pub(super) fn raw(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

/// The name that this program was executed by.
fn started_as() -> Option<OsString> {
    // SAFETY: it takes a number and reads what the kernel left for this process.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let address = usize::try_from(address).ok()?;
    let name = std::ptr::with_exposed_provenance::<libc::c_char>(address);
    if name.is_null() {
        return None;
    }
    // SAFETY: the kernel has put a word there that ends with a zero byte, and that stays for as
    // long as the process.
    let name: &CStr = unsafe { CStr::from_ptr(name) };
    Some(OsString::from_vec(name.to_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_a_file_and_a_name() {
        let own = Executable::own().unwrap();
        assert_eq!(own.path(), "/proc/self/exe");
        let name = started_as().expect("the kernel says so");
        let told = std::env::current_exe().unwrap();
        assert_eq!(std::fs::canonicalize(name).unwrap(), std::fs::canonicalize(told).unwrap());
    }
}
