//! How fast a worker works: slower than it could where it is told to, so that workers of unequal
//! strength can be measured on CPUs that are alike.

use super::ServeError;
use crate::units::{SlotId, Span};

/// Name of the environment variable that says how fast each worker is: `1,1,0.5,0.5` by their
/// numbers, repeated as often as needed. For measurements; nobody else wants it.
pub const SPEEDS_VARIABLE: &str = "DISPATCHD_WORKER_SPEEDS";

/// How long work takes here, of a thousand parts of what was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Strength {
    per_mille: u64,
}

impl Strength {
    /// As strong as the CPU.
    pub(super) const FULL: Self = Self { per_mille: 1_000 };

    /// What the environment says of the worker at this slot; full speed if it says nothing.
    pub(super) fn of(slot: SlotId) -> Result<Self, ServeError> {
        #[expect(clippy::disallowed_methods, reason = "a measurement speaks to workers through it")]
        let text = std::env::var(SPEEDS_VARIABLE).unwrap_or_default();
        Self::parse(&text, slot).ok_or(ServeError::Speeds(text))
    }

    fn parse(text: &str, slot: SlotId) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::FULL);
        }
        let speeds: Vec<f64> = text
            .split(',')
            .map(|speed| speed.parse().ok().filter(|speed| (0.001..=1_000.0).contains(speed)))
            .collect::<Option<_>>()?;
        let speed = speeds[slot.index() % speeds.len()];
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies between 1 and a million"
        )]
        let per_mille = (1_000.0 / speed).round() as u64;
        Some(Self { per_mille })
    }

    /// How long work takes that would take `span` at full speed.
    pub(super) const fn stretch(self, span: Span) -> Span {
        Span::from_ns(span.times(self.per_mille).as_ns() / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_speed() {
        let stretched = |text: &str, slot| {
            Strength::parse(text, SlotId(slot)).map(|strength| strength.stretch(Span::from_ms(100)))
        };
        assert_eq!(stretched("", 3), Some(Span::from_ms(100)));
        assert_eq!(stretched("1,0.5", 0), Some(Span::from_ms(100)));
        assert_eq!(stretched("1,0.5", 3), Some(Span::from_ms(200)));
        assert_eq!(stretched("2", 5), Some(Span::from_ms(50)));
        for nonsense in ["0", "1,,1", "-1", "x", "NaN"] {
            assert_eq!(stretched(nonsense, 0), None, "{nonsense}");
        }
    }
}
