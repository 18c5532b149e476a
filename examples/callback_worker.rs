//! A worker that is called for each request, and waits for none:
//! `dispatchd -- target/release/examples/callback_worker`. Connections go back between two requests
//! where dispatchd wants them (`--dispatch`), and are waited for here where it does not.

use std::io::{self, Read, Write};
use std::time::Duration;

use dispatchd::worker::{After, Connection, Worker, WorkerError};

/// Largest request head that is read.
const HEAD_MAX: usize = 8 * 1024;

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let body = format!("hello from callback_worker {}\n", worker.identity().seat);
    worker.serve(|connection| answer(connection, &body))
}

/// Answers one request. What a client sends before it has its answer is not for this example.
fn answer(connection: &mut Connection<'_>, body: &str) -> io::Result<After> {
    connection.set_timeouts(Duration::from_secs(5))?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let count = connection.read(&mut buffer)?;
        if count == 0 || HEAD_MAX < head.len() {
            return Ok(After::Close);
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let wish = head.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close"));
    let close = wish || connection.is_last(After::Idle);
    let persistence = if close { "close" } else { "keep-alive" };
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {persistence}\r\n\r\n{body}"
    )?;
    Ok(if close { After::Close } else { After::Idle })
}
