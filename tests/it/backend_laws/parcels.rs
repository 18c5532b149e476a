//! The laws of handing descriptors over: what is sent arrives whole, what is not sent comes back
//! whole, and nobody keeps a copy that was given away.

use std::io::Read;
use std::os::fd::OwnedFd;

use dispatchd::io::{Backend, Custody, Op, Outcome, Parcel, Role};
use dispatchd::limits::PARCEL_MAX;
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::fd;
use dispatchd::units::{Errno, Ticket};

use super::rig::{FULL, PATIENCE, Rig, SILENCE, mark_of, marked, parcel, received};

pub(crate) fn a_transfer_arrives_and_leaves_no_copy<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (channel, theirs) = rig.channel();
    for count in [0, 1, 2, 16] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let mut parcel = Parcel::new(99);
        for slot in 0..count {
            parcel.push(Ticket { slot, generation: 3 }, fd::duplicate(&writer).unwrap());
        }
        drop(writer);
        let words = parcel.words.clone();
        let custody = Custody::Transfer;
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        assert!(rig.handed_off(token).unwrap().is_empty());
        let message = received(&theirs).unwrap();
        assert_eq!((message.words, message.truncated), (words, false));
        assert_eq!(message.fds.len(), count as usize);
        rig.silent();
        drop(message.fds);
        // Were a copy of the write end left, the reader would wait for ever.
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }
}

pub(crate) fn a_lent_parcel_arrives_and_comes_back<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (channel, theirs) = rig.channel();
    let custody = Custody::Lend;
    let token = rig.submit(Op::Handoff { channel, parcel: parcel(1, 10..14), custody });
    let lent = rig.handed_off(token).unwrap();
    assert_eq!(lent.len(), 4);
    drop(received(&theirs).unwrap());
    let marks: Vec<_> = lent.into_iter().map(mark_of).collect();
    assert_eq!(marks, [10, 11, 12, 13]);
}

pub(crate) fn a_full_channel_is_an_answer_and_everything_is_back<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    for custody in [Custody::Transfer, Custody::Lend] {
        let mut rig = Rig::new(make);
        let (channel, theirs) = rig.channel();
        let mut sent: u64 = 0;
        let returned = loop {
            let parcel = parcel(sent, 20..23);
            let token = rig.submit(Op::Handoff { channel, parcel, custody });
            match rig.handed_off(token) {
                Ok(_) => sent += 1,
                Err((errno, parcel)) => {
                    assert_eq!(errno, FULL);
                    break parcel;
                }
            }
        };
        rig.silent();
        assert_eq!(returned.words.len(), 4);
        let marks: Vec<_> = returned.fds.into_iter().map(mark_of).collect();
        assert_eq!(marks, [20, 21, 22], "they are open and ours");
        for header in 0..sent {
            let message = received(&theirs).unwrap();
            assert_eq!((message.words[0], message.fds.len()), (header, 3));
        }
        assert!(received(&theirs).is_none());
    }
}

pub(crate) fn a_closed_channel_is_an_answer_and_everything_is_back<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut rig = Rig::new(make);
    let (channel, theirs) = rig.channel();
    drop(theirs);
    for custody in [Custody::Transfer, Custody::Lend] {
        let token = rig.submit(Op::Handoff { channel, parcel: parcel(5, 1..9), custody });
        let (errno, parcel) = rig.handed_off(token).unwrap_err();
        assert!(matches!(errno, Errno(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
        assert_eq!(parcel.words[0], 5);
        let marks: Vec<_> = parcel.fds.into_iter().map(mark_of).collect();
        assert_eq!(marks, (1..9).collect::<Vec<_>>());
    }
    rig.silent();
}

pub(crate) fn what_was_not_received_is_taken_back_in_order<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut rig = Rig::new(make);
    let (channel, theirs) = rig.channel();
    let kept = rig.backend.adopt(fd::duplicate(&theirs).unwrap(), Role::Channel);
    let custody = Custody::Transfer;
    for first in 0..5 {
        let parcel = parcel(u64::from(first), first * 10..first * 10 + 3);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        rig.handed_off(token).unwrap();
    }
    drop(received(&theirs).unwrap());
    drop(theirs);
    let tokens: Vec<_> = (0..6).map(|_| rig.submit(Op::Reclaim { kept })).collect();
    for (token, first) in tokens.into_iter().zip(1..) {
        let outcome = rig.only(token);
        match outcome {
            Outcome::Reclaimed(Ok(Some(parcel))) if first < 5 => {
                assert_eq!(parcel.words.len(), 4);
                assert_eq!(parcel.words[0], u64::from(first));
                assert_eq!(Ticket::from_word(parcel.words[2]).slot, u32::from(first * 10 + 1));
                let marks: Vec<_> = parcel.fds.into_iter().map(mark_of).collect();
                assert_eq!(marks, [first * 10, first * 10 + 1, first * 10 + 2]);
            }
            Outcome::Reclaimed(Ok(None)) => assert!(5 <= first),
            other => panic!("message {first}: {other:?}"),
        }
    }
}

/// More chains than the submission queue holds, over channels that fill up on the way.
pub(crate) fn a_flood_of_parcels_is_conserved<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let channels: Vec<_> = (0..2).map(|_| rig.channel()).collect();
    let mut returned = 0;
    let mut tokens = Vec::new();
    for round in 0..600_u64 {
        let channel = channels[usize::try_from(round).unwrap() % channels.len()].0;
        let count = u8::try_from(round % 17).unwrap();
        let custody = if round % 5 == 0 { Custody::Lend } else { Custody::Transfer };
        let parcel = parcel(round, 0..count.min(u8::try_from(PARCEL_MAX).unwrap()));
        tokens.push((rig.submit(Op::Handoff { channel, parcel, custody }), round, custody));
    }
    let mut sent = Vec::new();
    for (token, round, custody) in tokens {
        let marks = 0..u8::try_from(round % 17).unwrap();
        match rig.handed_off(token) {
            Ok(lent) => {
                let expected = if custody == Custody::Lend { marks.len() } else { 0 };
                assert_eq!(lent.len(), expected);
                sent.push(round);
            }
            Err((errno, parcel)) => {
                assert_eq!((errno, parcel.words[0]), (FULL, round));
                assert!(parcel.fds.into_iter().map(mark_of).eq(marks));
                returned += 1;
            }
        }
    }
    rig.silent();
    let mut arrived = Vec::new();
    for (_, theirs) in &channels {
        while let Some(message) = received(theirs) {
            let marks = 0..u8::try_from(message.words[0] % 17).unwrap();
            assert!(message.fds.into_iter().map(mark_of).eq(marks), "{:?}", message.words);
            arrived.push(message.words[0]);
        }
    }
    arrived.sort_unstable();
    assert_eq!(arrived, sent);
    assert_eq!(arrived.len() + returned, 600);
    assert_ne!(returned, 0, "the channels fill up");
}

/// What speaks up only when it fails must be heard even where the completion queue is full.
pub(crate) fn failures_beyond_the_completion_queue_are_all_told<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut rig = Rig::new(make);
    let (channel, theirs) = rig.channel();
    drop(theirs);
    let custody = Custody::Transfer;
    let tokens: Vec<_> = (0..6_000)
        .map(|header| rig.submit(Op::Handoff { channel, parcel: Parcel::new(header), custody }))
        .collect();
    for (token, header) in tokens.into_iter().zip(0..) {
        let (_, parcel) = rig.handed_off(token).unwrap_err();
        assert_eq!(parcel.words, [header]);
    }
    rig.silent();
}

/// One call submits, waits and tells of the hand-off, whatever else is pending.
pub(crate) fn a_handoff_ends_a_wait_only_when_it_fails<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (listener, _client) = rig.listener(Role::Listener);
    rig.submit(Op::Accept { listener });
    let (channel, theirs) = rig.channel();
    let custody = Custody::Transfer;
    let token = rig.submit(Op::Handoff { channel, parcel: parcel(1, 0..3), custody });
    rig.submit(Op::Close { fd: marked(0) });
    let start = monotonic();
    rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
    assert!(SILENCE <= monotonic().since(start));
    assert_eq!(rig.seen.len(), 2, "told at the end of the wait that carried it out");
    assert!(rig.handed_off(token).unwrap().is_empty());
    drop(theirs);
    let token = rig.submit(Op::Handoff { channel, parcel: parcel(1, 0..3), custody });
    let start = monotonic();
    rig.backend.wait(Some(PATIENCE), &mut rig.seen).unwrap();
    assert!(monotonic().since(start) < PATIENCE);
    assert_eq!(rig.handed_off(token).unwrap_err().1.fds.len(), 3);
}
