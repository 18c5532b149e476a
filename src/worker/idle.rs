//! Connections that stay with a blocking worker between two requests: because nobody takes them
//! back at the moment, or because they are pinned.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use super::link::LinkEnd;
use super::origin::ConnectionOrigin;
use crate::sys::socket;
use crate::units::{ListenerId, Mono};

/// One that waits for its next request.
#[derive(Debug)]
pub(super) struct IdleConnection {
    pub(super) socket: OwnedFd,
    pub(super) origin: ConnectionOrigin,
    pub(super) listener: ListenerId,
    pub(super) stay: IdleStay,
    pub(super) since: Mono,
}

/// Whether it may become another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum IdleStay {
    /// As soon as somebody takes it back.
    Loose,
    /// Never: its state is in this process.
    Pinned,
}

/// All of them, by position.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    places: Vec<Option<IdlePlace>>,
    /// Vacant positions.
    vacant: Vec<usize>,
    /// Those that are not pinned, by the time since when they are here.
    loose: BTreeSet<(Mono, usize)>,
    /// Those of which an event has come, each once.
    ready: VecDeque<usize>,
}

#[derive(Debug)]
struct IdlePlace {
    kept: IdleConnection,
    is_ready: bool,
    /// Its client has said its last, or left.
    ended: bool,
}

impl IdleConnection {
    /// Whether it has something to read, so that it must not end now.
    pub(super) fn has_asked(&self) -> bool {
        socket::has_input(self.socket.as_fd())
    }

    /// Ends it for its client.
    pub(super) fn end(self, link: &mut LinkEnd) {
        link.let_go(self.origin.ticket(), self.socket, None);
    }
}

impl IdleConnections {
    pub(super) const fn is_empty(&self) -> bool {
        self.places.len() == self.vacant.len()
    }

    /// The mark of the one that is put next.
    pub(super) fn next_mark(&self) -> u64 {
        self.vacant.last().map_or(self.places.len(), |at| *at) as u64
    }

    /// Puts one, and returns where.
    pub(super) fn put(&mut self, kept: IdleConnection) -> usize {
        let at = self.vacant.pop().unwrap_or(self.places.len());
        if at == self.places.len() {
            self.places.push(None);
        }
        if kept.stay == IdleStay::Loose {
            self.loose.insert((kept.since, at));
        }
        self.places[at] = Some(IdlePlace { kept, is_ready: false, ended: false });
        at
    }

    /// Puts one that is to be taken next.
    pub(super) fn put_first(&mut self, kept: IdleConnection) {
        let at = self.put(kept);
        if self.is_news(at, false) {
            self.ready.push_front(at);
        }
    }

    /// Something has come from the one with this mark, perhaps not for the first time: input, or
    /// its end.
    pub(super) fn is_ready(&mut self, mark: u64, ended: bool) {
        let Ok(at) = usize::try_from(mark) else { return };
        if self.is_news(at, ended) {
            self.ready.push_back(at);
        }
    }

    /// Takes one from which something has come, and whether its end has.
    pub(super) fn take_ready(&mut self) -> Option<(IdleConnection, bool)> {
        let at = self.ready.pop_front()?;
        self.take(at).map(|place| (place.kept, place.ended))
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = IdleConnection> {
        std::mem::take(self).places.into_iter().flatten().map(|place| place.kept)
    }

    /// Since when the one that is not pinned and has been here longest has.
    pub(super) fn oldest_loose(&self) -> Option<Mono> {
        self.loose.first().map(|(since, _)| *since)
    }

    /// Takes that one.
    pub(super) fn take_oldest_loose(&mut self) -> Option<IdleConnection> {
        let (_, at) = *self.loose.first()?;
        let IdlePlace { kept, is_ready, ended: _ } = self.take(at)?;
        if is_ready {
            // The next one that is put here has not been heard from.
            self.ready.retain(|ready| *ready != at);
        }
        Some(kept)
    }

    /// Notes that something has come from the one that is there. False if that was known.
    fn is_news(&mut self, at: usize, ended: bool) -> bool {
        let Some(Some(place)) = self.places.get_mut(at) else { return false };
        place.ended |= ended;
        !std::mem::replace(&mut place.is_ready, true)
    }

    fn take(&mut self, at: usize) -> Option<IdlePlace> {
        let place = self.places.get_mut(at)?.take()?;
        self.vacant.push(at);
        self.loose.remove(&(place.kept.since, at));
        Some(place)
    }
}
