//! `--overload reject`: those that ask for something when too many wait are refused at once, so
//! that they can go elsewhere. Those that have said nothing yet are not in their way, and go when
//! they have been silent for a second ([`SILENT_AFTER_FULL`]).
//!
//! It is decided at the end of a turn, when all that can be placed has been: a free worker is worth
//! more than room to wait.
//!
//! [`SILENT_AFTER_FULL`]: crate::limits::SILENT_AFTER_FULL

use super::super::action::{Action, Actions};
use super::Dispatcher;

/// What happens to connections beyond the hold limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overload {
    /// Accepting pauses; they wait in the kernel's backlog.
    Hold,
    /// They are accepted, and refused once they ask for something.
    Reject,
}

impl Dispatcher {
    /// Refuses whom there is no room for, the latest first, of those that have begun to ask in this
    /// turn. Whoever was let in before stays, also when a worker leaves it lying.
    pub(super) fn refuse_surplus(&mut self, out: &mut Actions) {
        match self.rules.overload {
            Overload::Hold => {}
            Overload::Reject => {
                while self.rules.hold_max < self.ledger.held() {
                    let Some(ticket) = self.ledger.latest_unsettled() else { break };
                    let strays = self.ledger.strike(ticket);
                    self.counters.rejected += 1;
                    out.push(Action::Refuse { ticket, strays });
                }
            }
        }
        self.ledger.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::Event;
    use super::super::super::input::{Exit, FirstSpeaker, Input, Message};
    use super::super::super::pair::Pair;
    use super::super::giveback::Dispatch;
    use super::super::policy::{Depth, Policy};
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    use crate::limits::SILENT_AFTER_FULL;
    use crate::units::{ListenerId, Route, Ticket};

    const JBSQ: Policy = Policy::Jbsq(Depth::Fixed(1));

    const fn ticket(index: u32) -> Ticket {
        Ticket { index, generation: 1 }
    }

    /// Two workers with a request each, and room for two that wait.
    fn busy() -> Pair {
        let mut pair = Pair::rejecting(JBSQ, Dispatch::Request, 2);
        for index in 0..2 {
            pair.asks(index, Route(1));
            pair.says(index as usize, Message::Claimed { transit_us: 0 });
        }
        pair
    }

    /// Who was refused, in order.
    fn refused(pair: &Pair) -> Vec<u32> {
        let index = |action: &Action| {
            if let Action::Refuse { ticket, .. } = action { Some(ticket.index) } else { None }
        };
        pair.others.iter().filter_map(index).collect()
    }

    fn connects(pair: &mut Pair, index: u32) {
        let (listener, first_speaker) = (ListenerId(0), FirstSpeaker::Client);
        pair.step(Input::Arrived { ticket: ticket(index), listener, first_speaker });
    }

    #[test]
    fn who_asks_when_too_many_ask_is_refused() {
        let mut pair = busy();
        for index in 2..6 {
            pair.asks(index, Route(1));
        }
        assert_eq!(refused(&pair), [4, 5]);
        assert_eq!(
            (
                pair.engine.dispatcher().ledger().held(),
                pair.engine.dispatcher().counters().rejected
            ),
            (2, 2)
        );
        assert!(pair.others.contains(&Action::Emit(Event::Hold { full: true })));
        pair.says(0, Message::Closed);
        pair.asks(6, Route(1));
        assert_eq!(refused(&pair), [4, 5], "there is room again");
    }

    #[test]
    fn who_says_nothing_is_in_nobodys_way_and_goes_soon() {
        let mut pair = busy();
        for index in 2..9 {
            connects(&mut pair, index);
        }
        pair.step(Input::Readable { ticket: ticket(7), route: None });
        pair.step(Input::Readable { ticket: ticket(8), route: None });
        assert_eq!((refused(&pair).len(), pair.engine.dispatcher().ledger().held()), (0, 2));
        pair.later(SILENT_AFTER_FULL);
        assert_eq!(
            (
                pair.engine.dispatcher().ledger().watched(),
                pair.engine.dispatcher().ledger().expiring()
            ),
            (0, 5)
        );
    }

    #[test]
    fn nobody_is_refused_for_whom_a_worker_is_free() {
        let mut pair = Pair::rejecting(JBSQ, Dispatch::Request, 1);
        let mut out = Actions::new();
        let first_speaker = FirstSpeaker::Server;
        for index in 0..4 {
            let input =
                Input::Arrived { ticket: ticket(index), listener: ListenerId(0), first_speaker };
            pair.engine.step(pair.now, input, &mut out);
        }
        pair.step(Input::Tick);
        assert_eq!((pair.offers.len(), refused(&pair)), (2, vec![3]));
    }

    #[test]
    fn who_was_let_in_stays_when_its_worker_dies() {
        let mut pair = Pair::rejecting(Policy::RoundRobin, Dispatch::Connection, 1);
        for index in 0..6 {
            pair.arrives(index);
        }
        let workers = pair.workers.clone();
        for worker in workers {
            pair.step(Input::Exited { worker, exit: Exit::Failed });
        }
        for index in 0..6 {
            pair.step(Input::Recalled(ticket(index)));
        }
        assert_eq!((pair.engine.dispatcher().ledger().held(), refused(&pair)), (6, vec![]));
        pair.arrives(6);
        assert_eq!(refused(&pair), [6]);
    }

    #[test]
    fn who_asks_again_is_refused_like_anybody_else() {
        let mut pair = busy();
        pair.says(0, Message::Idle { service_us: 9 });
        for index in 2..5 {
            pair.asks(index, Route(1));
        }
        pair.step(Input::Readable { ticket: ticket(0), route: None });
        assert_eq!(refused(&pair), [0]);
    }
}
