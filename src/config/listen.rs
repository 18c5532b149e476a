//! Where to listen: `ADDRESS:PORT` or `unix:PATH`, each with an optional `,readable` or
//! `,connect`. Names of hosts are not resolved: a name may mean several addresses, or other ones
//! tomorrow, and a server should open exactly the sockets that its command line shows. Names of
//! interfaces are, by whoever knows them: their numbers may be other ones tomorrow.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::words;
use crate::config::wrong::Wrong;
use crate::limits::UNIX_PATH_MAX;

/// A socket to open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Where.
    pub addr: ListenAddr,
    /// When its connections are handed over.
    pub dispatch_on: DispatchOn,
}

/// The address of a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddr {
    /// TCP; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A unix stream socket of 1 to `UNIX_PATH_MAX` bytes, without NUL.
    Unix(PathBuf),
}

/// When an accepted connection is handed to a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DispatchOn {
    /// When its client has sent something.
    Readable,
    /// At once: for protocols in which the server speaks first.
    Connect,
}

/// The words of `--dispatch-on`.
pub const DISPATCH_ON: [(&str, DispatchOn); 2] =
    [("readable", DispatchOn::Readable), ("connect", DispatchOn::Connect)];

const ALLOWED: &str = "ADDRESS:PORT, [ADDRESS]:PORT, [ADDRESS%INTERFACE]:PORT, :PORT (every IPv4 \
                       address) or unix:PATH, each with ,readable or ,connect after it";

/// Who knows the number of an interface by its name.
pub type Interfaces = fn(&str) -> Option<u32>;

/// Reads one `--listen`; `dispatch_on` is for those that do not say. `:PORT` means every IPv4
/// address, never IPv6: whether one socket serves both is a setting of the system
/// (`net.ipv6.bindv6only`), and `--listen [::]:PORT` says it openly.
///
/// # Errors
/// What is allowed, and what was probably meant.
pub fn parse(
    given: &str,
    dispatch_on: DispatchOn,
    interfaces: Interfaces,
) -> Result<Listener, Wrong> {
    let (addr, dispatch_on) = match given.rsplit_once(',') {
        None => (given, dispatch_on),
        Some((addr, when)) => (addr, suffix(when)?),
    };
    let addr = match addr.strip_prefix("unix:") {
        Some(path) => unix(path)?,
        None => tcp(addr, interfaces)?,
    };
    Ok(Listener { addr, dispatch_on })
}

/// Reads `--dispatch-on`.
///
/// # Errors
/// The two words.
pub fn dispatch_on(given: &str) -> Result<DispatchOn, Wrong> {
    words::one_of(given, &DISPATCH_ON)
}

impl ListenAddr {
    /// Whether this is a unix socket.
    pub const fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Unix(_) => true,
        }
    }

    /// Whether both cannot be bound at once: the same address, or one that covers the other. Port
    /// 0 is another port each time.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(two)) => one == two,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
            (Self::Tcp(one), Self::Tcp(two)) => {
                let covers = one.ip().is_unspecified() || two.ip().is_unspecified();
                one.port() != 0
                    && one.port() == two.port()
                    && (one == two || covers && one.is_ipv4() == two.is_ipv4())
            }
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn suffix(when: &str) -> Result<DispatchOn, Wrong> {
    dispatch_on(when).map_err(|_| {
        Wrong::new(ALLOWED)
            .or("what follows the last comma must be readable or connect, also after a path")
    })
}

fn unix(path: &str) -> Result<ListenAddr, Wrong> {
    let advice = if path.is_empty() {
        "the path is missing".to_owned()
    } else if path.len() > UNIX_PATH_MAX {
        format!("the path has {} bytes, the kernel takes {UNIX_PATH_MAX}", path.len())
    } else if path.contains('\0') {
        "a path holds no NUL".to_owned()
    } else if path.contains(char::REPLACEMENT_CHARACTER) {
        "a path is UTF-8".to_owned()
    } else if path.starts_with('@') {
        format!("abstract sockets are not served; for a file of this name, unix:./{path}")
    } else {
        return Ok(ListenAddr::Unix(PathBuf::from(OsStr::from_bytes(path.as_bytes()))));
    };
    Err(Wrong::new(ALLOWED).or(advice))
}

fn tcp(addr: &str, interfaces: Interfaces) -> Result<ListenAddr, Wrong> {
    if let Ok(addr) = SocketAddr::from_str(&with_number(addr, interfaces)?) {
        return match without_a_way(&addr) {
            None => Ok(ListenAddr::Tcp(addr)),
            Some(cure) => Err(Wrong::new(ALLOWED).or(cure)),
        };
    }
    if let Some(port) = addr.strip_prefix(':').and_then(port) {
        return Ok(ListenAddr::Tcp((Ipv4Addr::UNSPECIFIED, port).into()));
    }
    Err(Wrong { allowed: ALLOWED.to_owned(), cure: advice(addr) })
}

/// The address with its interface by number, if it has one by name.
fn with_number(addr: &str, interfaces: Interfaces) -> Result<Cow<'_, str>, Wrong> {
    let parts = addr.split_once('%').and_then(|(ip, rest)| Some((ip, rest.split_once("]:")?)));
    let Some((ip, (name, port))) = parts else { return Ok(addr.into()) };
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(addr.into());
    }
    let unknown = || Wrong::new(ALLOWED).or(format!("there is no interface '{name}' (`ip link`)"));
    interfaces(name).map(|number| format!("{ip}%{number}]:{port}").into()).ok_or_else(unknown)
}

/// What to write for an address that the kernel never lets anybody listen on.
fn without_a_way(addr: &SocketAddr) -> Option<String> {
    let (SocketAddr::V6(v6), port) = (addr, addr.port()) else { return None };
    if let Some(ip) = v6.ip().to_ipv4_mapped() {
        return Some(format!("write {}", SocketAddr::new(IpAddr::V4(ip), port)));
    }
    let lacks_interface = v6.ip().is_unicast_link_local() && v6.scope_id() == 0;
    lacks_interface.then(|| {
        format!("a link-local address needs its interface: [{}%eth0]:{port}, for example", v6.ip())
    })
}

/// A port as digits only: `u16` would take `+80` as well.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// What a wrong TCP address was probably meant to be.
fn advice(addr: &str) -> Option<String> {
    if let Some(port) = port(addr) {
        return Some(format!("write 127.0.0.1:{port}, or :{port} for every IPv4 address"));
    }
    if Ipv4Addr::from_str(addr).is_ok() {
        return Some(format!("the port is missing: {addr}:8000"));
    }
    if let Ok(address) = Ipv6Addr::from_str(addr) {
        let cure = format!("IPv6 addresses go in brackets, before the port: [{address}]:8000");
        return Some(cure);
    }
    if addr.starts_with('/') || addr.starts_with("./") {
        return Some(format!("for a unix socket write unix:{addr}"));
    }
    if addr.contains("://") {
        return Some("leave out the scheme".to_owned());
    }
    let (host, number) = addr.rsplit_once(':')?;
    let Some(number) = port(number) else {
        return Some("the port is a number from 0 to 65535".to_owned());
    };
    if host == "*" {
        return Some(format!(
            "for every IPv4 address write :{number}, for every one [::]:{number}"
        ));
    }
    let name = "names are not resolved; give an address";
    Some(format!("{name}: 127.0.0.1:{number} or [::1]:{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lo(name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }

    #[test]
    fn addresses_are_read() {
        let cases = [
            ("127.0.0.1:8000", "127.0.0.1:8000", DispatchOn::Readable),
            (":8000", "0.0.0.0:8000", DispatchOn::Readable),
            (":0,connect", "0.0.0.0:0", DispatchOn::Connect),
            ("[::1]:8000,readable", "[::1]:8000", DispatchOn::Readable),
            ("[::]:80,connect", "[::]:80", DispatchOn::Connect),
            ("unix:/run/a.sock", "unix:/run/a.sock", DispatchOn::Readable),
            ("unix:a,b,connect", "unix:a,b", DispatchOn::Connect),
            ("[fe80::7%lo]:80,connect", "[fe80::7%1]:80", DispatchOn::Connect),
            ("[fe80::7%2]:80", "[fe80::7%2]:80", DispatchOn::Readable),
        ];
        for (given, addr, dispatch_on) in cases {
            let listener = parse(given, DispatchOn::Readable, lo).unwrap();
            assert_eq!(listener.addr.to_string(), addr);
            assert_eq!(listener.dispatch_on, dispatch_on, "{given}");
        }
        let default = parse(":1", DispatchOn::Connect, lo).unwrap();
        assert_eq!(default.dispatch_on, DispatchOn::Connect);
    }

    #[test]
    fn wrong_addresses_come_with_a_cure() {
        let long = format!("unix:/{}", "a".repeat(107));
        let comma = "what follows the last comma must be readable or connect, also after a path";
        let port = "the port is a number from 0 to 65535";
        let cases = [
            ("8000", "write 127.0.0.1:8000, or :8000 for every IPv4 address"),
            ("127.0.0.1", "the port is missing: 127.0.0.1:8000"),
            ("::1", "IPv6 addresses go in brackets, before the port: [::1]:8000"),
            (
                "localhost:8000",
                "names are not resolved; give an address: 127.0.0.1:8000 or [::1]:8000",
            ),
            ("127.0.0.1:65536", port),
            (":", port),
            (":+80", port),
            (":http", port),
            ("*:80", "for every IPv4 address write :80, for every one [::]:80"),
            ("http://127.0.0.1:80", "leave out the scheme"),
            ("/run/a.sock", "for a unix socket write unix:/run/a.sock"),
            ("unix:", "the path is missing"),
            ("unix:@a", "abstract sockets are not served; for a file of this name, unix:./@a"),
            ("unix:a\0", "a path holds no NUL"),
            ("unix:a\u{fffd}", "a path is UTF-8"),
            (&long, "the path has 108 bytes, the kernel takes 107"),
            (":80,conect", comma),
            ("unix:a,b", comma),
            (":80,", comma),
            (
                "[fe80::7]:80",
                "a link-local address needs its interface: [fe80::7%eth0]:80, for example",
            ),
            ("[fe80::7%eth9]:80", "there is no interface 'eth9' (`ip link`)"),
            ("[::ffff:127.0.0.1]:80", "write 127.0.0.1:80"),
        ];
        for (given, cure) in cases {
            let wrong = parse(given, DispatchOn::Readable, lo).unwrap_err();
            assert_eq!(wrong, Wrong::new(ALLOWED).or(cure), "{given:?}");
        }
        for given in ["", "localhost"] {
            assert_eq!(parse(given, DispatchOn::Readable, lo), Err(Wrong::new(ALLOWED)));
        }
        parse(&format!("unix:{}", "a".repeat(107)), DispatchOn::Readable, lo).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(given in ".*") {
            let listener = parse(&given, DispatchOn::Readable, lo);
            proptest::prop_assert!(listener.is_err() || given.contains(':'));
        }

        #[test]
        fn what_is_printed_is_read_again(a: u32, port: u16) {
            let addr = ListenAddr::Tcp((Ipv4Addr::from(a), port).into());
            let again = parse(&addr.to_string(), DispatchOn::Readable, lo).unwrap();
            proptest::prop_assert_eq!(again.addr, addr);
        }
    }
}
