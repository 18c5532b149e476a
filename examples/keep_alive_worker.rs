//! A blocking worker that answers many requests per connection without waiting for any:
//! `dispatchd -- target/release/examples/keep_alive_worker`. Between two requests the connection is
//! dispatchd's, and the next one may be another worker's.
#![expect(clippy::print_stderr, reason = "dispatchd collects what a worker writes there")]

use std::io::{self, Read, Write};
use std::time::Duration;

use dispatchd::worker::{Connection, Worker, WorkerError};

/// Largest request head that is read.
const HEAD_MAX: usize = 8 * 1024;

/// What is to become of a connection.
enum Next {
    /// All is answered: it may ask again.
    Idle,
    /// The client wants no more, or cannot be served.
    Close,
}

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let body = format!("hello from keep_alive_worker {}\n", worker.identity().seat);
    while let Some(mut connection) = worker.next_connection()? {
        match answer(&mut connection, &body) {
            // Under `--dispatch connection` nobody takes it back, and dropping it closes it.
            Ok(Next::Idle) => drop(connection.idle()),
            Ok(Next::Close) => {}
            Err(error) => eprintln!("keep_alive_worker: {error}"),
        }
    }
    Ok(())
}

/// Answers one request. What a client sends before it has its answer is not for this example.
fn answer(connection: &mut Connection<'_>, body: &str) -> io::Result<Next> {
    connection.set_timeouts(Duration::from_secs(5))?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let count = connection.read(&mut buffer)?;
        if count == 0 || HEAD_MAX < head.len() {
            return Ok(Next::Close);
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let close = head.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close"));
    Ok(if close { Next::Close } else { Next::Idle })
}
