//! Measurement: load with intended times, the bound that theory sets for it, and the table that
//! compares the two. Whatever dispatchd promises of the tail is a figure that this module prints.
//!
//! A [`mix::Mix`] says what is asked for; a [`trace::Trace`] is one fixed draw of it, which every
//! policy, every peer and the oracle get alike.

pub mod bound;
pub mod conservation;
pub mod environment;
pub mod fairness;
pub mod grid;
pub mod load;
pub mod mix;
pub mod model;
pub mod normal;
pub mod outcome;
pub mod progress;
pub mod quiet;
pub mod report;
pub mod result;
pub mod simulate;
pub mod summary;
pub mod table;
pub mod tally;
pub mod trace;
pub mod yardstick;
