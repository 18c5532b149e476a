//! The laws that only a real kernel can break: flags and numbers of descriptors, CPU time, kernel
//! threads, queues that overflow, and several processes asleep on one listener.

use std::os::fd::AsFd;

use dispatchd::io::{Batch, Op, Role};
use dispatchd::sys::clock::thread_cpu;
use dispatchd::sys::fd;
use dispatchd::units::Span;

use super::endings::everything_pending;
use super::kernel::{Kernel, Start, on_machine};
use super::rig::{CANCELLED, SILENCE};

/// Accepted connections go to workers, who expect them so.
pub(crate) fn an_accepted_connection_blocks_and_closes_on_exec<B: Start>() {
    let mut rig = on_machine::<B>();
    for role in [Role::Listener, Role::SharedListener] {
        let (listener, address) = rig.listener(role);
        let _caller = rig.kernel.connect(&address);
        let token = rig.submit(Op::Accept { listener });
        let connection = rig.accepted(token).unwrap();
        assert_eq!(fd::is_nonblocking(&connection), Ok(false));
        let flags = nix::fcntl::fcntl(&connection, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}

pub(crate) fn a_process_that_does_not_wait_keeps_no_connection_from_others<B: Start>() {
    let mut stopped = on_machine::<B>();
    let mut idle = on_machine::<B>();
    let (theirs, address) = stopped.listener(Role::SharedListener);
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
        let _caller = idle.kernel.connect(&address);
        drop(idle.accepted(token).unwrap());
    }
}

pub(crate) fn shared_connections_arrive_once<B: Start>() {
    let mut rigs = [on_machine::<B>(), on_machine::<B>()];
    let (source, address) = rigs[0].listener(Role::SharedListener);
    let fd = rigs[0].backend.release(source);
    let sources = [
        rigs[0].backend.adopt(fd::duplicate(&fd).unwrap(), Role::SharedListener),
        rigs[1].backend.adopt(fd, Role::SharedListener),
    ];
    let callers: Vec<_> = (0..100).map(|_| rigs[0].kernel.connect(&address)).collect();
    let mut arrived = [0, 0];
    for turn in 0..callers.len() {
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
pub(crate) fn a_sleeper_without_an_accept_takes_no_wake_up<B: Start>() {
    let mut idle = on_machine::<B>();
    let (source, address) = idle.listener(Role::SharedListener);
    let fd = idle.backend.release(source);
    let copy = fd::duplicate(&fd).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut unwilling = on_machine::<B>();
            let listener = unwilling.backend.adopt(copy, Role::SharedListener);
            let token = unwilling.submit(Op::Accept { listener });
            unwilling.silent_now();
            unwilling.backend.cancel(token);
            assert_eq!(unwilling.accepted(token).unwrap_err(), CANCELLED);
            ready.send(()).unwrap();
            unwilling.wait(SILENCE.times(20));
            assert!(unwilling.seen.is_empty());
        });
        is_ready.recv().unwrap();
        let listener = idle.backend.adopt(fd, Role::SharedListener);
        let token = idle.submit(Op::Accept { listener });
        idle.silent_now();
        scope.spawn(move || {
            // By then both are asleep.
            let mut rig = on_machine::<B>();
            rig.silent();
            rig.kernel.connect(&address)
        });
        idle.wait(SILENCE.times(10));
        assert!(!idle.seen.is_empty(), "the wake-up went to the other");
        drop(idle.accepted(token).unwrap());
    });
}

/// Connections that nobody accepts, and rings that nobody reads, cost nothing.
pub(crate) fn what_nobody_takes_does_not_spin<B: Start>() {
    for role in [Role::Listener, Role::SharedListener] {
        let mut rig = on_machine::<B>();
        let (listener, address) = rig.listener(role);
        let (doorbell, clapper) = rig.doorbell();
        let ring = rig.submit(Op::Ring { doorbell });
        let token = rig.submit(Op::Accept { listener });
        rig.silent();
        let _callers = [rig.kernel.connect(&address), rig.kernel.connect(&address)];
        drop(rig.accepted(token).unwrap());
        rig.kernel.ring(&clapper);
        assert_eq!(rig.rang(ring), (false, Ok(())));
        let (pause, start) = (SILENCE.times(5), thread_cpu());
        rig.wait(pause);
        let used = Span::from_ns(thread_cpu().as_ns() - start.as_ns());
        assert!(used.times(5) < pause, "{used} of CPU time in {pause}");
        let token = rig.submit(Op::Accept { listener });
        drop(rig.accepted(token).unwrap());
    }
}

/// The kernel must not be told of a number when it has another meaning already.
pub(crate) fn a_released_number_may_be_used_again_at_once<B: Start>() {
    let mut rig = on_machine::<B>();
    for _ in 0..20 {
        let (listener, _) = rig.listener(Role::Listener);
        let token = rig.submit(Op::Accept { listener });
        drop(rig.backend.release(listener));
        let (listener, address) = rig.listener(Role::Listener);
        let _caller = rig.kernel.connect(&address);
        assert_eq!(rig.accepted(token).unwrap_err(), CANCELLED);
        let token = rig.submit(Op::Accept { listener });
        drop(rig.accepted(token).unwrap());
    }
}

/// What speaks up only when it fails must be heard even where the completion queue is full.
pub(crate) fn failures_beyond_the_completion_queue_are_all_told<B: Start>() {
    let mut rig = on_machine::<B>();
    let (channel, theirs) = rig.channel();
    drop(theirs);
    let tokens: Vec<_> = (0..6_000)
        .map(|header| rig.submit(Op::Handoff { channel, batch: Batch::new(header) }))
        .collect();
    for (token, header) in tokens.into_iter().zip(0..) {
        let (_, batch) = rig.handed_off(token).unwrap_err();
        assert_eq!(batch.words, [header]);
    }
    rig.silent();
}

pub(crate) fn no_kernel_thread_is_started<B: Start>() {
    let mut rig = on_machine::<B>();
    let (_tokens, _others) = everything_pending(&mut rig);
    rig.wait(SILENCE);
    // An accept that loses the race over and over.
    let (source, address) = rig.listener(Role::SharedListener);
    let fd = rig.backend.release(source);
    let copy = fd::duplicate(&fd).unwrap();
    let listener = rig.backend.adopt(fd, Role::SharedListener);
    rig.submit(Op::Accept { listener });
    rig.wait(Span::ZERO);
    for _ in 0..300 {
        let _caller = rig.kernel.connect(&address);
        drop(dispatchd::sys::socket::accept(copy.as_fd()));
        rig.wait(Span::ZERO);
    }
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        // A test's thread may end in between.
        if let Ok(name) = std::fs::read_to_string(task.unwrap().path().join("comm")) {
            assert!(!name.starts_with("iou-"), "the ring started {name}");
        }
    }
}
