//! From actions to operations. Descriptors leave and return here.

use super::Master;
use super::crew::{Hand, RECLAIM_BATCH, Recall};
use super::host::{CardNote, Hire, Hired, Host};
use super::tags::Purpose;
use crate::engine::action::Custody;
use crate::engine::input::Input;
use crate::io::{self, Backend, Op, Parcel, Role};
use crate::limits::PARCEL_MAX;
use crate::shm::layout::Order;
use crate::units::{Generation, PoolId, SeatId, Ticket, WorkerId};
use crate::wire::parcel::{Header, Kind, tickets};

/// There is one pool today.
const POOL: PoolId = PoolId(0);

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    pub(super) fn watch(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.take(ticket) {
            let token = self.backend.submit(Op::Readable { fd }, Purpose::Watch(ticket).tag());
            self.tickets.watched(ticket, token);
        }
    }

    pub(super) fn expire(&mut self, ticket: Ticket) {
        if let Some(token) = self.tickets.watch_of(ticket) {
            self.backend.expire(token);
        }
    }

    pub(super) fn offer(&mut self, ticket: Ticket, to: WorkerId, custody: Custody) {
        let Some(hand) = self.crew.hand(to) else { return };
        let Some(fd) = self.tickets.take(ticket) else { return };
        self.host.card(ticket, CardNote::Offered(to, self.now));
        match custody {
            Custody::Transfer => {
                let mut parcel = Parcel::new(header(Kind::Transfer));
                parcel.push(ticket, fd);
                let (channel, custody) = (hand.channel, io::Custody::Transfer);
                let op = Op::Handoff { channel, parcel, custody };
                hand.unanswered += 1;
                self.backend.submit(op, Purpose::Parcel(to).tag());
            }
            Custody::Lend => {
                let packed = hand.packed.get_or_insert_with(|| Parcel::new(header(Kind::Lend)));
                packed.push(ticket, fd);
                if packed.fds.len() == PARCEL_MAX {
                    self.send_packed_to(to);
                }
            }
        }
    }

    /// Sends what has been packed this turn.
    pub(super) fn send_packed(&mut self) {
        for berth in 0..self.crew.berths() {
            if let Some(worker) = self.crew.name(berth) {
                self.send_packed_to(worker);
            }
        }
    }

    fn send_packed_to(&mut self, worker: WorkerId) {
        let Some(hand) = self.crew.hand(worker) else { return };
        let Some(parcel) = hand.packed.take() else { return };
        let lent: Vec<Ticket> = tickets(&parcel.words[1..]).collect();
        let op = Op::Handoff { channel: hand.channel, parcel, custody: io::Custody::Lend };
        hand.unanswered += 1;
        let token = self.backend.submit(op, Purpose::Parcel(worker).tag());
        hand.lent.push((token, lent));
    }

    pub(super) fn recall(&mut self, worker: WorkerId) {
        // What is still being packed goes first, so that it comes back as well.
        self.send_packed_to(worker);
        let Some(hand) = self.crew.hand(worker) else {
            // Its process never started: there is no channel, and nothing in it.
            return self.step_after(Input::RecallEnded(worker));
        };
        match &mut hand.recall {
            Some(recall) => recall.again = true,
            None => {
                hand.recall = Some(Recall::default());
                self.continue_recall(worker);
            }
        }
    }

    /// The next batch, or the end, once every answer is in.
    pub(super) fn continue_recall(&mut self, worker: WorkerId) {
        let Some(hand) = self.crew.hand(worker) else { return };
        let Some(recall) = hand.recall else { return };
        if 0 < recall.pending || 0 < hand.unanswered {
            return;
        }
        if !recall.emptied || recall.again {
            let (emptied, again) = (false, false);
            hand.recall = Some(Recall { emptied, again, ..recall });
            return self.reclaim(worker);
        }
        hand.recall = None;
        let gone = hand.gone;
        self.step(Input::RecallEnded(worker));
        if recall.look && !gone {
            self.wake(worker);
        }
    }

    fn reclaim(&mut self, worker: WorkerId) {
        let Some(hand) = self.crew.hand(worker) else { return };
        let Some(recall) = &mut hand.recall else { return };
        recall.pending = RECLAIM_BATCH;
        for _ in 0..RECLAIM_BATCH {
            let op = Op::Reclaim { kept: hand.kept };
            self.backend.submit(op, Purpose::Reclaim(worker).tag());
        }
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.take(ticket) {
            self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
        }
    }

    pub(super) fn retire(&mut self, ticket: Ticket) {
        if let Some(fd) = self.tickets.retire(ticket) {
            self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
        }
    }

    pub(super) fn spawn(&mut self, worker: WorkerId, seat: SeatId, generation: Generation) {
        match self.host.spawn(Hire { worker, seat, generation }) {
            Ok(hired) => self.enlist(worker, hired),
            Err(_) => self.step_after(Input::SpawnFailed(worker)),
        }
    }

    fn enlist(&mut self, worker: WorkerId, hired: Hired<B::Fd>) {
        let Hired { channel, kept, process, output, listeners } = hired;
        for opened in listeners {
            self.listeners.add(opened, &mut self.backend);
        }
        let channel = self.backend.adopt(channel, Role::Channel);
        let kept = self.backend.adopt(kept, Role::Channel);
        self.backend.submit(Op::Readable { fd: process }, Purpose::Process(worker).tag());
        let output =
            self.backend.submit(Op::Readable { fd: output }, Purpose::Output(worker).tag());
        self.crew.enlist(Hand {
            worker,
            channel,
            kept,
            output: Some(output),
            packed: None,
            unanswered: 0,
            lent: Vec::new(),
            recall: None,
            gone: false,
        });
    }

    pub(super) fn drain(&mut self, worker: WorkerId) {
        self.host.order(worker, Order::Drain);
        self.wake(worker);
    }

    /// A message without descriptors. If the channel is full, the worker is on its way to look
    /// anyway.
    fn wake(&mut self, worker: WorkerId) {
        let Some(hand) = self.crew.hand(worker) else { return };
        hand.unanswered += 1;
        let parcel = Parcel::new(header(Kind::Look));
        let (channel, custody) = (hand.channel, io::Custody::Transfer);
        self.backend
            .submit(Op::Handoff { channel, parcel, custody }, Purpose::Parcel(worker).tag());
    }

    pub(super) fn bury(&mut self, worker: WorkerId) {
        self.host.bury(worker);
        let Some(hand) = self.crew.discharge(worker) else { return };
        if let Some(output) = hand.output {
            self.backend.cancel(output);
        }
        drop(self.backend.release(hand.channel));
        drop(self.backend.release(hand.kept));
    }

    /// An input that an action brings about by itself: taken in at once, its actions carried out
    /// behind those under way.
    fn step_after(&mut self, input: Input) {
        self.ensuing.push(input);
    }
}

fn header(kind: Kind) -> u64 {
    Header { pool: POOL, kind }.encode()
}
