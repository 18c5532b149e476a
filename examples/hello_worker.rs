//! As small as a worker gets: `dispatchd -- target/release/examples/hello_worker`.

use std::io::{Read, Write};
use std::time::Duration;

use dispatchd::worker::{After, Worker, WorkerError};

fn main() -> Result<(), WorkerError> {
    Worker::from_env()?.serve(|connection| {
        connection.set_deadline(Duration::from_secs(5)); // reading and answering, together
        let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match connection.read(&mut buffer)? {
                0 => return Ok(After::Close),
                _ if 8192 < head.len() => return Ok(After::Close),
                count => head.extend_from_slice(&buffer[..count]),
            }
        }
        let body = if head.starts_with(b"HEAD ") { "" } else { "hi\n" };
        let fields = "Content-Length: 3\r\nConnection: close";
        connection.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").as_bytes())?;
        connection.finish(Duration::from_secs(1)); // a body, if one follows, is not for us
        Ok(After::Close)
    })
}
