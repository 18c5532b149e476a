//! The laws of handing descriptors over: what is sent arrives whole, whoever sends has back what
//! it had, sent or not, and nobody has a copy besides.

use dispatchd::io::{Backend, Batch, Op, Role};
use dispatchd::limits::BATCH_MAX;
use dispatchd::units::{Errno, Span, Ticket};

use super::kernel::{Kernel, Make};
use super::rig::{FULL, PATIENCE, Rig, SILENCE};

/// Both have copies that need none of the other's.
pub(crate) fn a_batch_arrives_and_comes_back<K: Kernel>(make: Make<'_, K>) {
    for receiver_closes_first in [true, false] {
        let mut rig = Rig::new(make());
        let (channel, far) = rig.channel();
        let batch = rig.batch(1, 10..14);
        let (sent, numbers) = (batch.words.clone(), rig.numbers_of(&batch.fds));
        let token = rig.submit(Op::Handoff { channel, batch });
        let ours = rig.handed_off(token).unwrap();
        assert_eq!(rig.numbers_of(&ours), numbers, "the same ones, in the same order");
        let (words, theirs) = rig.kernel.receive(&far).unwrap();
        assert_eq!((words, theirs.len()), (sent, 4));
        let (first, last) = if receiver_closes_first { (theirs, ours) } else { (ours, theirs) };
        drop(first);
        assert_eq!(rig.marks_of(last), [10, 11, 12, 13]);
    }
}

pub(crate) fn a_batch_of_any_size_leaves_no_copy_behind<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    for count in [0, 1, 2, 16] {
        let (fd, peer) = rig.kernel.connection();
        let mut batch = Batch::new(99);
        for index in 0..count {
            batch.push(Ticket { index, generation: 3 }, rig.kernel.duplicate(&fd));
        }
        drop(fd);
        let sent = batch.words.clone();
        let token = rig.submit(Op::Handoff { channel, batch });
        let ours = rig.handed_off(token).unwrap();
        let (words, theirs) = rig.kernel.receive(&far).unwrap();
        assert_eq!(words, sent);
        assert_eq!((ours.len(), theirs.len()), (count as usize, count as usize));
        rig.silent();
        drop((ours, theirs));
        assert!(rig.kernel.is_over(&peer), "a copy is left");
    }
}

pub(crate) fn a_full_channel_is_an_answer_and_everything_is_back<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    let mut sent: u64 = 0;
    let returned = loop {
        let batch = rig.batch(sent, 20..23);
        let numbers = rig.numbers_of(&batch.fds);
        let token = rig.submit(Op::Handoff { channel, batch });
        match rig.handed_off(token) {
            Ok(ours) => {
                assert_eq!(rig.numbers_of(&ours), numbers);
                sent += 1;
            }
            Err((errno, batch)) => {
                assert_eq!((errno, rig.numbers_of(&batch.fds)), (FULL, numbers));
                break batch;
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

pub(crate) fn a_closed_channel_is_an_answer_and_everything_is_back<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    rig.kernel.close(far);
    for header in [5, 6] {
        let batch = rig.batch(header, 1..9);
        let token = rig.submit(Op::Handoff { channel, batch });
        let (errno, batch) = rig.handed_off(token).unwrap_err();
        assert!(matches!(errno, Errno(libc::EPIPE | libc::ECONNRESET)), "{errno:?}");
        assert_eq!(batch.words[0], header);
        assert_eq!(rig.marks_of(batch.fds), (1..9).collect::<Vec<_>>());
    }
    rig.silent();
}

/// A cancel, a rest and a release change nothing about who has what.
pub(crate) fn a_handoff_that_is_cut_short_gives_everything_back<K: Kernel>(make: Make<'_, K>) {
    for how in 0..3 {
        let mut rig = Rig::new(make());
        let (channel, far) = rig.channel();
        let batch = rig.batch(1, 0..3);
        let numbers = rig.numbers_of(&batch.fds);
        let token = rig.submit(Op::Handoff { channel, batch });
        // What is released stays open, so that the channel does.
        let released = match how {
            0 => {
                rig.backend.cancel(token);
                None
            }
            1 => {
                rig.backend.quiesce(&mut rig.seen).unwrap();
                None
            }
            _ => Some(rig.backend.release(channel)),
        };
        let (ours, went) = match rig.handed_off(token) {
            Ok(ours) => (ours, true),
            Err((_, batch)) => (batch.fds, false),
        };
        rig.silent();
        assert_eq!(rig.numbers_of(&ours), numbers);
        assert_eq!(rig.kernel.receive(&far).is_some(), went, "it went, or it did not");
        assert_eq!(rig.marks_of(ours), [0, 1, 2], "they are open and ours");
        drop(released);
    }
}

/// What nobody has received is gone when nobody can any more; the sender's copies are not.
pub(crate) fn a_channel_that_ends_takes_only_its_own_copies<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    let (fd, peer) = rig.kernel.connection();
    let mut batch = rig.batch(1, 4..6);
    batch.push(Ticket { index: 6, generation: 1 }, fd);
    let token = rig.submit(Op::Handoff { channel, batch });
    let mut ours = rig.handed_off(token).unwrap();
    rig.kernel.close(far);
    let connection = ours.pop();
    assert_eq!(rig.marks_of(ours), [4, 5], "they are open and ours");
    drop(connection);
    assert!(rig.kernel.is_over(&peer), "the unread message is gone, and what was in it");
}

/// A message waits with copies of its own, behind those that were sent before it.
pub(crate) fn unread_batches_wait_in_order_and_need_no_copy_of_ours<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, far) = rig.channel();
    for first in 0..5_u8 {
        let batch = rig.batch(u64::from(first), first * 10..first * 10 + 3);
        let token = rig.submit(Op::Handoff { channel, batch });
        drop(rig.handed_off(token).unwrap());
    }
    rig.silent();
    for first in 0..5_u8 {
        let (words, theirs) = rig.kernel.receive(&far).unwrap();
        assert_eq!((words.len(), words[0]), (4, u64::from(first)));
        assert_eq!(Ticket::from_word(words[2]).index, u32::from(first * 10 + 1));
        assert_eq!(rig.marks_of(theirs), [first * 10, first * 10 + 1, first * 10 + 2]);
    }
    assert!(rig.kernel.receive(&far).is_none());
}

/// More batches than the submission queue holds, over channels that fill up on the way.
pub(crate) fn a_flood_of_batches_is_conserved<K: Kernel>(make: Make<'_, K>) {
    const ROUNDS: u64 = 1_500;
    // Every size, among many small ones.
    let marks = |round: u64| {
        let count = if round.is_multiple_of(3) { round / 3 % (BATCH_MAX as u64 + 1) } else { 1 };
        (0..u8::try_from(count).unwrap()).collect::<Vec<_>>()
    };
    let mut rig = Rig::new(make());
    let channels: Vec<_> = (0..2).map(|_| rig.channel()).collect();
    let mut tokens = Vec::new();
    for round in 0..ROUNDS {
        let channel = channels[usize::try_from(round).unwrap() % channels.len()].0;
        let batch = rig.batch(round, 0..u8::try_from(marks(round).len()).unwrap());
        let numbers = rig.numbers_of(&batch.fds);
        tokens.push((rig.submit(Op::Handoff { channel, batch }), round, numbers));
    }
    let (mut sent, mut returned) = (Vec::new(), 0);
    for (token, round, numbers) in tokens {
        match rig.handed_off(token) {
            Ok(ours) => {
                assert_eq!(rig.numbers_of(&ours), numbers);
                sent.push(round);
            }
            Err((errno, batch)) => {
                assert_eq!((errno, batch.words[0]), (FULL, round));
                assert_eq!(rig.numbers_of(&batch.fds), numbers);
                assert_eq!(rig.marks_of(batch.fds), marks(round));
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
    assert_eq!(arrived.len() + returned, usize::try_from(ROUNDS).unwrap());
    assert_ne!(returned, 0, "the channels fill up");
}

/// One call submits, waits and tells of the hand-off, whatever else is pending.
pub(crate) fn a_handoff_ends_a_wait_only_when_it_fails<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (listener, _address) = rig.listener(Role::Listener);
    rig.submit(Op::Accept { listener });
    let (channel, far) = rig.channel();
    let batch = rig.batch(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, batch });
    let fd = rig.kernel.marked(0);
    rig.submit(Op::Close { fd });
    let start = rig.kernel.now();
    rig.wait(SILENCE);
    assert!(SILENCE <= rig.kernel.now().since(start));
    assert_eq!(rig.seen.len(), 2, "told at the end of the wait that carried it out");
    assert_eq!(rig.handed_off(token).unwrap().len(), 3);
    rig.seen.clear();
    let batch = rig.batch(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, batch });
    rig.wait(Span::ZERO);
    assert_eq!(rig.ended(), [token], "however short the wait");
    rig.seen.clear();
    rig.kernel.close(far);
    let batch = rig.batch(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, batch });
    let start = rig.kernel.now();
    rig.wait(PATIENCE);
    assert!(rig.kernel.now().since(start) < PATIENCE);
    assert_eq!(rig.handed_off(token).unwrap_err().1.fds.len(), 3);
}

/// Where nothing else is pending, there is nothing else to wait for.
pub(crate) fn a_handoff_that_is_alone_ends_its_wait<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, _far) = rig.channel();
    let batch = rig.batch(1, 0..3);
    let token = rig.submit(Op::Handoff { channel, batch });
    let start = rig.kernel.now();
    rig.wait(PATIENCE);
    assert!(rig.kernel.now().since(start) < PATIENCE);
    assert_eq!(rig.ended(), [token]);
}
