//! The ring of tokens from a worker to the master: one writer, one reader, release and acquire,
//! and a bell that is rung only when the reader sleeps. The writer's position lies in the worker's
//! memory, the reader's in the master's, so that each line has one writer.

use std::sync::atomic::{Ordering, fence};

use super::layout::{Berth, Doze, MasterPage, WorkerPage};
use crate::limits::{TOKEN_RING, TOKEN_RING_BELL};

/// A token's two words.
pub type Words = [u64; 2];

/// What a worker has to do after it wrote tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bell {
    /// Nothing: the master looks, or need not.
    Silent,
    /// Ring: the master sleeps, and these tokens matter to it.
    Ring,
}

/// The ring is full: the master has read none of it for long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// The worker claims to have written more than the ring holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a worker's ring claims {written} tokens of which {read} are read")]
pub struct Overrun {
    /// Tokens ever written, as it says.
    pub written: u64,
    /// Tokens read.
    pub read: u64,
}

/// Writes one token. Nobody else may write to this worker's page.
///
/// # Errors
/// When there is no room; nothing is written then.
pub fn push(own: &WorkerPage, berth: &Berth, words: Words) -> Result<(), Full> {
    let produced = own.produced.load(Ordering::Relaxed);
    let consumed = berth.consumed.load(Ordering::Acquire);
    if TOKEN_RING as u64 <= produced.wrapping_sub(consumed) {
        return Err(Full);
    }
    for (word, place) in words.iter().zip(&own.tokens[index(produced)]) {
        place.store(*word, Ordering::Relaxed);
    }
    own.produced.store(produced.wrapping_add(1), Ordering::Release);
    Ok(())
}

/// Whether the master must be woken for what was pushed. Between the push and this question lies
/// the fence that pairs with [`doze`]: either the master sees the token or we see it asleep.
pub fn after_push(own: &WorkerPage, berth: &Berth, master: &MasterPage) -> Bell {
    fence(Ordering::SeqCst);
    let unread =
        own.produced.load(Ordering::Relaxed).wrapping_sub(berth.consumed.load(Ordering::Relaxed));
    match Doze::from_word(master.doze.load(Ordering::Relaxed)) {
        Doze::Awake => Bell::Silent,
        Doze::Content if unread < TOKEN_RING_BELL as u64 => Bell::Silent,
        Doze::Content | Doze::Waiting => Bell::Ring,
    }
}

/// The master is about to sleep, or awake again. After it said so it must look at the rings once
/// more before it sleeps.
pub fn doze(master: &MasterPage, doze: Doze) {
    master.doze.store(doze as u32, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Whether there is something to read.
pub fn has_tokens(own: &WorkerPage, berth: &Berth) -> bool {
    own.produced.load(Ordering::Relaxed) != berth.consumed.load(Ordering::Relaxed)
}

/// Reads up to `max` tokens into `out`, each word once: what is checked later is what was read.
///
/// # Errors
/// When the position is impossible; nothing is read then.
pub fn drain(
    own: &WorkerPage,
    berth: &Berth,
    max: usize,
    out: &mut Vec<Words>,
) -> Result<(), Overrun> {
    let read = berth.consumed.load(Ordering::Relaxed);
    let written = own.produced.load(Ordering::Acquire);
    let unread = written.wrapping_sub(read);
    if (TOKEN_RING as u64) < unread {
        return Err(Overrun { written, read });
    }
    let count = unread.min(max as u64);
    for position in 0..count {
        let [first, second] = &own.tokens[index(read.wrapping_add(position))];
        out.push([first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]);
    }
    if 0 < count {
        berth.consumed.store(read.wrapping_add(count), Ordering::Release);
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the ring's size")]
fn index(position: u64) -> usize {
    (position % TOKEN_RING as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::map::{Mapped, Writable};
    use super::*;

    fn pages() -> (Mapped<MasterPage, Writable>, Mapped<WorkerPage, Writable>) {
        let (_, master) = Mapped::create(c"master").unwrap();
        let (_, own) = Mapped::create(c"worker").unwrap();
        (master, own)
    }

    #[test]
    fn tokens_come_out_in_order_and_a_full_ring_takes_no_more() {
        let (master, own) = pages();
        let berth = &master.berths[3];
        let mut out = Vec::new();
        for round in 0..3_u64 {
            for number in 0..TOKEN_RING as u64 {
                push(&own, berth, [round, number]).unwrap();
            }
            assert_eq!(push(&own, berth, [9, 9]), Err(Full));
            drain(&own, berth, TOKEN_RING, &mut out).unwrap();
            assert!((0..).zip(&out).all(|(number, words)| *words == [round, number]));
            assert_eq!(out.len(), TOKEN_RING);
            out.clear();
        }
        assert!(!has_tokens(&own, berth));
    }

    #[test]
    fn the_bell_is_rung_only_for_a_sleeper_who_cares() {
        let (master, own) = pages();
        let berth = &master.berths[0];
        push(&own, berth, [1, 1]).unwrap();
        assert_eq!(after_push(&own, berth, &master), Bell::Silent);
        doze(&master, Doze::Waiting);
        assert_eq!(after_push(&own, berth, &master), Bell::Ring);
        doze(&master, Doze::Content);
        assert_eq!(after_push(&own, berth, &master), Bell::Silent);
        for _ in 1..TOKEN_RING_BELL {
            push(&own, berth, [1, 1]).unwrap();
        }
        assert_eq!(after_push(&own, berth, &master), Bell::Ring);
    }

    #[test]
    fn an_impossible_position_is_refused() {
        let (master, own) = pages();
        own.produced.store(TOKEN_RING as u64 + 1, Ordering::Relaxed);
        let refused = drain(&own, &master.berths[0], 8, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.written, TOKEN_RING as u64 + 1);
    }
}
