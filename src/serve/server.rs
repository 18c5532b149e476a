//! The loop of the built-in worker. One turn: what the kernel has done, what has run out, then
//! requests, one at a time, then a look for new connections. Only complete requests are executed,
//! so that no client's slowness is another client's; and a connection is claimed only between
//! requests, so that what it would wait for here can be served elsewhere.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::os::fd::OwnedFd;

use super::ServeError;
use super::buffers::Buffers;
use super::conn::{ServeConn, ServePhase};
use super::http::{HttpRequest, Responder, ServerIdentity};
use super::http1::Next;
use super::intake::ServeIntake;
use super::strength::Strength;
use super::timers::{ConnLimit, Timers};
use super::work::RequestWork;
use crate::io::arena::{Arena, ArenaKey};
use crate::io::{Backend, Completion, Outcome, Token};
use crate::limits::{QUICK_STREAK, REQUESTS_PER_TURN, UNSENT_PAUSE};
use crate::sys::clock;
use crate::units::{Mono, Span};
use crate::wire::message::WorkerMessage;
use crate::worker::{self, LinkEnd, Order};

/// The built-in worker on one backend.
pub(super) struct Server<B> {
    pub(super) backend: B,
    pub(super) link: LinkEnd,
    pub(super) intake: ServeIntake,
    pub(super) conns: Arena<ServeConn>,
    pub(super) timers: Timers,
    pub(super) buffers: Buffers,
    pub(super) responder: Responder,
    strength: Strength,
    pub(super) mode: Mode,
    /// Connections with input that has not been looked through.
    pub(super) runnable: VecDeque<ArenaKey>,
    /// Requests whose answer comes at a time: the time, and the connection's key as a word.
    pub(super) parked: BinaryHeap<Reverse<(Mono, u64)>>,
    /// Tokens of this turn.
    pub(super) messages: Vec<WorkerMessage>,
    /// Operations were submitted that no wait has carried out.
    pub(super) unsubmitted: bool,
    pub(super) completions: Vec<Completion<OwnedFd>>,
    /// Room for the connections that a turn settles, kept between turns.
    newcomers: Vec<ArenaKey>,
    /// First answers that this turn sends, whose clients may not take them.
    pub(super) departing: Vec<(ArenaKey, Token)>,
    /// Requests that have begun and whose end is not counted.
    running: u32,
    /// Requests since the last that took its time.
    quick: u32,
    date_due: Mono,
}

/// What the worker is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Serving.
    Serve,
    /// Ending what it has, in order to leave.
    Drain,
}

/// Whether there is another turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TurnFlow {
    /// There is.
    Continue,
    /// Everything has ended.
    Finished,
}

/// What serving one connection means for the rest of the turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServePace {
    /// What was served took no time: others may follow before the answers leave.
    Quick,
    /// A request took its time: its answer leaves before another begins.
    Slow,
}

/// How late the date of an answer may change.
const DATE_SLACK: Span = Span::from_ms(100);

impl<B: Backend<Fd = OwnedFd>> Server<B> {
    /// A worker that has said nothing yet.
    ///
    /// # Errors
    /// When the channel cannot be watched.
    pub(super) fn new(
        mut backend: B,
        mut link: LinkEnd,
        strength: Strength,
    ) -> Result<Self, ServeError> {
        let identity = worker::WorkerIdentity::of(&link);
        let intake = ServeIntake::new(&mut backend, &mut link)?;
        Ok(Self {
            backend,
            link,
            intake,
            conns: Arena::new(),
            timers: Timers::new(),
            buffers: Buffers::default(),
            responder: Responder::new(ServerIdentity {
                worker: identity.slot.0,
                pid: identity.pid,
                cpu: identity.cpu.map(|cpu| cpu.0),
                generation: identity.generation.0,
            }),
            strength,
            mode: Mode::Serve,
            runnable: VecDeque::new(),
            parked: BinaryHeap::new(),
            messages: Vec::new(),
            unsubmitted: true,
            completions: Vec::new(),
            newcomers: Vec::new(),
            departing: Vec::new(),
            running: 0,
            quick: 0,
            date_due: Mono::ZERO,
        })
    }

    /// Serves until the master wants the worker to leave, or is gone, and all is answered.
    ///
    /// # Errors
    /// When the link or the backend breaks.
    pub(super) fn run(mut self) -> Result<(), ServeError> {
        loop {
            let now = self.look_again()?;
            match self.turn(now)? {
                TurnFlow::Continue => self.wait(now)?,
                TurnFlow::Finished => break,
            }
        }
        self.backend.quiesce(&mut self.completions).map_err(ServeError::Wait)
    }

    /// One turn of the loop, at `now`.
    pub(super) fn turn(&mut self, now: Mono) -> Result<TurnFlow, ServeError> {
        if self.date_due <= now {
            self.date_due = now.after(DATE_SLACK);
            self.responder.set_date(clock::unix_seconds());
        }
        if self.link.has_offer_entries() {
            self.intake.has_offer_entries();
        }
        if self.mode == Mode::Serve && self.link.order() != Order::Serve {
            self.drain(now);
        }
        self.digest(now)?;
        self.expire(now);
        let now = self.serve_runnable(now)?;
        self.look(now)?;
        self.send_messages();
        Ok(if self.is_finished() { TurnFlow::Finished } else { TurnFlow::Continue })
    }

    /// Carries out what the turn submitted, and waits for something to do.
    pub(super) fn wait(&mut self, now: Mono) -> Result<(), ServeError> {
        let timeout = self.timeout(now);
        let done = !mem::take(&mut self.unsubmitted);
        let idle = timeout != Some(Span::ZERO);
        if idle && done && self.link.spin() {
            return Ok(());
        }
        let sleeps = idle && self.link.fall_asleep();
        let timeout = if sleeps { timeout } else { Some(Span::ZERO) };
        self.backend.wait(timeout, &mut self.completions).map_err(ServeError::Wait)?;
        self.link.wake();
        Ok(())
    }

    /// The time. Where something runs out now, whatever has come by then is taken up before that,
    /// though this process may have been stopped since it looked last (decision 003).
    fn look_again(&mut self) -> Result<Mono, ServeError> {
        let now = clock::monotonic();
        if self.timers.deadline().is_some_and(|deadline| deadline <= now) {
            let out = &mut self.completions;
            self.backend.wait(Some(Span::ZERO), out).map_err(ServeError::Wait)?;
        }
        Ok(now)
    }

    /// Takes up what the kernel has done since the last turn.
    fn digest(&mut self, now: Mono) -> Result<(), ServeError> {
        let mut newcomers = mem::take(&mut self.newcomers);
        self.intake.take_newcomers(&mut newcomers);
        let departing = mem::take(&mut self.departing);
        let mut completions = mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.complete(completion, now)?;
        }
        self.completions = completions;
        self.settle_departing(departing, now);
        for key in newcomers.drain(..) {
            self.settle_newcomer(key, now);
        }
        self.newcomers = newcomers;
        Ok(())
    }

    fn complete(&mut self, completion: Completion<OwnedFd>, now: Mono) -> Result<(), ServeError> {
        let Completion { token: _, tag, last: _, outcome } = completion;
        match outcome {
            Outcome::Received(buffer, result) => self.received(tag, buffer, result, now),
            Outcome::Sent(buffer, result) => self.sent(tag, buffer, result, now),
            Outcome::Rang(result) => self.intake.rang(result)?,
            Outcome::Accepted(result) => self.accepted(tag, result, now),
            // None of these is ever submitted here.
            Outcome::Readable(..) | Outcome::HandedOff(..) | Outcome::Closed => {}
        }
        Ok(())
    }

    /// Leaves when all is answered: takes what the channel still holds, and nothing new.
    pub(super) fn drain(&mut self, now: Mono) {
        self.mode = Mode::Drain;
        self.intake.drain(&mut self.backend, &self.link);
        self.close_listeners();
        if self.link.gives_back(true) {
            // Others serve them: nobody has to leave with us.
            while let Some(key) = self.timers.take_idle() {
                self.expire_one(key, ConnLimit::Idle, now);
            }
        }
        self.timers.drain(now);
        self.unsubmitted = true;
    }

    fn is_finished(&mut self) -> bool {
        self.mode == Mode::Drain
            && self.conns.count() == 0
            && self.intake.is_empty()
            && self.link.flush()
    }

    /// Ends what has lasted too long, and answers the requests whose time has come.
    fn expire(&mut self, now: Mono) {
        while let Some((key, limit)) = self.timers.expired(now) {
            self.expire_one(key, limit, now);
        }
        while let Some(Reverse((due, _))) = self.parked.peek()
            && *due <= now
        {
            let Some(Reverse((_, word))) = self.parked.pop() else { return };
            self.unpark(ArenaKey::from_word(word), now);
        }
    }

    /// Serves complete requests: all of them if they are quick, up to a bound, or one slow one.
    /// Returns the time, which they have changed.
    fn serve_runnable(&mut self, now: Mono) -> Result<Mono, ServeError> {
        let mut served = 0;
        while let Some(key) = self.runnable.pop_front() {
            let (count, pace) = self.serve(key, now)?;
            self.settle(key, now);
            served += count;
            self.quick = match pace {
                ServePace::Quick => self.quick.saturating_add(u32::try_from(count).unwrap_or(0)),
                ServePace::Slow => 0,
            };
            if pace == ServePace::Slow || REQUESTS_PER_TURN <= served {
                break;
            }
        }
        self.intake.count(served);
        Ok(self.end_begun().unwrap_or(now))
    }

    /// Counts the ends of the requests that have begun. Returns the time, if there were any: one
    /// reading for all of them, and the next claim is measured against it.
    fn end_begun(&mut self) -> Option<Mono> {
        let count = mem::take(&mut self.running);
        if count == 0 {
            return None;
        }
        let end = clock::monotonic();
        self.link.ended_together(count, end);
        Some(end)
    }

    /// Whether requests are quick here, as far as can be told.
    pub(super) const fn is_quick(&self) -> bool {
        QUICK_STREAK <= self.quick
    }

    /// Serves the complete requests of one connection.
    fn serve(&mut self, key: ArenaKey, now: Mono) -> Result<(usize, ServePace), ServeError> {
        let mut count = 0;
        while let Some(conn) = self.conns.occupant_mut(key) {
            if !conn.is_at_rest() {
                break;
            }
            let request = match conn.http1.next() {
                Next::Request(request) => request,
                Next::Refuse(refusal) => {
                    conn.http1.refuse(&refusal, &self.responder, &mut self.buffers);
                    conn.standing.answers(conn.http1.unsent());
                    self.begin(now);
                    count += 1;
                    break;
                }
                Next::Pause => break,
            };
            let work = RequestWork::of(request.route).at(self.strength);
            if work != RequestWork::None && conn.http1.has_output() {
                conn.http1.defer(request);
                break;
            }
            conn.late = false;
            self.messages.extend(conn.standing.begins(now));
            count += 1;
            match work {
                RequestWork::None => {
                    self.begin(now);
                    self.answer(key, &request);
                }
                RequestWork::Park(span) => {
                    self.link.began(now);
                    self.park(key, request, now.after(span));
                }
                RequestWork::Burn(_) | RequestWork::Sleep(_) => {
                    self.let_others_leave()?;
                    // What it takes is its own, and not of those that were quick before it.
                    let began_at = self.end_begun().unwrap_or_else(clock::monotonic);
                    self.begin(began_at);
                    work.carry_out();
                    self.answer(key, &request);
                    return Ok((count, ServePace::Slow));
                }
            }
        }
        Ok((count, ServePace::Quick))
    }

    /// Counts a request that begins, be it refused; who reads the clock next counts its end.
    pub(super) fn begin(&mut self, now: Mono) {
        self.running += 1;
        self.link.began(now);
    }

    fn answer(&mut self, key: ArenaKey, request: &HttpRequest) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        let keep_alive = self.mode == Mode::Serve
            || conn.standing.ticket().is_some() && self.link.gives_back(true);
        conn.http1.answer(request, keep_alive, &self.responder, &mut self.buffers);
        conn.standing.answers(conn.http1.unsent());
    }

    /// Puts a request aside until its time comes; others are served meanwhile.
    fn park(&mut self, key: ArenaKey, request: HttpRequest, due: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        conn.phase = ServePhase::Parked(request);
        self.parked.push(Reverse((due, key.to_word())));
    }

    fn unpark(&mut self, key: ArenaKey, now: Mono) {
        let Some(conn) = self.conns.occupant_mut(key) else { return };
        match mem::replace(&mut conn.phase, ServePhase::Serving) {
            ServePhase::Parked(request) => {
                self.answer(key, &request);
                self.link.ended(now);
                self.settle(key, now);
            }
            other @ (ServePhase::Serving
            | ServePhase::Retiring
            | ServePhase::Overdue
            | ServePhase::Lingering(_)
            | ServePhase::Ebbing(_)
            | ServePhase::Doomed) => conn.phase = other,
        }
    }

    /// Carries out what is submitted and says what is to be said, since a request is about to take
    /// its time. What completes meanwhile is for the next turn.
    fn let_others_leave(&mut self) -> Result<(), ServeError> {
        self.send_messages();
        if mem::take(&mut self.unsubmitted) {
            let out = &mut self.completions;
            self.backend.wait(Some(Span::ZERO), out).map_err(ServeError::Wait)?;
        }
        Ok(())
    }

    fn send_messages(&mut self) {
        if !self.messages.is_empty() {
            self.link.send_all(&self.messages);
            self.messages.clear();
        }
    }

    /// How long the next wait may last.
    pub(super) fn timeout(&mut self, now: Mono) -> Option<Span> {
        let at_once = !self.runnable.is_empty()
            || !self.completions.is_empty()
            || self.intake.wants_another_turn();
        if at_once {
            return Some(Span::ZERO);
        }
        let unsent = if self.link.flush() { None } else { Some(now.after(UNSENT_PAUSE)) };
        let parked = self.parked.peek().map(|Reverse((due, _))| *due);
        let deadlines = [self.timers.deadline(), self.intake.deadline(), parked, unsent];
        deadlines.into_iter().flatten().min().map(|deadline| deadline.since(now))
    }
}
