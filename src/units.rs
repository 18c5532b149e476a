//! The numbers that dispatchd speaks in. Each has its own type, so that a worker is never taken
//! for a slot, nor microseconds for nanoseconds; arithmetic on bare integers stays in this file.

use core::fmt;

/// A point on `CLOCK_MONOTONIC`, in nanoseconds: the same number in every process of the machine,
/// printable in a trace, and made up at will by the simulator.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mono(u64);

impl Mono {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// The point `ns` nanoseconds after the clock's origin.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// This point, `span` later; the clock's end at the latest.
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; nothing when it lies ahead.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// What a worker does with a connection when it has answered all that was asked, and nothing more
/// has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum GiveBack {
    /// It keeps it until it ends: the master has no copy.
    #[default]
    Never = 0,
    /// It keeps it, but gives it back when it is to leave.
    WhenLeaving = 1,
    /// It gives it back: the next request may be another's.
    Always = 2,
}

impl GiveBack {
    /// The meaning of a word of shared memory.
    pub const fn from_word(word: u32) -> Self {
        match word {
            1 => Self::WhenLeaving,
            2 => Self::Always,
            _ => Self::Never,
        }
    }
}

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `ns` nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// `us` microseconds.
    pub const fn from_us(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// `s` seconds.
    pub const fn from_s(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// Length in nanoseconds.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Length in whole microseconds, rounded down.
    pub const fn as_us(self) -> u64 {
        self.0 / 1_000
    }

    /// Length in whole milliseconds, rounded **up**: a wait cut to 0 ms would spin.
    pub const fn as_ms_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// This length and `other`.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it without the other; nothing when that is longer.
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Its square, in square microseconds.
    pub fn squared_us2(self) -> u64 {
        let square = u128::from(self.0).pow(2) / 1_000_000;
        u64::try_from(square).unwrap_or(u64::MAX)
    }

    /// This length `factor` times.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1_000 => write!(f, "{ns}ns"),
            ns if ns < 1_000_000 => write!(f, "{}us", ns / 1_000),
            ns if ns < 1_000_000_000 => write!(f, "{}ms", ns / 1_000_000),
            ns => write!(f, "{}.{:03}s", ns / 1_000_000_000, ns / 1_000_000 % 1_000),
        }
    }
}

/// The workers of one app, with one engine. There is one app today; whatever crosses a process
/// boundary carries the number all the same.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct AppId(pub u8);

/// A place for a worker: its number, its CPU and its weight stay while processes come and go.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct SlotId(pub u16);

impl SlotId {
    /// Position in an array of slots.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One worker process: an index in the table of processes, and which of its occupants is meant.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkerId {
    /// Position in the table of processes; a slot has two of them, for the time of a replacement.
    pub index: u16,
    /// How many processes this index has had before; tells a late word from a present one.
    pub epoch: u32,
}

impl WorkerId {
    /// Position in an array of workers.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.epoch)
    }
}

/// The number of a connection: an index, and which of its users is meant.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket {
    /// Position in the ledger, and of the connection's conn record.
    pub index: u32,
    /// How many connections this index has had before; a stale ticket does not match.
    pub generation: u32,
}

impl Ticket {
    /// The ticket as one word, for a token or a frame.
    pub const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The ticket that [`Ticket::to_word`] made.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word are meant")]
    pub const fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }

    /// Position in an array by index.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// What a request asks for, as a number: those that are alike have the same.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Route(pub u32);

/// What makes requests alike: `--classes`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteBy {
    /// Method and path, without the query; segments that are numbers or identifiers count as one.
    Path,
    /// Method and everything behind it: path and query.
    Target,
}

/// A bound socket, by its position in the list of listeners.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct ListenerId(pub u16);

impl ListenerId {
    /// Position in an array of listeners.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One rollout of an app: every worker says which one it belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A logical CPU, by the kernel's number.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cpu(pub u16);

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An entry of a ring in shared memory; `wire` says what it means.
pub type RingWords = [u64; 2];

/// An error number of the kernel, as data: which one decides what happens next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Errno(pub i32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_its_word() {
        for ticket in [
            Ticket { index: 0, generation: 0 },
            Ticket { index: u32::MAX, generation: 7 },
            Ticket { index: 3, generation: u32::MAX },
        ] {
            assert_eq!(Ticket::from_word(ticket.to_word()), ticket);
        }
    }

    #[test]
    fn a_wait_is_never_cut_to_nothing() {
        assert_eq!(Span::from_ns(1).as_ms_ceil(), 1);
        assert_eq!(Span::from_ms(2).as_ms_ceil(), 2);
        assert_eq!(Span::ZERO.as_ms_ceil(), 0);
    }

    #[test]
    fn a_square_keeps_what_is_below_a_microsecond_and_saturates() {
        assert_eq!(Span::from_us(3).squared_us2(), 9);
        assert_eq!(Span::from_ns(1_500).squared_us2(), 2);
        assert_eq!(Span::from_s(1).squared_us2(), 1_000_000_000_000);
        assert_eq!(Span::from_ns(u64::MAX).squared_us2(), u64::MAX);
    }

    #[test]
    fn time_saturates_and_never_wraps() {
        assert_eq!(Mono::from_ns(5).since(Mono::from_ns(9)), Span::ZERO);
        assert_eq!(Mono::from_ns(u64::MAX).after(Span::from_s(1)).as_ns(), u64::MAX);
    }
}
