//! How a program becomes a worker. It finds a handshake in its environment, and what the handshake
//! names under numbers that anything could be open under, whoever wrote it. So everything is first
//! looked at and left as it is; then the worker's page proves that this was given to this very
//! worker and that nobody has taken it; and only then does it all get an owner. What fails before
//! it is taken closes nothing and changes nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::link::{LinkEnd, LinkError};
use crate::shm::handshake::{self, Mismatch};
use crate::shm::layout::{LAYOUT, MAGIC, MasterPage, WorkerPage};
use crate::shm::map::{MapError, Mapped, ReadOnly, Writable};
use crate::sys::spawn::FIRST_FD;
use crate::sys::{environment, eventfd, fd, inherited, overheard, socket};
use crate::wire::handshake::{Handshake, VARIABLE, position};

/// The process that has the link, or is about to: this one, or one that it was forked from.
static TAKEN_BY: AtomicU32 = AtomicU32::new(NOBODY);

const NOBODY: u32 = 0;

impl LinkEnd {
    /// Takes up the link that dispatchd left in the environment, once in a process.
    ///
    /// The variable that tells of it is good for one reading, and is taken away thereafter. With
    /// other threads about it has to stay; programs that are started from here then find a
    /// handshake that names what they do not have, for all of it closes with their start, and
    /// whoever gets it nevertheless finds a page that says that it is taken.
    ///
    /// # Errors
    /// When it is not there, is not this process's own, is taken, or is of another version.
    pub fn from_env() -> Result<Self, LinkError> {
        if let Err(by) = TAKEN_BY.compare_exchange(NOBODY, process::id(), AcqRel, Acquire) {
            return Err(LinkError::Taken { by });
        }
        let link = read_note().and_then(take_up);
        match &link {
            // Where it must stay it is of no use to anybody.
            Ok(_) => _ = environment::forget(VARIABLE),
            Err(_) => TAKEN_BY.store(NOBODY, Release),
        }
        link
    }
}

/// A worker's own page and its master's.
type PagePair = (Mapped<WorkerPage, Writable>, Mapped<MasterPage, ReadOnly>);

fn read_note() -> Result<Handshake, LinkError> {
    #[expect(clippy::disallowed_methods, reason = "this is where the worker reads it, once")]
    let text = std::env::var(VARIABLE).map_err(|_| LinkError::Missing)?;
    Ok(Handshake::parse(&text)?)
}

fn take_up(handshake: Handshake) -> Result<LinkEnd, LinkError> {
    let count = position::LISTENERS + handshake.listeners;
    let looked = inherited::look_at((0..count).map(number_of), |found| check(&handshake, found));
    let (own, master) = looked.map_err(|number| LinkError::Descriptor { number })??;
    handshake::take(&own, process::id()).map_err(refusal)?;
    // Whatever it does before its hello, this program knows what it is.
    own.head.magic.store(MAGIC, Relaxed);
    let (channel, doorbell) = (adopt(position::CHANNEL)?, adopt(position::DOORBELL)?);
    // They are mapped, and needed no longer than this.
    let (master_memory, own_memory) = (adopt(position::MASTER)?, adopt(position::OWN)?);
    let listeners = (position::LISTENERS..count).map(adopt).collect::<Result<_, _>>()?;
    let link = LinkEnd::over(handshake, channel, doorbell, master, own, listeners);
    link.handle_sigterm(&master_memory, &own_memory)?;
    overheard::overhear();
    Ok(link)
}

/// That this was given to this very worker, by a master of this version. Returns its pages.
fn check(handshake: &Handshake, found: &[BorrowedFd<'_>]) -> Result<PagePair, LinkError> {
    check_kinds(found)?;
    let own = Mapped::<WorkerPage, Writable>::open(found[position::OWN])
        .map_err(|error| not_a_page(error, position::OWN))?;
    let master = Mapped::<MasterPage, ReadOnly>::open(found[position::MASTER])
        .map_err(|error| not_a_page(error, position::MASTER))?;
    if master.head.magic.load(Relaxed) != MAGIC || master.head.layout.load(Relaxed) != LAYOUT {
        return Err(LinkError::Layout);
    }
    let marks: Vec<u64> = found.iter().map(|fd| inherited::mark_of(fd).unwrap_or(0)).collect();
    handshake::check(&own, handshake.words(), &marks).map_err(refusal)?;
    Ok((own, master))
}

/// Each is of the kind that its place is for.
fn check_kinds(found: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
    let strange = found.iter().enumerate().find(|(position, fd)| match *position {
        position::CHANNEL => !socket::is_channel(fd).unwrap_or(false),
        position::DOORBELL => !eventfd::is_one(fd.as_fd()),
        // Their mapping tells.
        position::MASTER | position::OWN => false,
        _ => !socket::is_listening(fd).unwrap_or(false),
    });
    strange.map_or(Ok(()), |(position, _)| Err(is_strange(position)))
}

/// To be called once for each position, by whoever has taken it.
fn adopt(position: usize) -> Result<OwnedFd, LinkError> {
    let number = number_of(position);
    fd::adopt_inherited(number).map_err(|_| LinkError::Descriptor { number })
}

fn number_of(position: usize) -> i32 {
    FIRST_FD + i32::try_from(position).unwrap_or(i32::MAX - FIRST_FD)
}

fn not_a_page(error: MapError, position: usize) -> LinkError {
    match error {
        MapError::Unsealed => is_strange(position),
        MapError::Size { .. } => LinkError::Layout,
        MapError::Kernel(_) => LinkError::Map(error),
    }
}

fn refusal(mismatch: Mismatch) -> LinkError {
    match mismatch {
        Mismatch::Layout => LinkError::Layout,
        Mismatch::Note => LinkError::Forged,
        Mismatch::Descriptor(position) => is_strange(position),
        Mismatch::Taken(by) => LinkError::Taken { by },
    }
}

fn is_strange(position: usize) -> LinkError {
    let wanted = match position {
        position::CHANNEL => "channel",
        position::MASTER => "master's page",
        position::OWN => "worker's page",
        position::DOORBELL => "doorbell",
        _ => "listener",
    };
    LinkError::Strange { number: number_of(position), wanted }
}
