//! The laws of watching: a descriptor that is watched comes back, and a doorbell wakes for each
//! ring.

use dispatchd::io::{Backend, Op, Outcome, Ready, WatchKind};
use dispatchd::units::Span;

use super::kernel::{Kernel, Make};
use super::rig::{CANCELLED, PATIENCE, Rig, SILENCE};

pub(crate) fn a_watch_gives_its_descriptor_back<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (mut watched, peer) = rig.kernel.connection();
    // Another copy stays open, as a worker's would.
    let _copy = rig.kernel.duplicate(&watched);
    let number = rig.kernel.number(&watched);
    for _ in 0..3 {
        let token = rig.submit(Op::Readable { fd: watched, watch: WatchKind::Once });
        rig.silent();
        rig.kernel.send(&peer);
        let (fd, result) = rig.readable(token);
        assert_eq!((rig.kernel.number(&fd), result), (number, Ok(Ready::Input)));
        rig.silent();
        let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
        let (fd, result) = rig.readable(token);
        assert_eq!((rig.kernel.number(&fd), result), (number, Ok(Ready::Input)));
        rig.kernel.read(&fd);
        watched = fd;
    }
    let token = rig.submit(Op::Readable { fd: watched, watch: WatchKind::Once });
    rig.silent();
    rig.kernel.hang_up(peer);
    let fd = rig.over(token);
    assert_eq!(rig.kernel.number(&fd), number);
    // What has ended already is told like what ends meanwhile.
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.over(token);
}

pub(crate) fn a_standing_watch_tells_each_time_what_can_be_read<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (mut watched, peer) = rig.kernel.connection();
    let copy = rig.kernel.duplicate(&watched);
    for round in 0..8 {
        let token = rig.submit(standing(watched));
        if round == 0 {
            rig.silent();
            rig.kernel.send(&peer);
        }
        let (fd, result) = rig.readable(token);
        assert_eq!(result, Ok(Ready::Input), "round {round}");
        rig.kernel.read(&fd);
        // Others are served meanwhile; what comes last is not, and may have been seen coming.
        for _ in 0..round {
            rig.kernel.send(&peer);
            rig.silent();
            rig.kernel.read(&copy);
        }
        rig.kernel.send(&peer);
        if round % 2 == 0 {
            rig.silent();
        }
        watched = fd;
    }
    let token = rig.submit(standing(watched));
    let (_, result) = rig.readable(token);
    assert_eq!(result, Ok(Ready::Input));
}

pub(crate) fn what_another_has_read_is_not_told<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (mut watched, peer) = rig.kernel.connection();
    let copy = rig.kernel.duplicate(&watched);
    for round in 0..5 {
        let token = rig.submit(standing(watched));
        rig.silent();
        rig.kernel.send(&peer);
        let (fd, result) = rig.readable(token);
        assert_eq!(result, Ok(Ready::Input));
        rig.kernel.read(&copy);
        for _ in 0..round {
            rig.kernel.send(&peer);
            if round % 2 == 0 {
                rig.silent();
            }
            rig.kernel.read(&copy);
        }
        watched = fd;
    }
    let token = rig.submit(standing(watched));
    rig.silent();
    rig.kernel.hang_up(peer);
    rig.over(token);
}

pub(crate) fn whoever_gets_a_number_again_is_watched_anew<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let mut copies = Vec::new();
    for _ in 0..4 {
        let (fd, peer) = rig.kernel.connection();
        copies.push(rig.kernel.duplicate(&fd));
        let token = rig.submit(standing(fd));
        rig.silent();
        rig.kernel.send(&peer);
        let (fd, result) = rig.readable(token);
        assert_eq!(result, Ok(Ready::Input));
        let token = rig.submit(Op::Close { fd });
        assert!(matches!(rig.only(token), Outcome::Closed));
        // What becomes of the copy is nobody's business any more.
        rig.kernel.send(&peer);
        rig.silent();
    }
}

pub(crate) fn a_standing_watch_that_was_withdrawn_can_be_set_again<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, peer) = rig.kernel.connection();
    let token = rig.submit(standing(fd));
    rig.silent();
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Err(CANCELLED));
    rig.silent();
    rig.kernel.send(&peer);
    rig.silent();
    let token = rig.submit(standing(fd));
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Ok(Ready::Input));
    rig.kernel.read(&fd);
    let token = rig.submit(standing(fd));
    rig.silent();
    assert!(rig.backend.expire(token));
    rig.over(token);
    assert!(rig.kernel.is_over(&peer), "the client is told");
}

pub(crate) fn a_watch_ends_by_cancel_or_by_expiry<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, peer) = rig.kernel.connection();
    let number = rig.kernel.number(&fd);
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Err(CANCELLED));
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Err(CANCELLED));
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    rig.kernel.send(&peer);
    rig.backend.cancel(token);
    let (fd, result) = rig.readable(token);
    assert!(matches!(result, Ok(Ready::Input) | Err(CANCELLED)), "{result:?}");
    rig.kernel.read(&fd);
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    rig.backend.expire(token);
    rig.backend.expire(token);
    let fd = rig.over(token);
    assert_eq!(rig.kernel.number(&fd), number);
    assert!(rig.kernel.is_over(&peer), "the client is told");
    rig.backend.expire(token);
    rig.silent();
}

pub(crate) fn who_has_spoken_is_not_let_go<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, peer) = rig.kernel.connection();
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    rig.kernel.send(&peer);
    assert!(!rig.backend.expire(token), "it is no longer silent");
    let (fd, result) = rig.readable(token);
    assert_eq!(result, Ok(Ready::Input));
    assert!(!rig.kernel.is_over(&peer), "it can be answered");
    rig.kernel.read(&fd);
    let token = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.silent();
    assert!(rig.backend.expire(token), "it is silent again");
    rig.over(token);
}

pub(crate) fn more_watches_than_completions_fit_all_end<K: Kernel>(make: Make<'_, K>) {
    const WATCHES: usize = 5_000;
    let mut rig = Rig::new(make());
    let (watched, peer) = rig.kernel.connection();
    let mut tokens = Vec::new();
    for _ in 0..WATCHES {
        let fd = rig.kernel.duplicate(&watched);
        tokens.push(rig.submit(Op::Readable { fd, watch: WatchKind::Once }));
    }
    rig.silent();
    rig.kernel.send(&peer);
    let end = rig.kernel.now().after(PATIENCE);
    while rig.seen.len() < WATCHES && rig.kernel.now() < end {
        rig.wait(SILENCE);
    }
    tokens.sort();
    assert_eq!(rig.ended(), tokens);
    rig.seen.clear();
    rig.silent();
}

pub(crate) fn a_late_word_about_an_old_token_does_nothing<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (fd, peer) = rig.kernel.connection();
    let old = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    rig.kernel.send(&peer);
    let (fd, _) = rig.readable(old);
    rig.kernel.read(&fd);
    let new = rig.submit(Op::Readable { fd, watch: WatchKind::Once });
    assert_eq!(
        (new.key().index, new.kind()),
        (old.key().index, old.kind()),
        "places are used again"
    );
    rig.backend.cancel(old);
    rig.backend.expire(old);
    rig.silent();
    rig.kernel.send(&peer);
    assert_eq!(rig.readable(new).1, Ok(Ready::Input));
}

pub(crate) fn each_ring_wakes_without_a_read<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (doorbells, clappers): (Vec<_>, Vec<_>) = (0..3).map(|_| rig.doorbell()).unzip();
    let tokens: Vec<_> =
        doorbells.into_iter().map(|doorbell| rig.submit(Op::Ring { doorbell })).collect();
    rig.silent();
    for round in 0..200 {
        let which = round % clappers.len();
        rig.kernel.ring(&clappers[which]);
        assert_eq!(rig.rang(tokens[which]), (false, Ok(())));
        assert!(rig.seen.is_empty(), "one ring wakes once: {:?}", rig.seen);
    }
    rig.silent();
    for (clapper, token) in clappers.iter().zip(tokens) {
        rig.backend.cancel(token);
        assert_eq!(rig.rang(token), (true, Err(CANCELLED)));
        rig.kernel.ring(clapper);
    }
    rig.silent();
}

pub(crate) fn a_doorbell_rung_before_anybody_listened_is_heard<K: Kernel>(make: Make<'_, K>) {
    for waited in [false, true] {
        let mut rig = Rig::new(make());
        let (doorbell, clapper) = rig.doorbell();
        rig.kernel.ring(&clapper);
        if waited {
            rig.silent();
        }
        let token = rig.submit(Op::Ring { doorbell });
        assert_eq!(rig.rang(token), (false, Ok(())));
        rig.silent();
    }
}

pub(crate) fn a_full_doorbell_silences_no_other<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let [(full, filler), (other, clapper)] = [(); 2].map(|()| rig.doorbell());
    let [full, other] = [full, other].map(|doorbell| rig.submit(Op::Ring { doorbell }));
    rig.kernel.fill(&filler);
    assert_eq!(rig.rang(full), (false, Ok(())));
    for _ in 0..3 {
        rig.kernel.ring(&clapper);
        assert_eq!(rig.rang(other), (false, Ok(())));
        rig.silent();
    }
}

/// What a doorbell has told and its owner has not heard yet stands before the end, never behind it.
pub(crate) fn nothing_is_told_after_the_last<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (doorbell, clapper) = rig.doorbell();
    for round in 0..12 {
        let token = rig.submit(Op::Ring { doorbell });
        for _ in 0..round % 4 {
            rig.kernel.ring(&clapper);
            rig.wait(Span::from_us(20_000 / (round + 1)));
        }
        rig.kernel.ring(&clapper);
        rig.backend.cancel(token);
        // What is told together is taken in its order, so that anything after the last is left.
        while !rig.next(token).0 {}
        rig.silent();
    }
}

const fn standing<F>(fd: F) -> Op<F> {
    Op::Readable { fd, watch: WatchKind::Standing }
}
