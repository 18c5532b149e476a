//! Reads the body of a request, so that the next request of the connection begins where this one
//! really ends: what is read here too little or too much, an attacker can smuggle.

use super::chunks::{ChunkFault, Chunks};
use super::fault::Fault;
use crate::limits::HTTP_BODY_MAX;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyFraming {
    /// There is none, or its length is 0.
    Empty,
    /// `Content-Length`, from 1 to [`HTTP_BODY_MAX`].
    Fixed { length: usize },
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What becomes of the bytes of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Retention {
    Keep,
    Discard,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyProgress {
    /// The input is eaten up and more is needed.
    Incomplete,
    /// The body ended after so many bytes of the input.
    Complete { consumed: usize },
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Body {
    state: BodyState,
    retention: Retention,
    kept: Vec<u8>,
}

#[derive(Debug)]
enum BodyState {
    Fixed { left: usize },
    Chunked(Chunks),
    Done,
}

impl Body {
    /// A body of which nothing is read yet. Memory grows with what arrives, never with what is
    /// only declared.
    pub(super) const fn new(framing: BodyFraming, retention: Retention) -> Self {
        let state = match framing {
            BodyFraming::Empty => BodyState::Done,
            BodyFraming::Fixed { length } => BodyState::Fixed { left: length },
            BodyFraming::Chunked => BodyState::Chunked(Chunks::new(HTTP_BODY_MAX as u64)),
        };
        Self { state, retention, kept: Vec::new() }
    }

    /// Reads on. `Err` when the body breaks the grammar or a limit.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<BodyProgress, Fault> {
        let (kept, retention) = (&mut self.kept, self.retention);
        let mut keep = |piece: &[u8]| match retention {
            Retention::Keep => kept.extend_from_slice(piece),
            Retention::Discard => {}
        };
        let (consumed, complete) = match &mut self.state {
            BodyState::Done => (0, true),
            BodyState::Fixed { left } => {
                let taken = input.len().min(*left);
                keep(&input[..taken]);
                *left -= taken;
                (taken, *left == 0)
            }
            BodyState::Chunked(chunks) => {
                let taken = chunks.advance(input, keep).map_err(Fault::from)?;
                (taken, chunks.is_complete())
            }
        };
        if !complete {
            return Ok(BodyProgress::Incomplete);
        }
        self.state = BodyState::Done;
        Ok(BodyProgress::Complete { consumed })
    }

    /// What was kept of a body read completely.
    pub(super) fn into_kept(self) -> Vec<u8> {
        self.kept
    }
}

impl From<ChunkFault> for Fault {
    fn from(fault: ChunkFault) -> Self {
        match fault {
            ChunkFault::BodyTooLong => Self::BodyTooLong,
            ChunkFault::TrailerTooLong => Self::TrailerTooLong,
            ChunkFault::Size
            | ChunkFault::Extension
            | ChunkFault::ExtensionsTooLong
            | ChunkFault::End
            | ChunkFault::Trailer => Self::Chunk(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_kept_up_to_its_end() {
        let mut body = Body::new(BodyFraming::Chunked, Retention::Keep);
        assert_eq!(body.read(b"3\r\nab"), Ok(BodyProgress::Incomplete));
        let rest = body.read(b"c\r\n0\r\n\r\nGET");
        assert_eq!(rest, Ok(BodyProgress::Complete { consumed: 8 }));
        assert_eq!(body.into_kept(), b"abc");
    }

    #[test]
    fn a_chunked_body_keeps_to_the_limit_of_a_body() {
        let size = |size| Body::new(BodyFraming::Chunked, Retention::Keep).read(size);
        assert_eq!(size(b"100000\r\n"), Ok(BodyProgress::Incomplete));
        assert_eq!(size(b"100001\r\n"), Err(Fault::BodyTooLong));
    }

    #[test]
    fn a_discarded_body_costs_no_memory() {
        let mut body = Body::new(BodyFraming::Fixed { length: 6 }, Retention::Discard);
        assert_eq!(body.read(b"abc"), Ok(BodyProgress::Incomplete));
        assert_eq!(body.read(b"defGET"), Ok(BodyProgress::Complete { consumed: 3 }));
        assert_eq!(body.into_kept().capacity(), 0);
    }
}
