//! The picture of the whole, for whoever asks on the control socket.

use super::control::Clients;
use super::host::Host;
use super::telemetry;
use super::world::World;
use crate::config::{policy, words};
use crate::engine::Engine;
use crate::engine::classes::Class;
use crate::engine::worker::Worker;
use crate::sys::clock;
use crate::units::{GiveBack, WorkerId};
use crate::wire::control::{Classes, Hold, Status, Totals, WorkerStatus};

impl World {
    pub(super) fn status(&mut self, engine: &Engine, clients: &Clients) -> Status {
        let about = clients.about();
        let (have, want) = engine.strength();
        let phase = match (engine.is_stopping(), have) {
            (true, _) => "stopping",
            (false, 0) => "starting",
            (false, _) => "serving",
        };
        let mut workers: Vec<WorkerStatus> =
            engine.workers().map(|(id, worker)| self.worker_status(engine, id, worker)).collect();
        workers.extend(engine.vacant_seats().map(|(seat, restarts)| WorkerStatus {
            worker: seat.0,
            pid: 0,
            state: String::from("vacant"),
            cpu: self.cpu_of(seat),
            generation: engine.generation().0,
            connections: 0,
            in_flight: 0,
            accepted: 0,
            requests: 0,
            wakes: 0,
            rings: 0,
            restarts,
            last_exit: self.last_exit(seat).map(String::from),
        }));
        workers.sort_by_key(|worker| (worker.worker, worker.generation, worker.pid));
        Status {
            name: about.name.clone(),
            version: String::from(env!("CARGO_PKG_VERSION")),
            pid: std::process::id(),
            uptime_s: clock::monotonic().since(about.started_at).as_us() / 1_000_000,
            backend: about.backend.clone(),
            backend_reason: about.backend_reason.clone(),
            policy: policy::name(engine.policy()),
            dispatch: String::from(words::word_of(engine.dispatch(), &words::DISPATCHES)),
            spreads_requests: engine.give_back() == GiveBack::Always,
            classes: classes(engine, words::word_of(self.classes(), &words::CLASSES)),
            listeners: about.listeners.clone(),
            generation: engine.generation().0,
            phase: String::from(phase),
            have,
            want,
            hold: hold(engine),
            totals: totals(engine),
            workers,
        }
    }

    fn worker_status(&mut self, engine: &Engine, id: WorkerId, worker: &Worker) -> WorkerStatus {
        let load = self.load(id);
        let restarts = engine.seats().find(|(seat, _)| *seat == worker.seat);
        WorkerStatus {
            worker: worker.seat.0,
            pid: self.member(id).map_or(0, |member| member.pid),
            state: String::from(worker.state.name()),
            cpu: self.bound_to(id),
            generation: worker.generation.0,
            connections: load.connections,
            in_flight: worker.offered + load.in_flight,
            accepted: self.member(id).map_or(0, |member| member.accepted()),
            requests: load.finished,
            wakes: self.wakes(id),
            rings: self.member(id).map_or(0, |member| member.rings()),
            restarts: restarts.map_or(0, |(_, restarts)| restarts),
            last_exit: self.last_exit(worker.seat).map(String::from),
        }
    }
}

fn hold(engine: &Engine) -> Hold {
    let ledger = engine.ledger();
    Hold {
        held: ledger.held(),
        watched: ledger.watched(),
        offered: ledger.offered(),
        parked: ledger.parked(),
        limit: engine.hold_max(),
    }
}

fn classes(engine: &Engine, by: &str) -> Classes {
    let (routes, long_routes) = engine.classes().routes();
    Classes {
        by: String::from(by),
        routes,
        long_routes,
        held_long: engine.ledger().held_of(Class::Long),
        reserved: engine.classes().reserved(),
    }
}

fn totals(engine: &Engine) -> Totals {
    let counters = engine.counters();
    Totals {
        arrived: counters.arrived,
        closed: counters.closed,
        rejected: counters.rejected,
        lost: counters.lost,
        recovered: counters.recovered,
        recalled: counters.recalled,
        given_back: counters.given_back,
        left_behind: counters.left_behind,
        log_lines_dropped: telemetry::lines_dropped(),
    }
}
