//! How the master speaks to a worker. Each worker has a link, of one of the kinds in this folder; a
//! link turns what the engine wants of its worker into operations, and what comes back into the
//! engine's inputs. Nothing outside asks of which kind a link is.

mod bare;
mod channel;
mod copies;
mod native;
pub mod pages;
#[cfg(feature = "sim")]
mod planted;

use self::channel::Channel;
pub use self::native::NativeLink;
use self::pages::{Order, Pages, Settled};
#[cfg(feature = "sim")]
pub use self::planted::{AcknowledgedLink, NotifiedLink};
use crate::engine::capabilities::Capabilities;
use crate::engine::input::{Input, Load};
use crate::io::{Backend, Op, Outcome, Tag};
use crate::sys::pidfd::Signal;
use crate::units::{Errno, Mono, Ticket, WorkerId};

/// The link of one worker.
#[derive(Debug)]
pub enum Link<F> {
    /// To a program that is made for dispatchd.
    Native(NativeLink<F>),
    /// To one that serves no connections.
    Bare,
    /// To one that acknowledges what it is sent.
    #[cfg(feature = "sim")]
    Acknowledged(AcknowledgedLink<F>),
    /// To one that says when it is ready.
    #[cfg(feature = "sim")]
    Notified(NotifiedLink),
}

/// The kinds of links that there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LinkKind {
    /// [`Link::Native`].
    #[default]
    Native,
    /// [`Link::Bare`].
    Bare,
    /// [`Link::Acknowledged`].
    #[cfg(feature = "sim")]
    Acknowledged,
    /// [`Link::Notified`].
    #[cfg(feature = "sim")]
    Notified,
}

impl LinkKind {
    /// The master's ends of such a link, each made when it is asked for.
    #[cfg(feature = "sim")]
    pub fn ends<F>(self, mut make: impl FnMut(LinkOp) -> F) -> LinkEnds<F> {
        match self {
            Self::Native => {
                let (channel, hangup) = (make(LinkOp::Send), make(LinkOp::Hangup));
                LinkEnds::Native { channel, hangup, doorbell: make(LinkOp::Doorbell) }
            }
            Self::Acknowledged => {
                let (channel, hangup) = (make(LinkOp::Send), make(LinkOp::Hangup));
                LinkEnds::Acknowledged { channel, hangup, doorbell: make(LinkOp::Doorbell) }
            }
            Self::Notified => LinkEnds::Notified { notice: make(LinkOp::Notice) },
            Self::Bare => LinkEnds::Bare,
        }
    }

    /// What can be asked of workers over such links.
    pub const fn capabilities(self) -> Capabilities {
        match self {
            Self::Native => native::CAPABILITIES,
            Self::Bare => bare::CAPABILITIES,
            #[cfg(feature = "sim")]
            Self::Acknowledged => planted::ACKNOWLEDGED,
            #[cfg(feature = "sim")]
            Self::Notified => planted::NOTIFIED,
        }
    }
}

/// The descriptors that a link is made of, the master's ends.
#[derive(Debug)]
pub enum LinkEnds<F> {
    /// Those of a [`Link::Native`].
    Native {
        /// The channel.
        channel: F,
        /// A copy of it: readable when nobody has the other end any more, since nobody writes
        /// there.
        hangup: F,
        /// What the worker rings when it has said something that matters.
        doorbell: F,
    },
    /// A [`Link::Bare`] has none.
    Bare,
    /// Those of a [`Link::Acknowledged`], the same.
    #[cfg(feature = "sim")]
    Acknowledged {
        /// The channel.
        channel: F,
        /// A copy of it.
        hangup: F,
        /// What the worker rings.
        doorbell: F,
    },
    /// That of a [`Link::Notified`].
    #[cfg(feature = "sim")]
    Notified {
        /// Readable when the worker is ready.
        notice: F,
    },
}

/// What a link has under way in the backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkOp {
    /// A message to the worker.
    Send,
    /// The wait for the end of its channel.
    Hangup,
    /// The wait for its doorbell.
    Doorbell,
    /// The wait for its word that it is ready.
    #[cfg(feature = "sim")]
    Notice,
}

/// What a link acts upon.
#[derive(Debug)]
pub struct LinkPort<'a, B, P> {
    /// Whose link it is.
    pub worker: WorkerId,
    /// The kernel.
    pub backend: &'a mut B,
    /// What is shared with workers.
    pub pages: &'a mut P,
    /// The time of this turn.
    pub now: Mono,
    /// How the backend marks what is under way.
    pub tag: fn(WorkerId, LinkOp) -> Tag,
}

/// What a link makes of an operation that has ended.
#[derive(Debug)]
pub enum LinkNews<F> {
    /// A connection's descriptor is back, whether it went out or not.
    Back {
        /// The connection.
        ticket: Ticket,
        /// Its descriptor.
        fd: F,
        /// Whether it was sent.
        result: Result<(), Errno>,
    },
    /// Something has happened.
    Input(Input),
    /// The kernel refused a wait, which is to be begun again after a pause: by
    /// [`Link::wait_again`].
    WaitFailed(LinkOp, Option<F>),
}

/// The descriptors of connections, as far as a link needs them.
pub trait ConnectionTable<F> {
    /// Takes a connection's descriptor out to send a copy of it; `None` when it is not here.
    fn send(&mut self, ticket: Ticket) -> Option<F>;

    /// Whether a worker has a connection, or is offered it.
    fn is_with(&self, ticket: Ticket, worker: WorkerId) -> bool;

    /// Whether a connection waits for a worker.
    fn is_held(&self, ticket: Ticket) -> bool;
}

/// The worker has not read for long what it was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Behind;

impl<B: Backend, P: Pages> LinkPort<'_, B, P> {
    fn submit(&mut self, op: Op<B::Fd>, purpose: LinkOp) -> crate::io::Token {
        self.backend.submit(op, (self.tag)(self.worker, purpose))
    }
}

impl<F> Link<F> {
    /// A link over these, and what it waits for begins.
    pub fn new<B: Backend<Fd = F>, P: Pages>(
        ends: LinkEnds<F>,
        mut port: LinkPort<'_, B, P>,
    ) -> Self {
        match ends {
            LinkEnds::Native { channel, hangup, doorbell } => {
                let channel = Channel::open([channel, hangup, doorbell], &mut port);
                Self::Native(NativeLink::new(channel))
            }
            LinkEnds::Bare => Self::Bare,
            #[cfg(feature = "sim")]
            LinkEnds::Acknowledged { channel, hangup, doorbell } => {
                let channel = Channel::open([channel, hangup, doorbell], &mut port);
                Self::Acknowledged(AcknowledgedLink::new(channel))
            }
            #[cfg(feature = "sim")]
            LinkEnds::Notified { notice } => Self::Notified(NotifiedLink::new(notice, port)),
        }
    }

    /// Offers a connection to the worker, which can hold `most`: what goes there in one turn
    /// travels together.
    ///
    /// # Errors
    /// When the worker is behind: it has been told nothing.
    pub fn offer<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        most: u32,
        connections: &mut impl ConnectionTable<F>,
        port: LinkPort<'_, B, P>,
    ) -> Result<(), Behind> {
        match self {
            Self::Native(link) => link.offer(ticket, most, connections, port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.offer(ticket, connections, port),
            #[cfg(feature = "sim")]
            Self::Notified(_) => Err(Behind),
            Self::Bare => Err(Behind),
        }
    }

    /// Takes an offer back, if its worker has not begun with it.
    pub fn recall<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        port: LinkPort<'_, B, P>,
    ) -> Settled {
        match self {
            Self::Native(_) => port.pages.recall(port.worker, ticket),
            // What a dead one has not acknowledged it has not begun with.
            #[cfg(feature = "sim")]
            Self::Acknowledged(_) => port.pages.recall(port.worker, ticket),
            #[cfg(feature = "sim")]
            Self::Notified(_) => Settled::Back,
            Self::Bare => Settled::Back,
        }
    }

    /// A connection has ended: if the worker has a copy, it is to let it go. Returns whether it
    /// has.
    pub fn forget<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        ticket: Ticket,
        port: LinkPort<'_, B, P>,
    ) -> bool {
        match self {
            Self::Native(link) => link.forget(ticket, port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(_) | Self::Notified(_) => false,
            Self::Bare => false,
        }
    }

    /// Sends what has gathered in this turn.
    pub fn send_gathered<B: Backend<Fd = F>, P: Pages>(&mut self, port: LinkPort<'_, B, P>) {
        match self {
            Self::Native(link) => link.send_packed(port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.send_gathered(port),
            #[cfg(feature = "sim")]
            Self::Notified(_) => {}
            Self::Bare => {}
        }
    }

    /// Wakes the worker, where it sleeps over what it was told in this turn.
    pub fn wake_if_told<B: Backend<Fd = F>, P: Pages>(&mut self, port: LinkPort<'_, B, P>) {
        match self {
            Self::Native(link) => link.send_offer_entries(port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(_) | Self::Notified(_) => {}
            Self::Bare => {}
        }
    }

    /// Tells the worker what to do, or has it be told by a signal.
    pub fn order<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        order: Order,
        port: LinkPort<'_, B, P>,
    ) -> Option<Signal> {
        match self {
            Self::Native(link) => link.order(order, port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.order(order, port),
            #[cfg(feature = "sim")]
            Self::Notified(_) => return bare::signal_for(order),
            Self::Bare => return bare::signal_for(order),
        }
        None
    }

    /// What the worker has said since this was asked last.
    pub fn hear<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        port: LinkPort<'_, B, P>,
        heard: &mut Vec<Input>,
    ) {
        match self {
            Self::Native(link) => link.hear(port, heard),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.hear(port, heard),
            #[cfg(feature = "sim")]
            Self::Notified(_) => {}
            Self::Bare => {}
        }
    }

    /// How loaded the worker is, as far as it says.
    pub fn load<B: Backend<Fd = F>, P: Pages>(&mut self, port: LinkPort<'_, B, P>) -> Load {
        match self {
            Self::Native(_) => port.pages.load(port.worker, port.now),
            #[cfg(feature = "sim")]
            Self::Acknowledged(_) | Self::Notified(_) => Load::NONE,
            Self::Bare => Load::NONE,
        }
    }

    /// Begins a wait again that has failed.
    pub fn wait_again<B: Backend<Fd = F>, P: Pages>(
        &mut self,
        op: LinkOp,
        fd: Option<F>,
        port: LinkPort<'_, B, P>,
    ) {
        match self {
            Self::Native(link) => link.wait(op, fd, port),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.wait(op, fd, port),
            #[cfg(feature = "sim")]
            Self::Notified(link) => link.wait(fd, port),
            Self::Bare => {}
        }
    }

    /// Gives up everything that it has: the worker is gone.
    pub fn end<B: Backend<Fd = F>>(self, backend: &mut B) {
        match self {
            Self::Native(link) => link.end(backend),
            #[cfg(feature = "sim")]
            Self::Acknowledged(link) => link.end(backend),
            #[cfg(feature = "sim")]
            Self::Notified(link) => link.end(backend),
            Self::Bare => {}
        }
    }
}

/// Takes in that an operation of a link has ended; `link` is none where the worker is gone.
pub fn completed<F>(
    link: Option<&mut Link<F>>,
    worker: WorkerId,
    op: LinkOp,
    outcome: Outcome<F>,
    news: &mut Vec<LinkNews<F>>,
) {
    match link {
        None => native::completed(None, worker, op, outcome, news),
        Some(Link::Native(link)) => native::completed(Some(link), worker, op, outcome, news),
        #[cfg(feature = "sim")]
        Some(Link::Acknowledged(link)) => link.completed(worker, op, outcome, news),
        #[cfg(feature = "sim")]
        Some(Link::Notified(link)) => link.noticed(worker, outcome, news),
        Some(Link::Bare) => unreachable!("it has nothing under way"),
    }
}
