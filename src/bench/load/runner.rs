//! The loop of the generator: what is due is sent, what has come is read, and nobody is waited for
//! longer than until the next intended time. An answer that is late delays no other request, but
//! those behind it on its own connection; and those count from when they were meant to be sent.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::OwnedFd;

use super::answer::{Answer, AnswerReader};
use super::scribe::{AfterRequest, Scribe};
use super::share::{NONE, Share};
use super::{LoadError, SendPace};
use crate::bench::outcome::{Fate, Sample};
use crate::bench::trace::Trace;
use crate::io::arena::{Arena, ArenaKey};
use crate::io::{Backend, Completion, Op, Outcome, Role, Source, Tag, Token};
use crate::limits::{BENCH_BURST, BENCH_CONNECT_PAUSE, HTTP_BUFFER, HTTP_BUFFERS_KEPT, HTTP_CHUNK};
use crate::sys::clock;
use crate::sys::socket::{self, Endpoint};
use crate::units::{Errno, Mono, Span};

/// What a runner is told.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) trace: &'a Trace,
    pub(super) share: &'a Share,
    pub(super) endpoint: &'a Endpoint,
    pub(super) scribe: Scribe,
    pub(super) timeout: Span,
    pub(super) pace: SendPace,
}

/// How far a runner is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    /// Requests whose fate is known.
    pub(super) done: u64,
    /// Those of them that were not answered well.
    pub(super) errors: u64,
}

/// One thread's part of a run.
pub(super) struct Runner<'a, B> {
    backend: B,
    orders: Orders<'a>,
    start: Mono,
    /// Steps before this one have had their time.
    cursor: usize,
    /// Steps whose time has come while the one before them was unanswered.
    due: VecDeque<u32>,
    /// Steps whose connection found a full queue, and when they try again.
    retries: VecDeque<(Span, u32)>,
    /// When requests are given up; in order, since all have the same time. Those that have ended
    /// meanwhile are skipped.
    deadlines: VecDeque<(Span, ArenaKey, u32)>,
    /// By connection: its place, [`NOBODY`] or [`OPENING`].
    places: Vec<ArenaKey>,
    conns: Arena<LoadConn>,
    samples: Vec<Sample>,
    count: Count,
    completions: Vec<Completion<OwnedFd>>,
    buffers: Vec<Vec<u8>>,
    reported: Span,
}

/// A connection that is open, or on its way to be.
struct LoadConn {
    source: Source,
    connection: u32,
    /// The request that is not answered.
    step: Option<u32>,
    reader: AnswerReader,
    /// The request's text. Away while a send is pending.
    output: Vec<u8>,
    /// Bytes of it that are sent.
    from: usize,
    send: Option<Token>,
    recv: Option<Token>,
    phase: LoadPhase,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LoadPhase {
    Open,
    /// Closed as soon as the backend has let go of it.
    Doomed,
}

/// What came of some bytes.
enum Heard {
    More(Vec<u8>),
    Answer(Answer, Vec<u8>),
    Failed(Fate),
}

/// The place of a connection that is not open.
const NOBODY: ArenaKey = ArenaKey { index: u32::MAX, generation: 0 };
/// The place of a connection that waits for room in the server's queue.
const OPENING: ArenaKey = ArenaKey { index: u32::MAX, generation: 1 };
/// How often the others are told.
const REPORT_EVERY: Span = Span::from_ms(100);
/// What a buffer grows to when the server sends much at once.
const BUFFER_MAX: usize = 4 * HTTP_CHUNK;

impl<'a, B: Backend<Fd = OwnedFd>> Runner<'a, B> {
    /// Everything is ready but the time.
    pub(super) fn new(backend: B, orders: Orders<'a>) -> Self {
        let (steps, connections) = (orders.share.steps.len(), orders.share.connections);
        let unsent =
            Sample { sent: Span::ZERO, done: Span::ZERO, worker: None, fate: Fate::Unsent };
        Self {
            backend,
            orders,
            start: Mono::ZERO,
            cursor: 0,
            due: VecDeque::new(),
            retries: VecDeque::new(),
            deadlines: VecDeque::new(),
            places: vec![NOBODY; connections],
            conns: Arena::new(),
            samples: vec![unsent; steps],
            count: Count::default(),
            completions: Vec::new(),
            buffers: Vec::new(),
            reported: Span::ZERO,
        }
    }

    /// Sends everything from `start` on and waits for the answers, at most for the timeout after
    /// the last intended time. Returns a sample for each step of the share.
    ///
    /// # Errors
    /// The backend breaks.
    pub(super) fn run(
        mut self,
        start: Mono,
        mut report: impl FnMut(Count),
    ) -> Result<Vec<Sample>, LoadError> {
        self.start = start;
        let end = Span::from_ns(
            self.orders.trace.length().as_ns().saturating_add(self.orders.timeout.as_ns()),
        );
        clock::sleep(start.since(clock::monotonic()));
        loop {
            let more = self.launch_what_is_due();
            let now = self.now();
            self.expire(now);
            if self.count.done == self.samples.len() as u64 {
                break;
            }
            if end <= now {
                self.give_up(now);
                break;
            }
            let timeout = if more { Span::ZERO } else { self.timeout(now, end) };
            let out = &mut self.completions;
            self.backend.wait(Some(timeout), out).map_err(LoadError::Wait)?;
            self.digest();
            self.tell(&mut report);
        }
        report(self.count);
        self.shut()?;
        Ok(self.samples)
    }

    fn now(&self) -> Span {
        clock::monotonic().since(self.start)
    }

    /// Sends what is due, up to a bound; tells whether there is more.
    fn launch_what_is_due(&mut self) -> bool {
        for _ in 0..BENCH_BURST {
            // Each reading is a request's own: connecting takes its time.
            let now = self.now();
            if let Some(&(at, step)) = self.retries.front()
                && at <= now
            {
                self.retries.pop_front();
                self.retry(step, now);
            } else if let Some(step) = self.due.pop_front() {
                self.launch(step, now);
            } else if self.next_intended().is_some_and(|at| at <= now) {
                let step = u32::try_from(self.cursor).expect("steps are counted in 32 bits");
                self.cursor += 1;
                self.launch(step, now);
            } else {
                return false;
            }
        }
        true
    }

    fn next_intended(&self) -> Option<Span> {
        let step = self.orders.share.steps.get(self.cursor)?;
        Some(self.orders.trace.requests[step.request as usize].at)
    }

    /// Sends a request, unless its connection is busy: then it follows when that is free.
    fn launch(&mut self, step: u32, now: Span) {
        let connection = self.orders.share.steps[step as usize].connection;
        let key = self.places[connection as usize];
        match self.conns.occupant(key) {
            Some(LoadConn { step: None, .. }) => self.begin(key, step, now),
            Some(LoadConn { step: Some(_), .. }) => {}
            None if key == OPENING => {}
            None => {
                self.samples[step as usize].sent = now;
                self.open(step, now);
            }
        }
    }

    fn retry(&mut self, step: u32, now: Span) {
        let connection = self.orders.share.steps[step as usize].connection;
        self.places[connection as usize] = NOBODY;
        let waited = now.as_ns() - self.samples[step as usize].sent.as_ns();
        if self.orders.timeout.as_ns() <= waited {
            self.finish(step, Fate::TimedOut, None, now);
        } else {
            self.open(step, now);
        }
    }

    /// Opens the connection of a request and sends it.
    fn open(&mut self, step: u32, now: Span) {
        let connection = self.orders.share.steps[step as usize].connection;
        match connect(self.orders.endpoint) {
            Ok(socket) => {
                let source = self.backend.adopt(socket, Role::Stream);
                let output = self.take_buffer();
                let key = self.conns.insert(LoadConn::new(source, connection, output));
                self.places[connection as usize] = key;
                let since = self.samples[step as usize].sent;
                self.begin(key, step, now);
                self.samples[step as usize].sent = since;
            }
            Err(ConnectObstacle::Full) => {
                self.places[connection as usize] = OPENING;
                let again = Span::from_ns(now.as_ns() + BENCH_CONNECT_PAUSE.as_ns());
                self.retries.push_back((again, step));
            }
            Err(ConnectObstacle::Fatal) => self.finish(step, Fate::Unconnected, None, now),
        }
    }

    /// Sends a request on a connection that has no other.
    fn begin(&mut self, key: ArenaKey, step: u32, now: Span) {
        let place = self.orders.share.steps[step as usize];
        let request = &self.orders.trace.requests[place.request as usize];
        let ending = if place.next == NONE { AfterRequest::Close } else { AfterRequest::KeepAlive };
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.step = Some(step);
        conn.from = 0;
        conn.output.clear();
        self.orders.scribe.write(request.class, request.service, ending, &mut conn.output);
        self.samples[step as usize].sent = now;
        let deadline = Span::from_ns(now.as_ns().saturating_add(self.orders.timeout.as_ns()));
        self.deadlines.push_back((deadline, key, step));
        self.transmit(key);
        if self.conns.occupant(key).is_some_and(|conn| conn.recv.is_none()) {
            let input = self.take_buffer();
            self.receive(key, input);
        }
    }

    fn transmit(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let (buffer, from) = (mem::take(&mut conn.output), conn.from);
        let op = Op::Send { stream: conn.source, buffer, from };
        conn.send = Some(self.backend.submit(op, Tag(key.to_word())));
    }

    fn receive(&mut self, key: ArenaKey, mut buffer: Vec<u8>) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        if buffer.len() == buffer.capacity() {
            buffer.reserve(HTTP_BUFFER);
        }
        let op = Op::Recv { stream: conn.source, buffer };
        conn.recv = Some(self.backend.submit(op, Tag(key.to_word())));
    }

    /// Takes up what the kernel has done.
    fn digest(&mut self) {
        let now = self.now();
        let mut completions = mem::take(&mut self.completions);
        for Completion { token: _, tag, last: _, outcome } in completions.drain(..) {
            let key = ArenaKey::from_word(tag.0);
            match outcome {
                Outcome::Received(buffer, result) => self.received(key, buffer, result, now),
                Outcome::Sent(buffer, result) => self.sent(key, buffer, result, now),
                // None of these is ever submitted here, but the close, which tells nothing.
                Outcome::Accepted(_)
                | Outcome::Readable(..)
                | Outcome::Rang(_)
                | Outcome::HandedOff(..)
                | Outcome::Closed => {}
            }
        }
        self.completions = completions;
    }

    fn sent(&mut self, key: ArenaKey, buffer: Vec<u8>, result: Result<usize, Errno>, now: Span) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.send = None;
        conn.output = buffer;
        match (conn.phase, result) {
            (LoadPhase::Doomed, _) => self.close_if_free(key),
            (LoadPhase::Open, Ok(count)) => {
                conn.from += count;
                if conn.from < conn.output.len() {
                    self.transmit(key);
                }
            }
            (LoadPhase::Open, Err(errno)) => self.fail(key, fate_of(errno), now),
        }
    }

    fn received(
        &mut self,
        key: ArenaKey,
        buffer: Vec<u8>,
        result: Result<usize, Errno>,
        now: Span,
    ) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.recv = None;
        match (conn.phase, conn.step) {
            (LoadPhase::Doomed, _) => {
                self.keep_buffer(buffer);
                self.close_if_free(key);
            }
            // The server has closed an idle connection, or says what nobody has asked for: the
            // next request gets another one.
            (LoadPhase::Open, None) => {
                self.keep_buffer(buffer);
                self.doom(key);
            }
            (LoadPhase::Open, Some(step)) => match conn.hear(buffer, result) {
                Heard::More(buffer) => self.receive(key, buffer),
                Heard::Answer(answer, buffer) => self.answered(key, step, answer, buffer, now),
                Heard::Failed(fate) => self.fail(key, fate, now),
            },
        }
    }

    fn answered(&mut self, key: ArenaKey, step: u32, answer: Answer, buffer: Vec<u8>, now: Span) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.step = None;
        let last = self.orders.share.steps[step as usize].next == NONE;
        // An answer before the whole request, and bytes behind it, leave nothing to go on with.
        let clean = conn.send.is_none() && buffer.is_empty();
        if last || !answer.keep_alive || !clean {
            self.keep_buffer(buffer);
            self.doom(key);
        } else {
            // It is read on at once, to see when the server closes it.
            self.receive(key, buffer);
        }
        let fate = match answer.status {
            200..=399 => Fate::Answered,
            status => Fate::Refused(status),
        };
        self.finish(step, fate, answer.worker, now);
    }

    /// The connection is lost, and its request with it.
    fn fail(&mut self, key: ArenaKey, fate: Fate, now: Span) {
        let step = self.conns.occupant_mut(key).and_then(|conn| conn.step.take());
        self.doom(key);
        if let Some(step) = step {
            self.finish(step, fate, None, now);
        }
    }

    /// The request's fate is known; the next one on its connection may be overdue.
    fn finish(&mut self, step: u32, fate: Fate, worker: Option<u16>, now: Span) {
        let sent = self.samples[step as usize].sent;
        self.samples[step as usize] = Sample { sent, done: now, worker, fate };
        self.count.done += 1;
        self.count.errors += u64::from(!fate.is_good());
        let next = self.orders.share.steps[step as usize].next;
        if (next as usize) < self.cursor {
            self.due.push_back(next);
        }
    }

    /// Closes the connection as soon as the backend has let go of it.
    fn doom(&mut self, key: ArenaKey) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.phase = LoadPhase::Doomed;
        let place = &mut self.places[conn.connection as usize];
        if *place == key {
            *place = NOBODY;
        }
        for token in [conn.send, conn.recv].into_iter().flatten() {
            self.backend.cancel(token);
        }
        self.close_if_free(key);
    }

    fn close_if_free(&mut self, key: ArenaKey) {
        let Some(LoadConn { send: None, recv: None, .. }) = self.conns.occupant(key) else {
            return;
        };
        let Some(conn) = self.conns.remove(key) else { return };
        let fd = self.backend.release(conn.source);
        self.backend.submit(Op::Close { fd }, Tag(NOBODY.to_word()));
        self.keep_buffer(conn.output);
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Span) {
        while let Some(&(deadline, key, step)) = self.deadlines.front() {
            let is_on = self.conns.occupant(key).is_some_and(|conn| conn.step == Some(step));
            if is_on && now < deadline {
                break;
            }
            self.deadlines.pop_front();
            if is_on {
                self.fail(key, Fate::TimedOut, now);
            }
        }
    }

    /// The run is over: what is under way is too late, and what has not begun never will.
    fn give_up(&mut self, now: Span) {
        let steps = self.orders.share.steps.len();
        let mut begun = vec![false; steps];
        for (_, conn) in self.conns.iter_mut() {
            if let Some(step) = conn.step.take() {
                begun[step as usize] = true;
            }
        }
        for (_, step) in self.retries.drain(..) {
            begun[step as usize] = true;
        }
        for (sample, begun) in self.samples.iter_mut().zip(begun) {
            if begun {
                (sample.done, sample.fate) = (now, Fate::TimedOut);
            } else if sample.fate == Fate::Unsent {
                (sample.sent, sample.done) = (now, now);
            } else {
                continue;
            }
            self.count.done += 1;
            self.count.errors += 1;
        }
    }

    /// How long the next wait may last.
    fn timeout(&self, now: Span, end: Span) -> Span {
        match self.orders.pace {
            SendPace::Spin => return Span::ZERO,
            SendPace::Sleep => {}
        }
        let deadline = self.deadlines.front().map(|(at, ..)| *at);
        let retry = self.retries.front().map(|(at, _)| *at);
        let report = Span::from_ns(self.reported.as_ns() + REPORT_EVERY.as_ns());
        let wakes = [self.next_intended(), deadline, retry, Some(end), Some(report)];
        let next = wakes.into_iter().flatten().min().unwrap_or(end);
        Span::from_ns(next.as_ns().saturating_sub(now.as_ns()))
    }

    fn tell(&mut self, report: &mut impl FnMut(Count)) {
        let now = self.now();
        if self.reported.as_ns() + REPORT_EVERY.as_ns() <= now.as_ns() {
            self.reported = now;
            report(self.count);
        }
    }

    /// Closes everything.
    fn shut(&mut self) -> Result<(), LoadError> {
        let keys: Vec<ArenaKey> = self.conns.iter_mut().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.doom(key));
        self.backend.quiesce(&mut self.completions).map_err(LoadError::Wait)?;
        self.digest();
        // The closes that followed from what the first one brought.
        self.backend.quiesce(&mut self.completions).map_err(LoadError::Wait)
    }

    fn take_buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(HTTP_BUFFER))
    }

    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < HTTP_BUFFERS_KEPT && (1..=HTTP_CHUNK).contains(&buffer.capacity()) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

impl LoadConn {
    fn new(source: Source, connection: u32, output: Vec<u8>) -> Self {
        Self {
            source,
            connection,
            step: None,
            reader: AnswerReader::default(),
            output,
            from: 0,
            send: None,
            recv: None,
            phase: LoadPhase::Open,
        }
    }

    /// Reads on in what has come.
    fn hear(&mut self, mut buffer: Vec<u8>, result: Result<usize, Errno>) -> Heard {
        match result {
            Err(errno) => Heard::Failed(fate_of(errno)),
            Ok(0) => match self.reader.end() {
                Some(answer) => Heard::Answer(answer, buffer),
                None => Heard::Failed(Fate::Broken),
            },
            Ok(_) => {
                let was_full = buffer.len() == buffer.capacity();
                let Ok(advance) = self.reader.advance(&buffer) else {
                    return Heard::Failed(Fate::Nonsense);
                };
                buffer.drain(..advance.consumed);
                if was_full && buffer.capacity() < BUFFER_MAX {
                    buffer.reserve(2 * buffer.capacity() - buffer.len());
                }
                match advance.answer {
                    Some(answer) => Heard::Answer(answer, buffer),
                    None => Heard::More(buffer),
                }
            }
        }
    }
}

/// Why there is no connection.
enum ConnectObstacle {
    /// The server's queue has no room; it may have some soon.
    Full,
    /// Nothing can be done.
    Fatal,
}

fn connect(endpoint: &Endpoint) -> Result<OwnedFd, ConnectObstacle> {
    match (socket::connect(endpoint), endpoint) {
        (Ok(socket), Endpoint::Tcp(_)) => {
            // Our close comes when nothing is under way any more; without this, each connection
            // would keep its port for a minute, and there are less than 30,000 of them.
            socket::set_abrupt_close(&socket).map_err(|_| ConnectObstacle::Fatal)?;
            Ok(socket)
        }
        (Ok(socket), Endpoint::Unix(_)) => Ok(socket),
        (Err(Errno(libc::EAGAIN)), Endpoint::Unix(_)) => Err(ConnectObstacle::Full),
        (Err(_), Endpoint::Tcp(_) | Endpoint::Unix(_)) => Err(ConnectObstacle::Fatal),
    }
}

/// What an error of a connection means: that there was none, or that it broke.
const fn fate_of(errno: Errno) -> Fate {
    match errno.0 {
        libc::ECONNREFUSED
        | libc::ETIMEDOUT
        | libc::EHOSTUNREACH
        | libc::ENETUNREACH
        | libc::ENOTCONN => Fate::Unconnected,
        _ => Fate::Broken,
    }
}
