//! HTTP/1.1 for the examples: what a small server has to get right beside its answer. A request is
//! read to its very end, in either framing, or it is refused and the connection ends: what one
//! server takes for a body is no request to the next. What came behind it is answered as well
//! before the connection is given back, and no client has a worker for longer than [`DEADLINE`].

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use dispatchd::worker::{After, Connection};

/// Time to read what a client has begun to send, and to answer it.
const DEADLINE: Duration = Duration::from_secs(5);
/// Time for a client that may be sending still to take its last answer.
const GOODBYE: Duration = Duration::from_millis(500);
const HEAD_MAX: usize = 8 * 1024;
const FIELDS_MAX: usize = 64;
const BODY_MAX: usize = 1024 * 1024;
/// Bytes of a line between two chunks.
const LINE_MAX: usize = 1024;

/// Answers what a client asks with `body`: one request, and those that came with it. Returns what
/// becomes of the connection: `after`, unless it has to end.
pub(crate) fn answer(
    connection: &mut Connection<'_>,
    after: After,
    body: &str,
) -> io::Result<After> {
    connection.set_deadline(DEADLINE);
    let mut input = Input { connection, bytes: Vec::new() };
    loop {
        let request = match input.request() {
            Ok(request) => request,
            Err(Failure::Refused(status)) => return input.refuse(status),
            Err(Failure::Gone) => return Ok(After::Close),
            Err(Failure::Broken(error)) => return Err(error),
        };
        let is_last = !request.keep_alive || input.connection.is_last(after);
        let persistence = if is_last { "close" } else { "keep-alive" };
        let length = body.len();
        let body = if request.method == Method::Head { "" } else { body };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: {persistence}\r\n\r\n{body}"
        );
        input.connection.write_all(answer.as_bytes())?;
        input.drop_empty_lines();
        match (is_last, input.bytes.is_empty()) {
            (false, true) => return Ok(after),
            (false, false) => {}
            // Who wanted the end, and sent no more, sends no more.
            (true, true) if !request.keep_alive => return Ok(After::Close),
            (true, _) => {
                input.connection.finish(GOODBYE);
                return Ok(After::Close);
            }
        }
    }
}

/// A request that was read to its end.
struct Request {
    method: Method,
    /// Whether the client can take another answer.
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Method {
    Get,
    Head,
    Post,
}

/// How long the body is.
enum Framing {
    Fixed(usize),
    Chunked,
}

/// Why there is no request.
enum Failure {
    /// It is answered with this status, and nothing that follows is read.
    Refused(&'static str),
    /// The client has ended.
    Gone,
    Broken(io::Error),
}

const BAD: Failure = Failure::Refused("400 Bad Request");
const TIMEOUT: Failure = Failure::Refused("408 Request Timeout");
const TOO_LARGE: Failure = Failure::Refused("413 Content Too Large");
const FIELDS_TOO_LARGE: Failure = Failure::Refused("431 Request Header Fields Too Large");
const UNKNOWN: Failure = Failure::Refused("501 Not Implemented");
const VERSION: Failure = Failure::Refused("505 HTTP Version Not Supported");

/// What a client has sent and nobody has taken up.
struct Input<'a, 'worker> {
    connection: &'a mut Connection<'worker>,
    bytes: Vec<u8>,
}

impl Input<'_, '_> {
    fn request(&mut self) -> Result<Request, Failure> {
        let Head { length, request, framing, waits } = loop {
            if let Some(head) = parse(&self.bytes)? {
                break head;
            }
            if HEAD_MAX <= self.bytes.len() {
                return Err(FIELDS_TOO_LARGE);
            }
            self.receive()?;
        };
        self.bytes.drain(..length);
        if waits && self.bytes.is_empty() {
            let go_on = self.connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            go_on.map_err(Failure::Broken)?;
        }
        match framing {
            Framing::Fixed(length) => self.skip(length)?,
            Framing::Chunked => self.skip_chunks()?,
        }
        Ok(request)
    }

    /// No body is right for every method, HEAD among them.
    fn refuse(&mut self, status: &str) -> io::Result<After> {
        self.connection.set_deadline(GOODBYE);
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.connection.write_all(answer.as_bytes())?;
        self.connection.finish(GOODBYE);
        Ok(After::Close)
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        match self.connection.read(&mut buffer) {
            Ok(0) => Err(Failure::Gone),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(TIMEOUT),
            Err(error) => Err(Failure::Broken(error)),
        }
    }

    fn skip(&mut self, mut length: usize) -> Result<(), Failure> {
        while self.bytes.len() < length {
            length -= self.bytes.len();
            self.bytes.clear();
            self.receive()?;
        }
        self.bytes.drain(..length);
        Ok(())
    }

    fn skip_chunks(&mut self) -> Result<(), Failure> {
        let mut room = BODY_MAX;
        loop {
            let size = chunk_size(&self.line()?)?;
            if size == 0 {
                break;
            }
            room = room.checked_sub(size).ok_or(TOO_LARGE)?;
            self.skip(size)?;
            if !self.line()?.is_empty() {
                return Err(BAD);
            }
        }
        let mut room = HEAD_MAX;
        loop {
            let field = self.line()?;
            if field.is_empty() {
                return Ok(());
            }
            room = room.checked_sub(field.len()).ok_or(FIELDS_TOO_LARGE)?;
        }
    }

    /// The next line, without its CRLF. Neither CR nor LF stands anywhere else in it.
    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let end = loop {
            match self.bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => break end,
                None if LINE_MAX <= self.bytes.len() => return Err(BAD),
                None => self.receive()?,
            }
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        match line.strip_suffix(b"\r\n") {
            Some(line) if !line.contains(&b'\r') => Ok(line.to_vec()),
            Some(_) | None => Err(BAD),
        }
    }

    /// Old clients send one after a body, and it begins nothing.
    fn drop_empty_lines(&mut self) {
        while self.bytes.starts_with(b"\r\n") {
            self.bytes.drain(..2);
        }
    }
}

/// What the head of a request says.
struct Head {
    /// Its own length.
    length: usize,
    request: Request,
    framing: Framing,
    /// Whether the client waits for a word before it sends the body.
    waits: bool,
}

/// The head at the beginning of these bytes, or none as long as it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(FIELDS_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(VERSION),
        Err(_) => return Err(BAD),
    };
    // The parser takes a line that ends in LF alone, and others take that for a part of a value.
    if bytes[..length].split(|byte| *byte == b'\n').rev().skip(1).any(|l| !l.ends_with(b"\r")) {
        return Err(BAD);
    }
    let is_new = parsed.version == Some(1);
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        Some(_) | None => return Err(UNKNOWN),
    };
    let fields = &*parsed.headers;
    if is_new && only(fields, "host")?.is_none() {
        return Err(BAD);
    }
    // Both at once, two of one, a list, a sign: whatever two servers may read in two ways.
    let framing = match (only(fields, "transfer-encoding")?, only(fields, "content-length")?) {
        (None, None) => Framing::Fixed(0),
        (None, Some(length)) => Framing::Fixed(decimal(length)?),
        (Some(coding), None) if is_new && coding.eq_ignore_ascii_case("chunked") => {
            Framing::Chunked
        }
        (Some(_), None) if is_new => return Err(UNKNOWN),
        (Some(_), _) => return Err(BAD),
    };
    let wants = |option: &str| {
        let mut options = all(fields, "connection").flat_map(|value| value.split(|b| *b == b','));
        options.any(|wanted| wanted.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    let keep_alive = !wants("close") && (is_new || wants("keep-alive"));
    let waits = is_new && all(fields, "expect").any(|v| v.eq_ignore_ascii_case(b"100-continue"));
    let has_body = !matches!(framing, Framing::Fixed(0));
    let request = Request { method, keep_alive };
    Ok(Some(Head { length, request, framing, waits: waits && has_body }))
}

fn all<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// The value of a field that may stand there once.
fn only<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> Result<Option<&'a str>, Failure> {
    let mut values = all(fields, name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => str::from_utf8(value).map(Some).map_err(|_| BAD),
        (Some(_), Some(_)) => Err(BAD),
    }
}

fn decimal(text: &str) -> Result<usize, Failure> {
    // The parser alone would take a sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    text.parse().ok().filter(|length| *length <= BODY_MAX).ok_or(TOO_LARGE)
}

/// The size in a chunk's first line: digits, and then an extension or nothing.
fn chunk_size(line: &[u8]) -> Result<usize, Failure> {
    let digits = match line.iter().position(|byte| *byte == b';') {
        Some(end) => line[..end].trim_ascii_end(),
        None => line,
    };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = str::from_utf8(digits).ok().filter(|_| is_number).ok_or(BAD)?;
    usize::from_str_radix(text, 16).map_err(|_| TOO_LARGE)
}
