//! What a client is told that asks while too many wait (`--overload reject`). dispatchd knows no
//! protocols, and a client says which one it speaks: whoever has sent a request line of HTTP/1 is
//! answered in it, on any listener and whatever the workers run. Others see the end.
//!
//! All of it goes without waiting, and nothing is kept for those that are refused. What a client
//! has sent is read off first: unread, it would turn the close into a reset, which can take the
//! answer away. What comes later still does, and no descriptor is kept to wait for it: that would
//! be one more thing of which there are too few.

use std::os::fd::BorrowedFd;

use crate::limits::{HTTP_CHUNK, REFUSAL_READS_MAX};
use crate::sys::socket;

/// It has no body, which is right for every method.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 1\r\n\
    Content-Length: 0\r\n\
    Connection: close\r\n\r\n";

/// Tells a connection's client that it is refused. What cannot be told now is not told.
pub(super) fn tell(connection: BorrowedFd<'_>) {
    let mut buffer = [0; HTTP_CHUNK];
    let mut speaks_http = None;
    for _ in 0..REFUSAL_READS_MAX {
        match socket::recv_into(connection, &mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                speaks_http.get_or_insert_with(|| is_request(&buffer[..count]));
            }
        }
    }
    if speaks_http == Some(true) {
        // A client that is gone, or takes nothing, is told nothing.
        let told = socket::send(connection, ANSWER);
        told.and_then(|_| socket::shutdown_write(connection)).unwrap_or_default();
    }
}

/// Whether a request line of HTTP/1 comes first, but for empty lines.
fn is_request(bytes: &[u8]) -> bool {
    let Some(begin) = bytes.iter().position(|byte| !b"\r\n".contains(byte)) else { return false };
    let mut lines = bytes[begin..].splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(_)) = (lines.next(), lines.next()) else { return false };
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [rest @ .., minor] => rest.ends_with(b" HTTP/1.") && minor.is_ascii_digit(),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_has_sent_a_request_line_speaks_http() {
        for (bytes, speaks) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"\r\n\r\nPOST /a?b HTTP/1.0\n\r\n", true),
            (b"GET / HTTP/1.1", false),
            (b"GET /\r\n", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
            (b"SSH-2.0-x\r\n", false),
            (b"\x16\x03\x01\x02\x00 HTTP/1.1", false),
            (b"\r\n", false),
            (b"", false),
        ] {
            assert_eq!(is_request(bytes), speaks, "{}", bytes.escape_ascii());
        }
    }

    /// What a client gets for these bytes, when the connection is closed behind it.
    fn told<S: Read + Write>(mut client: S, server: impl AsFd, sent: &[u8]) -> Vec<u8> {
        client.write_all(sent).unwrap();
        while !socket::has_input(server.as_fd()) {}
        tell(server.as_fd());
        drop(server);
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("the end is no reset");
        got
    }

    #[test]
    fn it_is_told_and_the_end_is_no_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let long = [&b"POST / HTTP/1.1\r\n\r\n"[..], &vec![b'x'; 30_000]].concat();
        for (sent, answer) in
            [(&b"HEAD / HTTP/1.1\r\n\r\n"[..], ANSWER), (&long, ANSWER), (b"ehlo\n", b"")]
        {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(told(client, listener.accept().unwrap().0, sent), answer);
            let (client, server) = UnixStream::pair().unwrap();
            assert_eq!(told(client, server, sent), answer);
        }
    }

    #[test]
    fn who_says_nothing_and_who_is_gone_is_not_waited_for() {
        let (mut client, server) = UnixStream::pair().unwrap();
        tell(server.as_fd());
        drop(server);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        let (client, server) = UnixStream::pair().unwrap();
        drop(client);
        tell(server.as_fd());
    }
}
