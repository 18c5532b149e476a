//! Reads the body of a request, so that the next request of the connection begins where this one
//! really ends: what is read here too little or too much, an attacker can smuggle. The chunk
//! decoder therefore takes one byte after the other and accepts nothing but the grammar.

use super::fault::Fault;
use super::line::is_token_byte;
use crate::limits::{HTTP_BODY_MAX, HTTP_CHUNK_EXTENSIONS_MAX, HTTP_TRAILER_MAX};

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
    /// Bytes of body announced so far, by the chunks that have begun.
    announced: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum BodyState {
    Fixed { left: usize },
    Chunk { left: usize },
    Line(ChunkLine),
    Trailer(Trailer),
    Done,
}

/// Where in the lines between two chunks' data the next byte stands.
#[derive(Clone, Copy, Debug)]
enum ChunkLine {
    Size { size: u64, digits: u8 },
    Extension { size: u64, part: Extension },
    SizeLf { size: u64 },
    DataCr,
    DataLf,
}

/// Where behind a chunk's size the next byte stands. There may be any number of `;NAME`, each with
/// `=TOKEN` or `="QUOTED"`, and blanks before and behind `;` and `=`, but not at the end.
#[derive(Clone, Copy, Debug)]
enum Extension {
    /// Behind a blank, which a `;` has to follow.
    Gap,
    /// Behind `;`.
    BeforeName,
    Name,
    /// Behind a name and a blank.
    AfterName,
    /// Behind `=`.
    BeforeValue,
    Token,
    Quoted,
    /// Behind a backslash between quotes.
    Escaped,
    /// Behind the closing quote.
    AfterQuoted,
}

/// Where in the trailer the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Trailer {
    Start,
    Name,
    Value,
    Lf,
    LastLf,
}

const SIZE: BodyState = BodyState::Line(ChunkLine::Size { size: 0, digits: 0 });

impl Body {
    /// A body of which nothing is read yet. Memory grows with what arrives, never with what is
    /// only declared.
    pub(super) const fn new(framing: BodyFraming, retention: Retention) -> Self {
        let state = match framing {
            BodyFraming::Empty => BodyState::Done,
            BodyFraming::Fixed { length } => BodyState::Fixed { left: length },
            BodyFraming::Chunked => SIZE,
        };
        let kept = Vec::new();
        Self { state, retention, kept, announced: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Reads on. `Err` when the body breaks the grammar or a limit.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<BodyProgress, Fault> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            consumed += match (self.state, rest) {
                (BodyState::Done, _) => return Ok(BodyProgress::Complete { consumed }),
                (_, []) => return Ok(BodyProgress::Incomplete),
                (BodyState::Fixed { left }, _) => self.fixed(rest, left),
                (BodyState::Chunk { left }, _) => self.chunk(rest, left),
                (BodyState::Line(line), &[byte, ..]) => {
                    self.state = self.line(line, byte)?;
                    1
                }
                (BodyState::Trailer(trailer), &[byte, ..]) => {
                    self.state = self.trailer(trailer, byte)?;
                    1
                }
            };
        }
    }

    /// What was kept of a body read completely.
    pub(super) fn into_kept(self) -> Vec<u8> {
        self.kept
    }

    fn fixed(&mut self, rest: &[u8], left: usize) -> usize {
        let taken = self.take(rest, left);
        self.state = match left - taken {
            0 => BodyState::Done,
            left => BodyState::Fixed { left },
        };
        taken
    }

    fn chunk(&mut self, rest: &[u8], left: usize) -> usize {
        let taken = self.take(rest, left);
        self.state = match left - taken {
            0 => BodyState::Line(ChunkLine::DataCr),
            left => BodyState::Chunk { left },
        };
        taken
    }

    fn take(&mut self, rest: &[u8], left: usize) -> usize {
        let taken = rest.len().min(left);
        match self.retention {
            Retention::Keep => self.kept.extend_from_slice(&rest[..taken]),
            Retention::Discard => {}
        }
        taken
    }

    fn line(&mut self, line: ChunkLine, byte: u8) -> Result<BodyState, Fault> {
        match (line, byte) {
            (ChunkLine::Size { size, digits }, _) => chunk_size(size, digits, byte),
            (ChunkLine::Extension { size, part }, b'\r') if part.may_end() => {
                Ok(BodyState::Line(ChunkLine::SizeLf { size }))
            }
            (ChunkLine::Extension { size, part }, _) => self.extension(size, part, byte),
            (ChunkLine::SizeLf { size }, b'\n') => self.begin_chunk(size),
            (ChunkLine::SizeLf { .. }, _) => Err(Fault::ChunkSize),
            (ChunkLine::DataCr, b'\r') => Ok(BodyState::Line(ChunkLine::DataLf)),
            (ChunkLine::DataLf, b'\n') => Ok(SIZE),
            (ChunkLine::DataCr | ChunkLine::DataLf, _) => Err(Fault::ChunkEnd),
        }
    }

    fn extension(&mut self, size: u64, part: Extension, byte: u8) -> Result<BodyState, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > HTTP_CHUNK_EXTENSIONS_MAX {
            return Err(Fault::ChunkExtensionsTooLong);
        }
        let part = part.next(byte).ok_or(Fault::ChunkExtension)?;
        Ok(BodyState::Line(ChunkLine::Extension { size, part }))
    }

    fn begin_chunk(&mut self, size: u64) -> Result<BodyState, Fault> {
        let left = usize::try_from(size).map_err(|_| Fault::BodyTooLong)?;
        if left == 0 {
            return Ok(BodyState::Trailer(Trailer::Start));
        }
        if left > HTTP_BODY_MAX - self.announced {
            return Err(Fault::BodyTooLong);
        }
        self.announced += left;
        Ok(BodyState::Chunk { left })
    }

    fn trailer(&mut self, trailer: Trailer, byte: u8) -> Result<BodyState, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > HTTP_TRAILER_MAX {
            return Err(Fault::TrailerTooLong);
        }
        let next = match (trailer, byte) {
            (Trailer::LastLf, b'\n') => return Ok(BodyState::Done),
            (Trailer::Start, b'\r') => Trailer::LastLf,
            (Trailer::Name, b':') => Trailer::Value,
            (Trailer::Start | Trailer::Name, _) if is_token_byte(byte) => Trailer::Name,
            (Trailer::Value, b'\r') => Trailer::Lf,
            (Trailer::Value, _) if is_text_byte(byte) => Trailer::Value,
            (Trailer::Lf, b'\n') => Trailer::Start,
            (
                Trailer::Start | Trailer::Name | Trailer::Value | Trailer::Lf | Trailer::LastLf,
                _,
            ) => return Err(Fault::Trailer),
        };
        Ok(BodyState::Trailer(next))
    }
}

impl Extension {
    /// Where the byte leads, or none where it may not stand.
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Quoted, b'"') => Some(Self::AfterQuoted),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, _) => is_text_byte(byte).then_some(Self::Quoted),
            (Self::BeforeName | Self::BeforeValue, b' ' | b'\t') => Some(self),
            (Self::BeforeName | Self::Name, _) if is_token_byte(byte) => Some(Self::Name),
            (Self::Name | Self::AfterName, b' ' | b'\t') => Some(Self::AfterName),
            (Self::Name | Self::AfterName, b'=') => Some(Self::BeforeValue),
            (Self::BeforeValue, b'"') => Some(Self::Quoted),
            (Self::BeforeValue | Self::Token, _) if is_token_byte(byte) => Some(Self::Token),
            (Self::Gap | Self::Token | Self::AfterQuoted, b' ' | b'\t') => Some(Self::Gap),
            (Self::Gap | Self::Name | Self::AfterName | Self::Token | Self::AfterQuoted, b';') => {
                Some(Self::BeforeName)
            }
            (
                Self::Gap
                | Self::BeforeName
                | Self::Name
                | Self::AfterName
                | Self::BeforeValue
                | Self::Token
                | Self::AfterQuoted,
                _,
            ) => None,
        }
    }

    /// Whether the line may end here.
    const fn may_end(self) -> bool {
        match self {
            Self::Name | Self::Token | Self::AfterQuoted => true,
            Self::Gap
            | Self::BeforeName
            | Self::AfterName
            | Self::BeforeValue
            | Self::Quoted
            | Self::Escaped => false,
        }
    }
}

/// The state after one byte of a chunk's size. Sixteen digits fill the number, so there is no
/// overflow; blanks are taken only before an extension, where the grammar has them.
fn chunk_size(size: u64, digits: u8, byte: u8) -> Result<BodyState, Fault> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' if digits > 0 => {
            return Ok(BodyState::Line(ChunkLine::Extension { size, part: Extension::BeforeName }));
        }
        b' ' | b'\t' if digits > 0 => {
            return Ok(BodyState::Line(ChunkLine::Extension { size, part: Extension::Gap }));
        }
        b'\r' if digits > 0 => return Ok(BodyState::Line(ChunkLine::SizeLf { size })),
        _ => return Err(Fault::ChunkSize),
    };
    if digits == 16 {
        return Err(Fault::ChunkSize);
    }
    let size = size << 4 | u64::from(digit);
    Ok(BodyState::Line(ChunkLine::Size { size, digits: digits + 1 }))
}

/// Bytes that may stand in a field's value or between quotes.
const fn is_text_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_chunked(input: &[u8]) -> Result<(BodyProgress, Vec<u8>), Fault> {
        let mut body = Body::new(BodyFraming::Chunked, Retention::Keep);
        let progress = body.read(input)?;
        Ok((progress, body.into_kept()))
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left_alone() {
        for (input, expected) in [
            (&b"0\r\n\r\nGET"[..], &b""[..]),
            (b"000\r\n\r\nGET", b""),
            (b"3\r\nabc\r\n0\r\n\r\nGET", b"abc"),
            (
                b"3;x=\"y z\"\r\nabc\r\nA\r\n0123456789\r\n0;last\r\nA: b\r\nC:\r\n\r\nGET",
                b"abc0123456789",
            ),
            (b"0000000000000002\r\n\r\n\r\n0\r\n\r\nGET", b"\r\n"),
        ] {
            let consumed = input.len() - 3;
            let outcome = read_chunked(input);
            assert_eq!(outcome, Ok((BodyProgress::Complete { consumed }, expected.to_vec())));
        }
    }

    #[test]
    fn whatever_is_not_the_grammar_is_refused() {
        for (input, fault) in [
            (&b"\r\n"[..], Fault::ChunkSize),
            (b"g\r\n", Fault::ChunkSize),
            (b"+5\r\n", Fault::ChunkSize),
            (b"-1\r\n", Fault::ChunkSize),
            (b"0x5\r\n", Fault::ChunkSize),
            (b" 5\r\n", Fault::ChunkSize),
            (b"5 \r\n", Fault::ChunkExtension),
            (b"5\n", Fault::ChunkSize),
            (b"5\rx", Fault::ChunkSize),
            (b";x\r\n", Fault::ChunkSize),
            (b"5;a\nb", Fault::ChunkExtension),
            (b"5;a\0b", Fault::ChunkExtension),
            (b"5;a\rb", Fault::ChunkSize),
            (b"10000000000000000\r\n", Fault::ChunkSize),
            (b"00000000000000000\r\n", Fault::ChunkSize),
            (b"ffffffffffffffff\r\n", Fault::BodyTooLong),
            (b"100001\r\n", Fault::BodyTooLong),
            (b"3\r\nabcd", Fault::ChunkEnd),
            (b"3\r\nabc\n", Fault::ChunkEnd),
            (b"3\r\nabc\rx", Fault::ChunkEnd),
            (b"0\r\n\n", Fault::Trailer),
            (b"0\r\n\rx", Fault::Trailer),
            (b"0\r\n folded\r\n", Fault::Trailer),
            (b"0\r\nname : x\r\n", Fault::Trailer),
            (b"0\r\nname\r\n", Fault::Trailer),
            (b"0\r\n: x\r\n", Fault::Trailer),
            (b"0\r\na: x\n", Fault::Trailer),
            (b"0\r\na: x\0\r\n", Fault::Trailer),
            (b"0\r\na: x\ry", Fault::Trailer),
            (b"0\r\nGET / HTTP/1.1\r\n", Fault::Trailer),
        ] {
            assert_eq!(read_chunked(input), Err(fault), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn extensions_keep_to_their_grammar() {
        for extensions in [
            ";a",
            ";a=b",
            "; a",
            " ;a",
            "\t ; \ta \t=\t b",
            ";a;b",
            ";a ;b",
            ";a=b;c=\"d\" ; e",
            ";a=\"\"",
            ";a=\"\t x;=,\\\"\\\\\u{e9}\"",
            ";!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ",
        ] {
            let text = format!("1{extensions}\r\nx\r\n0{extensions}\r\n\r\nGET");
            let consumed = text.len() - 3;
            let expected = Ok((BodyProgress::Complete { consumed }, b"x".to_vec()));
            assert_eq!(read_chunked(text.as_bytes()), expected, "{extensions:?}");
        }
        for extensions in [
            ";",
            " ",
            "; ",
            ";;a",
            ";a;",
            ";a; ",
            ";a ",
            ";a=b ",
            ";a=\"b\" ",
            ";a=",
            ";a= ",
            ";=b",
            ";a==b",
            ";a=b=c",
            ";a b",
            ";a=b c",
            " a",
            ";a,b",
            ";a\"b\"",
            ";\"a\"",
            ";a=b\"c\"",
            ";a=\"b\"c",
            ";a=\"b",
            ";a=\"b\\",
            ";a=\"b\\\"",
            ";a=\"\u{7f}\"",
            ";a=\"\\\u{1}\"",
            ";a=\u{e9}",
            ";a=\"\n\"",
            ";a\n",
            ";a=(b)",
        ] {
            let text = format!("1{extensions}\r\nx\r\n0\r\n\r\n");
            let fault = read_chunked(text.as_bytes());
            assert_eq!(fault, Err(Fault::ChunkExtension), "{extensions:?}");
        }
    }

    #[test]
    fn chunks_together_keep_to_the_limit_of_a_body() {
        let half =
            [b"80000\r\n".to_vec(), vec![b'x'; HTTP_BODY_MAX / 2], b"\r\n".to_vec()].concat();
        let full = [half.clone(), half.clone(), b"0\r\n\r\n".to_vec()].concat();
        let (progress, kept) = read_chunked(&full).unwrap();
        assert_eq!(progress, BodyProgress::Complete { consumed: full.len() });
        assert_eq!(kept.len(), HTTP_BODY_MAX);
        let beyond = [half.clone(), half, b"1\r\n".to_vec()].concat();
        assert_eq!(read_chunked(&beyond), Err(Fault::BodyTooLong));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = |length| [b"1;", &vec![b'e'; length][..], b"\r\nx\r\n"].concat();
        assert!(matches!(
            read_chunked(&extension(HTTP_CHUNK_EXTENSIONS_MAX)),
            Ok((BodyProgress::Incomplete, _))
        ));
        let long = extension(HTTP_CHUNK_EXTENSIONS_MAX + 1);
        assert_eq!(read_chunked(&long), Err(Fault::ChunkExtensionsTooLong));
        let many = extension(2).repeat(HTTP_CHUNK_EXTENSIONS_MAX / 2 + 1);
        assert_eq!(read_chunked(&many), Err(Fault::ChunkExtensionsTooLong));

        let trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(HTTP_TRAILER_MAX / 6 + 1)].concat();
        assert_eq!(read_chunked(&trailer), Err(Fault::TrailerTooLong));
    }

    #[test]
    fn a_discarded_body_costs_no_memory() {
        let mut body = Body::new(BodyFraming::Fixed { length: 6 }, Retention::Discard);
        assert_eq!(body.read(b"abc"), Ok(BodyProgress::Incomplete));
        assert_eq!(body.read(b"defGET"), Ok(BodyProgress::Complete { consumed: 3 }));
        assert_eq!(body.into_kept().capacity(), 0);
    }
}
