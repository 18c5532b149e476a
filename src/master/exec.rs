//! From actions to operations. Descriptors leave and return here.

use super::Master;
use super::host::{ConnEvent, Host, Settled, SpawnRequest, SpawnedWorker};
use super::links::Link;
use super::tags::Purpose;
use super::tickets::{WatchEnd, WhenBack};
use crate::engine::action::{Presence, Strays};
use crate::engine::input::{Input, OfferRefusal};
use crate::io::{Backend, Batch, Op, Role, WatchKind};
use crate::limits::BATCH_MAX;
use crate::shm::layout::Order;
use crate::units::{AppId, Generation, SlotId, Ticket, WorkerId};
use crate::wire::batch::{BatchKind, Header};

/// There is one app today.
const APP: AppId = AppId(0);

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

    /// Tells a worker that has been given the connection before, or packs it for one that has not:
    /// what goes to one worker in one turn travels together.
    pub(super) fn offer(&mut self, ticket: Ticket, to: WorkerId, client: Presence) {
        if client == Presence::Doubtful
            && self.tickets.here(ticket).is_some_and(|fd| self.host.is_reset(fd))
        {
            let why = OfferRefusal::Abandoned;
            return self.ensuing.push(Input::Refused { ticket, why });
        }
        let Some(link) = self.links.get_mut(to) else { return };
        let known = link.copies.has(ticket);
        if !known {
            self.make_room(to);
        }
        self.host.conn_record(ticket, ConnEvent::Offered(to, self.now));
        self.host.offer(to, ticket);
        self.tickets.offered(ticket, to);
        match known {
            true if self.tell_of_offer(to, ticket) => {}
            false if self.pack(to, ticket) => {}
            // It has not read for long what it was told.
            true | false => {
                let why = OfferRefusal::Full;
                self.settle_claim(ticket, to, Input::Refused { ticket, why });
            }
        }
    }

    /// Packs a connection for a worker; false while the worker has not read what it was told.
    fn pack(&mut self, to: WorkerId, ticket: Ticket) -> bool {
        let Some(link) = self.links.get_mut(to) else { return false };
        if !link.unsent.is_empty() {
            return false;
        }
        let Some(fd) = self.tickets.send(ticket) else { return false };
        link.copies.add(ticket);
        let packed = link.packed.get_or_insert_with(|| Batch::new(header(BatchKind::Offer)));
        packed.push(ticket, fd);
        if packed.fds.len() == BATCH_MAX {
            self.send_packed_to(to);
        }
        true
    }

    /// Sends what has been packed this turn.
    pub(super) fn send_packed(&mut self) {
        for index in 0..self.links.indices() {
            if let Some(worker) = self.links.name_at(index) {
                self.send_packed_to(worker);
            }
        }
    }

    fn send_packed_to(&mut self, worker: WorkerId) {
        let Some(link) = self.links.get_mut(worker) else { return };
        let Some(batch) = link.packed.take() else { return };
        // It wakes by itself, and what comes with it is read before it.
        link.wants_doorbell = false;
        let op = Op::Handoff { channel: link.channel, batch };
        self.backend.submit(op, Purpose::Batch(worker).tag());
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
        let settled = self.host.recall(worker, ticket);
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

    fn started(&mut self, worker: WorkerId, spawned: SpawnedWorker<B::Fd>) {
        let SpawnedWorker { channel, hangup, doorbell, process, output, report, listeners } =
            spawned;
        for opened in listeners {
            self.listeners.add(opened, &mut self.backend);
        }
        let channel = self.backend.adopt(channel, Role::Channel);
        let doorbell = self.backend.adopt(doorbell, Role::Doorbell);
        self.links.insert(worker, Link::new(channel, doorbell));
        self.listen_to_doorbell(worker);
        for (purpose, fd) in [
            (Purpose::Process(worker), process),
            (Purpose::Launch(worker), report),
            (Purpose::Output(worker), output),
            (Purpose::Channel(worker), hangup),
        ] {
            self.watch_for(purpose, fd);
        }
    }

    pub(super) fn drain(&mut self, worker: WorkerId) {
        self.host.order(worker, Order::Drain);
        self.wake(worker);
    }

    /// A message without descriptors. If the channel is full, the worker is on its way to look
    /// anyway.
    pub(super) fn wake(&mut self, worker: WorkerId) {
        let Some(link) = self.links.get_mut(worker) else { return };
        self.host.woke(worker);
        let op = Op::Handoff { channel: link.channel, batch: Batch::new(header(BatchKind::Look)) };
        self.backend.submit(op, Purpose::Batch(worker).tag());
    }

    pub(super) fn release_worker(&mut self, worker: WorkerId) {
        self.host.release(worker);
        let Some(link) = self.links.remove(worker) else { return };
        self.keep_output(worker, link.output);
        for watch in [link.report, link.hangup].into_iter().flatten() {
            self.backend.cancel(watch);
        }
        for source in [link.doorbell, link.channel] {
            drop(self.backend.release(source));
        }
    }
}

fn header(kind: BatchKind) -> u64 {
    Header { app: APP, kind }.encode()
}
