//! From actions to operations. Descriptors leave and return here.

use super::Master;
use super::host::{Host, SpawnRequest, SpawnedWorker};
use super::tags::Purpose;
use super::tickets::{WatchEnd, WhenBack};
use super::watches::ProcessWatches;
use crate::engine::action::{Presence, Strays};
use crate::engine::input::{Input, OfferRefusal};
use crate::io::{Backend, Op, WatchKind};
use crate::link::pages::{Order, Settled};
use crate::link::{Behind, Link, LinkPort};
use crate::units::{Generation, Mono, SlotId, Ticket, WorkerId};

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    pub(super) fn watch(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.take(ticket, WhenBack::Watch) {
            let token = self.backend.submit(
                Op::Readable { fd, watch: WatchKind::Standing },
                Purpose::Watch(ticket).tag(),
            );
            self.tickets.watched(ticket, token);
        }
    }

    pub(super) fn expire(&mut self, ticket: Ticket) {
        match self.tickets.watch_of(ticket) {
            Some(token) => {
                let shut_down = self.backend.expire(token);
                let end = if shut_down { WatchEnd::ShutDown } else { WatchEnd::Asked };
                self.tickets.is_to_end(ticket, end);
            }
            // Its watch has failed, and nothing will be heard of it.
            None => self.ensuing.push(Input::HungUp(ticket)),
        }
    }

    /// Has a worker's link offer it a connection.
    pub(super) fn offer(&mut self, ticket: Ticket, to: WorkerId, client: Presence) {
        if client == Presence::Doubtful
            && self.tickets.here(ticket).is_some_and(|fd| self.host.is_reset(fd))
        {
            let why = OfferRefusal::Abandoned;
            return self.ensuing.push(Input::Refused { ticket, why });
        }
        let worker = self.engine.supervisor().worker(to);
        let most = worker.map_or(u32::MAX, |worker| worker.terms.connections_max);
        let Self { links, backend, host, tickets, now, .. } = self;
        let Some(link) = links.get_mut(to) else { return };
        tickets.offered(ticket, to);
        match link.offer(ticket, most, tickets, port(to, backend, host, *now)) {
            Ok(()) => {}
            Err(Behind) => {
                let why = OfferRefusal::Full;
                self.settle_claim(ticket, to, Input::Refused { ticket, why });
            }
        }
    }

    /// Does something with a worker's link; nothing where that is gone.
    pub(super) fn with_link<R>(
        &mut self,
        worker: WorkerId,
        act: impl FnOnce(&mut Link<B::Fd>, LinkPort<'_, B, H::Pages>) -> R,
    ) -> Option<R> {
        let Self { links, backend, host, now, .. } = self;
        links.get_mut(worker).map(|link| act(link, port(worker, backend, host, *now)))
    }

    /// Sends what has gathered for workers in this turn, and wakes those that sleep over what they
    /// were told.
    pub(super) fn flush_links(&mut self) {
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                self.with_link(worker, Link::send_gathered);
            }
        }
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                self.with_link(worker, Link::wake_if_told);
            }
        }
    }

    /// Takes an offer back, if its worker has not claimed it. While its descriptor is on its way,
    /// nothing could be done with it: then the answer comes when it is back.
    pub(super) fn recall(&mut self, ticket: Ticket, from: WorkerId) {
        if !self.tickets.recall_when_back(ticket) {
            self.settle_claim(ticket, from, Input::Recalled(ticket));
        }
    }

    /// Settles whose an offered connection is: `back` happens if it is ours. Nothing happens where
    /// that has been settled before, as between a recall and its being carried out.
    pub(super) fn settle_claim(&mut self, ticket: Ticket, worker: WorkerId, back: Input) {
        if !self.tickets.is_open(ticket, worker) {
            return;
        }
        // Nobody can claim anything by a link that is gone.
        let settled =
            self.with_link(worker, |link, port| link.recall(ticket, port)).unwrap_or(Settled::Back);
        if settled == Settled::Forged {
            self.ensuing.push(Input::Violation(worker));
        }
        self.ensuing.push(match settled {
            Settled::Claimed => {
                self.tickets.claimed(ticket, worker);
                Input::TooLate(ticket)
            }
            Settled::Back | Settled::Forged => {
                self.tickets.taken_back(ticket, worker);
                back
            }
        });
    }

    /// Our copy goes.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.take(ticket, WhenBack::Release) {
            self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
        }
    }

    /// Our copy goes, and the ticket with it: others have the connection, and use it.
    pub(super) fn hand_over(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.take(ticket, WhenBack::HandOver) {
            self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
        }
        if !self.tickets.is_in_batch(ticket) {
            self.tickets.retire(ticket);
        }
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, strays: Strays) {
        if let Some(fd) = self.tickets.here(ticket) {
            self.host.refuse(fd);
        }
        self.retire(ticket, strays);
    }

    pub(super) fn retire(&mut self, ticket: Ticket, strays: Strays) {
        let copied = self.forget(ticket);
        if let Some(fd) = self.tickets.retire(ticket) {
            if strays == Strays::Possible || copied {
                self.host.shut_down(&fd);
            }
            self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
        }
    }

    pub(super) fn spawn(&mut self, worker: WorkerId, slot: SlotId, generation: Generation) {
        match self.host.spawn(SpawnRequest { worker, slot, generation }) {
            Ok(spawned) => self.started(worker, spawned),
            Err(_) => self.ensuing.push(Input::SpawnFailed(worker)),
        }
    }

    /// A ticket has ended: whoever has a copy lets it go. Returns whether anybody has.
    fn forget(&mut self, ticket: Ticket) -> bool {
        let mut copied = false;
        for index in 0..self.links.indices() {
            let Some(worker) = self.links.name_at(index) else { continue };
            let forgets = self.with_link(worker, |link, port| link.forget(ticket, port));
            copied |= forgets == Some(true);
        }
        copied
    }

    fn started(&mut self, worker: WorkerId, spawned: SpawnedWorker<B::Fd>) {
        let SpawnedWorker { ends, process, output, report, listeners } = spawned;
        for opened in listeners {
            self.listeners.add(opened, &mut self.backend);
        }
        let Self { links, watches, backend, host, now, .. } = self;
        links.insert(worker, Link::new(ends, port(worker, backend, host, *now)));
        watches.insert(worker, ProcessWatches::default());
        for (purpose, fd) in [
            (Purpose::Process(worker), process),
            (Purpose::Launch(worker), report),
            (Purpose::Output(worker), output),
        ] {
            self.watch_for(purpose, fd);
        }
    }

    pub(super) fn order(&mut self, worker: WorkerId, order: Order) {
        let signal = self.with_link(worker, |link, port| link.order(order, port));
        if let Some(signal) = signal.flatten() {
            self.host.signal(worker, signal);
        }
    }

    pub(super) fn release_worker(&mut self, worker: WorkerId) {
        self.host.release(worker);
        if let Some(ProcessWatches { report, output }) = self.watches.remove(worker) {
            self.keep_output(worker, output);
            if let Some(report) = report {
                self.backend.cancel(report);
            }
        }
        if let Some(link) = self.links.remove(worker) {
            link.end(&mut self.backend);
        }
    }
}

/// What the link of a worker acts upon.
fn port<'a, B: Backend, H: Host<Fd = B::Fd>>(
    worker: WorkerId,
    backend: &'a mut B,
    host: &'a mut H,
    now: Mono,
) -> LinkPort<'a, B, H::Pages> {
    let tag = |worker, op| Purpose::Link(worker, op).tag();
    LinkPort { worker, backend, pages: host.pages(), now, tag }
}
