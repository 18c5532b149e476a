//! Where the load goes: the parts of a URL that a generator needs, and the address behind its name,
//! looked up once, since a name server's pace is not what is measured.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::LoadError;
use crate::config::Wrong;
use crate::limits::UNIX_PATH_MAX;
use crate::sys::socket::{self, Endpoint};
use crate::units::Errno;

/// A server to be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoadTarget {
    place: TargetAddress,
    /// What the `Host` field says.
    authority: String,
    /// Path and query, at least `/`.
    path: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum TargetAddress {
    /// A name or an address, without brackets, and a port.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// How long the first connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

const ALLOWED: &str = "http://HOST[:PORT][/PATH], http://[V6]:PORT[/PATH] or unix:FILE[:/PATH]";

impl LoadTarget {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is allowed, and what was probably meant.
    pub fn parse(url: &str) -> Result<Self, Wrong> {
        let wrong = |cure: &str| Wrong::new(ALLOWED).or(cure);
        if !url.chars().all(|c| c.is_ascii_graphic()) {
            return Err(wrong("blanks and what is not ASCII are written as %XX"));
        }
        if let Some(rest) = url.strip_prefix("unix:") {
            return Self::parse_unix(rest).map_err(|cure| wrong(&cure));
        }
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(match url.split_once("://") {
                Some(("https", _)) => wrong("TLS is not spoken; aim at the server behind it"),
                Some(_) => Wrong::new(ALLOWED),
                None => wrong(&format!("write http://{url}")),
            });
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = split_port(authority).map_err(|cure| wrong(&cure))?;
        Ok(Self {
            place: TargetAddress::Tcp { host: host.to_owned(), port },
            authority: authority.to_owned(),
            path: plain_path(path),
        })
    }

    fn parse_unix(rest: &str) -> Result<Self, String> {
        let (file, path) = rest
            .split_once(":/")
            .map_or((rest, String::new()), |(file, path)| (file, format!("/{path}")));
        if file.is_empty() {
            return Err("the file of the socket is missing".to_owned());
        }
        if UNIX_PATH_MAX < file.len() {
            let length = file.len();
            return Err(format!("the file has {length} bytes, the kernel takes {UNIX_PATH_MAX}"));
        }
        let authority = "localhost".to_owned();
        Ok(Self { place: TargetAddress::Unix(file.into()), authority, path: plain_path(&path) })
    }

    /// What the `Host` field says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Looks the name up and sees whether anybody listens: the first address at which somebody
    /// does.
    ///
    /// # Errors
    /// The name is unknown, or nobody can be reached.
    pub fn resolve(&self) -> Result<Endpoint, LoadError> {
        let target = || self.to_string();
        match &self.place {
            TargetAddress::Unix(file) => {
                let endpoint = Endpoint::Unix(file.clone());
                match socket::connect(&endpoint) {
                    // A full queue is a server that is there.
                    Ok(_) | Err(Errno(libc::EAGAIN)) => Ok(endpoint),
                    Err(errno) => Err(LoadError::unreachable(target(), errno)),
                }
            }
            TargetAddress::Tcp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs();
                let addresses =
                    found.map_err(|source| LoadError::Name { host: host.clone(), source })?;
                let mut failure = std::io::ErrorKind::AddrNotAvailable.into();
                for address in addresses {
                    match TcpStream::connect_timeout(&address, CONNECT_MAX) {
                        Ok(_) => return Ok(Endpoint::Tcp(address)),
                        Err(error) => failure = error,
                    }
                }
                Err(LoadError::Unreachable { target: target(), source: failure })
            }
        }
    }
}

impl fmt::Display for LoadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            TargetAddress::Tcp { .. } => write!(f, "http://{}", self.authority),
            TargetAddress::Unix(file) => write!(f, "unix:{}", file.display()),
        }
    }
}

/// Host and port of `HOST[:PORT]`.
fn split_port(authority: &str) -> Result<(&str, u16), String> {
    if authority.contains('@') {
        return Err("a user and a password are not sent; leave them out".to_owned());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the ] of the address is missing")?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("80")))
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("an IPv6 address stands in brackets: http://[{authority}]:80"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        },
    };
    let digits = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|port| port.parse::<u16>().ok()).filter(|port| 0 < *port);
    let number = number.ok_or("a port is a number from 1 to 65535")?;
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    Ok((host, number))
}

/// The path without a fragment, which is never sent.
fn plain_path(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let tcp = |host: &str, port| TargetAddress::Tcp { host: host.to_owned(), port };
        let unix = |file: &str| TargetAddress::Unix(file.into());
        for (url, place, authority, path) in [
            ("http://127.0.0.1:8000", tcp("127.0.0.1", 8_000), "127.0.0.1:8000", "/"),
            ("http://localhost/a?b=c#d", tcp("localhost", 80), "localhost", "/a?b=c"),
            ("http://[::1]:81/", tcp("::1", 81), "[::1]:81", "/"),
            ("http://[::1]?x", tcp("::1", 80), "[::1]", "/?x"),
            ("unix:/run/a.sock", unix("/run/a.sock"), "localhost", "/"),
            ("unix:/run/a.sock:/whoami?x", unix("/run/a.sock"), "localhost", "/whoami?x"),
            ("unix:@name", unix("@name"), "localhost", "/"),
        ] {
            let (authority, path) = (authority.to_owned(), path.to_owned());
            assert_eq!(LoadTarget::parse(url), Ok(LoadTarget { place, authority, path }), "{url}");
        }
    }

    #[test]
    fn wrong_urls_get_advice() {
        let long = format!("unix:/{}", "a".repeat(UNIX_PATH_MAX));
        for (url, cure) in [
            ("127.0.0.1:8000", "write http://127.0.0.1:8000"),
            ("https://a", "TLS is not spoken"),
            ("http://", "the host is missing"),
            ("http://:80", "the host is missing"),
            ("http://a:0", "1 to 65535"),
            ("http://a:", "1 to 65535"),
            ("http://a:70000", "1 to 65535"),
            ("http://[::1]x", "1 to 65535"),
            ("http://[::1", "the ] of"),
            ("http://::1", "in brackets"),
            ("http://me@a", "a user"),
            ("http://a/b c", "%XX"),
            ("unix:", "is missing"),
            (&long, "the kernel takes 107"),
        ] {
            let wrong = LoadTarget::parse(url).unwrap_err();
            let text = wrong.given_as("URL", url).to_string();
            assert!(text.contains(cure), "{url}: {text}");
        }
        assert_eq!(LoadTarget::parse("ftp://a").unwrap_err(), Wrong::new(ALLOWED));
    }

    #[test]
    fn a_name_is_looked_up_and_somebody_must_listen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://localhost:{port}");
        let found = LoadTarget::parse(&url).unwrap().resolve().unwrap();
        assert_eq!(found, Endpoint::Tcp(listener.local_addr().unwrap()));
        drop(listener);
        let gone = LoadTarget::parse(&url).unwrap().resolve().unwrap_err();
        assert_eq!(gone.to_string(), format!("cannot connect to {url} (is the server up?)"));
        assert!(gone.source().is_some_and(|why| why.to_string().contains("refused")));
        let nowhere = LoadTarget::parse("unix:/no/where").unwrap().resolve().unwrap_err();
        assert!(nowhere.to_string().starts_with("cannot connect to unix:/no/where "));
        let nobody = LoadTarget::parse("http://name.invalid").unwrap().resolve().unwrap_err();
        assert!(nobody.to_string().starts_with("cannot find the host 'name.invalid'"));
    }
}
