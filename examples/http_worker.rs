//! A worker with its own HTTP answer, one request per connection:
//! `dispatchd -- target/release/examples/http_worker`.
#![expect(clippy::print_stderr, reason = "dispatchd collects what a worker writes there")]

use std::io::{self, Read, Write};
use std::time::Duration;

use dispatchd::worker::{Connection, Worker, WorkerError};

/// Largest request head that is read.
const HEAD_MAX: usize = 8 * 1024;

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let seat = worker.identity().seat;
    let body = format!("hello from http_worker {seat}\n");
    while let Some(mut connection) = worker.next_connection()? {
        if let Err(error) = answer(&mut connection, &body) {
            eprintln!("http_worker: {error}");
        }
    }
    Ok(())
}

fn answer(connection: &mut Connection<'_>, body: &str) -> io::Result<()> {
    // One slow client must not keep this worker for ever: it serves one at a time.
    connection.set_timeouts(Duration::from_secs(5))?;
    let status = match read_head(connection)? {
        Head::Complete => "200 OK",
        Head::TooLarge => "431 Request Header Fields Too Large",
        Head::HungUp => return Ok(()),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

enum Head {
    Complete,
    TooLarge,
    HungUp,
}

fn read_head(connection: &mut Connection<'_>) -> io::Result<Head> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if HEAD_MAX < head.len() {
            return Ok(Head::TooLarge);
        }
        match connection.read(&mut buffer)? {
            0 => return Ok(Head::HungUp),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(Head::Complete)
}
