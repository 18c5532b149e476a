//! The laws of reading and writing. They are the built-in worker's: the master never reads a byte,
//! so the simulator has no bytes, and these are held against the machine's own kernel alone.

use std::io::{Read, Write};

use dispatchd::io::Op;
use dispatchd::units::Errno;

use super::kernel::{Start, on_machine};
use super::rig::SILENCE;

pub(crate) fn streams_are_read_and_written_in_order<B: Start>() {
    let mut rig = on_machine::<B>();
    let (stream, mut peer) = rig.stream();
    for round in 0..3 {
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"head:");
        let token = rig.submit(Op::Recv { stream, buffer });
        rig.silent();
        peer.write_all(b"hello").unwrap();
        let (buffer, result) = rig.received(token);
        assert_eq!((buffer.as_slice(), result), (&b"head:hello"[..], Ok(5)), "round {round}");
        let token = rig.submit(Op::Send { stream, buffer, from: 5 });
        assert_eq!(rig.sent(token).1, Ok(5));
        let mut answer = [0; 5];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
    // More than fits in one read, read bit by bit, and the end of the stream behind it.
    peer.write_all(b"abcdefg").unwrap();
    drop(peer);
    let mut text = Vec::new();
    loop {
        let token = rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(3) });
        let (buffer, result) = rig.received(token);
        assert_eq!(result, Ok(buffer.len()));
        if buffer.is_empty() {
            break;
        }
        text.extend(buffer);
    }
    assert_eq!(text, b"abcdefg");
    let token = rig.submit(Op::Send { stream, buffer: b"x".to_vec(), from: 0 });
    assert_eq!(rig.sent(token), (b"x".to_vec(), Err(Errno(libc::EPIPE))));
}

pub(crate) fn a_full_stream_takes_a_part_and_goes_on_later<B: Start>() {
    const LENGTH: usize = 4 << 20;
    let mut rig = on_machine::<B>();
    let (stream, mut peer) = rig.stream();
    let mut buffer: Vec<_> = (0..LENGTH).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let mut taken = 0;
    let mut got = Vec::with_capacity(LENGTH);
    let mut chunk = vec![0; 1 << 20];
    while taken < LENGTH {
        let token = rig.submit(Op::Send { stream, buffer, from: taken });
        rig.wait(SILENCE);
        if rig.seen.is_empty() {
            // It waits for the reader.
            let count = peer.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..count]);
        }
        let (back, result) = rig.sent(token);
        let count = result.unwrap();
        assert_ne!(count, 0);
        taken += count;
        buffer = back;
    }
    drop(rig.backend.release(stream));
    peer.read_to_end(&mut got).unwrap();
    assert!(got == buffer, "{} bytes arrived of {LENGTH}", got.len());
}

pub(crate) fn an_expired_read_ends<B: Start>() {
    let mut rig = on_machine::<B>();
    let (stream, mut peer) = rig.stream();
    let token = rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(8) });
    rig.silent();
    rig.backend.expire(token);
    assert_eq!(rig.received(token), (Vec::new(), Ok(0)));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the client is told");
}
