//! A worker with its own HTTP answer, one request per connection:
//! `dispatchd -- target/release/examples/http_worker`.
#![expect(clippy::print_stderr, reason = "dispatchd collects what a worker writes there")]

mod http;

use dispatchd::worker::{After, Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let body = format!("hello from http_worker {}\n", worker.identity().slot);
    while let Some(mut connection) = worker.next_connection()? {
        if let Err(error) = http::answer(&mut connection, After::Close, &body) {
            // A client that hangs up is no reason to stop.
            eprintln!("http_worker: {error}");
        }
    }
    Ok(())
}
