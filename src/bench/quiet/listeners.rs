//! Who listens at an endpoint of this machine: the tables of sockets tell the inode, and the
//! descriptors of all processes, as far as they may be read, who holds it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::sys::process;
use crate::sys::socket::Endpoint;

/// The processes that hold a listening socket of the endpoint; none when it is on another machine.
pub(super) fn of(endpoint: &Endpoint) -> Vec<u32> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let inodes = match endpoint {
        Endpoint::Tcp(address) if address.ip().is_loopback() => {
            let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
            tables.iter().flat_map(|table| tcp_inodes(table, *address)).collect()
        }
        Endpoint::Tcp(_) => Vec::new(),
        Endpoint::Unix(path) => unix_inodes(&read("/proc/net/unix"), path),
    };
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |pid: &u32| !links.is_empty() && holds_any(*pid, &links);
    process::all().into_iter().filter(holds).collect()
}

fn holds_any(pid: u32, links: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| {
        let link = fs::read_link(entry.path());
        link.is_ok_and(|link| links.iter().any(|wanted| link == Path::new(wanted)))
    })
}

/// Inodes of the sockets in `/proc/net/tcp` or `tcp6` that listen where `address` leads.
fn tcp_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTENS: &str = "0A";
    let matching = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, _, LISTENS, _, _, _, _, _, inode, ..] = words.as_slice() else {
            return None;
        };
        let (ip, port) = local.split_once(':')?;
        let same_port = u16::from_str_radix(port, 16) == Ok(address.port());
        let ip = parse_ip(ip)?;
        let covers = ip == address.ip() || ip.is_unspecified();
        (same_port && covers).then(|| inode.parse().ok())?
    };
    table.lines().filter_map(matching).collect()
}

/// An address as the kernel prints it: each of its words as a number of the machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)))
        }
        _ => None,
    }
}

/// Inodes of the sockets in `/proc/net/unix` that listen at `path`.
fn unix_inodes(table: &str, path: &Path) -> Vec<u64> {
    const LISTENS: &str = "00010000";
    let matching = |line: &str| {
        let mut words = line.split_whitespace();
        let listens = words.nth(3)? == LISTENS;
        let inode = words.nth(2)?.parse().ok()?;
        (listens && Path::new(words.next()?) == path).then_some(inode)
    };
    table.lines().filter_map(matching).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_tables_of_sockets_are_read() {
        const REST: &str = "00000000:00000000 00:00000000 00000000 0 0";
        let line = |local: &str, remote: &str, state: &str, inode: u64| {
            format!("   0: {local} {remote} {state} {REST} {inode} 1 0\n")
        };
        let tcp = [
            "  sl  local_address rem_address   st tx_queue\n".to_owned(),
            line("0100007F:1F40", "00000000:0000", "0A", 11),
            line("00000000:1F40", "00000000:0000", "0A", 12),
            line("0200007F:1F40", "00000000:0000", "0A", 13),
            line("0100007F:1F40", "0100007F:9999", "01", 14),
            line("0100007F:1F41", "00000000:0000", "0A", 15),
        ]
        .concat();
        assert_eq!(tcp_inodes(&tcp, "127.0.0.1:8000".parse().unwrap()), [11, 12]);
        let any = "00000000000000000000000000000000:0000";
        let tcp6 = line("00000000000000000000000001000000:0050", any, "0A", 21);
        assert_eq!(tcp_inodes(&tcp6, "[::1]:80".parse().unwrap()), [21]);
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0: 00000002 00000000 00010000 0001 01 31 /run/a\n\
            0: 00000003 00000000 00000000 0001 03 32 /run/a\n\
            0: 00000002 00000000 00010000 0001 01 33 @b\n";
        assert_eq!(unix_inodes(unix, Path::new("/run/a")), [31]);
        assert_eq!(unix_inodes(unix, Path::new("@b")), [33]);
    }

    #[test]
    fn a_listener_is_found_by_its_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let us = std::process::id();
        assert!(of(&Endpoint::Tcp(address)).contains(&us));
        assert!(of(&Endpoint::Unix(path.clone())).contains(&us));
        drop((tcp, unix));
        assert!(!of(&Endpoint::Tcp(address)).contains(&us));
        assert!(!of(&Endpoint::Unix(path)).contains(&us));
        assert_eq!(of(&Endpoint::Tcp("192.0.2.1:80".parse().unwrap())), [0_u32; 0]);
    }
}
