//! dispatchd as its users meet it: real processes, real sockets, real signals, on both backends.
//! Each test starts a master of its own and waits for events with deadlines, never for time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

/// Runs each test once per backend.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod uring {
            $(#[test]
            fn $test() {
                super::$test("uring");
            })*
        }
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test("epoll");
            })*
        }
    };
}

mod backend_laws;

mod client;
mod confine;
mod crowd;
mod process;
mod server;
mod shortage;
mod wait;

mod bench_grid;
mod bench_load;
mod classes;
mod cli;
mod control;
mod crash;
mod deadlines;
mod deaths;
mod examples;
mod gone;
mod groups;
mod hostile;
mod http;
mod inherited;
mod jobs;
mod lacking;
mod launch;
mod leaving;
mod limits;
mod listeners;
mod names;
mod policies;
mod refused;
mod reload;
mod report;
mod requests;
mod role;
mod sdk;
mod serving;
mod signals;
mod stall;
mod start;
mod status;
mod succession;
mod words;
