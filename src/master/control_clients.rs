//! Control clients: each asks one thing and gets its answer whole, however long that is and however
//! slowly it is read. Whoever finds all places taken waits in the kernel's queue for one that is
//! free. One that says nothing, or takes nothing of its answer, is let go after a while, and so
//! keeps nobody out for ever.

use super::Master;
use super::host::{ControlStep, Host};
use super::tags::Purpose;
use super::watches::Failed;
use crate::io::{Backend, Op, Role, Source, Token};
use crate::limits::{CONTROL_CLIENTS_MAX, CONTROL_SILENT_AFTER_FULL, CONTROL_TIMEOUT};
use crate::units::{Errno, Mono};

/// The places of control clients, and the door to them.
#[derive(Debug)]
pub(super) struct ControlClients {
    places: Vec<ClientPlace>,
    door: Admission,
    /// When somebody is to be let go, if nothing happens before.
    deadline: Option<Mono>,
}

#[derive(Clone, Copy, Debug)]
enum ClientPlace {
    Free,
    /// Its request is waited for since then; without a wait while the kernel refuses one.
    Asking {
        since: Mono,
        wait: Option<Token>,
    },
    /// Its answer is on its way, up to here, and it has taken nothing since then.
    Answering {
        stream: Source,
        sending: Token,
        sent: usize,
        since: Mono,
    },
}

/// Whether the next client is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Admission {
    Open,
    /// All places are taken.
    Shut,
}

impl ControlClients {
    /// All places are free, and the first client is waited for.
    pub(super) fn new() -> Self {
        Self {
            places: vec![ClientPlace::Free; CONTROL_CLIENTS_MAX],
            door: Admission::Open,
            deadline: None,
        }
    }

    /// When somebody is to be let go, if nothing happens before.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.deadline
    }

    /// Remembers how the request is waited for at this place. False when none is.
    pub(super) fn waits(&mut self, index: u32, token: Option<Token>) -> bool {
        let place = self.places[index as usize];
        match place {
            ClientPlace::Asking { since, .. } => {
                self.put(index, ClientPlace::Asking { since, wait: token });
            }
            ClientPlace::Free | ClientPlace::Answering { .. } => return false,
        }
        true
    }

    fn put(&mut self, index: u32, place: ClientPlace) {
        self.places[index as usize] = place;
        let full = self.free().is_none();
        self.deadline = self.places.iter().filter_map(|place| place.deadline(full)).min();
    }

    fn free(&self) -> Option<u32> {
        let index = self.places.iter().position(|place| matches!(place, ClientPlace::Free))?;
        u32::try_from(index).ok()
    }

    fn is_late(&self, index: u32, now: Mono) -> bool {
        match self.places[index as usize] {
            ClientPlace::Asking { since, .. } => since.after(CONTROL_TIMEOUT) <= now,
            ClientPlace::Free | ClientPlace::Answering { .. } => false,
        }
    }

    /// Who has done nothing for longest, if that is too long. It has its time anew: what ends it
    /// takes a moment.
    fn overdue(&mut self, now: Mono) -> Option<Token> {
        self.deadline.filter(|deadline| *deadline <= now)?;
        let full = self.free().is_none();
        let is_it = |place: &ClientPlace| place.deadline(full) == self.deadline;
        let index = u32::try_from(self.places.iter().position(is_it)?).ok()?;
        let place = self.places[index as usize];
        let (place, token) = match place {
            ClientPlace::Free | ClientPlace::Asking { wait: None, .. } => return None,
            ClientPlace::Asking { wait: Some(token), .. } => {
                (ClientPlace::Asking { since: now, wait: Some(token) }, token)
            }
            ClientPlace::Answering { stream, sending, sent, .. } => {
                (ClientPlace::Answering { stream, sending, sent, since: now }, sending)
            }
        };
        self.put(index, place);
        Some(token)
    }
}

impl ClientPlace {
    /// When it is let go, if nothing happens before and it can be: one that is not waited for is
    /// looked at again soon.
    fn deadline(&self, full: bool) -> Option<Mono> {
        match self {
            Self::Free | Self::Asking { wait: None, .. } => None,
            Self::Asking { since, .. } if full => Some(since.after(CONTROL_SILENT_AFTER_FULL)),
            Self::Asking { since, .. } | Self::Answering { since, .. } => {
                Some(since.after(CONTROL_TIMEOUT))
            }
        }
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Waits for the next who wants to know something, if there is a place.
    pub(super) fn listen_for_control(&mut self) {
        let Some(listener) = self.control else { return };
        self.control_clients.door = match self.control_clients.free() {
            Some(_) => {
                self.backend.submit(Op::Accept { listener }, Purpose::ControlAccept.tag());
                Admission::Open
            }
            None => Admission::Shut,
        };
    }

    pub(super) fn control_accepted(&mut self, result: Result<B::Fd, Errno>) {
        match (result, self.control_clients.free()) {
            (Ok(fd), Some(index)) => {
                self.control_clients
                    .put(index, ClientPlace::Asking { since: self.now, wait: None });
                self.watch_for(Purpose::ControlClient(index), fd);
                self.listen_for_control();
            }
            // The door is open only while there is a place.
            (Ok(fd), None) => drop(fd),
            // It was of a socket that another one has taken the place of.
            (Err(Errno(libc::ECANCELED)), _) => self.listen_for_control(),
            // Descriptors or memory are short, and whoever asks is still there.
            (Err(_), _) => self.wait_failed(Failed::ControlAccept),
        }
    }

    /// Another socket takes the place of one that nobody can find any more.
    pub(super) fn move_control(&mut self, socket: B::Fd) {
        let source = self.backend.adopt(socket, Role::Listener);
        if let Some(before) = self.control.replace(source) {
            drop(self.backend.release(before));
        }
    }

    pub(super) fn control_spoke(&mut self, index: u32, fd: B::Fd) {
        match self.host.control(&fd, &self.engine) {
            // Where waits fail nobody is let go otherwise.
            ControlStep::Again if self.control_clients.is_late(index, self.now) => {
                self.control_left(index);
            }
            ControlStep::Again => self.watch_for(Purpose::ControlClient(index), fd),
            ControlStep::Gone => self.control_left(index),
            ControlStep::Answer(answer) => {
                let stream = self.backend.adopt(fd, Role::Stream);
                self.answer(index, stream, answer, 0);
            }
        }
    }

    pub(super) fn control_answered(
        &mut self,
        index: u32,
        answer: Vec<u8>,
        result: Result<usize, Errno>,
    ) {
        let place = self.control_clients.places[index as usize];
        let ClientPlace::Answering { stream, sent, .. } = place else { return };
        match result {
            Ok(more) if sent + more < answer.len() => {
                self.answer(index, stream, answer, sent + more);
            }
            // It has all of it, or wants no more.
            Ok(_) | Err(_) => {
                let fd = self.backend.release(stream);
                self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
                self.control_left(index);
            }
        }
    }

    /// Lets go of one that has done nothing for too long. The end of its socket ends what it is
    /// waited for.
    pub(super) fn let_a_silent_client_go(&mut self) {
        if let Some(token) = self.control_clients.overdue(self.now) {
            self.backend.expire(token);
        }
    }

    fn control_left(&mut self, index: u32) {
        self.control_clients.put(index, ClientPlace::Free);
        if self.control_clients.door == Admission::Shut {
            self.listen_for_control();
        }
    }

    fn answer(&mut self, index: u32, stream: Source, buffer: Vec<u8>, from: usize) {
        let op = Op::Send { stream, buffer, from };
        let sending = self.backend.submit(op, Purpose::ControlClient(index).tag());
        let place = ClientPlace::Answering { stream, sending, sent: from, since: self.now };
        self.control_clients.put(index, place);
    }
}
