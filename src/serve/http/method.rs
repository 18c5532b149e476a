//! The methods of a request, and which of them a path takes.

use std::fmt;

/// The methods that HTTP knows: those of RFC 9110, and PATCH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Unknown,
}

impl Method {
    /// The method of that name; names are case-sensitive.
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Unknown,
        }
    }
}

/// What a path takes: the value of the `Allow` field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Allow {
    /// Questions alone: it only tells something.
    Questions,
    /// A load generator may also post a body, which is read and dropped.
    Posts,
    /// It is about the body.
    Bodies,
    /// No path in particular, but the server as a whole.
    Anything,
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.methods())
    }
}

impl Allow {
    /// The methods, as they stand in the field.
    pub const fn methods(self) -> &'static str {
        match self {
            Self::Questions => "GET, HEAD, OPTIONS",
            Self::Posts => "GET, HEAD, POST, OPTIONS",
            Self::Bodies => "POST, PUT, OPTIONS",
            Self::Anything => "GET, HEAD, POST, PUT, OPTIONS",
        }
    }
}
