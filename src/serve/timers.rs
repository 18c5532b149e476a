//! How long each connection may stay as it is. Every limit is one constant span, so that the
//! connections under a limit stand in the order in which they run out: a list per limit, linked
//! through a table, makes every step constant in time, however many connections there are.

use crate::io::arena::ArenaKey;
use crate::limits::{
    HTTP_DRAIN_IDLE, HTTP_IDLE_TIMEOUT, HTTP_LINGER, HTTP_REQUEST_TIMEOUT, HTTP_WRITE_TIMEOUT,
};
use crate::units::{Mono, Span};

/// What a connection is limited in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ConnLimit {
    /// Nothing has begun.
    Idle,
    /// Nothing has begun, and the worker wants to leave.
    IdleInDrain,
    /// A request has begun and is not complete.
    Request,
    /// The client takes nothing of its answer.
    Write,
    /// The client sends on after the last answer.
    Linger,
}

/// The limits that run; at most one per connection.
#[derive(Debug)]
pub(super) struct Timers {
    lists: [TimerList; LIMITS.len()],
    links: Vec<TimerNode>,
}

#[derive(Clone, Copy, Debug)]
struct TimerList {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct TimerNode {
    limit: Option<ConnLimit>,
    generation: u32,
    previous: u32,
    next: u32,
    deadline: Mono,
}

const LIMITS: [ConnLimit; 5] = [
    ConnLimit::Idle,
    ConnLimit::IdleInDrain,
    ConnLimit::Request,
    ConnLimit::Write,
    ConnLimit::Linger,
];
const NOBODY: u32 = u32::MAX;
const EMPTY: TimerList = TimerList { first: NOBODY, last: NOBODY };
const UNLINKED: TimerNode =
    TimerNode { limit: None, generation: 0, previous: NOBODY, next: NOBODY, deadline: Mono::ZERO };

impl Timers {
    /// No limit runs.
    pub(super) const fn new() -> Self {
        Self { lists: [EMPTY; LIMITS.len()], links: Vec::new() }
    }

    /// Puts the connection under `limit` from `now` on, in place of any other. `now` never goes
    /// back from call to call.
    pub(super) fn set(&mut self, key: ArenaKey, limit: ConnLimit, now: Mono) {
        self.clear(key);
        let index = key.index as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, UNLINKED);
        }
        let list = &mut self.lists[limit as usize];
        let previous = std::mem::replace(&mut list.last, key.index);
        match previous {
            NOBODY => list.first = key.index,
            _ => self.links[previous as usize].next = key.index,
        }
        self.links[index] = TimerNode {
            limit: Some(limit),
            generation: key.generation,
            previous,
            next: NOBODY,
            deadline: now.after(limit.span()),
        };
    }

    /// Puts the connection under `limit` unless it is already: what has passed of it counts.
    pub(super) fn keep(&mut self, key: ArenaKey, limit: ConnLimit, now: Mono) {
        let present = self.links.get(key.index as usize).and_then(|link| link.limit);
        if present != Some(limit) {
            self.set(key, limit, now);
        }
    }

    /// Frees the connection of its limit.
    pub(super) fn clear(&mut self, key: ArenaKey) {
        let Some(link) = self.links.get_mut(key.index as usize) else { return };
        let Some(limit) = link.limit.take() else { return };
        let (previous, next) = (link.previous, link.next);
        let list = &mut self.lists[limit as usize];
        match previous {
            NOBODY => list.first = next,
            _ => self.links[previous as usize].next = next,
        }
        match next {
            NOBODY => list.last = previous,
            _ => self.links[next as usize].previous = previous,
        }
    }

    /// A connection whose limit has run out, which frees it.
    pub(super) fn expired(&mut self, now: Mono) -> Option<(ArenaKey, ConnLimit)> {
        for limit in LIMITS {
            if let Some((key, deadline)) = self.first(limit)
                && deadline <= now
            {
                self.clear(key);
                return Some((key, limit));
            }
        }
        None
    }

    /// When the next limit runs out.
    pub(super) fn deadline(&self) -> Option<Mono> {
        LIMITS.iter().filter_map(|&limit| self.first(limit)).map(|(_, deadline)| deadline).min()
    }

    /// Frees an idle connection of its limit, whether or not it has run out.
    pub(super) fn take_idle(&mut self) -> Option<ArenaKey> {
        let (key, _) = self.first(ConnLimit::Idle)?;
        self.clear(key);
        Some(key)
    }

    /// Puts the idle connections under the limit that they have while the worker drains.
    pub(super) fn drain(&mut self, now: Mono) {
        while let Some((key, _)) = self.first(ConnLimit::Idle) {
            self.set(key, ConnLimit::IdleInDrain, now);
        }
    }

    fn first(&self, limit: ConnLimit) -> Option<(ArenaKey, Mono)> {
        let index = self.lists[limit as usize].first;
        let link = self.links.get(index as usize)?;
        Some((ArenaKey { index, generation: link.generation }, link.deadline))
    }
}

impl ConnLimit {
    const fn span(self) -> Span {
        match self {
            Self::Idle => HTTP_IDLE_TIMEOUT,
            Self::IdleInDrain => HTTP_DRAIN_IDLE,
            Self::Request => HTTP_REQUEST_TIMEOUT,
            Self::Write => HTTP_WRITE_TIMEOUT,
            Self::Linger => HTTP_LINGER,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key(index: u32) -> ArenaKey {
        ArenaKey { index, generation: index + 7 }
    }

    #[test]
    fn a_limit_that_is_kept_is_not_prolonged_and_one_that_is_set_is() {
        let mut timers = Timers::new();
        let (start, later) = (Mono::from_ns(1), Mono::from_ns(2));
        timers.set(key(0), ConnLimit::Request, start);
        timers.keep(key(0), ConnLimit::Request, later);
        assert_eq!(timers.deadline(), Some(start.after(HTTP_REQUEST_TIMEOUT)));
        timers.set(key(0), ConnLimit::Request, later);
        assert_eq!(timers.deadline(), Some(later.after(HTTP_REQUEST_TIMEOUT)));
    }

    #[test]
    fn draining_shortens_the_idle_and_nothing_else() {
        let mut timers = Timers::new();
        for index in 0..3 {
            timers.set(key(index), ConnLimit::Idle, Mono::ZERO);
        }
        timers.set(key(3), ConnLimit::Write, Mono::ZERO);
        timers.drain(Mono::ZERO);
        let due = Mono::ZERO.after(HTTP_DRAIN_IDLE);
        let expired: Vec<_> = std::iter::from_fn(|| timers.expired(due)).collect();
        let idle: Vec<_> = (0..3).map(|index| (key(index), ConnLimit::IdleInDrain)).collect();
        assert_eq!(expired, idle);
        assert_eq!(timers.deadline(), Some(Mono::ZERO.after(HTTP_WRITE_TIMEOUT)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            steps in prop::collection::vec((0_u32..8, 0_usize..7, 0_u64..20), 0..200),
        ) {
            let mut timers = Timers::new();
            let mut map: BTreeMap<u32, (ConnLimit, Mono)> = BTreeMap::new();
            let mut now = Mono::from_ns(1);
            for (index, action, seconds) in steps {
                now = now.after(Span::from_s(seconds));
                while let Some((key, limit)) = timers.expired(now) {
                    let (expected, deadline) = map.remove(&key.index).unwrap();
                    prop_assert_eq!((key.generation, limit), (key.index + 7, expected));
                    prop_assert!(deadline <= now);
                }
                prop_assert!(map.values().all(|(_, deadline)| now < *deadline));
                match LIMITS.get(action) {
                    Some(&limit) => {
                        timers.set(key(index), limit, now);
                        map.insert(index, (limit, now.after(limit.span())));
                    }
                    None => {
                        timers.clear(key(index));
                        map.remove(&index);
                    }
                }
                let next = map.values().map(|(_, deadline)| *deadline).min();
                prop_assert_eq!(timers.deadline(), next);
            }
        }
    }
}
