//! The pages that master and workers share. Who writes what is fixed: the master one memory that
//! all workers read, each worker one that only the master reads besides it; every cache line has
//! one writer, but for the words that settle whose an offered connection is, and for the handshake,
//! which is the master's until there is a worker.
//!
//! ```text
//! master's memory (sealed against writing)      a worker's memory (its size is sealed)
//! +-------------------------------+             +-------------------------------+
//! | head: magic, layout           |             | head: magic, layout, terms    |
//! |                               |             | handshake: what was given     |
//! | sleep state: does it sleep?   |             | board: what it does           |
//! | workers: consumed, order, ... |<-- reads ---| produced                      |
//! | conn records: one a connection|             | ring of messages              |
//! |                               |             | claims: both swap them        |
//! +-------------------------------+             +-------------------------------+
//! ```

pub mod claim;
pub mod handshake;
pub mod layout;
pub mod map;
pub mod ring;
