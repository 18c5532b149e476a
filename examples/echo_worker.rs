//! A worker that sends back what it is sent: `dispatchd -- target/release/examples/echo_worker`.
#![expect(clippy::print_stderr, reason = "dispatchd collects what a worker writes there")]

use std::io;

use dispatchd::worker::{Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    let mut worker = Worker::from_env()?;
    while let Some(mut connection) = worker.next_connection()? {
        if let Err(error) = echo(&mut connection) {
            // A client that hangs up is no reason to stop.
            eprintln!("echo: {error}");
        }
    }
    Ok(())
}

fn echo(connection: &mut (impl io::Read + io::Write)) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..count])?;
    }
}
