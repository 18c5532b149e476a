//! Waiting for events: everything that a test waits for has a deadline, and says what was missing
//! when it passes. Deadlines are generous, since they cost nothing as long as nothing is wrong.

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;

/// How long anything may take that is to happen soon, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Span = Span::from_s(20);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none in time.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// Asks until there is an answer, for so long.
///
/// # Panics
/// When there is none in time.
pub(crate) fn within<T>(patience: Span, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = monotonic().after(patience);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(monotonic() < deadline, "in {patience} it did not happen that {what}");
        nap(Span::from_ms(2));
    }
}

/// Waits between two questions, or between two arrivals.
#[expect(clippy::disallowed_methods, reason = "the pace of a client; nothing relies on its length")]
pub(crate) fn nap(span: Span) {
    std::thread::sleep(std::time::Duration::from_nanos(span.as_ns()));
}
