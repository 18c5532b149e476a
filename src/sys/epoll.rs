//! A thin epoll set with waits in nanoseconds: a wait cut to whole milliseconds spins, and one
//! rounded up is late by what a request takes.
#![expect(
    unsafe_code,
    reason = "epoll_pwait2 has no safe wrapper, nor has a descriptor that is lent"
)]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

pub use nix::sys::epoll::EpollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};

use crate::sys::clock::timespec;
use crate::sys::errno::{errno_of, last_errno};
use crate::units::{Errno, Span};

/// Events that one wait can bring; what does not fit comes with the next.
pub const EVENTS_MAX: usize = 512;

/// An epoll set.
#[derive(Debug)]
pub struct Set {
    epoll: Epoll,
    /// Whether the kernel knows epoll_pwait2 (5.11), and no filter forbids it.
    precise: bool,
}

/// Room for the events of one wait, kept by the caller.
pub struct Events {
    room: Vec<EpollEvent>,
    filled: usize,
}

impl Set {
    /// An empty set, close-on-exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(errno_of)?;
        Ok(Self { epoll, precise: true })
    }

    /// Watches `fd`; its events carry `mark`.
    ///
    /// # Errors
    /// EEXIST when it is in the set, ENOSPC at fs.epoll.max_user_watches, EPERM for a plain file.
    pub fn add(&self, fd: impl AsFd, interest: EpollFlags, mark: u64) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(interest, mark)).map_err(errno_of)
    }

    /// Changes what `fd` is watched for; what is ready already is reported anew.
    ///
    /// # Errors
    /// ENOENT when it is not in the set.
    pub fn change(&self, fd: impl AsFd, interest: EpollFlags, mark: u64) -> Result<(), Errno> {
        self.epoll.modify(fd, &mut EpollEvent::new(interest, mark)).map_err(errno_of)
    }

    /// Has what is open under `number`, and in the set with this `mark`, tell only of its end. The
    /// number may be of a descriptor that somebody else owns.
    ///
    /// # Errors
    /// EBADF or ENOENT when it is not open, or not in the set.
    pub(crate) fn mute(&self, number: i32, mark: u64) -> Result<(), Errno> {
        let mut event = libc::epoll_event { events: 0, u64: mark };
        // SAFETY: the set is open, `event` lives through the call, and a number of which the set
        // does not know is an error.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.0.as_raw_fd(), libc::EPOLL_CTL_MOD, number, &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// Forgets `fd`.
    ///
    /// # Errors
    /// ENOENT when it is not in the set.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        self.epoll.delete(fd).map_err(errno_of)
    }

    /// Waits for events, at most for `timeout` (`None`: for ever; zero: not at all).
    ///
    /// # Errors
    /// EINTR when a signal or a stop came first; anything else means that the set is unusable.
    pub fn wait(&mut self, timeout: Option<Span>, events: &mut Events) -> Result<(), Errno> {
        events.filled = 0;
        if self.precise {
            match self.wait_ns(timeout, events) {
                // An old kernel says ENOSYS, a container's filter EPERM.
                Err(Errno(libc::ENOSYS | libc::EPERM)) => self.precise = false,
                answer => return answer,
            }
        }
        self.wait_ms(timeout, events)
    }

    fn wait_ns(&self, timeout: Option<Span>, events: &mut Events) -> Result<(), Errno> {
        let time = timeout.map(timespec);
        let time: *const libc::timespec = time.as_ref().map_or(std::ptr::null(), |time| time);
        // SAFETY: `room` is an array of EVENTS_MAX elements that are transparent over epoll_event
        // and outlive the call, `time` is null or points to a live timespec (64-bit fields, as
        // this system call wants), and a null mask leaves the signal mask alone.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.0.as_raw_fd(),
                events.room.as_mut_ptr(),
                EVENTS_MAX,
                time,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        match usize::try_from(count) {
            Ok(count) => {
                events.filled = count;
                Ok(())
            }
            Err(_) => Err(last_errno()),
        }
    }

    fn wait_ms(&self, timeout: Option<Span>, events: &mut Events) -> Result<(), Errno> {
        let ms = timeout.map_or(-1, |span| i32::try_from(span.as_ms_ceil()).unwrap_or(i32::MAX));
        let ms = nix::sys::epoll::EpollTimeout::try_from(ms).expect("-1 and more are accepted");
        events.filled = self.epoll.wait(&mut events.room, ms).map_err(errno_of)?;
        Ok(())
    }
}

impl Events {
    /// Room for [`EVENTS_MAX`] events.
    pub fn new() -> Self {
        Self { room: vec![EpollEvent::empty(); EVENTS_MAX], filled: 0 }
    }

    /// Events of the last wait.
    pub const fn count(&self) -> usize {
        self.filled
    }

    /// The mark of the event at `index`, and what is ready.
    ///
    /// # Panics
    /// When `index` is not below [`Events::count`].
    pub fn at(&self, index: usize) -> (u64, EpollFlags) {
        let event = &self.room[..self.filled][index];
        (event.data(), event.events())
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("filled", &self.filled).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::clock::monotonic;

    #[test]
    fn readiness_comes_with_its_mark_until_removed() {
        for precise in [true, false] {
            let (a, mut b) = UnixStream::pair().unwrap();
            let mut set = Set { precise, ..Set::new().unwrap() };
            let mut events = Events::new();
            set.add(&a, EpollFlags::EPOLLIN, 77).unwrap();
            assert_eq!(set.add(&a, EpollFlags::EPOLLIN, 78), Err(Errno(libc::EEXIST)));
            set.wait(Some(Span::ZERO), &mut events).unwrap();
            assert_eq!(events.count(), 0);
            b.write_all(b"x").unwrap();
            set.wait(None, &mut events).unwrap();
            assert_eq!(events.count(), 1);
            assert_eq!(events.at(0), (77, EpollFlags::EPOLLIN));
            set.change(&a, EpollFlags::EPOLLOUT, 79).unwrap();
            set.wait(None, &mut events).unwrap();
            assert_eq!(events.at(0), (79, EpollFlags::EPOLLOUT));
            set.remove(&a).unwrap();
            assert_eq!(set.remove(&a), Err(Errno(libc::ENOENT)));
            set.wait(Some(Span::ZERO), &mut events).unwrap();
            assert_eq!(events.count(), 0);
        }
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        for precise in [true, false] {
            let mut set = Set { precise, ..Set::new().unwrap() };
            let start = monotonic();
            set.wait(Some(Span::from_us(250)), &mut Events::new()).unwrap();
            assert!(Span::from_us(250) <= monotonic().since(start));
        }
    }
}
