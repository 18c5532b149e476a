//! Whose an offered connection is: one word for each, which master and worker both swap. The worker
//! claims before its first read, the master recalls what is not claimed; whoever is first has it,
//! both know at once, and nobody waits for the other, who may be stopped.
//!
//! A word names the connection's generation, so that an offer which was recalled and still lies in
//! the worker's channel claims nothing of the index's next occupant. One that was recalled and is
//! offered again to the same worker may well be claimed by the older message: it is the same
//! connection. What a worker has given back it must claim again, like any other.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::layout::WorkerPage;
use crate::units::Ticket;

/// What an attempt to take an offer back comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settled {
    /// The worker had not claimed it, and cannot any more.
    Back,
    /// The worker has claimed it.
    Claimed,
    /// The word says what neither of us writes: the worker lies. Nothing is claimed by it.
    Forged,
}

const OFFERED: u64 = 1;
const CLAIMED: u64 = 2;
const NOBODYS: u64 = 0;

/// The master offers the connection: it may be claimed from now on.
pub fn offer(page: &WorkerPage, ticket: Ticket) {
    if let Some(word) = page.claims.get(ticket.index()) {
        word.store(mark(ticket, OFFERED), Release);
    }
}

/// The worker takes the connection, if it is still offered.
pub fn claim(page: &WorkerPage, ticket: Ticket) -> bool {
    let (offered, claimed) = (mark(ticket, OFFERED), mark(ticket, CLAIMED));
    let word = page.claims.get(ticket.index());
    word.is_some_and(|word| word.compare_exchange(offered, claimed, AcqRel, Relaxed).is_ok())
}

/// The master takes the connection back, if it is not claimed.
pub fn recall(page: &WorkerPage, ticket: Ticket) -> Settled {
    let Some(word) = page.claims.get(ticket.index()) else { return Settled::Forged };
    match word.compare_exchange(mark(ticket, OFFERED), NOBODYS, AcqRel, Acquire) {
        Ok(_) => Settled::Back,
        Err(found) if found == mark(ticket, CLAIMED) => Settled::Claimed,
        Err(_) => {
            word.store(NOBODYS, Release);
            Settled::Forged
        }
    }
}

const fn mark(ticket: Ticket, mark: u64) -> u64 {
    (ticket.generation as u64) << 2 | mark
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::super::map::{Mapped, Writable};
    use super::*;

    const TICKET: Ticket = Ticket { index: 7, generation: 3 };

    fn page() -> Mapped<WorkerPage, Writable> {
        Mapped::create(c"worker").unwrap().1
    }

    #[test]
    fn what_is_claimed_is_not_recalled_and_what_is_recalled_is_not_claimed() {
        let page = page();
        assert!(!claim(&page, TICKET), "nobody offered it");
        offer(&page, TICKET);
        assert!(claim(&page, TICKET));
        assert!(!claim(&page, TICKET), "once");
        assert_eq!(recall(&page, TICKET), Settled::Claimed);
        offer(&page, TICKET);
        assert_eq!(recall(&page, TICKET), Settled::Back);
        assert!(!claim(&page, TICKET));
    }

    #[test]
    fn an_old_message_claims_nothing_of_the_next_occupant() {
        let page = page();
        offer(&page, Ticket { generation: 4, ..TICKET });
        assert!(!claim(&page, TICKET));
        assert!(!claim(&page, Ticket { index: u32::MAX, generation: 0 }));
        assert!(claim(&page, Ticket { generation: 4, ..TICKET }));
    }

    #[test]
    fn a_forged_word_gives_the_liar_nothing() {
        let page = page();
        offer(&page, TICKET);
        page.claims[TICKET.index()].store(99, Relaxed);
        assert_eq!(recall(&page, TICKET), Settled::Forged);
        assert!(!claim(&page, TICKET));
    }

    #[test]
    fn of_two_at_once_one_has_it() {
        const ROUNDS: u32 = 5_000;
        let (memory, page) = Mapped::<WorkerPage, Writable>::create(c"worker").unwrap();
        // Told apart from the words, so that a wrong word fails the test and does not hold it up.
        let round = AtomicU32::new(0);
        let claims = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let own = Mapped::<WorkerPage, Writable>::open(&memory).unwrap();
                let mut claims = 0;
                for generation in 1..=ROUNDS {
                    while round.load(Acquire) < generation {
                        std::thread::yield_now();
                    }
                    claims += u32::from(claim(&own, Ticket { index: 1, generation }));
                }
                claims
            });
            let mut recalls = 0;
            for generation in 1..=ROUNDS {
                let ticket = Ticket { index: 1, generation };
                offer(&page, ticket);
                round.store(generation, Release);
                // Now and then the worker gets the time that it needs.
                let patience = if generation.is_multiple_of(8) { 10_000 } else { generation % 3 };
                for _ in 0..patience {
                    if page.claims[1].load(Acquire) != mark(ticket, OFFERED) {
                        break;
                    }
                    std::thread::yield_now();
                }
                recalls += u32::from(recall(&page, ticket) == Settled::Back);
            }
            (worker.join().unwrap(), recalls)
        });
        let (claims, recalls) = claims;
        assert_eq!(claims + recalls, ROUNDS);
        assert!(0 < claims && 0 < recalls, "{claims} claims and {recalls} recalls");
    }
}
