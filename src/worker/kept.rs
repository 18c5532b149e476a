//! Connections that stay with a blocking worker between two requests: because nobody takes them
//! back at the moment, or because they are pinned.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use super::connection::Origin;
use super::link::Link;
use crate::sys::socket;
use crate::units::{ListenerId, Mono};

/// One that waits for its next request.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) socket: OwnedFd,
    pub(super) origin: Origin,
    pub(super) listener: ListenerId,
    pub(super) stay: Stay,
    pub(super) since: Mono,
}

/// Whether it may become another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stay {
    /// As soon as somebody takes it back.
    Loose,
    /// Never: its state is in this process.
    Pinned,
}

/// All of them, by position.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    places: Vec<Option<Kept>>,
    /// Vacant positions.
    vacant: Vec<usize>,
    /// Those that are not pinned, by the time since when they are here.
    loose: BTreeSet<(Mono, usize)>,
    /// Those of which an event has come.
    ready: VecDeque<usize>,
}

impl Kept {
    /// Whether it has something to read, so that it must not end now.
    pub(super) fn has_asked(&self) -> bool {
        socket::has_input(self.socket.as_fd())
    }

    /// Ends it for its client.
    pub(super) fn end(self, link: &mut Link) {
        link.let_go(self.origin.ticket(), self.socket, None);
    }
}

impl Shelf {
    pub(super) const fn is_empty(&self) -> bool {
        self.places.len() == self.vacant.len()
    }

    /// The mark of the one that is put next.
    pub(super) fn next_mark(&self) -> u64 {
        self.vacant.last().map_or(self.places.len(), |at| *at) as u64
    }

    /// Puts one, and returns where.
    pub(super) fn put(&mut self, kept: Kept) -> usize {
        let at = self.vacant.pop().unwrap_or(self.places.len());
        if at == self.places.len() {
            self.places.push(None);
        }
        if kept.stay == Stay::Loose {
            self.loose.insert((kept.since, at));
        }
        self.places[at] = Some(kept);
        at
    }

    /// Puts one that is to be taken next.
    pub(super) fn put_first(&mut self, kept: Kept) {
        let at = self.put(kept);
        self.ready.push_front(at);
    }

    /// Something has come from the one with this mark.
    pub(super) fn is_ready(&mut self, mark: u64) {
        self.ready.extend(usize::try_from(mark));
    }

    /// Takes one from which something has come.
    pub(super) fn take_ready(&mut self) -> Option<Kept> {
        let at = self.ready.pop_front()?;
        self.take(at)
    }

    /// Since when the one that is not pinned and has been here longest has.
    pub(super) fn oldest_loose(&self) -> Option<Mono> {
        self.loose.first().map(|(since, _)| *since)
    }

    /// Takes that one.
    pub(super) fn take_oldest_loose(&mut self) -> Option<Kept> {
        let (_, at) = *self.loose.first()?;
        self.take(at)
    }

    fn take(&mut self, at: usize) -> Option<Kept> {
        let kept = self.places.get_mut(at)?.take()?;
        self.vacant.push(at);
        self.loose.remove(&(kept.since, at));
        // The next one that is put here has not been heard from.
        self.ready.retain(|ready| *ready != at);
        Some(kept)
    }
}
