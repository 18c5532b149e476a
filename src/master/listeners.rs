//! The sockets that connections come in on, and how many accepts are in flight on each. They stay
//! open here whatever happens to workers, so no queue is ever lost.

use super::Master;
use super::host::{Host, ListenerOrigin, Opened};
use super::tags::Purpose;
use crate::engine::input::{FirstSpeaker, Input};
use crate::io::{Backend, Op, Role, Source, Token};
use crate::limits::{ACCEPT_BATCH, BACKLOG_MAX};
use crate::units::{ListenerId, SlotId};

/// The master's listeners.
#[derive(Debug)]
pub(super) struct Listeners<F> {
    entries: Vec<ListenerEntry>,
    /// Sockets that the backend has let go of, until their last accept has ended.
    closing: Option<Vec<(F, ListenerOrigin)>>,
    /// Whether workers accept for themselves, and the master only for a slot that is not served.
    kernel: bool,
}

#[derive(Debug)]
struct ListenerEntry {
    source: Source,
    listener: ListenerId,
    first_speaker: FirstSpeaker,
    slot: Option<SlotId>,
    origin: ListenerOrigin,
    /// The accepts in flight, kept by name where they may have to be ended one by one: under a
    /// kernel policy, and where listeners share the room.
    armed: Vec<Token>,
    in_flight: u32,
}

impl<F> Listeners<F> {
    pub(super) fn adopt<B: Backend<Fd = F>>(
        opened: Vec<Opened<F>>,
        kernel: bool,
        backend: &mut B,
    ) -> Self {
        let mut listeners = Self { entries: Vec::new(), closing: None, kernel };
        for each in opened {
            listeners.add(each, backend);
        }
        listeners
    }

    /// Takes a listener in. One that comes while they are being closed is closed as well.
    pub(super) fn add<B: Backend<Fd = F>>(&mut self, opened: Opened<F>, backend: &mut B) {
        let Opened { socket, listener, first_speaker, slot, origin } = opened;
        if self.closing.is_none() {
            let source = backend.adopt(socket, Role::Listener);
            self.entries.push(ListenerEntry {
                source,
                listener,
                first_speaker,
                slot,
                origin,
                armed: Vec::new(),
                in_flight: 0,
            });
        }
    }

    pub(super) fn accept_ended(&mut self, index: u32, token: Token) {
        let entry = &mut self.entries[index as usize];
        entry.in_flight -= 1;
        entry.armed.retain(|armed| *armed != token);
    }

    pub(super) fn terms_of(&self, index: u32) -> (ListenerId, FirstSpeaker) {
        let entry = &self.entries[index as usize];
        (entry.listener, entry.first_speaker)
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Keeps accepts in flight, no more than there is room for, on every listener alike: one that
    /// is idle must not take the room of a busy one. Ends those that are not the master's to take.
    pub(super) fn arm_accepts(&mut self) {
        if self.listeners.closing.is_some() {
            return self.finish_closing();
        }
        let count = self.listeners.entries.len();
        let ours = (0..count).filter(|index| self.accepts_from(*index)).count();
        let sharers = u32::try_from(ours.max(1)).expect("listeners are limited");
        let room = self.engine.dispatcher().accept_room();
        let share = if room == 0 { 0 } else { (room / sharers).clamp(1, ACCEPT_BATCH) };
        for index in 0..count {
            match (self.accepts_from(index), share) {
                (false, _) => self.disarm_beyond(index, 0),
                // Nothing new; what is in flight fitted in.
                (true, 0) => {}
                (true, share) => {
                    self.disarm_beyond(index, share);
                    while self.listeners.entries[index].in_flight < share {
                        self.arm(index);
                    }
                }
            }
        }
    }

    /// Whether the master takes this listener's connections now: none that it could not hand on.
    fn accepts_from(&self, index: usize) -> bool {
        if !self.engine.supervisor().capabilities().can_be_handed() {
            return false;
        }
        match (self.listeners.kernel, self.listeners.entries[index].slot) {
            (false, _) => true,
            (true, Some(slot)) => !self.engine.supervisor().is_served(slot),
            (true, None) => self.engine.supervisor().has_stopped_worker(),
        }
    }

    pub(super) fn close_listeners(&mut self) {
        self.host.withdraw_listeners();
        let entries = self.listeners.entries.iter();
        let closing = entries.map(|entry| (self.backend.release(entry.source), entry.origin));
        self.listeners.closing = Some(closing.collect());
    }

    fn arm(&mut self, index: usize) {
        let several = 1 < self.listeners.entries.len();
        let entry = &mut self.listeners.entries[index];
        let listener = entry.source;
        let position = u32::try_from(index).expect("listeners are limited");
        let token = self.backend.submit(Op::Accept { listener }, Purpose::Accept(position).tag());
        entry.in_flight += 1;
        if self.listeners.kernel || several {
            entry.armed.push(token);
        }
    }

    fn disarm_beyond(&mut self, index: usize, limit: u32) {
        let entry = &mut self.listeners.entries[index];
        let surplus = entry.armed.split_off(entry.armed.len().min(limit as usize));
        for token in surplus {
            self.backend.cancel(token);
        }
    }

    /// Once no accept is in flight any more, what is left in the backlogs is taken, and the
    /// sockets are closed. Under a kernel policy workers have copies of them, and may be in the
    /// midst of a long request: whoever connected meanwhile would wait in a backlog that nobody
    /// looks into. So a socket of ours ends for all who have it.
    fn finish_closing(&mut self) {
        if self.listeners.entries.iter().any(|entry| 0 < entry.in_flight) {
            return;
        }
        let sockets = self.listeners.closing.replace(Vec::new()).unwrap_or_default();
        if sockets.is_empty() {
            return;
        }
        for (index, (socket, origin)) in (0..).zip(sockets) {
            self.sweep(index, &socket);
            match origin {
                ListenerOrigin::Ours => {
                    self.host.end_listening(&socket);
                    // A unix socket still has what came in between.
                    self.sweep(index, &socket);
                }
                ListenerOrigin::Inherited => {}
            }
        }
        self.step(Input::ListenersClosed);
        self.step(Input::Tick);
        self.carry_out();
    }

    /// Takes in what has come, which is no more than can have waited: whoever goes on connecting
    /// keeps nobody from the end.
    fn sweep(&mut self, index: u32, socket: &B::Fd) {
        if !self.engine.supervisor().capabilities().can_be_handed() {
            return;
        }
        for _ in 0..=BACKLOG_MAX {
            let Some(fd) = self.host.sweep(socket) else { break };
            self.admit(index, fd);
        }
    }
}
