//! What came of a trace: one sample per request, whoever produced it. The generator and the model
//! fill the same table, so that one analysis judges both.

use super::tally::{Quantiles, Tally, Unit};
use super::trace::{Trace, TraceRequest};
use crate::units::Span;

/// What came of one request. Times count from the start of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// When its first byte went out; where a connection was opened for it, when that began.
    pub sent: Span,
    /// When its answer was complete, or it was given up.
    pub done: Span,
    /// Who answered, where the answer tells.
    pub worker: Option<u16>,
    /// How it ended.
    pub fate: Fate,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// A whole answer with a status from 200 to 399.
    Answered,
    /// A whole answer with another status.
    Refused(u16),
    /// No connection.
    Unconnected,
    /// The connection broke before the answer was complete.
    Broken,
    /// What came was no HTTP.
    Nonsense,
    /// No answer in time.
    TimedOut,
    /// The run was broken off before it was sent.
    Unsent,
}

/// What came of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceOutcome {
    /// One for each request of the trace, in its order.
    pub samples: Vec<Sample>,
}

impl Fate {
    /// Whether the request counts as served.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Answered => true,
            Self::Refused(_)
            | Self::Unconnected
            | Self::Broken
            | Self::Nonsense
            | Self::TimedOut
            | Self::Unsent => false,
        }
    }
}

impl TraceOutcome {
    /// How late the generator was, in microseconds: from when it could have sent each request (its
    /// intended time, or the end of the one before it on the same connection) to when it did.
    pub fn lateness_us(&self, trace: &Trace) -> Quantiles {
        let mut tally = Tally::new(Unit::Us);
        self.lateness(trace).for_each(|(_, late)| tally.record(us(late)));
        tally.quantiles()
    }

    /// The share of the requests meant to be sent from `from` on that were sent later than `bound`
    /// after they could have been.
    pub fn late_share(&self, trace: &Trace, from: Span, bound: Span) -> f64 {
        let (mut all, mut late) = (0_u64, 0_u64);
        for (_, by) in self.lateness(trace).filter(|(request, _)| from <= request.at) {
            all += 1;
            late += u64::from(bound < by);
        }
        late as f64 / all.max(1) as f64
    }

    /// How late each request was sent.
    fn lateness<'a>(&'a self, trace: &'a Trace) -> impl Iterator<Item = (&'a TraceRequest, Span)> {
        let mut free_at = vec![Span::ZERO; trace.connection_lengths().len()];
        trace.requests.iter().zip(&self.samples).map(move |(request, sample)| {
            let free = &mut free_at[request.connection as usize];
            let due = request.at.max(*free);
            *free = sample.done;
            (request, Span::from_ns(sample.sent.as_ns().saturating_sub(due.as_ns())))
        })
    }
}

/// A length of time in microseconds, fractions included.
pub fn us(span: Span) -> f64 {
    span.as_ns() as f64 / 1e3
}
