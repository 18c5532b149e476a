//! What is known of a request before it runs, by which the hold queue treats it.

use crate::units::{Mono, Route};

/// How a request is treated in the hold queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Class {
    /// Short, or not known to be long.
    #[default]
    Short = 0,
    /// Long.
    Long = 1,
}

/// What is known of a request before it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Demand {
    /// How it is treated.
    pub class: Class,
    /// Which route its service time will tell something of.
    pub route: Option<Route>,
    /// Since when it waits.
    pub since: Mono,
    /// When it goes before short ones.
    pub overdue_at: Mono,
}

impl Demand {
    /// Nothing is known of it, and nothing will be learnt.
    pub const UNKNOWN: Self =
        Self { class: Class::Short, route: None, since: Mono::ZERO, overdue_at: Mono::ZERO };
}
