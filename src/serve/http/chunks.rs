//! Reads a chunked body (RFC 9112, section 7.1), of a request or of an answer, one byte after the
//! other where it is framing and at once where it is data. What is read here too little or too
//! much, an attacker can smuggle: nothing is taken but the grammar, and what frames is bounded.

use thiserror::Error;

use super::grammar::{is_text_byte, is_token_byte};
use crate::limits::{HTTP_CHUNK_EXTENSIONS_MAX, HTTP_TRAILER_MAX};

/// How far a chunked body has been read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunks {
    place: ChunkPlace,
    /// Bytes of body that chunks may still announce.
    body_left: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What no chunked body has.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ChunkFault {
    /// A chunk's size line is malformed, or its number too long.
    #[error("a chunk's size is not 1 to 16 hexadecimal digits, then CRLF")]
    Size,
    /// What is behind a chunk's size is no extension.
    #[error("a chunk's size is followed by something else than ;NAME or ;NAME=VALUE, then CRLF")]
    Extension,
    /// Too much beside the sizes.
    #[error("chunk extensions are longer than {HTTP_CHUNK_EXTENSIONS_MAX} bytes together")]
    ExtensionsTooLong,
    /// A chunk is longer than its size says.
    #[error("a chunk is not followed by CRLF")]
    End,
    /// The chunks together are longer than the reader allows.
    #[error("the body is too long")]
    BodyTooLong,
    /// A trailer line is no field.
    #[error("the trailer after the last chunk is malformed")]
    Trailer,
    /// The trailer does not end within its limit.
    #[error("the trailer is longer than {HTTP_TRAILER_MAX} bytes")]
    TrailerTooLong,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ChunkPlace {
    Line(ChunkLine),
    Data { left: u64 },
    Trailer(Trailer),
    Done,
}

/// Where in the lines between two chunks' data the next byte stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ChunkLine {
    Size { size: u64, digits: u8 },
    Extension { size: u64, part: Extension },
    SizeLf { size: u64 },
    DataCr,
    DataLf,
}

/// Where behind a chunk's size the next byte stands. There may be any number of `;NAME`, each with
/// `=TOKEN` or `="QUOTED"`, and blanks before and behind `;` and `=`, but not at the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trailer {
    Start,
    Name,
    Value,
    Lf,
    LastLf,
}

const SIZE: ChunkPlace = ChunkPlace::Line(ChunkLine::Size { size: 0, digits: 0 });

impl Chunks {
    /// Nothing has come, and the body may have so many bytes.
    pub const fn new(body_max: u64) -> Self {
        Self { place: SIZE, body_left: body_max, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Reads on; data goes to `keep`. Returns the bytes used up: all, until the body is complete.
    ///
    /// # Errors
    /// The body breaks the grammar or a limit.
    pub fn advance(
        &mut self,
        input: &[u8],
        mut keep: impl FnMut(&[u8]),
    ) -> Result<usize, ChunkFault> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            consumed += match (self.place, rest) {
                (ChunkPlace::Done, _) | (_, []) => return Ok(consumed),
                (ChunkPlace::Data { left }, _) => {
                    let taken = usize::try_from(left).map_or(rest.len(), |it| it.min(rest.len()));
                    keep(&rest[..taken]);
                    self.place = match left - taken as u64 {
                        0 => ChunkPlace::Line(ChunkLine::DataCr),
                        left => ChunkPlace::Data { left },
                    };
                    taken
                }
                (ChunkPlace::Line(line), &[byte, ..]) => {
                    self.place = self.line(line, byte)?;
                    1
                }
                (ChunkPlace::Trailer(trailer), &[byte, ..]) => {
                    self.place = self.trailer(trailer, byte)?;
                    1
                }
            };
        }
    }

    /// Whether the body is complete.
    pub fn is_complete(&self) -> bool {
        self.place == ChunkPlace::Done
    }

    fn line(&mut self, line: ChunkLine, byte: u8) -> Result<ChunkPlace, ChunkFault> {
        match (line, byte) {
            (ChunkLine::Size { size, digits }, _) => chunk_size(size, digits, byte),
            (ChunkLine::Extension { size, part }, b'\r') if part.may_end() => {
                Ok(ChunkPlace::Line(ChunkLine::SizeLf { size }))
            }
            (ChunkLine::Extension { size, part }, _) => self.extension(size, part, byte),
            (ChunkLine::SizeLf { size }, b'\n') => self.begin_chunk(size),
            (ChunkLine::SizeLf { .. }, _) => Err(ChunkFault::Size),
            (ChunkLine::DataCr, b'\r') => Ok(ChunkPlace::Line(ChunkLine::DataLf)),
            (ChunkLine::DataLf, b'\n') => Ok(SIZE),
            (ChunkLine::DataCr | ChunkLine::DataLf, _) => Err(ChunkFault::End),
        }
    }

    fn extension(
        &mut self,
        size: u64,
        part: Extension,
        byte: u8,
    ) -> Result<ChunkPlace, ChunkFault> {
        self.extension_bytes += 1;
        if self.extension_bytes > HTTP_CHUNK_EXTENSIONS_MAX {
            return Err(ChunkFault::ExtensionsTooLong);
        }
        let part = part.next(byte).ok_or(ChunkFault::Extension)?;
        Ok(ChunkPlace::Line(ChunkLine::Extension { size, part }))
    }

    fn begin_chunk(&mut self, size: u64) -> Result<ChunkPlace, ChunkFault> {
        if size == 0 {
            return Ok(ChunkPlace::Trailer(Trailer::Start));
        }
        self.body_left = self.body_left.checked_sub(size).ok_or(ChunkFault::BodyTooLong)?;
        Ok(ChunkPlace::Data { left: size })
    }

    fn trailer(&mut self, trailer: Trailer, byte: u8) -> Result<ChunkPlace, ChunkFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > HTTP_TRAILER_MAX {
            return Err(ChunkFault::TrailerTooLong);
        }
        let next = match (trailer, byte) {
            (Trailer::LastLf, b'\n') => return Ok(ChunkPlace::Done),
            (Trailer::Start, b'\r') => Trailer::LastLf,
            (Trailer::Name, b':') => Trailer::Value,
            (Trailer::Start | Trailer::Name, _) if is_token_byte(byte) => Trailer::Name,
            (Trailer::Value, b'\r') => Trailer::Lf,
            (Trailer::Value, _) if is_text_byte(byte) => Trailer::Value,
            (Trailer::Lf, b'\n') => Trailer::Start,
            (
                Trailer::Start | Trailer::Name | Trailer::Value | Trailer::Lf | Trailer::LastLf,
                _,
            ) => return Err(ChunkFault::Trailer),
        };
        Ok(ChunkPlace::Trailer(next))
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
fn chunk_size(size: u64, digits: u8, byte: u8) -> Result<ChunkPlace, ChunkFault> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' if digits > 0 => {
            return Ok(ChunkPlace::Line(ChunkLine::Extension {
                size,
                part: Extension::BeforeName,
            }));
        }
        b' ' | b'\t' if digits > 0 => {
            return Ok(ChunkPlace::Line(ChunkLine::Extension { size, part: Extension::Gap }));
        }
        b'\r' if digits > 0 => return Ok(ChunkPlace::Line(ChunkLine::SizeLf { size })),
        _ => return Err(ChunkFault::Size),
    };
    if digits == 16 {
        return Err(ChunkFault::Size);
    }
    let size = size << 4 | u64::from(digit);
    Ok(ChunkPlace::Line(ChunkLine::Size { size, digits: digits + 1 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY_MAX: u64 = 1 << 20;

    /// The bytes used up, the data, and whether the body is complete.
    fn read(input: &[u8]) -> Result<(usize, Vec<u8>, bool), ChunkFault> {
        let (mut chunks, mut data) = (Chunks::new(BODY_MAX), Vec::new());
        let used = chunks.advance(input, |piece| data.extend_from_slice(piece))?;
        Ok((used, data, chunks.is_complete()))
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
            let outcome = read(input);
            assert_eq!(outcome, Ok((consumed, expected.to_vec(), true)));
        }
    }

    #[test]
    fn whatever_is_not_the_grammar_is_refused() {
        for (input, fault) in [
            (&b"\r\n"[..], ChunkFault::Size),
            (b"g\r\n", ChunkFault::Size),
            (b"+5\r\n", ChunkFault::Size),
            (b"-1\r\n", ChunkFault::Size),
            (b"0x5\r\n", ChunkFault::Size),
            (b" 5\r\n", ChunkFault::Size),
            (b"5 \r\n", ChunkFault::Extension),
            (b"5\n", ChunkFault::Size),
            (b"5\rx", ChunkFault::Size),
            (b";x\r\n", ChunkFault::Size),
            (b"5;a\nb", ChunkFault::Extension),
            (b"5;a\0b", ChunkFault::Extension),
            (b"5;a\rb", ChunkFault::Size),
            (b"10000000000000000\r\n", ChunkFault::Size),
            (b"00000000000000000\r\n", ChunkFault::Size),
            (b"ffffffffffffffff\r\n", ChunkFault::BodyTooLong),
            (b"100001\r\n", ChunkFault::BodyTooLong),
            (b"3\r\nabcd", ChunkFault::End),
            (b"3\r\nabc\n", ChunkFault::End),
            (b"3\r\nabc\rx", ChunkFault::End),
            (b"0\r\n\n", ChunkFault::Trailer),
            (b"0\r\n\rx", ChunkFault::Trailer),
            (b"0\r\n folded\r\n", ChunkFault::Trailer),
            (b"0\r\nname : x\r\n", ChunkFault::Trailer),
            (b"0\r\nname\r\n", ChunkFault::Trailer),
            (b"0\r\n: x\r\n", ChunkFault::Trailer),
            (b"0\r\na: x\n", ChunkFault::Trailer),
            (b"0\r\na: x\0\r\n", ChunkFault::Trailer),
            (b"0\r\na: x\ry", ChunkFault::Trailer),
            (b"0\r\nGET / HTTP/1.1\r\n", ChunkFault::Trailer),
        ] {
            assert_eq!(read(input), Err(fault), "{}", input.escape_ascii());
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
            let expected = Ok((consumed, b"x".to_vec(), true));
            assert_eq!(read(text.as_bytes()), expected, "{extensions:?}");
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
            let fault = read(text.as_bytes());
            assert_eq!(fault, Err(ChunkFault::Extension), "{extensions:?}");
        }
    }

    #[test]
    fn chunks_together_keep_to_the_limit_of_a_body() {
        let half = [b"80000\r\n".to_vec(), vec![b'x'; 0x80000], b"\r\n".to_vec()].concat();
        let full = [half.clone(), half.clone(), b"0\r\n\r\n".to_vec()].concat();
        let (used, data, complete) = read(&full).unwrap();
        assert_eq!((used, data.len() as u64, complete), (full.len(), BODY_MAX, true));
        let beyond = [half.clone(), half, b"1\r\n".to_vec()].concat();
        assert_eq!(read(&beyond), Err(ChunkFault::BodyTooLong));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = |length| [b"1;", &vec![b'e'; length][..], b"\r\nx\r\n"].concat();
        assert!(!read(&extension(HTTP_CHUNK_EXTENSIONS_MAX)).unwrap().2);
        let long = extension(HTTP_CHUNK_EXTENSIONS_MAX + 1);
        assert_eq!(read(&long), Err(ChunkFault::ExtensionsTooLong));
        let many = extension(2).repeat(HTTP_CHUNK_EXTENSIONS_MAX / 2 + 1);
        assert_eq!(read(&many), Err(ChunkFault::ExtensionsTooLong));

        let trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(HTTP_TRAILER_MAX / 6 + 1)].concat();
        assert_eq!(read(&trailer), Err(ChunkFault::TrailerTooLong));
    }

    proptest! {
        #[test]
        fn any_data_in_any_chunks_cut_anywhere_comes_back(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6),
            step in 1_usize..20,
        ) {
            let mut input = Vec::new();
            for piece in &pieces {
                input.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                input.extend_from_slice(piece);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            let (mut chunks, mut data) = (Chunks::new(BODY_MAX), Vec::new());
            for part in input.chunks(step) {
                prop_assert!(!chunks.is_complete());
                let used = chunks.advance(part, |piece| data.extend_from_slice(piece)).unwrap();
                prop_assert_eq!(used, part.len());
            }
            prop_assert!(chunks.is_complete());
            prop_assert_eq!(data, pieces.concat());
        }

        #[test]
        fn no_bytes_are_more_than_a_fault(input in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((used, data, complete)) = read(&input) {
                prop_assert!(data.len() <= used && used <= input.len());
                prop_assert!(complete || used == input.len());
            }
        }
    }
}
