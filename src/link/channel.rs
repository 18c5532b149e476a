//! What a worker that is sent connections is reached by: a channel, the wait for its end, and the
//! doorbell that the worker wakes the master by.

use super::pages::Pages;
use super::{LinkNews, LinkOp, LinkPort};
use crate::engine::input::Input;
use crate::io::{Backend, Batch, Op, Outcome, Role, Source, Token, WatchKind};
use crate::units::WorkerId;

/// The master's ends.
#[derive(Debug)]
pub(super) struct Channel {
    source: Source,
    /// The worker's own, so that none can silence another's.
    doorbell: Source,
    /// The watch on the channel's end, while it lasts.
    hangup: Option<Token>,
}

impl Channel {
    pub(super) fn open<B: Backend, P: Pages>(
        [channel, hangup, doorbell]: [B::Fd; 3],
        port: &mut LinkPort<'_, B, P>,
    ) -> Self {
        let source = port.backend.adopt(channel, Role::Channel);
        let doorbell = port.backend.adopt(doorbell, Role::Doorbell);
        let mut channel = Self { source, doorbell, hangup: None };
        channel.wait(LinkOp::Doorbell, None, port);
        channel.wait(LinkOp::Hangup, Some(hangup), port);
        channel
    }

    pub(super) fn send<B: Backend, P: Pages>(
        &self,
        batch: Batch<B::Fd>,
        port: &mut LinkPort<'_, B, P>,
    ) {
        port.submit(Op::Handoff { channel: self.source, batch }, LinkOp::Send);
    }

    /// Waits for its doorbell, or by this descriptor for its end.
    pub(super) fn wait<B: Backend, P: Pages>(
        &mut self,
        op: LinkOp,
        fd: Option<B::Fd>,
        port: &mut LinkPort<'_, B, P>,
    ) {
        match fd {
            Some(fd) => {
                let watch = Op::Readable { fd, watch: WatchKind::Once };
                self.hangup = Some(port.submit(watch, op));
            }
            None => {
                port.submit(Op::Ring { doorbell: self.doorbell }, op);
            }
        }
    }

    /// Withdraws what is waited for, and closes what is open.
    pub(super) fn end<B: Backend>(self, backend: &mut B) {
        if let Some(hangup) = self.hangup {
            backend.cancel(hangup);
        }
        for source in [self.doorbell, self.source] {
            drop(backend.release(source));
        }
    }
}

/// A wait has ended; `channel` is none where the worker is gone, and then it is missed by nobody.
pub(super) fn wait_ended<F>(
    channel: Option<&mut Channel>,
    worker: WorkerId,
    op: LinkOp,
    outcome: Outcome<F>,
    news: &mut Vec<LinkNews<F>>,
) {
    match outcome {
        Outcome::Readable(fd, result) => {
            let is_there = channel.map(|channel| channel.hangup = None).is_some();
            match result {
                Ok(_) => news.push(LinkNews::Input(Input::Detached(worker))),
                Err(_) if is_there => news.push(LinkNews::WaitFailed(op, Some(fd))),
                Err(_) => {}
            }
        }
        Outcome::Rang(Err(_)) if channel.is_some() => news.push(LinkNews::WaitFailed(op, None)),
        Outcome::Rang(_) => {}
        Outcome::Accepted(_)
        | Outcome::HandedOff(..)
        | Outcome::Received(..)
        | Outcome::Sent(..)
        | Outcome::Closed => unreachable!("{op:?} ends in one way"),
    }
}
