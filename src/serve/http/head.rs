//! Finds the end of a request's head and takes the head apart. The search goes on where it
//! stopped, so that a client that sends one byte at a time costs one look at each byte, and
//! whatever two servers could read in two ways is refused here, so that there is nothing to
//! smuggle.

use std::mem::MaybeUninit;

use super::AnswerExtent;
use super::body::BodyFraming;
use super::fault::{Fault, RequestRefusal};
use super::grammar::is_token_byte;
use super::line::{
    answer_to, fault_of, is_authority, is_newer_minor, line_fault, method_fault, target_of,
    with_known_minor,
};
use super::method::Method;
use super::routes::{BuiltinRoute, route};
use crate::limits::{HTTP_BODY_MAX, HTTP_FIELDS_MAX, HTTP_HEAD_MAX, HTTP_METHOD_MAX};

/// How far the search for the empty line that ends a head has come.
#[derive(Debug, Default)]
pub(super) struct HeadSearch {
    searched: usize,
    line_start: usize,
    opening: Opening,
}

/// What is known of the first line before the head is complete.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Opening {
    /// Not all of it is there.
    #[default]
    Unread,
    /// It is a request line.
    Sound,
}

impl HeadSearch {
    /// Length of the head at the start of `input`, or none while its end is missing. `input` is
    /// what it was in the call before, and what has arrived since. `Err` when the head is too
    /// long or has a line without CR.
    pub(super) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Fault> {
        let window = &input[..input.len().min(HTTP_HEAD_MAX)];
        while let Some(distance) = window.get(self.searched..).and_then(find_lf) {
            let lf = self.searched + distance;
            self.searched = lf + 1;
            let line = window.get(self.line_start..lf).unwrap_or_default();
            match line {
                b"\r" => return Ok(Some(lf + 1)),
                [.., b'\r'] => self.line_start = lf + 1,
                _ => return Err(Fault::BareLf),
            }
        }
        self.searched = window.len();
        if window.len() == HTTP_HEAD_MAX { Err(Fault::HeadTooLong) } else { Ok(None) }
    }

    /// What is wrong with the beginning of a head already, although its end was not found: nobody
    /// who speaks another protocol sends one. A head that comes in one piece is not looked at.
    pub(super) fn fault_so_far(&mut self, input: &[u8]) -> Option<Fault> {
        // It may be the beginning of an empty line.
        if self.opening == Opening::Sound || input == b"\r" {
            return None;
        }
        let fault = method_fault(input);
        if fault.is_some() || self.line_start == 0 {
            return fault;
        }
        self.opening = Opening::Sound;
        line_fault(find_lf(input).map_or(input, |lf| &input[..=lf]))
    }

    /// Whether nothing is searched yet.
    pub(super) const fn is_fresh(&self) -> bool {
        self.searched == 0
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RequestHead {
    pub(super) route: BuiltinRoute,
    pub(super) answer: AnswerExtent,
    pub(super) keep_alive: bool,
    pub(super) framing: BodyFraming,
    pub(super) expectation: Expectation,
}

/// What the client waits for before it sends the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expectation {
    Nothing,
    Continue,
    Foreign,
}

/// Takes apart a head that ends in its first empty line, with that line.
pub(super) fn parse(head: &[u8]) -> Result<RequestHead, RequestRefusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HTTP_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let outcome = parsed.parse_with_uninit_headers(head, &mut fields);
    let parts = match (outcome, parsed.method, parsed.path, parsed.version) {
        (Ok(_), Some(name), Some(target), Some(version)) => (name, target, version),
        (Ok(_), ..) => return Err(refusal(Fault::RequestLine, answer_to(head))),
        (Err(error), ..) => return unparsed(error, head),
    };
    let (name, target, version) = parts;
    let method = Method::from_name(name);
    if method == Method::Unknown && HTTP_METHOD_MAX < name.len() {
        return Err(refusal(Fault::MethodTooLong, Some(AnswerExtent::Full)));
    }
    let answer = if method == Method::Head { AnswerExtent::HeadOnly } else { AnswerExtent::Full };
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    interpret(method, target, version, parsed.headers)
        .map(|head| RequestHead { answer, ..head })
        .map_err(|fault| refusal(fault, Some(answer)))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Http10,
    Http11,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HostField {
    Absent,
    Present,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transfer {
    Absent,
    Chunked,
    Foreign,
    ForeignThenChunked,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ConnectionField {
    Unsaid,
    KeepAlive,
    Close,
}

/// What the fields say that matter here.
struct HeadFields {
    host: HostField,
    content_length: Option<u64>,
    transfer: Transfer,
    connection: ConnectionField,
    expectation: Expectation,
}

const fn refusal(fault: Fault, answer: Option<AnswerExtent>) -> RequestRefusal {
    RequestRefusal { fault, answer }
}

fn interpret(
    method: Method,
    target: &str,
    version: Version,
    headers: &[httparse::Header<'_>],
) -> Result<RequestHead, Fault> {
    let mut fields = HeadFields::new();
    for header in headers {
        fields.read(header)?;
    }
    if fields.host == HostField::Absent && version == Version::Http11 {
        return Err(Fault::HostMissing);
    }
    let framing = fields.framing(version)?;
    let expectation = match (fields.expectation, version) {
        (Expectation::Foreign, _) => return Err(Fault::Expectation),
        (_, Version::Http10) => Expectation::Nothing,
        (expectation, Version::Http11) => expectation,
    };
    let route = match route(method, target_of(method, target)?) {
        // What follows may be meant for the tunnel that there is not.
        BuiltinRoute::Unserved(fault) if method == Method::Connect => return Err(fault),
        route => route,
    };
    let keep_alive = match (fields.connection, version) {
        (ConnectionField::Close, _) | (ConnectionField::Unsaid, Version::Http10) => false,
        (ConnectionField::KeepAlive, _) | (ConnectionField::Unsaid, Version::Http11) => true,
    };
    Ok(RequestHead { route, answer: AnswerExtent::Full, keep_alive, framing, expectation })
}

impl HeadFields {
    const fn new() -> Self {
        Self {
            host: HostField::Absent,
            content_length: None,
            transfer: Transfer::Absent,
            connection: ConnectionField::Unsaid,
            expectation: Expectation::Nothing,
        }
    }

    /// Takes up one field. The length of the name decides most cases without comparing it.
    fn read(&mut self, header: &httparse::Header<'_>) -> Result<(), Fault> {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            4 if is("host") => self.read_host(header.value),
            6 if is("expect") => {
                self.read_expectation(header.value);
                Ok(())
            }
            10 if is("connection") => {
                self.read_connection(header.value);
                Ok(())
            }
            14 if is("content-length") => self.read_content_length(header.value),
            17 if is("transfer-encoding") => self.read_transfer_encoding(header.value),
            _ => Ok(()),
        }
    }

    fn read_host(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.host == HostField::Present {
            return Err(Fault::HostRepeated);
        }
        self.host = HostField::Present;
        // An empty value is what a client sends whose target has no authority.
        if value.is_empty() || is_authority(value) { Ok(()) } else { Err(Fault::HostInvalid) }
    }

    fn read_expectation(&mut self, value: &[u8]) {
        let known = value.eq_ignore_ascii_case(b"100-continue");
        self.expectation = match (self.expectation, known) {
            (Expectation::Foreign, _) | (_, false) => Expectation::Foreign,
            (Expectation::Nothing | Expectation::Continue, true) => Expectation::Continue,
        };
    }

    fn read_connection(&mut self, value: &[u8]) {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.connection = ConnectionField::Close;
            } else if self.connection == ConnectionField::Unsaid
                && option.eq_ignore_ascii_case(b"keep-alive")
            {
                self.connection = ConnectionField::KeepAlive;
            }
        }
    }

    fn read_content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.content_length.is_some() {
            return Err(Fault::ContentLengthRepeated);
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::ContentLength);
        }
        // A number that does not fit is too long all the same.
        let length = value.iter().fold(0_u64, |length, digit| {
            length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        self.content_length = Some(length);
        Ok(())
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        for element in elements(value) {
            let name_end = element.iter().position(|&byte| !is_token_byte(byte));
            let (name, parameters) = element.split_at(name_end.unwrap_or(element.len()));
            let is_chunked = name.eq_ignore_ascii_case(b"chunked");
            let is_coding = matches!(parameters.trim_ascii_start(), [] | [b';', ..]);
            if name.is_empty() || !is_coding || (is_chunked && !parameters.is_empty()) {
                return Err(Fault::TransferEncoding);
            }
            self.transfer = match (self.transfer, is_chunked) {
                (Transfer::Absent, true) => Transfer::Chunked,
                (Transfer::Foreign, true) => Transfer::ForeignThenChunked,
                (Transfer::Absent | Transfer::Foreign, false) => Transfer::Foreign,
                (Transfer::Chunked | Transfer::ForeignThenChunked, _) => {
                    return Err(Fault::TransferEncoding);
                }
            };
        }
        Ok(())
    }

    /// The framing of the body. The shapes of smuggling come first, whatever else is wrong.
    fn framing(&self, version: Version) -> Result<BodyFraming, Fault> {
        match (self.transfer, self.content_length, version) {
            (Transfer::Absent, None, _) => Ok(BodyFraming::Empty),
            (Transfer::Absent, Some(length), _) => fixed(length),
            (_, Some(_), _) => Err(Fault::TwoFramings),
            (_, None, Version::Http10) => Err(Fault::TransferEncodingTooOld),
            (Transfer::Chunked, None, Version::Http11) => Ok(BodyFraming::Chunked),
            (Transfer::Foreign | Transfer::ForeignThenChunked, None, Version::Http11) => {
                Err(Fault::TransferCoding)
            }
        }
    }
}

fn fixed(length: u64) -> Result<BodyFraming, Fault> {
    match usize::try_from(length) {
        Ok(0) => Ok(BodyFraming::Empty),
        Ok(length) if length <= HTTP_BODY_MAX => Ok(BodyFraming::Fixed { length }),
        Ok(_) | Err(_) => Err(Fault::BodyTooLong),
    }
}

/// The elements of a comma-separated list, without the space around them.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// A head that the parser did not take: a newer minor version is read as ours, since its requests
/// are (RFC 9110, 2.5), and all else is refused.
#[cold]
fn unparsed(error: httparse::Error, head: &[u8]) -> Result<RequestHead, RequestRefusal> {
    if is_newer_minor(error, head) {
        return parse(&with_known_minor(head));
    }
    let fault = method_fault(head).unwrap_or_else(|| fault_of(error, head));
    Err(refusal(fault, answer_to(head)))
}

/// Position of the first LF, eight bytes at a time: a byte of `word` is 0 where the input has LF,
/// and subtracting 1 from it borrows into its highest bit. Below the lowest such byte nothing
/// borrows, so the first hit is never a false one.
fn find_lf(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ (ONES * 0x0A);
        let hits = word.wrapping_sub(ONES) & !word & HIGH_BITS;
        if hits != 0 {
            return Some(index * 8 + (hits.trailing_zeros() / 8) as usize);
        }
    }
    let tail_at = tail.iter().position(|&byte| byte == b'\n')?;
    Some(words.len() * 8 + tail_at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault_of(head: &str) -> Option<Fault> {
        parse(head.as_bytes()).err().map(|refusal| refusal.fault)
    }

    fn with_field(field: &str) -> Option<Fault> {
        fault_of(&format!("POST /echo HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"))
    }

    #[test]
    fn every_shape_of_smuggling_is_refused() {
        for (field, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", Fault::TwoFramings),
            ("Transfer-Encoding: chunked\r\ncontent-length: 5", Fault::TwoFramings),
            ("Transfer-Encoding: gzip\r\nContent-Length: 5", Fault::TwoFramings),
            ("Transfer-Encoding: x\r\nContent-Length: 0", Fault::TwoFramings),
            ("Content-Length: 5\r\nContent-Length: 6", Fault::ContentLengthRepeated),
            ("Content-Length: 5\r\ncontent-LENGTH: 5", Fault::ContentLengthRepeated),
            ("Content-Length: +5", Fault::ContentLength),
            ("Content-Length: -5", Fault::ContentLength),
            ("Content-Length: 5,5", Fault::ContentLength),
            ("Content-Length: 5, 5", Fault::ContentLength),
            ("Content-Length: 0x5", Fault::ContentLength),
            ("Content-Length:  5 6", Fault::ContentLength),
            ("Content-Length: 5.0", Fault::ContentLength),
            ("Content-Length: \"5\"", Fault::ContentLength),
            ("Content-Length:", Fault::ContentLength),
            ("Content-Length: \t ", Fault::ContentLength),
            ("Content-Length: \u{0665}", Fault::ContentLength),
            ("Transfer-Encoding: chunked, gzip", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked;q=1", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked ;", Fault::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"", Fault::TransferEncoding),
            ("Transfer-Encoding: chun ked", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked chunked", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked,", Fault::TransferEncoding),
            ("Transfer-Encoding: ,chunked", Fault::TransferEncoding),
            ("Transfer-Encoding:", Fault::TransferEncoding),
            ("Transfer-Encoding: \u{0b}chunked", Fault::FieldValue),
            ("Transfer-Encoding : chunked", Fault::FieldName),
            ("Transfer-Encoding\t: chunked", Fault::FieldName),
            ("X: y\r\n Transfer-Encoding: chunked", Fault::FieldName),
            ("X: y\r\n\tfolded", Fault::FieldName),
            ("X: y\rContent-Length: 5", Fault::FieldValue),
            ("X: y\0", Fault::FieldValue),
            ("X\0: y", Fault::FieldName),
            (": y", Fault::FieldName),
            ("no colon", Fault::FieldName),
            ("X: \u{7f}", Fault::FieldValue),
            ("Transfer-Encoding: xchunked", Fault::TransferCoding),
            ("Transfer-Encoding: identity", Fault::TransferCoding),
            ("Transfer-Encoding: gzip, chunked", Fault::TransferCoding),
            ("Transfer-Encoding: gzip;q=1, chunked", Fault::TransferCoding),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Fault::TransferCoding),
            ("Content-Length: 1048577", Fault::BodyTooLong),
            ("Content-Length: 18446744073709551616", Fault::BodyTooLong),
            ("Content-Length: 18446744073709551621", Fault::BodyTooLong),
        ] {
            assert_eq!(with_field(field), Some(fault), "{}", field.escape_debug());
        }
        let old = "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(fault_of(old), Some(Fault::TransferEncodingTooOld));
    }

    #[test]
    fn framings_are_told_apart() {
        for (field, framing) in [
            ("X: y", BodyFraming::Empty),
            ("Content-Length: 0", BodyFraming::Empty),
            ("Content-Length: 005", BodyFraming::Fixed { length: 5 }),
            ("Content-Length: 1048576 ", BodyFraming::Fixed { length: HTTP_BODY_MAX }),
            ("transfer-encoding: Chunked", BodyFraming::Chunked),
        ] {
            let text = format!("POST /echo HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            assert_eq!(parse(text.as_bytes()).map(|head| head.framing), Ok(framing), "{field}");
        }
    }

    #[test]
    fn a_host_is_needed_once_and_valid() {
        for (fields, fault) in [
            ("", Some(Fault::HostMissing)),
            ("Host: a\r\nHost: a\r\n", Some(Fault::HostRepeated)),
            ("Host: a b\r\n", Some(Fault::HostInvalid)),
            ("Host: a,b\r\n", Some(Fault::HostInvalid)),
            ("Host: a/b\r\n", Some(Fault::HostInvalid)),
            ("Host: user@a\r\n", Some(Fault::HostInvalid)),
            ("Host: a:b\r\n", Some(Fault::HostInvalid)),
            ("Host: a:80:80\r\n", Some(Fault::HostInvalid)),
            ("Host: :80\r\n", Some(Fault::HostInvalid)),
            ("Host: [::1\r\n", Some(Fault::HostInvalid)),
            ("Host: [::g]\r\n", Some(Fault::HostInvalid)),
            ("Host: [::1]80\r\n", Some(Fault::HostInvalid)),
            ("Host: ::1\r\n", Some(Fault::HostInvalid)),
            ("Host: \u{e9}\r\n", Some(Fault::HostInvalid)),
            ("Host:\r\n", None),
            ("HOST: a.example:\r\n", None),
            ("Host: 127.0.0.1:8000\r\n", None),
            ("Host: [::1]:8000\r\n", None),
        ] {
            assert_eq!(fault_of(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), fault, "{fields}");
        }
        assert_eq!(fault_of("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(fault_of("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), Some(Fault::HostInvalid));
    }

    #[test]
    fn persistence_follows_version_and_connection_options() {
        for (version, connection, keep_alive) in [
            ("1.1", "X: y", true),
            ("1.1", "Connection: close", false),
            ("1.1", "connection: foo ,\tCLOSE", false),
            ("1.1", "Connection: closed", true),
            ("1.1", "Connection: close\r\nConnection: keep-alive", false),
            ("1.1", "Connection: keep-alive, close", false),
            ("1.0", "X: y", false),
            ("1.0", "Connection: Keep-Alive", true),
            ("1.0", "Connection: close, keep-alive", false),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            assert_eq!(head.keep_alive, keep_alive, "{version} {connection}");
        }
    }

    #[test]
    fn expectations_are_met_ignored_or_refused() {
        for (version, value, outcome) in [
            ("1.1", "100-Continue", Ok(Expectation::Continue)),
            ("1.0", "100-continue", Ok(Expectation::Nothing)),
            ("1.1", "200-ok", Err(Fault::Expectation)),
            ("1.1", "", Err(Fault::Expectation)),
            ("1.1", "x\r\nExpect: 100-continue", Err(Fault::Expectation)),
        ] {
            let text = format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n");
            let parsed = parse(text.as_bytes());
            let parsed = parsed.map(|head| head.expectation).map_err(|refusal| refusal.fault);
            assert_eq!(parsed, outcome, "{version} {value}");
        }
    }

    #[test]
    fn fields_are_counted() {
        let fields = |count: usize| "X: y\r\n".repeat(count - 1);
        let head = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(count));
        assert_eq!(fault_of(&head(HTTP_FIELDS_MAX)), None);
        assert_eq!(fault_of(&head(HTTP_FIELDS_MAX + 1)), Some(Fault::FieldsTooMany));
    }

    #[test]
    fn a_refused_head_request_gets_no_body() {
        let refusal = parse(b"HEAD /none HTTP/1.1\r\n\r\n").unwrap_err();
        assert_eq!(
            refusal,
            RequestRefusal { fault: Fault::HostMissing, answer: Some(AnswerExtent::HeadOnly) }
        );
    }

    /// What was searched is overwritten with bytes that would be refused if they were looked at
    /// again; only the byte before the search may be, for its CR.
    #[test]
    fn one_byte_at_a_time_every_byte_is_searched_once() {
        let line = b"Cookie: 0123456789abcdef\r\n";
        let mut text = b"GET / HTTP/1.1\r\n".to_vec();
        while text.len() + line.len() + 2 <= HTTP_HEAD_MAX {
            text.extend_from_slice(line);
        }
        text.extend_from_slice(b"\r\n");
        let mut search = HeadSearch::default();
        let mut seen = Vec::new();
        for (index, &byte) in text.iter().enumerate() {
            seen.push(byte);
            let end = search.end(&seen).unwrap();
            assert_eq!(end, (index + 1 == text.len()).then_some(text.len()));
            assert_eq!(search.searched, index + 1);
            if let Some(old) = index.checked_sub(1) {
                seen[old] = b'\n';
            }
        }
    }

    #[test]
    fn a_head_ends_within_its_limit() {
        let longest = [&vec![b'a'; HTTP_HEAD_MAX - 4][..], b"\r\n\r\n"].concat();
        assert_eq!(HeadSearch::default().end(&longest), Ok(Some(HTTP_HEAD_MAX)));
        let longer = [b"a", &longest[..]].concat();
        assert_eq!(HeadSearch::default().end(&longer), Err(Fault::HeadTooLong));
        assert_eq!(HeadSearch::default().end(b"GET / HTTP/1.1\n"), Err(Fault::BareLf));
        assert_eq!(HeadSearch::default().end(b"GET / HTTP/1.1\r\n\n"), Err(Fault::BareLf));
    }

    proptest! {
        #[test]
        fn the_first_lf_is_found(bytes in proptest::collection::vec(8_u8..13, 0..40)) {
            prop_assert_eq!(find_lf(&bytes), bytes.iter().position(|&byte| byte == b'\n'));
        }

        #[test]
        fn no_head_makes_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            line in "(GET|POST|X) [ -~]{0,20} HTTP/1.[01]",
            fields in "\r\n([!-~]{1,18}: ?[ -~]{0,9}\r\n){0,4}\r\n",
        ) {
            let _ = parse(&bytes);
            let _ = parse([line, fields].concat().as_bytes());
        }
    }
}
