//! The rings of messages between the master and a worker, one in each direction: one writer, one
//! reader, release and acquire, and a doorbell that is rung only when the reader sleeps. The
//! writer's position lies in the writer's memory, the reader's in the reader's, so that each line
//! has one writer.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::{MasterPage, SleepState, WorkerLine, WorkerPage};
use crate::limits::MESSAGE_RING_DOORBELL;
use crate::units::RingWords;

/// One direction: where it is written, and how far both sides are.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    produced: &'a AtomicU64,
    consumed: &'a AtomicU64,
    messages: &'a [[AtomicU64; 2]],
}

/// What a worker has to do after it wrote messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doorbell {
    /// Nothing: the master looks, or need not.
    Silent,
    /// Ring: the master sleeps, and these messages matter to it.
    Ring,
}

/// Whether the master must act on a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// When it looks, unless it waits for one.
    Whenever,
    /// At once: somebody waits for what the master does then.
    Now,
}

/// The ring is full: the reader has read none of it for long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// The writer claims to have written more than the ring holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a ring claims {written} messages of which {read} are read")]
pub struct Overrun {
    /// Messages ever written, as it says.
    pub written: u64,
    /// Messages read.
    pub read: u64,
}

/// Bits of the state word below the number of the sleep.
const SLEEP_STATE_BITS: u32 = 2;

impl<'a> Ring<'a> {
    /// What a worker says to the master.
    pub fn to_master(own: &'a WorkerPage, index: &'a WorkerLine) -> Self {
        Self {
            produced: &own.message_writer.produced,
            consumed: &index.consumed,
            messages: &own.messages,
        }
    }

    /// What the master tells the worker of an index; `None` for one that there is not.
    pub fn to_worker(master: &'a MasterPage, index: usize, own: &'a WorkerPage) -> Option<Self> {
        Some(Self {
            produced: &master.workers.get(index)?.produced,
            consumed: &own.offer_reader.consumed,
            messages: master.offer_entries.get(index)?,
        })
    }

    /// Writes one message. Nobody else may write to this ring.
    ///
    /// # Errors
    /// When there is no room; nothing is written then.
    pub fn push(&self, words: RingWords) -> Result<(), Full> {
        let produced = self.produced.load(Ordering::Relaxed);
        let consumed = acquire(self.consumed);
        if self.messages.len() as u64 <= produced.wrapping_sub(consumed) {
            return Err(Full);
        }
        for (word, place) in words.iter().zip(&self.messages[self.index(produced)]) {
            place.store(*word, Ordering::Relaxed);
        }
        self.produced.store(produced.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Whether there is something to read.
    pub fn has_messages(&self) -> bool {
        0 < self.unread()
    }

    /// Reads up to `max` messages into `out`, each word once: what is checked later is what was
    /// read.
    ///
    /// # Errors
    /// When the position is impossible; nothing is read then.
    pub fn drain(&self, max: usize, out: &mut impl Extend<RingWords>) -> Result<(), Overrun> {
        let read = self.consumed.load(Ordering::Relaxed);
        let written = acquire(self.produced);
        let unread = written.wrapping_sub(read);
        if (self.messages.len() as u64) < unread {
            return Err(Overrun { written, read });
        }
        let count = unread.min(max as u64);
        out.extend((0..count).map(|position| {
            let [first, second] = &self.messages[self.index(read.wrapping_add(position))];
            [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
        }));
        if 0 < count {
            self.consumed.store(read.wrapping_add(count), Ordering::Release);
        }
        Ok(())
    }

    fn unread(&self) -> u64 {
        let produced = self.produced.load(Ordering::Relaxed);
        produced.wrapping_sub(self.consumed.load(Ordering::Relaxed))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the ring's size")]
    const fn index(&self, position: u64) -> usize {
        (position % self.messages.len() as u64) as usize
    }
}

/// Reads a position, and what was written before it. A worker has its master's page without the
/// right to write, and there only relaxed loads are sure to be nothing but loads; so what orders
/// them stands apart.
fn acquire(position: &AtomicU64) -> u64 {
    let found = position.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    found
}

/// Whether the master must be woken for what was pushed. Between the push and this question lies
/// the fence that pairs with [`set_sleep_state`]: either the master sees the message or we see it
/// asleep. `rung` is the sleep that this worker last rang for: who has been woken need not be woken
/// again.
pub fn after_push(
    ring: Ring<'_>,
    master: &MasterPage,
    urgency: Urgency,
    rung: &mut Option<u32>,
) -> Doorbell {
    fence(Ordering::SeqCst);
    let word = master.sleep_state.load(Ordering::Relaxed);
    let wants = match (SleepState::from_word(word), urgency) {
        (SleepState::Awake, _) => false,
        (SleepState::Content, Urgency::Whenever) => MESSAGE_RING_DOORBELL as u64 <= ring.unread(),
        (SleepState::Content, Urgency::Now) | (SleepState::Waiting, _) => true,
    };
    let sleep = Some(word >> SLEEP_STATE_BITS);
    if wants && rung.replace(word >> SLEEP_STATE_BITS) != sleep {
        Doorbell::Ring
    } else {
        Doorbell::Silent
    }
}

/// The master is about to sleep, or awake again. After it said so it must look at the rings once
/// more before it sleeps.
pub fn set_sleep_state(master: &MasterPage, state: SleepState) {
    let before = master.sleep_state.load(Ordering::Relaxed) >> SLEEP_STATE_BITS;
    let sleep = match state {
        SleepState::Awake => before,
        SleepState::Content | SleepState::Waiting => before.wrapping_add(1),
    };
    master.sleep_state.store(sleep << SLEEP_STATE_BITS | state as u32, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// The worker is about to sleep. It must look at its ring once more before it does, and say
/// [`wake`] afterwards.
pub fn fall_asleep(own: &WorkerPage) {
    let sleeps = own.offer_reader.sleeps.load(Ordering::Relaxed);
    own.offer_reader.sleeps.store(sleeps | 1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// The worker is awake.
pub fn wake(own: &WorkerPage) {
    let sleeps = own.offer_reader.sleeps.load(Ordering::Relaxed);
    own.offer_reader.sleeps.store(sleeps.wrapping_add(sleeps & 1), Ordering::Relaxed);
}

/// Which of its sleeps a worker takes, if it sleeps. To be asked after the push: between the two
/// lies the fence that pairs with [`fall_asleep`].
pub fn sleep_number(worker: &WorkerPage) -> Option<u64> {
    fence(Ordering::SeqCst);
    let sleeps = worker.offer_reader.sleeps.load(Ordering::Relaxed);
    (sleeps & 1 == 1).then_some(sleeps)
}

#[cfg(test)]
mod tests {
    use super::super::map::{Mapped, Writable};
    use super::*;
    use crate::limits::{MESSAGE_RING, OFFER_ENTRY_RING};

    fn pages() -> (Mapped<MasterPage, Writable>, Mapped<WorkerPage, Writable>) {
        let (_, master) = Mapped::create(c"master").unwrap();
        let (_, own) = Mapped::create(c"worker").unwrap();
        (master, own)
    }

    #[test]
    fn tokens_come_out_in_order_and_a_full_ring_takes_no_more() {
        let (master, own) = pages();
        let up = Ring::to_master(&own, &master.workers[3]);
        let down = Ring::to_worker(&master, 3, &own).unwrap();
        for (ring, size) in [(up, MESSAGE_RING), (down, OFFER_ENTRY_RING)] {
            let mut out = Vec::new();
            for round in 0..3_u64 {
                for number in 0..size as u64 {
                    ring.push([round, number]).unwrap();
                }
                assert_eq!(ring.push([9, 9]), Err(Full));
                ring.drain(size, &mut out).unwrap();
                assert!((0..).zip(&out).all(|(number, words)| *words == [round, number]));
                assert_eq!(out.len(), size);
                out.clear();
            }
            assert!(!ring.has_messages());
        }
        assert!(Ring::to_worker(&master, usize::MAX, &own).is_none());
    }

    #[test]
    fn the_doorbell_is_rung_only_for_a_sleeper_who_cares() {
        let (master, own) = pages();
        let ring = Ring::to_master(&own, &master.workers[0]);
        // Another worker each time: it has not rung yet.
        let doorbell = |urgency| after_push(ring, &master, urgency, &mut None);
        ring.push([1, 1]).unwrap();
        assert_eq!(doorbell(Urgency::Now), Doorbell::Silent);
        set_sleep_state(&master, SleepState::Waiting);
        assert_eq!(doorbell(Urgency::Whenever), Doorbell::Ring);
        set_sleep_state(&master, SleepState::Content);
        assert_eq!(doorbell(Urgency::Whenever), Doorbell::Silent);
        assert_eq!(doorbell(Urgency::Now), Doorbell::Ring);
        for _ in 1..MESSAGE_RING_DOORBELL {
            ring.push([1, 1]).unwrap();
        }
        assert_eq!(doorbell(Urgency::Whenever), Doorbell::Ring);
    }

    #[test]
    fn one_ring_per_sleep_is_enough() {
        let (master, own) = pages();
        let ring = Ring::to_master(&own, &master.workers[0]);
        let mut rung = None;
        ring.push([1, 1]).unwrap();
        for _ in 0..3 {
            set_sleep_state(&master, SleepState::Waiting);
            assert_eq!(after_push(ring, &master, Urgency::Now, &mut rung), Doorbell::Ring);
            assert_eq!(after_push(ring, &master, Urgency::Now, &mut rung), Doorbell::Silent);
            set_sleep_state(&master, SleepState::Awake);
            assert_eq!(after_push(ring, &master, Urgency::Now, &mut rung), Doorbell::Silent);
        }
        // What it did not ring for does not count as rung.
        set_sleep_state(&master, SleepState::Content);
        assert_eq!(after_push(ring, &master, Urgency::Whenever, &mut rung), Doorbell::Silent);
        assert_eq!(after_push(ring, &master, Urgency::Now, &mut rung), Doorbell::Ring);
    }

    #[test]
    fn each_sleep_has_a_number() {
        let (_, own) = pages();
        assert_eq!(sleep_number(&own), None);
        let mut sleeps = Vec::new();
        for _ in 0..2 {
            fall_asleep(&own);
            fall_asleep(&own);
            sleeps.extend(sleep_number(&own));
            wake(&own);
            wake(&own);
            assert_eq!(sleep_number(&own), None);
        }
        assert_eq!(sleeps, [1, 3]);
    }

    #[test]
    fn an_impossible_position_is_refused() {
        let (master, own) = pages();
        own.message_writer.produced.store(MESSAGE_RING as u64 + 1, Ordering::Relaxed);
        let ring = Ring::to_master(&own, &master.workers[0]);
        let refused = ring.drain(8, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.written, MESSAGE_RING as u64 + 1);
        // A reader that claims to have read what was never written gets nothing more.
        own.offer_reader.consumed.store(9, Ordering::Relaxed);
        assert_eq!(Ring::to_worker(&master, 0, &own).unwrap().push([1, 1]), Err(Full));
    }
}
