//! A blocking worker that answers many requests per connection without waiting for any:
//! `dispatchd -- target/release/examples/keep_alive_worker`. Between two requests the connection is
//! dispatchd's, and the next one may be another worker's.
#![expect(clippy::print_stderr, reason = "dispatchd collects what a worker writes there")]

mod http;

use dispatchd::worker::{After, Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let body = format!("hello from keep_alive_worker {}\n", worker.identity().slot);
    while let Some(mut connection) = worker.next_connection()? {
        // Who waited for the next request of a connection that nobody takes back
        // (`--dispatch connection`) would serve nobody else: such a connection has one answer.
        let after = if connection.goes_back() { After::Idle } else { After::Close };
        match http::answer(&mut connection, after, &body) {
            Ok(After::Idle) => drop(connection.idle()),
            Ok(After::Pin | After::Close) => {}
            Err(error) => eprintln!("keep_alive_worker: {error}"),
        }
    }
    Ok(())
}
