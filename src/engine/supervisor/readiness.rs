//! When a program is ready: when it says hello, or, where it cannot say anything, when it has run
//! for so long. Most likely a program that should say hello and does not knows nothing of
//! dispatchd, and whoever started it is better told so within seconds than when patience ends.

use super::super::action::Actions;
use super::super::capabilities::Readiness;
use super::super::event::Event;
use super::super::input::Terms;
use super::Supervisor;
use super::worker::{Cue, WorkerState};
use crate::limits::HELLO_EXPECTED;
use crate::units::{Mono, WorkerId};

/// Those of a worker that serves no connections.
const NO_TERMS: Terms = Terms { concurrency: 1, connections_max: 1 };

impl Supervisor {
    /// A process has become its program.
    pub(in super::super) fn executed(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        self.cue(now, id, Cue::Executed, out);
        let Some(worker) = self.worker_mut(id) else { return };
        match worker.capabilities.readiness {
            Readiness::Said => worker.hello_by = Some(now.after(HELLO_EXPECTED)),
            Readiness::After(span) => worker.ready_at = Some(now.after(span)),
        }
    }

    /// Has those be ready that have run for long enough, and tells, once of each, of those that
    /// should have said hello by now.
    pub(super) fn tick_readiness(&mut self, now: Mono, out: &mut Actions) {
        for index in 0..self.workers.indices() {
            let Some(id) = self.workers.name_at(index) else { continue };
            let Some(worker) = self.workers.get_mut(id) else { continue };
            if worker.hello_by().is_some_and(|by| by <= now) {
                worker.hello_by = None;
                let slot = worker.slot;
                out.emit(Event::Unspoken { worker: id, slot });
            }
            if worker.ready_at.take_if(|at| *at <= now).is_some() {
                self.hello(now, id, NO_TERMS, out);
            }
        }
    }
}

impl super::worker::WorkerRecord {
    /// When it is told that it has not said hello, if it does not until then.
    pub(super) const fn hello_by(&self) -> Option<Mono> {
        match self.state {
            WorkerState::Starting { .. } => self.hello_by,
            WorkerState::Launching { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. }
            | WorkerState::Terminating { .. }
            | WorkerState::Killing { .. }
            | WorkerState::Reclaiming => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::action::Action;
    use super::super::super::capabilities::Capabilities;
    use super::super::super::dispatcher::policy::Policy;
    use super::super::super::input::{Exit, Input, Terms};
    use super::super::super::pair::Pair;
    use super::*;
    use crate::units::Span;

    /// A pair, and a worker that takes the place of one of the two and is its program.
    fn pair_with_a_newcomer() -> (Pair, WorkerId) {
        let mut pair = Pair::new(Policy::RoundRobin);
        let gone = pair.workers[0];
        pair.step(Input::Exited { worker: gone, exit: Exit::Failed });
        let is_spawn = |action: &&Action| matches!(action, Action::Spawn { .. });
        let Some(Action::Spawn { worker, .. }) = pair.others.iter().find(is_spawn).copied() else {
            panic!("its slot is filled again")
        };
        pair.step(Input::Executed(worker));
        (pair, worker)
    }

    fn times_told(pair: &Pair) -> usize {
        let told = |action: &&Action| matches!(action, Action::Emit(Event::Unspoken { .. }));
        pair.others.iter().filter(told).count()
    }

    #[test]
    fn who_cannot_say_hello_is_ready_when_it_has_run_for_so_long_and_not_when_it_has_died() {
        let span = Span::from_ms(300);
        let readiness = Readiness::After(span);
        let mut pair = Pair::linked(Capabilities { readiness, ..Capabilities::FULL });
        let [first, second] = pair.workers[..] else { panic!("there are two") };
        pair.step(Input::Executed(first));
        pair.later(span.less(Span::from_ms(1)));
        pair.step(Input::Executed(second));
        assert_eq!(pair.engine.supervisor().strength(), (0, 2));
        assert_eq!(pair.engine.deadline(), Some(pair.now.after(Span::from_ms(1))));
        pair.later(Span::from_ms(1));
        assert_eq!(pair.engine.supervisor().strength(), (1, 2));
        pair.step(Input::Exited { worker: second, exit: Exit::Failed });
        pair.later(span);
        assert_eq!(pair.engine.supervisor().strength(), (1, 2), "another is not its program yet");
        assert_eq!(times_told(&pair), 0, "it was not to say anything");
    }

    #[test]
    fn who_does_not_say_hello_is_told_of_once() {
        let (mut pair, _) = pair_with_a_newcomer();
        assert_eq!(pair.engine.deadline(), Some(pair.now.after(HELLO_EXPECTED)));
        pair.later(HELLO_EXPECTED.less(Span::from_ms(1)));
        assert_eq!(times_told(&pair), 0);
        pair.later(Span::from_ms(1));
        pair.later(Span::from_s(1));
        assert_eq!(times_told(&pair), 1);
    }

    #[test]
    fn who_has_said_hello_or_is_gone_is_not() {
        let (mut pair, newcomer) = pair_with_a_newcomer();
        let terms = Terms { concurrency: 1, connections_max: 9 };
        pair.step(Input::Hello { worker: newcomer, terms });
        pair.later(HELLO_EXPECTED);
        assert_eq!(times_told(&pair), 0);
        let (mut pair, newcomer) = pair_with_a_newcomer();
        pair.step(Input::Exited { worker: newcomer, exit: Exit::Failed });
        pair.later(HELLO_EXPECTED);
        assert_eq!(times_told(&pair), 0);
    }
}
