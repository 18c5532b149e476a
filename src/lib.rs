//! dispatchd accepts connections in one thread-free master process and hands them to worker
//! processes, late: when a worker has room.
//!
//! The modules in the order in which a connection meets them. `ARCHITECTURE.md` is the map.

extern crate alloc;

pub mod limits;
pub mod units;

pub mod engine;

pub mod shm;
pub mod sys;
pub mod wire;

#[cfg(feature = "master")]
pub mod config;
#[cfg(feature = "master")]
pub mod io;
#[cfg(feature = "master")]
pub mod link;
#[cfg(feature = "master")]
pub mod master;

#[cfg(feature = "master")]
pub mod serve;
pub mod worker;

#[cfg(feature = "sim")]
pub mod sim;

#[cfg(feature = "bench")]
pub mod bench;

#[cfg(feature = "cli")]
pub mod cli;
