//! A backend under test, and what every law says about it: what comes of an operation, and when.

use dispatchd::io::{Backend, Batch, Completion, Op, Outcome, Ready, Role, Source, Tag, Token};
use dispatchd::units::{Errno, Span, Ticket};

use super::kernel::Kernel;

/// Longer than anything here takes, shorter than anyone waits for a test.
pub(crate) const PATIENCE: Span = Span::from_s(5);
/// Long enough for a completion that must not come.
pub(crate) const SILENCE: Span = Span::from_ms(20);
pub(crate) const CANCELLED: Errno = Errno(libc::ECANCELED);
pub(crate) const FULL: Errno = Errno(libc::EAGAIN);

/// The descriptors of what was sent, or why it was not and everything back.
pub(crate) type HandoffResult<F> = Result<Vec<F>, (Errno, Batch<F>)>;

/// A backend, the completions that nobody has asked for yet, and the kernel below.
pub(crate) struct Rig<K: Kernel> {
    pub(crate) backend: K::Port,
    pub(crate) seen: Vec<Completion<K::Fd>>,
    pub(crate) kernel: K,
}

impl<K: Kernel> Rig<K> {
    pub(crate) fn new(kernel: K) -> Self {
        Self { backend: kernel.port(), seen: Vec::new(), kernel }
    }

    pub(crate) fn submit(&mut self, op: Op<K::Fd>) -> Token {
        self.backend.submit(op, Tag(7))
    }

    pub(crate) fn wait(&mut self, timeout: Span) {
        self.backend.wait(Some(timeout), &mut self.seen).unwrap();
    }

    /// Waits until `token` says something.
    pub(crate) fn next(&mut self, token: Token) -> (bool, Outcome<K::Fd>) {
        let end = self.kernel.now().after(PATIENCE);
        loop {
            if let Some(at) = self.seen.iter().position(|seen| seen.token == token) {
                let completion = self.seen.remove(at);
                assert_eq!(completion.tag, Tag(7));
                return (completion.last, completion.outcome);
            }
            let left = end.since(self.kernel.now());
            assert_ne!(left, Span::ZERO, "nothing came of {token:?}");
            self.wait(left);
        }
    }

    /// The one and only completion of `token`.
    pub(crate) fn only(&mut self, token: Token) -> Outcome<K::Fd> {
        let (last, outcome) = self.next(token);
        assert!(last, "{token:?} goes on after {outcome:?}");
        outcome
    }

    /// Nothing completes for a while.
    pub(crate) fn silent(&mut self) {
        self.wait(SILENCE);
        assert!(self.seen.is_empty(), "{:?}", self.seen);
    }

    /// Nothing is there yet, and everything submitted is carried out.
    pub(crate) fn silent_now(&mut self) {
        self.wait(Span::ZERO);
        assert!(self.seen.is_empty(), "{:?}", self.seen);
    }

    /// The tokens that have ended, sorted; each as often as it ended.
    pub(crate) fn ended(&self) -> Vec<Token> {
        let ended = self.seen.iter().filter(|seen| seen.last);
        let mut tokens: Vec<_> = ended.map(|seen| seen.token).collect();
        tokens.sort();
        tokens
    }

    pub(crate) fn accepted(&mut self, token: Token) -> Result<K::Fd, Errno> {
        match self.only(token) {
            Outcome::Accepted(result) => result,
            other => panic!("not an accept: {other:?}"),
        }
    }

    pub(crate) fn readable(&mut self, token: Token) -> (K::Fd, Result<Ready, Errno>) {
        match self.only(token) {
            Outcome::Readable(fd, result) => (fd, result),
            other => panic!("not a watch: {other:?}"),
        }
    }

    /// The watch ends because its connection does, which some kernels call an error.
    pub(crate) fn over(&mut self, token: Token) -> K::Fd {
        let (fd, result) = self.readable(token);
        assert!(matches!(result, Ok(_) | Err(Errno(libc::ECONNRESET))), "{result:?}");
        fd
    }

    pub(crate) fn handed_off(&mut self, token: Token) -> HandoffResult<K::Fd> {
        match self.only(token) {
            Outcome::HandedOff(batch, Ok(())) => Ok(batch.fds),
            Outcome::HandedOff(batch, Err(errno)) => Err((errno, batch)),
            other => panic!("not a handoff: {other:?}"),
        }
    }

    pub(crate) fn received(&mut self, token: Token) -> (Vec<u8>, Result<usize, Errno>) {
        match self.only(token) {
            Outcome::Received(buffer, result) => (buffer, result),
            other => panic!("not a receive: {other:?}"),
        }
    }

    pub(crate) fn sent(&mut self, token: Token) -> (Vec<u8>, Result<usize, Errno>) {
        match self.only(token) {
            Outcome::Sent(buffer, result) => (buffer, result),
            other => panic!("not a send: {other:?}"),
        }
    }

    pub(crate) fn rang(&mut self, token: Token) -> (bool, Result<(), Errno>) {
        match self.next(token) {
            (last, Outcome::Rang(result)) => (last, result),
            other => panic!("not a ring: {other:?}"),
        }
    }

    pub(crate) fn listener(&mut self, role: Role) -> (Source, K::Address) {
        let (fd, address) = self.kernel.listener();
        (self.backend.adopt(fd, role), address)
    }

    pub(crate) fn doorbell(&mut self) -> (Source, K::Clapper) {
        let (fd, clapper) = self.kernel.doorbell();
        (self.backend.adopt(fd, Role::Doorbell), clapper)
    }

    /// A channel: the source of our end, and the other end.
    pub(crate) fn channel(&mut self) -> (Source, K::FarEnd) {
        let (fd, far) = self.kernel.channel();
        (self.backend.adopt(fd, Role::Channel), far)
    }

    pub(crate) fn stream(&mut self) -> (Source, K::Peer) {
        let (fd, peer) = self.kernel.connection();
        (self.backend.adopt(fd, Role::Stream), peer)
    }

    /// A batch of marked descriptors, whose indices are the marks.
    pub(crate) fn batch(&self, header: u64, marks: std::ops::Range<u8>) -> Batch<K::Fd> {
        let mut batch = Batch::new(header);
        for mark in marks {
            let ticket = Ticket { index: u32::from(mark), generation: 1 };
            batch.push(ticket, self.kernel.marked(mark));
        }
        batch
    }

    /// Which they are, whatever they are copies of.
    pub(crate) fn numbers_of(&self, fds: &[K::Fd]) -> Vec<usize> {
        fds.iter().map(|fd| self.kernel.number(fd)).collect()
    }

    /// They are open, and these.
    pub(crate) fn marks_of(&self, fds: Vec<K::Fd>) -> Vec<u8> {
        fds.into_iter().map(|fd| self.kernel.mark_of(fd)).collect()
    }
}
