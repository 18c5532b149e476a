//! What goes wrong, drawn anew for every seed: a run that suffers from everything at once hides
//! what only one fault alone can show.

use crate::engine::rng::Rng;
use crate::units::{Errno, Span};

/// Linux's error numbers; the simulator makes no system call, so it does without `libc`.
pub(super) mod errno {
    use crate::units::Errno;

    pub(crate) const EAGAIN: Errno = Errno(11);
    pub(crate) const ENOMEM: Errno = Errno(12);
    pub(crate) const ENFILE: Errno = Errno(23);
    pub(crate) const EMFILE: Errno = Errno(24);
    pub(crate) const ENOSPC: Errno = Errno(28);
    pub(crate) const EPIPE: Errno = Errno(32);
    pub(crate) const ECONNRESET: Errno = Errno(104);
    pub(crate) const ENOBUFS: Errno = Errno(105);
    pub(crate) const ETOOMANYREFS: Errno = Errno(109);
    pub(crate) const ECANCELED: Errno = Errno(125);
}

/// A bug planted in the kernel or in the world, which the checker must find.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sabotage {
    /// A recall says that it was too late, and was not.
    RecallTooLate,
    /// What a worker has claimed can be taken back all the same.
    RecallClaimed,
    /// What was taken back can be claimed all the same.
    ClaimRecalled,
    /// A watch on a connection never ends.
    SwallowReadable,
    /// A worker's death is never told, in no way.
    SwallowDeath,
    /// A worker's last word about a connection is lost.
    LoseClosed,
    /// A descriptor that is to be closed stays open.
    LeakClose,
    /// A descriptor that is released stays open besides.
    LeakSource,
    /// A worker's word is read twice.
    RepeatWord,
    /// An offer entry is lost on its way to a worker.
    LoseOfferEntry,
    /// The master thinks that all workers are awake.
    LetSleep,
    /// A worker answers once more after it has given a connection back.
    AnswerLate,
    /// All doorbells are one, which whoever fills his own silences.
    ShareDoorbell,
}

/// How often what goes wrong, in thousandths unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Completions that come late.
    pub(super) late: u64,
    /// How late at most.
    pub(super) late_max: Span,
    /// Handoffs refused with EAGAIN though there is room.
    pub(super) again: u64,
    /// Handoffs refused with ETOOMANYREFS.
    pub(super) too_many_refs: u64,
    /// Accepts that end for want of descriptors or memory.
    pub(super) exhausted: u64,
    /// Watches that fail.
    pub(super) watch_fails: u64,
    /// Processes that cannot be reaped for a while after their end.
    pub(super) reaped_late: u64,
    /// Processes that close their channel and hang.
    pub(super) detach: u64,
    /// Processes that somebody else sends SIGTERM.
    pub(super) sigterm: u64,
    /// Processes that SIGKILL does not end for long.
    pub(super) unkillable: u64,
    /// Processes that cannot be started.
    pub(super) spawn_fails: u64,
    /// Processes for which the kernel takes long to find their program.
    pub(super) exec_slow: u64,
    /// Processes that turn out to have no program.
    pub(super) exec_fails: u64,
    /// Processes that never say hello.
    pub(super) mute: u64,
    /// Processes that crash somewhere.
    pub(super) crash: u64,
    /// Processes that are stopped for a while, or for good.
    pub(super) stop: u64,
    /// Processes that take long to look at their channel.
    pub(super) slow: u64,
    /// Processes that lie.
    pub(super) lie: u64,
    /// Processes that fill their doorbell.
    pub(super) fill_doorbell: u64,
    /// Processes of a later release that die a moment after they are ready, if there is one.
    pub(super) bad_release: u64,
    /// Processes that do not finish when told to.
    pub(super) deaf_to_drain: u64,
    /// Processes that ignore SIGTERM.
    pub(super) deaf_to_term: u64,
    /// Leaps of the clock, as a count.
    pub(super) jumps: u64,
}

/// Where in its life a process crashes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Crash {
    BeforeHello,
    /// With batches that it has not received.
    Unread,
    /// Between receiving and claiming.
    Received,
    /// Between claiming and saying so.
    Unsaid,
    Claimed,
    InService,
    /// Between an answer and giving the connection back.
    Answered,
    /// With copies of connections that it has given back.
    GivenBack,
    Draining,
}

/// How a process lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lie {
    BadMessage,
    Overrun,
    StaleTicket,
    OthersTicket,
    DoubleClaim,
    /// It gives back what it has not answered, and goes on with it.
    GivesAway,
    NeverClaims,
    /// It writes nonsense over the words that settle claims.
    ForgesClaims,
    ImpossibleTerms,
    OtherLayout,
    DoubleHello,
}

impl Faults {
    /// A mix in which about a third of all faults take part.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut some = |most: u64| if rng.chance(1, 3) { 1 + rng.below(most) } else { 0 };
        let (late, late_us) = (some(400), 200 + some(4_000));
        Self {
            late,
            late_max: Span::from_us(late_us),
            again: some(300),
            too_many_refs: some(200),
            exhausted: some(200),
            spawn_fails: some(300),
            mute: some(200),
            crash: some(800),
            stop: some(900),
            slow: some(500),
            lie: some(300),
            deaf_to_drain: some(400),
            deaf_to_term: some(400),
            jumps: some(4),
            ..Self::NONE
        }
    }

    /// The same with those that came later. Their dice are their own, so that the worlds of earlier
    /// seeds stay what they were.
    pub(super) fn and_later_ones(self, rng: &mut Rng) -> Self {
        let mut some = |most: u64| if rng.chance(1, 3) { 1 + rng.below(most) } else { 0 };
        Self {
            watch_fails: some(300),
            reaped_late: some(500),
            detach: some(500),
            unkillable: some(900),
            exec_slow: some(500),
            exec_fails: some(300),
            sigterm: some(500),
            fill_doorbell: some(500),
            bad_release: if some(3) == 1 { 900 } else { 0 },
            ..self
        }
    }

    /// None at all.
    pub(super) const NONE: Self = Self {
        late: 0,
        late_max: Span::ZERO,
        again: 0,
        too_many_refs: 0,
        exhausted: 0,
        watch_fails: 0,
        reaped_late: 0,
        detach: 0,
        unkillable: 0,
        exec_slow: 0,
        exec_fails: 0,
        sigterm: 0,
        spawn_fails: 0,
        mute: 0,
        crash: 0,
        stop: 0,
        slow: 0,
        lie: 0,
        fill_doorbell: 0,
        bad_release: 0,
        deaf_to_drain: 0,
        deaf_to_term: 0,
        jumps: 0,
    };
}

/// Why a watch fails.
pub(super) fn watch_failure(rng: &mut Rng) -> Errno {
    pick(rng, &[errno::ENOMEM, errno::ENOSPC, errno::ECANCELED])
}

/// True so often in a thousand.
pub(super) fn strikes(rng: &mut Rng, per_mille: u64) -> bool {
    0 < per_mille && rng.chance(per_mille, 1_000)
}

/// One of these.
pub(super) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    let index = usize::try_from(rng.below(from.len() as u64)).expect("below a length");
    from[index]
}

/// A length of time from `least` to `most`.
pub(super) fn between(rng: &mut Rng, least: Span, most: Span) -> Span {
    Span::from_ns(least.as_ns() + rng.below(most.as_ns().saturating_sub(least.as_ns()) + 1))
}

/// Why an accept ends without a connection.
pub(super) fn exhaustion(rng: &mut Rng) -> Errno {
    pick(rng, &[errno::EMFILE, errno::ENFILE, errno::ENOBUFS, errno::ENOMEM])
}

pub(super) const CRASHES: [Crash; 9] = [
    Crash::BeforeHello,
    Crash::Unread,
    Crash::Received,
    Crash::Unsaid,
    Crash::Claimed,
    Crash::InService,
    Crash::Answered,
    Crash::GivenBack,
    Crash::Draining,
];

pub(super) const LIES: [Lie; 11] = [
    Lie::BadMessage,
    Lie::Overrun,
    Lie::StaleTicket,
    Lie::OthersTicket,
    Lie::DoubleClaim,
    Lie::GivesAway,
    Lie::NeverClaims,
    Lie::ForgesClaims,
    Lie::ImpossibleTerms,
    Lie::OtherLayout,
    Lie::DoubleHello,
];
