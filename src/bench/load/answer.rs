//! Answers out of a stream of bytes: where each ends, what its status is, and who gave it. The
//! generator keeps nothing of a body but its first bytes, in which the built-in worker names
//! itself; everything that a server may send without end is bounded here.

use std::mem;

use thiserror::Error;

use crate::limits::{BENCH_BODY_KEPT, BENCH_INTERIM_MAX, HTTP_FIELDS_MAX, HTTP_HEAD_MAX};
use crate::serve::http::{ChunkFault, Chunks};

/// Reads the answers of one connection, one after the other.
#[derive(Debug)]
pub struct AnswerReader {
    part: Part,
    head: AnswerHead,
    interim_left: u8,
    kept: BodyPrefix,
}

/// A complete answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// From 200 on.
    pub status: u16,
    /// Whether the connection takes another request.
    pub keep_alive: bool,
    /// The worker that names itself.
    pub worker: Option<u16>,
}

/// What was made of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadStep {
    /// Bytes that are used up; the others are to be shown again, with more behind them.
    pub consumed: usize,
    /// The answer, once it is complete.
    pub answer: Option<Answer>,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Nonsense {
    /// The head is no HTTP/1 head.
    #[error("no HTTP/1 head")]
    Head,
    /// The head goes beyond all bounds.
    #[error("a head beyond {HTTP_HEAD_MAX} bytes or {HTTP_FIELDS_MAX} fields")]
    HeadTooLong,
    /// The status is none that a plain GET can have.
    #[error("an impossible status")]
    Status,
    /// Interim answers without end.
    #[error("more than {BENCH_INTERIM_MAX} interim answers")]
    Interim,
    /// The body's length contradicts itself.
    #[error("no length, or several")]
    Length,
    /// The body's chunks are none.
    #[error("no chunked body")]
    Chunk(#[from] ChunkFault),
}

/// What the next byte belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Head,
    /// A body of known length.
    Counted {
        left: u64,
    },
    Chunked(Chunks),
    /// A body that ends with the connection.
    UntilClose,
}

/// What the head said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct AnswerHead {
    status: u16,
    keep_alive: bool,
}

/// The first bytes of a body.
#[derive(Debug)]
struct BodyPrefix {
    bytes: [u8; BENCH_BODY_KEPT],
    length: usize,
}

impl Default for AnswerReader {
    fn default() -> Self {
        Self {
            part: Part::Head,
            head: AnswerHead::default(),
            interim_left: BENCH_INTERIM_MAX,
            kept: BodyPrefix { bytes: [0; BENCH_BODY_KEPT], length: 0 },
        }
    }
}

impl AnswerReader {
    /// Reads on. `input` begins where the last call stopped to consume.
    ///
    /// # Errors
    /// The bytes are no answer; the connection is of no use any more.
    pub fn advance(&mut self, input: &[u8]) -> Result<ReadStep, Nonsense> {
        let mut consumed = 0;
        while self.part == Part::Head {
            let Some(length) = self.take_head(&input[consumed..])? else {
                return Ok(ReadStep { consumed, answer: None });
            };
            consumed += length;
        }
        let rest = &input[consumed..];
        let kept = &mut self.kept;
        let complete = match &mut self.part {
            Part::Head => false,
            Part::Counted { left } => {
                let count = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                kept.take(&rest[..count]);
                consumed += count;
                *left -= count as u64;
                *left == 0
            }
            Part::Chunked(chunks) => {
                consumed += chunks.advance(rest, |piece| kept.take(piece))?;
                chunks.is_complete()
            }
            Part::UntilClose => {
                kept.take(rest);
                consumed += rest.len();
                false
            }
        };
        let answer = complete.then(|| self.complete());
        Ok(ReadStep { consumed, answer })
    }

    /// The server has closed: this completes an answer that says its length in no other way.
    pub fn end(&mut self) -> Option<Answer> {
        (self.part == Part::UntilClose).then(|| self.complete())
    }

    /// Takes a head, if it is there, and returns its length.
    fn take_head(&mut self, input: &[u8]) -> Result<Option<usize>, Nonsense> {
        let mut fields = [httparse::EMPTY_HEADER; HTTP_FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let window = &input[..input.len().min(HTTP_HEAD_MAX)];
        let length = match response.parse(window) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if window.len() < HTTP_HEAD_MAX => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Nonsense::HeadTooLong);
            }
            Err(_) => return Err(Nonsense::Head),
        };
        match response.code {
            Some(100 | 102..=199) => {
                let left = self.interim_left.checked_sub(1);
                self.interim_left = left.ok_or(Nonsense::Interim)?;
            }
            Some(status @ 200..) => {
                let framing = AnswerFraming::of(&response)?;
                self.head = AnswerHead { status, keep_alive: framing.keep_alive };
                self.part = framing.body(status)?;
            }
            // 101 would be the answer to an upgrade, for which nobody has asked.
            Some(_) | None => return Err(Nonsense::Status),
        }
        Ok(Some(length))
    }

    fn complete(&mut self) -> Answer {
        let worker = worker_in(self.kept.bytes());
        self.kept.length = 0;
        self.interim_left = BENCH_INTERIM_MAX;
        let lasts = mem::replace(&mut self.part, Part::Head) != Part::UntilClose;
        let AnswerHead { status, keep_alive } = self.head;
        Answer { status, keep_alive: keep_alive && lasts, worker }
    }
}

/// What the fields of a head say of the body.
#[derive(Clone, Copy, Debug, Default)]
struct AnswerFraming {
    length: Option<u64>,
    /// Whether the last coding is the chunked one; none where no coding is named.
    chunked: Option<bool>,
    keep_alive: bool,
}

impl AnswerFraming {
    fn of(response: &httparse::Response<'_, '_>) -> Result<Self, Nonsense> {
        let mut framing = Self { keep_alive: response.version == Some(1), ..Self::default() };
        for field in response.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let length = number(field.value).ok_or(Nonsense::Length)?;
                if framing.length.replace(length).is_some_and(|earlier| earlier != length) {
                    return Err(Nonsense::Length);
                }
            } else if is("transfer-encoding") {
                let last = words(field.value).last();
                framing.chunked = last.map(|word| word.eq_ignore_ascii_case(b"chunked"));
            } else if is("connection") {
                for word in words(field.value) {
                    if word.eq_ignore_ascii_case(b"close") {
                        framing.keep_alive = false;
                    } else if word.eq_ignore_ascii_case(b"keep-alive") {
                        framing.keep_alive = true;
                    }
                }
            }
        }
        Ok(framing)
    }

    /// The body's length by RFC 9112, section 6.3.
    fn body(self, status: u16) -> Result<Part, Nonsense> {
        Ok(match (status, self.chunked, self.length) {
            (204 | 304, _, _) => Part::Counted { left: 0 },
            (_, Some(true), None) => Part::Chunked(Chunks::new(u64::MAX)),
            // Two lengths are an attempt at smuggling, and no server's honest answer.
            (_, Some(_), Some(_)) => return Err(Nonsense::Length),
            (_, None, Some(left)) => Part::Counted { left },
            (_, Some(false) | None, None) => Part::UntilClose,
        })
    }
}

impl BodyPrefix {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn take(&mut self, piece: &[u8]) {
        let count = piece.len().min(self.bytes.len() - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&piece[..count]);
        self.length += count;
    }
}

/// The number behind `"worker":` or `hello from worker`, as the built-in worker writes them.
fn worker_in(body: &[u8]) -> Option<u16> {
    const WORD: &[u8] = b"worker";
    let mut from = 0;
    while let Some(at) = body[from..].windows(WORD.len()).position(|window| window == WORD) {
        let (before, behind) = (&body[..from + at], &body[from + at + WORD.len()..]);
        let behind = match behind.strip_prefix(b"\":") {
            Some(value) if before.ends_with(b"\"") => Some(value.trim_ascii_start()),
            _ if before.ends_with(b"hello from ") => behind.strip_prefix(b" "),
            _ => None,
        };
        if let Some(behind) = behind {
            let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
            // A number that goes on beyond what was kept is another one.
            let whole = digits < behind.len() || body.len() < BENCH_BODY_KEPT;
            let text = std::str::from_utf8(&behind[..digits]).ok().filter(|_| whole)?;
            return text.parse().ok();
        }
        from += at + WORD.len();
    }
    None
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty())
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All answers of a stream that is shown `step` bytes at a time and then ends; and what is left
    /// over.
    fn read(stream: &[u8], step: usize) -> Result<(Vec<Answer>, usize), Nonsense> {
        let (mut reader, mut input, mut answers) =
            (AnswerReader::default(), Vec::new(), Vec::new());
        for part in stream.chunks(step) {
            input.extend_from_slice(part);
            loop {
                let ReadStep { consumed, answer } = reader.advance(&input)?;
                input.drain(..consumed);
                let Some(answer) = answer else { break };
                answers.push(answer);
            }
        }
        answers.extend(reader.end());
        Ok((answers, input.len()))
    }

    fn answer(status: u16, keep_alive: bool, worker: Option<u16>) -> Answer {
        Answer { status, keep_alive, worker }
    }

    #[test]
    fn answers_end_where_their_framing_says() {
        let ok = answer(200, true, None);
        for (stream, answers) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", vec![ok]),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", vec![ok]),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                 HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
                vec![ok, answer(404, false, None)],
            ),
            ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", vec![answer(204, true, None)]),
            ("HTTP/1.1 304 No\r\n\r\n", vec![answer(304, true, None)]),
            ("HTTP/1.1 200 OK\r\n\r\nall of it", vec![answer(200, false, None)]),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nit", vec![answer(200, false, None)]),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", vec![answer(200, false, None)]),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", vec![ok]),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", vec![ok]),
        ] {
            for step in [1, 2, 7, stream.len()] {
                assert_eq!(read(stream.as_bytes(), step), Ok((answers.clone(), 0)), "{stream}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        for stream in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        ] {
            assert_eq!(read(stream.as_bytes(), 5).unwrap().0, []);
        }
    }

    #[test]
    fn nonsense_is_told_apart() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(HTTP_HEAD_MAX));
        let wide = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(HTTP_FIELDS_MAX + 1));
        let interim = "HTTP/1.1 103 Hint\r\n\r\n".repeat(usize::from(BENCH_INTERIM_MAX) + 1);
        for (stream, nonsense) in [
            ("SSH-2.0-OpenSSH\r\n", Nonsense::Head),
            ("HTTP/2.0 200 OK\r\n\r\n", Nonsense::Head),
            ("HTTP/1.1 101 Switching\r\n\r\n", Nonsense::Status),
            ("HTTP/1.1 099 What\r\n\r\n", Nonsense::Status),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Nonsense::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", Nonsense::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", Nonsense::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Nonsense::Length),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Nonsense::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
                Nonsense::Chunk(ChunkFault::Size),
            ),
            (&long, Nonsense::HeadTooLong),
            (&wide, Nonsense::HeadTooLong),
            (&interim, Nonsense::Interim),
        ] {
            assert_eq!(read(stream.as_bytes(), 1_000), Err(nonsense), "{stream:.80}");
        }
    }

    #[test]
    fn the_worker_is_found_where_it_names_itself() {
        for (body, worker) in [
            ("{\"worker\":3,\"did\":\"burn\",\"ms\":1}\n", Some(3)),
            ("{\"pid\":1,\"worker\": 12}", Some(12)),
            ("hello from worker 7 (pid 9)\n", Some(7)),
            ("hello from worker 7", Some(7)),
            ("a worker, \"worker\", and \"worker\":5", Some(5)),
            ("{\"worker\":70000}", None),
            ("{\"worker\":\"a\"}", None),
            ("{\"worker\":}", None),
            ("worker 3", None),
            ("", None),
        ] {
            assert_eq!(worker_in(body.as_bytes()), worker, "{body}");
        }
        let late = |length| format!("{}\"worker\":12", " ".repeat(length - 11)).into_bytes();
        assert_eq!(worker_in(&late(BENCH_BODY_KEPT - 1)), Some(12));
        assert_eq!(worker_in(&late(BENCH_BODY_KEPT)), None, "the number may go on");
    }

    #[test]
    fn a_body_of_one_answer_is_not_that_of_the_next() {
        let named = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"worker\":3}";
        let nameless = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let long = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1012\r\n\r\n{}{{\"worker\":3}}",
            " ".repeat(1_000)
        );
        let stream = [named, nameless, &long].concat();
        let workers: Vec<_> =
            read(stream.as_bytes(), 64).unwrap().0.iter().map(|answer| answer.worker).collect();
        assert_eq!(workers, [Some(3), None, None]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_more_than_nonsense(
            head in prop::option::of(Just(&b"HTTP/1.1 200 OK\r\n"[..])),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            step in 1_usize..50,
        ) {
            let stream = [head.unwrap_or_default(), &rest].concat();
            if let Ok((answers, left)) = read(&stream, step) {
                prop_assert!(left <= stream.len());
                prop_assert!(answers.iter().all(|answer| 200 <= answer.status));
            }
        }

        #[test]
        fn a_cut_changes_nothing(
            lengths in prop::collection::vec(0_usize..600, 1..5),
            step in 1_usize..700,
        ) {
            let mut stream = Vec::new();
            for (worker, length) in lengths.iter().enumerate() {
                let body = format!("{{\"worker\":{worker}}}{}", "x".repeat(*length));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.extend_from_slice((head + &body).as_bytes());
            }
            let answers = (0..).zip(&lengths).map(|(worker, _)| answer(200, true, Some(worker)));
            prop_assert_eq!(read(&stream, step), Ok((answers.collect(), 0)));
        }
    }
}
