//! pub
pub mod house;
