//! Safe wrappers around system calls, one family per file: here, in `shm` and in `io/uring.rs` is
//! all the unsafe code of dispatchd. Nothing here decides what dispatchd does, but how the kernel
//! is asked for it.

pub mod affinity;
pub mod children;
pub mod clock;
pub mod cpus;
pub mod environment;
pub mod epoll;
pub mod errno;
pub mod eventfd;
pub mod executable;
pub mod fd;
pub mod inherited;
pub mod interfaces;
pub mod listening;
pub mod lock;
pub mod log_sink;
pub mod memfd;
pub mod overheard;
pub mod pidfd;
pub mod process;
pub mod program;
pub mod rlimit;
pub mod sandbox;
pub mod scheduling;
pub mod scm;
pub mod signal;
pub mod sigterm;
pub mod socket;
pub mod socket_file;
pub mod spawn;
pub mod terminal;
pub mod title;
pub mod users;
