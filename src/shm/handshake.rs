//! How a worker knows that what it finds was given to it. Before there is a worker, the master
//! writes into its page to whom the page belongs and which descriptors go with it. Whoever is told
//! by its environment that it is that worker compares, and takes it all by one swap. So a variable
//! that somebody made up gives nothing, and of two who are told the same, be it a program and one
//! that it has started, one has it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::layout::{HANDSHAKE_WORDS, HandshakeLine, LAYOUT, MAGIC, WorkerPage};

/// What a page does not show of what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// It is no page of a worker, or one of another build.
    Layout,
    /// It is another worker's.
    Note,
    /// The descriptor in this position is not the one that was given.
    Descriptor(usize),
    /// This process has taken it before.
    Taken(u32),
}

/// The master gives this to a worker that it is about to start: what the handshake says, and what
/// tells its descriptors apart, in their order.
pub fn give(page: &WorkerPage, handshake: [u64; HANDSHAKE_WORDS], marks: &[u64]) {
    let HandshakeLine { magic, layout, handshake: words, marks: places, taken_by } =
        &*page.handshake;
    layout.store(LAYOUT, Relaxed);
    for (place, word) in words.iter().zip(handshake) {
        place.store(word, Relaxed);
    }
    for (place, mark) in places.iter().zip(marks) {
        place.store(*mark, Relaxed);
    }
    taken_by.store(NOBODY, Relaxed);
    magic.store(MAGIC, Release);
}

/// Whether this was given, and nobody has taken it. A mark that is 0 on either side tells nothing.
///
/// # Errors
/// What is not as it was given.
pub fn check(
    page: &WorkerPage,
    handshake: [u64; HANDSHAKE_WORDS],
    marks: &[u64],
) -> Result<(), Mismatch> {
    let HandshakeLine { magic, layout, handshake: words, marks: places, taken_by } =
        &*page.handshake;
    if magic.load(Acquire) != MAGIC || layout.load(Relaxed) != LAYOUT {
        return Err(Mismatch::Layout);
    }
    if words.iter().zip(handshake).any(|(place, word)| place.load(Relaxed) != word) {
        return Err(Mismatch::Note);
    }
    match taken_by.load(Relaxed) {
        NOBODY => {}
        process => return Err(Mismatch::Taken(process)),
    }
    let differ = |(place, mark): (&std::sync::atomic::AtomicU64, &u64)| {
        let given = place.load(Relaxed);
        given != 0 && *mark != 0 && given != *mark
    };
    places.iter().zip(marks).position(differ).map_or(Ok(()), |at| Err(Mismatch::Descriptor(at)))
}

/// Takes what was given. `process` is whoever does.
///
/// # Errors
/// Who was faster.
pub fn take(page: &WorkerPage, process: u32) -> Result<(), Mismatch> {
    let swap = page.handshake.taken_by.compare_exchange(NOBODY, process, AcqRel, Acquire);
    swap.map(drop).map_err(Mismatch::Taken)
}

/// No process has this number.
const NOBODY: u32 = 0;

#[cfg(test)]
mod tests {
    use super::super::map::{Mapped, Writable};
    use super::*;

    const NOTE: [u64; HANDSHAKE_WORDS] = [1, 2, 3, 4];

    #[test]
    fn what_was_given_is_taken_once() {
        let (_, page) = Mapped::<WorkerPage, Writable>::create(c"worker").unwrap();
        assert_eq!(
            check(&page, [0; HANDSHAKE_WORDS], &[]),
            Err(Mismatch::Layout),
            "nobody gave it"
        );
        give(&page, NOTE, &[7, 0, 9]);
        let other = [1, 2, 3, 5];
        assert_eq!(check(&page, other, &[7, 8, 9]), Err(Mismatch::Note));
        assert_eq!(check(&page, NOTE, &[7, 8, 8]), Err(Mismatch::Descriptor(2)));
        assert_eq!(check(&page, NOTE, &[7, 8, 9]), Ok(()));
        assert_eq!(check(&page, NOTE, &[0, 8, 9]), Ok(()));
        assert_eq!(take(&page, 41), Ok(()));
        assert_eq!(take(&page, 42), Err(Mismatch::Taken(41)));
        assert_eq!(check(&page, NOTE, &[7, 8, 9]), Err(Mismatch::Taken(41)));
    }

    #[test]
    fn of_many_at_once_one_takes_it() {
        let (_, page) = Mapped::<WorkerPage, Writable>::create(c"worker").unwrap();
        give(&page, NOTE, &[]);
        let page = &*page;
        let takers = std::thread::scope(|scope| {
            let takers: Vec<_> =
                (1..9).map(|process| scope.spawn(move || take(page, process))).collect();
            takers.into_iter().filter_map(|taker| taker.join().unwrap().ok()).count()
        });
        assert_eq!(takers, 1);
    }
}
