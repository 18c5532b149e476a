//! What a process does with a connection that it has begun with: it answers, waits for more, gives
//! it back, closes it.

use super::faults::{Crash, Sabotage, between, strikes};
use super::job::{Job, ServiceStage};
use super::process::ProcessId;
use super::verb::Verb;
use super::workload::ClientStay;
use super::world::{Happening, World};
use crate::link::pages::Order;
use crate::units::{GiveBack, Span, Ticket};
use crate::wire::message::WorkerMessage;

impl World {
    /// The next step of a connection's service.
    pub(super) fn works(&mut self, process: ProcessId, connection: usize) {
        if !self.runs(process) {
            if self.processes[process].ended.is_none() {
                // It is stopped: later.
                self.plan_in(Span::from_ms(2), Happening::Works(process, connection));
            }
            return;
        }
        let jobs = &self.processes[process].jobs;
        let Some(at) = jobs.iter().position(|job| job.connection == connection) else { return };
        match jobs[at].stage {
            ServiceStage::First => self.first_ends(process, at),
            ServiceStage::Owing => self.client_pays(process, at),
            ServiceStage::Idle => self.idles(process, at),
            ServiceStage::Later => {
                self.processes[process].load.in_flight -= 1;
                self.answers(process, at);
                let Job { pinned, ticket, .. } = self.processes[process].jobs[at];
                if pinned {
                    self.processes[process].running -= 1;
                    self.says_of(process, ticket, WorkerMessage::Pinned);
                }
                self.rests(process, at, 0);
            }
        }
        self.look_soon(process);
    }

    /// It waits for the next request of a connection of its own.
    fn idles(&mut self, process: ProcessId, at: usize) {
        let connection = self.processes[process].jobs[at].connection;
        if self.connections[connection].has_input() {
            let requests = self.connections[connection].take_input();
            let this = &mut self.processes[process];
            (this.jobs[at].stage, this.jobs[at].requests) = (ServiceStage::Later, requests);
            this.jobs[at].since = self.now;
            this.load.in_flight += 1;
            let Job { pinned, ticket, .. } = this.jobs[at];
            if pinned {
                this.running += 1;
                self.says_of(process, ticket, WorkerMessage::Resumed);
            }
            return self.works_later(process, connection);
        }
        if self.connections[connection].hung_up || self.rng.chance(1, 8) {
            let job = self.processes[process].jobs.swap_remove(at);
            return self.closes(process, job);
        }
        self.rests(process, at, 0);
    }

    /// All that was read is answered: the connection goes back, or its next request is waited for.
    fn rests(&mut self, process: ProcessId, at: usize, service_us: u32) {
        let job = self.processes[process].jobs[at];
        match job.ticket {
            Some(ticket) if self.is_to_go_back(process, &job) => {
                if self.processes[process].nature.crash == Some(Crash::Answered) {
                    return self.dies(process, false);
                }
                let job = self.processes[process].jobs.swap_remove(at);
                self.gives_back(process, job, ticket, service_us);
            }
            Some(ticket) if 0 < service_us => {
                self.processes[process].jobs[at].stage = ServiceStage::Idle;
                self.sends_message(process, WorkerMessage::Done { ticket, service_us });
                self.works_later(process, job.connection);
            }
            Some(_) | None => {
                self.processes[process].jobs[at].stage = ServiceStage::Idle;
                self.works_later(process, job.connection);
            }
        }
    }

    pub(super) fn is_to_go_back(&self, process: ProcessId, job: &Job) -> bool {
        let leaving = self.processes[process].order != Order::Serve;
        let wanted = match self.give_back {
            GiveBack::Never => false,
            GiveBack::WhenLeaving => leaving,
            GiveBack::Always => true,
        };
        wanted && !job.pinned && job.ticket.is_some()
    }

    pub(super) fn gives_back(
        &mut self,
        process: ProcessId,
        job: Job,
        ticket: Ticket,
        service_us: u32,
    ) {
        self.did(process, Verb::GivesBack, job.connection as u64);
        let this = &mut self.processes[process];
        this.load.connections -= 1;
        this.copies.insert(ticket, job.copy);
        self.connections[job.connection].owner = None;
        self.sends_message(process, WorkerMessage::Idle { ticket, service_us });
        if self.sabotage == Some(Sabotage::AnswerLate) && strikes(&mut self.rng, 20) {
            self.judge_answer(process, job.connection, 1);
        }
        if self.processes[process].nature.crash == Some(Crash::GivenBack) {
            let soon = between(&mut self.rng, Span::ZERO, Span::from_ms(5));
            self.plan_in(soon, Happening::Dies(process, false));
        }
    }

    /// It answers all that it has read of a connection.
    fn answers(&mut self, process: ProcessId, at: usize) {
        let job = &mut self.processes[process].jobs[at];
        let (connection, requests) = (job.connection, std::mem::take(&mut job.requests));
        let took = self.now.since(job.since);
        let load = &mut self.processes[process].load;
        load.finished += u64::from(requests);
        load.busy = load.busy.plus(took);
        load.squares += took.squared_us2() / u64::from(requests.max(1));
        self.did(process, Verb::Answers, connection as u64);
        self.judge_answer(process, connection, requests);
    }

    fn works_later(&mut self, process: ProcessId, connection: usize) {
        let most = self.processes[process].nature.service;
        let after = between(&mut self.rng, Span::from_us(50), most);
        self.plan_in(after, Happening::Works(process, connection));
    }

    fn first_ends(&mut self, process: ProcessId, at: usize) {
        let Job { connection, ticket, since, requests, .. } = self.processes[process].jobs[at];
        let silent = requests == 0;
        let owes = self.rng.chance(1, 6) || silent && !self.connections[connection].hung_up;
        let this = &mut self.processes[process];
        this.running -= 1;
        this.load.in_flight -= 1;
        if owes {
            this.jobs[at].stage = ServiceStage::Owing;
            self.says_of(process, ticket, WorkerMessage::Waiting);
            let after = between(&mut self.rng, Span::from_us(100), Span::from_ms(20));
            return self.plan_in(after, Happening::Works(process, connection));
        }
        self.answers(process, at);
        let (keeps, pins) = match self.scenario.stay {
            ClientStay::Never => (false, false),
            ClientStay::Mixed => {
                let keeps = self.rng.chance(4, 5);
                (keeps, keeps && self.rng.chance(1, 6))
            }
            ClientStay::Always => (true, false),
        };
        let service_us = u32::try_from(self.now.since(since).as_us()).unwrap_or(u32::MAX);
        if pins {
            self.says_of(process, ticket, WorkerMessage::Pinned);
            self.processes[process].jobs[at].pinned = true;
            self.rests(process, at, 0);
        } else if keeps {
            self.rests(process, at, service_us.max(1));
        } else {
            self.says_of(process, ticket, |ticket| WorkerMessage::Done { ticket, service_us });
            let job = self.processes[process].jobs.swap_remove(at);
            self.closes(process, job);
        }
    }

    /// The bytes that were owed have come, or never will.
    fn client_pays(&mut self, process: ProcessId, at: usize) {
        let Job { connection, ticket, .. } = self.processes[process].jobs[at];
        let Self { connections, scenario, .. } = self;
        let gives_up = connections[connection].hung_up
            || connections[connection].asked == 0 && scenario.calm_from < self.now;
        if gives_up {
            let job = self.processes[process].jobs.swap_remove(at);
            return self.closes(process, job);
        }
        if self.connections[connection].has_input() {
            let more = self.connections[connection].take_input();
            self.processes[process].jobs[at].requests += more;
        }
        if 0 < self.processes[process].jobs[at].requests {
            let this = &mut self.processes[process];
            (this.jobs[at].stage, this.jobs[at].since) = (ServiceStage::First, self.now);
            this.running += 1;
            this.load.in_flight += 1;
            self.says_of(process, ticket, WorkerMessage::Resumed);
        }
        self.works_later(process, connection);
    }

    pub(super) fn closes(&mut self, process: ProcessId, job: Job) {
        self.did(process, Verb::Closes, job.connection as u64);
        let this = &mut self.processes[process];
        this.load.connections -= 1;
        self.says_of(process, job.ticket, WorkerMessage::Closed);
        if job.ticket.is_some() {
            self.connections[job.connection].shut = true;
        }
        self.close(job.copy);
    }

    fn says_of(
        &mut self,
        process: ProcessId,
        ticket: Option<Ticket>,
        message: impl FnOnce(Ticket) -> WorkerMessage,
    ) {
        if let Some(ticket) = ticket {
            self.sends_message(process, message(ticket));
        }
    }
}
