//! The route of a request: what the first line of HTTP/1.1 asks for, as a number, so that requests
//! that are alike can be told from others before anybody has read them.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::units::{Route, RouteBy};

/// Reads the first line out of a request's first bytes. `None` where it is no HTTP, or not whole.
pub fn of(bytes: &[u8], by: RouteBy, hashers: &impl BuildHasher) -> Option<Route> {
    let mut no_fields = [];
    let mut request = httparse::Request::new(&mut no_fields);
    // Without room for fields it fails behind the first line, which is all that is wanted.
    let _fields_are_not_read = request.parse(bytes);
    let (method, target, _) = (request.method?, request.path?, request.version?);
    let mut hasher = hashers.build_hasher();
    method.hash(&mut hasher);
    match by {
        RouteBy::Target => target.hash(&mut hasher),
        RouteBy::Path => {
            let path = target.split(['?', '#']).next().unwrap_or_default();
            path.split('/').map(in_general).for_each(|segment| segment.hash(&mut hasher));
        }
    }
    // Half of the hash is as good as a hash.
    u32::try_from(hasher.finish() >> 32).ok().map(Route)
}

/// What stands for a segment of a path: for numbers and identifiers one and the same.
fn in_general(segment: &str) -> &str {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_number = 0 < digits && digits == segment.len();
    let is_identifier = IDENTIFIER_MIN <= segment.len() && 0 < digits && segment.bytes().all(hex);
    if is_number || is_identifier { "*" } else { segment }
}

/// Hexadecimal digits from which on a segment is no word.
const IDENTIFIER_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_that_are_alike_have_one_route() {
        let hashers = RandomState::new();
        let route = |line: &str, by| of(format!("{line} HTTP/1.1\r\n").as_bytes(), by, &hashers);
        let alike =
            |one: &str, other: &str, by| route(one, by).unwrap() == route(other, by).unwrap();
        for (one, other) in [
            ("GET /users/17", "GET /users/4?deep=1"),
            ("GET /x/550e8400-e29b-41d4-a716-446655440000/y", "GET /x/deadbeef01/y"),
            ("GET /report?from=1", "GET /report#top"),
        ] {
            assert!(alike(one, other, RouteBy::Path), "{one} and {other}");
            assert!(!alike(one, other, RouteBy::Target), "{one} and {other}");
        }
        for (one, other) in [
            ("GET /users/17", "DELETE /users/17"),
            ("GET /users", "GET /user/s"),
            ("GET /users/17", "GET /users/feed"),
            ("GET /", "GET //"),
        ] {
            assert!(!alike(one, other, RouteBy::Path), "{one} and {other}");
        }
        assert!(alike("GET /sleep?ms=1", "GET /sleep?ms=1", RouteBy::Target));
    }

    #[test]
    fn a_line_that_is_not_whole_or_no_http_has_none() {
        let hashers = RandomState::new();
        let route = |bytes: &[u8]| of(bytes, RouteBy::Path, &hashers);
        assert!(route(b"GET / HTTP/1.1\r\nHost: here\r\nX: y").is_some());
        assert!(route(b"\r\nGET / HTTP/1.1\r\n").is_some());
        let bad: [&[u8]; 6] =
            [b"", b"GET", b"GET /long/way", b"GET / HTTP/1.", b"\x16\x03\x01\x02\x00", b"PRI *"];
        for bytes in bad {
            assert_eq!(route(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let hashers = RandomState::new();
            of(&bytes, RouteBy::Path, &hashers);
            of(&[b"GET /", &bytes[..], b" HTTP/1.1\r\n"].concat(), RouteBy::Path, &hashers);
        }
    }
}
