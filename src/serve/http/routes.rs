//! What the built-in worker can be asked to do. Method, path and query become one closed [`Route`]
//! here, so that the server never looks at a string of the client's again.

use super::fault::Fault;
use crate::limits::{HTTP_BYTES_MAX, HTTP_MS_MAX};
use crate::units::Span;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// `/`: a greeting that names the worker.
    Root,
    /// `/whoami`: the worker's identity as JSON.
    Whoami,
    /// `/healthz`: whether anybody is there.
    Healthz,
    /// `/burn?ms=`: spin on thread CPU time.
    Burn {
        /// CPU time to spend.
        span: Span,
    },
    /// `/sleep?ms=`: block the worker.
    Sleep {
        /// Time to block.
        span: Span,
    },
    /// `/wait?ms=`: answer later, and serve others meanwhile.
    Wait {
        /// Time until the answer.
        span: Span,
    },
    /// `/bytes?n=`: that many bytes.
    Bytes {
        /// Length of the answer's body.
        n: u64,
    },
    /// `/echo`: the request's own body.
    Echo,
}

/// The methods that make a difference here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Connect,
    Options,
    Other,
}

impl Method {
    /// The method of that name; names are case-sensitive.
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// The route of a method and a target, which is a path with its query. `Err` is 404, 405 or 400.
pub(super) fn route(method: Method, target: &str) -> Result<Route, Fault> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/" => takes_posts(method).map(|()| Route::Root),
        "/whoami" => reads(method).map(|()| Route::Whoami),
        "/healthz" => reads(method).map(|()| Route::Healthz),
        "/burn" => takes_posts(method).and_then(|()| Ok(Route::Burn { span: span(query)? })),
        "/sleep" => takes_posts(method).and_then(|()| Ok(Route::Sleep { span: span(query)? })),
        "/wait" => takes_posts(method).and_then(|()| Ok(Route::Wait { span: span(query)? })),
        "/bytes" => reads(method).and_then(|()| Ok(Route::Bytes { n: length(query)? })),
        "/echo" => takes_bodies(method).map(|()| Route::Echo),
        _ => Err(Fault::Path),
    }
}

/// What the server as a whole takes, for targets that name no path of it.
pub(super) const ALLOW_ANYWHERE: &str = "GET, HEAD, POST, PUT";

/// Paths that only tell something.
fn reads(method: Method) -> Result<(), Fault> {
    match method {
        Method::Get | Method::Head => Ok(()),
        Method::Post | Method::Put | Method::Connect | Method::Options | Method::Other => {
            Err(Fault::Method { allow: "GET, HEAD" })
        }
    }
}

/// Paths to which a load generator may also post a body, which is read and dropped.
fn takes_posts(method: Method) -> Result<(), Fault> {
    match method {
        Method::Get | Method::Head | Method::Post => Ok(()),
        Method::Put | Method::Connect | Method::Options | Method::Other => {
            Err(Fault::Method { allow: "GET, HEAD, POST" })
        }
    }
}

/// Paths that are about the body.
fn takes_bodies(method: Method) -> Result<(), Fault> {
    match method {
        Method::Post | Method::Put => Ok(()),
        Method::Get | Method::Head | Method::Connect | Method::Options | Method::Other => {
            Err(Fault::Method { allow: "POST, PUT" })
        }
    }
}

fn span(query: &str) -> Result<Span, Fault> {
    parameter(query, "ms").and_then(milliseconds).ok_or(Fault::QueryMs)
}

fn length(query: &str) -> Result<u64, Fault> {
    let n = parameter(query, "n").and_then(whole).ok_or(Fault::QueryN)?;
    if n <= HTTP_BYTES_MAX { Ok(n) } else { Err(Fault::QueryN) }
}

/// The value of the one parameter of that name; none when it is missing or repeated. Parameters
/// of other names are nobody's business.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A whole number or a decimal fraction of milliseconds, up to [`HTTP_MS_MAX`]. Digits below the
/// nanosecond are dropped: programs print floats with as many as they like.
fn milliseconds(text: &str) -> Option<Span> {
    let (int, fraction) = match text.split_once('.') {
        Some((int, fraction)) if is_digits(fraction) => (int, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let ms = whole(int).filter(|&ms| ms <= HTTP_MS_MAX)?;
    let ns = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0, |ns, digit| ns * 10 + u64::from(digit - b'0'));
    let beyond = ms == HTTP_MS_MAX && fraction.bytes().any(|digit| digit != b'0');
    (!beyond).then(|| Span::from_ns(ms * 1_000_000 + ns))
}

fn whole(text: &str) -> Option<u64> {
    // The parser of std alone would take a sign, too.
    if is_digits(text) { text.parse().ok() } else { None }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_decimal_numbers_within_the_range() {
        for (text, ns) in [
            ("0", 0),
            ("1", 1_000_000),
            ("0.25", 250_000),
            ("0.3333333333333333", 333_333),
            ("007.5", 7_500_000),
            ("60000", 60_000_000_000),
            ("60000.000", 60_000_000_000),
        ] {
            assert_eq!(milliseconds(text), Some(Span::from_ns(ns)), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "0x1",
            " 1",
            "1 ",
            "1.2.3",
            "60000.0000001",
            "60001",
            "99999999999999999999999",
            "%31",
            "nan",
            "1,5",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn every_path_takes_its_methods_and_no_other() {
        let span = Span::from_ms(2);
        let table = [
            ("/", Route::Root, "GET, HEAD, POST"),
            ("/whoami", Route::Whoami, "GET, HEAD"),
            ("/healthz?x=1", Route::Healthz, "GET, HEAD"),
            ("/burn?ms=2", Route::Burn { span }, "GET, HEAD, POST"),
            ("/sleep?a=b&ms=2", Route::Sleep { span }, "GET, HEAD, POST"),
            ("/wait?ms=2&c", Route::Wait { span }, "GET, HEAD, POST"),
            ("/bytes?n=9", Route::Bytes { n: 9 }, "GET, HEAD"),
            ("/echo", Route::Echo, "POST, PUT"),
        ];
        for (target, expected, allow) in table {
            for name in ["GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "DELETE", "get"] {
                let outcome = if allow.split(", ").any(|allowed| allowed == name) {
                    Ok(expected)
                } else {
                    Err(Fault::Method { allow })
                };
                assert_eq!(route(Method::from_name(name), target), outcome, "{name} {target}");
            }
        }
    }

    #[test]
    fn unknown_paths_and_bad_parameters_are_refused() {
        for (target, fault) in [
            ("/nothing", Fault::Path),
            ("/Whoami", Fault::Path),
            ("//", Fault::Path),
            ("/burn", Fault::QueryMs),
            ("/burn?", Fault::QueryMs),
            ("/burn?ms", Fault::QueryMs),
            ("/burn?MS=1", Fault::QueryMs),
            ("/burn?ms=1&ms=1", Fault::QueryMs),
            ("/wait?ms=60001", Fault::QueryMs),
            ("/bytes?n=-1", Fault::QueryN),
            ("/bytes?n=1073741825", Fault::QueryN),
            ("/bytes?n=18446744073709551616", Fault::QueryN),
            ("/bytes", Fault::QueryN),
        ] {
            assert_eq!(route(Method::Get, target), Err(fault), "{target}");
        }
        let greatest = route(Method::Get, "/bytes?n=1073741824");
        assert_eq!(greatest, Ok(Route::Bytes { n: HTTP_BYTES_MAX }));
    }
}
