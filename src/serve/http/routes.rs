//! What the built-in worker can be asked to do. Method, path and query become one closed
//! [`BuiltinRoute`] here, so that the server never looks at a string of the client's again.

use super::fault::Fault;
use super::method::{Allow, Method};
use crate::limits::{HTTP_BYTES_MAX, HTTP_MS_MAX};
use crate::units::Span;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BuiltinRoute {
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
    /// Which methods there are, as OPTIONS asks.
    Options {
        /// What there is.
        allow: Allow,
    },
    /// Nothing that there is; the request itself is sound, and the next one may follow.
    Unserved(Fault),
}

/// What a request is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestTarget<'t> {
    /// A path with its query.
    Path(&'t str),
    /// The server as a whole, which only OPTIONS can ask about.
    Server,
    /// Another server, which only CONNECT can ask for.
    Authority,
}

/// The route of a method and a target.
pub(super) fn route(method: Method, target: RequestTarget<'_>) -> BuiltinRoute {
    let path = match target {
        RequestTarget::Path(path) => path,
        RequestTarget::Server => return BuiltinRoute::Options { allow: Allow::Anything },
        RequestTarget::Authority => {
            return BuiltinRoute::Unserved(Fault::Method { allow: Allow::Anything });
        }
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let served = match path {
        "/" => Allow::Posts.admit(method, || Ok(BuiltinRoute::Root)),
        "/whoami" => Allow::Questions.admit(method, || Ok(BuiltinRoute::Whoami)),
        "/healthz" => Allow::Questions.admit(method, || Ok(BuiltinRoute::Healthz)),
        "/burn" => Allow::Posts.admit(method, || Ok(BuiltinRoute::Burn { span: span(query)? })),
        "/sleep" => Allow::Posts.admit(method, || Ok(BuiltinRoute::Sleep { span: span(query)? })),
        "/wait" => Allow::Posts.admit(method, || Ok(BuiltinRoute::Wait { span: span(query)? })),
        "/bytes" => {
            Allow::Questions.admit(method, || Ok(BuiltinRoute::Bytes { n: length(query)? }))
        }
        "/echo" => Allow::Bodies.admit(method, || Ok(BuiltinRoute::Echo)),
        _ if method == Method::Unknown => Err(Fault::MethodUnknown),
        _ => Err(Fault::Path),
    };
    served.unwrap_or_else(BuiltinRoute::Unserved)
}

impl Allow {
    /// The route, if the path takes this method.
    fn admit(
        self,
        method: Method,
        route: impl FnOnce() -> Result<BuiltinRoute, Fault>,
    ) -> Result<BuiltinRoute, Fault> {
        match (self, method) {
            (Self::Questions | Self::Posts | Self::Anything, Method::Get | Method::Head)
            | (Self::Posts | Self::Bodies | Self::Anything, Method::Post)
            | (Self::Bodies | Self::Anything, Method::Put) => route(),
            // It is about the path, whatever its query would have to be.
            (_, Method::Options) => Ok(BuiltinRoute::Options { allow: self }),
            (_, Method::Unknown) => Err(Fault::MethodUnknown),
            (Self::Bodies, Method::Get | Method::Head)
            | (Self::Questions, Method::Post)
            | (Self::Questions | Self::Posts, Method::Put)
            | (_, Method::Delete | Method::Connect | Method::Trace | Method::Patch) => {
                Err(Fault::Method { allow: self })
            }
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
            ("/", BuiltinRoute::Root, Allow::Posts),
            ("/whoami", BuiltinRoute::Whoami, Allow::Questions),
            ("/healthz?x=1", BuiltinRoute::Healthz, Allow::Questions),
            ("/burn?ms=2", BuiltinRoute::Burn { span }, Allow::Posts),
            ("/sleep?a=b&ms=2", BuiltinRoute::Sleep { span }, Allow::Posts),
            ("/wait?ms=2&c", BuiltinRoute::Wait { span }, Allow::Posts),
            ("/bytes?n=9", BuiltinRoute::Bytes { n: 9 }, Allow::Questions),
            ("/echo", BuiltinRoute::Echo, Allow::Bodies),
        ];
        for (target, expected, allow) in table {
            for name in ["GET", "HEAD", "POST", "PUT", "CONNECT", "DELETE", "TRACE", "PATCH"] {
                let expected = if allow.methods().split(", ").any(|allowed| allowed == name) {
                    expected
                } else {
                    BuiltinRoute::Unserved(Fault::Method { allow })
                };
                assert_eq!(routed(name, target), expected, "{name} {target}");
            }
            assert_eq!(routed("OPTIONS", target), BuiltinRoute::Options { allow });
            for name in ["get", "BREW", "PROPFIND"] {
                assert_eq!(routed(name, target), BuiltinRoute::Unserved(Fault::MethodUnknown));
            }
        }
        assert_eq!(routed("BREW", "/pot"), BuiltinRoute::Unserved(Fault::MethodUnknown));
        assert_eq!(routed("OPTIONS", "/pot"), BuiltinRoute::Unserved(Fault::Path));
        let allow = Allow::Posts;
        assert_eq!(
            routed("OPTIONS", "/burn"),
            BuiltinRoute::Options { allow },
            "no query is no fault"
        );
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
            assert_eq!(routed("GET", target), BuiltinRoute::Unserved(fault), "{target}");
        }
        let greatest = routed("GET", "/bytes?n=1073741824");
        assert_eq!(greatest, BuiltinRoute::Bytes { n: HTTP_BYTES_MAX });
    }

    fn routed(method: &str, path: &str) -> BuiltinRoute {
        route(Method::from_name(method), RequestTarget::Path(path))
    }
}
