//! The laws of accepting: one connection per operation, none lost.

use dispatchd::io::{Backend, Op, Role};

use super::kernel::{Kernel, Make};
use super::rig::{CANCELLED, PATIENCE, Rig, SILENCE};

pub(crate) fn one_accept_takes_one_connection<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (listener, address) = rig.listener(Role::Listener);
    let callers: Vec<_> = (0..20).map(|_| rig.kernel.connect(&address)).collect();
    let tokens: Vec<_> = (0..8).map(|_| rig.submit(Op::Accept { listener })).collect();
    let mut connections: Vec<_> =
        tokens.into_iter().map(|token| rig.accepted(token).unwrap()).collect();
    rig.silent();
    for _ in 8..20 {
        let token = rig.submit(Op::Accept { listener });
        connections.push(rig.accepted(token).unwrap());
    }
    rig.submit(Op::Accept { listener });
    rig.silent();
    let mut numbers: Vec<_> = connections.iter().map(|fd| rig.kernel.number(fd)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), callers.len());
}

pub(crate) fn an_accept_waits_although_the_listener_does_not<K: Kernel>(make: Make<'_, K>) {
    for role in [Role::Listener, Role::SharedListener] {
        let mut rig = Rig::new(make());
        let (listener, address) = rig.listener(role);
        let tokens: Vec<_> = (0..64).map(|_| rig.submit(Op::Accept { listener })).collect();
        rig.silent();
        let mut arrived = 0;
        for burst in [1, 30, 2, 31] {
            let callers: Vec<_> = (0..burst).map(|_| rig.kernel.connect(&address)).collect();
            arrived += callers.len();
            let end = rig.kernel.now().after(PATIENCE);
            while rig.seen.len() < arrived {
                assert!(rig.kernel.now() < end, "{} of {arrived} arrived", rig.seen.len());
                rig.wait(SILENCE);
            }
        }
        for token in tokens {
            drop(rig.accepted(token).unwrap());
        }
    }
}

pub(crate) fn a_cancelled_accept_ends_once_and_loses_no_connection<K: Kernel>(make: Make<'_, K>) {
    let mut rig = Rig::new(make());
    let (listener, address) = rig.listener(Role::Listener);
    let token = rig.submit(Op::Accept { listener });
    rig.silent();
    rig.backend.cancel(token);
    rig.backend.cancel(token);
    assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
    rig.backend.cancel(token);
    rig.silent();
    for connects_first in [true, false] {
        let token = rig.submit(Op::Accept { listener });
        rig.silent();
        let _callers = if connects_first {
            let caller = rig.kernel.connect(&address);
            rig.backend.cancel(token);
            caller
        } else {
            rig.backend.cancel(token);
            rig.kernel.connect(&address)
        };
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
}
