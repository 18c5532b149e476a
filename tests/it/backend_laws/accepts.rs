//! The laws of accepting: one connection per operation, none lost, none kept from those who want
//! it, and no effort where nobody wants any.

use std::os::fd::{AsFd, OwnedFd};

use dispatchd::io::{Backend, Op, Role};
use dispatchd::sys::clock::{monotonic, thread_cpu};
use dispatchd::sys::{eventfd, fd};
use dispatchd::units::Span;

use super::rig::{CANCELLED, PATIENCE, Rig, SILENCE};

pub(crate) fn one_accept_takes_one_connection<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rig = Rig::new(make);
    let (listener, client) = rig.listener(Role::Listener);
    let clients: Vec<_> = (0..20).map(|_| client.connect()).collect();
    let tokens: Vec<_> = (0..8).map(|_| rig.submit(Op::Accept { listener })).collect();
    let mut connections: Vec<_> =
        tokens.into_iter().map(|token| rig.accepted(token).unwrap()).collect();
    rig.silent();
    for _ in 8..20 {
        let token = rig.submit(Op::Accept { listener });
        connections.push(rig.accepted(token).unwrap());
    }
    assert_eq!(connections.len(), clients.len());
    for connection in &connections {
        assert_eq!(fd::is_nonblocking(connection), Ok(false));
        let flags = nix::fcntl::fcntl(connection, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}

pub(crate) fn an_accept_waits_although_the_listener_does_not<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    for role in [Role::Listener, Role::SharedListener] {
        let mut rig = Rig::new(make);
        let (listener, client) = rig.listener(role);
        let tokens: Vec<_> = (0..64).map(|_| rig.submit(Op::Accept { listener })).collect();
        rig.silent();
        let mut arrived = 0;
        for burst in [1, 30, 2, 31] {
            let clients: Vec<_> = (0..burst).map(|_| client.connect()).collect();
            arrived += clients.len();
            let end = monotonic().after(PATIENCE);
            while rig.seen.len() < arrived {
                assert!(monotonic() < end, "{} of {arrived} arrived", rig.seen.len());
                rig.backend.wait(Some(SILENCE), &mut rig.seen).unwrap();
            }
        }
        for token in tokens {
            drop(rig.accepted(token).unwrap());
        }
    }
}

pub(crate) fn a_cancelled_accept_ends_once_and_loses_no_connection<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut rig = Rig::new(make);
    let (listener, client) = rig.listener(Role::Listener);
    let token = rig.submit(Op::Accept { listener });
    rig.silent();
    rig.backend.cancel(token);
    rig.backend.cancel(token);
    assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
    rig.backend.cancel(token);
    rig.silent();

    let token = rig.submit(Op::Accept { listener });
    rig.silent();
    let _client = client.connect();
    rig.backend.cancel(token);
    match rig.accepted(token) {
        Ok(_connection) => {}
        Err(errno) => {
            assert_eq!(errno, CANCELLED);
            let token = rig.submit(Op::Accept { listener });
            drop(rig.accepted(token).unwrap());
        }
    }
    rig.silent();
}

pub(crate) fn a_process_that_does_not_wait_keeps_no_connection_from_others<
    B: Backend<Fd = OwnedFd>,
>(
    make: fn() -> B,
) {
    let mut stopped = Rig::new(make);
    let mut idle = Rig::new(make);
    let (theirs, client) = stopped.listener(Role::SharedListener);
    let copy = {
        let fd = stopped.backend.release(theirs);
        let copy = fd::duplicate(&fd).unwrap();
        let listener = stopped.backend.adopt(fd, Role::SharedListener);
        stopped.submit(Op::Accept { listener });
        copy
    };
    stopped.silent();
    let listener = idle.backend.adopt(copy, Role::SharedListener);
    for _ in 0..40 {
        let token = idle.submit(Op::Accept { listener });
        idle.silent_now();
        let _client = client.connect();
        drop(idle.accepted(token).unwrap());
    }
}

pub(crate) fn shared_connections_arrive_once<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    let mut rigs = [Rig::new(make), Rig::new(make)];
    let (source, client) = rigs[0].listener(Role::SharedListener);
    let fd = rigs[0].backend.release(source);
    let sources = [
        rigs[0].backend.adopt(fd::duplicate(&fd).unwrap(), Role::SharedListener),
        rigs[1].backend.adopt(fd, Role::SharedListener),
    ];
    let clients: Vec<_> = (0..100).map(|_| client.connect()).collect();
    let mut arrived = [0, 0];
    for turn in 0..clients.len() {
        let which = turn % 2;
        let token = rigs[which].submit(Op::Accept { listener: sources[which] });
        drop(rigs[which].accepted(token).unwrap());
        arrived[which] += 1;
    }
    assert_eq!(arrived, [50, 50]);
    for (rig, listener) in rigs.iter_mut().zip(sources) {
        rig.submit(Op::Accept { listener });
        rig.silent();
    }
}

/// A sleeper that wants no connection must not take the wake-up of one that does.
pub(crate) fn a_sleeper_without_an_accept_takes_no_wake_up<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut idle = Rig::new(make);
    let (source, client) = idle.listener(Role::SharedListener);
    let fd = idle.backend.release(source);
    let copy = fd::duplicate(&fd).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut unwilling = Rig::new(make);
            let listener = unwilling.backend.adopt(copy, Role::SharedListener);
            let token = unwilling.submit(Op::Accept { listener });
            unwilling.silent_now();
            unwilling.backend.cancel(token);
            assert_eq!(unwilling.accepted(token).unwrap_err(), CANCELLED);
            ready.send(()).unwrap();
            unwilling.backend.wait(Some(SILENCE.times(20)), &mut unwilling.seen).unwrap();
            assert!(unwilling.seen.is_empty());
        });
        is_ready.recv().unwrap();
        let listener = idle.backend.adopt(fd, Role::SharedListener);
        let token = idle.submit(Op::Accept { listener });
        idle.silent_now();
        scope.spawn(move || {
            // By then both are asleep.
            Rig::new(make).silent();
            client.connect()
        });
        idle.backend.wait(Some(SILENCE.times(10)), &mut idle.seen).unwrap();
        assert!(!idle.seen.is_empty(), "the wake-up went to the other");
        drop(idle.accepted(token).unwrap());
    });
}

/// Connections that nobody accepts, and rings that nobody reads, cost nothing.
pub(crate) fn what_nobody_takes_does_not_spin<B: Backend<Fd = OwnedFd>>(make: fn() -> B) {
    for role in [Role::Listener, Role::SharedListener] {
        let mut rig = Rig::new(make);
        let (listener, client) = rig.listener(role);
        let bell = eventfd::create().unwrap();
        let bell_source = rig.backend.adopt(fd::duplicate(&bell).unwrap(), Role::Bell);
        let ring = rig.submit(Op::Ring { bell: bell_source });
        let token = rig.submit(Op::Accept { listener });
        rig.silent();
        let _clients = [client.connect(), client.connect()];
        drop(rig.accepted(token).unwrap());
        eventfd::ring(&bell.as_fd()).unwrap();
        assert_eq!(rig.rang(ring), (false, Ok(())));
        let (pause, start) = (SILENCE.times(5), thread_cpu());
        rig.backend.wait(Some(pause), &mut rig.seen).unwrap();
        let used = Span::from_ns(thread_cpu().as_ns() - start.as_ns());
        assert!(used.times(5) < pause, "{used} of CPU time in {pause}");
        let token = rig.submit(Op::Accept { listener });
        drop(rig.accepted(token).unwrap());
    }
}

/// The kernel must not be told of a number when it has another meaning already.
pub(crate) fn a_released_number_may_be_used_again_at_once<B: Backend<Fd = OwnedFd>>(
    make: fn() -> B,
) {
    let mut rig = Rig::new(make);
    for _ in 0..20 {
        let (listener, _) = rig.listener(Role::Listener);
        let token = rig.submit(Op::Accept { listener });
        drop(rig.backend.release(listener));
        let (listener, client) = rig.listener(Role::Listener);
        let _client = client.connect();
        assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
        let token = rig.submit(Op::Accept { listener });
        drop(rig.accepted(token).unwrap());
    }
}
