//! The servers under test, each a process of its own: this program starts itself again in one of
//! these roles. All of them read 64 bytes, write 128 and close.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use dispatchd::sys::scm::RecvWait;
use dispatchd::sys::{clock, socket};
use dispatchd::units::{Span, Ticket};
use dispatchd::wire::message::WorkerMessage;
use dispatchd::worker::{Delivery, LinkEnd, Order, Worker};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::client::{REQUEST, RESPONSE};

/// Connections that the batch worker can have begun at once, so that as many come together.
const CONCURRENCY: u32 = 64;

/// The SDK's blocking worker, as the documentation shows it.
pub(crate) fn serve_one_by_one() -> Result<()> {
    let mut worker = Worker::from_env()?;
    while let Some(mut connection) = worker.next_connection()? {
        answer(&mut connection);
    }
    Ok(())
}

/// A worker with a loop of its own, which takes what the channel has and serves it in order.
pub(crate) fn serve_batches() -> Result<()> {
    let mut link = LinkEnd::from_env()?;
    link.pin();
    link.hello(CONCURRENCY)?;
    loop {
        match link.receive(RecvWait::Wait)? {
            Delivery::Offer(ticket) => serve_offer(&mut link, ticket),
            Delivery::Look if link.order() == Order::Drain => return Ok(()),
            Delivery::Look | Delivery::Nothing => {}
            Delivery::Gone => return Ok(()),
        }
        link.flush();
    }
}

fn serve_offer(link: &mut LinkEnd, ticket: Ticket) {
    let began_at = clock::monotonic();
    let Some(claimed) = link.claim(ticket, began_at) else { return };
    link.began(began_at);
    let mut stream = File::from(claimed.socket);
    answer(&mut stream);
    let now = clock::monotonic();
    link.ended(now);
    link.closed();
    // The master may have a copy still: without this our close sends no FIN. It fails when the
    // client is gone already, which is no news.
    socket::shutdown(stream.as_fd()).unwrap_or_default();
    let service_us = micros(now.since(began_at));
    link.send_all(&[WorkerMessage::Done { ticket, service_us }, WorkerMessage::Closed(ticket)]);
}

/// The baseline: a plain loop that accepts, blocking, and nothing else. Says where it listens.
pub(crate) fn accept() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM).context("cannot tie this process to its parent")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        answer(&mut listener.accept()?.0);
    }
}

/// The whole service. What fails here is short of bytes at the client, which reports it.
fn answer(stream: &mut (impl Read + Write)) {
    let mut request = [0; REQUEST];
    if stream.read_exact(&mut request).is_ok() {
        stream.write_all(&[b'!'; RESPONSE]).unwrap_or_default();
    }
}

fn micros(span: Span) -> u32 {
    u32::try_from(span.as_us()).unwrap_or(u32::MAX)
}
