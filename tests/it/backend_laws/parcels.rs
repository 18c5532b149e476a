//! The laws of handing descriptors over: what is sent arrives whole, what is not sent comes back
//! whole, and nobody keeps a copy that was given away.

use dispatchd::io::{Backend, Custody, Op, Parcel, Role};
use dispatchd::limits::PARCEL_MAX;
use dispatchd::units::{Errno, Span, Ticket};

use super::kernel::{Kernel, Make};
use super::rig::{FULL, PATIENCE, Rig, SILENCE};

pub(crate) fn a_transfer_arrives_and_leaves_no_copy<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    for count in [0, 1, 2, 16] {
        let (fd, peer) = rig.kernel.connection();
        let mut parcel = Parcel::new(99);
        for slot in 0..count {
            parcel.push(Ticket { slot, generation: 3 }, rig.kernel.duplicate(&fd));
        }
        drop(fd);
        let sent = parcel.words.clone();
        let custody = Custody::Transfer;
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        assert!(rig.handed_off(token).unwrap().is_empty());
        let (words, fds) = rig.kernel.receive(&far).unwrap();
        assert_eq!(words, sent);
        assert_eq!(fds.len(), count as usize);
        rig.silent();
        drop(fds);
        assert!(rig.kernel.is_over(&peer), "a copy is left");
    }
}

pub(crate) fn a_lent_parcel_arrives_and_comes_back<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    let custody = Custody::Lend;
    let parcel = rig.parcel(1, 10..14);
    let token = rig.submit(Op::Handoff { channel, parcel, custody });
    let lent = rig.handed_off(token).unwrap();
    assert_eq!(lent.len(), 4);
    let (words, fds) = rig.kernel.receive(&far).unwrap();
    assert_eq!((words.len(), words[0], fds.len()), (5, 1, 4));
    drop(fds);
    assert_eq!(rig.marks_of(lent), [10, 11, 12, 13]);
}

pub(crate) fn a_full_channel_is_an_answer_and_everything_is_back<K: Kernel>(make: Make<'_, K>) {
    for custody in [Custody::Transfer, Custody::Lend] {
        let mut rig = Rig::new(make());
        let (channel, far) = rig.channel();
        let mut sent: u64 = 0;
        let returned = loop {
            let parcel = rig.parcel(sent, 20..23);
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
        assert_eq!(rig.marks_of(returned.fds), [20, 21, 22], "they are open and ours");
        for header in 0..sent {
            let (words, fds) = rig.kernel.receive(&far).unwrap();
            assert_eq!((words[0], fds.len()), (header, 3));
        }
        assert!(rig.kernel.receive(&far).is_none());
    }
}

pub(crate) fn a_closed_channel_is_an_answer_and_everything_is_back<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    rig.kernel.close(far);
    for custody in [Custody::Transfer, Custody::Lend] {
        let parcel = rig.parcel(5, 1..9);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        let (errno, parcel) = rig.handed_off(token).unwrap_err();
        assert!(matches!(errno, Errno(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
        assert_eq!(parcel.words[0], 5);
        assert_eq!(rig.marks_of(parcel.fds), (1..9).collect::<Vec<_>>());
    }
    rig.silent();
}

/// As long as somebody can read it, a channel takes messages; then they are gone with it.
pub(crate) fn a_channel_lives_as_long_as_its_last_reader<K: Kernel>(make: Make<'_, K>) {
    let custody = Custody::Transfer;
    for far_end_goes_first in [true, false] {
        let mut rig = Rig::new(make());
        let (channel, far) = rig.channel();
        let kept = rig.kernel.kept(&far);
        let parcel = rig.parcel(1, 0..2);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        assert!(rig.handed_off(token).unwrap().is_empty());
        let last = if far_end_goes_first {
            rig.kernel.close(far);
            Err(kept)
        } else {
            drop(kept);
            rig.silent();
            let (_, fds) = rig.kernel.receive(&far).unwrap();
            assert_eq!(rig.marks_of(fds), [0, 1]);
            Ok(far)
        };
        let (fd, peer) = rig.kernel.connection();
        let mut parcel = Parcel::new(2);
        parcel.push(Ticket { slot: 1, generation: 1 }, fd);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        assert!(rig.handed_off(token).unwrap().is_empty());
        match last {
            Ok(far) => rig.kernel.close(far),
            Err(kept) => drop(kept),
        }
        assert!(rig.kernel.is_over(&peer), "the unread message is gone, and what was in it");
        let parcel = rig.parcel(3, 1..2);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        let (_, parcel) = rig.handed_off(token).unwrap_err();
        assert_eq!(rig.marks_of(parcel.fds), [1]);
    }
}

pub(crate) fn what_was_not_received_is_taken_back_in_order<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    let kept = rig.kernel.kept(&far);
    let kept = rig.backend.adopt(kept, Role::Channel);
    let custody = Custody::Transfer;
    for first in 0..5 {
        let parcel = rig.parcel(u64::from(first), first * 10..first * 10 + 3);
        let token = rig.submit(Op::Handoff { channel, parcel, custody });
        rig.handed_off(token).unwrap();
    }
    drop(rig.kernel.receive(&far).unwrap());
    rig.kernel.close(far);
    let tokens: Vec<_> = (0..6).map(|_| rig.submit(Op::Reclaim { kept })).collect();
    for (token, first) in tokens.into_iter().zip(1..) {
        let Some(parcel) = rig.reclaimed(token).unwrap() else {
            assert!(5 <= first, "message {first} is lost");
            continue;
        };
        assert!(first < 5, "{parcel:?} was not sent");
        assert_eq!(parcel.words.len(), 4);
        assert_eq!(parcel.words[0], u64::from(first));
        assert_eq!(Ticket::from_word(parcel.words[2]).slot, u32::from(first * 10 + 1));
        let marks = rig.marks_of(parcel.fds);
        assert_eq!(marks, [first * 10, first * 10 + 1, first * 10 + 2]);
    }
}

/// More chains than the submission queue holds, over channels that fill up on the way.
pub(crate) fn a_flood_of_parcels_is_conserved<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let channels: Vec<_> = (0..2).map(|_| rig.channel()).collect();
    let mut returned = 0;
    let mut tokens = Vec::new();
    for round in 0..600_u64 {
        let channel = channels[usize::try_from(round).unwrap() % channels.len()].0;
        let count = u8::try_from(round % 17).unwrap();
        let custody = if round % 5 == 0 { Custody::Lend } else { Custody::Transfer };
        let parcel = rig.parcel(round, 0..count.min(u8::try_from(PARCEL_MAX).unwrap()));
        tokens.push((rig.submit(Op::Handoff { channel, parcel, custody }), round, custody));
    }
    let marks = |round: u64| (0..u8::try_from(round % 17).unwrap()).collect::<Vec<_>>();
    let mut sent = Vec::new();
    for (token, round, custody) in tokens {
        match rig.handed_off(token) {
            Ok(lent) => {
                let expected = if custody == Custody::Lend { marks(round).len() } else { 0 };
                assert_eq!(lent.len(), expected);
                sent.push(round);
            }
            Err((errno, parcel)) => {
                assert_eq!((errno, parcel.words[0]), (FULL, round));
                assert_eq!(rig.marks_of(parcel.fds), marks(round));
                returned += 1;
            }
        }
    }
    rig.silent();
    let mut arrived = Vec::new();
    for (_, far) in &channels {
        while let Some((words, fds)) = rig.kernel.receive(far) {
            assert_eq!(rig.marks_of(fds), marks(words[0]), "{words:?}");
            arrived.push(words[0]);
        }
    }
    arrived.sort_unstable();
    assert_eq!(arrived, sent);
    assert_eq!(arrived.len() + returned, 600);
    assert_ne!(returned, 0, "the channels fill up");
}

/// One call submits, waits and tells of the hand-off, whatever else is pending.
pub(crate) fn a_handoff_ends_a_wait_only_when_it_fails<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (listener, _address) = rig.listener(Role::Listener);
    rig.submit(Op::Accept { listener });
    let (channel, far) = rig.channel();
    let custody = Custody::Transfer;
    let parcel = rig.parcel(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, parcel, custody });
    let fd = rig.kernel.marked(0);
    rig.submit(Op::Close { fd });
    let start = rig.kernel.now();
    rig.wait(SILENCE);
    assert!(SILENCE <= rig.kernel.now().since(start));
    assert_eq!(rig.seen.len(), 2, "told at the end of the wait that carried it out");
    assert!(rig.handed_off(token).unwrap().is_empty());
    rig.seen.clear();
    let parcel = rig.parcel(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, parcel, custody });
    rig.wait(Span::ZERO);
    assert_eq!(rig.ended(), [token], "however short the wait");
    rig.seen.clear();
    rig.kernel.close(far);
    let parcel = rig.parcel(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, parcel, custody });
    let start = rig.kernel.now();
    rig.wait(PATIENCE);
    assert!(rig.kernel.now().since(start) < PATIENCE);
    assert_eq!(rig.handed_off(token).unwrap_err().1.fds.len(), 3);
}

/// Where nothing else is pending, there is nothing else to wait for.
pub(crate) fn a_handoff_that_is_alone_ends_its_wait<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, _far) = rig.channel();
    let parcel = rig.parcel(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, parcel, custody: Custody::Transfer });
    let start = rig.kernel.now();
    rig.wait(PATIENCE);
    assert!(rig.kernel.now().since(start) < PATIENCE);
    assert_eq!(rig.ended(), [token]);
}
