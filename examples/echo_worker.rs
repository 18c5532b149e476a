//! A worker that sends back what it is sent: `dispatchd -- target/release/examples/echo_worker`. It
//! is called when something has come, sends it back, and knows nothing of it afterwards.

use std::io::{Read, Write};
use std::time::Duration;

use dispatchd::worker::{After, Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    Worker::from_env()?.serve(|connection| {
        // A client that does not take what it gets must not keep this worker from others.
        connection.set_deadline(Duration::from_secs(5));
        let mut buffer = [0; 4096];
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(After::Close);
        }
        connection.write_all(&buffer[..count])?;
        Ok(After::Idle)
    })
}
