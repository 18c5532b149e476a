//! Requests as text. What is asked again and again is rendered once and copied from then on: the
//! generator is to be the cheapest part of what it measures.

use std::io::Write as _;

use crate::bench::mix::{Mix, RequestClass};
use crate::units::Span;

/// Renders the requests of a mix for one server.
#[derive(Clone, Debug)]
pub(super) struct Scribe {
    /// What follows the target, for each [`AfterRequest`].
    tails: [Vec<u8>; 2],
    classes: Vec<Text>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AfterRequest {
    /// Others follow.
    KeepAlive,
    /// It is the last one.
    Close,
}

/// The requests of one class.
#[derive(Clone, Debug)]
struct Text {
    /// The target, taken apart where the service time goes.
    pieces: Vec<String>,
    /// The service time of the first request, and both of its texts.
    usual: Option<(Span, [Vec<u8>; 2])>,
}

impl Scribe {
    /// For requests of `mix` to the server that calls itself `authority`.
    pub(super) fn new(mix: &Mix, authority: &str) -> Self {
        let tail = |more| format!(" HTTP/1.1\r\nHost: {authority}\r\n{more}\r\n").into_bytes();
        let tails = [tail(""), tail("Connection: close\r\n")];
        Self { tails, classes: mix.classes.iter().map(Text::new).collect() }
    }

    /// Appends a request.
    pub(super) fn write(
        &mut self,
        class: u16,
        service: Span,
        ending: AfterRequest,
        out: &mut Vec<u8>,
    ) {
        let (text, tails) = (&mut self.classes[usize::from(class)], &self.tails);
        let (usual, texts) = text.usual.get_or_insert_with(|| {
            let whole = |tail: &Vec<u8>| {
                let mut whole = Vec::new();
                write_request(&text.pieces, service, tail, &mut whole);
                whole
            };
            (service, [whole(&tails[0]), whole(&tails[1])])
        });
        let at = match ending {
            AfterRequest::KeepAlive => 0,
            AfterRequest::Close => 1,
        };
        if *usual == service {
            out.extend_from_slice(&texts[at]);
        } else {
            write_request(&text.pieces, service, &tails[at], out);
        }
    }
}

impl Text {
    fn new(class: &RequestClass) -> Self {
        let pieces = class.path.split("{ms}").map(str::to_owned).collect();
        Self { pieces, usual: None }
    }
}

fn write_request(pieces: &[String], service: Span, tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET ");
    for (index, piece) in pieces.iter().enumerate() {
        if 0 < index {
            write_ms(service, out);
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(tail);
}

/// Appends milliseconds as [`RequestClass::target`] does, without asking the allocator.
fn write_ms(service: Span, out: &mut Vec<u8>) {
    let ns = service.as_ns();
    write!(out, "{}.{:06}", ns / 1_000_000, ns % 1_000_000).expect("a vector takes everything");
    let kept = out.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    out.truncate(kept);
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::mix::Service;

    #[test]
    fn requests_are_those_that_the_class_says_whatever_came_before() {
        let mix = Mix::named("ln15", Service::Spin, 1.0).unwrap();
        let mut scribe = Scribe::new(&mix, "here:1");
        for ns in [1_000_000, 0, 10_000_000, 1_500_000, 1_000, 20_123_000, 1, 1_000_000] {
            let service = Span::from_ns(ns);
            for (ending, field) in
                [(AfterRequest::KeepAlive, ""), (AfterRequest::Close, "Connection: close\r\n")]
            {
                let mut out = b"before".to_vec();
                scribe.write(1, service, ending, &mut out);
                let target = mix.classes[1].target(service);
                let text = format!("beforeGET {target} HTTP/1.1\r\nHost: here:1\r\n{field}\r\n");
                assert_eq!(String::from_utf8(out).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_path_without_a_time_is_sent_as_it_is() {
        let mut scribe = Scribe::new(&Mix::parse("/a?b").unwrap(), "h");
        let mut out = Vec::new();
        scribe.write(0, Span::ZERO, AfterRequest::KeepAlive, &mut out);
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}
