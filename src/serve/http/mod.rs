//! The built-in worker's HTTP/1.1, without input and output: bytes in, requests out, and answers
//! rendered into a buffer. Because it touches neither socket nor clock, every split of the bytes
//! and every hostile shape can be tried in a test, and both backends share it.

mod body;
mod chunks;
mod date;
mod fault;
mod grammar;
mod head;
mod line;
mod method;
mod response;
mod routes;

use std::mem;

use self::body::{Body, BodyFraming, BodyProgress, Retention};
use self::grammar::is_token_byte;
use self::head::{Expectation, HeadSearch, RequestHead};
use self::line::answer_to;
use crate::limits::HTTP_BLANK_LINES_MAX;

pub use self::chunks::{ChunkFault, Chunks};
pub use self::fault::{Fault, RequestRefusal};
pub use self::method::Allow;
pub use self::response::{Responder, ServerIdentity, Tail, fill};
pub use self::routes::BuiltinRoute;

/// The receiving side of one connection: takes bytes as they come, yields whole requests.
#[derive(Debug, Default)]
pub struct Http {
    state: HttpState,
    search: HeadSearch,
    blank_lines: u8,
}

/// What [`Http::advance`] did.
#[derive(Debug, Eq, PartialEq)]
pub struct Advance {
    /// Bytes from the start of the input that are used up.
    pub consumed: usize,
    /// What to do next.
    pub step: HttpStep,
}

/// What the server does next with a connection.
#[derive(Debug, Eq, PartialEq)]
pub enum HttpStep {
    /// Receive more, then call again with what is unconsumed and what has come.
    NeedBytes,
    /// Serve this; then call again, since the next request may already be there.
    Request(HttpRequest),
    /// Answer with this, then close.
    Refuse(RequestRefusal),
}

/// A request whose body has been read completely.
#[derive(Debug, Eq, PartialEq)]
pub struct HttpRequest {
    /// What is asked for.
    pub route: BuiltinRoute,
    /// Whether the answer has a body.
    pub answer: AnswerExtent,
    /// Whether the client can take another answer on this connection.
    pub keep_alive: bool,
    /// The body of a request for [`BuiltinRoute::Echo`]; of any other it is read and dropped.
    pub body: Vec<u8>,
}

/// How much of an answer is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnswerExtent {
    /// Head and body.
    Full,
    /// The head alone, as HEAD asks: the same fields, the length of the body that is left out
    /// among them.
    HeadOnly,
}

#[derive(Debug, Default)]
enum HttpState {
    #[default]
    Head,
    Body(Pending),
    Refused(RequestRefusal),
}

/// A request whose body is on its way.
#[derive(Debug)]
struct Pending {
    route: BuiltinRoute,
    answer: AnswerExtent,
    keep_alive: bool,
    body: Body,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Http {
    /// The state of a fresh connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up `input`, the client's bytes that no earlier call has consumed, up to the end of
    /// one request. Appends to `out` what the client waits for before it sends a body.
    ///
    /// Of an incomplete head nothing is consumed; `out` gets no answers, only 100 Continue.
    /// After a refusal every further call refuses again.
    pub fn advance(&mut self, input: &[u8], out: &mut Vec<u8>) -> Advance {
        match mem::take(&mut self.state) {
            HttpState::Head => self.advance_head(input, out),
            HttpState::Body(pending) => self.advance_body(pending, input, 0),
            HttpState::Refused(refusal) => self.refuse(refusal, 0),
        }
    }

    /// Whether no request has begun: what the connection waits for is the next request, not the
    /// rest of one. Bytes that no call has seen yet do not count.
    pub fn is_idle(&self) -> bool {
        match self.state {
            HttpState::Head => self.search.is_fresh(),
            HttpState::Body(_) | HttpState::Refused(_) => false,
        }
    }

    /// Whether nothing is known of the connection that whoever goes on with it would have to know.
    /// Empty lines are counted: the count would begin anew with him.
    pub fn is_blank(&self) -> bool {
        self.is_idle() && self.blank_lines == 0
    }

    /// How much of an answer the client can take whose request is not complete. `input` is what no
    /// call has consumed.
    pub fn answer_so_far(&self, input: &[u8]) -> Option<AnswerExtent> {
        match &self.state {
            HttpState::Head => {
                let begins = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
                answer_to(&input[begins.unwrap_or(input.len())..])
            }
            HttpState::Body(pending) => Some(pending.answer),
            HttpState::Refused(refusal) => refusal.answer,
        }
    }

    fn advance_head(&mut self, input: &[u8], out: &mut Vec<u8>) -> Advance {
        let skipped = match self.skip_blank_lines(input) {
            Ok(skipped) => skipped,
            Err(refusal) => return self.refuse(refusal, 0),
        };
        let rest = &input[skipped..];
        match self.search.end(rest) {
            Ok(Some(end)) => match head::parse(&rest[..end]) {
                Ok(head) => self.begin(head, &rest[end..], skipped + end, out),
                Err(refusal) => self.refuse(refusal, skipped + end),
            },
            Ok(None) => self.await_head(rest, skipped, None),
            Err(fault) => self.await_head(rest, skipped, Some(fault)),
        }
    }

    /// Goes on with a head whose end was not found, and why it will not be, if that is known. What
    /// is wrong first counts, in however many pieces it came.
    #[cold]
    fn await_head(&mut self, rest: &[u8], consumed: usize, fault: Option<Fault>) -> Advance {
        match self.search.fault_so_far(rest).or(fault) {
            Some(fault) => self.refuse(RequestRefusal { fault, answer: answer_to(rest) }, consumed),
            None => Advance { consumed, step: HttpStep::NeedBytes },
        }
    }

    /// Length of the empty lines that lead `input`. What follows them must begin a method, so
    /// that a client of another protocol need not send a whole head to be refused.
    fn skip_blank_lines(&mut self, input: &[u8]) -> Result<usize, RequestRefusal> {
        let mut skipped = 0;
        loop {
            let rest = input.get(skipped..).unwrap_or_default();
            let fault = match rest {
                [b'\r', b'\n', ..] if self.blank_lines < HTTP_BLANK_LINES_MAX => {
                    self.blank_lines += 1;
                    self.search = HeadSearch::default();
                    skipped += 2;
                    continue;
                }
                [] | [b'\r'] => return Ok(skipped),
                [first, ..] if is_token_byte(*first) => return Ok(skipped),
                [b'\r', b'\n', ..] => Fault::BlankLines,
                [b'\n', ..] => Fault::BareLf,
                [_, ..] => Fault::RequestLine,
            };
            return Err(RequestRefusal { fault, answer: answer_to(rest) });
        }
    }

    /// Goes on behind a complete head. `rest` is the input after it.
    fn begin(
        &mut self,
        head: RequestHead,
        rest: &[u8],
        consumed: usize,
        out: &mut Vec<u8>,
    ) -> Advance {
        self.search = HeadSearch::default();
        self.blank_lines = 0;
        let RequestHead { route, answer, keep_alive, framing, expectation } = head;
        if framing == BodyFraming::Empty {
            let request = HttpRequest { route, answer, keep_alive, body: Vec::new() };
            return Advance { consumed, step: HttpStep::Request(request) };
        }
        match (expectation, route) {
            // Whether the body comes after all, nobody can tell.
            (Expectation::Continue, BuiltinRoute::Unserved(fault)) => {
                return self.refuse(RequestRefusal { fault, answer: Some(answer) }, consumed);
            }
            (Expectation::Continue, _) if rest.is_empty() => out.extend_from_slice(CONTINUE),
            (Expectation::Nothing | Expectation::Continue | Expectation::Foreign, _) => {}
        }
        let retention =
            if route == BuiltinRoute::Echo { Retention::Keep } else { Retention::Discard };
        let body = Body::new(framing, retention);
        self.advance_body(Pending { route, answer, keep_alive, body }, rest, consumed)
    }

    /// Reads on in a body. `before` bytes of the input are consumed already.
    fn advance_body(&mut self, mut pending: Pending, input: &[u8], before: usize) -> Advance {
        match pending.body.read(input) {
            Ok(BodyProgress::Incomplete) => {
                self.state = HttpState::Body(pending);
                Advance { consumed: before + input.len(), step: HttpStep::NeedBytes }
            }
            Ok(BodyProgress::Complete { consumed }) => {
                let Pending { route, answer, keep_alive, body } = pending;
                let request = HttpRequest { route, answer, keep_alive, body: body.into_kept() };
                Advance { consumed: before + consumed, step: HttpStep::Request(request) }
            }
            Err(fault) => {
                self.refuse(RequestRefusal { fault, answer: Some(pending.answer) }, before)
            }
        }
    }

    fn refuse(&mut self, refusal: RequestRefusal, consumed: usize) -> Advance {
        self.state = HttpState::Refused(refusal);
        Advance { consumed, step: HttpStep::Refuse(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{HTTP_HEAD_MAX, HTTP_METHOD_MAX};

    /// A connection as the server keeps it: input that is not consumed, and what came of it.
    #[derive(Default)]
    struct Client {
        http: Http,
        input: Vec<u8>,
        out: Vec<u8>,
        requests: Vec<HttpRequest>,
        refusal: Option<RequestRefusal>,
    }

    impl Client {
        fn send(&mut self, bytes: &[u8]) {
            self.input.extend_from_slice(bytes);
            while self.refusal.is_none() {
                let Advance { consumed, step } = self.http.advance(&self.input, &mut self.out);
                assert!(consumed <= self.input.len());
                self.input.drain(..consumed);
                match step {
                    HttpStep::NeedBytes => return,
                    HttpStep::Request(request) => self.requests.push(request),
                    HttpStep::Refuse(refusal) => self.refusal = Some(refusal),
                }
            }
        }

        fn sent(parts: &[&[u8]]) -> Self {
            let mut client = Self::default();
            for part in parts {
                client.send(part);
            }
            client
        }

        fn fault(&self) -> Option<Fault> {
            self.refusal.map(|refusal| refusal.fault)
        }
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn post(fields: &str) -> Vec<u8> {
        format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes()
    }

    #[test]
    fn pipelined_requests_come_out_one_by_one() {
        let echo = [&post("Content-Length: 3")[..], b"abc"].concat();
        let burn = b"POST /burn?ms=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy\r\n";
        let client = Client::sent(&[&[GET, &echo, burn, b"\r\n", GET].concat()]);
        let routes: Vec<_> = client.requests.iter().map(|request| request.route).collect();
        let span = crate::units::Span::from_ms(1);
        assert_eq!(
            routes,
            [
                BuiltinRoute::Root,
                BuiltinRoute::Echo,
                BuiltinRoute::Burn { span },
                BuiltinRoute::Root
            ]
        );
        assert_eq!(client.requests[1].body, b"abc");
        assert_eq!(client.requests[2].body.capacity(), 0);
        assert!(client.input.is_empty() && client.http.is_idle());
    }

    #[test]
    fn nothing_of_an_incomplete_head_is_consumed() {
        let mut http = Http::new();
        let mut out = Vec::new();
        assert!(http.is_idle());
        let advance = http.advance(&GET[..20], &mut out);
        assert_eq!(advance, Advance { consumed: 0, step: HttpStep::NeedBytes });
        assert!(!http.is_idle());
        let advance = http.advance(GET, &mut out);
        assert_eq!(advance.consumed, GET.len());
        assert!(http.is_idle());
        let advance = http.advance(&post("Content-Length: 1"), &mut out);
        assert_eq!(advance.step, HttpStep::NeedBytes);
        assert!(!http.is_idle());
    }

    #[test]
    fn empty_lines_before_a_request_are_skipped_up_to_a_limit() {
        let mut client = Client::default();
        for _ in 0..HTTP_BLANK_LINES_MAX {
            client.send(b"\r");
            assert!(!client.http.is_idle());
            client.send(b"\n");
            assert!(client.http.is_idle() && !client.http.is_blank());
        }
        client.send(GET);
        assert_eq!(client.requests.len(), 1);
        assert!(client.http.is_blank());
        client.send(&b"\r\n".repeat(usize::from(HTTP_BLANK_LINES_MAX) + 1));
        assert_eq!(client.fault(), Some(Fault::BlankLines));
    }

    #[test]
    fn other_protocols_are_refused_as_soon_as_they_are_known() {
        for (bytes, fault) in [
            (&b"\x16\x03\x01"[..], Fault::RequestLine),
            (b"\0", Fault::RequestLine),
            (b"\n", Fault::BareLf),
            (b"\rG", Fault::RequestLine),
            (b" GET", Fault::RequestLine),
        ] {
            assert_eq!(Client::sent(&[bytes]).fault(), Some(fault));
        }
        // Others begin with what might become a method.
        for (bytes, fault) in [
            (&b"SSH-2.0-x\r\n"[..], Fault::RequestLine),
            (b"EHLO here\r\n", Fault::RequestLine),
            (b"GET /\r\n", Fault::RequestLine),
            (b"GET / HTTP/2.0\r\n", Fault::Version),
            (&[b'a'; HTTP_METHOD_MAX + 1], Fault::MethodTooLong),
            (b"GET / HTTP/9.9\r\nHost: a\n", Fault::Version),
        ] {
            let pieces: Vec<_> = bytes.chunks(1).collect();
            assert_eq!(Client::sent(&[bytes]).fault(), Some(fault));
            assert_eq!(Client::sent(&pieces).fault(), Some(fault));
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert_eq!(Client::sent(&[preface]).fault(), Some(Fault::Version));
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_limit() {
        let begun = [&b"GET /"[..], &vec![b'a'; HTTP_HEAD_MAX - 6]].concat();
        let mut client = Client::sent(&[&begun]);
        assert_eq!(client.fault(), None);
        client.send(b"a");
        assert_eq!(client.fault(), Some(Fault::HeadTooLong));
    }

    #[test]
    fn a_refusal_stays() {
        let mut client = Client::sent(&[b"GET / HTTP/1.1\r\n\r\n"]);
        assert_eq!(client.fault(), Some(Fault::HostMissing));
        let again = client.http.advance(GET, &mut client.out);
        assert_eq!(again.consumed, 0);
        assert_eq!(again.step, HttpStep::Refuse(client.refusal.unwrap()));
        assert!(!client.http.is_idle());
    }

    #[test]
    fn the_method_says_how_much_of_an_answer_there_is_as_soon_as_it_can() {
        let head = "HEAD / HTTP/1.1\r\nHost: a\r\n";
        for (begun, expected) in [
            (head, Some(AnswerExtent::HeadOnly)),
            ("HEAD ", Some(AnswerExtent::HeadOnly)),
            ("HEAD\t", Some(AnswerExtent::HeadOnly)),
            ("\r\n\r\nHEAD ", Some(AnswerExtent::HeadOnly)),
            ("HEAD", None),
            ("HE", None),
            ("\r\nH", None),
            ("\r", None),
            ("", None),
            ("HEADS", Some(AnswerExtent::Full)),
            ("HX", Some(AnswerExtent::Full)),
            ("head ", Some(AnswerExtent::Full)),
            ("G", Some(AnswerExtent::Full)),
            ("\x16", Some(AnswerExtent::Full)),
        ] {
            let http = Http::new();
            assert_eq!(http.answer_so_far(begun.as_bytes()), expected, "{begun:?}");
        }
        let in_a_body = format!("{head}Content-Length: 3\r\n\r\nG");
        let client = Client::sent(&[in_a_body.as_bytes()]);
        assert_eq!(client.http.answer_so_far(b"ET"), Some(AnswerExtent::HeadOnly));
    }

    #[test]
    fn a_client_that_waits_is_told_to_continue_once() {
        let head = post("Expect: 100-continue\r\nContent-Length: 3");
        let mut client = Client::sent(&[&head]);
        assert_eq!(client.out, CONTINUE);
        for byte in b"abc" {
            client.send(&[*byte]);
        }
        assert_eq!(client.out, CONTINUE);
        assert_eq!(client.requests[0].body, b"abc");

        let early = Client::sent(&[&[&head[..], b"a"].concat()]);
        assert!(early.out.is_empty());
        let bodiless = Client::sent(&[&post("Expect: 100-continue")]);
        assert!(bodiless.out.is_empty() && bodiless.requests.len() == 1);
        // What would be thrown away is not asked for, and whether it comes nobody knows.
        let vain =
            b"PUT /pot HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        let vain = Client::sent(&[vain]);
        assert_eq!((&vain.out[..], vain.fault()), (&b""[..], Some(Fault::Path)));
        let long = Client::sent(&[&post("Expect: 100-continue\r\nContent-Length: 9999999")]);
        assert!(long.out.is_empty());
        assert_eq!(long.fault(), Some(Fault::BodyTooLong));
    }

    /// Requests, good and bad, that the split tests feed in pieces.
    fn conversations() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => Just(GET.to_vec()),
            4 => Just(post("Content-Length: 5")).prop_map(|head| [&head[..], b"01\r\n4"].concat()),
            4 => Just(post("Transfer-Encoding: chunked")).prop_map(|head| {
                [&head[..], b"3;a=b\r\nabc\r\n1\r\n\r\r\n0\r\nT: v\r\n\r\n"].concat()
            }),
            2 => Just(b"HEAD http://a/bytes?n=5 HTTP/1.0\r\n\r\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(post("Transfer-Encoding: chunked")).prop_map(|head| {
                [&head[..], b"3\r\nabcd\r\n0\r\n\r\n"].concat()
            }),
            2 => Just(b"BREW /pot HTTP/1.7\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".to_vec()),
            1 => Just(post("Content-Length: 3\r\nExpect: 100-continue")).prop_map(|head| {
                [&head[..], b"abc"].concat()
            }),
            1 => Just(b"PUT /pot HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
                Expect: 100-continue\r\n\r\nx".to_vec()),
            1 => Just(b"GET / HTTP/1.1\nHost: a\n\n".to_vec()),
            1 => Just(b"GET / HTTP/4.1\r\nHost: a\n\n".to_vec()),
            1 => Just(b"SSH-2.0-x\r\nX: y\n".to_vec()),
            1 => Just(b"AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHI / HTTP/1.1\r\nX : y\r\n\r\n".to_vec()),
            1 => "(HEAD|HEAP|[A-Z]{30,34})[ (/]{1,2}[a-z]{0,3} (HTTP/[0-9][.][0-9]|x)\r?\n"
                .prop_map(String::into_bytes),
            1 => Just(b"BAD\r\n\r\n".to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..30),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_split_makes_no_difference(
            bytes in conversations(),
            splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let whole = Client::sent(&[&bytes]);
            let single: Vec<_> = bytes.chunks(1).collect();
            let end = |split: &prop::sample::Index| split.index(bytes.len() + 1);
            let mut ends: Vec<_> = splits.iter().map(end).collect();
            ends.sort_unstable();
            let mut parts = Vec::new();
            let mut start = 0;
            for end in ends {
                parts.push(&bytes[start..end]);
                start = end;
            }
            parts.push(&bytes[start..]);
            for client in [Client::sent(&single), Client::sent(&parts)] {
                prop_assert_eq!(&client.requests, &whole.requests);
                prop_assert_eq!(client.refusal, whole.refusal);
                prop_assert_eq!(client.http.is_idle(), whole.http.is_idle());
            }
        }

        #[test]
        fn a_chunked_body_comes_out_as_it_went_in(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            next in Just(GET),
        ) {
            let mut bytes = post("Transfer-Encoding: chunked");
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            bytes.extend_from_slice(next);
            let client = Client::sent(&[&bytes]);
            prop_assert_eq!(&client.requests[0].body, &chunks.concat());
            prop_assert_eq!(client.requests.len(), 2);
        }

        #[test]
        fn garbage_neither_panics_nor_is_overdrawn(
            parts in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..60), 0..5),
        ) {
            let mut client = Client::sent(&[&post("Transfer-Encoding: chunked")]);
            let mut fresh = Client::default();
            for part in &parts {
                client.send(part);
                fresh.send(part);
            }
        }
    }
}
