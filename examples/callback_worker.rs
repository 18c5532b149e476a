//! A worker that is called for each request, and waits for none:
//! `dispatchd -- target/release/examples/callback_worker`. Connections go back between two requests
//! where dispatchd wants them (`--dispatch`), and are waited for here where it does not.

mod http;

use dispatchd::worker::{After, Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    let body = format!("hello from callback_worker {}\n", worker.identity().slot);
    worker.serve(|connection| http::answer(connection, After::Idle, &body))
}
