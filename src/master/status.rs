//! The picture of the whole, for whoever asks on the control socket.

use super::accounts::Account;
use super::control::Clients;
use super::telemetry;
use super::world::LinuxHost;
use crate::config::{policy, words};
use crate::engine::Engine;
use crate::engine::dispatcher::demand::Class;
use crate::engine::supervisor::worker::{WorkerRecord, WorkerState};
use crate::sys::clock;
use crate::units::{GiveBack, SlotId, WorkerId};
use crate::wire::control::{ClassesStatus, Hold, Status, Totals, WorkerStatus};
use crate::wire::words::{Phase, Standing};

/// A process, its slot, and what it has done so far.
type StatusRow = (WorkerId, SlotId, Account);

impl LinuxHost {
    pub(super) fn status(&mut self, engine: &Engine, clients: &Clients) -> Status {
        let about = clients.about();
        let (have, want) = engine.supervisor().strength();
        let phase = match (engine.supervisor().is_stopping(), have) {
            (true, _) => Phase::Stopping,
            (false, 0) => Phase::Starting,
            (false, _) => Phase::Serving,
        };
        let accounts = self.accounts();
        let now = clock::monotonic();
        Status {
            name: about.name.clone(),
            version: String::from(env!("CARGO_PKG_VERSION")),
            pid: std::process::id(),
            uptime_s: now.since(about.started_at).as_us() / 1_000_000,
            backend: about.backend.clone(),
            backend_reason: about.backend_reason.clone(),
            policy: policy::name(engine.dispatcher().rules().policy),
            dispatch: String::from(words::word_of(
                engine.dispatcher().dispatch(),
                &words::DISPATCHES,
            )),
            spreads_requests: engine.dispatcher().give_back() == GiveBack::Always,
            classes: classes(engine, words::word_of(self.classes(), &words::CLASSES)),
            listeners: about.listeners.clone(),
            generation: engine.supervisor().generation().0,
            phase: String::from(phase.word()),
            reload: self.last_reload().map(|reload| reload.told(now)),
            have,
            want,
            hold: hold(engine),
            totals: self.totals(engine, &accounts),
            workers: self.workers(engine, &accounts),
        }
    }

    /// Every process, and every slot that waits for one; the elder first.
    fn workers(&mut self, engine: &Engine, accounts: &[StatusRow]) -> Vec<WorkerStatus> {
        let vacant = engine.supervisor().vacant_slots().map(|(slot, _)| WorkerStatus {
            state: String::from(Standing::Vacant.word()),
            generation: engine.supervisor().generation().0,
            ..self.slot_status(engine, slot)
        });
        let mut workers: Vec<WorkerStatus> = vacant.collect();
        for (id, worker) in engine.supervisor().workers() {
            let entry = accounts.iter().find(|(other, ..)| *other == id);
            let account = entry.map_or_else(Account::default, |(.., account)| *account);
            workers.push(self.worker_status(engine, id, worker, account));
        }
        workers
            .sort_by_key(|worker| (worker.worker, worker.pid == 0, worker.generation, worker.pid));
        self.add_the_past(engine, accounts, &mut workers);
        workers
    }

    /// What is known of a slot, whoever has it.
    fn slot_status(&self, engine: &Engine, slot: SlotId) -> WorkerStatus {
        let restarts = engine.supervisor().slots().find(|(other, _)| *other == slot);
        WorkerStatus {
            worker: slot.0,
            cpu: self.cpu_of(slot),
            restarts: restarts.map_or(0, |(_, restarts)| restarts),
            last_exit: self.last_exit(slot).map(String::from),
            ..WorkerStatus::default()
        }
    }

    fn worker_status(
        &mut self,
        engine: &Engine,
        id: WorkerId,
        worker: &WorkerRecord,
        account: Account,
    ) -> WorkerStatus {
        let load = self.load_of(id);
        let offered = engine.dispatcher().member(id).map_or(0, |member| member.offered);
        WorkerStatus {
            pid: self.process(id).map_or(0, |process| process.pid),
            state: String::from(standing(worker).word()),
            cpu: self.bound_to(id),
            generation: worker.generation.0,
            connections: load.connections,
            in_flight: offered + load.in_flight,
            accepted: account.accepted,
            requests: account.requests,
            wakes: account.wakes,
            rings: account.rings,
            ..self.slot_status(engine, worker.slot)
        }
    }

    /// What has been done in a slot by those that are gone stands with the eldest that is there, so
    /// that neither a process nor a slot ever shows less than before.
    fn add_the_past(&self, engine: &Engine, accounts: &[StatusRow], workers: &mut [WorkerStatus]) {
        let mut before = None;
        for worker in workers {
            let slot = SlotId(worker.worker);
            if before.replace(slot) == Some(slot) {
                continue;
            }
            // Some are gone, and will be buried in this very turn.
            let gone = accounts.iter().filter(|(id, other, _)| {
                *other == slot && !engine.supervisor().workers().any(|(known, _)| known == *id)
            });
            let past = gone.fold(self.past().of(slot), |sum, (.., account)| sum.plus(*account));
            worker.accepted = worker.accepted.saturating_add(past.accepted);
            worker.requests = worker.requests.saturating_add(past.requests);
            worker.wakes = worker.wakes.saturating_add(past.wakes);
            worker.rings = worker.rings.saturating_add(past.rings);
        }
    }

    fn totals(&self, engine: &Engine, accounts: &[StatusRow]) -> Totals {
        let counters = engine.dispatcher().counters();
        let done = accounts.iter().fold(self.past().total(), |sum, (.., one)| sum.plus(*one));
        Totals {
            arrived: counters.arrived,
            closed: counters.closed,
            hung_up: counters.hung_up,
            rejected: counters.rejected,
            expired: counters.expired,
            lost: counters.lost,
            recovered: counters.recovered,
            recalled: counters.recalled,
            given_back: counters.given_back,
            left_behind: engine.supervisor().left_behind(),
            log_lines_dropped: telemetry::lines_dropped(),
            accepted: done.accepted,
            requests: done.requests,
            wakes: done.wakes,
            rings: done.rings,
        }
    }
}

/// One that is stopped says so, unless it is on its way out: then that matters more.
const fn standing(worker: &WorkerRecord) -> Standing {
    match (worker.state, worker.stopped) {
        (
            WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Ready
            | WorkerState::Draining { .. },
            true,
        ) => Standing::Stopped,
        (WorkerState::Launching { .. }, false) => Standing::Launching,
        (WorkerState::Starting { .. }, false) => Standing::Starting,
        (WorkerState::Ready, false) => Standing::Ready,
        (WorkerState::Draining { .. }, false) => Standing::Draining,
        (WorkerState::Terminating { .. }, _) => Standing::Terminating,
        (WorkerState::Killing { .. }, _) => Standing::Killing,
        (WorkerState::Reclaiming, _) => Standing::Reclaiming,
    }
}

fn hold(engine: &Engine) -> Hold {
    let ledger = engine.dispatcher().ledger();
    Hold {
        held: ledger.held(),
        watched: ledger.watched(),
        offered: ledger.offered(),
        parked: ledger.parked(),
        limit: engine.dispatcher().rules().hold_max,
    }
}

fn classes(engine: &Engine, by: &str) -> ClassesStatus {
    let (routes, long_routes) = engine.dispatcher().classes().routes();
    ClassesStatus {
        by: String::from(by),
        routes,
        long_routes,
        held_long: engine.dispatcher().ledger().held_of(Class::Long),
        reserved: engine.dispatcher().classes().reserved(),
    }
}
