//! Which TCP ports another process listens on, as /proc tells. Only so much is read that nobody
//! waits for it, whatever that process has open, and however many connections there are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};

use crate::limits::{
    LISTENING_DESCRIPTORS_MAX, LISTENING_PROCESSES_MAX, LISTENING_READ, LISTENING_TABLE_MAX,
};

/// The ports, in order, as far as they can be seen.
pub fn ports(pid: u32) -> Vec<u16> {
    let sockets: BTreeSet<u64> = family(pid).into_iter().flat_map(sockets_of).collect();
    let tables = ["tcp", "tcp6"].into_iter().filter_map(|table| {
        let table = File::open(format!("/proc/{pid}/net/{table}")).ok()?;
        Some(ports_in(
            BufReader::with_capacity(LISTENING_READ, table.take(LISTENING_TABLE_MAX)),
            &sockets,
        ))
    });
    tables.flatten().collect::<BTreeSet<u16>>().into_iter().collect()
}

/// A process and those that it has started: `npm start` is not the one that listens.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while next < family.len() && family.len() < LISTENING_PROCESSES_MAX {
        let pid = family[next];
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        family.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    family.truncate(LISTENING_PROCESSES_MAX);
    family
}

/// The numbers of its open sockets.
fn sockets_of(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries
        .take(LISTENING_DESCRIPTORS_MAX)
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// Where these sockets listen, by a table as `/proc/net/tcp` is one.
fn ports_in(table: impl BufRead, sockets: &BTreeSet<u64>) -> Vec<u16> {
    /// The state of a socket that listens.
    const LISTENS: &str = "0A";
    let mut ports = Vec::new();
    for line in table.lines().map_while(Result::ok).skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, socket, ..] = fields[..] else { continue };
        if state != LISTENS {
            break;
        }
        let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        let is_its = socket.parse().is_ok_and(|socket| sockets.contains(&socket));
        ports.extend(port.filter(|_| is_its));
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_this_process_listens_on_is_found() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("[::1]:0").unwrap();
        let found = ports(std::process::id());
        for listener in [&own, &other] {
            let port = listener.local_addr().unwrap().port();
            assert!(found.contains(&port), "{port} is not in {found:?}");
        }
        assert!(ports(u32::MAX).is_empty());
    }

    #[test]
    fn only_its_own_and_only_what_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1\n\
             1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 78 1\n\
             2: 0100007F:1F92 0100007F:1234 01 00000000:00000000 00:00000000 00000000 0 0 77 1\n\
             nonsense\n";
        assert_eq!(ports_in(table.as_bytes(), &BTreeSet::from([77])), [8080]);
    }
}
