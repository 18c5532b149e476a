//! The client: short connections, a fixed number in flight. It is the same for every contestant and
//! cheap, because whatever it costs is in both halves of a ratio and pulls it towards one. So it
//! has no event loop: one worker answers in the order of arrival, and waiting for the oldest
//! connection is waiting for all.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

/// Bytes that the client sends.
pub(crate) const REQUEST: usize = 64;
/// Bytes that it is sent.
pub(crate) const RESPONSE: usize = 128;

/// An answer that takes longer is an error, and the run invalid.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections, and how many of them open at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// All of them.
    pub(crate) connections: u32,
    /// In flight at any time.
    pub(crate) window: usize,
}

/// Makes the connections; the first failure ends it.
pub(crate) fn run(to: SocketAddr, load: Load) -> Result<()> {
    let mut open = VecDeque::with_capacity(load.window);
    for number in 0..load.connections {
        if open.len() == load.window
            && let Some(oldest) = open.pop_front()
        {
            finish(oldest).with_context(|| format!("an answer before connection {number}"))?;
        }
        open.push_back(begin(to).with_context(|| format!("connection {number} to {to}"))?);
    }
    open.into_iter().try_for_each(finish).context("one of the last answers")
}

/// Connects and asks. The connection will be reset, not closed, lest 28,000 ports fill up with
/// TIME_WAIT.
fn begin(to: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[b'?'; REQUEST])?;
    Ok(stream)
}

/// Waits for the whole answer; dropping the connection resets it.
fn finish(mut stream: TcpStream) -> Result<()> {
    stream.read_exact(&mut [0; RESPONSE])?;
    Ok(())
}
