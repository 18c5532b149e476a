//! Renders answers. What is the same for every request is rendered once, so that answering `/` is
//! one copy; the date is patched in when the second changes.

use std::io::Write;

use super::date::{DATE_LENGTH, imf_fixdate};
use super::fault::{Fault, RequestRefusal};
use super::routes::BuiltinRoute;
use super::{AnswerExtent, HttpRequest};
use crate::units::Span;

/// Who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerIdentity {
    /// The worker's number: its slot.
    pub worker: u16,
    /// Its process.
    pub pid: u32,
    /// The CPU that it is pinned to, if any.
    pub cpu: Option<u16>,
    /// The rollout that it belongs to.
    pub generation: u32,
}

/// Renders the answers of one worker process.
#[derive(Debug)]
pub struct Responder {
    worker: u16,
    unix_seconds: u64,
    date: String,
    root: Canned,
    whoami: Canned,
    healthz: Canned,
}

/// What is still to be sent after [`Responder::respond`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// Nothing: the answer is complete.
    None,
    /// So many bytes of filler, as [`fill`] makes them.
    Fill {
        /// Bytes of body to come.
        left: u64,
    },
}

impl Responder {
    /// Renders what can be rendered ahead. The date is 1970 until it is set.
    pub fn new(identity: ServerIdentity) -> Self {
        let ServerIdentity { worker, pid, cpu, generation } = identity;
        let date = imf_fixdate(0);
        let greeting = format!("hello from worker {worker} (pid {pid})\n");
        let cpu = cpu.map_or_else(|| "null".to_owned(), |cpu| cpu.to_string());
        let whoami = format!(
            "{{\"worker\":{worker},\"pid\":{pid},\"cpu\":{cpu},\"generation\":{generation}}}\n"
        );
        Self {
            worker,
            unix_seconds: 0,
            root: Canned::new(&date, TEXT, &greeting),
            whoami: Canned::new(&date, JSON, &whoami),
            healthz: Canned::new(&date, TEXT, "ok\n"),
            date,
        }
    }

    /// Sets the `Date` of the answers to come. Costs nothing within the same second.
    pub fn set_date(&mut self, unix_seconds: u64) {
        if self.unix_seconds == unix_seconds {
            return;
        }
        self.unix_seconds = unix_seconds;
        self.date = imf_fixdate(unix_seconds);
        for canned in [&mut self.root, &mut self.whoami, &mut self.healthz] {
            canned.keep_alive.set_date(&self.date);
            canned.close.set_date(&self.date);
        }
    }

    /// Appends the answer of a served request to `out`. `keep_alive` is what the server decided,
    /// which may be less than what the client asked for.
    pub fn respond(&self, request: &HttpRequest, keep_alive: bool, out: &mut Vec<u8>) -> Tail {
        let persistence = if keep_alive { Persistence::KeepAlive } else { Persistence::Close };
        match request.route {
            BuiltinRoute::Root => self.root.append(request.answer, persistence, out),
            BuiltinRoute::Whoami => self.whoami.append(request.answer, persistence, out),
            BuiltinRoute::Healthz => self.healthz.append(request.answer, persistence, out),
            BuiltinRoute::Burn { span } => self.did("burn", span, request.answer, persistence, out),
            BuiltinRoute::Sleep { span } => {
                self.did("sleep", span, request.answer, persistence, out);
            }
            BuiltinRoute::Wait { span } => self.did("wait", span, request.answer, persistence, out),
            BuiltinRoute::Bytes { n } => {
                append_head(out, OK, &self.date, BINARY, n, persistence);
                if n > 0 && request.answer == AnswerExtent::Full {
                    return Tail::Fill { left: n };
                }
            }
            BuiltinRoute::Echo => {
                append_head(out, OK, &self.date, BINARY, length(&request.body), persistence);
                append_body(out, &request.body, request.answer);
            }
            BuiltinRoute::Options { allow } => {
                append_status(out, NO_CONTENT, &self.date);
                append(out, &["Allow: ", allow.methods(), "\r\n"]);
                append_persistence(out, persistence);
            }
            BuiltinRoute::Unserved(fault) => {
                self.explain(fault, Some(request.answer), persistence, out);
            }
        }
        Tail::None
    }

    /// Appends the answer to a request that is refused. The connection is to be closed.
    pub fn refuse(&self, refusal: &RequestRefusal, out: &mut Vec<u8>) {
        let RequestRefusal { fault, answer } = *refusal;
        self.explain(fault, answer, Persistence::Close, out);
    }

    /// Appends what is wrong with a request.
    fn explain(
        &self,
        fault: Fault,
        answer: Option<AnswerExtent>,
        persistence: Persistence,
        out: &mut Vec<u8>,
    ) {
        // Where it may have to do without a body, nothing is announced either.
        let body = answer.map_or_else(String::new, |_| format!("{fault}\n"));
        append_status(out, fault.status(), &self.date);
        if let Fault::Method { allow } = fault {
            append(out, &["Allow: ", allow.methods(), "\r\n"]);
        }
        append_fields(out, TEXT, length(body.as_bytes()), persistence);
        append_body(out, body.as_bytes(), answer.unwrap_or(AnswerExtent::HeadOnly));
    }

    /// Appends the answer of a path that spent time.
    fn did(
        &self,
        what: &str,
        span: Span,
        answer: AnswerExtent,
        persistence: Persistence,
        out: &mut Vec<u8>,
    ) {
        let (ms, below) = (span.as_ns() / 1_000_000, span.as_ns() % 1_000_000);
        let decimals = format!("{ms}.{below:06}");
        let ms = decimals.trim_end_matches('0').trim_end_matches('.');
        let worker = self.worker;
        let body = format!("{{\"worker\":{worker},\"did\":\"{what}\",\"ms\":{ms}}}\n");
        append_head(out, OK, &self.date, JSON, length(body.as_bytes()), persistence);
        append_body(out, body.as_bytes(), answer);
    }
}

/// Appends `n` bytes of the body of `/bytes`.
pub fn fill(out: &mut Vec<u8>, n: usize) {
    out.resize(out.len() + n, b'x');
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Persistence {
    KeepAlive,
    Close,
}

const OK: &str = "200 OK";
const NO_CONTENT: &str = "204 No Content";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// Where the date stands in an answer whose status is [`OK`].
const DATE_AT: usize = "HTTP/1.1 ".len() + OK.len() + "\r\nServer: dispatchd\r\nDate: ".len();

/// An answer rendered ahead, in both of its forms.
#[derive(Debug)]
struct Canned {
    keep_alive: Rendered,
    close: Rendered,
}

#[derive(Debug)]
struct Rendered {
    bytes: Vec<u8>,
    head_length: usize,
}

impl Canned {
    fn new(date: &str, kind: &str, body: &str) -> Self {
        Self {
            keep_alive: Rendered::new(date, kind, body, Persistence::KeepAlive),
            close: Rendered::new(date, kind, body, Persistence::Close),
        }
    }

    fn append(&self, answer: AnswerExtent, persistence: Persistence, out: &mut Vec<u8>) {
        let rendered = match persistence {
            Persistence::KeepAlive => &self.keep_alive,
            Persistence::Close => &self.close,
        };
        out.extend_from_slice(match answer {
            AnswerExtent::Full => &rendered.bytes,
            AnswerExtent::HeadOnly => &rendered.bytes[..rendered.head_length],
        });
    }
}

impl Rendered {
    fn new(date: &str, kind: &str, body: &str, persistence: Persistence) -> Self {
        let mut bytes = Vec::new();
        append_head(&mut bytes, OK, date, kind, length(body.as_bytes()), persistence);
        let head_length = bytes.len();
        bytes.extend_from_slice(body.as_bytes());
        Self { bytes, head_length }
    }

    fn set_date(&mut self, date: &str) {
        self.bytes[DATE_AT..DATE_AT + DATE_LENGTH].copy_from_slice(date.as_bytes());
    }
}

fn append_head(
    out: &mut Vec<u8>,
    status: &str,
    date: &str,
    kind: &str,
    body_length: u64,
    persistence: Persistence,
) {
    append_status(out, status, date);
    append_fields(out, kind, body_length, persistence);
}

fn append_status(out: &mut Vec<u8>, status: &str, date: &str) {
    append(out, &["HTTP/1.1 ", status, "\r\nServer: dispatchd\r\nDate: ", date, "\r\n"]);
}

fn append_fields(out: &mut Vec<u8>, kind: &str, body_length: u64, persistence: Persistence) {
    append(out, &["Content-Type: ", kind, "\r\nContent-Length: "]);
    write!(out, "{body_length}\r\n").expect("a Vec takes every write");
    append_persistence(out, persistence);
}

/// The last field, and the end of the head.
fn append_persistence(out: &mut Vec<u8>, persistence: Persistence) {
    let connection = match persistence {
        Persistence::KeepAlive => "keep-alive",
        Persistence::Close => "close",
    };
    append(out, &["Connection: ", connection, "\r\n\r\n"]);
}

fn append_body(out: &mut Vec<u8>, body: &[u8], answer: AnswerExtent) {
    match answer {
        AnswerExtent::Full => out.extend_from_slice(body),
        AnswerExtent::HeadOnly => {}
    }
}

fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn length(body: &[u8]) -> u64 {
    u64::try_from(body.len()).expect("no body is longer than memory")
}

#[cfg(test)]
mod tests {
    use super::super::method::Allow;
    use super::*;

    const NOVEMBER: u64 = 784_111_777;

    fn responder(cpu: Option<u16>) -> Responder {
        let mut responder =
            Responder::new(ServerIdentity { worker: 3, pid: 4242, cpu, generation: 7 });
        responder.set_date(NOVEMBER);
        responder
    }

    fn request(route: BuiltinRoute, answer: AnswerExtent, body: &[u8]) -> HttpRequest {
        HttpRequest { route, answer, keep_alive: true, body: body.to_vec() }
    }

    fn answer(route: BuiltinRoute, keep_alive: bool) -> String {
        let mut out = Vec::new();
        responder(Some(1)).respond(
            &request(route, AnswerExtent::Full, b"echo"),
            keep_alive,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1
    }

    #[test]
    fn the_greeting_is_rendered_to_the_byte() {
        assert_eq!(
            answer(BuiltinRoute::Root, true),
            "HTTP/1.1 200 OK\r\nServer: dispatchd\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\
             Connection: keep-alive\r\n\r\nhello from worker 3 (pid 4242)\n"
        );
        assert!(answer(BuiltinRoute::Root, false).contains("\r\nConnection: close\r\n\r\nhello"));
    }

    #[test]
    fn every_route_answers_with_its_body() {
        let span = Span::from_us(1_250);
        for (route, expected) in [
            (BuiltinRoute::Healthz, "ok\n"),
            (BuiltinRoute::Whoami, "{\"worker\":3,\"pid\":4242,\"cpu\":1,\"generation\":7}\n"),
            (BuiltinRoute::Burn { span }, "{\"worker\":3,\"did\":\"burn\",\"ms\":1.25}\n"),
            (
                BuiltinRoute::Sleep { span: Span::ZERO },
                "{\"worker\":3,\"did\":\"sleep\",\"ms\":0}\n",
            ),
            (
                BuiltinRoute::Wait { span: Span::from_s(60) },
                "{\"worker\":3,\"did\":\"wait\",\"ms\":60000}\n",
            ),
            (BuiltinRoute::Echo, "echo"),
        ] {
            let answer = answer(route, true);
            assert_eq!(body(&answer), expected);
            assert!(answer.contains(&format!("\r\nContent-Length: {}\r\n", expected.len())));
        }
        let mut out = Vec::new();
        let whoami = request(BuiltinRoute::Whoami, AnswerExtent::Full, b"");
        responder(None).respond(&whoami, true, &mut out);
        assert!(String::from_utf8(out).unwrap().contains("\"cpu\":null"));
    }

    #[test]
    fn head_has_the_same_fields_and_no_body() {
        for route in [
            BuiltinRoute::Root,
            BuiltinRoute::Whoami,
            BuiltinRoute::Wait { span: Span::from_ms(1) },
            BuiltinRoute::Bytes { n: 7 },
            BuiltinRoute::Echo,
        ] {
            for keep_alive in [true, false] {
                let mut head = Vec::new();
                let request = request(route, AnswerExtent::HeadOnly, b"echo");
                assert_eq!(responder(Some(1)).respond(&request, keep_alive, &mut head), Tail::None);
                let full = answer(route, keep_alive);
                let end = full.len() - body(&full).len();
                assert_eq!(String::from_utf8(head).unwrap(), full[..end]);
            }
        }
    }

    #[test]
    fn bytes_leaves_its_body_to_the_server() {
        for (n, tail) in [(0, Tail::None), (1 << 30, Tail::Fill { left: 1 << 30 })] {
            let mut out = Vec::new();
            let request = request(BuiltinRoute::Bytes { n }, AnswerExtent::Full, b"");
            assert_eq!(responder(None).respond(&request, true, &mut out), tail);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(&format!("Content-Length: {n}\r\n")) && body(&text).is_empty());
        }
        let mut out = b"head".to_vec();
        fill(&mut out, 3);
        assert_eq!(out, b"headxxx");
    }

    #[test]
    fn a_new_second_changes_the_date_everywhere() {
        let mut responder = responder(None);
        responder.set_date(NOVEMBER + 1);
        for route in
            [BuiltinRoute::Root, BuiltinRoute::Whoami, BuiltinRoute::Healthz, BuiltinRoute::Echo]
        {
            for keep_alive in [true, false] {
                let mut out = Vec::new();
                responder.respond(&request(route, AnswerExtent::Full, b""), keep_alive, &mut out);
                let text = String::from_utf8(out).unwrap();
                assert!(text.contains("\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\nContent-Type: "));
            }
        }
    }

    #[test]
    fn refusals_say_what_is_wrong_and_close() {
        let mut out = Vec::new();
        let fault = Fault::Method { allow: Allow::Bodies };
        responder(None)
            .refuse(&RequestRefusal { fault, answer: Some(AnswerExtent::Full) }, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 405 Method Not Allowed\r\nServer: dispatchd\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nAllow: POST, PUT, OPTIONS\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 35\r\n\
             Connection: close\r\n\r\nthis path takes POST, PUT, OPTIONS\n"
        );
        let mut out = Vec::new();
        responder(None)
            .refuse(&RequestRefusal { fault, answer: Some(AnswerExtent::HeadOnly) }, &mut out);
        assert!(out.ends_with(b"Content-Length: 35\r\nConnection: close\r\n\r\n"));
        let mut out = Vec::new();
        responder(None).refuse(&RequestRefusal { fault: Fault::TimedOut, answer: None }, &mut out);
        assert!(out.starts_with(b"HTTP/1.1 408 Request Timeout\r\n"));
        assert!(out.ends_with(b"Content-Length: 0\r\nConnection: close\r\n\r\n"));
    }
}
