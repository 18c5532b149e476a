//! Maps the pages. What is behind a mapping can change at any time, which is why the pages hold
//! atomics and nothing else; who may write is part of the type.
#![expect(unsafe_code, reason = "shared memory is mapped and viewed as pages here, and only here")]

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;

use super::layout::{MasterPage, WorkerPage};
use crate::sys::errno::{errno_of, io_error};
use crate::sys::memfd::{self, Sealing};
use crate::units::Errno;

/// A type that any bytes are a valid value of, and that stays valid while others write it.
pub trait Page: sealed::Sealed {
    /// What its owner seals, and everybody else wants sealed.
    const SEALING: Sealing;
}

impl Page for MasterPage {
    const SEALING: Sealing = Sealing::Writes;
}

impl Page for WorkerPage {
    const SEALING: Sealing = Sealing::Size;
}

#[expect(unnameable_types, reason = "sealed: nobody else can make a page of anything")]
mod sealed {
    /// Only the two pages are pages.
    pub trait Sealed {}
    impl Sealed for super::MasterPage {}
    impl Sealed for super::WorkerPage {}
}

/// A page that this process may write.
#[derive(Debug)]
pub struct Writable;

/// A page that this process may only read; a store would be a segmentation fault, so what writes
/// asks for [`Writable`].
#[derive(Debug)]
pub struct ReadOnly;

/// A mapped page.
#[derive(Debug)]
pub struct Mapped<T: Page, Access> {
    page: NonNull<T>,
    access: PhantomData<Access>,
}

/// Why a page could not be mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MapError {
    /// The memory could not be made or mapped.
    #[error("cannot make shared memory: {}{}", io_error(*.0), cure(*.0))]
    Kernel(Errno),
    /// It is none that dispatchd made: whoever has it could change its size under our feet.
    #[error("shared memory is not sealed as dispatchd seals it: take only what dispatchd gives")]
    Unsealed,
    /// It is not as large as the page.
    #[error(
        "shared memory has {found} bytes, the page {wanted}: build both programs from one dispatchd"
    )]
    Size {
        /// Bytes there.
        found: u64,
        /// Bytes needed.
        wanted: usize,
    },
}

/// What helps where the kernel refuses shared memory.
const fn cure(Errno(errno): Errno) -> &'static str {
    match errno {
        libc::EFBIG => "; raise the limit on the size of files (ulimit -f, LimitFSIZE=)",
        libc::EPERM | libc::ENOSYS | libc::EACCES => {
            "; allow memfd_create and fcntl's F_ADD_SEALS in the sandbox"
        }
        libc::EMFILE | libc::ENFILE => "; raise the limit of open files (ulimit -n)",
        _ => "",
    }
}

impl<T: Page> Mapped<T, Writable> {
    /// A new page of zeros, and the memory behind it, sealed.
    ///
    /// # Errors
    /// When there are no descriptors or no memory.
    pub fn create(name: &CStr) -> Result<(OwnedFd, Self), MapError> {
        let memory = memfd::create(name, size_of::<T>()).map_err(MapError::Kernel)?;
        let page = map(memory.as_fd(), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        let own = Self { page, access: PhantomData };
        memfd::seal(&memory, T::SEALING).map_err(MapError::Kernel)?;
        Ok((memory, own))
    }

    /// The page in this memory, to write.
    ///
    /// # Errors
    /// When the memory is of another size, not sealed, or sealed against writing.
    pub fn open(memory: impl AsFd) -> Result<Self, MapError> {
        let page = open::<T>(memory.as_fd(), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        Ok(Self { page, access: PhantomData })
    }
}

impl<T: Page> Mapped<T, ReadOnly> {
    /// The page in this memory, to read.
    ///
    /// # Errors
    /// When the memory is of another size, or not sealed.
    pub fn open(memory: impl AsFd) -> Result<Self, MapError> {
        let page = open::<T>(memory.as_fd(), ProtFlags::PROT_READ)?;
        Ok(Self { page, access: PhantomData })
    }
}

impl<T: Page, Access> Mapped<T, Access> {
    /// The page for as long as the process lives.
    pub fn leak(self) -> &'static T {
        let kept = ManuallyDrop::new(self);
        // SAFETY: as in `deref`; nobody unmaps it any more.
        unsafe { kept.page.as_ref() }
    }
}

impl<T: Page, Access> Deref for Mapped<T, Access> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is at least as large as T, aligned to a memory page, and lives until
        // drop; T is made of atomics, for which any bytes are valid and others may write.
        unsafe { self.page.as_ref() }
    }
}

impl<T: Page, Access> Drop for Mapped<T, Access> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this very length and is not used after this.
        let unmapped = unsafe { munmap(self.page.cast(), size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "our own mapping is valid");
    }
}

/// Maps what somebody else has made. What is not sealed could be cut off behind our back, and the
/// next look at it would be our end.
fn open<T: Page>(memory: BorrowedFd<'_>, protection: ProtFlags) -> Result<NonNull<T>, MapError> {
    if !memfd::is_sealed(memory, T::SEALING).map_err(MapError::Kernel)? {
        return Err(MapError::Unsealed);
    }
    let found = fstat(memory).map_err(|errno| MapError::Kernel(errno_of(errno)))?.st_size;
    let (found, wanted) = (u64::try_from(found).unwrap_or(0), size_of::<T>());
    if found != wanted as u64 {
        return Err(MapError::Size { found, wanted });
    }
    map(memory, protection)
}

/// Maps memory that is as large as the page, and stays so.
fn map<T: Page>(memory: BorrowedFd<'_>, protection: ProtFlags) -> Result<NonNull<T>, MapError> {
    let len = NonZeroUsize::new(size_of::<T>()).expect("a page is not empty");
    // SAFETY: a new mapping at an address of the kernel's choice replaces none of ours; the memory
    // is as large as is mapped, and nobody can shrink it: it is sealed, or nobody else has it yet.
    let address = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, memory, 0) };
    address.map(NonNull::cast).map_err(|errno| MapError::Kernel(errno_of(errno)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_sealed_memory_cannot_be_written() {
        let (memory, own) = Mapped::<MasterPage, Writable>::create(c"test").unwrap();
        let theirs = Mapped::<MasterPage, ReadOnly>::open(&memory).unwrap();
        own.sleep_state.store(2, Relaxed);
        assert_eq!(theirs.sleep_state.load(Relaxed), 2);
        let refused = Mapped::<MasterPage, Writable>::open(&memory).unwrap_err();
        assert_eq!(refused, MapError::Kernel(Errno(libc::EPERM)));
    }

    #[test]
    fn memory_that_a_peer_could_cut_off_is_refused() {
        type Page = Mapped<WorkerPage, Writable>;
        let memory = memfd::create(c"test", size_of::<WorkerPage>()).unwrap();
        assert_eq!(Page::open(&memory).unwrap_err(), MapError::Unsealed);
        memfd::seal(&memory, Sealing::Size).unwrap();
        Page::open(&memory).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Page::open(&file).unwrap_err(), MapError::Unsealed);
        // One that its master could write to is not its page, either.
        let refused = Mapped::<MasterPage, ReadOnly>::open(&memory).unwrap_err();
        assert_eq!(refused, MapError::Unsealed);
    }

    #[test]
    fn memory_of_another_size_is_refused() {
        let memory = memfd::create(c"test", 4096).unwrap();
        memfd::seal(&memory, Sealing::Size).unwrap();
        let refused = Mapped::<WorkerPage, Writable>::open(&memory).unwrap_err();
        assert_eq!(refused, MapError::Size { found: 4096, wanted: size_of::<WorkerPage>() });
    }
}
