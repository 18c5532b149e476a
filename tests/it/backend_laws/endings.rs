//! The laws of waiting, letting go and coming to rest: only a wait waits, whatever names a
//! released source ends, and nothing is left behind.

use dispatchd::io::{Backend, Batch, Op, Outcome, Ready, Role, Token, WatchKind};
use dispatchd::units::{Span, Ticket};

use super::kernel::{Kernel, Make};
use super::rig::{CANCELLED, PATIENCE, Rig, SILENCE};

pub(crate) fn a_released_source_ends_what_names_it<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (listener, address) = rig.listener(Role::Listener);
    let (stream, peer) = rig.stream();
    let (doorbell, clapper) = rig.doorbell();
    let accepts: Vec<_> = (0..9).map(|_| rig.submit(Op::Accept { listener })).collect();
    let ring = rig.submit(Op::Ring { doorbell });
    rig.silent();
    // This one has not even been seen by the kernel.
    let recv = rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(8) });
    let fds = [listener, stream, doorbell].map(|source| rig.backend.release(source));
    for token in accepts {
        assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
    }
    assert_eq!(rig.received(recv), (Vec::new(), Err(CANCELLED)));
    assert_eq!(rig.rang(ring), (true, Err(CANCELLED)));
    rig.kernel.send(&peer);
    rig.kernel.ring(&clapper);
    let _caller = rig.kernel.connect(&address);
    rig.silent();
    let [listener, _, _] = fds;
    let listener = rig.backend.adopt(listener, Role::Listener);
    let token = rig.submit(Op::Accept { listener });
    drop(rig.accepted(token).unwrap());
}

/// A copy of the same thing is another source.
pub(crate) fn a_released_source_ends_nothing_else<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, clapper) = rig.kernel.doorbell();
    let copy = rig.kernel.duplicate(&fd);
    let doorbells = [fd, copy].map(|fd| rig.backend.adopt(fd, Role::Doorbell));
    let rings = doorbells.map(|doorbell| rig.submit(Op::Ring { doorbell }));
    let (fd, peer) = rig.kernel.connection();
    let copy = rig.kernel.duplicate(&fd);
    let stream = rig.backend.adopt(copy, Role::Stream);
    let watch = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    let _released = [doorbells[0], stream].map(|source| rig.backend.release(source));
    assert_eq!(rig.rang(rings[0]), (true, Err(CANCELLED)));
    rig.silent();
    rig.kernel.ring(&clapper);
    assert_eq!(rig.rang(rings[1]), (false, Ok(())));
    rig.kernel.send(&peer);
    assert_eq!(rig.readable(watch).1, Ok(Ready::Input));
}

pub(crate) fn a_source_that_was_released_is_not_served<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (channel, _far) = rig.channel();
    drop(rig.backend.release(channel));
    let (other, _far) = rig.channel();
    assert_eq!(other.index, channel.index, "places are used again");
    let batch = rig.batch(1, 7..8);
    let token = rig.submit(Op::Handoff { channel, batch });
    let (errno, batch) = rig.handed_off(token).unwrap_err();
    assert_eq!((errno, batch.fds.len()), (CANCELLED, 1));
    let token = rig.submit(Op::Recv { stream: channel, buffer: Vec::with_capacity(1) });
    assert_eq!(rig.received(token).1, Err(CANCELLED));
    let token = rig.submit(Op::Accept { listener: channel });
    assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
    let token = rig.submit(Op::Ring { doorbell: channel });
    assert_eq!(rig.rang(token), (true, Err(CANCELLED)));
}

pub(crate) fn a_closed_descriptor_is_gone<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, peer) = rig.kernel.connection();
    let token = rig.submit(Op::Close { fd });
    assert!(matches!(rig.only(token), Outcome::Closed));
    assert!(rig.kernel.is_over(&peer));
}

pub(crate) fn a_wait_lasts_as_long_as_asked<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    // Something that is pending and never comes, and a cancel whose answer is nobody's business.
    let (fd, _peer) = rig.kernel.connection();
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    for span in [1, 300_000, 900_000, 1_100_000, 5_000_000].map(Span::from_ns) {
        let start = rig.kernel.now();
        rig.wait(span);
        assert!(rig.seen.is_empty());
        assert!(span <= rig.kernel.now().since(start), "{span} was cut short");
    }
    // A wait cut to nothing spins: ten milliseconds hold at most forty waits of 250 us.
    let (mut waits, start) = (0, rig.kernel.now());
    while rig.kernel.now().since(start) < Span::from_ms(10) {
        rig.wait(Span::from_us(250));
        waits += 1;
    }
    assert!(waits <= 40, "{waits} waits");
    rig.backend.cancel(token);
    assert_eq!(rig.readable(token).1, Err(CANCELLED));
    let start = rig.kernel.now();
    rig.wait(SILENCE);
    assert!(SILENCE <= rig.kernel.now().since(start));
}

pub(crate) fn submitting_neither_waits_nor_completes<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (doorbell, _clapper) = rig.doorbell();
    let ring = rig.submit(Op::Ring { doorbell });
    let start = rig.kernel.now();
    let mut tokens = Vec::new();
    // Far more than any queue holds, without a wait in between.
    for _ in 0..10_000 {
        let fd = rig.kernel.marked(0);
        tokens.push(rig.submit(Op::Close { fd }));
    }
    assert!(rig.kernel.now().since(start) < PATIENCE);
    let end = rig.kernel.now().after(PATIENCE);
    while rig.seen.len() < tokens.len() && rig.kernel.now() < end {
        rig.wait(Span::ZERO);
    }
    tokens.sort();
    let ended = rig.ended();
    assert!(ended == tokens, "{} of {} ended", ended.len(), tokens.len());
    rig.seen.clear();
    rig.backend.cancel(ring);
    assert_eq!(rig.rang(ring), (true, Err(CANCELLED)));
}

pub(crate) fn quiescing_ends_everything_once_and_leaves_it_usable<K: Kernel>(make: Make<'_, K>) {
    for waited in [false, true] {
        let mut rig = Rig::new(make());
        let (mut tokens, _others) = everything_pending(&mut rig);
        if waited {
            rig.wait(SILENCE);
        }
        rig.backend.quiesce(&mut rig.seen).unwrap();
        tokens.sort();
        assert_eq!(rig.ended(), tokens);
        rig.seen.clear();
        rig.silent();
        let (fd, peer) = rig.kernel.connection();
        let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
        rig.kernel.hang_up(peer);
        drop(rig.over(token));
        rig.backend.quiesce(&mut rig.seen).unwrap();
        assert!(rig.seen.is_empty());
    }
}

pub(crate) fn dropping_with_work_in_flight_is_harmless<K: Kernel>(make: Make<'_, K>) {
    for (busy, waited) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = Rig::new(make());
        let _others = busy.then(|| everything_pending(&mut rig).1);
        let (fd, peer) = rig.kernel.connection();
        let (channel, far) = rig.channel();
        let mut batch = Batch::new(0);
        for index in 0..16 {
            batch.push(Ticket { index, generation: 0 }, rig.kernel.duplicate(&fd));
        }
        drop(fd);
        rig.submit(Op::Handoff { channel, batch });
        if waited {
            rig.wait(Span::ZERO);
        }
        let Rig { backend, seen, kernel } = rig;
        drop((backend, seen));
        drop(kernel.receive(&far));
        kernel.close(far);
        assert!(kernel.is_over(&peer), "a copy is left");
    }
}

/// The other ends of what is pending.
type Others<K> = (<K as Kernel>::Peer, <K as Kernel>::Peer, <K as Kernel>::FarEnd);

/// One of each.
pub(crate) fn everything_pending<K: Kernel>(rig: &mut Rig<K>) -> (Vec<Token>, Others<K>) {
    let (listener, _) = rig.listener(Role::Listener);
    let (shared, _) = rig.listener(Role::SharedListener);
    let (stream, leaving) = rig.stream();
    let (full, unread) = rig.stream();
    let (doorbell, _) = rig.doorbell();
    let (channel, far) = rig.channel();
    let (watched, silent) = rig.kernel.connection();
    let (spare, batch) = (rig.kernel.marked(1), rig.batch(0, 0..9));
    let tokens = vec![
        rig.submit(Op::Accept { listener }),
        rig.submit(Op::Accept { listener: shared }),
        rig.submit(Op::Recv { stream, buffer: Vec::with_capacity(4_096) }),
        rig.submit(Op::Ring { doorbell }),
        rig.submit(Op::Readable { fd: watched, watch: WatchKind::Once }),
        rig.submit(Op::Handoff { channel, batch }),
        rig.submit(Op::Close { fd: spare }),
        rig.submit(Op::Send { stream: full, buffer: vec![0; 4 << 20], from: 0 }),
        rig.submit(Op::Send { stream: full, buffer: vec![0; 4 << 20], from: 0 }),
    ];
    rig.kernel.hang_up(leaving);
    (tokens, (unread, silent, far))
}
