//! The chunked body of an answer, a byte at a time where it is framing and at once where it is
//! data. What it carries may be endless; what frames it may not.

use super::answer::Nonsense;
use crate::limits::{HTTP_CHUNK_EXTENSIONS_MAX, HTTP_TRAILER_MAX};

/// How far a chunked body has been read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chunks {
    place: ChunkPlace,
    /// Bytes of extensions that may still come.
    extensions_left: usize,
    /// Bytes of the trailer that may still come.
    trailer_left: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ChunkPlace {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataReturn,
    DataEnd,
    TrailerLine,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

/// Digits of a chunk's size; more would not fit into a number.
const DIGITS_MAX: u8 = 15;

impl Chunks {
    /// Nothing has come.
    pub(super) const fn new() -> Self {
        Self {
            place: ChunkPlace::Size { value: 0, digits: 0 },
            extensions_left: HTTP_CHUNK_EXTENSIONS_MAX,
            trailer_left: HTTP_TRAILER_MAX,
        }
    }

    /// Reads on; data goes to `keep`. Returns the bytes used up: all, until the body is complete.
    ///
    /// # Errors
    /// What no chunked body has.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        mut keep: impl FnMut(&[u8]),
    ) -> Result<usize, Nonsense> {
        let mut at = 0;
        while at < input.len() && self.place != ChunkPlace::Done {
            if let ChunkPlace::Data { left } = self.place {
                let room = input.len() - at;
                let count = usize::try_from(left).map_or(room, |left| left.min(room));
                keep(&input[at..at + count]);
                at += count;
                let left = left - count as u64;
                self.place =
                    if left == 0 { ChunkPlace::DataReturn } else { ChunkPlace::Data { left } };
            } else {
                self.place = self.framing(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Whether the body is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.place == ChunkPlace::Done
    }

    fn framing(&mut self, byte: u8) -> Result<ChunkPlace, Nonsense> {
        Ok(match (self.place, byte) {
            (ChunkPlace::Size { value, digits: 1.. }, b'\r') => ChunkPlace::SizeEnd { value },
            (
                ChunkPlace::Size { value, digits: 1.. } | ChunkPlace::Extension { value },
                b';' | b' ' | b'\t',
            ) => self.extension(value)?,
            (ChunkPlace::Size { value, digits }, _) if digits < DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(Nonsense::Chunk)?;
                ChunkPlace::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (ChunkPlace::Extension { value }, b'\r') => ChunkPlace::SizeEnd { value },
            (ChunkPlace::Extension { value }, byte) if byte != b'\n' => self.extension(value)?,
            (ChunkPlace::SizeEnd { value: 0 }, b'\n') => ChunkPlace::TrailerLine,
            (ChunkPlace::SizeEnd { value }, b'\n') => ChunkPlace::Data { left: value },
            (ChunkPlace::DataReturn, b'\r') => ChunkPlace::DataEnd,
            (ChunkPlace::DataEnd, b'\n') => ChunkPlace::Size { value: 0, digits: 0 },
            (ChunkPlace::TrailerLine, b'\r') => ChunkPlace::LastEnd,
            (ChunkPlace::Trailer, b'\r') => ChunkPlace::TrailerEnd,
            (ChunkPlace::TrailerLine | ChunkPlace::Trailer, byte) if byte != b'\n' => {
                self.trailer()?
            }
            (ChunkPlace::TrailerEnd, b'\n') => ChunkPlace::TrailerLine,
            (ChunkPlace::LastEnd, b'\n') => ChunkPlace::Done,
            (
                ChunkPlace::Size { .. }
                | ChunkPlace::Extension { .. }
                | ChunkPlace::SizeEnd { .. }
                | ChunkPlace::Data { .. }
                | ChunkPlace::DataReturn
                | ChunkPlace::DataEnd
                | ChunkPlace::TrailerLine
                | ChunkPlace::Trailer
                | ChunkPlace::TrailerEnd
                | ChunkPlace::LastEnd
                | ChunkPlace::Done,
                _,
            ) => return Err(Nonsense::Chunk),
        })
    }

    fn extension(&mut self, value: u64) -> Result<ChunkPlace, Nonsense> {
        self.extensions_left = self.extensions_left.checked_sub(1).ok_or(Nonsense::Chunk)?;
        Ok(ChunkPlace::Extension { value })
    }

    fn trailer(&mut self) -> Result<ChunkPlace, Nonsense> {
        self.trailer_left = self.trailer_left.checked_sub(1).ok_or(Nonsense::Chunk)?;
        Ok(ChunkPlace::Trailer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: &[u8]) -> Result<(Vec<u8>, usize, bool), Nonsense> {
        let mut chunks = Chunks::new();
        let mut data = Vec::new();
        let used = chunks.advance(input, |piece| data.extend_from_slice(piece))?;
        Ok((data, used, chunks.is_complete()))
    }

    #[test]
    fn bodies_are_read_to_their_end_and_no_further() {
        for (input, data, rest) in [
            (&b"0\r\n\r\n"[..], &b""[..], 0),
            (b"3\r\nabc\r\n0\r\n\r\nHTTP", b"abc", 4),
            (b"00a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", 0),
            (b"1;a=\"b\"\r\nx\r\n0 \r\nA: b\r\nC: d\r\n\r\n", b"x", 0),
        ] {
            assert_eq!(read(input), Ok((data.to_vec(), input.len() - rest, true)));
            assert!(!read(&input[..input.len() - rest - 1]).unwrap().2);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for input in [
            &b"x"[..],
            b"\r\n",
            b";a\r\n",
            b"3\nabc",
            b"3\r\nabcd",
            b"3;a\nabc",
            b"0\r\n\n",
            b"0\r\nA\n",
            b"1234567890123456\r\n",
        ] {
            assert_eq!(read(input), Err(Nonsense::Chunk), "{}", input.escape_ascii());
        }
        let long = |head: &str, count| format!("{head}{}", "a".repeat(count)).into_bytes();
        read(&long("0;", HTTP_CHUNK_EXTENSIONS_MAX - 1)).unwrap();
        read(&long("0;", HTTP_CHUNK_EXTENSIONS_MAX)).unwrap_err();
        read(&long("0\r\n", HTTP_TRAILER_MAX)).unwrap();
        read(&long("0\r\n", HTTP_TRAILER_MAX + 1)).unwrap_err();
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
            let (mut chunks, mut data) = (Chunks::new(), Vec::new());
            for part in input.chunks(step) {
                prop_assert!(!chunks.is_complete());
                let used = chunks.advance(part, |piece| data.extend_from_slice(piece)).unwrap();
                prop_assert_eq!(used, part.len());
            }
            prop_assert!(chunks.is_complete());
            prop_assert_eq!(data, pieces.concat());
        }

        #[test]
        fn no_bytes_are_more_than_nonsense(input in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((data, used, complete)) = read(&input) {
                prop_assert!(data.len() <= used && used <= input.len());
                prop_assert!(complete || used == input.len());
            }
        }
    }
}
