//! The eight laws of `dispatchd::io`, held against every backend that talks to the real kernel:
//! whatever is written over the port may rely on them, and on nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod accepts;
mod chance;
mod parcels;
mod rig;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use dispatchd::io::epoll::Epoll;
use dispatchd::io::uring::Uring;
use dispatchd::io::{Backend, Custody, Op, Outcome, Parcel, Role, Tag, Token};
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::{eventfd, fd};
use dispatchd::units::{Errno, Span, Ticket};

use accepts::{
    a_cancelled_accept_ends_once_and_loses_no_connection,
    a_process_that_does_not_wait_keeps_no_connection_from_others,
    a_released_number_may_be_used_again_at_once, a_sleeper_without_an_accept_takes_no_wake_up,
    an_accept_waits_although_the_listener_does_not, one_accept_takes_one_connection,
    shared_connections_arrive_once, what_nobody_takes_does_not_spin,
};
use chance::every_operation_ends_exactly_once;
use parcels::{
    a_closed_channel_is_an_answer_and_everything_is_back, a_flood_of_parcels_is_conserved,
    a_full_channel_is_an_answer_and_everything_is_back, a_handoff_ends_a_wait_only_when_it_fails,
    a_lent_parcel_arrives_and_comes_back, a_transfer_arrives_and_leaves_no_copy,
    failures_beyond_the_completion_queue_are_all_told,
    what_was_not_received_is_taken_back_in_order,
};
use rig::{CANCELLED, PATIENCE, Rig, SILENCE, marked, parcel, received};

macro_rules! laws {
    ($($law:ident)*) => {
        mod uring {
            $(#[test]
            fn $law() {
                super::$law(super::on_uring);
            })*
        }
        mod epoll {
            $(#[test]
            fn $law() {
                super::$law(super::on_epoll);
            })*
        }
    };
}

laws! {
    one_accept_takes_one_connection
    an_accept_waits_although_the_listener_does_not
    a_cancelled_accept_ends_once_and_loses_no_connection
    a_process_that_does_not_wait_keeps_no_connection_from_others
    shared_connections_arrive_once
    a_sleeper_without_an_accept_takes_no_wake_up
    what_nobody_takes_does_not_spin
    a_released_number_may_be_used_again_at_once
    a_watch_gives_its_descriptor_back
    a_watch_ends_by_cancel_or_by_expiry
    more_watches_than_completions_fit_all_end
    a_late_word_about_an_old_token_does_nothing
    each_ring_wakes_without_a_read
    a_bell_rung_before_anybody_listened_is_heard
    a_transfer_arrives_and_leaves_no_copy
    a_lent_parcel_arrives_and_comes_back
    a_full_channel_is_an_answer_and_everything_is_back
    a_closed_channel_is_an_answer_and_everything_is_back
    what_was_not_received_is_taken_back_in_order
    a_flood_of_parcels_is_conserved
    a_handoff_ends_a_wait_only_when_it_fails
    failures_beyond_the_completion_queue_are_all_told
    streams_are_read_and_written_in_order
    a_full_stream_takes_a_part_and_goes_on_later
    an_expired_read_ends
    a_released_source_ends_what_names_it
    a_source_that_was_released_is_not_served
    a_closed_descriptor_is_gone
    a_wait_lasts_as_long_as_asked
    submitting_neither_waits_nor_completes
    quiescing_ends_everything_once_and_leaves_it_usable
    dropping_with_work_in_flight_is_harmless
    no_kernel_thread_is_started
    every_operation_ends_exactly_once
}

fn on_uring() -> Uring {
    Uring::new().expect("these tests need io_uring; `dispatchd doctor` says what is in the way")
}

fn on_epoll() -> Epoll {
    Epoll::new().expect("every Linux has epoll")
}

fn a_watch_gives_its_descriptor_back<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (a, mut b) = UnixStream::pair().unwrap();
    // Another copy stays open, as a worker's would.
    let _copy = fd::duplicate(&a).unwrap();
    let number = a.as_raw_fd();
    let mut watched = OwnedFd::from(a);
    for _ in 0..3 {
        let token = rig.submit(Op::Readable { fd: watched });
        rig.silent();
        b.write_all(b"x").unwrap();
        let (fd, result) = rig.readable(token);
        assert_eq!((fd.as_raw_fd(), result), (number, Ok(())));
        rig.silent();
        let token = rig.submit(Op::Readable { fd });
        let (fd, result) = rig.readable(token);
        assert_eq!((fd.as_raw_fd(), result), (number, Ok(())));
        let mut stream = UnixStream::from(fd);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
        watched = stream.into();
    }
    let token = rig.submit(Op::Readable { fd: watched });
    rig.silent();
    drop(b);
    assert_eq!(rig.readable(token).1, Ok(()));
}

fn a_watch_ends_by_cancel_or_by_expiry<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (a, mut b) = UnixStream::pair().unwrap();
    let token = rig.submit(Op::Readable { fd: a.into() });
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Err(CANCELLED));
    let token = rig.submit(Op::Readable { fd });
    rig.silent();
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Err(CANCELLED));
    let token = rig.submit(Op::Readable { fd });
    rig.silent();
    b.write_all(b"x").unwrap();
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert!(matches!(result, Ok(()) | Err(CANCELLED)), "{result:?}");
    let mut stream = UnixStream::from(fd);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
    let token = rig.submit(Op::Readable { fd: stream.into() });
    rig.silent();
    rig.backend.expire(token);
    rig.backend.expire(token);
    assert_eq!(rig.readable(token).1, Ok(()));
    assert_eq!(b.read(&mut [0; 8]).unwrap(), 0, "the client is told");
    rig.backend.expire(token);
    rig.silent();
}

fn more_watches_than_completions_fit_all_end<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    const WATCHES: usize = 5_000;
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(limit).unwrap();
    nix::sys::resource::setrlimit(limit, hard, hard).unwrap();
    let mut rig = Rig::new(make);
    let (read, mut write) = std::io::pipe().unwrap();
    let tokens: Vec<_> = (0..WATCHES)
        .map(|_| rig.submit(Op::Readable { fd: fd::duplicate(&read).unwrap() }))
        .collect();
    rig.silent();
    write.write_all(b"x").unwrap();
    let end = monotonic().after(PATIENCE);
    while rig.seen.len() < WATCHES && monotonic() < end {
        rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
    }
    let mut ended: Vec<_> = rig.seen.iter().map(|seen| seen.token).collect();
    ended.sort();
    let mut expected = tokens;
    expected.sort();
    assert_eq!(ended, expected);
    rig.seen.clear();
    rig.silent();
}

fn a_late_word_about_an_old_token_does_nothing<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (a, mut b) = UnixStream::pair().unwrap();
    let old = rig.submit(Op::Readable { fd: a.into() });
    b.write_all(b"x").unwrap();
    let (fd, _) = rig.readable(old);
    let mut stream = UnixStream::from(fd);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
    let new = rig.submit(Op::Readable { fd: stream.into() });
    assert_eq!((new.slot, new.kind), (old.slot, old.kind), "places are used again");
    rig.backend.cancel(old);
    rig.backend.expire(old);
    rig.silent();
    b.write_all(b"x").unwrap();
    assert_eq!(rig.readable(new).1, Ok(()));
}

fn each_ring_wakes_without_a_read<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let bells: Vec<_> = (0..3).map(|_| eventfd::create().unwrap()).collect();
    let tokens: Vec<_> = bells
        .iter()
        .map(|bell| {
            let bell = rig.backend.adopt(fd::duplicate(bell).unwrap(), Role::Bell);
            rig.submit(Op::Ring { bell })
        })
        .collect();
    rig.silent();
    for round in 0..200 {
        let which = round % bells.len();
        eventfd::ring(&bells[which].as_fd()).unwrap();
        assert_eq!(rig.rang(tokens[which]), (false, Ok(())));
        assert!(rig.seen.is_empty(), "one ring wakes once: {:?}", rig.seen);
    }
    rig.silent();
    for (bell, token) in bells.iter().zip(tokens) {
        rig.backend.cancel(token);
        assert_eq!(rig.rang(token), (true, Err(CANCELLED)));
        eventfd::ring(&bell.as_fd()).unwrap();
    }
    rig.silent();
}

fn a_bell_rung_before_anybody_listened_is_heard<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let bell = eventfd::create().unwrap();
    eventfd::ring(&bell.as_fd()).unwrap();
    let bell = rig.backend.adopt(bell, Role::Bell);
    let token = rig.submit(Op::Ring { bell });
    assert_eq!(rig.rang(token), (false, Ok(())));
    rig.silent();
}

fn streams_are_read_and_written_in_order<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
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

fn a_full_stream_takes_a_part_and_goes_on_later<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    const LENGTH: usize = 4 << 20;
    let mut rig = Rig::new(make);
    let (stream, mut peer) = rig.stream();
    let mut buffer: Vec<_> = (0..LENGTH).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let mut taken = 0;
    let mut got = Vec::with_capacity(LENGTH);
    let mut chunk = vec![0; 1 << 20];
    while taken < LENGTH {
        let token = rig.submit(Op::Send { stream, buffer, from: taken });
        rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
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

fn an_expired_read_ends<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (stream, mut peer) = rig.stream();
    let token = rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(8) });
    rig.silent();
    rig.backend.expire(token);
    assert_eq!(rig.received(token), (Vec::new(), Ok(0)));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the client is told");
}

fn a_released_source_ends_what_names_it<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (listener, client) = rig.listener(Role::Listener);
    let (stream, mut peer) = rig.stream();
    let bell = rig.backend.adopt(eventfd::create().unwrap(), Role::Bell);
    let accepts: Vec<_> = (0..9).map(|_| rig.submit(Op::Accept { listener })).collect();
    let ring = rig.submit(Op::Ring { bell });
    rig.silent();
    // This one has not even been seen by the kernel.
    let recv = rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(8) });
    let fds = [listener, stream, bell].map(|source| rig.backend.release(source));
    for token in accepts {
        assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
    }
    assert_eq!(rig.received(recv), (Vec::new(), Err(CANCELLED)));
    assert_eq!(rig.rang(ring), (true, Err(CANCELLED)));
    peer.write_all(b"x").unwrap();
    eventfd::ring(&fds[2].as_fd()).unwrap();
    let _client = client.connect();
    rig.silent();
    let [listener, _, _] = fds;
    let listener = rig.backend.adopt(listener, Role::Listener);
    let token = rig.submit(Op::Accept { listener });
    drop(rig.accepted(token).unwrap());
}

fn a_source_that_was_released_is_not_served<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (channel, _theirs) = rig.channel();
    drop(rig.backend.release(channel));
    let (other, _theirs) = rig.channel();
    assert_eq!(other.slot, channel.slot, "places are used again");
    let custody = Custody::Transfer;
    let token = rig.submit(Op::Handoff { channel, parcel: parcel(1, 7..8), custody });
    let (errno, parcel) = rig.handed_off(token).unwrap_err();
    assert_eq!((errno, parcel.fds.len()), (CANCELLED, 1));
    let token = rig.submit(Op::Recv { stream: channel, buffer: Vec::with_capacity(1) });
    assert_eq!(rig.received(token).1, Err(CANCELLED));
    let token = rig.submit(Op::Accept { listener: channel });
    assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
}

fn a_closed_descriptor_is_gone<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (a, mut b) = UnixStream::pair().unwrap();
    let token = rig.submit(Op::Close { fd: a.into() });
    assert!(matches!(rig.only(token), Outcome::Closed));
    assert_eq!(b.read(&mut [0; 8]).unwrap(), 0);
}

fn a_wait_lasts_as_long_as_asked<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    // Something that is pending and never comes, and a cancel whose answer is nobody's business.
    let (a, _b) = UnixStream::pair().unwrap();
    let token = rig.submit(Op::Readable { fd: a.into() });
    for span in [1, 300_000, 900_000, 1_100_000, 5_000_000].map(Span::from_ns) {
        let start = monotonic();
        rig.backend.wait(Some(span), &mut rig.seen).unwrap();
        assert!(rig.seen.is_empty());
        assert!(span <= monotonic().since(start), "{span} was cut short");
    }
    // A wait cut to nothing spins: ten milliseconds hold at most forty waits of 250 us.
    let (mut waits, start) = (0, monotonic());
    while monotonic().since(start) < Span::from_ms(10) {
        rig.backend.wait(Some(Span::from_us(250)), &mut rig.seen).unwrap();
        waits += 1;
    }
    assert!(waits <= 40, "{waits} waits");
    rig.backend.cancel(token);
    assert_eq!(rig.readable(token).1, Err(CANCELLED));
    let start = monotonic();
    rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
    assert!(SILENCE <= monotonic().since(start));
}

fn submitting_neither_waits_nor_completes<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let bell = eventfd::create().unwrap();
    let source = rig.backend.adopt(bell, Role::Bell);
    let ring = rig.submit(Op::Ring { bell: source });
    // Far more than any queue holds, without a wait in between.
    let tokens: Vec<_> =
        (0..10_000).map(|_| rig.submit(Op::Close { fd: eventfd::create().unwrap() })).collect();
    let mut out = Vec::new();
    let end = monotonic().after(PATIENCE);
    while out.len() < tokens.len() && monotonic() < end {
        rig.backend.wait(Some(Span::ZERO), &mut out).unwrap();
    }
    let ended: Vec<_> = out.iter().map(|completion| completion.token).collect();
    assert!(out.iter().all(|completion| completion.last && completion.tag == Tag(7)));
    assert!(ended == tokens, "{} of {} ended", ended.len(), tokens.len());
    rig.backend.cancel(ring);
    assert_eq!(rig.rang(ring), (true, Err(CANCELLED)));
}

fn everything_pending<B: Backend<Fd = OwnedFd>>(rig: &mut Rig<B>) -> (Vec<Token>, UnixStream) {
    let (listener, _) = rig.listener(Role::Listener);
    let (shared, _) = rig.listener(Role::SharedListener);
    let (stream, peer) = rig.stream();
    let (full, other) = rig.stream();
    let bell = rig.backend.adopt(eventfd::create().unwrap(), Role::Bell);
    let (channel, _theirs) = rig.channel();
    let (silent, _) = rig.stream();
    let silent = rig.backend.release(silent);
    let tokens = vec![
        rig.submit(Op::Accept { listener }),
        rig.submit(Op::Accept { listener: shared }),
        rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(4_096) }),
        rig.submit(Op::Ring { bell }),
        rig.submit(Op::Readable { fd: silent }),
        rig.submit(Op::Handoff { channel, parcel: parcel(0, 0..9), custody: Custody::Transfer }),
        rig.submit(Op::Reclaim { kept: channel }),
        rig.submit(Op::Close { fd: marked(1) }),
        rig.submit(Op::Send { stream: full, buffer: vec![0; 4 << 20], from: 0 }),
        rig.submit(Op::Send { stream: full, buffer: vec![0; 4 << 20], from: 0 }),
    ];
    drop(peer);
    (tokens, other)
}

fn quiescing_ends_everything_once_and_leaves_it_usable<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    for waited in [false, true] {
        let mut rig = Rig::new(make);
        let (mut tokens, _other) = everything_pending(&mut rig);
        let mut out = Vec::new();
        if waited {
            rig.backend.wait(Some(SILENCE), &mut out).unwrap();
        }
        rig.backend.quiesce(&mut out).unwrap();
        let mut ended: Vec<_> =
            out.iter().filter(|seen| seen.last).map(|seen| seen.token).collect();
        ended.sort();
        tokens.sort();
        assert_eq!(ended, tokens);
        rig.silent();
        let (a, b) = UnixStream::pair().unwrap();
        let token = rig.submit(Op::Readable { fd: a.into() });
        drop(b);
        assert_eq!(rig.readable(token).1, Ok(()));
        rig.backend.quiesce(&mut out).unwrap();
    }
}

fn dropping_with_work_in_flight_is_harmless<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    for (busy, waited) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = Rig::new(make);
        let _other = busy.then(|| everything_pending(&mut rig));
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (channel, theirs) = rig.channel();
        let mut parcel = Parcel::new(0);
        for slot in 0..16 {
            parcel.push(Ticket { slot, generation: 0 }, fd::duplicate(&writer).unwrap());
        }
        drop(writer);
        rig.submit(Op::Handoff { channel, parcel, custody: Custody::Transfer });
        if waited {
            rig.backend.wait(Some(Span::ZERO), &mut rig.seen).unwrap();
        }
        drop(rig);
        drop(received(&theirs));
        drop(theirs);
        // Had one copy not been closed, the reader would wait for ever.
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }
}

fn no_kernel_thread_is_started<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (_tokens, _other) = everything_pending(&mut rig);
    rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
    // An accept that loses the race over and over.
    let (source, client) = rig.listener(Role::SharedListener);
    let fd = rig.backend.release(source);
    let copy = fd::duplicate(&fd).unwrap();
    let listener = rig.backend.adopt(fd, Role::SharedListener);
    rig.submit(Op::Accept { listener });
    rig.backend.wait(Some(Span::ZERO), &mut rig.seen).unwrap();
    for _ in 0..300 {
        let _client = client.connect();
        drop(dispatchd::sys::socket::accept(copy.as_fd()));
        rig.backend.wait(Some(Span::ZERO), &mut rig.seen).unwrap();
    }
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        // A test's thread may end in between.
        if let Ok(name) = std::fs::read_to_string(task.unwrap().path().join("comm")) {
            assert!(!name.starts_with("iou-"), "the ring started {name}");
        }
    }
}
