//! Two kinds of links that only the simulator has. They stand for kinds to come, and prove that
//! those fit in: nothing outside this folder knows of them.

use std::collections::VecDeque;

use super::channel::{Channel, wait_ended};
use super::pages::{ConnEvent, Order, Pages};
use super::{Behind, ConnectionTable, LinkNews, LinkOp, LinkPort};
use crate::engine::capabilities::{Accepter, Capabilities, Endings, OfferKind, Readiness, Returns};
use crate::engine::input::{Input, Message, Terms};
use crate::io::{Backend, Batch, Op, Outcome, Token, WatchKind};
use crate::limits::MESSAGES_PER_TURN;
use crate::units::{AppId, RingWords, Ticket, WorkerId};
use crate::wire::batch::{BatchKind, Header, tickets};
use crate::wire::message::{RingMessage, WorkerMessage};

/// Workers that acknowledge what they are sent, once and for good, and say nothing more of it: as
/// those of Node's cluster do.
pub(super) const ACKNOWLEDGED: Capabilities = Capabilities {
    accepter: Accepter::Either,
    offers: OfferKind::Final,
    endings: Endings::Untold,
    returns: Returns::Never,
    readiness: Readiness::Said,
};

/// Workers that accept for themselves, and say once that they are ready: as those that find their
/// listeners in `LISTEN_FDS` do.
pub(super) const NOTIFIED: Capabilities = Capabilities {
    accepter: Accepter::Workers,
    offers: OfferKind::Final,
    endings: Endings::Untold,
    returns: Returns::Never,
    readiness: Readiness::Said,
};

/// Such workers have no terms.
const TERMS: Terms = Terms { concurrency: 1, connections_max: u32::MAX };

/// The link to a worker that acknowledges.
#[derive(Debug)]
pub struct AcknowledgedLink<F> {
    channel: Channel,
    /// What was sent in this turn.
    gathered: VecDeque<Batch<F>>,
    asked_to_leave: bool,
    words: Vec<RingWords>,
}

impl<F> AcknowledgedLink<F> {
    pub(super) const fn new(channel: Channel) -> Self {
        Self { channel, gathered: VecDeque::new(), asked_to_leave: false, words: Vec::new() }
    }

    pub(super) fn offer<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        connections: &mut impl ConnectionTable<F>,
        port: LinkPort<'_, B, P>,
    ) -> Result<(), Behind> {
        port.pages.conn_record(ticket, ConnEvent::Offered(port.worker, port.now));
        port.pages.offer(port.worker, ticket);
        let fd = connections.send(ticket).ok_or(Behind)?;
        let mut batch = Batch::new(Header { app: AppId(0), kind: BatchKind::Offer }.encode());
        batch.push(ticket, fd);
        self.gathered.push_back(batch);
        Ok(())
    }

    pub(super) fn send_gathered<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        mut port: LinkPort<'_, B, P>,
    ) {
        for batch in self.gathered.drain(..) {
            self.channel.send(batch, &mut port);
        }
    }

    pub(super) fn order<B: Backend<Fd = F>, P: Pages>(
        &self,
        order: Order,
        mut port: LinkPort<'_, B, P>,
    ) {
        port.pages.order(port.worker, order);
        port.pages.woke(port.worker);
        let batch = Batch::new(Header { app: AppId(0), kind: BatchKind::Look }.encode());
        self.channel.send(batch, &mut port);
    }

    /// It says hello, asks to leave, and acknowledges; all else is a lie.
    pub(super) fn hear<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        port: LinkPort<'_, B, P>,
        heard: &mut Vec<Input>,
    ) {
        let worker = port.worker;
        let mut words = std::mem::take(&mut self.words);
        if port.pages.messages(worker, MESSAGES_PER_TURN, &mut words).is_err() {
            heard.push(Input::Violation(worker));
        }
        for word in words.drain(..) {
            heard.push(match RingMessage::decode(word).map(|word| word.message) {
                Ok(WorkerMessage::Hello) => Input::Hello { worker, terms: TERMS },
                Ok(WorkerMessage::Claimed { ticket, .. }) => {
                    Input::Message { worker, ticket, message: Message::Claimed { transit_us: 0 } }
                }
                Ok(_) | Err(_) => Input::Violation(worker),
            });
        }
        self.words = words;
        if !self.asked_to_leave && port.pages.asks_to_leave(worker) {
            self.asked_to_leave = true;
            heard.push(Input::AsksToLeave(worker));
        }
    }

    pub(super) fn wait<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        op: LinkOp,
        fd: Option<F>,
        mut port: LinkPort<'_, B, P>,
    ) {
        self.channel.wait(op, fd, &mut port);
    }

    /// One of its operations has ended.
    pub(super) fn completed(
        &mut self,
        worker: WorkerId,
        op: LinkOp,
        outcome: Outcome<F>,
        news: &mut Vec<LinkNews<F>>,
    ) {
        match (op, outcome) {
            (LinkOp::Send, Outcome::HandedOff(batch, result)) => {
                for (ticket, fd) in tickets(&batch.words[1..]).zip(batch.fds) {
                    news.push(LinkNews::Back { ticket, fd, result });
                }
            }
            (op, outcome) => wait_ended(Some(&mut self.channel), worker, op, outcome, news),
        }
    }

    pub(super) fn end<B: Backend<Fd = F>>(self, backend: &mut B) {
        self.channel.end(backend);
    }
}

/// The link to a worker that only says that it is ready.
#[derive(Debug)]
pub struct NotifiedLink {
    notice: Option<Token>,
}

impl NotifiedLink {
    pub(super) fn new<B: Backend, P: Pages>(notice: B::Fd, port: LinkPort<'_, B, P>) -> Self {
        let mut link = Self { notice: None };
        link.wait(Some(notice), port);
        link
    }

    pub(super) fn wait<B: Backend, P: Pages>(
        &mut self,
        fd: Option<B::Fd>,
        mut port: LinkPort<'_, B, P>,
    ) {
        if let Some(fd) = fd {
            let watch = Op::Readable { fd, watch: WatchKind::Once };
            self.notice = Some(port.submit(watch, LinkOp::Notice));
        }
    }

    pub(super) fn end<B: Backend>(self, backend: &mut B) {
        if let Some(notice) = self.notice {
            backend.cancel(notice);
        }
    }

    /// The wait for its notice has ended.
    pub(super) fn noticed<F>(
        &mut self,
        worker: WorkerId,
        outcome: Outcome<F>,
        news: &mut Vec<LinkNews<F>>,
    ) {
        self.notice = None;
        match outcome {
            Outcome::Readable(_, Ok(_)) => {
                news.push(LinkNews::Input(Input::Hello { worker, terms: TERMS }));
            }
            Outcome::Readable(fd, Err(_)) => {
                news.push(LinkNews::WaitFailed(LinkOp::Notice, Some(fd)));
            }
            Outcome::Accepted(_)
            | Outcome::Rang(_)
            | Outcome::HandedOff(..)
            | Outcome::Received(..)
            | Outcome::Sent(..)
            | Outcome::Closed => unreachable!("a wait ends in one way"),
        }
    }
}
