//! The link to a program that is made for dispatchd: descriptors cross a channel, once for each
//! connection and worker; all else is said through shared memory.

use std::collections::VecDeque;

use super::channel::{Channel, wait_ended};
use super::copies::SentCopies;
use super::pages::{ConnEvent, Order, Pages};
use super::{Behind, ConnectionTable, LinkNews, LinkOp, LinkPort};
use crate::engine::capabilities::Capabilities;
use crate::engine::input::{Input, Message};
use crate::io::{Backend, Batch, Outcome};
use crate::limits::{BATCH_MAX, MESSAGES_PER_TURN};
use crate::units::{AppId, RingWords, Ticket, WorkerId};
use crate::wire::batch::{BatchKind, Header, tickets};
use crate::wire::message::{RingMessage, WorkerMessage};
use crate::wire::offer::OfferEntry;

/// There is one app today.
const APP: AppId = AppId(0);

/// What can be asked of these workers: everything.
pub(super) const CAPABILITIES: Capabilities = Capabilities::FULL;

/// The master's end.
#[derive(Debug)]
pub struct NativeLink<F> {
    channel: Channel,
    /// Offers that travel together; sent when full or at the end of the turn.
    packed: Option<Batch<F>>,
    copies: SentCopies,
    /// Offer entries that found the ring full, in order; they go before any other, and nothing is
    /// offered meanwhile. No more than there were copies.
    unsent: VecDeque<RingWords>,
    /// Offer entries were written that it may not have been woken for.
    wants_doorbell: bool,
    /// It has asked to leave, and the engine knows.
    asked_to_leave: bool,
    /// The sleep that it was last woken from.
    woken: Option<u64>,
    /// What it has said, while that is read.
    words: Vec<RingWords>,
}

impl<F> NativeLink<F> {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            packed: None,
            copies: SentCopies::default(),
            unsent: VecDeque::new(),
            wants_doorbell: false,
            asked_to_leave: false,
            woken: None,
            words: Vec::new(),
        }
    }

    /// Tells the worker, where it has been given the connection before, or packs it.
    pub(super) fn offer<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        most: u32,
        connections: &mut impl ConnectionTable<F>,
        mut port: LinkPort<'_, B, P>,
    ) -> Result<(), Behind> {
        let known = self.copies.has(ticket);
        if !known {
            self.make_room(most, connections, &mut port);
        }
        port.pages.conn_record(ticket, ConnEvent::Offered(port.worker, port.now));
        port.pages.offer(port.worker, ticket);
        if known {
            return self.tell_of_offer(ticket, &mut port);
        }
        if !self.unsent.is_empty() {
            return Err(Behind);
        }
        let fd = connections.send(ticket).ok_or(Behind)?;
        self.pack(ticket, fd, port);
        Ok(())
    }

    /// Packs a connection for the worker.
    fn pack<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        fd: F,
        port: LinkPort<'_, B, P>,
    ) {
        self.copies.add(ticket);
        let packed = self.packed.get_or_insert_with(|| Batch::new(header(BatchKind::Offer)));
        packed.push(ticket, fd);
        if packed.fds.len() == BATCH_MAX {
            self.send_packed(port);
        }
    }

    /// Sends what has been packed this turn.
    pub(super) fn send_packed<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        mut port: LinkPort<'_, B, P>,
    ) {
        let Some(batch) = self.packed.take() else { return };
        // It wakes by itself, and what comes with it is read before it.
        self.wants_doorbell = false;
        self.channel.send(batch, &mut port);
    }

    /// Tells the worker that a connection is offered of which it has a copy.
    fn tell_of_offer<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        port: &mut LinkPort<'_, B, P>,
    ) -> Result<(), Behind> {
        self.wants_doorbell = true;
        if !self.unsent.is_empty() {
            return Err(Behind);
        }
        let words = OfferEntry::Offer(ticket).encode();
        port.pages.offer_entry(port.worker, words).map_err(|_| Behind)
    }

    /// Has the worker let its copy go. It is not woken for that before its ring is full.
    fn tell_to_forget<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        port: &mut LinkPort<'_, B, P>,
    ) {
        let words = OfferEntry::Forget(ticket).encode();
        if !self.unsent.is_empty() || port.pages.offer_entry(port.worker, words).is_err() {
            self.unsent.push_back(words);
            self.wants_doorbell = true;
        }
    }

    /// Writes what found the ring full, as far as it goes, and wakes a worker that sleeps over an
    /// offer entry, once per sleep.
    pub(super) fn send_offer_entries<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        mut port: LinkPort<'_, B, P>,
    ) {
        while let Some(words) = self.unsent.front()
            && port.pages.offer_entry(port.worker, *words).is_ok()
        {
            self.unsent.pop_front();
            self.wants_doorbell = true;
        }
        if !std::mem::take(&mut self.wants_doorbell) {
            return;
        }
        let sleep = port.pages.sleep_number(port.worker);
        if sleep.is_some() && self.woken != sleep {
            self.woken = sleep;
            self.wake(&mut port);
        }
    }

    /// A ticket has ended: if the worker has a copy, it lets it go. Returns whether it has.
    pub(super) fn forget<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        mut port: LinkPort<'_, B, P>,
    ) -> bool {
        let has = self.copies.remove(ticket);
        if has {
            self.tell_to_forget(ticket, &mut port);
        }
        has
    }

    /// Keeps the worker's copies below what it can hold: one that it is not about to serve goes
    /// before another comes.
    fn make_room<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        most: u32,
        connections: &impl ConnectionTable<F>,
        port: &mut LinkPort<'_, B, P>,
    ) {
        if self.copies.count() < most {
            return;
        }
        // One that waits for a worker may be about to be offered to this very one.
        let idle = |ticket| !connections.is_with(ticket, port.worker);
        let evicted = self.copies.evict(|ticket| idle(ticket) && !connections.is_held(ticket));
        if let Some(ticket) = evicted.or_else(|| self.copies.evict(idle)) {
            self.tell_to_forget(ticket, port);
        }
    }

    /// Writes what the worker shall do, and has it look.
    pub(super) fn order<B: Backend<Fd = F>, P: Pages>(
        &self,
        order: Order,
        mut port: LinkPort<'_, B, P>,
    ) {
        port.pages.order(port.worker, order);
        match order {
            Order::Serve | Order::Drain => self.wake(&mut port),
            // A signal comes with it.
            Order::Terminate => {}
        }
    }

    /// A message without descriptors. If the channel is full, the worker is on its way to look
    /// anyway.
    fn wake<B: Backend<Fd = F>, P: Pages>(&self, port: &mut LinkPort<'_, B, P>) {
        port.pages.woke(port.worker);
        self.channel.send(Batch::new(header(BatchKind::Look)), port);
    }

    /// Reads what the worker has said.
    pub(super) fn hear<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        mut port: LinkPort<'_, B, P>,
        heard: &mut Vec<Input>,
    ) {
        let worker = port.worker;
        let mut words = std::mem::take(&mut self.words);
        if port.pages.messages(worker, MESSAGES_PER_TURN, &mut words).is_err() {
            heard.push(Input::Violation(worker));
        }
        for word in words.drain(..) {
            heard.push(match RingMessage::decode(word) {
                Ok(RingMessage { message, .. }) => self.understand(message, &mut port),
                Err(_) => Input::Violation(worker),
            });
        }
        self.words = words;
        if !self.asked_to_leave && port.pages.asks_to_leave(worker) {
            self.asked_to_leave = true;
            let load = port.pages.load(worker, port.now);
            heard.extend([Input::Load { worker, load }, Input::AsksToLeave(worker)]);
        }
    }

    fn understand<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        message: WorkerMessage,
        port: &mut LinkPort<'_, B, P>,
    ) -> Input {
        let worker = port.worker;
        let (ticket, message) = match message {
            WorkerMessage::Hello => {
                return match port.pages.terms(worker) {
                    Some(terms) => Input::Hello { worker, terms },
                    None => Input::Violation(worker),
                };
            }
            WorkerMessage::Claimed { ticket, transit_us } => {
                (ticket, Message::Claimed { transit_us })
            }
            WorkerMessage::Done { ticket, service_us } => (ticket, Message::Done { service_us }),
            WorkerMessage::Idle { ticket, service_us } => (ticket, Message::Idle { service_us }),
            WorkerMessage::Waiting(ticket) => (ticket, Message::Waiting),
            WorkerMessage::Resumed(ticket) => (ticket, Message::Resumed),
            WorkerMessage::Pinned(ticket) => (ticket, Message::Pinned),
            WorkerMessage::Closed(ticket) => {
                self.copies.remove(ticket);
                (ticket, Message::Closed)
            }
            WorkerMessage::Missed(ticket) => (ticket, Message::Missed),
        };
        Input::Message { worker, ticket, message }
    }

    /// Begins a wait again that has failed.
    pub(super) fn wait<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        op: LinkOp,
        fd: Option<F>,
        mut port: LinkPort<'_, B, P>,
    ) {
        self.channel.wait(op, fd, &mut port);
    }

    pub(super) fn end<B: Backend<Fd = F>>(self, backend: &mut B) {
        self.channel.end(backend);
    }
}

/// Takes in that one of its operations has ended; `link` is none where the worker is gone.
pub(super) fn completed<F>(
    mut link: Option<&mut NativeLink<F>>,
    worker: WorkerId,
    op: LinkOp,
    outcome: Outcome<F>,
    news: &mut Vec<LinkNews<F>>,
) {
    match (op, outcome) {
        (LinkOp::Send, Outcome::HandedOff(batch, result)) => {
            if let (Err(_), Some(link)) = (result, &mut link) {
                // It was to wake the worker for what was written too.
                link.wants_doorbell = true;
            }
            for (ticket, fd) in tickets(&batch.words[1..]).zip(batch.fds) {
                if let (Err(_), Some(link)) = (result, &mut link) {
                    link.copies.remove(ticket);
                }
                news.push(LinkNews::Back { ticket, fd, result });
            }
        }
        (op, outcome) => {
            wait_ended(link.map(|link| &mut link.channel), worker, op, outcome, news);
        }
    }
}

fn header(kind: BatchKind) -> u64 {
    Header { app: APP, kind }.encode()
}

#[cfg(test)]
mod tests;
