//! The first line of a request, and what else is known before its fields are: method, target and
//! version, whether this can be HTTP at all, and how much of an answer it may have.

use std::net::Ipv6Addr;

use super::AnswerExtent;
use super::fault::Fault;
use super::grammar::is_token_byte;
use super::method::Method;
use super::routes::RequestTarget;
use crate::limits::HTTP_METHOD_MAX;

/// What is wrong with a first line, with its CRLF.
pub(super) fn line_fault(line: &[u8]) -> Option<Fault> {
    // Without room for fields the parser ends behind the line.
    let outcome = httparse::Request::new(&mut []).parse(line);
    outcome.err().filter(|&error| !is_newer_minor(error, line)).map(|error| fault_of(error, line))
}

/// Why no method begins these bytes. None as long as one may.
pub(super) fn method_fault(bytes: &[u8]) -> Option<Fault> {
    let token = bytes.iter().take_while(|&&byte| is_token_byte(byte));
    let length = token.take(HTTP_METHOD_MAX + 1).count();
    match bytes.get(length) {
        _ if HTTP_METHOD_MAX < length => Some(Fault::MethodTooLong),
        Some(b' ') | None => None,
        Some(_) => Some(Fault::RequestLine),
    }
}

/// Why the parser did not take this head.
pub(super) fn fault_of(error: httparse::Error, head: &[u8]) -> Fault {
    match error {
        httparse::Error::HeaderName => Fault::FieldName,
        httparse::Error::HeaderValue => Fault::FieldValue,
        httparse::Error::TooManyHeaders => Fault::FieldsTooMany,
        httparse::Error::Version if major_version(head).is_some() => Fault::Version,
        httparse::Error::Version
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token => Fault::RequestLine,
    }
}

/// Whether nothing is wrong but that the parser does not know this minor version of HTTP/1.
pub(super) fn is_newer_minor(error: httparse::Error, head: &[u8]) -> bool {
    error == httparse::Error::Version && major_version(head) == Some(b'1')
}

/// The same head in the minor version that is known, where [`is_newer_minor`].
pub(super) fn with_known_minor(head: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    if let Some(end) = head.iter().position(|&byte| byte == b'\r') {
        head[end - 1] = b'1';
    }
    head
}

/// How much of an answer somebody can take who has begun a request like this: of one to HEAD only
/// the head. None as long as the method may become HEAD.
pub(super) fn answer_to(begun: &[u8]) -> Option<AnswerExtent> {
    let end = begun.iter().position(|&byte| !is_token_byte(byte));
    let (method, rest) = begun.split_at(end.unwrap_or(begun.len()));
    match (method, rest) {
        (b"HEAD", [_, ..]) => Some(AnswerExtent::HeadOnly),
        (b"", [b'\r' | b'\n' | b'\t' | b' ', ..]) => None,
        (method, []) if b"HEAD".starts_with(method) => None,
        _ => Some(AnswerExtent::Full),
    }
}

/// What a target means, whichever of the forms it has.
pub(super) fn target_of(method: Method, target: &str) -> Result<RequestTarget<'_>, Fault> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Fault::Target);
    }
    if target.starts_with('/') {
        return Ok(RequestTarget::Path(target));
    }
    if method == Method::Options && target == "*" {
        return Ok(RequestTarget::Server);
    }
    if method == Method::Connect && is_authority(target.as_bytes()) {
        return Ok(RequestTarget::Authority);
    }
    let (scheme, rest) = target.split_once("://").ok_or(Fault::Target)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !scheme.eq_ignore_ascii_case("http") || !is_authority(authority.as_bytes()) {
        return Err(Fault::Target);
    }
    Ok(match path {
        // That is how a proxy is told to ask about the whole server.
        "" if method == Method::Options => RequestTarget::Server,
        path if path.starts_with('/') => RequestTarget::Path(path),
        // The path may be left out, before a query too; only the root takes what follows then.
        _ => RequestTarget::Path("/"),
    })
}

/// Whether this is a host, by name or address, with an optional port and without a user.
pub(super) fn is_authority(value: &[u8]) -> bool {
    let host_end = match value {
        [b'[', ..] => value.iter().position(|&byte| byte == b']').map_or(0, |end| end + 1),
        _ => value.iter().position(|&byte| byte == b':').unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(host_end);
    let is_host = match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        name => name.iter().all(|&byte| NAME_BYTES[usize::from(byte)]),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_host && is_port
}

/// Each byte's [`is_name_byte`]: every request has a host, of which every byte is looked at.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = is_name_byte(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Bytes of a registered name (RFC 3986), but for the comma: that would be two `Host` in one.
const fn is_name_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$'
            | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}

/// The major version of HTTP that the request line names at its end, as a digit.
fn major_version(head: &[u8]) -> Option<u8> {
    let mut words = head.split(|&byte| byte == b'\r').next()?.split(|&byte| byte == b' ');
    match (words.nth(2)?, words.next()) {
        ([b'H', b'T', b'T', b'P', b'/', major, b'.', minor], None) => {
            (major.is_ascii_digit() && minor.is_ascii_digit()).then_some(*major)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadSearch, parse};
    use super::super::method::Allow;
    use super::super::routes::BuiltinRoute;
    use super::*;

    fn fault_of(head: &str) -> Option<Fault> {
        parse(head.as_bytes()).err().map(|refusal| refusal.fault)
    }

    #[test]
    fn request_lines_are_taken_or_refused() {
        for (line, fault) in [
            ("GET /healthz HTTP/1.1", None),
            ("GET http://host HTTP/1.1", None),
            ("GET HTTP://host:80/whoami HTTP/1.1", None),
            ("GET http://[::1]:80/burn?ms=1 HTTP/1.1", None),
            ("GET http://host?x=/y HTTP/1.1", None),
            ("GET https://host/ HTTP/1.1", Some(Fault::Target)),
            ("GET http:///whoami HTTP/1.1", Some(Fault::Target)),
            ("GET http://u@host/ HTTP/1.1", Some(Fault::Target)),
            ("GET whoami HTTP/1.1", Some(Fault::Target)),
            ("GET * HTTP/1.1", Some(Fault::Target)),
            ("GET /#x HTTP/1.1", Some(Fault::Target)),
            ("GET /\u{e9} HTTP/1.1", Some(Fault::Target)),
            ("OPTIONS *x HTTP/1.1", Some(Fault::Target)),
            ("CONNECT a:b HTTP/1.1", Some(Fault::Target)),
            ("GET a:80 HTTP/1.1", Some(Fault::Target)),
            ("GET / HTTP/2.0", Some(Fault::Version)),
            ("PRI * HTTP/2.0", Some(Fault::Version)),
            ("GET / HTTP/0.9", Some(Fault::Version)),
            ("GET / HTTP/2", Some(Fault::RequestLine)),
            ("GET / HTTP/1.10", Some(Fault::RequestLine)),
            ("GET / HTTP/1.2 x", Some(Fault::RequestLine)),
            ("GET / http/1.1", Some(Fault::RequestLine)),
            ("GET / HTTP/1.x", Some(Fault::RequestLine)),
            ("GET / HTTP/2.0 x", Some(Fault::RequestLine)),
            ("GET / HTTP/1.1 ", Some(Fault::RequestLine)),
            ("GET  / HTTP/1.1", Some(Fault::RequestLine)),
            ("GET /  HTTP/1.1", Some(Fault::RequestLine)),
            ("GET\t/ HTTP/1.1", Some(Fault::RequestLine)),
            ("GET /a b HTTP/1.1", Some(Fault::RequestLine)),
            ("GET / \rHTTP/1.1", Some(Fault::RequestLine)),
            ("GET /\0 HTTP/1.1", Some(Fault::RequestLine)),
            ("GET /", Some(Fault::RequestLine)),
            ("GET", Some(Fault::RequestLine)),
            ("G(T / HTTP/1.1", Some(Fault::RequestLine)),
            ("AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHI / HTTP/1.1", Some(Fault::MethodTooLong)),
            ("AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHI( / HTTP/1.1", Some(Fault::MethodTooLong)),
        ] {
            let text = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(fault_of(&text), fault, "{}", line.escape_debug());
            // The line alone says it, and nothing more is waited for.
            let is_of_the_line = !matches!(fault, None | Some(Fault::Target));
            let expected = fault.filter(|_| is_of_the_line);
            let begun = format!("{line}\r\nHost: a\r\n");
            assert_eq!(early_fault_of(&begun), expected, "{}", line.escape_debug());
        }
    }

    fn early_fault_of(begun: &str) -> Option<Fault> {
        let mut search = HeadSearch::default();
        assert_eq!(search.end(begun.as_bytes()), Ok(None));
        search.fault_so_far(begun.as_bytes())
    }

    #[test]
    fn what_can_be_no_method_is_refused_before_its_line_ends() {
        for (begun, fault) in [
            ("\r", None),
            ("GET", None),
            ("AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH", None),
            ("AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH ", None),
            ("AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHI", Some(Fault::MethodTooLong)),
            ("SSH-2.0-x", None),
            ("SSH-2.0-x\r", Some(Fault::RequestLine)),
            ("GET\t", Some(Fault::RequestLine)),
            ("G\u{e9}", Some(Fault::RequestLine)),
            ("GET / HTTP/9", None),
        ] {
            assert_eq!(early_fault_of(begun), fault, "{begun:?}");
        }
    }

    #[test]
    fn every_minor_version_is_served_as_the_one_that_is_known() {
        for minor in 2..=9 {
            let text = format!("HEAD /healthz?HTTP/1.7 HTTP/1.{minor}\r\nHost: a\r\nX: y\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            let expected = (BuiltinRoute::Healthz, AnswerExtent::HeadOnly, true);
            assert_eq!((head.route, head.answer, head.keep_alive), expected, "{text}");
            assert_eq!(fault_of(&text.replace("Host: a\r\n", "")), Some(Fault::HostMissing));
            assert_eq!(early_fault_of(&text[..text.len() - 2]), None);
        }
    }

    #[test]
    fn what_is_sound_and_not_served_leaves_the_connection_open() {
        let everything = BuiltinRoute::Options { allow: Allow::Anything };
        let root = BuiltinRoute::Options { allow: Allow::Posts };
        for (line, route) in [
            ("GET /none", BuiltinRoute::Unserved(Fault::Path)),
            ("GET /burn", BuiltinRoute::Unserved(Fault::QueryMs)),
            ("BREW /", BuiltinRoute::Unserved(Fault::MethodUnknown)),
            ("TRACE /", BuiltinRoute::Unserved(Fault::Method { allow: Allow::Posts })),
            ("OPTIONS *", everything),
            ("OPTIONS http://host", everything),
            ("OPTIONS http://host/", root),
            ("OPTIONS http://host?x", root),
        ] {
            let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            assert_eq!((head.route, head.keep_alive), (route, true), "{line}");
        }
        // Whoever asks for a tunnel may send into it before the answer.
        for (target, fault) in [
            ("a:80", Fault::Method { allow: Allow::Anything }),
            ("/", Fault::Method { allow: Allow::Posts }),
            ("/none", Fault::Path),
        ] {
            let text = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(fault_of(&text), Some(fault));
        }
    }
}
