//! Control clients: each asks one thing and gets its answer whole, however long that is and however
//! slowly it is read. A client that does neither costs a place, until somebody else wants it.

use super::Master;
use super::host::{ControlStep, Host};
use super::tags::Purpose;
use super::watches::Failed;
use crate::io::{Backend, Op, Role, Source, Token};
use crate::limits::CONTROL_CLIENTS_MAX;
use crate::units::Errno;

/// The places of control clients.
#[derive(Debug)]
pub(super) struct ControlClients(Vec<Place>);

#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    /// Its request is waited for; without a wait while the kernel refuses one.
    Asking(Option<Token>),
    /// Its answer is on its way, up to here.
    Answering {
        stream: Source,
        sending: Token,
        sent: usize,
    },
}

impl ControlClients {
    pub(super) fn new() -> Self {
        Self(vec![Place::Free; CONTROL_CLIENTS_MAX])
    }

    /// Remembers how the request is waited for at this place.
    pub(super) fn waits(&mut self, index: u32, token: Option<Token>) {
        let place = &mut self.0[index as usize];
        *place = match (&*place, token) {
            // It stays taken until it has its answer.
            (Place::Asking(before), None) => Place::Asking(*before),
            (Place::Free | Place::Asking(_) | Place::Answering { .. }, token) => {
                Place::Asking(token)
            }
        };
    }

    fn free(&self) -> Option<u32> {
        let index = self.0.iter().position(|place| matches!(place, Place::Free))?;
        u32::try_from(index).ok()
    }

    fn tokens(&self) -> impl Iterator<Item = Token> {
        self.0.iter().filter_map(|place| match place {
            Place::Free => None,
            Place::Asking(token) => *token,
            Place::Answering { sending, .. } => Some(*sending),
        })
    }
}

impl<B: Backend, H: Host<Fd = B::Fd>> Master<B, H> {
    /// Waits for the next who wants to know something.
    pub(super) fn listen_for_control(&mut self) {
        if let Some(listener) = self.control {
            self.backend.submit(Op::Accept { listener }, Purpose::ControlAccept.tag());
        }
    }

    pub(super) fn control_accepted(&mut self, result: Result<B::Fd, Errno>) {
        let Ok(fd) = result else {
            // Descriptors or memory are short, and whoever asks is still there.
            return self.wait_failed(Failed::ControlAccept);
        };
        self.listen_for_control();
        match self.control_clients.free() {
            Some(index) => self.listen_to(index, fd),
            // A full house: whoever has been silent is let go, the newcomer may try again.
            None => {
                for token in self.control_clients.tokens() {
                    self.backend.expire(token);
                }
            }
        }
    }

    pub(super) fn listen_to(&mut self, index: u32, fd: B::Fd) {
        self.watch_for(Purpose::ControlClient(index), fd);
    }

    pub(super) fn control_spoke(&mut self, index: u32, fd: B::Fd) {
        match self.host.control(&fd, &self.engine) {
            ControlStep::Again => self.listen_to(index, fd),
            ControlStep::Gone => self.control_clients.0[index as usize] = Place::Free,
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
        let place = &mut self.control_clients.0[index as usize];
        let Place::Answering { stream, sent, .. } = *place else { return };
        match result {
            Ok(more) if sent + more < answer.len() => {
                self.answer(index, stream, answer, sent + more);
            }
            // It has all of it, or wants no more.
            Ok(_) | Err(_) => {
                *place = Place::Free;
                let fd = self.backend.release(stream);
                self.backend.submit(Op::Close { fd }, Purpose::Close.tag());
            }
        }
    }

    fn answer(&mut self, index: u32, stream: Source, buffer: Vec<u8>, from: usize) {
        let op = Op::Send { stream, buffer, from };
        let sending = self.backend.submit(op, Purpose::ControlClient(index).tag());
        let place = &mut self.control_clients.0[index as usize];
        *place = Place::Answering { stream, sending, sent: from };
    }
}
