//! What happened, in order: the last lines explain a failure, the counts show which faults a run
//! met, and the hash of everything tells whether two runs were the same run.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::digest::{Digest, number_of};
use super::verb::Verb;
use crate::engine::event::Event;
use crate::units::{Mono, WorkerId};

/// Lines that a failure shows.
const LAST: usize = 40;

/// The diary of one run.
#[derive(Debug)]
pub(super) struct RunTrace {
    keeps_all: bool,
    notes: VecDeque<TraceLine>,
    counts: BTreeMap<&'static str, u64>,
    digest: Digest,
}

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Client,
    Kernel,
    Master,
    Operator,
    Worker(WorkerId),
}

#[derive(Clone, Copy, Debug)]
struct TraceLine {
    at: Mono,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Did { who: Who, verb: Verb, number: u64 },
    Told(Event),
}

impl RunTrace {
    pub(super) const fn new(keeps_all: bool) -> Self {
        Self { keeps_all, notes: VecDeque::new(), counts: BTreeMap::new(), digest: Digest::new() }
    }

    /// `number` is a connection, a ticket or an error number, as the verb says.
    pub(super) fn did(&mut self, at: Mono, who: Who, verb: Verb, number: u64) {
        *self.counts.entry(verb.text()).or_default() += 1;
        let doer = match who {
            Who::Client => 1,
            Who::Kernel => 2,
            Who::Master => 3,
            Who::Operator => 4,
            Who::Worker(id) => number_of(id) << 8 | 5,
        };
        self.digest.take_deed(at, doer, verb, number);
        self.keep(TraceLine { at, what: What::Did { who, verb, number } });
    }

    pub(super) fn told(&mut self, at: Mono, event: Event) {
        self.digest.take_event(at, event);
        self.keep(TraceLine { at, what: What::Told(event) });
    }

    pub(super) const fn hash(&self) -> u64 {
        self.digest.value()
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.notes.iter().map(ToString::to_string).collect()
    }

    fn keep(&mut self, line: TraceLine) {
        if !self.keeps_all && self.notes.len() == LAST {
            self.notes.pop_front();
        }
        self.notes.push_back(line);
    }
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.at.as_ns() / 1_000;
        write!(f, "{:>4}.{:06} ", us / 1_000_000, us % 1_000_000)?;
        match self.what {
            What::Did { who: Who::Worker(id), verb, number } => {
                write!(f, "worker {id} {verb} {number}")
            }
            What::Did { who, verb, number } => write!(f, "{who:?} {verb} {number}"),
            What::Told(event) => write!(f, "engine: {event:?}"),
        }
    }
}
