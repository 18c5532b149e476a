//! A client that sends exactly the bytes it is told, and reads answers strictly: what a library
//! would smooth over is what these tests are about.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dispatchd::sys::clock::monotonic;
use dispatchd::units::Span;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

use crate::wait::nap;

/// Longest wait for a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    /// Bytes behind the last answer.
    surplus: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// A connection to `ADDRESS:PORT` or `unix:PATH`.
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let stream = match address.strip_prefix("unix:") {
            Some(path) => Stream::Unix(UnixStream::connect(path)?),
            None => Stream::Tcp(TcpStream::connect(address)?),
        };
        match &stream {
            Stream::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(READ_TIMEOUT))?;
            }
            Stream::Unix(unix) => unix.set_read_timeout(Some(READ_TIMEOUT))?,
        }
        Ok(Self { stream, surplus: Vec::new() })
    }

    /// A connection on which `GET path` was sent.
    pub(crate) fn asking(address: &str, path: &str) -> io::Result<Self> {
        let mut client = Self::connect(address)?;
        client.send(get(path, "close").as_bytes())?;
        Ok(client)
    }

    /// `GET path` on a connection of its own, which the answer ends.
    pub(crate) fn get_once(address: &str, path: &str) -> io::Result<Reply> {
        let mut client = Self::asking(address, path)?;
        let reply = client.reply()?;
        client.end().map(|()| reply)
    }

    /// `GET path`, with more to come.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(get(path, "keep-alive").as_bytes())?;
        self.reply()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    /// The next answer, with the body that its `Content-Length` says.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        let mut reply = self.reply_head()?;
        let length = reply.field("content-length").unwrap_or("0").parse::<usize>();
        let length = length.map_err(io::Error::other)?;
        reply.body = self.read_exactly(length)?;
        Ok(reply)
    }

    /// The next answer's head; a body, if there is one, is left unread.
    pub(crate) fn reply_head(&mut self) -> io::Result<Reply> {
        let end = loop {
            match self.surplus.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.receive()?,
            }
        };
        let head: Vec<u8> = self.surplus.drain(..end).collect();
        Reply::parse(&String::from_utf8_lossy(&head))
    }

    /// The next bytes, so many of them.
    pub(crate) fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.surplus.len() < count {
            self.receive()?;
        }
        Ok(self.surplus.drain(..count).collect())
    }

    /// Everything until the server closes.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.surplus));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The end of the connection, which nothing may come before.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self.read_to_end()?.as_slice() {
            [] => Ok(()),
            rest => Err(io::Error::other(format!("{} bytes behind the answer", rest.len()))),
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Ends the connection with a reset, as who gives up does.
    pub(crate) fn reset(self) {
        let Stream::Tcp(stream) = &self.stream else { panic!("only TCP has resets") };
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(stream, sockopt::Linger, &at_once).unwrap();
    }

    /// The answer if it has come, whole; none as long as there is nothing of it.
    pub(crate) fn poll_reply(&mut self) -> Option<io::Result<Reply>> {
        self.set_nonblocking(true).unwrap();
        let first = self.receive();
        self.set_nonblocking(false).unwrap();
        match first {
            Ok(()) => Some(self.reply()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The answer if it comes so soon.
    pub(crate) fn reply_within(&mut self, patience: Span) -> Option<io::Result<Reply>> {
        let deadline = monotonic().after(patience);
        loop {
            match self.poll_reply() {
                None if monotonic() < deadline => nap(Span::from_ms(1)),
                reply => return reply,
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut buffer)?,
            Stream::Unix(stream) => stream.read(&mut buffer)?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.surplus.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }
}

impl Reply {
    fn parse(head: &str) -> io::Result<Self> {
        let strange = || io::Error::other(format!("not an answer: {head:?}"));
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line.get(..3)?.parse().ok()).ok_or_else(strange)?;
        let mut fields = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(strange)?;
            fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        Ok(Self { status, fields, body: Vec::new() })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Whether the server wants no further request on this connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The worker that answered `/whoami`, `/sleep`, `/wait` or `/burn`.
    pub(crate) fn worker(&self) -> u16 {
        let worker = self.json()["worker"].as_u64().unwrap();
        u16::try_from(worker).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn get(path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: {connection}\r\n\r\n")
}
