//! Waits for one descriptor again and again, as for connections between two requests, without a
//! system call for each: the descriptor stays in the epoll set, edge-triggered, and what comes
//! while nobody waits is only noted.
//!
//! Nothing is lost: an edge that was noted is looked up when somebody waits again, one that has not
//! been taken in yet comes with the next wait. And nothing is told that another process has read
//! meanwhile: the kernel asks the socket once more before it tells of an edge. A descriptor that
//! others read for long costs two events, and is muted.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::io::{Ready, Token};
use crate::sys::epoll::{EpollFlags, Set};
use crate::sys::socket;
use crate::units::Errno;

/// Tells the mark of a standing watch from those of sources and operations.
pub(super) const STANDING_MARK: u64 = 1 << 62;

const INTEREST: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

/// Events without anybody waiting after which a descriptor is muted.
const UNHEEDED_MAX: u8 = 2;

/// What is in the set, by the number of its descriptor. Whoever closes one says so before, or the
/// next of its number would be taken for it.
#[derive(Debug, Default)]
pub(super) struct StandingWatches {
    entries: Vec<Option<StandingWatch>>,
    /// Tells the occupants of a number apart.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct StandingWatch {
    mark: u64,
    /// Who waits.
    waiting: Option<Token>,
    /// Events since somebody waited last.
    unheeded: u8,
    muted: bool,
}

impl StandingWatches {
    /// Has the set watch the descriptor if it does not, and says what can be read of it now as far
    /// as no event will tell.
    ///
    /// # Errors
    /// ENOSPC at fs.epoll.max_user_watches, ENOMEM.
    pub(super) fn begin(&mut self, set: &Set, fd: &OwnedFd) -> Result<Option<Ready>, Errno> {
        let Some(watch) = self.of(fd) else { return self.enter(set, fd) };
        if watch.muted {
            // What is ready is told anew.
            set.change(fd, INTEREST, watch.mark)?;
            (watch.muted, watch.unheeded) = (false, 0);
            return Ok(None);
        }
        let noted = std::mem::take(&mut watch.unheeded) != 0;
        Ok(if noted { socket::poll_ready_now(fd.as_fd()) } else { None })
    }

    /// Remembers who waits, after [`StandingWatches::begin`] had nothing to tell.
    pub(super) fn await_by(&mut self, fd: &OwnedFd, token: Token) {
        if let Some(watch) = self.of(fd) {
            watch.waiting = Some(token);
        }
    }

    /// Nobody waits any more.
    pub(super) fn withdraw(&mut self, fd: &OwnedFd) {
        if let Some(watch) = self.of(fd) {
            watch.waiting = None;
        }
    }

    /// An event with this mark has come. Returns whose wait is over.
    pub(super) fn fired(&mut self, set: &Set, mark: u64) -> Option<Token> {
        let number = number_of(mark);
        let entry = self.entries.get_mut(usize::try_from(number).ok()?)?;
        let watch = entry.as_mut().filter(|watch| watch.mark == mark)?;
        if let Some(token) = watch.waiting.take() {
            return Some(token);
        }
        watch.unheeded = watch.unheeded.saturating_add(1);
        if UNHEEDED_MAX <= watch.unheeded && !watch.muted {
            watch.muted = set.mute(number, mark).is_ok();
        }
        None
    }

    /// Takes a descriptor out of the set that is about to be closed, if it is in there.
    pub(super) fn forget(&mut self, set: &Set, fd: &OwnedFd) {
        if self.of(fd).is_some() {
            // It is in the set and open, so that this cannot fail.
            let _cannot_fail = set.remove(fd);
            self.entries[index_of(fd)] = None;
        }
    }

    /// One that can be read now need not be watched yet: many are read once and never again.
    fn enter(&mut self, set: &Set, fd: &OwnedFd) -> Result<Option<Ready>, Errno> {
        if let Some(ready) = socket::poll_ready_now(fd.as_fd()) {
            return Ok(Some(ready));
        }
        self.generation = (self.generation + 1) & GENERATION_MASK;
        let number = u64::try_from(index_of(fd)).unwrap_or(0);
        let mark = STANDING_MARK | u64::from(self.generation) << 32 | number;
        set.add(fd, INTEREST, mark)?;
        let index = index_of(fd);
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        self.entries[index] =
            Some(StandingWatch { mark, waiting: None, unheeded: 0, muted: false });
        Ok(None)
    }

    fn of(&mut self, fd: &OwnedFd) -> Option<&mut StandingWatch> {
        self.entries.get_mut(index_of(fd))?.as_mut()
    }
}

/// Bits of a generation, below the marks.
const GENERATION_MASK: u32 = (1 << 24) - 1;

fn index_of(fd: &OwnedFd) -> usize {
    usize::try_from(fd.as_raw_fd()).expect("a descriptor is not negative")
}

/// The number of the descriptor that a mark names.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of the mark is meant")]
const fn number_of(mark: u64) -> i32 {
    (mark as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::epoll::Events;
    use crate::units::Span;

    /// A descriptor in the master's hands, the copy that a worker has, and the client.
    struct Stage {
        set: Set,
        events: Events,
        watches: StandingWatches,
        fd: OwnedFd,
        copy: UnixStream,
        client: UnixStream,
    }

    impl Stage {
        fn new() -> Self {
            let (copy, client) = UnixStream::pair().unwrap();
            let fd = copy.try_clone().unwrap().into();
            let (set, events) = (Set::new().unwrap(), Events::new());
            Self { set, events, watches: StandingWatches::default(), fd, copy, client }
        }

        fn begin(&mut self) -> Option<Ready> {
            self.watches.begin(&self.set, &self.fd).unwrap()
        }

        fn asks(&mut self) {
            self.client.write_all(b"x").unwrap();
        }

        fn is_read(&mut self) {
            assert_eq!(self.copy.read(&mut [0; 9]).unwrap(), 1);
        }

        /// The marks of the events that there are.
        fn events(&mut self) -> Vec<u64> {
            self.set.wait(Some(Span::ZERO), &mut self.events).unwrap();
            (0..self.events.count()).map(|index| self.events.at(index).0).collect()
        }

        /// An event comes, and somebody's wait is over, or nobody's.
        fn fires(&mut self) -> Option<Token> {
            let [mark] = self.events()[..] else { panic!("one event") };
            self.watches.fired(&self.set, mark)
        }
    }

    fn token() -> Token {
        Token::from_word(2 << 56).expect("a watch")
    }

    #[test]
    fn an_edge_that_nobody_waited_for_is_looked_up_by_the_next_who_waits() {
        let mut stage = Stage::new();
        assert_eq!(stage.begin(), None);
        stage.watches.await_by(&stage.fd, token());
        stage.asks();
        assert_eq!(stage.fires(), Some(token()));
        stage.is_read();
        stage.asks();
        assert_eq!(stage.fires(), None);
        assert_eq!(stage.begin(), Some(Ready::Input));
        stage.is_read();
        assert_eq!(stage.begin(), None, "that one has been told");
    }

    #[test]
    fn what_others_read_for_long_is_muted_and_told_again_to_who_waits() {
        let mut stage = Stage::new();
        assert_eq!(stage.begin(), None);
        for _ in 0..UNHEEDED_MAX {
            stage.asks();
            assert_eq!(stage.fires(), None);
            stage.is_read();
        }
        stage.asks();
        assert_eq!(stage.events(), [0_u64; 0], "it wakes nobody any more");
        assert_eq!(stage.begin(), None);
        stage.watches.await_by(&stage.fd, token());
        assert_eq!(stage.fires(), Some(token()), "what came meanwhile is told");
    }

    #[test]
    fn whoever_withdraws_is_not_told_and_may_wait_again() {
        let mut stage = Stage::new();
        assert_eq!(stage.begin(), None);
        stage.watches.await_by(&stage.fd, token());
        stage.watches.withdraw(&stage.fd);
        stage.asks();
        assert_eq!(stage.fires(), None);
        assert_eq!(stage.begin(), Some(Ready::Input));
    }

    #[test]
    fn what_is_forgotten_is_out_of_the_set_and_its_number_is_anothers() {
        let mut stage = Stage::new();
        assert_eq!(stage.begin(), None);
        stage.asks();
        let [old] = stage.events()[..] else { panic!("one event") };
        stage.watches.forget(&stage.set, &stage.fd);
        stage.is_read();
        stage.asks();
        assert_eq!(stage.events(), [0_u64; 0], "although a copy is open");
        stage.is_read();
        assert_eq!(stage.begin(), None);
        stage.watches.await_by(&stage.fd, token());
        assert_eq!(stage.watches.fired(&stage.set, old), None, "that was another watch");
        stage.asks();
        assert_eq!(stage.fires(), Some(token()));
    }

    #[test]
    fn what_can_be_read_at_once_is_not_entered() {
        let mut stage = Stage::new();
        stage.asks();
        assert_eq!(stage.begin(), Some(Ready::Input));
        stage.asks();
        assert_eq!(stage.events(), [0_u64; 0]);
    }
}
