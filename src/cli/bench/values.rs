//! Values that all measurements take: numbers, times, words, and lists of them.

use super::Misuse;
use crate::cli::config::{self, Flags};
use crate::config::{Wrong, words};
use crate::units::Span;

/// Values of flags alone: none of these has a variable.
pub(super) const FLAGS: Flags<'_> = Flags { from_environment: &[] };

pub(super) fn time(flag: &str, given: Option<&str>, least: Span) -> Result<Option<Span>, Misuse> {
    Ok(FLAGS.read(flag, given, None, |text| config::span(text, least).map(Some))?)
}

pub(super) fn word<T: Copy>(
    flag: &str,
    given: Option<&str>,
    words: &[(&'static str, T)],
) -> Result<Option<T>, Misuse> {
    Ok(FLAGS.read(flag, given, None, |text| words::one_of(text, words).map(Some))?)
}

/// A number of digits only, within the bounds.
pub(super) fn whole(text: &str, least: u64, most: u64) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten()?;
    (least..=most).contains(&number).then_some(number)
}

/// A number with or without a fraction; no sign, no exponent, no infinity.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// Each part of a list with commas between; `default` when there is none.
pub(super) fn list<T: Clone>(
    flag: &str,
    given: Option<&str>,
    default: &[T],
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Misuse> {
    Ok(FLAGS.read(flag, given, default.to_vec(), |text| text.split(',').map(&parse).collect())?)
}
